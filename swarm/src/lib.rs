//! Introduces peers to the replicator: connects, keeps connected, reports.
