//! A peer that lies, floods, withholds and never reads: what it may cost is bounded, and honest peers are none the wiser.
//!
//! Memory is counted, not guessed: see [`counting`].
#![allow(clippy::unwrap_used)]

mod counting;
mod heads;
mod unasked;
mod wrong;

use std::ops::Range;
use std::sync::Arc;

use anypath_replicate::core::{Core, Manifest, Signer};
use anypath_replicate::messages::{self, Bitfield, DataMessage, Message, RequestMessage, SyncState, Want};
use anypath_replicate::mux::{Channel, Event as MuxEvent, Misbehaviour as MuxMisbehaviour, Mux, MuxError, Protocol};
use anypath_replicate::replicator::{CoreId, Event, FrameError, Misbehaviour, PeerId, Replicator};
use anypath_replicate::store::MemoryStore;
use anypath_replicate::{BlockProof, BlockRequest, HashRequest, Proof, Request, SeekRequest, UpgradeRequest};
use anypath_wire::{Handshake, KeyPair, PublicKey, Role};
use bytes::Bytes;

use counting::held;
use wrong::wrong;

#[test]
fn claims_about_blocks_cost_what_was_sent_at_most() {
    let mut scene = Scene::new();
    let before = held();
    let range = |drop, start, length| Message::Range(messages::Range { drop, start, length });
    let claims = [
        range(false, 1 << 50, 1 << 49),
        range(true, 0, (1 << 53) - 1),
        range(false, 0, (1 << 53) - 1),
        range(true, 32_768, 0),
        range(false, (1 << 53) - 1, 1),
        Message::Bitfield(Bitfield::new(32_768, [])),
        Message::Bitfield(Bitfield::new((1 << 53) - 32_768 * 32, [u32::MAX; 1024])),
        Message::Bitfield(Bitfield::new(0, vec![0x5555_5555; 100_000])),
    ];
    scene.attack(&claims).unwrap();
    for i in 0..50_000 {
        let cut = range(i % 2 == 0, i * 40_000 % (1 << 50), 1 + i % 70_000);
        scene.attack(&[cut]).unwrap();
    }
    assert!(held() - before < 8 << 20, "{} bytes", held() - before);
    scene.finish();
}

#[test]
fn claims_beyond_all_numbers_are_named() {
    let range = |start, length| Message::Range(messages::Range { drop: false, start, length });
    let far = Bitfield { start: (1 << 53) - 32, bytes: vec![1; 8].into() };
    let unaligned = Bitfield { start: 33, bytes: vec![1; 4].into() };
    for (message, expected) in [
        (range(1 << 52, (1 << 52) + 1), Misbehaviour::OutOfRange),
        (range((1 << 53) - 1, (1 << 53) - 1), Misbehaviour::OutOfRange),
        (Message::Bitfield(far), Misbehaviour::OutOfRange),
        (Message::Bitfield(unaligned), Misbehaviour::Unaligned),
    ] {
        let mut scene = Scene::new();
        assert_eq!(scene.misbehave(&[message]), expected);
        scene.finish();
    }
}

#[test]
fn questions_without_reading_the_answers_end() {
    let want = |i: u64| Message::Want(Want { start: i * 32, length: 32, any: false });
    let mut scene = Scene::new();
    let before = held();
    let wants: Vec<_> = (0..512).map(want).collect();
    scene.attack(&wants).unwrap();
    let odd = [(5, 32), (0, 33), ((1 << 53) - (1 << 21), 1 << 21), (0, (1 << 53) - 1)];
    scene
        .attack(
            &odd[..2]
                .iter()
                .map(|(start, length)| Message::Want(Want { start: *start, length: *length, any: false }))
                .collect::<Vec<_>>(),
        )
        .unwrap();
    assert_eq!(scene.misbehave(&[want(9)]), Misbehaviour::TooManyWants);
    scene.finish();

    let mut scene = Scene::new();
    let requests: Vec<_> = (0..16_384).map(|i| request(i, block_request(i % 300, 0))).collect();
    scene.attack(&requests).unwrap();
    assert_eq!(scene.misbehave(&[request(1, block_request(1, 0))]), Misbehaviour::TooManyRequests);
    assert!(held() - before < 16 << 20, "{} bytes", held() - before);
    scene.finish();
}

