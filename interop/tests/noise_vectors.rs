//! The noise room against what the JavaScript originals wrote.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;

use anypath_interop::vectors::{fixed, unhex};
use anypath_replicate::noise::{FRAME_BYTES_MAX, Frames, OpenError, Opener, Sealer, XxHandshake};
use anypath_wire::noise::suite::{Blake2b, ChaChaPoly, Ed25519, Secret};
use anypath_wire::noise::{HandshakeError, NoiseHandshake};
use anypath_wire::{Handshake, KeyPair, PublicKey, Role, keyed_hash, namespace};
use bytes::BytesMut;
use noise_protocol::{Cipher, DH, Hash};
use serde_json::Value;

#[test]
fn dh_agrees_with_noise_curve_ed() {
    let vectors = vectors("noise");
    for vector in list(&vectors["dh"]) {
        let shared = Ed25519::dh(&Secret(fixed(&vector["local_seed"])), &fixed(&vector["remote_public"])).unwrap();
        assert_eq!(shared.0, fixed(&vector["shared"]));
        assert_eq!(Ed25519::pubkey(&Secret(fixed(&vector["remote_seed"]))), fixed(&vector["remote_public"]));
    }
    for vector in list(&vectors["dh_must_fail"]) {
        let shared = Ed25519::dh(&Secret(fixed(&vector["local_seed"])), &fixed(&vector["remote_public"]));
        assert!(shared.is_err(), "{}", vector["label"]);
    }
}

#[test]
fn unsound_keys_end_a_handshake() {
    for vector in list(&vectors("noise")["dh_must_fail"]) {
        let identity = KeyPair::from_seed(&fixed(&vector["local_seed"]));
        let remote: [u8; 32] = fixed(&vector["remote_public"]);
        let mut xx = XxHandshake::new(Role::Responder, &identity, [12; 32]);
        assert_eq!(xx.handle_frame(&remote), Err(HandshakeError::WeakKey), "{}", vector["label"]);
        let mut ik = NoiseHandshake::ik_initiator(PublicKey(remote), b"", &identity, [11; 32]);
        assert_eq!(ik.write(b""), Err(HandshakeError::WeakKey), "{}", vector["label"]);
    }
}

#[test]
fn hkdf_and_aead_agree_with_noise_handshake() {
    let vectors = vectors("noise");
    for vector in list(&vectors["hkdf"]) {
        let outputs = Blake2b::hkdf(&unhex(&vector["chaining_key"]), &unhex(&vector["input"]));
        assert_eq!(outputs.0.0, fixed(&vector["outputs"][0]));
        assert_eq!(outputs.1.0, fixed(&vector["outputs"][1]));
    }
    for vector in list(&vectors["aead"]) {
        let (key, counter) = (Secret(fixed(&vector["key"])), vector["nonce_counter"].as_u64().unwrap());
        let (ad, text, sealed) = (unhex(&vector["ad"]), unhex(&vector["plaintext"]), unhex(&vector["ciphertext"]));
        let mut out = vec![0; sealed.len()];
        ChaChaPoly::encrypt(&key, counter, &ad, &text, &mut out);
        assert_eq!(out, sealed);
        let mut opened = vec![0; text.len()];
        ChaChaPoly::decrypt(&key, counter, &ad, &sealed, &mut opened).unwrap();
        assert_eq!(opened, text);
    }
}

