//! KRPC's message: a dictionary that is a query, a response or an error.

use std::net::SocketAddr;

use thiserror::Error;

use super::bencode::{BencodeError, Value, Writer};
use super::compact::{decode_peer, encode_peer};
use super::{Query, Response};

/// A datagram.
///
/// | key | value |
/// |---|---|
/// | `a` | arguments of a query |
/// | `e` | list of a code and a text |
/// | `ip` | the address of whoever asked, as the replier saw it (BEP 42) |
/// | `q` | name of the query |
/// | `r` | response |
/// | `ro` | 1 if the asker answers no queries (BEP 43) |
/// | `t` | transaction, 2 bytes here, anything from others |
/// | `v` | program and version |
/// | `y` | `q`, `r` or `e` |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Comes back in the answer.
    pub transaction: &'a [u8],
    /// What it says.
    pub body: Body<'a>,
    /// The receiver's address.
    pub ip: Option<SocketAddr>,
    /// Whether the sender must not be asked.
    pub read_only: bool,
    /// The sender's program.
    pub version: Option<&'a [u8]>,
}

/// A message's meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// Somebody asks.
    Query(Query<'a>),
    /// Somebody answers.
    Response(Response<'a>),
    /// Somebody cannot or will not answer: a code, and a text for people.
    Error(i64, &'a [u8]),
}

/// Why a datagram is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KrpcError {
    /// It is no bencode.
    #[error("not bencode: {0}")]
    Bencode(#[from] BencodeError),
    /// A field that must be there is not, or is of another kind.
    #[error("{0:?} is missing or malformed")]
    Field(&'static str),
}

impl<'a> Message<'a> {
    /// Makes a message that says only this.
    pub fn new(transaction: &'a [u8], body: Body<'a>) -> Self {
        Self { transaction, body, ip: None, read_only: false, version: None }
    }

    /// Reads a datagram.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, KrpcError> {
        let value = Value::decode(datagram)?;
        let transaction = value.bytes_at("t").filter(|t| t.len() <= TRANSACTION_BYTES_MAX);
        let body = match value.bytes_at("y") {
            Some(b"q") => Body::Query(Query::decode(&value)?),
            Some(b"r") => Body::Response(Response::decode(value.at("r").ok_or(KrpcError::Field("r"))?)?),
            Some(b"e") => match value.list_at("e") {
                [Value::Number(code), Value::Bytes(text), ..] => Body::Error(*code, text),
                _ => return Err(KrpcError::Field("e")),
            },
            _ => return Err(KrpcError::Field("y")),
        };
        Ok(Self {
            transaction: transaction.ok_or(KrpcError::Field("t"))?,
            body,
            ip: value.bytes_at("ip").and_then(decode_peer),
            read_only: value.number_at("ro") == Some(1),
            version: value.bytes_at("v"),
        })
    }

    /// Returns the datagram.
    pub fn encode(&self) -> Vec<u8> {
        let ip = |out: Writer| out.maybe(self.ip, |out, ip| out.bytes("ip", &encode_peer(&ip)));
        let out = match &self.body {
            Body::Query(query) => {
                let out = ip(Writer::new().raw("a", &query.encode_arguments()));
                out.bytes("q", query.method.name())
            }
            Body::Response(response) => ip(Writer::new()).raw("r", &response.encode()),
            Body::Error(code, text) => {
                let mut list = format!("li{code}e").into_bytes();
                super::bencode::push_bytes(text, &mut list);
                list.push(b'e');
                ip(Writer::new().raw("e", &list))
            }
        };
        let out = out.maybe(self.read_only.then_some(1), |out, one| out.number("ro", one));
        let out = out.bytes("t", self.transaction);
        let out = out.maybe(self.version, |out, version| out.bytes("v", version));
        out.bytes("y", self.kind()).finish()
    }

    fn kind(&self) -> &'static [u8] {
        match &self.body {
            Body::Query(_) => b"q",
            Body::Response(_) => b"r",
            Body::Error(..) => b"e",
        }
    }
}

/// Bytes of a transaction that are given back; programs use 2 to 8.
const TRANSACTION_BYTES_MAX: usize = 32;