#[test]
fn every_request_of_a_peer_that_reads_is_answered() {
    let mut scene = Scene::serving();
    let mut answered = 0;
    for round in 0..200 {
        let ask = |i: u64| request(round * 100 + i, block_request((round * 100 + i) % 400, 0));
        scene.attack(&(0..100).map(ask).collect::<Vec<_>>()).unwrap();
        let answers = scene.foe.read(&mut scene.victim);
        answered += answers.iter().filter(|m| matches!(m, Message::Data(_) | Message::NoData { .. })).count();
    }
    assert_eq!(answered, 20_000);
}

#[test]
fn requests_that_nobody_can_answer_end() {
    let far = (1 << 53) - 1;
    let upgrade = |start, length| Request { upgrade: Some(UpgradeRequest { start, length }), ..Request::default() };
    let hash = |index, nodes| Request { hash: Some(HashRequest { index, nodes }), ..Request::default() };
    let seek = |bytes, padding| {
        let upgrade = Some(UpgradeRequest { start: 0, length: 300 });
        Request { seek: Some(SeekRequest { bytes, padding }), upgrade, ..Request::default() }
    };
    let all = [
        block_request(far, far),
        block_request(0, far),
        hash(far, far),
        hash(far, 0),
        hash(1, 60),
        upgrade(far, far),
        upgrade(0, far),
        upgrade(300, 0),
        seek(far, far),
        seek(1, far),
        Request { hash: hash(0, 0).hash, ..block_request(0, 0) },
    ];
    let mut scene = Scene::serving();
    let ask = |scene: &mut Scene, i: usize| {
        scene.attack(&[request(i as u64, all[i % all.len()])])?;
        scene.foe.try_read(&mut scene.victim)
    };
    let error = (0..1_000).find_map(|i| ask(&mut scene, i).err()).unwrap();
    assert!(matches!(error, FrameError::Misbehaved(Misbehaviour::InvalidRequests)), "{error}");
}

#[test]
fn a_storm_of_cancels_is_borne() {
    let mut scene = Scene::serving();
    let requests: Vec<_> = (0..16_384).map(|i| request(i, block_request(0, 0))).collect();
    scene.attack(&requests).unwrap();
    for start in 0..5 {
        let cancels: Vec<_> = (0..10_000).map(|i| Message::Cancel { request: start * 1_500 + i }).collect();
        scene.attack(&cancels).unwrap();
    }
    let answers = scene.foe.read(&mut scene.victim).len();
    assert_eq!(answers, 16_384 - (4 * 1_500 + 10_000));
}

#[test]
fn lies_about_the_head_hide_nothing_and_cost_little() {
    let mut scene = Scene::new();
    let before = held();
    for i in 0..20_000 {
        let (fork, length) = [(0, (1 << 53) - 1), ((1 << 53) - 1 - i, 1), (i, i), (0, 0)][i as usize % 4];
        scene.attack(&[sync(fork, length, 0)]).unwrap();
    }
    scene.attack(&[sync((1 << 53) - 1, (1 << 53) - 1, 0)]).unwrap();
    assert!(held() - before < 16 << 20, "{} bytes", held() - before);
    scene.writer.truncate(scene.source, 100, None).unwrap();
    scene.writer.append(scene.source, &[block(7)]).unwrap();
    scene.writer.commit().unwrap();
    scene.finish();
}

