//! A byte stream becomes verified blocks: noise makes it private, mux makes it many, core verifies, store keeps.
//!
//! Everything but `store::disk` is pure: time and randomness are arguments, no socket, no task.

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
mod proof;

pub use blocks::{AppendBlocks, Blocks};
pub use node::Node;
pub use proof::{
    BlockProof, BlockRequest, HashProof, HashRequest, Proof, Request, SeekProof, SeekRequest, UpgradeProof,
    UpgradeRequest,
};
