//! Writers and sparse readers exchange proofs in random order, and are compared with plain lists of blocks.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use anypath_replicate::core::{Core, Manifest, ProveError, Reorg, Signer, VerifyError, flat_tree};
use anypath_replicate::store::{Batch, MemoryStore, Store};
use anypath_replicate::{BlockRequest, HashRequest, Request, SeekRequest, UpgradeRequest};
use anypath_wire::KeyPair;
use bytes::Bytes;

#[test]
fn cores_agree_with_the_model_whatever_the_order() {
    for seed in 1..=60 {
        World::new(seed).run(250);
    }
}

/// A writer (core 0) and readers, and all that the writer ever wrote, by fork.
struct World {
    random: Random,
    seed: u64,
    cores: Vec<(Arc<MemoryStore>, Core)>,
    forks: BTreeMap<u64, Vec<Bytes>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let pair = KeyPair::from_seed(&[seed as u8; 32]);
        let store = Arc::new(MemoryStore::new());
        let writer = match seed % 3 {
            0 => Core::create_compat(store.clone(), pair),
            _ => Core::create(store.clone(), Manifest::single(Signer::new(pair.public())), Some(pair)),
        };
        let key = *writer.key();
        let readers = (0..3).map(|_| {
            let store = Arc::new(MemoryStore::new());
            (store.clone(), Core::remote(store, key))
        });
        let cores = [(store, writer)].into_iter().chain(readers).collect();
        Self { random: Random(seed), seed, cores, forks: BTreeMap::from([(0, Vec::new())]) }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.below(24) {
                0..3 => self.append(),
                3 => self.truncate(),
                4..6 => self.commit(),
                6 => self.reopen(),
                7 => self.clear(),
                _ => self.exchange(),
            }
        }
        (0..self.cores.len()).for_each(|core| self.check(core));
    }

    fn append(&mut self) {
        let blocks: Vec<Bytes> = (0..1 + self.random.below(9)).map(|_| self.block()).collect();
        let writer = &mut self.cores[0].1;
        let length = writer.append(&blocks).unwrap();
        let model = self.forks.get_mut(&writer.fork()).unwrap();
        model.extend(blocks);
        assert_eq!(length, model.len() as u64);
        self.check(0);
    }

    fn block(&mut self) -> Bytes {
        let length = self.random.below(20) as usize;
        (0..length).map(|_| self.random.below(256) as u8).collect::<Vec<_>>().into()
    }

    fn truncate(&mut self) {
        let writer = &mut self.cores[0].1;
        let (length, step) = (self.random.below(writer.length() + 1), 1 + self.random.below(3));
        let mut model = self.forks[&writer.fork()].clone();
        model.truncate(length as usize);
        writer.truncate(length, Some(writer.fork() + step)).unwrap();
        self.forks.insert(writer.fork(), model);
        self.check(0);
    }

    /// Lets a reader forget some blocks.
    fn clear(&mut self) {
        let place = 1 + self.random.below(self.cores.len() as u64 - 1) as usize;
        let (start, blocks) = (self.random.below(40), self.random.below(12));
        let core = &mut self.cores[place].1;
        let (tree, before) = (core.tree().clone(), core.bitfield().clone());
        core.clear(start..start + blocks);
        assert_eq!(core.tree(), &tree);
        for index in 0..core.length() {
            assert_eq!(core.has(index), before.has(index) && !(start..start + blocks).contains(&index));
        }
        self.check(place);
    }

    fn commit(&mut self) {
        let place = self.random.below(self.cores.len() as u64) as usize;
        self.commit_core(place);
        self.check(place);
    }

    fn commit_core(&mut self, place: usize) {
        let (store, core) = &mut self.cores[place];
        if let Some(mut changes) = core.take_changes() {
            if self.random.below(4) == 0 {
                changes = core.take_changes().unwrap(); // as if the first commit had failed
            }
            store.commit(Batch { records: Vec::new(), cores: vec![changes] }).unwrap();
            core.committed();
        }
        assert!(core.take_changes().is_none() && core.staged_bytes() == 0);
    }

    fn reopen(&mut self) {
        let place = self.random.below(self.cores.len() as u64) as usize;
        self.commit_core(place);
        let (store, core) = &mut self.cores[place];
        let mut opened = Core::open(store.clone(), core.discovery_key()).unwrap().unwrap();
        if place == 0 {
            opened.sign_with(KeyPair::from_seed(&[self.seed as u8; 32]));
        }
        assert_eq!(opened.tree(), core.tree());
        assert_eq!(opened.manifest(), core.manifest());
        assert_eq!(opened.signature(), core.signature());
        assert_eq!(opened.writable(), place == 0);
        *core = opened;
        self.check(place);
    }

    /// Lets a reader ask some other core for something.
    fn exchange(&mut self) {
        let reader = 1 + self.random.below(self.cores.len() as u64 - 1) as usize;
        let peer = self.random.below(self.cores.len() as u64) as usize;
        if reader == peer {
            return;
        }
        let (ours, theirs) = (self.cores[reader].1.fork(), self.cores[peer].1.fork());
        match theirs.cmp(&ours) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => self.request(reader, peer),
            std::cmp::Ordering::Greater => self.reorganise(reader, peer),
        }
        self.check(reader);
    }

    fn request(&mut self, reader: usize, peer: usize) {
        let (ours, theirs) = (&self.cores[reader].1, &self.cores[peer].1);
        let (length, peer_length) = (ours.length(), theirs.length());
        if peer_length == 0 {
            return;
        }
        let index = self.random.below(peer_length);
        let block = || Some(BlockRequest { index, nodes: ours.missing_nodes(2 * index) });
        let mut request = Request { manifest: ours.manifest().is_none(), ..Request::default() };
        if length < peer_length && (index >= length || self.random.below(2) == 0) {
            let more = 1 + self.random.below(peer_length - length);
            let more = if index >= length { more.max(index + 1 - length) } else { more };
            request.upgrade = Some(UpgradeRequest { start: length, length: more });
        }
        match self.random.below(6) {
            0 if request.upgrade.is_some() => {}
            1 => {
                let index = self.random.below(2 * peer_length - 1);
                if request.upgrade.is_none() && !flat_tree::is_below(index, length) {
                    return;
                }
                request.hash = Some(HashRequest { index, nodes: ours.missing_nodes(index) });
            }
            2 => request.seek = Some(SeekRequest { bytes: self.random.below(theirs.byte_length() + 1), padding: 0 }),
            3 => {
                request.block = block();
                request.seek = Some(SeekRequest { bytes: self.random.below(theirs.byte_length() + 1), padding: 0 });
            }
            _ => request.block = block(),
        }
        self.answer(reader, peer, request);
    }

    fn answer(&mut self, reader: usize, peer: usize, request: Request) {
        let strict = peer == 0 && request.seek.is_none() && request.hash.is_none();
        let proof = match self.cores[peer].1.prove(&request) {
            Ok(proof) => proof,
            Err(error) if strict => panic!("seed {}: {error} for {request:?}", self.seed),
            Err(error) => return assert!(!matches!(error, ProveError::Store(_))),
        };
        let core = &mut self.cores[reader].1;
        let held = request.block.is_some_and(|block| core.has(block.index));
        let accepted = match core.accept(proof, &request) {
            Ok(accepted) => accepted,
            Err(error) => panic!("seed {}: {error} for {request:?}", self.seed),
        };
        assert_eq!(accepted.block, request.block.map(|block| block.index).filter(|_| !held));
        assert_eq!(accepted.length, core.length());
        if request.upgrade.is_some() {
            assert_eq!(core.length(), self.cores[peer].1.length());
        }
    }

    fn reorganise(&mut self, reader: usize, peer: usize) {
        let peer_length = self.cores[peer].1.length();
        if peer_length == 0 {
            return;
        }
        let upgrade = Some(UpgradeRequest { start: 0, length: 1 + self.random.below(peer_length) });
        let request = Request { upgrade, manifest: true, ..Request::default() };
        let Ok(proof) = self.cores[peer].1.prove(&request) else { return };
        let mut reorg = Reorg::start(&self.cores[reader].1, proof).unwrap();
        let mut rounds = 0;
        while let Some(hash) = reorg.next_request() {
            let Ok(proof) = self.cores[peer].1.prove(&Request { hash: Some(hash), ..Request::default() }) else {
                return assert_ne!(peer, 0);
            };
            reorg.accept(&self.cores[reader].1, &proof).unwrap();
            rounds += 1;
            assert!(rounds < 64);
        }
        let core = &mut self.cores[reader].1;
        let (before, old) = (core.length(), self.forks[&core.fork()].clone());
        let adopted = core.adopt(reorg).unwrap();
        let common = self.forks[&core.fork()].iter().zip(&old).take_while(|(new, old)| new == old).count() as u64;
        assert!(adopted.ancestor.min(before) <= common && adopted.old_length == before);
    }

    fn check(&self, place: usize) {
        let (core, seed) = (&self.cores[place].1, self.seed);
        let model = &self.forks[&core.fork()][..core.length() as usize];
        let sizes: Vec<u64> = model.iter().map(|block| block.len() as u64).collect();
        assert_eq!(core.byte_length(), sizes.iter().sum::<u64>(), "seed {seed}");
        let mut offset = 0;
        for (index, block) in (0..).zip(model) {
            let held = core.block(index).unwrap();
            assert_eq!(held.is_some(), core.has(index), "seed {seed} core {place} block {index}");
            assert!(held.is_none_or(|held| held == *block), "seed {seed} core {place} block {index}");
            let at = core.byte_offset(index).unwrap();
            assert!(at.is_none_or(|at| at == offset), "seed {seed} core {place} block {index}");
            assert!(place > 0 || at.is_some() && core.has(index), "seed {seed} block {index}");
            if block.len() > 1 {
                let within = offset + block.len() as u64 / 2;
                let found = core.seek(within).unwrap();
                assert!(found.is_none_or(|found| found == (index, block.len() as u64 / 2)), "seed {seed}");
                assert!(place > 0 || found.is_some(), "seed {seed}");
            }
            offset += block.len() as u64;
        }
        assert_eq!(core.contiguous_length(), (0..).find(|index| !core.has(*index)).unwrap(), "seed {seed}");
        assert_eq!(core.bitfield().next_set(core.length()), None, "seed {seed}");
        for root in &core.tree().roots {
            assert_eq!(core.node(root.index).unwrap(), Some(*root), "seed {seed}");
        }
    }
}

