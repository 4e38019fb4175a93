//! Outside witnesses: vectors and live JavaScript peers.
