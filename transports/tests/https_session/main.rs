//! The HTTPS session between a client and a relay, over simulated networks of every ill will and every speed.
//!
//! `ANYPATH_LONG=1` runs 10,000 seeds instead of hundreds.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod app;
mod chance;
mod chaos;
mod rules;
mod speed;
mod world;
