//! The DNS tracker of old Dat programs: a server that is told by ordinary DNS questions who has a topic, and asked.
//!
//! ```text
//! us                                                       tracker
//! TXT dat.local?                                     ─►
//!                                                    ◄─   token=…, host=…, port=…
//! TXT TOPIC.dat.local? + TXT token=…, announce=PORT  ─►    (or unannounce=PORT)
//!                                                    ◄─   token=…, peers=base64 of 6 bytes each
//! TXT TOPIC.dat.local?                               ─►    a plain look-up needs no token
//! ```
//!
//! TOPIC is the first 20 bytes in hexadecimal. The tracker tells others of the address that it saw, and forgets it after a
//! while; nobody subscribes here to what it hears later.
//!
//! Source: npm dns-discovery 6.2.3.

mod node;
mod packet;

pub use node::{Config, Node};
pub use packet::{Answer, Id, Wish, answer, question};
