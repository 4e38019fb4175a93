//! Protocols of the application's own beside cores: they pair, say, end; and what a flood of them may cost.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "hostile_peer/counting.rs"]
mod counting;

use std::sync::Arc;

use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::mux::{Channel, CloseReason, Event, Misbehaviour, Mux, MuxError, Protocol, SendError};
use anypath_replicate::replicator::{CoreId, FrameError, OpenChannelError, PeerId, Replicator, SpeakError};
use anypath_replicate::store::MemoryStore;
use anypath_wire::{Handshake, KeyPair, PublicKey, Role};
use bytes::Bytes;

use counting::held;

#[test]
fn either_end_may_open_first_and_messages_need_not_wait_for_the_other() {
    let (mut a, mut b, line) = speaking();
    let on_a = open(&mut a, line.0, "one", "from a").unwrap();
    send(&mut a, line.0, on_a, 7, "pipelined").unwrap();
    line.settle(&mut a, &mut b);
    assert_eq!(events(&mut b), [offered("one")]);
    let on_b = open(&mut b, line.1, "one", "from b").unwrap();
    line.settle(&mut a, &mut b);
    assert_eq!(events(&mut b), [opened(on_b, "from a"), message(on_b, 7, "pipelined")]);
    assert_eq!(events(&mut a), [opened(on_a, "from b")]);

    let (first, second) = (open(&mut a, line.0, "two", "").unwrap(), open(&mut b, line.1, "two", "").unwrap());
    line.settle(&mut a, &mut b);
    assert_eq!((events(&mut a), events(&mut b)), (vec![opened(first, "")], vec![opened(second, "")]));
}

#[test]
fn a_close_is_seen_behind_what_was_said_and_a_reject_too() {
    let (mut a, mut b, line) = speaking();
    let (on_a, on_b) = pair(&mut a, &mut b, line, "");
    send(&mut a, line.0, on_a, 0, "last").unwrap();
    a.channels(line.0).unwrap().close(on_a);
    a.channels(line.0).unwrap().close(on_a);
    assert_eq!(send(&mut a, line.0, on_a, 0, "too late"), Err(SendError::Closed));
    line.settle(&mut a, &mut b);
    assert_eq!(events(&mut b), [message(on_b, 0, "last"), closed(on_b, CloseReason::Closed)]);
    assert_eq!(events(&mut a), [], "of what we closed ourselves nothing is told");

    let unwanted = open(&mut a, line.0, "x", "").unwrap();
    line.settle(&mut a, &mut b);
    assert_eq!(events(&mut b), [offered("x")]);
    b.channels(line.1).unwrap().reject("test", b"x");
    line.settle(&mut a, &mut b);
    assert_eq!(events(&mut a), [closed(unwanted, CloseReason::Rejected)]);
    assert!(open(&mut a, line.0, "x", "").is_ok(), "it may be tried again");
}

#[test]
fn one_channel_for_each_id_and_an_open_that_came_first_is_the_answer() {
    let (mut a, mut b, line) = speaking();
    let ids = ["", "1", "2"];
    let channels: Vec<_> = ids.iter().map(|id| open(&mut a, line.0, id, id).unwrap()).collect();
    assert_eq!(open(&mut a, line.0, "1", ""), Err(OpenChannelError::AlreadyOpen(channels[1])));
    assert_eq!(a.channels(line.0).unwrap().opened(&Protocol::new("test", "2")), Some(channels[2]));
    line.settle(&mut a, &mut b);
    // The other end opens without having looked at the offers: it hears of none, for they are answered.
    let answers: Vec<_> = ids.iter().map(|id| open(&mut b, line.1, id, "").unwrap()).collect();
    line.settle(&mut a, &mut b);
    let expected: Vec<_> = answers.iter().zip(ids).map(|(channel, id)| opened(*channel, id)).collect();
    assert_eq!(events(&mut b), expected);
    // What we hear of a channel that we close before we look is nothing.
    send(&mut a, line.0, channels[0], 0, "unheard").unwrap();
    line.settle(&mut a, &mut b);
    b.channels(line.1).unwrap().close(answers[0]);
    assert_eq!(events(&mut b), []);
}

