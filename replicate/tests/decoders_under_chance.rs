//! What a hostile writer can sign: drives, blobs, manifests and links with random changes. No panic, no endless work.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::convert::Infallible;

use anypath_replicate::bee::{self, Bee, Need, Range, Walk};
use anypath_replicate::core::{Manifest, Prologue, Signer};
use anypath_replicate::drive::{BlobId, BlobReader, BlobWriter, Diff, Drive, Edit, Entry, Files, normalize};
use anypath_replicate::messages::{Handshake, Message};
use anypath_replicate::noise::{Frames, Opener, Sealer};
use anypath_replicate::{AppendBlocks, Blocks};
use anypath_wire::{Address, Decoder, Handshake as Shaken, KeyPair, Link, ListenAt, PublicKey, Role};
use bytes::{Bytes, BytesMut};

#[test]
fn a_damaged_drive_is_read_to_an_end() {
    let whole = drive();
    let (mut fine, mut refused) = (0, 0);
    for seed in 1..=3_000 {
        let mut chance = Chance(seed);
        let mut db = whole.clone();
        for _ in 0..1 + chance.below(4) {
            let at = chance.below(db.blocks.len());
            db.blocks[at] = match chance.below(4) {
                0 => db.blocks[chance.below(db.blocks.len())].clone(),
                1 => chance.bytes(60).into(),
                _ => chance.changed(&db.blocks[at]),
            };
        }
        let version = db.length() - chance.below(3) as u64;
        let outcomes = [
            exhaust(Files::new(version, "/").unwrap(), |files| files.next(&db).map_err(drop)),
            exhaust(Walk::new(version, Range::all()), |walk| walk.next(&db).map_err(drop)),
            Diff::new(chance.below(60) as u64, version).next(&db).map(drop).map_err(drop),
            Drive::new().entry(&db, version, "/folder/7").map(drop).map_err(drop),
            Bee::new(bee::Header::plain()).range(&db, version, Range::all()).map(drop).map_err(drop),
            bee::operation(&db, chance.below(80) as u64).map(drop).map_err(drop),
            bee::header(&db).map(drop).map_err(drop),
            anypath_replicate::drive::content_key(&db).map(drop).map_err(drop),
            Drive::new().apply(&mut db.clone(), &[Edit::Delete { path: "/folder/9".into() }]).map(drop).map_err(drop),
        ];
        fine += outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        refused += outcomes.iter().filter(|outcome| outcome.is_err()).count();
    }
    assert!(fine > 3_000 && refused > 3_000, "{fine} fine, {refused} refused: that proves little");
}

#[test]
fn blobs_of_any_claimed_size_are_read_to_an_end() {
    for seed in 1..=3_000 {
        let mut chance = Chance(seed);
        let mut blobs = Held::default();
        let mut writer = BlobWriter::new(&blobs);
        writer.write(&mut blobs, chance.bytes(3_000).into()).unwrap();
        let mut id = writer.finish(&mut blobs).unwrap();
        let mut map = vec![0, 3, 0, 200];
        map.extend(chance.bytes(20));
        blobs.append(&[map.into(), chance.bytes(20).into()]).unwrap();
        for _ in 0..1 + chance.below(3) {
            let value = [chance.next() & ((1 << 53) - 1), u64::MAX, chance.next() % 4][chance.below(3)];
            match chance.below(5) {
                0 => id.block_offset = value,
                1 => id.byte_offset = value,
                2 => id.block_length = value,
                3 => id.byte_length = value,
                _ => id.block_map = !id.block_map,
            }
        }
        let _ = exhaust(BlobReader::new(id), |reader| reader.next(&blobs).map_err(drop));
    }
}

#[test]
fn texts_and_entries_of_any_shape_are_read_or_refused() {
    let entry =
        Entry { metadata: Some(serde_json::json!({"a": [1, null]})), ..Entry::file(BlobId::default()) }.encode();
    let link = format!("anypath://drive/{}?via=tcp://192.0.2.7:3282", PublicKey([3; 32]));
    let texts = [&entry[..], link.as_bytes(), b"tcp://[::1]:3282-3290", b"/a/../b\\c//d", b"../../etc"];
    let mut entries = 0;
    for seed in 1..=40_000 {
        let mut chance = Chance(seed);
        let text = texts[chance.below(texts.len())];
        let bytes = chance.changed(text);
        entries += usize::from(Entry::decode(&bytes).is_some());
        let text = String::from_utf8_lossy(&bytes);
        drop((text.parse::<Link>(), text.parse::<Address>(), text.parse::<ListenAt>(), text.parse::<PublicKey>()));
        if let Ok(path) = normalize(&text) {
            assert!(
                (path.is_empty() || path.starts_with('/')) && !path.split('/').any(|part| part == ".."),
                "{text:?} became {path:?}"
            );
        }
    }
    assert!(entries > 100, "only {entries} entries were read");
    assert_eq!(Entry::decode("[".repeat(1 << 20).as_bytes()), None);
}