#[test]
fn a_head_is_not_proven_before_it_is_committed_but_the_one_before_it_is() {
    let mut scene = Scene::serving();
    let core = scene.copy;
    let ask = |length| Request { upgrade: Some(UpgradeRequest { start: 0, length }), ..Request::default() };
    scene.victim.append(core, &[block(1)]).unwrap();
    scene.foe.send(&request(1, ask(300)));
    scene.foe.send(&request(2, ask(301)));
    scene.foe.deliver(&mut scene.victim).unwrap();
    assert_eq!(scene.proven_lengths(), [300]);
    let batch = scene.victim.begin_commit().unwrap();
    scene.victim.append(core, &[block(2)]).unwrap();
    assert!(scene.proven_lengths().is_empty());
    scene.victim.store().clone().commit(batch).unwrap();
    scene.victim.finish_commit().unwrap();
    assert_eq!(scene.proven_lengths(), [301]);
}

#[test]
fn a_manifest_is_not_told_of_before_it_is_committed() {
    let mut victim = Replicator::new(Arc::new(MemoryStore::default()));
    let pair = KeyPair::from_seed(&[3; 32]);
    let core = victim.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
    let key = *victim.core(core).key();
    let mut foe = Foe::connect(&mut victim, key);
    foe.open();
    foe.deliver(&mut victim).unwrap();
    let mut told = |victim: &mut Replicator| match foe.read(victim)[..] {
        [Message::Sync(sync)] => sync.has_manifest,
        ref told => panic!("{told:?}"),
    };
    assert!(!told(&mut victim));
    victim.commit().unwrap();
    assert!(told(&mut victim));
}

#[test]
fn a_peer_that_takes_every_request_and_answers_none_is_passed_over() {
    let mut scene = Scene::new();
    scene.take_all_requests();
    scene.foe.read(&mut scene.victim);
    for _ in 0..4 {
        scene.victim.tick(scene.foe.id).unwrap();
        scene.settle();
    }
    scene.check();
}

#[test]
fn what_relies_on_an_answer_held_back_comes_from_others() {
    let mut scene = Scene::new();
    scene.take_all_requests();
    for message in scene.foe.read(&mut scene.victim) {
        let Message::Request(asked) = message else { continue };
        if asked.request.block.is_some_and(|block| [3, 5, 6].contains(&block.index)) {
            let proof = scene.writer.core(scene.source).prove(&asked.request).unwrap();
            scene.attack(&[Message::Data(DataMessage { request: asked.id, proof })]).unwrap();
        }
    }
    for _ in 0..4 {
        scene.victim.tick(scene.foe.id).unwrap();
        scene.settle();
    }
    scene.check();
}

#[test]
fn wrong_answers_are_named_and_the_rest_comes_from_others() {
    for kind in 0..9 {
        let mut scene = Scene::new();
        scene.take_all_requests();
        let mut refused = false;
        for _ in 0..100 {
            let answers: Vec<_> = scene.foe.read(&mut scene.victim).iter().filter_map(|m| wrong(kind, m)).collect();
            scene.attack(&answers).unwrap();
            refused |= events(&mut scene.victim)
                .iter()
                .any(|event| matches!(event, Event::Refused { misbehaviour: Misbehaviour::InvalidData, .. }));
        }
        assert_eq!(refused, (2..=6).contains(&kind), "kind {kind}");
        if kind < 8 {
            scene.settle();
            scene.check();
        }
        scene.finish();
    }
}

#[test]
fn answers_that_nobody_asked_for_are_dropped() {
    let mut scene = Scene::new();
    let before = held();
    for request in 0..2_000 {
        let value = Bytes::from(vec![1; 10_000]);
        let block = Some(BlockProof { index: request, value, nodes: vec![] });
        let proof = Proof { block, ..Proof::default() };
        scene.attack(&[Message::Data(DataMessage { request, proof }), Message::NoData { request, reason: 2 }]).unwrap();
    }
    assert!(held() - before < 1 << 20, "{} bytes", held() - before);
    scene.finish();
}