#[test]
fn transcripts_are_byte_exact() {
    let vectors = vectors("noise");
    assert_eq!(list(&vectors["transcripts"]).len(), 4);
    for transcript in list(&vectors["transcripts"]) {
        let (mut initiator, mut responder) = noise_ends(transcript);
        for message in list(&transcript["messages"]) {
            let (from, to) = match role(message) {
                Role::Initiator => (&mut initiator, &mut responder),
                Role::Responder => (&mut responder, &mut initiator),
            };
            let written = from.write(&unhex(&message["payload"])).unwrap();
            assert_eq!(written, unhex(&message["message"]), "{}", transcript["label"]);
            assert_eq!(to.read(&written).unwrap(), unhex(&message["payload"]));
        }
        let (initiator, responder) = (initiator.finished().unwrap(), responder.finished().unwrap());
        assert_eq!(initiator.tx, fixed(&transcript["initiator_tx"]));
        assert_eq!(initiator.rx, fixed(&transcript["initiator_rx"]));
        assert_eq!(initiator.hash, fixed(&transcript["handshake_hash"]));
        assert_eq!(initiator.remote.0, fixed(&transcript["responder_static_public"]));
        assert_eq!(responder.remote.0, fixed(&transcript["initiator_static_public"]));
        assert_eq!((responder.rx, responder.tx, responder.hash), (initiator.tx, initiator.rx, initiator.hash));
        let holepunch = keyed_hash(&initiator.hash, &namespace("hyperswarm/dht", 1));
        assert_eq!(holepunch, fixed(&transcript["holepunch_secret"]));
    }
}

#[test]
fn messages_are_sealed_as_by_sodium_secretstream() {
    let vectors = vectors("secretstream");
    let key = fixed(&vectors["key"]);
    let sender = Handshake { role: Role::Initiator, remote: PublicKey([0; 32]), hash: [5; 64], tx: key, rx: [0; 32] };
    let receiver = Handshake { role: Role::Responder, tx: [0; 32], rx: key, ..sender.clone() };
    let (mut sealer, header) = Sealer::new(&sender, fixed(&vectors["header"]));
    let mut opener = Opener::new(&receiver);
    assert!(opener.open(BytesMut::from(&header[3..])).unwrap().is_empty());
    for message in list(&vectors["messages"]) {
        let (text, sealed) = (unhex(&message["plaintext"]), unhex(&message["ciphertext"]));
        assert_eq!(seal(&mut sealer, &text)[3..], sealed);
        assert_eq!(opener.open(BytesMut::from(&sealed[..])).unwrap(), text);
    }
    let last = unhex(&vectors["final_message"]["ciphertext"]);
    assert_eq!(opener.open(BytesMut::from(&last[..])), Err(OpenError::UnknownTag { tag: 3 }));
}

/// Plays both ends of each session: what ours write must be what the originals wrote, at any cut of the stream.
#[test]
fn sessions_are_byte_exact() {
    for session in list(&vectors("secret-stream")["sessions"]) {
        for chunk_bytes in [1, 2, 7, 59, 4096] {
            let mut ends =
                BTreeMap::from([Role::Initiator, Role::Responder].map(|role| (role, End::new(session, role))));
            for write in list(&session["raw"]).iter().filter(|write| write["bytes"].is_string()) {
                let (role, bytes) = (role(write), unhex(&write["bytes"]));
                ends.get_mut(&role).unwrap().writes(&bytes);
                ends.get_mut(&role.other()).unwrap().reads(&bytes, chunk_bytes);
            }
            assert!(ends.values().all(|end| end.awaited.is_empty()), "{}: a message is missing", session["label"]);
        }
    }
}

/// One end of a recorded session.
struct End {
    xx: Option<XxHandshake>,
    handshake: Option<Handshake>,
    id: [u8; 32],
    sealer: Option<Sealer>,
    opener: Option<Opener>,
    frames: Frames,
    to_send: Vec<Vec<u8>>,
    awaited: Vec<Vec<u8>>,
}

impl End {
    fn new(session: &Value, role: Role) -> Self {
        let texts = |role: Role| list(&session["received_stream_data"][name(role)]).iter().map(unhex).rev().collect();
        let field = |part: &str| &session[format!("{}_{part}", name(role))];
        let xx = session["pattern"].is_string().then(|| {
            XxHandshake::new(role, &KeyPair::from_seed(&fixed(field("static_seed"))), fixed(field("ephemeral_seed")))
        });
        let mut end = Self {
            handshake: None,
            id: fixed(field("id")),
            sealer: None,
            opener: None,
            frames: Frames::new(FRAME_BYTES_MAX),
            to_send: texts(role.other()),
            awaited: texts(role),
            xx,
        };
        if end.xx.is_none() {
            end.handshake = Some(supplied(session, role));
        }
        end
    }

