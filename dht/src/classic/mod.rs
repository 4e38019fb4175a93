//! BitTorrent's DHT, as Dat used it: KRPC, which is bencode over UDP.
//!
//! Source: BEP 5 (the protocol), 32 (IPv6), 42 (ids from addresses), 43 (read-only nodes), 44 (stored items); npm
//! bittorrent-dht 10.0.7.

mod bencode;
mod compact;
mod id;
mod item;
mod mapping;
mod message;
mod node;
mod query;
mod response;

pub use bencode::{BencodeError, Value};
pub use compact::Contacts;
pub use id::{Id, id_fits, id_for};
use item::mutable_target;
pub use item::{Item, Mutable};
pub use mapping::{Mapping, hashed_infohash};
pub use message::{Body, KrpcError, Message};
pub use node::{Config, Node};
pub use query::{Method, Query, Want};
pub use response::Response;
