//! The manifest: who may sign a core. Its hash is the core's key.
//!
//! | version | bytes |
//! |---|---|
//! | 1, 2, 3 | `uint` version, `uint` flags, `uint` hash (0), `uint` quorum, array of signers, then what the flags say: prologue, array of linked keys, `buffer` user data |
//! | 0 | `uint` 0, `uint` hash (0), `uint` type; type 0: 32 bytes of a static tree's hash; 1: a signer; 2: `uint` flags (1 patch), `uint` quorum, array of signers |
//!
//! flags: 1 patch, 2 prologue, 4 linked, 8 user data. signer: `uint` 0 (Ed25519), namespace, public key.
//! prologue: tree hash, `uint` length.
//!
//! Source: npm hypercore 11.37, `lib/messages.js`, `lib/verifier.js`.

use std::sync::LazyLock;

use anypath_wire::{DecodeError, Decoder, Encode, Hash, PublicKey, hash_all, namespace};

/// Who may sign a core, hashed into its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// 0 to 3; 1 unless an older or newer field is used.
    pub version: u64,
    /// Whether a signer's longer tree counts, when the signature brings the nodes between.
    pub allow_patch: bool,
    /// How many signers must sign.
    pub quorum: u64,
    /// Who may sign.
    pub signers: Vec<Signer>,
    /// A start that needs no signature.
    pub prologue: Option<Prologue>,
    /// Keys of cores that belong to this one (version 2 and later).
    pub linked: Option<Vec<PublicKey>>,
    /// Anything (version 2 and later).
    pub user_data: Option<Vec<u8>>,
}

/// One who may sign, with Ed25519.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signer {
    /// Sets apart cores of one signer that have the same manifest otherwise.
    pub namespace: Hash,
    /// Its public key.
    pub public_key: PublicKey,
}

/// A tree that is part of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prologue {
    /// Hash of the tree's roots.
    pub hash: Hash,
    /// Its blocks.
    pub length: u64,
}

impl Manifest {
    /// Returns the manifest of version 1 by which that signer alone signs.
    pub fn single(signer: Signer) -> Self {
        Self {
            version: 1,
            allow_patch: false,
            quorum: 1,
            signers: vec![signer],
            prologue: None,
            linked: None,
            user_data: None,
        }
    }

    /// Returns the core's key: the hash of the manifest's namespace and its encoding.
    pub fn key(&self) -> PublicKey {
        let mut encoded = Vec::new();
        self.encode(&mut encoded);
        PublicKey(hash_all(&[&*MANIFEST, &encoded]))
    }

    /// Returns whether a core of that key may have this manifest: it hashes to the key or is compatible with it.
    pub fn fits(&self, key: &PublicKey) -> bool {
        self.is_compat(key) || self.key() == *key
    }

    /// Returns whether the key is simply that of the only signer, as before hypercore 11.
    pub fn is_compat(&self, key: &PublicKey) -> bool {
        matches!(&self.signers[..], [signer] if signer.public_key == *key)
    }

