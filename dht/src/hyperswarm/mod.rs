//! Hyperswarm's DHT: dht-rpc's datagrams, and what HyperDHT says in them.
//!
//! Source: npm dht-rpc 6.27.0 and hyperdht 6.34.0.

mod address;
mod id;
pub mod messages;
mod nat_sampler;
mod node;
mod packet;
mod signable;
mod storage;

pub use id::{Id, Token, key_target, node_id, token};
pub use messages::Firewall;
pub use nat_sampler::NatSampler;
pub use node::{Carried, Config, Node};
pub use packet::{Packet, Reply, Request};
pub use signable::{Signable, announce_signable, mutable_signable, unannounce_signable};
