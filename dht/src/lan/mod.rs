//! Peers on the same network, asked by multicast DNS, without anything beyond it.
//!
//! Two manners of speaking are asked and answered in the same datagrams:
//!
//! | | dns-discovery's, as Dat programs spoke it | DNS-SD |
//! |---|---|---|
//! | question | TXT `TOPIC.dat.local` | PTR `_TOPIC._sub._anypath._tcp.local` |
//! | answer | TXT `token=…`, `peers=…` (base64: address 0.0.0.0, port) | PTR to an instance, its SRV (port), TXT, A |
//! | end | none | PTR with a time to live of 0 |
//!
//! TOPIC is the first 20 bytes in hexadecimal. Whoever answers is taken at the address the datagram came from: nobody can name
//! another host. A token tells own answers, which multicast brings back, from others'.
//!
//! Source: npm dns-discovery 6.2.3; RFC 6762 and 6763.

mod node;
mod packet;

pub use node::{Config, Node};
pub use packet::{Heard, Id, Voice};
