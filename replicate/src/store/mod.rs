//! Where cores are kept: the trait, memory, disk.
