//! Noise handshakes, sans-IO: XX over a stream, and XX or IK as bare messages with payloads.

use anypath_wire::{Handshake, KeyPair, PublicKey, Role};
use noise_protocol::patterns::{HandshakePattern, noise_ik, noise_xx};
use noise_protocol::{ErrorKind, HandshakeState};
use thiserror::Error;

use super::suite::{Blake2b, ChaChaPoly, Ed25519, Secret};

/// The handshake that opens a secret-stream: Noise XX with empty prologue and payloads.
///
/// ```
/// use anypath_replicate::noise::XxHandshake;
/// use anypath_wire::{KeyPair, Role};
///
/// let mut dialler = XxHandshake::new(Role::Initiator, &KeyPair::from_seed(&[1; 32]), [11; 32]);
/// let mut listener = XxHandshake::new(Role::Responder, &KeyPair::from_seed(&[2; 32]), [12; 32]);
/// while dialler.finished().is_none() || listener.finished().is_none() {
///     if let Some(frame) = dialler.poll_frame() {
///         listener.handle_frame(&frame[3..])?;
///     }
///     if let Some(frame) = listener.poll_frame() {
///         dialler.handle_frame(&frame[3..])?;
///     }
/// }
/// # Ok::<(), anypath_replicate::noise::HandshakeError>(())
/// ```
#[derive(Clone)]
pub struct XxHandshake {
    noise: NoiseHandshake,
    outbox: Option<Vec<u8>>,
}

impl XxHandshake {
    /// Starts a handshake; `ephemeral_seed` must be fresh randomness for every connection.
    pub fn new(role: Role, identity: &KeyPair, ephemeral_seed: [u8; 32]) -> Self {
        let mut noise = NoiseHandshake::xx(role, b"", identity, ephemeral_seed);
        // Out of turn for the responder, who waits.
        let outbox = noise.write(b"").ok().map(frame);
        Self { noise, outbox }
    }

    /// Takes the body of a frame from the peer (as cut by [`Frames`](super::Frames)); a payload in it is ignored.
    ///
    /// # Errors
    /// Any error is final for the connection.
    pub fn handle_frame(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        self.noise.read(body)?;
        if !self.noise.state.completed() {
            self.outbox = Some(frame(self.noise.write(b"")?));
        }
        Ok(())
    }

