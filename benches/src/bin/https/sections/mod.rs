//! The questions, each with how it is measured and what is said of it.

mod latency;
mod rate;
mod start;

use anypath_benches::Section;

/// All of them, in the report's order.
pub(crate) const ALL: &[&dyn Section] = &[&rate::Rate, &latency::Latency, &start::Start];
