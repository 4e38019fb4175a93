//! The questions, each with how it is measured and what is said of it.

mod core;
mod distant;
mod files;
mod import;
mod limit;
mod memory;

use anypath_benches::{Figures, Section};

use crate::sides::core::Fetched;

/// All of them, in the report's order.
pub(crate) const ALL: &[&dyn Section] =
    &[&core::Core, &files::Files, &limit::Limit, &distant::Distant, &memory::Memory, &import::Import];

/// Adds what a fetch took, under the quantities' names.
fn add_fetch(figures: &mut Figures, case: &str, fetched: &Fetched) {
    figures.add(case, SECONDS, fetched.seconds);
    figures.add(case, READER_CPU, fetched.reader_cpu_seconds);
    figures.add(case, SERVER_CPU, fetched.server_cpu_seconds);
    figures.add(case, PEAK, fetched.reader_peak_mib);
}

const SECONDS: &str = "seconds";
const READER_CPU: &str = "reader's processor seconds";
const SERVER_CPU: &str = "server's processor seconds";
const PEAK: &str = "reader's peak MiB";
