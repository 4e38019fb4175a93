//! A stranger who knows the key, and whose every message is chosen by its temper.

use std::collections::VecDeque;
use std::sync::Arc;

use anypath_replicate::core::{Core, Manifest, Signer};
use anypath_replicate::messages::{self, Bitfield, Message, Range, RequestMessage, SyncState, Want};
use anypath_replicate::mux::{Channel, Event, Mux, Protocol};
use anypath_replicate::store::MemoryStore;
use anypath_replicate::{BlockRequest, HashRequest, Request, SeekRequest, UpgradeRequest};
use anypath_wire::{KeyPair, PublicKey, Role};
use bytes::Bytes;

use crate::lies;
use crate::world::Chance;

/// What a stranger can learn from.
pub(super) struct Library {
    /// The writer's store: what is committed, hence could be known.
    pub(super) store: Arc<MemoryStore>,
    /// Whether it has the writer's key.
    pub(super) two_faced: bool,
}

/// A stranger; its connection comes and goes.
pub(super) struct Foe {
    key: PublicKey,
    /// How often it does what, by the order of [`Foe::act`].
    temper: [u64; ACTS],
    line: Option<Line>,
    /// A head of the core, as it was when it last looked, and the core on which it answers.
    core: Option<Core>,
}

struct Line {
    mux: Mux,
    channel: Channel,
    /// Requests it has not answered.
    asked: VecDeque<RequestMessage>,
    /// The latest ones it has.
    answered: VecDeque<RequestMessage>,
    /// Frames that are no mux's.
    garbage: VecDeque<Vec<u8>>,
}

impl Foe {
    /// Makes one who does some of all that can be done, and the rest never.
    pub(super) fn new(chance: &mut Chance, key: PublicKey) -> Self {
        let rude = chance.below(4) == 0;
        let weight = |act| match (act, chance.below(3)) {
            (0..GENTLE, 0) => 1 + chance.below(16),
            (GENTLE.., 0) if rude => 1,
            _ => 0,
        };
        let temper = std::array::from_fn(weight);
        Self { key, temper, line: None, core: None }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.line.is_some()
    }

    /// Comes, opens the core's channel, and most often makes a good impression first.
    pub(super) fn connect(&mut self, chance: &mut Chance, library: &Library) {
        let mut mux = Mux::new();
        let channel = open(&mut mux, &self.key);
        let (asked, answered, garbage) = Default::default();
        let mut line = Line { mux, channel, asked, answered, garbage };
        self.core = learn(chance, library, &self.key);
        if let Some(core) = self.core.as_ref().filter(|_| chance.below(4) > 0) {
            line.send(Message::Sync(state(core, core.fork(), core.length())));
            line.send(Message::Range(Range { drop: false, start: 0, length: core.length() }));
        }
        self.line = Some(line);
    }

    pub(super) fn hang_up(&mut self) {
        self.line = None;
    }

    pub(super) fn poll_frame(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(line) = &mut self.line else { return false };
        match line.garbage.pop_front() {
            Some(garbage) => out.extend(garbage),
            None => return line.mux.poll_frame(out),
        }
        true
    }

    pub(super) fn handle_frame(&mut self, frame: Vec<u8>) {
        let Some(line) = &mut self.line else { return };
        line.mux.handle_frame(frame.into());
        while let Some(event) = line.mux.poll_event().unwrap() {
            if let Event::Message { kind, body, .. } = event
                && let Some(Message::Request(asked)) = Message::decode(kind, &body, true).unwrap()
            {
                line.asked.push_back(asked);
            }
        }
    }

