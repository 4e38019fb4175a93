//! The handshake of a secret-stream: Noise XX in frames, over a byte stream.

use anypath_wire::noise::{HandshakeError, NoiseHandshake};
use anypath_wire::{Handshake, KeyPair, Role};

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
        if self.noise.finished().is_none() {
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

/// Puts the 3-byte length before a message.
fn frame(message: Vec<u8>) -> Vec<u8> {
    let length = (message.len() as u32).to_le_bytes();
    [&length[..3], &message].concat()
}

#[cfg(test)]
mod tests {
    use anypath_wire::noise::HANDSHAKE_BYTES_MAX;

    use super::*;

    fn pair(seed: u8) -> KeyPair {
        KeyPair::from_seed(&[seed; 32])
    }

    fn ends() -> (XxHandshake, XxHandshake) {
        let new = |role, seed| XxHandshake::new(role, &pair(seed), [seed + 10; 32]);
        (new(Role::Initiator, 1), new(Role::Responder, 2))
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
        }
    }
}