#[test]
fn a_reader_finds_the_ancestor_at_every_depth() {
    for (length, fresh) in [(40, 0), (40, 1), (40, 7), (40, 40), (33, 2), (1, 3)] {
        for depth in 0..=length {
            if depth + fresh == 0 {
                continue; // an empty fork cannot be proven: there is nothing to upgrade to
            }
            let mut writer = writer();
            writer.append(&blocks("old", 0..length)).unwrap();
            let mut reader = clone_of(&writer);
            assert_eq!(reader.contiguous_length(), length);
            writer.truncate(depth, None).unwrap();
            writer.append(&blocks("new", depth..depth + fresh)).unwrap();
            let rounds = reorganise(&mut reader, &writer, depth, length);
            assert!(rounds <= 7, "{rounds} rounds for {depth} of {length}");
            assert_eq!(reader.contiguous_length(), depth);
            fill(&mut reader, &writer);
            assert_eq!(reader.contiguous_length(), depth + fresh);
            let all = Request { upgrade: upgrade(0, writer.length()), ..Request::default() };
            assert_eq!(reader.prove(&all).unwrap(), writer.prove(&all).unwrap());
        }
    }
}

#[test]
fn only_higher_forks_and_unchanged_cores_are_adopted() {
    let mut writer = writer();
    writer.append(&blocks("old", 0..10)).unwrap();
    let mut reader = clone_of(&writer);
    let whole =
        |core: &Core| core.prove(&Request { upgrade: upgrade(0, core.length()), ..Request::default() }).unwrap();
    assert!(matches!(Reorg::start(&reader, whole(&writer)), Err(VerifyError::Fork { theirs: 0, ours: 0 })));
    writer.truncate(3, Some(5)).unwrap();
    writer.append(&blocks("new", 3..10)).unwrap();
    let mut forged = whole(&writer);
    forged.fork = 6;
    assert!(matches!(Reorg::start(&reader, forged), Err(VerifyError::InvalidSignature)));
    let unfinished = Reorg::start(&reader, whole(&writer)).unwrap();
    assert!(!unfinished.is_finished() && unfinished.fork() == 5 && unfinished.length() == 10);
    assert!(matches!(reader.adopt(unfinished), Err(VerifyError::Stale)));
    let mut late = Reorg::start(&reader, whole(&writer)).unwrap();
    let hash = late.next_request();
    let top = HashRequest { index: 7, nodes: 0 };
    let mut bare = writer.prove(&Request { hash: Some(top), ..Request::default() }).unwrap();
    bare.hash.as_mut().unwrap().nodes[0].size = u64::MAX;
    assert!(matches!(late.accept(&reader, &bare), Err(VerifyError::InvalidOperation)));
    assert!(reader.node(u64::MAX).unwrap().is_none());
    reorganise(&mut reader, &writer, 3, 10);
    let proof = writer.prove(&Request { hash, ..Request::default() }).unwrap();
    assert!(matches!(late.accept(&reader, &proof), Err(VerifyError::Stale)));
}

