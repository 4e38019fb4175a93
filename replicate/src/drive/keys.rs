//! Which core holds the contents of a drive's files, when the header does not name it: one derived from the drive's.
//!
//! Source: npm hyperdrive 13.3, `index.js` (`generateContentManifest`).

use anypath_wire::{PublicKey, hash_all, namespace};

use crate::core::{Manifest, Signer};

/// Returns the manifest of the blobs core, given that of the drive's bee and the drive's key.
///
/// It has the same signers, so the same key pairs sign both, but each under the namespace
/// `H(hyperdrive's namespace || drive key || its namespace in the drive)`; prologue, linked keys and user data are
/// not taken over. `None` for drives from before manifests, which name their blobs core in the header.
pub fn blobs_manifest(drive: &PublicKey, manifest: &Manifest) -> Option<Manifest> {
    if manifest.version < 1 || manifest.is_compat(drive) {
        return None;
    }
    let outer = namespace("hyperdrive", 0);
    let derive = |signer: &Signer| Signer { namespace: hash_all(&[&outer, &drive.0, &signer.namespace]), ..*signer };
    Some(Manifest {
        signers: manifest.signers.iter().map(derive).collect(),
        prologue: None,
        linked: None,
        user_data: None,
        ..*manifest
    })
}