#[test]
fn an_alias_is_offered_and_opens() {
    let (mut a, mut b) = (replicator(), replicator());
    a.speak(&Protocol::new("old", "").alias("new")).unwrap();
    b.speak(&Protocol::new("new", "").alias("old")).unwrap();
    let line = Line::new(&mut a, &mut b);
    let on_a = a.channels(line.0).unwrap().open(&Protocol::new("old", "i"), b"").unwrap();
    line.settle(&mut a, &mut b);
    let offer = b.poll_channel("new").unwrap();
    assert_eq!(offer, (line.1, Event::Offered { protocol: "old".into(), id: b"i".into() }));
    assert_eq!(b.channels(line.1).unwrap().open(&Protocol::new("old", "i"), b""), not_spoken("old"));
    let on_b = b.channels(line.1).unwrap().open(&Protocol::new("new", "i"), b"").unwrap();
    line.settle(&mut a, &mut b);
    assert_eq!(b.poll_channel("new"), Some((line.1, opened(on_b, ""))));
    assert_eq!(a.poll_channel("old"), Some((line.0, opened(on_a, ""))));
}

#[test]
fn what_is_not_spoken_is_rejected_and_names_are_nobody_elses() {
    let (mut a, mut b, line) = speaking();
    assert_eq!(a.speak(&Protocol::new("test", "")), Err(SpeakError::Taken { name: "test".into() }));
    assert_eq!(
        a.speak(&Protocol::new("x", "").alias("hypercore")),
        Err(SpeakError::Taken { name: "hypercore".into() })
    );
    assert!(matches!(a.speak(&Protocol::new("x".repeat(1_025), "")), Err(SpeakError::LongName { .. })));
    assert_eq!(a.channels(line.0).unwrap().open(&Protocol::new("x", ""), b""), not_spoken("x"));
    let too_long = a.channels(line.0).unwrap().open(&Protocol::new("test", [0; 1_025]), b"");
    assert!(matches!(too_long, Err(OpenChannelError::TooLong { .. })));

    a.speak(&Protocol::new("a's alone", "")).unwrap();
    let alone = a.channels(line.0).unwrap().open(&Protocol::new("a's alone", ""), b"").unwrap();
    line.settle(&mut a, &mut b);
    assert_eq!(a.poll_channel("a's alone"), Some((line.0, closed(alone, CloseReason::Rejected))));

    let (on_a, _) = pair(&mut a, &mut b, line, "");
    let waits = open(&mut a, line.0, "offered", "").unwrap();
    line.settle(&mut a, &mut b);
    b.hush("test");
    line.settle(&mut a, &mut b);
    let ends = [closed(waits, CloseReason::Rejected), closed(on_a, CloseReason::Closed)];
    assert_eq!(events(&mut a), ends);
    assert_eq!(b.poll_channel("test"), None);
    b.speak(&Protocol::new("test", "")).unwrap();
    pair(&mut a, &mut b, line, "again");
}

#[test]
fn channels_end_with_their_connection_and_what_was_said_before_is_heard() {
    let (mut a, mut b, line) = speaking();
    let (on_a, on_b) = pair(&mut a, &mut b, line, "");
    send(&mut a, line.0, on_a, 0, "goodbye").unwrap();
    line.settle(&mut a, &mut b);
    a.disconnect(line.0).unwrap();
    b.disconnect(line.1).unwrap();
    assert!(a.channels(line.0).is_none());
    assert_eq!(events(&mut a), [closed(on_a, CloseReason::Disconnected)]);
    assert_eq!(events(&mut b), [message(on_b, 0, "goodbye"), closed(on_b, CloseReason::Disconnected)]);
}

#[test]
fn cores_and_own_channels_share_a_line_fairly() {
    let (mut a, mut b, line) = speaking();
    let (on_a, on_b) = pair(&mut a, &mut b, line, "");
    let (source, copy) = core(&mut a, &mut b, 400, 100_000);
    let mut said = 0u64;
    while b.core(copy).contiguous_length() < 400 {
        // Always more to say than a frame holds.
        while a.channels(line.0).unwrap().queued_bytes() < 64 << 10 {
            a.channels(line.0).unwrap().send(on_a, 0, vec![1; 30_000].into()).unwrap();
            said += 1;
        }
        line.step(&mut a, &mut b);
        while b.poll_channel("test").is_some() {}
        assert!(said < 2_500, "the core starves");
    }
    assert_eq!(b.core(copy).block(399).unwrap(), a.core(source).block(399).unwrap());
    assert!(said > 400, "the core leaves room for {said} messages");
    send(&mut b, line.1, on_b, 0, "well").unwrap();
    line.settle(&mut a, &mut b);
    assert_eq!(events(&mut a), [message(on_a, 0, "well")]);
}

