//! What nodes answer.

use std::net::SocketAddr;

use super::bencode::{Value, Writer};
use super::compact::{PEER4_BYTES, PEER6_BYTES, decode_nodes, decode_peer, encode_nodes, encode_peer};
use super::{Contacts, Id, Item, KrpcError};

/// A response to any query: what does not belong to it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response<'a> {
    /// The replier's id.
    pub id: Id,
    /// Nodes near what was asked for.
    pub contacts: Contacts,
    /// What an announcement or a put must bring.
    pub token: Option<&'a [u8]>,
    /// Peers that announced the infohash; `None` if the response has no such field.
    pub values: Option<Vec<SocketAddr>>,
    /// The stored item; one that is mutable comes without its salt.
    pub item: Option<Item>,
    /// The number of a stored value that is not told, being no higher than the one asked for.
    pub seq: Option<i64>,
}

impl<'a> Response<'a> {
    pub(super) fn decode(from: &Value<'a>) -> Result<Self, KrpcError> {
        let nodes = |key: &'static str, bytes| {
            let field = from.bytes_at(key).map(|nodes| decode_nodes(nodes, bytes).ok_or(KrpcError::Field(key)));
            field.transpose()
        };
        let peer = |value: &Value<'_>| match value {
            Value::Bytes(bytes) => decode_peer(bytes),
            _ => None,
        };
        let item = Item::decode(from);
        Ok(Self {
            id: from.fixed_at("id").ok_or(KrpcError::Field("id"))?,
            contacts: Contacts { nodes: nodes("nodes", PEER4_BYTES)?, nodes6: nodes("nodes6", PEER6_BYTES)? },
            token: from.bytes_at("token"),
            values: from.at("values").map(|_| from.list_at("values").iter().filter_map(peer).collect()),
            seq: if item.as_ref().is_some_and(|item| item.mutable.is_some()) { None } else { from.number_at("seq") },
            item,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Contacts { nodes, nodes6 } = &self.contacts;
        let mutable = self.item.as_ref().and_then(|item| item.mutable.as_ref());
        let out = Writer::new().bytes("id", &self.id);
        let out = out.maybe(mutable, |out, mutable| out.bytes("k", &mutable.key.0));
        let out = out.maybe(nodes.as_ref(), |out, nodes| out.bytes("nodes", &encode_nodes(nodes)));
        let out = out.maybe(nodes6.as_ref(), |out, nodes| out.bytes("nodes6", &encode_nodes(nodes)));
        let out = out.maybe(self.seq, |out, seq| out.number("seq", seq));
        let out = out.maybe(self.item.as_ref(), |out, item| item.encode_from_salt(out));
        let out = out.maybe(self.token, |out, token| out.bytes("token", token));
        let out = out.maybe(self.item.as_ref(), |out, item| out.raw("v", &item.value));
        let peers = |peers: &Vec<SocketAddr>| peers.iter().map(encode_peer).collect::<Vec<_>>();
        out.maybe(self.values.as_ref(), |out, values| out.list("values", peers(values))).finish()
    }
}
