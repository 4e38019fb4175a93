//! Channels under random interleavings and random bytes: order holds, and nothing that arrives makes a panic.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, VecDeque};

use anypath_replicate::messages::{Bitfield, Handshake, Message, Want};
use anypath_replicate::mux::{Channel, CloseReason, Event, Mux, Protocol};
use bytes::Bytes;

/// Whatever the two ends do and however frames and events are delayed, each channel's messages arrive
/// in order and complete up to its close, on the one channel that was paired with it.
#[test]
fn every_channel_delivers_all_in_order_under_random_interleavings() {
    let mut delivered = 0;
    for seed in 1..=400 {
        let mut chance = Chance(seed);
        let mut ends = [End::new(0), End::new(1)];
        for _ in 0..600 {
            let (left, right) = ends.split_at_mut(1);
            let (a, b) = (&mut left[0], &mut right[0]);
            let (from, to) = if chance.below(2) == 0 { (a, b) } else { (b, a) };
            from.act(&mut chance);
            match chance.below(6) {
                0 => from.flush(),
                1 => to.receive(from),
                2 => to.poll(&mut chance, from),
                _ => {}
            }
        }
        for _ in 0..20 {
            let [a, b] = &mut ends;
            a.settle(b, &mut chance);
            b.settle(a, &mut chance);
        }
        ends[0].check_complete(&ends[1]);
        ends[1].check_complete(&ends[0]);
        delivered += ends[0].delivered + ends[1].delivered;
    }
    assert!(delivered > 20_000, "only {delivered} messages were delivered, which proves little");
}

#[test]
fn random_frames_never_panic() {
    let mut events = 0;
    for seed in 1..=20_000 {
        let mut chance = Chance(seed);
        let mut mux = Mux::new();
        let channel = mux.open(&Protocol::new("test", []), b"");
        for _ in 0..1 + chance.below(8) {
            mux.handle_frame(chance.frame());
            while let Ok(Some(event)) = mux.poll_event() {
                events += 1;
                match (event, chance.below(3)) {
                    (Event::Offered { protocol, id }, 0) => {
                        mux.open(&Protocol::new(protocol, id), b"");
                    }
                    (Event::Offered { protocol, id }, 1) => mux.reject(&protocol, &id),
                    (Event::Message { kind, body, .. }, _) => drop(Message::decode(kind, &body, true)),
                    _ => {}
                }
            }
            let _ = mux.send(channel, 0, b"answer");
            let mut out = Vec::new();
            while mux.poll_frame(&mut out) {}
        }
    }
    assert!(events > 5_000, "only {events} events: the frames are too random to reach anything");
}

#[test]
fn random_and_mutated_messages_never_panic() {
    let mut understood = 0;
    for seed in 1..=50_000 {
        let mut chance = Chance(seed);
        let kind = chance.below(11) as u64;
        let mut body = if chance.below(2) == 0 { chance.bytes(80) } else { valid_body(kind) };
        for _ in 0..chance.below(3) {
            let at = chance.below(body.len().max(1));
            if let Some(byte) = body.get_mut(at) {
                *byte = chance.next() as u8;
            }
        }
        let padding = chance.below(2) == 0;
        let _ = Handshake::decode(&body);
        if let Ok(Some(message)) = Message::decode(kind, &body.into(), padding) {
            understood += 1;
            let mut encoded = Vec::new();
            message.encode(&mut encoded);
            assert_eq!(Message::decode(kind, &encoded.into(), true), Ok(Some(message)));
        }
    }
    assert!(understood > 10_000, "only {understood} messages were understood");
}