#[test]
fn two_signed_trees_of_one_fork_are_a_conflict() {
    let (mut one, mut other) = (writer(), writer());
    one.append(&blocks("one", 0..9)).unwrap();
    other.append(&blocks("one", 0..5)).unwrap();
    let mut reader = clone_of(&one);
    let whole = |core: &Core| core.prove(&Request { upgrade: upgrade(0, 5), ..Request::default() }).unwrap();
    assert!(reader.conflicts(whole(&other)).unwrap().is_none() && reader.conflicts(whole(&one)).unwrap().is_none());
    let mut third = writer();
    third.append(&blocks("three", 0..5)).unwrap();
    let evidence = reader.conflicts(whole(&third)).unwrap().unwrap();
    let mut forged = whole(&third);
    forged.upgrade.as_mut().unwrap().signature[9] ^= 1;
    assert!(reader.conflicts(forged).is_err());
    let mut shifted = one.prove(&Request { upgrade: upgrade(0, 9), ..Request::default() }).unwrap();
    (shifted.upgrade.as_mut().unwrap().start, shifted.upgrade.as_mut().unwrap().length) = (1, 8);
    assert!(matches!(reader.conflicts(shifted), Err(VerifyError::InvalidProof)));
    let mut resized = one.prove(&Request { upgrade: upgrade(0, 4), ..Request::default() }).unwrap();
    let parts = resized.upgrade.as_mut().unwrap();
    (parts.nodes[0].size, parts.additional_nodes[0].size) =
        (parts.nodes[0].size + 1, parts.additional_nodes[0].size - 1);
    assert!(reader.conflicts(resized).unwrap().is_none());
    reader.freeze(evidence);
    one.append(&blocks("one", 9..10)).unwrap();
    let asked = Request { upgrade: upgrade(9, 1), ..Request::default() };
    assert!(matches!(reader.accept(one.prove(&asked).unwrap(), &asked), Err(VerifyError::Frozen)));
}

