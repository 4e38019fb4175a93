//! Measurements and their reports.