    /// Appends the encoding to `out`; the version says which fields are kept.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.uint(self.version);
        if self.version == 0 {
            return self.encode_v0(out);
        }
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        out.uint(
            flag(self.allow_patch, PATCH)
                | flag(self.prologue.is_some(), PROLOGUE)
                | flag(self.linked.is_some(), LINKED)
                | flag(self.user_data.is_some(), USER_DATA),
        );
        out.uint(BLAKE2B);
        out.uint(self.quorum);
        encode_signers(&self.signers, out);
        if let Some(prologue) = &self.prologue {
            out.raw(&prologue.hash);
            out.uint(prologue.length);
        }
        if let Some(linked) = &self.linked {
            out.uint(linked.len() as u64);
            linked.iter().for_each(|key| out.raw(&key.0));
        }
        if let Some(user_data) = &self.user_data {
            out.buffer(user_data);
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Besides broken encoding: an unknown version, hash or signature, fields the version does not have,
    /// more than 255 signers or linked keys, a quorum that can never be met.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let manifest = match from.uint()? {
            0 => Self::decode_v0(from)?,
            version @ 1..=3 => Self::decode_v1(version, from)?,
            _ => return Err(DecodeError::Unknown("manifest version")),
        };
        if manifest.quorum > manifest.signers.len() as u64 {
            return Err(DecodeError::Unknown("manifest quorum"));
        }
        Ok(manifest)
    }

    fn decode_v1(version: u64, from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let flags = from.uint()?;
        if version < 2 && flags & (LINKED | USER_DATA) != 0 {
            return Err(DecodeError::Unknown("manifest flags"));
        }
        zero(from, "manifest hash")?;
        Ok(Self {
            version,
            allow_patch: flags & PATCH != 0,
            quorum: from.uint()?,
            signers: decode_signers(from)?,
            prologue: when(flags & PROLOGUE != 0, || Ok(Prologue { hash: from.fixed()?, length: from.uint()? }))?,
            linked: when(flags & LINKED != 0, || (0..count(from, 32)?).map(|_| from.fixed().map(PublicKey)).collect())?,
            user_data: when(flags & USER_DATA != 0, || from.buffer().map(<[u8]>::to_vec))?,
        })
    }

    fn encode_v0(&self, out: &mut Vec<u8>) {
        out.uint(BLAKE2B);
        match (&self.prologue, &self.signers[..]) {
            (Some(prologue), []) => {
                out.uint(0);
                out.raw(&prologue.hash);
            }
            (_, [signer]) if self.quorum == 1 && !self.allow_patch => {
                out.uint(1);
                signer.encode(out);
            }
            _ => {
                out.uint(2);
                out.uint(if self.allow_patch { PATCH } else { 0 });
                out.uint(self.quorum);
                encode_signers(&self.signers, out);
            }
        }
    }

    fn decode_v0(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        zero(from, "manifest hash")?;
        let empty = Self {
            version: 0,
            allow_patch: false,
            quorum: 0,
            signers: Vec::new(),
            prologue: None,
            linked: None,
            user_data: None,
        };
        match from.uint()? {
            0 => Ok(Self { prologue: Some(Prologue { hash: from.fixed()?, length: 0 }), ..empty }),
            1 => Ok(Self { quorum: 1, signers: vec![Signer::decode(from)?], ..empty }),
            2 => {
                let allow_patch = from.uint()? & PATCH != 0;
                Ok(Self { allow_patch, quorum: from.uint()?, signers: decode_signers(from)?, ..empty })
            }
            _ => Err(DecodeError::Unknown("manifest type")),
        }
    }
}

impl Signer {
    /// Returns the signer with the namespace that is used when none is chosen.
    pub fn new(public_key: PublicKey) -> Self {
        Self { namespace: *DEFAULT_NAMESPACE, public_key }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.uint(ED25519);
        out.raw(&self.namespace);
        out.raw(&self.public_key.0);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        zero(from, "manifest signature")?;
        Ok(Self { namespace: from.fixed()?, public_key: PublicKey(from.fixed()?) })
    }
}

fn encode_signers(signers: &[Signer], out: &mut Vec<u8>) {
    out.uint(signers.len() as u64);
    signers.iter().for_each(|signer| signer.encode(out));
}

fn decode_signers(from: &mut Decoder<'_>) -> Result<Vec<Signer>, DecodeError> {
    (0..count(from, 65)?).map(|_| Signer::decode(from)).collect()
}

fn count(from: &mut Decoder<'_>, item_bytes_min: usize) -> Result<usize, DecodeError> {
    from.count(item_bytes_min).and_then(|count| if count > ITEMS_MAX { Err(DecodeError::Count) } else { Ok(count) })
}

/// Reads the number of the only hash or signature there is.
fn zero(from: &mut Decoder<'_>, what: &'static str) -> Result<(), DecodeError> {
    if from.uint()? == 0 { Ok(()) } else { Err(DecodeError::Unknown(what)) }
}

fn when<T>(set: bool, read: impl FnOnce() -> Result<T, DecodeError>) -> Result<Option<T>, DecodeError> {
    if set { read().map(Some) } else { Ok(None) }
}

static MANIFEST: LazyLock<Hash> = LazyLock::new(|| namespace("hypercore", 3));
static DEFAULT_NAMESPACE: LazyLock<Hash> = LazyLock::new(|| namespace("hypercore", 4));

const PATCH: u64 = 1;
const PROLOGUE: u64 = 2;
const LINKED: u64 = 4;
const USER_DATA: u64 = 8;
const BLAKE2B: u64 = 0;
const ED25519: u64 = 0;
/// Most signers or linked keys; the reference has no limit, but every one of them is kept for every core.
const ITEMS_MAX: usize = 255;
