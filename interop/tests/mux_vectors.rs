//! Channels against npm protomux: the recorded frames are written byte for byte, and read as what was meant.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use anypath_interop::vectors::unhex;
use anypath_replicate::messages::{Handshake, Message, capability};
use anypath_replicate::mux::{Channel, CloseReason, Event, Mux, Protocol};
use anypath_wire::{PublicKey, Role};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::Value;

const PROTOMUX: &str = include_str!("../vectors/protomux.json");
const SESSIONS: &str = include_str!("../vectors/sessions.json");

#[test]
fn the_steps_of_the_reference_give_its_frames() {
    let steps: Value = serde_json::from_str(PROTOMUX).unwrap();
    let mut expected = steps["steps"].as_array().unwrap().iter();
    let mut check = |mux: &mut Mux| {
        let step = expected.next().unwrap();
        assert_eq!(frames(mux), [bytes(&step["frames"][0])], "{}", step["op"]);
    };
    let mut mux = Mux::new();
    let a = mux.open(&Protocol::new("proto/a", [1; 32]).alias("proto"), &[7]);
    check(&mut mux);
    let b = mux.open(&Protocol::new("proto/b", []), &[8]);
    check(&mut mux);
    mux.send(a, 0, b"\x02hi").unwrap();
    check(&mut mux);
    mux.send(b, 1, &[0xfd, 0x2c, 0x01]).unwrap();
    check(&mut mux);
    mux.send(a, 0, b"\x01x").unwrap();
    mux.send(a, 0, b"\x01y").unwrap();
    mux.send(b, 1, &[1]).unwrap();
    mux.send(a, 1, &[2]).unwrap();
    mux.close(b);
    check(&mut mux);
    let d = mux.open(&Protocol::new("proto/d", [4; 32]), &[1]);
    mux.send(d, 0, b"\x09pipelined").unwrap();
    check(&mut mux);
    mux.handle_frame(Bytes::from_static(b"\x00\x01\x01\x07unknown\x00\x05"));
    assert_eq!(mux.poll_event(), Ok(Some(Event::Offered { protocol: "unknown".into(), id: vec![] })));
    mux.reject("unknown", &[]);
    check(&mut mux);
    mux.close(a);
    check(&mut mux);
    assert!(expected.next().is_none());
}

#[test]
fn the_frames_of_the_reference_read_as_what_it_did() {
    let steps: Value = serde_json::from_str(PROTOMUX).unwrap();
    let mut mux = Mux::new();
    let a = mux.open(&Protocol::new("other/a", [1; 32]).alias("proto/a"), &[]);
    let b = mux.open(&Protocol::new("proto/b", []), &[]);
    let unknown = mux.open(&Protocol::new("unknown", []), &[5]);
    for step in steps["steps"].as_array().unwrap() {
        mux.handle_frame(bytes(&step["frames"][0]));
    }
    let body = Bytes::from_static;
    let mut expected = vec![
        Event::Opened { channel: a, handshake: body(&[7]) },
        Event::Opened { channel: b, handshake: body(&[8]) },
        Event::Message { channel: a, kind: 0, body: body(b"\x02hi") },
        Event::Message { channel: b, kind: 1, body: body(&[0xfd, 0x2c, 0x01]) },
        Event::Message { channel: a, kind: 0, body: body(b"\x01x") },
        Event::Message { channel: a, kind: 0, body: body(b"\x01y") },
        Event::Message { channel: b, kind: 1, body: body(&[1]) },
        Event::Message { channel: a, kind: 1, body: body(&[2]) },
        Event::Closed { channel: b, why: CloseReason::Closed },
        Event::Offered { protocol: "proto/d".into(), id: vec![4; 32] },
    ];
    // In the recording the reject is for our first channel; here that one is paired, so only what comes before fits.
    assert_eq!(take(&mut mux, expected.len()), expected);
    assert!(mux.poll_event().is_err());

    let mut mux = Mux::new();
    let unknown_alone = mux.open(&Protocol::new("unknown", []), &[5]);
    mux.handle_frame(body(&[0, 2, 1]));
    expected = vec![Event::Closed { channel: unknown_alone, why: CloseReason::Rejected }];
    assert_eq!(take(&mut mux, 1), expected);
    assert_ne!(unknown, unknown_alone);
}