fn valid_body(kind: u64) -> Vec<u8> {
    let node = [&[4, 200][..], &[7; 32]].concat();
    match kind {
        1 => vec![0x3f, 5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        3 => [&[9, 5, 0, 1, 3, 1, 2, 3, 2], &node[..], &node, &[0, 4, 1], &node, &[0, 3, 1, 2, 3]].concat(),
        5 => encode(&Message::Want(Want { start: 300, length: 70_000, any: true })),
        7 => encode(&Message::Bitfield(Bitfield::new(32_768, 0..9))),
        _ => vec![1, 2, 3, 4, 5, 6],
    }
}

fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

/// One end, with the frames on their way from it, and what it knows of its channels.
struct End {
    mux: Mux,
    tag: u32,
    wire: VecDeque<Bytes>,
    /// Every channel ever opened here, by its tag, which its handshake and all its messages carry.
    opened: BTreeMap<u32, Opened>,
    tags: BTreeMap<Channel, u32>,
    offers: Vec<(String, Vec<u8>)>,
    delivered: usize,
}

struct Opened {
    channel: Channel,
    sent: u32,
    received: u32,
    peer: Option<u32>,
    closed_here: bool,
    closed_there: bool,
}

impl End {
    fn new(side: u32) -> Self {
        Self {
            mux: Mux::new(),
            tag: side << 16,
            wire: VecDeque::new(),
            opened: BTreeMap::new(),
            tags: BTreeMap::new(),
            offers: Vec::new(),
            delivered: 0,
        }
    }

    fn act(&mut self, chance: &mut Chance) {
        match chance.below(20) {
            0 => self.open(&Protocol::new(["p", "q"][chance.below(2)], [chance.below(3) as u8])),
            1 => {
                if let Some(opened) = self.random_tag(chance).and_then(|tag| self.opened.get_mut(&tag)) {
                    self.mux.close(opened.channel);
                    opened.closed_here |= !opened.closed_there;
                }
            }
            2..=4 => self.answer(chance),
            _ => self.send(chance),
        }
    }

    fn open(&mut self, protocol: &Protocol) {
        self.tag += 1;
        let channel = self.mux.open(protocol, &self.tag.to_le_bytes());
        assert!(self.tags.insert(channel, self.tag).is_none(), "a handle was used twice");
        let state = Opened { channel, sent: 0, received: 0, peer: None, closed_here: false, closed_there: false };
        self.opened.insert(self.tag, state);
    }

    fn answer(&mut self, chance: &mut Chance) {
        if let Some((protocol, id)) = self.offers.pop() {
            match chance.below(3) {
                0 => self.mux.reject(&protocol, &id),
                _ => self.open(&Protocol::new(protocol, id)),
            }
        }
    }

    fn send(&mut self, chance: &mut Chance) {
        let length = if chance.below(50) == 0 { chance.below(100_000) } else { chance.below(20) };
        let Some((tag, channel)) = self.random_tag(chance).and_then(|tag| Some((tag, self.opened.get_mut(&tag)?)))
        else {
            return;
        };
        let head = [tag.to_le_bytes(), channel.sent.to_le_bytes()].concat();
        let value = Bytes::from(vec![tag as u8; length]);
        let sent = self.mux.send_around(channel.channel, 3, value, |out| out.extend(&head), |out| out.push(b'.'));
        assert_eq!(sent.is_ok(), !channel.closed_here && !channel.closed_there);
        channel.sent += u32::from(sent.is_ok());
    }

    fn flush(&mut self) {
        loop {
            let mut out = Vec::new();
            if !self.mux.poll_frame(&mut out) {
                return;
            }
            self.wire.push_back(out.into());
        }
    }

    fn receive(&mut self, from: &mut End) {
        if !self.mux.wants_pause()
            && let Some(frame) = from.wire.pop_front()
        {
            self.mux.handle_frame(frame);
        }
    }

    fn poll(&mut self, chance: &mut Chance, peer: &End) {
        for _ in 0..chance.below(20) {
            let Some(event) = self.mux.poll_event().unwrap() else { return };
            match event {
                Event::Offered { protocol, id } => self.offers.push((protocol, id)),
                Event::Opened { channel, handshake } => {
                    let opened = self.told(channel);
                    assert_eq!((opened.peer, opened.received), (None, 0));
                    opened.peer = Some(u32::from_le_bytes(handshake[..].try_into().unwrap()));
                }
                Event::Message { channel, kind, body } => {
                    let opened = self.told(channel);
                    let head = [opened.peer.unwrap().to_le_bytes(), opened.received.to_le_bytes()].concat();
                    assert!(kind == 3 && body.starts_with(&head) && body.ends_with(b"."));
                    opened.received += 1;
                    self.delivered += 1;
                }
                Event::Closed { channel, why } => {
                    let opened = self.told(channel);
                    opened.closed_there = true;
                    if why == CloseReason::Closed {
                        assert_eq!(opened.received, peer.opened[&opened.peer.unwrap()].sent, "all before the close");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Returns the channel of an event, of which something may still be told.
    fn told(&mut self, channel: Channel) -> &mut Opened {
        let opened = self.opened.get_mut(&self.tags[&channel]).unwrap();
        assert!(!opened.closed_here && !opened.closed_there);
        opened
    }

    fn settle(&mut self, peer: &mut End, chance: &mut Chance) {
        while !self.offers.is_empty() {
            self.answer(chance);
        }
        peer.flush();
        loop {
            self.receive(peer);
            self.poll(chance, peer);
            while !self.offers.is_empty() {
                self.answer(chance);
            }
            if peer.wire.is_empty() && !self.mux.wants_pause() {
                return;
            }
        }
    }

    /// Checks that channels still open on both ends are each other's and that nothing is missing.
    fn check_complete(&self, peer: &End) {
        assert!(!self.mux.wants_pause() && self.mux.queued_bytes() == 0);
        for (tag, opened) in &self.opened {
            let Some(other) = opened.peer.map(|peer_tag| &peer.opened[&peer_tag]) else { continue };
            if !opened.closed_here && !opened.closed_there {
                assert_eq!(other.peer, Some(*tag));
                assert!(!other.closed_here && !other.closed_there);
                assert_eq!(opened.received, other.sent);
            }
        }
    }

    fn random_tag(&self, chance: &mut Chance) -> Option<u32> {
        let recent = self.opened.len().min(4);
        let nth = chance.below(recent.max(1));
        self.opened.keys().rev().nth(nth).copied()
    }
}

/// A xorshift generator: the same seed, the same run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    fn bytes(&mut self, length_max: usize) -> Vec<u8> {
        (0..self.below(length_max)).map(|_| self.next() as u8).collect()
    }

    /// Returns a frame that may be valid: random, or something sensible with some bytes changed.
    fn frame(&mut self) -> Bytes {
        let id = self.below(3) as u8;
        let mut frame = match self.below(8) {
            0 => self.bytes(40),
            1 => vec![0, 3, id],
            2 => vec![0, 2, id],
            3 => [&[0, 1, id][..], b"\x04test\x00"].concat(),
            4 => [&[0, 1, id][..], b"\x05other\x01x"].concat(),
            5 => [&[0, 0, id, 3, 3, 1, 2, 0, 0, 8, 1, id], &b"\x04test\x00"[..], &[0, id, 2, 0, 1]].concat(),
            _ => [vec![id, self.below(10) as u8], self.bytes(20)].concat(),
        };
        if self.below(3) == 0 && !frame.is_empty() {
            let at = self.below(frame.len());
            frame[at] = self.next() as u8;
        }
        frame.into()
    }
}
