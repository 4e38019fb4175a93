//! A person's folder and a drive: what lies in one is brought into the other, either way, touching only what differs.
//!
//! [`import`] follows a folder into a drive, [`restore`] follows a drive into a folder. Both know the drive by the two
//! traits of [`drive`] alone, and both keep what they did in the store's folder, never in the person's.

pub mod drive;

#[cfg(unix)]
#[cfg(test)]
mod both_ways;
mod chunks;
mod entries;
mod fingerprint;
mod import;
#[cfg(test)]
mod memory;
mod name;
#[cfg(unix)]
#[cfg(test)]
mod path_safety;
mod problem;
mod restore;
mod same;
mod scan;
mod scan_ahead;
mod seen;
mod standing;
mod target;
mod written;

pub use fingerprint::Fingerprint;
pub use import::{Imported, import};
pub use name::{BadLink, BadName, Name};
pub use problem::{Cause, Problem};
pub use restore::{Restored, restore};
pub use scan::{Found, Kind as FoundKind, Scan};
pub use seen::Seen;
pub use target::Target;
pub use written::Written;