#[test]
fn a_flood_pauses_its_sender_costs_little_and_loses_nothing() {
    let (mut a, mut b, line) = speaking();
    let (_, copy) = core(&mut a, &mut b, 50, 100);
    let (on_a, _) = pair(&mut a, &mut b, line, "");
    let (mut quiet, other) = (replicator(), Protocol::new("test", ""));
    quiet.speak(&other).unwrap();
    let beside = Line::new(&mut quiet, &mut b);
    for number in 0..100_000u64 {
        send(&mut a, line.0, on_a, number, "x").unwrap();
    }
    let before = held();
    let mut frames = 0;
    while !b.wants_pause(line.1) {
        line.step(&mut a, &mut b);
        frames += 1;
        assert!(frames < 100, "never pauses");
    }
    assert!(held() - before < 4 << 20, "{} bytes", held() - before); // a's packing included
    let on_quiet = open(&mut quiet, beside.0, "quiet", "").unwrap();
    beside.settle(&mut quiet, &mut b);
    let mut heard = Vec::new();
    let mut turns = 0;
    while heard.len() < 100_000 {
        match b.poll_channel("test") {
            Some((peer, Event::Message { kind, .. })) if peer == line.1 => heard.push(kind),
            Some((peer, Event::Offered { .. })) => {
                assert_eq!(peer, beside.1);
                turns = heard.len();
                open(&mut b, beside.1, "quiet", "").unwrap();
            }
            Some(_) => {}
            None => {
                line.step(&mut a, &mut b);
            }
        }
    }
    assert!(heard.into_iter().eq(0..100_000));
    assert!(turns < 3, "the quiet peer waited for {turns} messages of the loud one");
    beside.settle(&mut quiet, &mut b);
    assert_eq!(quiet.poll_channel("test"), Some((beside.0, opened(on_quiet, ""))));
    line.settle(&mut a, &mut b);
    assert_eq!(b.core(copy).contiguous_length(), 50);
}

#[test]
fn messages_behind_an_offer_that_nobody_answers_pause_their_sender() {
    let (mut a, mut b, line) = speaking();
    let on_a = open(&mut a, line.0, "", "").unwrap();
    for _ in 0..10 {
        send(&mut a, line.0, on_a, 0, &"x".repeat(10_000)).unwrap();
    }
    line.settle(&mut a, &mut b);
    assert!(b.wants_pause(line.1));
    assert_eq!(events(&mut b), [offered("")]);
    b.channels(line.1).unwrap().reject("test", b"");
    b.resume(line.1).unwrap();
    assert!(!b.wants_pause(line.1));
}

#[test]
fn offers_and_returns_without_end_are_bounded() {
    let (mut victim, before) = (replicator(), held());
    victim.speak(&Protocol::new("test", "")).unwrap();
    // An application that never looks, and strangers who offer, and come again.
    for round in 0..200u64 {
        let (mut foe, id) = (Mux::new(), victim.connect(shake(Role::Responder)));
        for number in 0..2_000u64 {
            foe.open(&Protocol::new("test", (round << 32 | number).to_le_bytes()), &[1; 100]);
        }
        let mut frame = Vec::new();
        while !victim.wants_pause(id) && foe.poll_frame(&mut frame) {
            victim.handle_frame(id, std::mem::take(&mut frame).into()).unwrap();
        }
        assert!(victim.wants_pause(id));
        victim.disconnect(id).unwrap();
    }
    assert!(held() - before < 4 << 20, "{} bytes", held() - before);
    assert_eq!(victim.poll_channel("test"), None, "of an offer whose peer is gone nothing is told");
    assert!(held() - before < 1 << 20, "{} bytes stay", held() - before);
}

#[test]
fn an_application_that_rejects_is_not_made_to_queue_without_end() {
    let (mut victim, mut foe) = (replicator(), Mux::new());
    victim.speak(&Protocol::new("test", "")).unwrap();
    let id = victim.connect(shake(Role::Responder));
    for _ in 0..2_000_000u64 {
        let mut frame = Vec::new();
        for _ in 0..100 {
            let channel = foe.open(&Protocol::new("test", ""), b"");
            foe.close(channel);
        }
        while foe.poll_frame(&mut frame) {
            match victim.handle_frame(id, std::mem::take(&mut frame).into()) {
                Ok(()) => {}
                Err(FrameError::Mux(MuxError::Misbehaved(
                    Misbehaviour::NotReading | Misbehaviour::InvalidOpen { .. },
                ))) => return,
                Err(error) => panic!("{error}"),
            }
        }
        while victim.poll_channel("test").is_some() {
            victim.channels(id).unwrap().reject("test", b"");
        }
        victim.resume(id).unwrap();
    }
    panic!("never ends");
}

