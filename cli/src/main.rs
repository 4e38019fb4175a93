//! The program anypath: share a folder, clone it, byte for byte.

fn main() {}
