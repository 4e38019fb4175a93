//! What nodes ask each other.

use super::bencode::{Value, Writer};
use super::{Id, Item, KrpcError};

/// A query, with the id of whoever asks; a few programs leave it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a> {
    /// The asker's id.
    pub id: Option<Id>,
    /// What is asked.
    pub method: Method<'a>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method<'a> {
    /// Are you there?
    Ping,
    /// Who is near the target?
    FindNode {
        /// Near what.
        target: Id,
        /// Of which families.
        want: Want,
    },
    /// Who announced the infohash?
    GetPeers {
        /// What is looked for.
        info_hash: Id,
        /// Nodes of which families.
        want: Want,
    },
    /// I have the infohash.
    AnnouncePeer {
        /// What.
        info_hash: Id,
        /// At this port,
        port: u16,
        /// or, if this is true, at the one this comes from.
        implied_port: Option<bool>,
        /// The receiver's own token, given back.
        token: &'a [u8],
    },
    /// What is stored under the target? (BEP 44)
    Get {
        /// Where.
        target: Id,
        /// No mutable value is wanted unless its number is higher.
        seq: Option<i64>,
    },
    /// Store this. (BEP 44)
    Put {
        /// What.
        item: Item,
        /// The receiver's own token, given back.
        token: &'a [u8],
    },
    /// A method that is not known here.
    Other(&'a [u8]),
}

/// Families of addresses that are asked for (BEP 32); neither means the one the query came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// `n4`.
    pub v4: bool,
    /// `n6`.
    pub v6: bool,
}

impl<'a> Query<'a> {
    pub(super) fn decode(message: &Value<'a>) -> Result<Self, KrpcError> {
        let name = message.bytes_at("q").ok_or(KrpcError::Field("q"))?;
        let arguments = message.at("a").ok_or(KrpcError::Field("a"))?;
        Ok(Self { id: arguments.fixed_at("id"), method: Method::decode(name, arguments)? })
    }

    pub(super) fn encode_arguments(&self) -> Vec<u8> {
        let cas = match &self.method {
            Method::Put { item, .. } => item.mutable.as_ref().and_then(|mutable| mutable.cas),
            _ => None,
        };
        let out = Writer::new().maybe(cas, |out, cas| out.number("cas", cas));
        let out = out.maybe(self.id, |out, id| out.bytes("id", &id));
        self.method.encode(out).finish()
    }
}

impl<'a> Method<'a> {
    /// Returns its name on the wire.
    pub fn name(&self) -> &'a [u8] {
        match self {
            Self::Ping => b"ping",
            Self::FindNode { .. } => b"find_node",
            Self::GetPeers { .. } => b"get_peers",
            Self::AnnouncePeer { .. } => b"announce_peer",
            Self::Get { .. } => b"get",
            Self::Put { .. } => b"put",
            Self::Other(name) => name,
        }
    }

    fn decode(name: &'a [u8], from: &Value<'a>) -> Result<Self, KrpcError> {
        let id = |key| from.fixed_at(key).ok_or(KrpcError::Field(key));
        let token = || from.bytes_at("token").ok_or(KrpcError::Field("token"));
        Ok(match name {
            b"ping" => Self::Ping,
            b"find_node" => Self::FindNode { target: id("target")?, want: Want::decode(from) },
            b"get_peers" => Self::GetPeers { info_hash: id("info_hash")?, want: Want::decode(from) },
            b"announce_peer" => {
                let implied_port = from.number_at("implied_port").map(|implied| implied != 0);
                let port = from.number_at("port").and_then(|port| u16::try_from(port).ok());
                let port = port.or(if implied_port == Some(true) { Some(0) } else { None });
                let port = port.ok_or(KrpcError::Field("port"))?;
                Self::AnnouncePeer { info_hash: id("info_hash")?, port, implied_port, token: token()? }
            }
            b"get" => Self::Get { target: id("target")?, seq: from.number_at("seq") },
            b"put" => Self::Put { item: Item::decode(from).ok_or(KrpcError::Field("v"))?, token: token()? },
            other => Self::Other(other),
        })
    }

    fn encode(&self, out: Writer) -> Writer {
        match self {
            Self::Ping | Self::Other(_) => out,
            Self::FindNode { target, want } => want.encode(out.bytes("target", target)),
            Self::GetPeers { info_hash, want } => want.encode(out.bytes("info_hash", info_hash)),
            Self::AnnouncePeer { info_hash, port, implied_port, token } => out
                .maybe(*implied_port, |out, implied| out.number("implied_port", i64::from(implied)))
                .bytes("info_hash", info_hash)
                .number("port", i64::from(*port))
                .bytes("token", token),
            Self::Get { target, seq } => out.maybe(*seq, |out, seq| out.number("seq", seq)).bytes("target", target),
            Self::Put { item, token } => {
                let out = out.maybe(item.mutable.as_ref(), |out, mutable| out.bytes("k", &mutable.key.0));
                item.encode_from_salt(out).bytes("token", token).raw("v", &item.value)
            }
        }
    }
}

impl Want {
    fn decode(from: &Value<'_>) -> Self {
        let wants = |family: &[u8]| from.list_at("want").contains(&Value::Bytes(family));
        Self { v4: wants(b"n4"), v6: wants(b"n6") }
    }

    fn encode(self, out: Writer) -> Writer {
        let families: Vec<&str> = [(self.v4, "n4"), (self.v6, "n6")].iter().filter(|f| f.0).map(|f| f.1).collect();
        if families.is_empty() { out } else { out.list("want", families) }
    }
}
