//! Which core holds the contents of a drive's files: derived from the drive's own manifest, or named by its header.
//!
//! Source: npm hyperdrive 13.3, `index.js` (`generateContentManifest`).

use anypath_wire::{Hash, PublicKey, hash_all, namespace};

/// Returns the namespace of a signer of the blobs core, given the drive's key and that signer's in the drive's manifest.
///
/// The blobs core's manifest is the drive's (version, quorum, patch and public keys) with these namespaces, and
/// nothing else; the same key pairs sign it.
pub fn blobs_namespace(drive: &PublicKey, signer_namespace: &Hash) -> Hash {
    hash_all(&[&namespace("hyperdrive", 0), &drive.0, signer_namespace])
}