#[test]
fn absurd_numbers_are_refused_without_panic() {
    let mut writer = writer();
    writer.append(&blocks("block", 0..13)).unwrap();
    let reader = Core::remote(Arc::new(MemoryStore::new()), *writer.key());
    let mut random = Random(7);
    let mut answered = 0;
    for _ in 0..20_000 {
        let request = absurd(&mut random);
        let Ok(mut proof) = writer.prove(&request) else { continue };
        answered += 1;
        let mut fresh = Core::remote(Arc::new(MemoryStore::new()), *reader.key());
        if random.below(2) == 0 {
            spoil(&mut random, &mut proof);
        }
        let _ = fresh.accept(proof.clone(), &request);
        let _ = reader.conflicts(proof.clone());
        proof.fork = 1;
        assert!(Reorg::start(&fresh, proof).is_err());
        reader.missing_nodes(odd(&mut random));
    }
    assert!(answered > 1_000, "{answered}");
}

fn absurd(random: &mut Random) -> Request {
    let mut some = |set: u64| random.below(3) < set;
    let (block, hash, seek, upgrade) = (some(1), some(1), some(1), some(2));
    Request {
        block: block.then(|| BlockRequest { index: odd(random), nodes: odd(random) }),
        hash: hash.then(|| HashRequest { index: odd(random), nodes: odd(random) }),
        seek: seek
            .then(|| SeekRequest { bytes: odd(random), padding: if random.below(3) == 0 { odd(random) } else { 0 } }),
        upgrade: upgrade.then(|| UpgradeRequest { start: odd(random), length: odd(random) }),
        manifest: random.below(2) == 0,
    }
}

