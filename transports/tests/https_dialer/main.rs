//! The way to a relay, through proxies of every ill will, and past certificates of every kind.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod certificates;
mod scripted;
mod torture;
