//! Noise and secret-stream: a byte stream becomes a private one.
