//! The ten messages of the `hypercore/alpha` protocol.
