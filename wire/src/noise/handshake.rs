//! Noise handshakes as codecs, XX, IK and NK: payloads in, messages out, and back.

use noise_protocol::patterns::{HandshakePattern, noise_ik, noise_nk, noise_xx};
use noise_protocol::{ErrorKind, HandshakeState};
use thiserror::Error;

use super::suite::{Blake2b, ChaChaPoly, Ed25519, Secret};
use crate::{Handshake, KeyPair, PublicKey, Role};

/// One end of a Noise handshake as a codec: payloads in, messages out, and back.
///
/// Source: npm noise-handshake 4.2; noiseprotocol.org revision 34.
///
/// A failed `read` or `write` leaves it as it was, so that a forged answer does not end an attempt.
/// Of two clones only one may `write`: both would use the same key and nonce.
#[derive(Clone)]
pub struct NoiseHandshake {
    state: HandshakeState<Ed25519, ChaChaPoly, Blake2b>,
    role: Role,
}

impl NoiseHandshake {
    /// Starts `Noise_XX_Ed25519_ChaChaPoly_BLAKE2b`: three messages, both keys are learnt on the way.
    pub fn xx(role: Role, prologue: &[u8], identity: &KeyPair, ephemeral_seed: [u8; 32]) -> Self {
        Self::new(noise_xx(), role, prologue, Some(identity), ephemeral_seed, None)
    }

    /// Starts `Noise_IK_Ed25519_ChaChaPoly_BLAKE2b` towards a known responder: two messages.
    pub fn ik_initiator(remote: PublicKey, prologue: &[u8], identity: &KeyPair, ephemeral_seed: [u8; 32]) -> Self {
        Self::new(noise_ik(), Role::Initiator, prologue, Some(identity), ephemeral_seed, Some(remote.0))
    }

    /// Awaits the first message of `Noise_IK_Ed25519_ChaChaPoly_BLAKE2b`.
    pub fn ik_responder(prologue: &[u8], identity: &KeyPair, ephemeral_seed: [u8; 32]) -> Self {
        Self::new(noise_ik(), Role::Responder, prologue, Some(identity), ephemeral_seed, None)
    }

    /// Starts `Noise_NK_Ed25519_ChaChaPoly_BLAKE2b` towards a known responder, which learns no key of ours: two messages.
    pub fn nk_initiator(remote: PublicKey, prologue: &[u8], ephemeral_seed: [u8; 32]) -> Self {
        Self::new(noise_nk(), Role::Initiator, prologue, None, ephemeral_seed, Some(remote.0))
    }

    /// Awaits the first message of `Noise_NK_Ed25519_ChaChaPoly_BLAKE2b`.
    pub fn nk_responder(prologue: &[u8], identity: &KeyPair, ephemeral_seed: [u8; 32]) -> Self {
        Self::new(noise_nk(), Role::Responder, prologue, Some(identity), ephemeral_seed, None)
    }

