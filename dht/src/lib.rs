//! Who has this topic? Kademlia in two dialects, and multicast DNS, as protocol cores without clock, socket, task or
//! randomness of their own.

pub mod classic;
pub mod hyperswarm;
pub mod kademlia;
pub mod lan;
pub mod tracker;
pub mod world;

mod chance;
mod discovery;
mod generations;
mod records;
mod secrets;

pub use discovery::{Announcement, Ask, Command, Discovery, Event, Outcome, Relay, Socket};
