//! The program anypath: share a folder, clone it, byte for byte.
//!
//! The only room that knows arguments, the environment, standard output, people's folders, and the keys and caches
//! on disk.

pub mod folder;

mod args;
mod commands;
mod config;
mod conflict;
mod demo;
mod dht;
mod diagnosis;
mod drives;
mod exit;
mod finding;
mod interrupt;
mod keys;
mod lasting;
mod networks;
mod place;
mod relays;
mod report;
mod signals;
mod watch;
mod ways;

pub use args::{Args, Command, LISTEN_DEFAULT, Storage};
pub use commands::run;
pub use demo::demo;
pub use dht::{Announce, Begin, Dht, DhtNetwork, Lookup, Run, Subject, What};
pub use diagnosis::Cause;
pub use exit::{Exit, Failure, NOBODY, Rung, USAGE};
pub use finding::{Bootstrap, Finding};
pub use interrupt::{Interrupt, Interrupted};
pub use keys::Keys;
pub use place::Place;
pub use relays::Relays;
pub use report::{Event, ProvenHead, Report};
pub use watch::Watch;
pub use ways::Ways;
