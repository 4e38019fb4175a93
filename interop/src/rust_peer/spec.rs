//! Which core of ours a [`CoreSpec`] means.

use anyhow::{Context, Result};
use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::corestore::{Namespace, PrimaryKey};
use anypath_replicate::replicator::{CoreId, Replicator};
use anypath_wire::{KeyPair, PublicKey};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::{CoreSpec, peer};

/// What opens a core.
pub(super) type Opener = Box<dyn FnOnce(&mut Replicator) -> Result<CoreId> + Send>;

/// Returns what opens that core.
pub(super) fn opener(spec: &CoreSpec, primary: &PrimaryKey) -> Result<Opener> {
    let signer = spec.signer.as_deref().map(key_pair);
    if let Some(name) = &spec.name {
        let named = primary.core(&Namespace::default(), name);
        return Ok(writable(named.manifest, named.signer));
    }
    if let Some(key) = &spec.key {
        let key = PublicKey(HEXLOWER.decode(key.as_bytes())?.try_into().ok().context("a key has 32 bytes")?);
        return Ok(Box::new(move |replicator| Ok(replicator.open(&key)?)));
    }
    if let Some(spec) = &spec.manifest {
        let manifest = manifest(spec)?;
        return Ok(match signer {
            Some(signer) => writable(manifest, signer),
            None => Box::new(move |replicator| Ok(replicator.open_manifest(manifest)?)),
        });
    }
    let signer = signer.context("a core needs a name, a key, a signer or a manifest")?;
    if spec.compat {
        return Ok(Box::new(move |replicator| Ok(replicator.open_compat(signer)?)));
    }
    Ok(writable(Manifest::single(Signer::new(signer.public())), signer))
}

/// Returns the key pair whose seed is SHA-256 of the text.
pub(super) fn key_pair(text: &str) -> KeyPair {
    KeyPair::from_seed(&Sha256::digest(text).into())
}

fn writable(manifest: Manifest, signer: KeyPair) -> Opener {
    Box::new(move |replicator| Ok(replicator.open_writable(manifest, signer)?))
}

fn manifest(spec: &peer::Manifest) -> Result<Manifest> {
    let user_data = spec.user_data.as_ref().map(|bytes| HEXLOWER.decode(bytes.as_bytes())).transpose()?;
    Ok(Manifest {
        version: spec.version.into(),
        allow_patch: spec.allow_patch,
        quorum: spec.quorum as u64,
        signers: spec.signers.iter().map(|signer| Signer::new(key_pair(signer).public())).collect(),
        prologue: None,
        linked: None,
        user_data,
    })
}
