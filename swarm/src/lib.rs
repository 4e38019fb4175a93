//! Introduces peers to the replicator: listens, dials, keeps connected, reports.
//!
//! A [`Node`] is one identity, one store and its connections:
//!
//! ```text
//! Transport ─► Conn ─► handshake ─► reader task ─► engine thread (Replicator) ─► writer task
//! ```
//!
//! The engine thread alone touches cores, a thread beside it commits what it staged, and the two tasks of a connection do
//! its encryption. So decrypting, verifying and storing overlap, and the replicator needs no lock.
//!
//! Below file sync, an application may speak a protocol of its own over the same connections ([`Node::speak`],
//! `examples/chat.rs`), and refuse blocks that break its rules
//! ([`Replicator::set_rule`](anypath_replicate::replicator::Replicator::set_rule), `examples/json_lines.rs`).
//!
//! Two nodes of one process; with `Tcp` and `DiskStore` instead it is `examples/fetch_core.rs`:
//!
//! ```
//! use std::sync::Arc;
//!
//! use anypath_replicate::core::{Manifest, Signer};
//! use anypath_replicate::store::MemoryStore;
//! use anypath_swarm::{Config, Node};
//! use anypath_transports::Memory;
//! use anypath_wire::KeyPair;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Memory::new();
//! let node = |seed| {
//!     let (identity, store) = (KeyPair::from_seed(&[seed; 32]), Arc::new(MemoryStore::default()));
//!     Node::start(Config { identity, store, transports: vec![Arc::new(network.clone())] })
//! };
//! let (writer, reader) = (node(1)?, node(2)?);
//!
//! let pair = KeyPair::from_seed(&[3; 32]);
//! let manifest = Manifest::single(Signer::new(pair.public()));
//! let key = manifest.key();
//! let core = writer.call(move |replicator| replicator.open_writable(manifest, pair)).await??;
//! writer.call(move |replicator| replicator.append(core, &["a block".into()])).await??;
//! writer.listen(&"memory://writer:1".parse()?).await?;
//!
//! let mut events = reader.subscribe();
//! let copy = reader.call(move |replicator| replicator.open(&key)).await??;
//! reader.call(move |replicator| replicator.want(copy, 0..u64::MAX)).await??;
//! reader.connect("memory://writer:1".parse()?);
//! while reader.read(move |replicator| replicator.core(copy).contiguous_length()).await? == 0 {
//!     events.recv().await?;
//! }
//! let block = reader.read(move |replicator| replicator.core(copy).block(0)).await??;
//! assert_eq!(block.as_deref(), Some(&b"a block"[..]));
//! # Ok(())
//! # }
//! ```

mod buffers;
mod channels;
mod committer;
mod connection;
pub mod discover;
mod engine;
mod event;
mod finder;
mod keeper;
mod node;
mod unfinished;
mod waiting;

pub use channels::{ChannelError, Channels};
pub use connection::ConnectionError;
pub use engine::{Begun, Stopped};
pub use event::{Event, PeerInfo, Unreachable};
pub use finder::{Answers, Finder, FinderEnded, Sockets};
pub use node::{Config, Node};