fn spoil(random: &mut Random, proof: &mut anypath_replicate::Proof) {
    if let Some(block) = &mut proof.block {
        block.index = odd(random);
    }
    let upgrade = proof.upgrade.as_mut();
    let lists = [proof.block.as_mut().map(|block| &mut block.nodes), proof.hash.as_mut().map(|hash| &mut hash.nodes)];
    let lists = lists.into_iter().chain([proof.seek.as_mut().map(|seek| &mut seek.nodes)]);
    let upgrade = upgrade.map(|upgrade| {
        (upgrade.start, upgrade.length) = (odd(random), odd(random));
        [&mut upgrade.nodes, &mut upgrade.additional_nodes]
    });
    for nodes in lists.flatten().chain(upgrade.into_iter().flatten()) {
        if let Some(node) = nodes.last_mut() {
            (node.index, node.size) = (odd(random), odd(random));
            let node = *node;
            nodes.resize(nodes.len() + random.below(200) as usize, node);
        }
    }
}

fn odd(random: &mut Random) -> u64 {
    const ODD: [u64; 12] = [
        1 << 31,
        1 << 52,
        1 << 53,
        (1 << 53) - 1,
        1 << 54,
        (1 << 54) - 1,
        (1 << 54) + 1,
        1 << 63,
        u64::MAX,
        u64::MAX - 1,
        u64::MAX >> 1,
        255,
    ];
    match random.below(4) {
        0 => ODD[random.below(12) as usize],
        _ => random.below(15),
    }
}

fn writer() -> Core {
    let pair = KeyPair::from_seed(&[3; 32]);
    Core::create(Arc::new(MemoryStore::new()), Manifest::single(Signer::new(pair.public())), Some(pair))
}

fn blocks(text: &str, range: std::ops::Range<u64>) -> Vec<Bytes> {
    range.map(|block| format!("{text} {block}").into_bytes().into()).collect()
}

fn clone_of(peer: &Core) -> Core {
    let mut reader = Core::remote(Arc::new(MemoryStore::new()), *peer.key());
    let asked = Request { upgrade: upgrade(0, peer.length()), manifest: true, ..Request::default() };
    reader.accept(peer.prove(&asked).unwrap(), &asked).unwrap();
    fill(&mut reader, peer);
    reader
}

fn fill(reader: &mut Core, peer: &Core) {
    for index in 0..reader.length() {
        let block = Some(BlockRequest { index, nodes: reader.missing_nodes(2 * index) });
        let asked = Request { block, ..Request::default() };
        reader.accept(peer.prove(&asked).unwrap(), &asked).unwrap();
    }
}

fn upgrade(start: u64, length: u64) -> Option<UpgradeRequest> {
    Some(UpgradeRequest { start, length })
}

fn reorganise(reader: &mut Core, writer: &Core, ancestor: u64, old_length: u64) -> usize {
    let asked = Request { upgrade: upgrade(0, writer.length()), ..Request::default() };
    let mut reorg = Reorg::start(reader, writer.prove(&asked).unwrap()).unwrap();
    let mut rounds = 0;
    while let Some(hash) = reorg.next_request() {
        let proof = writer.prove(&Request { hash: Some(hash), ..Request::default() }).unwrap();
        reorg.accept(reader, &proof).unwrap();
        rounds += 1;
    }
    let adopted = reader.adopt(reorg).unwrap();
    assert_eq!((adopted.ancestor, adopted.old_length), (ancestor, old_length));
    assert_eq!((reader.tree(), reader.signature()), (writer.tree(), writer.signature()));
    rounds
}

/// Xorshift, so that a failing seed fails again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xbf58_476d;
        self.0 ^= self.0 >> 29;
        self.0 ^= self.0 << 17;
        self.0 ^= self.0 >> 31;
        self.0 % end
    }
}
