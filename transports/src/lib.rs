//! Byte streams between two peers: memory and TCP.
