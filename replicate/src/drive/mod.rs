//! Hyperdrive: a folder kept in two cores, a bee of entries and the blobs they point to.