    /// Checks that this end would write just these bytes now.
    fn writes(&mut self, expected: &[u8]) {
        if let Some(frame) = self.xx.as_mut().and_then(XxHandshake::poll_frame) {
            assert_eq!(frame, expected);
            return;
        }
        if let Some(sealer) = &mut self.sealer {
            assert_eq!(seal(sealer, &self.to_send.pop().unwrap()), expected);
            return;
        }
        let (sealer, frame) = Sealer::new(self.handshake(), expected[35..].try_into().unwrap());
        assert_eq!(frame, expected);
        assert_eq!(frame[3..35], self.id);
        self.sealer = Some(sealer);
    }

    fn reads(&mut self, bytes: &[u8], chunk_bytes: usize) {
        for chunk in bytes.chunks(chunk_bytes) {
            self.frames.push(BytesMut::from(chunk));
            while let Some(frame) = self.frames.next_frame().unwrap() {
                self.read_frame(frame);
            }
        }
    }

    fn read_frame(&mut self, frame: BytesMut) {
        if let Some(xx) = self.xx.as_mut().filter(|xx| xx.finished().is_none()) {
            return xx.handle_frame(&frame).unwrap();
        }
        if self.opener.is_none() {
            self.opener = Some(Opener::new(self.handshake()));
            assert!(self.opener.as_mut().unwrap().open(frame).unwrap().is_empty());
            return;
        }
        assert_eq!(self.opener.as_mut().unwrap().open(frame).unwrap(), self.awaited.pop().unwrap());
    }

    fn handshake(&mut self) -> &Handshake {
        let xx = &self.xx;
        self.handshake.get_or_insert_with(|| xx.as_ref().unwrap().finished().expect("the handshake is finished"))
    }
}

fn supplied(session: &Value, role: Role) -> Handshake {
    let (tx, rx) = (fixed(&session["initiator_tx"]), fixed(&session["initiator_rx"]));
    let (tx, rx) = if role == Role::Initiator { (tx, rx) } else { (rx, tx) };
    Handshake { role, remote: PublicKey([0; 32]), hash: fixed(&session["handshake_hash"]), tx, rx }
}

fn noise_ends(transcript: &Value) -> (NoiseHandshake, NoiseHandshake) {
    let identity = |end: &str| KeyPair::from_seed(&fixed(&transcript[format!("{end}_static_seed")]));
    let ephemeral = |end: &str| fixed(&transcript[format!("{end}_ephemeral_seed")]);
    let (a, b) = ("initiator", "responder");
    let prologue = unhex(&transcript["prologue"]);
    match transcript["pattern"].as_str().unwrap() {
        "XX" => (
            NoiseHandshake::xx(Role::Initiator, &prologue, &identity(a), ephemeral(a)),
            NoiseHandshake::xx(Role::Responder, &prologue, &identity(b), ephemeral(b)),
        ),
        "IK" => (
            NoiseHandshake::ik_initiator(identity(b).public(), &prologue, &identity(a), ephemeral(a)),
            NoiseHandshake::ik_responder(&prologue, &identity(b), ephemeral(b)),
        ),
        pattern => panic!("no test for {pattern}"),
    }
}

fn seal(sealer: &mut Sealer, text: &[u8]) -> Vec<u8> {
    let mut frame = [&[0; Sealer::ROOM_BYTES], text].concat();
    sealer.seal(&mut frame).unwrap();
    frame
}

fn role(value: &Value) -> Role {
    if value["from"] == name(Role::Initiator) { Role::Initiator } else { Role::Responder }
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Initiator => "initiator",
        Role::Responder => "responder",
    }
}

fn vectors(file: &str) -> Value {
    let path = format!("{}/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).unwrap()
}

/// Returns the items of a list; an empty or absent one would make a test pass for nothing.
fn list(value: &Value) -> &Vec<Value> {
    value.as_array().filter(|items| !items.is_empty()).expect("the vectors have this list")
}