#[test]
fn early_answers_are_kept_in_bounds() {
    let mut scene = Scene::new();
    scene.take_all_requests();
    let asked = scene.foe.read(&mut scene.victim);
    let before = held();
    let mut most = 0;
    for message in asked.iter().rev() {
        let Message::Request(asked) = message else { continue };
        let Some(BlockRequest { index, .. }) = asked.request.block else { continue };
        let block = Some(BlockProof { index, value: vec![0; 1 << 20].into(), nodes: vec![] });
        let proof = Proof { block, ..Proof::default() };
        scene.attack(&[Message::Data(DataMessage { request: asked.id, proof })]).unwrap();
        most = most.max(held() - before);
    }
    assert!(most < 16 << 20, "{most} bytes");
    scene.finish();
}

#[test]
fn channels_without_end_are_bounded() {
    let mut scene = Scene::new();
    let before = held();
    let mut ended = None;
    for i in 0..300_000u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&i.to_le_bytes());
        scene.foe.mux.open(&Protocol::new("hypercore/alpha", id), &[0; 33]);
        if i % 1000 == 0
            && let Err(error) = scene.foe.deliver(&mut scene.victim)
        {
            ended = Some(error);
            break;
        }
        // The foe's own memory of its channels is not the victim's.
        if i % 20_000 == 19_999 {
            assert!(held() - before < 200 << 20, "{} bytes", held() - before);
        }
    }
    let limits = [MuxMisbehaviour::InvalidOpen { id: 65_537 }, MuxMisbehaviour::NotReading];
    assert!(
        matches!(ended, Some(FrameError::Mux(MuxError::Misbehaved(reason))) if limits.contains(&reason)),
        "{ended:?}"
    );
    scene.finish();
}

#[test]
fn a_channel_opened_and_closed_for_ever_is_borne_until_answers_pile_up() {
    let mut scene = Scene::new();
    let before = held();
    let mut ended = None;
    for _ in 0..50_000 {
        scene.foe.mux.close(scene.foe.channel);
        scene.foe.open();
        ended = scene.foe.deliver(&mut scene.victim).err();
        events(&mut scene.victim);
        if ended.is_some() {
            break;
        }
    }
    assert!(held() - before < 100 << 20, "{} bytes", held() - before);
    assert!(ended.is_none_or(|error| matches!(error, FrameError::Mux(_))));
    scene.finish();
}

#[test]
fn a_second_channel_for_a_core_is_rejected() {
    let mut scene = Scene::new();
    let second = scene.foe.open_another();
    scene.foe.deliver(&mut scene.victim).unwrap();
    scene.foe.read(&mut scene.victim);
    assert!(!scene.foe.mux.is_open(second) && scene.foe.mux.is_open(scene.foe.channel));
    scene.finish();
}

#[test]
fn a_wrong_capability_is_named() {
    let mut scene = Scene::new();
    let mut stranger = Foe::connect(&mut scene.victim, scene.key);
    let protocol = Protocol::new("hypercore/alpha", scene.key.discovery_key().0);
    stranger.mux.open(&protocol, &[0; 33]);
    let error = stranger.deliver(&mut scene.victim).unwrap_err();
    assert!(matches!(error, FrameError::Misbehaved(Misbehaviour::Capability(key)) if key == scene.key), "{error}");
    scene.finish();
}

#[test]
fn extensions_and_unknown_messages_cost_nothing() {
    let mut scene = Scene::new();
    let before = held();
    for i in 0..20_000u32 {
        let (name, message) = (Bytes::from(i.to_string()), Bytes::from(vec![0; 1_000]));
        scene.foe.send(&Message::Extension { name, message });
        scene.foe.mux.send(scene.foe.channel, 10 + u64::from(i), &[1; 50]).unwrap();
        scene.foe.deliver(&mut scene.victim).unwrap();
    }
    assert!(held() - before < 1 << 20, "{} bytes", held() - before);
    scene.finish();
}

/// A reader (the victim), an honest writer that is connected to it, and the foe.
struct Scene {
    writer: Replicator,
    source: CoreId,
    victim: Replicator,
    copy: CoreId,
    key: PublicKey,
    /// The ids of the honest connection's ends: the writer's, the victim's.
    honest: (PeerId, PeerId),
    foe: Foe,
}