    /// Returns our next message, carrying `payload`.
    ///
    /// # Errors
    /// `OutOfTurn`, `TooLong`, or `WeakKey` if the peer's key is no key.
    pub fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        if self.state.completed() || !self.state.is_write_turn() {
            return Err(HandshakeError::OutOfTurn);
        }
        bounded(payload.len() + self.state.get_next_message_overhead())?;
        self.step(|state| state.write_message_vec(payload))
    }

    /// Takes the peer's next message and returns the payload it carried.
    ///
    /// # Errors
    /// Every error but `OutOfTurn` says what the peer did wrong.
    pub fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        if self.state.completed() || self.state.is_write_turn() {
            return Err(HandshakeError::OutOfTurn);
        }
        bounded(message.len())?;
        let bytes_min = self.state.get_next_message_overhead();
        if message.len() < bytes_min {
            return Err(HandshakeError::TooShort { bytes: message.len(), bytes_min });
        }
        self.step(|state| state.read_message_vec(message))
    }

    /// Returns the peer's key, as soon as it is known: proven only once the handshake is finished.
    pub fn remote(&self) -> Option<PublicKey> {
        self.state.get_rs().map(PublicKey)
    }

    /// Returns who is there and the shared keys, once the last message is read or written.
    ///
    /// Of a peer without a key, the initiator of NK, this is never known: see [`split`](Self::split).
    pub fn finished(&self) -> Option<Handshake> {
        let remote = self.remote()?;
        let Split { hash, tx, rx } = self.split()?;
        Some(Handshake { role: self.role, remote, hash, tx: tx.0, rx: rx.0 })
    }

    /// Returns the shared keys alone, once the last message is read or written.
    pub fn split(&self) -> Option<Split> {
        if !self.state.completed() {
            return None;
        }
        let (initiator, responder) = self.state.get_ciphers();
        let (initiator, responder) = (initiator.extract().0, responder.extract().0);
        let (tx, rx) = match self.role {
            Role::Initiator => (initiator, responder),
            Role::Responder => (responder, initiator),
        };
        let mut hash = [0; 64];
        hash.copy_from_slice(self.state.get_hash());
        Some(Split { hash, tx, rx })
    }

    fn new(
        pattern: HandshakePattern,
        role: Role,
        prologue: &[u8],
        identity: Option<&KeyPair>,
        ephemeral_seed: [u8; 32],
        remote: Option<[u8; 32]>,
    ) -> Self {
        let (s, e) = (identity.map(|identity| Secret(*identity.seed())), Secret(ephemeral_seed));
        let initiator = role == Role::Initiator;
        Self { state: HandshakeState::new(pattern, initiator, prologue, s, Some(e), remote, None), role }
    }

    /// Works on a copy of the state: `noise-protocol` leaves a failed one in pieces.
    fn step(
        &mut self,
        work: impl FnOnce(&mut State) -> Result<Vec<u8>, noise_protocol::Error>,
    ) -> Result<Vec<u8>, HandshakeError> {
        let mut next = self.state.clone();
        let bytes = work(&mut next).map_err(|error| match error.kind() {
            ErrorKind::DH => HandshakeError::WeakKey,
            _ => HandshakeError::Forged,
        })?;
        self.state = next;
        Ok(bytes)
    }
}

/// What both ends of a finished handshake share, whoever they are.
pub struct Split {
    /// The final Noise hash `h`; both ends have the same one and nobody else can.
    pub hash: [u8; 64],
    /// The key for what we send.
    pub tx: Secret<32>,
    /// The key for what we receive.
    pub rx: Secret<32>,
}

/// Why a handshake came to nothing: `OutOfTurn` is the caller's or the peer's mistake, the others the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// No message is due in this direction now.
    #[error("a handshake message came out of turn")]
    OutOfTurn,
    /// The message cannot be what is due.
    #[error(
        "the peer speaks something else than secret-stream: its handshake message has {bytes} bytes, at least \
         {bytes_min} are due"
    )]
    TooShort {
        /// Its length.
        bytes: usize,
        /// The least length of the message that is due.
        bytes_min: usize,
    },
    /// No Noise message is that long.
    #[error("a handshake message of {bytes} bytes is too long: Noise allows {HANDSHAKE_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The peer's key, static or ephemeral, is not the canonical encoding of a point of prime order.
    #[error("the peer's key is not a sound Ed25519 key, so nothing secret can be agreed with it")]
    WeakKey,
    /// The message does not authenticate.
    #[error(
        "the peer's handshake message does not authenticate: it was altered on the way, meant for another key, or is \
         not secret-stream"
    )]
    Forged,
}

/// The longest Noise message in bytes, set by Noise itself; the frame limit while a handshake runs.
pub const HANDSHAKE_BYTES_MAX: usize = 65_535;

type State = HandshakeState<Ed25519, ChaChaPoly, Blake2b>;

