//! Protomux: many channels on one connection.
