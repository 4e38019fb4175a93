//! Outside witnesses: vectors, live JavaScript peers and other programs.
//!
//! The live tests are scenarios between a writer and a reader, written once over [`Peer`] and played by two JavaScript
//! peers (so that the stage itself is known to be good), then by ours against one, in both directions. Those of the
//! command line drive the program itself through [`Anypath`].

mod answer;
mod anypath;
mod cast;
pub mod classic;
pub mod content;
pub mod decoders;
mod drive_cores;
pub mod folder;
pub mod front;
pub mod hyperswarm;
mod js_drive;
mod js_peer;
pub mod lab;
mod libtorrent;
mod peer;
mod process;
pub mod proxy;
mod rust_peer;
mod skip;
pub mod vectors;

pub use answer::{Answer, ask};
pub use anypath::{Anypath, Finished, Share, binary, listening_address};
pub use cast::{Cast, Kind};
pub use drive_cores::drive_cores;
pub use js_drive::DriveInfo;
pub use js_peer::JsPeer;
pub use libtorrent::Libtorrent;
pub use peer::{Blocks, CoreInfo, CoreSpec, Manifest, Peer, Until};
pub use process::Process;
pub use rust_peer::rust_peer;
pub use skip::skip;
