//! Drives of the node as folders see them: what is missing is fetched and waited for, what is written is committed.
//!
//! Everything here blocks; it runs beside the node's runtime, never on it.

mod ahead;
mod own;
mod reach;
mod reading;
mod refusal;
mod remote;
mod waiter;

pub(crate) use own::OwnDrive;
pub(crate) use reach::Reach;
pub(crate) use remote::{Kept, Reading, RemoteDrive, VersionGone};
pub(crate) use waiter::Waiter;