/// Two replicators that speak `test`, and the line between them.
fn speaking() -> (Replicator, Replicator, Line) {
    let (mut a, mut b) = (replicator(), replicator());
    a.speak(&Protocol::new("test", "")).unwrap();
    b.speak(&Protocol::new("test", "")).unwrap();
    let line = Line::new(&mut a, &mut b);
    (a, b, line)
}

/// Opens a channel from both ends and takes what is told of that.
fn pair(a: &mut Replicator, b: &mut Replicator, line: Line, id: &str) -> (Channel, Channel) {
    let (on_a, on_b) = (open(a, line.0, id, "").unwrap(), open(b, line.1, id, "").unwrap());
    line.settle(a, b);
    assert_eq!((events(a), events(b)), (vec![opened(on_a, "")], vec![opened(on_b, "")]));
    (on_a, on_b)
}

/// Makes a core at `a` that `b` wants whole.
fn core(a: &mut Replicator, b: &mut Replicator, blocks: u64, bytes: usize) -> (CoreId, CoreId) {
    let pair = KeyPair::from_seed(&[1; 32]);
    let source = a.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
    let blocks: Vec<Bytes> = (0..blocks).map(|index| vec![index as u8; bytes].into()).collect();
    a.append(source, &blocks).unwrap();
    a.commit().unwrap();
    let copy = b.open(a.core(source).key()).unwrap();
    b.want(copy, 0..u64::MAX).unwrap();
    (source, copy)
}

/// The ids of a line's ends: at `a`, at `b`.
#[derive(Clone, Copy)]
struct Line(PeerId, PeerId);

impl Line {
    fn new(a: &mut Replicator, b: &mut Replicator) -> Self {
        Self(a.connect(shake(Role::Responder)), b.connect(shake(Role::Initiator)))
    }

    /// Carries a frame each way, unless it has to wait; returns whether there was any.
    fn step(self, a: &mut Replicator, b: &mut Replicator) -> bool {
        let there = carry(a, self.0, b, self.1);
        let back = carry(b, self.1, a, self.0);
        a.commit().unwrap();
        b.commit().unwrap();
        there | back
    }

    fn settle(self, a: &mut Replicator, b: &mut Replicator) {
        while self.step(a, b) {}
    }
}

fn carry(from: &mut Replicator, sender: PeerId, to: &mut Replicator, receiver: PeerId) -> bool {
    to.resume(receiver).unwrap();
    let mut frame = Vec::new();
    let moved = !to.wants_pause(receiver) && from.poll_frame(sender, &mut frame).unwrap();
    if moved {
        to.handle_frame(receiver, frame.into()).unwrap();
    }
    moved
}

fn replicator() -> Replicator {
    Replicator::new(Arc::new(MemoryStore::default()))
}

fn shake(role: Role) -> Handshake {
    Handshake { role, remote: PublicKey([7; 32]), hash: [3; 64], tx: [0; 32], rx: [0; 32] }
}

fn open(at: &mut Replicator, peer: PeerId, id: &str, handshake: &str) -> Result<Channel, OpenChannelError> {
    at.channels(peer).unwrap().open(&Protocol::new("test", id), handshake.as_bytes())
}

fn send(at: &mut Replicator, peer: PeerId, channel: Channel, kind: u64, body: &str) -> Result<(), SendError> {
    at.channels(peer).unwrap().send(channel, kind, body.to_owned().into())
}

fn events(at: &mut Replicator) -> Vec<Event> {
    std::iter::from_fn(|| at.poll_channel("test")).map(|(_, event)| event).collect()
}

fn offered(id: &str) -> Event {
    Event::Offered { protocol: "test".into(), id: id.into() }
}

fn opened(channel: Channel, handshake: &str) -> Event {
    Event::Opened { channel, handshake: handshake.to_owned().into() }
}

fn message(channel: Channel, kind: u64, body: &str) -> Event {
    Event::Message { channel, kind, body: body.to_owned().into() }
}

fn closed(channel: Channel, why: CloseReason) -> Event {
    Event::Closed { channel, why }
}

fn not_spoken(protocol: &str) -> Result<Channel, OpenChannelError> {
    Err(OpenChannelError::NotSpoken { protocol: protocol.into() })
}
