//! The words every room shares: compact encoding, hashes, keys, links, time, the `Machine` trait and Noise handshakes.
//!
//! Everything here is pure: no clock, no socket, no file, no randomness of its own.
//! Two other rooms must need a thing before it may live here.
//!
//! ```
//! use anypath_wire::{Decoder, Encode, KeyPair, Link};
//!
//! let key = KeyPair::from_seed(&[7; 32]).public();
//! let link: Link = format!("hyper://{key}?via=tcp://192.0.2.7:3282").parse()?;
//! assert_eq!((link.key, link.via[0].port), (key, 3282));
//!
//! let mut message = Vec::new();
//! message.uint(3282);
//! message.string("topic");
//! let mut decoder = Decoder::new(&message);
//! assert_eq!((decoder.uint()?, decoder.string()?), (3282, "topic"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod base32;
mod codec;
mod handshake;
mod hash;
mod keys;
mod link;
mod listen;
mod machine;
pub mod noise;
mod time;

pub use address::{Address, InvalidAddress};
pub use base32::{InvalidKeyText, key_from_text, key_to_text};
pub use codec::{DecodeError, Decoder, Encode};
pub use handshake::{Handshake, Role};
pub use hash::{Hash, Hasher, hash, hash_all, hash_pairs, keyed_hash, namespace};
pub use keys::{DiscoveryKey, KeyPair, PublicKey, Signature};
pub use link::{InvalidLink, Link};
pub use listen::{InvalidListenAt, ListenAt};
pub use machine::{Deadline, Machine, Transmit};
pub use time::Time;
