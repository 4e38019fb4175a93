//! The relay over real sockets: peers who meet there, networks that break, strangers who mean no good.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod breaking;
mod lab;
mod meeting;
mod strangers;
