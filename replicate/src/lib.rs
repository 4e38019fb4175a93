//! A byte stream becomes verified blocks: noise makes it private, mux makes it many, core verifies, store keeps.
//!
//! Everything but the store on disk is pure: entropy is an argument, no clock, no socket, no task.
//!
//! The front door is [`replicator`]: all cores and peers of a process, frames in and frames out. [`noise`] makes a byte
//! stream carry such frames, [`mux`] explains the channels in them, [`drive`] reads and writes a folder in two cores, [`store`] keeps them. Two replicators
//! that hand each other their frames:
//!
//! ```
//! use std::sync::Arc;
//!
//! use anypath_replicate::core::{Manifest, Signer};
//! use anypath_replicate::replicator::Replicator;
//! use anypath_replicate::store::MemoryStore;
//! use anypath_wire::{Handshake, KeyPair, Role};
//!
//! let replicator = || Replicator::new(Arc::new(MemoryStore::default()));
//! let (mut writer, mut reader) = (replicator(), replicator());
//!
//! let pair = KeyPair::from_seed(&[1; 32]);
//! let core = writer.open_writable(Manifest::single(Signer::new(pair.public())), pair.clone())?;
//! writer.append(core, &["one".into(), "two".into()])?;
//! writer.commit()?;
//!
//! let copy = reader.open(writer.core(core).key())?;
//! reader.want(copy, 0..u64::MAX)?;
//!
//! // What a Noise handshake would leave behind; of the keys, only `noise` would make use.
//! let shaken = |role| Handshake { role, remote: pair.public(), hash: [2; 64], tx: [3; 32], rx: [3; 32] };
//! let to_reader = writer.connect(shaken(Role::Responder));
//! let to_writer = reader.connect(shaken(Role::Initiator));
//! while writer.has_frame(to_reader) || reader.has_frame(to_writer) {
//!     let mut frame = Vec::new();
//!     if writer.poll_frame(to_reader, &mut frame)? {
//!         reader.handle_frame(to_writer, frame.into())?;
//!     }
//!     let mut frame = Vec::new();
//!     if reader.poll_frame(to_writer, &mut frame)? {
//!         writer.handle_frame(to_reader, frame.into())?;
//!     }
//!     reader.commit()?;
//! }
//! assert_eq!(reader.core(copy).block(1)?.as_deref(), Some(&b"two"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bee;
pub mod core;
pub mod corestore;
pub mod drive;
pub mod messages;
pub mod mux;
pub mod noise;
pub mod replicator;
pub mod store;

mod blocks;
mod node;
mod plaintext;
mod proof;

pub use blocks::{AppendBlocks, Blocks};
pub use node::Node;
pub use plaintext::{Plaintext, PlaintextError};
pub use proof::{
    BlockProof, BlockRequest, HashProof, HashRequest, Proof, Request, SeekProof, SeekRequest, UpgradeProof,
    UpgradeRequest,
};