impl Scene {
    /// The victim knows the head of a core of 300 blocks, and wants nothing else so far; the foe came first.
    fn new() -> Self {
        let (mut writer, source) = writer(300);
        let key = *writer.core(source).key();
        let mut victim = Replicator::new(Arc::new(MemoryStore::default()));
        let copy = victim.open(&key).unwrap();
        let mut foe = Foe::connect(&mut victim, key);
        foe.open();
        let honest = (writer.connect(shake(Role::Responder)), victim.connect(shake(Role::Initiator)));
        victim.want(copy, 0..1).unwrap();
        let mut scene = Self { writer, source, victim, copy, key, honest, foe };
        scene.settle();
        scene.foe.deliver(&mut scene.victim).unwrap();
        scene.foe.read(&mut scene.victim);
        scene.foe.send(&sync(0, 300, 300));
        scene.foe.deliver(&mut scene.victim).unwrap();
        scene
    }

    /// The victim is the writer itself.
    fn serving() -> Self {
        let mut scene = Self::new();
        std::mem::swap(&mut scene.writer, &mut scene.victim);
        std::mem::swap(&mut scene.source, &mut scene.copy);
        scene.foe = Foe::connect(&mut scene.victim, scene.key);
        scene.foe.open();
        scene.foe.deliver(&mut scene.victim).unwrap();
        scene.foe.read(&mut scene.victim);
        scene
    }

    /// Returns the lengths of the heads that the victim proves to the foe now.
    fn proven_lengths(&mut self) -> Vec<u64> {
        let store = Arc::new(MemoryStore::default());
        let told = self.foe.read(&mut self.victim).into_iter();
        let proofs = told.filter_map(|message| if let Message::Data(data) = message { Some(data.proof) } else { None });
        let length = |proof: Proof| {
            let asked = Request { upgrade: Some(UpgradeRequest { start: 0, length: 0 }), ..Request::default() };
            let mut core = Core::create(store.clone(), self.victim.core(self.copy).manifest().unwrap().clone(), None);
            core.accept(proof, &asked).unwrap().length
        };
        proofs.map(length).collect()
    }

    /// Makes the victim ask the foe for all it lacks, before it can ask anybody else.
    fn take_all_requests(&mut self) {
        self.attack(&[Message::Range(messages::Range { drop: false, start: 0, length: 300 })]).unwrap();
        self.victim.want(self.copy, 0..u64::MAX).unwrap();
        assert!(self.victim.has_frame(self.foe.id));
    }

    fn attack(&mut self, messages: &[Message]) -> Result<(), FrameError> {
        messages.iter().for_each(|message| self.foe.send(message));
        self.foe.deliver(&mut self.victim)?;
        self.victim.commit()?;
        Ok(())
    }

    fn misbehave(&mut self, messages: &[Message]) -> Misbehaviour {
        match self.attack(messages).unwrap_err() {
            FrameError::Misbehaved(misbehaviour) => {
                self.victim.disconnect(self.foe.id).unwrap();
                misbehaviour
            }
            error => panic!("{error}"),
        }
    }

    /// Lets the honest two finish, the foe disconnected or idle, and sees that nothing is missing.
    fn finish(&mut self) {
        self.victim.want(self.copy, 0..u64::MAX).unwrap();
        self.settle();
        for _ in 0..4 {
            self.victim.tick(self.foe.id).unwrap();
            self.settle();
        }
        self.check();
    }

    /// Carries frames between the honest two until there are none.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            let moved = self.writer.poll_frame(self.honest.0, &mut there).unwrap()
                | self.victim.poll_frame(self.honest.1, &mut back).unwrap();
            self.victim.handle_frame(self.honest.1, there.into()).unwrap();
            self.writer.handle_frame(self.honest.0, back.into()).unwrap();
            let staged = self.victim.is_staged() || self.writer.is_staged();
            self.victim.commit().unwrap();
            self.writer.commit().unwrap();
            if !moved && !staged {
                return;
            }
        }
        panic!("never settles");
    }

    fn check(&self) {
        let (source, copy) = (self.writer.core(self.source), self.victim.core(self.copy));
        assert_eq!((source.fork(), source.length()), (copy.fork(), copy.length()));
        for index in 0..source.length() {
            let (theirs, ours) = (source.block(index).unwrap(), copy.block(index).unwrap());
            assert!(ours.is_some() && ours == theirs, "block {index}");
        }
    }
}