/// Each end of a recorded session is played by a [`Mux`], which must open as the reference did,
/// understand every frame of the other end, and write each of its own frames again.
#[test]
fn whole_sessions_are_read_and_written_again() {
    let sessions: Value = serde_json::from_str(SESSIONS).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for session in sessions["sessions"].as_array().unwrap() {
        let mut ends = [End::new(Role::Initiator, session), End::new(Role::Responder, session)];
        let recorded: Vec<(usize, Bytes)> = session["frames"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|frame| frame["hex"].is_string())
            .map(|frame| (usize::from(frame["from"] == "responder"), bytes(&frame["hex"])))
            .collect();
        // The reference's initiator opens first; its responder may do so before it sees that.
        ends[0].open_all();
        assert_eq!(frames(&mut ends[0].mux), [recorded[0].1.clone()]);
        for (from, frame) in &recorded {
            let [initiator, responder] = &mut ends;
            let (sender, receiver) = if *from == 0 { (initiator, responder) } else { (responder, initiator) };
            receiver.mux.handle_frame(frame.clone());
            let messages = receiver.messages();
            if messages.is_empty() {
                let opened = frames(&mut sender.mux);
                assert!(*from == 0 || opened == [frame.clone()]);
                continue;
            }
            for (core, message) in &messages {
                kinds.insert(message.kind());
                message.send(&mut sender.mux, sender.channels[*core]).unwrap();
            }
            assert_eq!(frames(&mut sender.mux), [plain_if_alone(frame, messages.len())], "{}", session["name"]);
        }
    }
    assert!(kinds.is_superset(&[0, 1, 3, 5, 7, 8].into()), "kinds seen: {kinds:?}");
}

/// One end of a recorded session.
struct End {
    mux: Mux,
    role: Role,
    handshake_hash: [u8; 64],
    keys: Vec<PublicKey>,
    channels: Vec<Channel>,
}

impl End {
    fn new(role: Role, session: &Value) -> Self {
        let keys = session["keys"].as_array().cloned().unwrap_or_else(|| vec![session["key"].clone()]);
        Self {
            mux: Mux::new(),
            role,
            handshake_hash: bytes(&session["handshakeHash"])[..].try_into().unwrap(),
            keys: keys.iter().map(|key| key.as_str().unwrap().parse().unwrap()).collect(),
            channels: Vec::new(),
        }
    }

    fn open_all(&mut self) {
        (0..self.keys.len()).for_each(|core| self.open(core));
    }

    fn open(&mut self, core: usize) {
        let key = &self.keys[core];
        let capability = capability(&self.handshake_hash, self.role, key);
        let mut handshake = Vec::new();
        Handshake { seeks: true, capability }.encode(&mut handshake);
        let protocol = Protocol::new("hypercore/alpha", key.discovery_key().0).alias("hypercore");
        self.channels.push(self.mux.open(&protocol, &handshake));
    }

    /// Takes all events, answers offers, checks capabilities and returns messages with the number of their core.
    fn messages(&mut self) -> Vec<(usize, Message)> {
        let mut messages = Vec::new();
        while let Some(event) = self.mux.poll_event().unwrap() {
            match event {
                Event::Offered { protocol, id } => {
                    assert_eq!(protocol, "hypercore/alpha");
                    let core = self.keys.iter().position(|key| key.discovery_key().0[..] == id).unwrap();
                    assert_eq!(core, self.channels.len(), "the reference opens cores in this order");
                    self.open(core);
                }
                Event::Opened { channel, handshake } => {
                    let key = &self.keys[self.core(channel)];
                    let expected = capability(&self.handshake_hash, self.role.other(), key);
                    assert_eq!(Handshake::decode(&handshake), Ok(Handshake { seeks: true, capability: expected }));
                }
                Event::Message { channel, kind, body } => {
                    let message = Message::decode(kind, &body, true).unwrap().unwrap();
                    let mut encoded = Vec::new();
                    message.encode(&mut encoded);
                    assert_eq!(HEXLOWER.encode(&encoded), HEXLOWER.encode(&body));
                    messages.push((self.core(channel), message));
                }
                other => panic!("{other:?}"),
            }
        }
        messages
    }

    fn core(&self, channel: Channel) -> usize {
        self.channels.iter().position(|known| *known == channel).unwrap()
    }
}

/// The reference wraps a message that is alone in a batch when it was corked; we never do.
fn plain_if_alone(frame: &Bytes, messages: usize) -> Bytes {
    if messages > 1 || !frame.starts_with(&[0, 0]) {
        return frame.clone();
    }
    let length_bytes = if frame[3] == 0xfd { 3 } else { 1 };
    [&frame[2..3], &frame[3 + length_bytes..]].concat().into()
}

fn frames(mux: &mut Mux) -> Vec<Bytes> {
    let mut frames = Vec::new();
    loop {
        let mut out = Vec::new();
        if !mux.poll_frame(&mut out) {
            return frames;
        }
        frames.push(out.into());
    }
}

fn take(mux: &mut Mux, count: usize) -> Vec<Event> {
    (0..count).map(|_| mux.poll_event().unwrap().unwrap()).collect()
}

fn bytes(value: &Value) -> Bytes {
    unhex(value).into()
}