    /// Returns the next frame for the peer, whole, with its 3-byte length.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.outbox.take()
    }

    /// Returns the result once the last message is read or written; it may still wait in `poll_frame`.
    pub fn finished(&self) -> Option<Handshake> {
        self.noise.finished()
    }
}

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
        Self::new(noise_xx(), role, prologue, identity, ephemeral_seed, None)
    }

    /// Starts `Noise_IK_Ed25519_ChaChaPoly_BLAKE2b` towards a known responder: two messages.
    pub fn ik_initiator(remote: PublicKey, prologue: &[u8], identity: &KeyPair, ephemeral_seed: [u8; 32]) -> Self {
        Self::new(noise_ik(), Role::Initiator, prologue, identity, ephemeral_seed, Some(remote.0))
    }

    /// Awaits the first message of `Noise_IK_Ed25519_ChaChaPoly_BLAKE2b`.
    pub fn ik_responder(prologue: &[u8], identity: &KeyPair, ephemeral_seed: [u8; 32]) -> Self {
        Self::new(noise_ik(), Role::Responder, prologue, identity, ephemeral_seed, None)
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
    pub fn finished(&self) -> Option<Handshake> {
        let remote = self.remote().filter(|_| self.state.completed())?;
        let (initiator, responder) = self.state.get_ciphers();
        let (initiator, responder) = (initiator.extract().0, responder.extract().0);
        let (tx, rx) = match self.role {
            Role::Initiator => (initiator.0, responder.0),
            Role::Responder => (responder.0, initiator.0),
        };
        let mut hash = [0; 64];
        hash.copy_from_slice(self.state.get_hash());
        Some(Handshake { role: self.role, remote, hash, tx, rx })
    }

    fn new(
        pattern: HandshakePattern,
        role: Role,
        prologue: &[u8],
        identity: &KeyPair,
        ephemeral_seed: [u8; 32],
        remote: Option<[u8; 32]>,
    ) -> Self {
        let (s, e) = (Secret(*identity.seed()), Secret(ephemeral_seed));
        let initiator = role == Role::Initiator;
        Self { state: HandshakeState::new(pattern, initiator, prologue, Some(s), Some(e), remote, None), role }
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

/// Puts the 3-byte length before a message.
fn frame(message: Vec<u8>) -> Vec<u8> {
    let length = (message.len() as u32).to_le_bytes();
    [&length[..3], &message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(seed: u8) -> KeyPair {
        KeyPair::from_seed(&[seed; 32])
    }

    fn ends() -> (XxHandshake, XxHandshake) {
        let new = |role, seed| XxHandshake::new(role, &pair(seed), [seed + 10; 32]);
        (new(Role::Initiator, 1), new(Role::Responder, 2))
    }

    fn ik() -> (NoiseHandshake, NoiseHandshake) {
        let initiator = NoiseHandshake::ik_initiator(pair(2).public(), b"pro", &pair(1), [11; 32]);
        (initiator, NoiseHandshake::ik_responder(b"pro", &pair(2), [12; 32]))
    }

    #[test]
    fn two_ends_meet() {
        let (mut a, mut b) = ends();
        assert!(b.poll_frame().is_none());
        b.handle_frame(&a.poll_frame().unwrap()[3..]).unwrap();
        assert!(a.poll_frame().is_none() && a.finished().is_none());
        a.handle_frame(&b.poll_frame().unwrap()[3..]).unwrap();
        b.handle_frame(&a.poll_frame().unwrap()[3..]).unwrap();
        let (a, b) = (a.finished().unwrap(), b.finished().unwrap());
        assert_eq!((a.remote, b.remote), (pair(2).public(), pair(1).public()));
        assert_eq!((a.tx, a.rx, a.hash), (b.rx, b.tx, b.hash));
        assert_ne!(a.tx, a.rx);
    }

    /// The first message of XX is a bare point, so a flipped bit shows when the responder's answer is read.
    #[test]
    fn a_flipped_bit_anywhere_ends_the_handshake() {
        let (mut a, b) = ends();
        let first = a.poll_frame().unwrap();
        for (byte, bit) in (3..first.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let (mut a, mut b, mut bad) = (a.clone(), b.clone(), first.clone());
            bad[byte] ^= 1 << bit;
            if b.handle_frame(&bad[3..]).is_ok() {
                assert_eq!(a.handle_frame(&b.poll_frame().unwrap()[3..]), Err(HandshakeError::Forged));
            }
        }
        let mut b = b;
        b.handle_frame(&first[3..]).unwrap();
        let second = b.poll_frame().unwrap();
        for byte in 3..second.len() {
            let mut bad = second.clone();
            bad[byte] ^= 0x10;
            assert!(a.clone().handle_frame(&bad[3..]).is_err(), "{byte}");
        }
        a.handle_frame(&second[3..]).unwrap();
        let third = a.poll_frame().unwrap();
        for byte in 3..third.len() {
            let mut bad = third.clone();
            bad[byte] ^= 0x10;
            assert_eq!(b.clone().handle_frame(&bad[3..]), Err(HandshakeError::Forged), "{byte}");
        }
        b.handle_frame(&third[3..]).unwrap();
        assert_eq!(b.handle_frame(&third[3..]), Err(HandshakeError::OutOfTurn));
    }

    #[test]
    fn a_message_of_any_other_length_is_an_error() {
        let (mut a, mut b) = ends();
        for bytes in 0..32 {
            let too_short = Err(HandshakeError::TooShort { bytes, bytes_min: 32 });
            assert_eq!(b.handle_frame(&vec![7; bytes]), too_short);
        }
        let too_long = vec![7; HANDSHAKE_BYTES_MAX + 1];
        assert_eq!(b.handle_frame(&too_long), Err(HandshakeError::TooLong { bytes: too_long.len() }));
        b.handle_frame(&a.poll_frame().unwrap()[3..]).unwrap();
        let second = b.poll_frame().unwrap();
        for bytes in 0..96 {
            assert!(a.handle_frame(&second[3..3 + bytes]).is_err(), "{bytes}");
        }
        assert_eq!(a.handle_frame(&[&second[3..], &[0]].concat()), Err(HandshakeError::Forged));
        assert!(a.handle_frame(&second[3..]).is_ok());
    }

    #[test]
    fn garbage_of_any_length_is_an_error() {
        let (mut a, mut b) = ends();
        b.handle_frame(&a.poll_frame().unwrap()[3..]).unwrap();
        for bytes in 0..300_usize {
            let garbage: Vec<u8> = (0..bytes).map(|at| (at * at * 31 + bytes * 7) as u8).collect();
            assert!(a.handle_frame(&garbage).is_err(), "{bytes}");
            assert!(b.handle_frame(&garbage).is_err(), "{bytes}");
            assert!(ik().1.read(&garbage).is_err(), "{bytes}");
        }
        assert!(a.finished().is_none() && b.finished().is_none());
    }

    /// No honest peer sends these: the identity, its second encoding, a point of order 4, no point at all.
    #[test]
    fn an_unsound_key_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut negative_zero = identity;
        negative_zero[31] = 0x80;
        for key in [identity, negative_zero, [0; 32], [2; 32]] {
            let (_, mut b) = ends();
            assert_eq!(b.handle_frame(&key), Err(HandshakeError::WeakKey));
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