    /// Does one thing.
    pub(super) fn act(&mut self, chance: &mut Chance, library: &Library) {
        if self.core.is_none() || chance.below(20) == 0 {
            self.core = learn(chance, library, &self.key);
        }
        let (Some(core), Some(line)) = (&self.core, &mut self.line) else { return };
        match choose(chance, &self.temper) {
            0..=2 => line.answer(chance, core, lies::none),
            3 => line.answer(chance, core, lies::mutate),
            4 => line.answer(chance, core, lies::nothing),
            5 => drop(line.asked.pop_front()),
            6 => line.send(Message::Sync(state(core, core.fork(), core.length()))),
            7 => line.send(Message::Sync(lies::sync(chance, core))),
            8 => line.send(Message::Range(Range { drop: false, start: 0, length: core.length() })),
            9 => line.claim(chance),
            10 => line.ask(chance),
            11 => (0..200).for_each(|_| line.send(Message::Cancel { request: chance.below(2_000) })),
            12 => line.want(chance),
            13 => line.play_with_channels(chance, &self.key),
            14 => line.chatter(chance),
            15 => line.repeat(chance, core),
            16 => line.asked.make_contiguous().reverse(),
            17 => line.garbage.push_back((0..chance.below(40)).map(|_| chance.next() as u8).collect()),
            _ => line.cut_a_frame(chance),
        }
    }
}

impl Line {
    fn send(&mut self, message: Message) {
        message.send(&mut self.mux, self.channel).ok();
    }

    /// Answers some requests as `bend` says.
    fn answer(&mut self, chance: &mut Chance, core: &Core, bend: lies::Bend) {
        for _ in 0..1 + chance.below(20) {
            let Some(asked) = self.asked.pop_front() else { break };
            self.send(bend(chance, core, &asked));
            self.answered.push_back(asked);
            self.answered.truncate(50);
        }
    }

    /// Answers again, or what it was never asked.
    fn repeat(&mut self, chance: &mut Chance, core: &Core) {
        let id = chance.below(3) * chance.below(500);
        let asked = match self.answered.pop_back() {
            Some(asked) => RequestMessage { id: if chance.below(2) == 0 { id } else { asked.id }, ..asked },
            None => RequestMessage { id, fork: core.fork(), priority: 0, request: request(chance) },
        };
        let bend = [lies::none, lies::mutate][chance.below(2) as usize];
        self.send(bend(chance, core, &asked));
    }

    /// Says it has what it may not have.
    fn claim(&mut self, chance: &mut Chance) {
        for _ in 0..1 + chance.below(20) {
            let far = [100, 100, 1 << 22, 1 << 53][chance.below(4) as usize];
            let (start, length, drop) = (chance.below(far), 1 + chance.below(far), chance.below(3) == 0);
            self.send(match chance.below(3) {
                0 => Message::Range(Range { drop, start, length: length.min((1 << 53) - start) }),
                1 => Message::Range(Range { drop, start: start % 100, length: 1 + length % 20 }),
                _ => {
                    let words: Vec<_> = (0..1 + chance.below(4)).map(|_| chance.next() as u32).collect();
                    Message::Bitfield(Bitfield::new(start.min(1 << 40) / 32 * 32, words))
                }
            });
        }
    }

    fn ask(&mut self, chance: &mut Chance) {
        let id = chance.below(1_000);
        for i in 0..1 + chance.below(200) {
            let (fork, priority) = (chance.below(3), chance.below(2));
            self.send(Message::Request(RequestMessage { id: id + i, fork, priority, request: request(chance) }));
        }
    }

    fn want(&mut self, chance: &mut Chance) {
        for _ in 0..1 + chance.below(100) {
            let length = 32 << chance.below(17);
            let want = Want { start: chance.below(50) * length, length, any: chance.below(4) == 0 };
            self.send(if chance.below(3) == 0 { Message::Unwant(want) } else { Message::Want(want) });
        }
    }

    /// Opens cores nobody has, the same core again, or closes it and comes back.
    fn play_with_channels(&mut self, chance: &mut Chance, key: &PublicKey) {
        match chance.below(3) {
            0 => (0..100).for_each(|_| {
                let id: Vec<u8> = chance.next().to_le_bytes().repeat(4);
                self.mux.open(&Protocol::new("hypercore/alpha", id), &[0; 33]);
            }),
            1 => drop(open(&mut self.mux, key)),
            _ => {
                self.mux.close(self.channel);
                self.channel = open(&mut self.mux, key);
                self.asked.clear();
            }
        }
    }

