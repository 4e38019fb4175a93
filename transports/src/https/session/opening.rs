//! How a session opens: `Noise_NK_Ed25519_ChaChaPoly_BLAKE2b` towards the relay's key, one request and its answer.
//!
//! The client stays unnamed; who it is, it proves inside, by signing the handshake's hash. The handshake is independent
//! of TLS, so that who intercepts TLS sees neither keys nor tokens, and can forge nothing.
//!
//! | payload | fields |
//! |---|---|
//! | asked (first message) | version (uint, 1), circuits that the relay may open (uint), token (buffer) |
//! | granted (second message) | 0, session id (16 bytes), forgotten token (16 bytes), circuits (uint), route tag (string), tags (uint), whether a key is to be proven first (uint) |
//! | refused (second message) | reason (uint, not 0) |
//!
//! The first message can be replayed. It then opens a session that nobody has keys to, which ends by itself.

use anypath_wire::noise::{HandshakeError, NoiseHandshake};
use anypath_wire::{DecodeError, Decoder, Encode, KeyPair, Role, Time};
use bytes::Bytes;
use thiserror::Error;

use super::cipher::Cipher;
use super::core::Core;
use super::{Config, Server};

/// The number of a session; no secret: the session's keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// Why a first message opens no session. The peer's mistake, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is no handshake, or for another key.
    #[error("the request to open a session is not meant for this relay: {0}")]
    Handshake(#[from] HandshakeError),
    /// Its payload cannot be read.
    #[error("the request to open a session cannot be read: {0}")]
    Payload(#[from] DecodeError),
    /// It speaks another version.
    #[error("the client speaks version {0} of the session, this relay {VERSION}")]
    Version(u64),
}

/// A client's request to open a session, at the relay.
pub struct Asked {
    handshake: NoiseHandshake,
    circuits_granted: u64,
    /// What the client shows to be let in; empty if nothing.
    pub token: Vec<u8>,
}

/// What the relay gives to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Its number, random.
    pub session: SessionId,
    /// What proves to the client that the relay has forgotten it: derived from the relay's secret and the number, so
    /// that a restarted relay can still say it.
    pub forgotten: [u8; 16],
    /// Letters and digits that lead to this relay through a balancer.
    pub tag: String,
    /// Over how many tags topics are spread here, as in the descriptor.
    pub tags: u64,
    /// Whether the client is to prove a key before it asks for anything else.
    pub proof: bool,
}

/// Reads a client's request; `ephemeral_seed` must be fresh randomness.
///
/// # Errors
/// Whatever is no such request.
pub fn ask(identity: &KeyPair, ephemeral_seed: [u8; 32], body: &[u8]) -> Result<Asked, OpenError> {
    let mut handshake = NoiseHandshake::nk_responder(PROLOGUE, identity, ephemeral_seed);
    let payload = handshake.read(body)?;
    let mut from = Decoder::new(&payload);
    let version = from.uint()?;
    if version != VERSION {
        return Err(OpenError::Version(version));
    }
    let (circuits_granted, token) = (from.uint()?, from.buffer()?.to_vec());
    Ok(Asked { handshake, circuits_granted, token })
}

impl Asked {
    /// Opens the session: returns the answer's body, the session, and the hash that its client may sign.
    pub fn grant(mut self, now: Time, granted: &Granted, config: Config) -> Option<(Bytes, Server, [u8; 64])> {
        let mut payload = vec![0];
        payload.raw(&granted.session.0);
        payload.raw(&granted.forgotten);
        payload.uint(config.circuits_max);
        payload.string(&granted.tag);
        payload.uint(granted.tags);
        payload.uint(granted.proof.into());
        let answer = self.handshake.write(&payload).ok()?;
        let split = self.handshake.split()?;
        let core = Core::new(now, Role::Responder, Cipher::new(&split), config, self.circuits_granted);
        Some((answer.into(), Server::new(core), split.hash))
    }

    /// Refuses: returns the answer's body. Reason 0 is not one.
    pub fn refuse(mut self, reason: u64) -> Option<Bytes> {
        let mut payload = Vec::new();
        payload.uint(reason.max(1));
        self.handshake.write(&payload).ok().map(Bytes::from)
    }
}

/// Writes the client's first message.
pub(super) fn asking(handshake: &mut NoiseHandshake, token: &[u8], config: &Config) -> Result<Bytes, HandshakeError> {
    let mut payload = Vec::new();
    payload.uint(VERSION);
    payload.uint(config.circuits_max);
    payload.buffer(token);
    handshake.write(&payload).map(Bytes::from)
}

/// Reads the relay's answer to it: what was granted and how many circuits, or the reason of a refusal.
pub(super) fn answered(payload: &[u8]) -> Result<Result<(Granted, u64), u64>, DecodeError> {
    let mut from = Decoder::new(payload);
    let reason = from.uint()?;
    if reason != 0 {
        return Ok(Err(reason));
    }
    let (session, forgotten, circuits) = (SessionId(from.fixed()?), from.fixed()?, from.uint()?);
    let tag = from.string()?;
    let sound = tag.len() <= TAG_BYTES_MAX && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !sound {
        return Err(DecodeError::Unknown("a route tag"));
    }
    let (tags, proof) = (from.uint()?, from.uint()? != 0);
    Ok(Ok((Granted { session, forgotten, tag: tag.to_owned(), tags, proof }, circuits)))
}

/// Splits a request's body, or the first message of a stream, into the session's number and what it is to be fed.
pub fn split_session_id(body: &[u8]) -> Option<(SessionId, &[u8])> {
    body.split_first_chunk::<16>().map(|(id, rest)| (SessionId(*id), rest))
}

/// Returns the answer to a request of a session that the relay does not know.
pub fn forgotten(token: &[u8; 16]) -> Bytes {
    let mut record = vec![0xa3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend_from_slice(token);
    record.into()
}

/// Names the protocol to both handshakes.
pub(super) const PROLOGUE: &[u8] = b"anypath session";
/// What is spoken here.
const VERSION: u64 = 1;
/// The longest route tag: a balancer needs no more.
const TAG_BYTES_MAX: usize = 32;