fn bounded(bytes: usize) -> Result<(), HandshakeError> {
    if bytes > HANDSHAKE_BYTES_MAX { Err(HandshakeError::TooLong { bytes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(seed: u8) -> KeyPair {
        KeyPair::from_seed(&[seed; 32])
    }

    fn ik() -> (NoiseHandshake, NoiseHandshake) {
        let initiator = NoiseHandshake::ik_initiator(pair(2).public(), b"pro", &pair(1), [11; 32]);
        (initiator, NoiseHandshake::ik_responder(b"pro", &pair(2), [12; 32]))
    }

    #[test]
    fn one_end_may_stay_unnamed() {
        let mut a = NoiseHandshake::nk_initiator(pair(2).public(), b"pro", [11; 32]);
        let mut b = NoiseHandshake::nk_responder(b"pro", &pair(2), [12; 32]);
        let mut wrong = NoiseHandshake::nk_responder(b"pro", &pair(3), [12; 32]);
        let first = a.write(b"hello").unwrap();
        assert_eq!(wrong.read(&first), Err(HandshakeError::Forged));
        assert_eq!(b.read(&first).unwrap(), b"hello");
        assert_eq!(a.read(&b.write(b"well met").unwrap()).unwrap(), b"well met");
        assert!(b.finished().is_none());
        let (a, b) = (a.split().unwrap(), b.split().unwrap());
        assert_eq!((a.hash, a.tx.0, a.rx.0), (b.hash, b.rx.0, b.tx.0));
        assert_ne!(a.tx.0, a.rx.0);
    }

    #[test]
    fn garbage_and_unsound_keys_are_errors() {
        for bytes in 0..300_usize {
            let garbage: Vec<u8> = (0..bytes).map(|at| (at * at * 31 + bytes * 7) as u8).collect();
            assert!(ik().1.read(&garbage).is_err(), "{bytes}");
            assert!(NoiseHandshake::nk_responder(b"", &pair(2), [12; 32]).read(&garbage).is_err(), "{bytes}");
        }
        for key in [[0; 32], [2; 32]] {
            let mut ik = NoiseHandshake::ik_initiator(PublicKey(key), b"", &pair(1), [11; 32]);
            assert_eq!(ik.write(b""), Err(HandshakeError::WeakKey));
        }
    }

    #[test]
    fn a_forged_answer_does_not_end_an_attempt() {
        let (mut a, mut b) = ik();
        assert_eq!(b.write(b"early"), Err(HandshakeError::OutOfTurn));
        assert_eq!(a.read(&[0; 48]), Err(HandshakeError::OutOfTurn));
        assert_eq!(b.read(&a.write(b"hello").unwrap()).unwrap(), b"hello");
        assert_eq!(b.remote(), Some(pair(1).public()));
        let answer = b.write(b"well met").unwrap();
        for byte in 0..answer.len() {
            let mut bad = answer.clone();
            bad[byte] ^= 1;
            assert!(a.read(&bad).is_err(), "{byte}");
            assert!(a.read(&answer[..byte]).is_err(), "{byte}");
        }
        assert!(a.finished().is_none());
        assert_eq!(a.read(&answer).unwrap(), b"well met");
        assert_eq!(a.finished().unwrap().tx, b.finished().unwrap().rx);
        assert_eq!(a.write(b""), Err(HandshakeError::OutOfTurn));
    }

    #[test]
    fn a_payload_beyond_noise_is_refused_before_it_is_sealed() {
        let (mut a, mut b) = ik();
        let room = HANDSHAKE_BYTES_MAX - 96;
        assert_eq!(a.write(&vec![0; room + 1]), Err(HandshakeError::TooLong { bytes: HANDSHAKE_BYTES_MAX + 1 }));
        assert_eq!(b.read(&a.write(&vec![0; room]).unwrap()).unwrap().len(), room);
    }
}