    fn chatter(&mut self, chance: &mut Chance) {
        for _ in 0..1 + chance.below(50) {
            let name: Bytes = [&b""[..], b"hear me", &[b'x'; 500]][chance.below(3) as usize].into();
            self.send(Message::Extension { name, message: chance.block() });
            self.mux.send(self.channel, 10 + chance.below(5), &chance.block()).ok();
        }
    }

    /// Sends the beginning of a frame as if it were all, byte by byte or at once.
    fn cut_a_frame(&mut self, chance: &mut Chance) {
        let mut frame = Vec::new();
        if !self.mux.poll_frame(&mut frame) {
            return;
        }
        frame.truncate(chance.below(1 + frame.len() as u64) as usize);
        match chance.below(2) {
            0 => self.garbage.push_back(frame),
            _ => self.garbage.extend(frame.iter().take(20).map(|byte| vec![*byte])),
        }
    }
}

/// Returns what a sync says truthfully of a core.
pub(super) fn state(core: &Core, fork: u64, length: u64) -> SyncState {
    let (can_upgrade, uploading, downloading, has_manifest, allow_push) = (true, true, true, true, false);
    let remote_length = core.length();
    SyncState { fork, length, remote_length, can_upgrade, uploading, downloading, has_manifest, allow_push }
}

/// Looks at the core as it is committed now; or, with the writer's key, makes another history.
fn learn(chance: &mut Chance, library: &Library, key: &PublicKey) -> Option<Core> {
    let core = Core::open(library.store.clone(), &key.discovery_key()).unwrap()?;
    if !library.two_faced || chance.below(2) == 0 {
        return Some(core);
    }
    let pair = KeyPair::from_seed(&[1; 32]);
    let manifest = Manifest::single(Signer::new(pair.public()));
    let mut other = Core::create(Arc::new(MemoryStore::default()), manifest, Some(pair));
    let blocks: Vec<_> = (0..1 + core.length() + chance.below(5)).map(|_| chance.block()).collect();
    other.append(&blocks).unwrap();
    if core.fork() > 0 {
        other.truncate(chance.below(other.length()), Some(core.fork())).unwrap();
        other.append(&blocks).unwrap();
    }
    Some(other)
}

/// Returns a request that may be sensible.
fn request(chance: &mut Chance) -> Request {
    let far = [60, 60, 60, 1 << 53][chance.below(4) as usize];
    let (first, second) = (chance.below(far), chance.below(far));
    let block = Some(BlockRequest { index: first, nodes: second % 8 });
    let hash = Some(HashRequest { index: first, nodes: second % 8 });
    let seek = Some(SeekRequest { bytes: (first * 50).min((1 << 53) - 1), padding: chance.below(8) / 7 });
    let upgrade = Some(UpgradeRequest { start: first, length: second });
    let manifest = chance.below(2) == 0;
    match chance.below(5) {
        0 | 1 => Request { block, manifest, ..Request::default() },
        2 => Request { hash, seek, ..Request::default() },
        3 => Request { upgrade, manifest, ..Request::default() },
        _ => Request { block, hash, seek, upgrade, manifest },
    }
}

fn open(mux: &mut Mux, key: &PublicKey) -> Channel {
    let capability = messages::capability(&[3; 64], Role::Initiator, key);
    let mut body = Vec::new();
    messages::Handshake { seeks: true, capability }.encode(&mut body);
    mux.open(&Protocol::new("hypercore/alpha", key.discovery_key().0), &body)
}

/// Returns an index, each as often as its weight says; 5, which is to do nothing, if all are nil.
fn choose(chance: &mut Chance, weights: &[u64]) -> usize {
    let sum: u64 = weights.iter().sum();
    let mut at = if sum == 0 { return 5 } else { chance.below(sum) };
    let reached = |weight: &u64| match at.checked_sub(*weight) {
        Some(rest) => {
            at = rest;
            false
        }
        None => true,
    };
    weights.iter().position(reached).unwrap_or(5)
}

/// How many things there are to do.
const ACTS: usize = 19;
/// How many of them do not end the connection at once.
const GENTLE: usize = 17;
