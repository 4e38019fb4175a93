//! The relay over real sockets: peers who meet there, networks that break, strangers who mean no good.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod admission;
mod breaking;
mod hand;
mod lab;
mod meeting;
mod operating;
mod strangers;