/// A peer whose every message is chosen.
struct Foe {
    mux: Mux,
    channel: Channel,
    id: PeerId,
    key: PublicKey,
}

impl Foe {
    fn connect(victim: &mut Replicator, key: PublicKey) -> Self {
        let mut mux = Mux::new();
        let channel = mux.open(&Protocol::new("nothing", []), b"");
        mux.close(channel);
        Self { mux, channel, id: victim.connect(shake(Role::Responder)), key }
    }

    fn open(&mut self) {
        self.channel = self.open_another();
    }

    fn open_another(&mut self) -> Channel {
        let capability = messages::capability(&[3; 64], Role::Initiator, &self.key);
        let mut body = Vec::new();
        messages::Handshake { seeks: true, capability }.encode(&mut body);
        self.mux.open(&Protocol::new("hypercore/alpha", self.key.discovery_key().0), &body)
    }

    fn send(&mut self, message: &Message) {
        message.send(&mut self.mux, self.channel).unwrap();
    }

    fn deliver(&mut self, victim: &mut Replicator) -> Result<(), FrameError> {
        loop {
            let mut frame = Vec::new();
            if !self.mux.poll_frame(&mut frame) {
                return Ok(());
            }
            victim.handle_frame(self.id, frame.into())?;
        }
    }

    /// Returns everything the victim has to say.
    fn read(&mut self, victim: &mut Replicator) -> Vec<Message> {
        self.try_read(victim).unwrap()
    }

    fn try_read(&mut self, victim: &mut Replicator) -> Result<Vec<Message>, FrameError> {
        let mut messages = Vec::new();
        loop {
            let mut frame = Vec::new();
            if !victim.poll_frame(self.id, &mut frame)? {
                return Ok(messages);
            }
            self.mux.handle_frame(frame.into());
            while let Some(event) = self.mux.poll_event().unwrap() {
                if let MuxEvent::Message { kind, body, .. } = event {
                    messages.extend(Message::decode(kind, &body, true).unwrap());
                }
            }
        }
    }
}

fn writer(blocks: u64) -> (Replicator, CoreId) {
    let mut replicator = Replicator::new(Arc::new(MemoryStore::default()));
    let pair = KeyPair::from_seed(&[1; 32]);
    let core = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
    let blocks: Range<u64> = 0..blocks;
    replicator.append(core, &blocks.map(block).collect::<Vec<_>>()).unwrap();
    replicator.commit().unwrap();
    (replicator, core)
}

fn block(index: u64) -> Bytes {
    vec![index as u8; (index * 37 % 500) as usize].into()
}

fn shake(role: Role) -> Handshake {
    Handshake { role, remote: PublicKey([7; 32]), hash: [3; 64], tx: [0; 32], rx: [0; 32] }
}

fn events(replicator: &mut Replicator) -> Vec<Event> {
    std::iter::from_fn(|| replicator.poll_event()).collect()
}

fn sync(fork: u64, length: u64, remote_length: u64) -> Message {
    let (can_upgrade, uploading, downloading, has_manifest, allow_push) = (true, true, true, true, false);
    Message::Sync(SyncState {
        fork,
        length,
        remote_length,
        can_upgrade,
        uploading,
        downloading,
        has_manifest,
        allow_push,
    })
}

fn request(id: u64, request: Request) -> Message {
    Message::Request(RequestMessage { id, fork: 0, priority: 0, request })
}

fn block_request(index: u64, nodes: u64) -> Request {
    Request { block: Some(BlockRequest { index, nodes }), ..Request::default() }
}
