//! Named cores: one secret from which the key pairs of any number of cores follow.
//!
//! Source: npm corestore 7.12, `index.js`; its default manifests are ours.

use std::fmt;

use anypath_wire::{Hash, KeyPair, PublicKey, hash_all, keyed_hash, namespace};

use crate::core::{Manifest, Signer};
use crate::drive::blobs_namespace;

/// The 32 secret bytes behind every core of a store that has a name; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PrimaryKey(pub [u8; 32]);

/// Sets apart cores that have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespace(Hash);

/// What it takes to open a core of our own.
#[derive(Debug, Clone)]
pub struct Named {
    /// Who may sign it: we alone.
    pub manifest: Manifest,
    /// What we sign with.
    pub signer: KeyPair,
}

impl PrimaryKey {
    /// Returns the core with that name.
    pub fn core(&self, namespace: &Namespace, name: &str) -> Named {
        let signer = KeyPair::from_seed(&self.seed(namespace, name));
        Named { manifest: Manifest::single(Signer::new(signer.public())), signer }
    }

    fn seed(&self, within: &Namespace, name: &str) -> Hash {
        keyed_hash(&self.0, &[&namespace("corestore", 0)[..], &within.0, name.as_bytes()].concat())
    }
}

impl fmt::Debug for PrimaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrimaryKey")
    }
}

impl Namespace {
    /// Returns the namespace of that name within this one; the default is the root of all.
    pub fn child(&self, name: &str) -> Self {
        Self(hash_all(&[&self.0, name.as_bytes()]))
    }
}

impl Named {
    /// Returns the key by which peers know the core.
    pub fn key(&self) -> PublicKey {
        self.manifest.key()
    }

    /// Returns the core of a drive's contents, if this is the core of the drive's entries.
    pub fn blobs(&self) -> Self {
        Self { manifest: blobs_manifest(&self.key(), &self.manifest), signer: self.signer.clone() }
    }
}

/// Returns the manifest of the core that holds a drive's contents, from the drive's key and manifest.
///
/// Source: npm hyperdrive 13.3, `index.js` (`generateContentManifest`).
pub fn blobs_manifest(drive: &PublicKey, manifest: &Manifest) -> Manifest {
    let signers = manifest.signers.iter();
    let signers = signers.map(|signer| Signer { namespace: blobs_namespace(drive, &signer.namespace), ..*signer });
    Manifest { signers: signers.collect(), prologue: None, linked: None, user_data: None, ..manifest.clone() }
}