#[test]
fn manifests_of_any_shape_are_read_or_refused() {
    let signer = Signer::new(KeyPair::from_seed(&[1; 32]).public());
    let mut manifest = Manifest::single(signer);
    manifest.version = 2;
    manifest.signers = vec![signer; 3];
    manifest.prologue = Some(Prologue { hash: [4; 32], length: 9 });
    manifest.linked = Some(vec![PublicKey([5; 32]); 2]);
    manifest.user_data = Some(vec![6; 9]);
    let mut valid = Vec::new();
    manifest.encode(&mut valid);
    let mut read = 0;
    for seed in 1..=40_000 {
        let mut chance = Chance(seed);
        let bytes = chance.changed(&valid);
        if let Ok(manifest) = Manifest::decode(&mut Decoder::new(&bytes)) {
            let mut again = Vec::new();
            manifest.encode(&mut again);
            assert_eq!(Manifest::decode(&mut Decoder::new(&again)), Ok(manifest));
            read += 1;
        }
        let _ = Handshake::decode(&bytes);
        (0..12).for_each(|kind| drop(Message::decode(kind, &bytes, seed % 2 == 0)));
    }
    assert!(read > 1_000, "only {read} manifests were read");
}

#[test]
fn a_damaged_stream_ends_and_tells_nothing_wrong() {
    let shaken = |role| Shaken { role, remote: PublicKey([1; 32]), hash: [2; 64], tx: [3; 32], rx: [3; 32] };
    let mut whole = 0;
    for seed in 1..=3_000 {
        let mut chance = Chance(seed);
        let (mut sealer, header) = Sealer::new(&shaken(Role::Initiator), [9; 24]);
        let mut stream = header.to_vec();
        let messages: Vec<_> = (0..5).map(|_| chance.bytes(300)).collect();
        for message in &messages {
            let start = stream.len();
            stream.extend([0; Sealer::ROOM_BYTES]);
            stream.extend(message);
            sealer.seal_tail(&mut stream, start).unwrap();
        }
        let stream = if seed % 4 == 0 { stream.into() } else { chance.changed(&stream) };
        let (mut frames, mut opener) = (Frames::new(1 << 20), Opener::new(&shaken(Role::Responder)));
        frames.push(BytesMut::from(&stream[..]));
        let mut opened = Vec::new();
        while let Ok(Some(frame)) = frames.next_frame() {
            let Ok(message) = opener.open(frame) else { break };
            opened.push(message);
        }
        let told = opened.iter().skip(1);
        assert!(told.zip(&messages).all(|(got, sent)| got[..] == sent[..]), "seed {seed}");
        whole += usize::from(opened.len() == 6);
    }
    assert!((750..2_000).contains(&whole), "{whole} streams came through");
}

/// Calls `next` until the end, an error, or something that is missing.
fn exhaust<T, V>(mut what: T, mut next: impl FnMut(&mut T) -> Result<Need<Option<V>>, ()>) -> Result<(), ()> {
    for _ in 0..100_000 {
        if let Need::Ready(None) | Need::Missing(_) = next(&mut what)? {
            return Ok(());
        }
    }
    panic!("it never ends");
}

fn drive() -> Held {
    let (mut db, mut drive) = (Held::default(), Drive::new());
    let put = |i: u64| Edit::Put { path: format!("/folder/{}", i * 7 % 60), entry: Entry::symlink("there") };
    for i in 0..15 {
        let edits: Vec<_> = (0..5).map(|j| put(i * 5 + j)).collect();
        assert!(matches!(drive.apply(&mut db, &edits), Ok(Need::Ready(_))));
    }
    db
}

/// Blocks in memory that count how often they are read, so that endless work is an end.
#[derive(Debug, Clone, Default)]
struct Held {
    blocks: Vec<Bytes>,
    reads: Cell<u64>,
}

impl Blocks for Held {
    type Error = Infallible;

    fn length(&self) -> u64 {
        self.blocks.len() as u64
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, Infallible> {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() < 1_000_000, "endless work");
        Ok(usize::try_from(index).ok().and_then(|index| self.blocks.get(index)).cloned())
    }
}

impl AppendBlocks for Held {
    fn byte_length(&self) -> u64 {
        self.blocks.iter().map(|block| block.len() as u64).sum()
    }

    fn append(&mut self, blocks: &[Bytes]) -> Result<u64, Infallible> {
        self.blocks.extend_from_slice(blocks);
        Ok(self.length())
    }
}

/// A small generator of chance (xorshift64*), so that a seed says everything.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 8) as usize % end
    }

    fn bytes(&mut self, length_max: usize) -> Vec<u8> {
        (0..self.below(length_max)).map(|_| self.next() as u8).collect()
    }

    /// Returns the bytes with some changed, taken out, put in or cut off.
    fn changed(&mut self, bytes: &[u8]) -> Bytes {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, self.next() as u8),
                2 => bytes.truncate(at),
                3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xfd, 0xfe, 0xff][self.below(7)],
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
        bytes.into()
    }
}
