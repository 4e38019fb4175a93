//! The words every room shares: compact encoding, hashes, keys, links, time and the `Machine` trait.
//!
//! Everything here is pure: no clock, no socket, no file, no randomness of its own.
//! Two other rooms must need a thing before it may live here.

mod base32;
mod codec;
mod handshake;
mod hash;
mod keys;
mod link;
mod listen;
mod machine;
mod time;

pub use base32::{InvalidKeyText, key_from_text, key_to_text};
pub use codec::{DecodeError, Decoder, Encode};
pub use handshake::{Handshake, Role};
pub use hash::{Hash, Hasher, hash, hash_all, keyed_hash, namespace};
pub use keys::{DiscoveryKey, KeyPair, PublicKey, Signature};
pub use link::{Address, InvalidAddress, InvalidLink, Link};
pub use listen::{InvalidListenAt, ListenAt};
pub use machine::{Deadline, Machine, Transmit};
pub use time::Time;
