//! Measurements and their reports.

pub mod idle;
pub mod import;
