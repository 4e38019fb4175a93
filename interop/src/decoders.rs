//! Every decoder that a stranger or a user feeds, as functions from any bytes: what the fuzzer runs and the suite replays.
//!
//! Each must return: no panic, no endless work; what was read must be written and read again alike. The crate `fuzz`
//! includes this file as it stands, so that it builds no more than the rooms under test.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use anypath_dht::classic::Message as Krpc;
use anypath_dht::hyperswarm::messages::{
    Announce, Handshake as DhtHandshake, Holepunch, HolepunchPayload, LookupReply, MutablePut, NoisePayload,
    PluginRequest,
};
use anypath_dht::hyperswarm::{Config as DhtConfig, Node as DhtNode, Packet};
use anypath_dht::lan::{Config as LanConfig, Node as LanNode};
use anypath_dht::{Announcement, Ask, Command, Discovery, Socket, tracker};
use anypath_replicate::bee::{self, Bee, Change, Need, Range, Walk};
use anypath_replicate::core::{Encryption, Evidence, Manifest};
use anypath_replicate::drive::{self, BlobId, BlobReader, Diff, Drive, Edit, Entry, Files, normalize};
use anypath_replicate::messages::{Handshake, Message};
use anypath_replicate::mux::{Event, Mux, Protocol};
use anypath_replicate::noise::{Frames, Opener, Sealer, XxHandshake};
use anypath_replicate::{AppendBlocks, Blocks};
use anypath_transports::https::session::{self, Control, Frame, Records};
use anypath_transports::https::{Descriptor, Proxy, Target, read_roots};
use anypath_wire::noise::NoiseHandshake;
use anypath_wire::{
    Address, Decoder, EncryptionKey, Handshake as Shaken, KeyPair, Link, ListenAt, PublicKey, Role, Time,
};
use bytes::{Bytes, BytesMut};

/// What is done with arbitrary bytes; it must not panic.
pub type Feed = fn(&[u8]);

/// The decoders by name; the name is also the folder of a decoder's corpus.
pub const DECODERS: &[(&str, Feed)] = &[
    ("bee", bee),
    ("blobs", blobs),
    ("codec", codec),
    ("drive", drive),
    ("entry", entry),
    ("evidence", evidence),
    ("frames", frames),
    ("hyperdht", hyperdht),
    ("krpc", krpc),
    ("lan", lan),
    ("manifest", manifest),
    ("messages", messages),
    ("mux", mux),
    ("noise", noise),
    ("node", node),
    ("relay", relay),
    ("rpc", rpc),
    ("sealed", sealed),
    ("session", session),
    ("texts", texts),
];

/// What a relay is asked for, what it says about itself, and what a person names a proxy and authorities by.
fn relay(data: &[u8]) {
    if let Some(target) = Target::decode(data) {
        assert_eq!(&target.encode()[..], data);
        assert!(target.proven(&[0; 64]).is_none(), "a signature for this session");
    }
    let pair = KeyPair::from_seed(&[1; 32]);
    if let Some(descriptor) = Descriptor::decode(data).filter(|descriptor| descriptor.key == pair.public()) {
        assert_eq!(Descriptor::decode(descriptor.encode(&pair).as_bytes()), Some(descriptor));
    }
    drop(read_roots(data));
    if let Ok(proxy) = String::from_utf8_lossy(data).parse::<Proxy>() {
        assert!(proxy.to_string().parse::<Proxy>().is_ok_and(|again| again == Proxy { credentials: None, ..proxy }));
    }
}

/// A stream cut anywhere: as it is, and as the text of authentic messages, which must come out again.
fn frames(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let (mut sealer, header) = Sealer::new(&shaken(Role::Initiator), [9; 24]);
    let mut sealed = header.to_vec();
    if cut & 1 == 0 {
        sealed.extend_from_slice(stream);
        drop(open_all(&sealed, cut));
        drop(open_all(stream, cut));
        return;
    }
    let texts: Vec<_> = pieces(stream).collect();
    for text in &texts {
        let start = sealed.len();
        sealed.extend([0; Sealer::ROOM_BYTES]);
        sealed.extend_from_slice(text);
        assert!(sealer.seal_tail(&mut sealed, start).is_ok());
    }
    assert_eq!(open_all(&sealed, cut)[1..], texts[..]);
}

fn open_all(stream: &[u8], cut: u8) -> Vec<Bytes> {
    let (mut frames, mut opener) = (Frames::new(1 << 16), Opener::new(&shaken(Role::Responder)));
    let mut opened = Vec::new();
    for part in stream.chunks(usize::from(cut).max(1)) {
        frames.push(BytesMut::from(part));
        loop {
            let Ok(frame) = frames.next_frame() else { return opened };
            let Some(frame) = frame else { break };
            let Ok(text) = opener.open(frame) else { return opened };
            opened.push(text);
        }
    }
    opened
}

fn shaken(role: Role) -> Shaken {
    Shaken { role, remote: PublicKey([1; 32]), hash: [2; 64], tx: [3; 32], rx: [3; 32] }
}

/// A peer's handshake, in both roles and patterns.
fn noise(data: &[u8]) {
    let identity = KeyPair::from_seed(&[1; 32]);
    for role in [Role::Initiator, Role::Responder] {
        let mut handshake = XxHandshake::new(role, &identity, [2; 32]);
        for message in pieces(data) {
            while handshake.poll_frame().is_some() {}
            if handshake.handle_frame(&message).is_err() {
                break;
            }
        }
    }
    drop(NoiseHandshake::ik_responder(b"prologue", &identity, [2; 32]).read(data));
    drop(NoiseHandshake::nk_responder(b"prologue", &identity, [2; 32]).read(data));
}

/// What the HTTPS session reads: a body cut into records, the frames of a segment, a control record, an opening.
fn session(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let mut records = Records::default();
    for part in data.chunks(usize::from(cut).max(1)) {
        records.push(part);
        while let Ok(Some(record)) = records.next_record() {
            assert!(record.clear().len() <= session::RECORD_BYTES_MAX);
        }
    }
    let clear = Bytes::copy_from_slice(&data[..data.len().min(usize::from(cut))]);
    if let Ok(frames) = Frame::decode_all(&Bytes::copy_from_slice(data), &clear) {
        let mut again = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut again));
        assert_eq!(Frame::decode_all(&again.into(), &clear), Ok(frames));
    }
    if let Ok(control) = Control::decode(data) {
        let mut again = Vec::new();
        control.encode(&mut again);
        assert_eq!(Control::decode(&again), Ok(control));
    }
    let (identity, seed) = (KeyPair::from_seed(&[1; 32]), [2; 32]);
    assert!(data.len() < 48 || session::ask(&identity, seed, data).is_err());
    let _ = session::split_session_id(data);
}

/// A peer's frames, with channels of ours, some of its offers taken and the others refused.
fn mux(data: &[u8]) {
    let mut mux = Mux::new();
    let ours = mux.open(&Protocol::new("a", [1]).alias("b"), &[7]);
    mux.open(&Protocol::new("hypercore/alpha", []), &[]);
    for (index, frame) in pieces(data).enumerate() {
        mux.handle_frame(frame);
        loop {
            match mux.poll_event() {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(Event::Offered { protocol, id })) if id.len() % 2 == 0 => {
                    mux.open(&Protocol::new(protocol, id), &[5]);
                }
                Ok(Some(Event::Offered { protocol, id })) => mux.reject(&protocol, &id),
                Ok(Some(Event::Message { channel, kind, body })) => drop(mux.send(channel, kind, &body)),
                Ok(Some(_)) => {}
            }
        }
        if index == 6 {
            mux.close(ours);
        }
        while mux.poll_frame(&mut Vec::new()) {}
        assert!(mux.queued_bytes() == 0);
    }
}

/// A message of the kind that the first byte says.
fn messages(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let (kind, seek_padding) = (u64::from(first & 0x7f), first & 0x80 != 0);
    let _ = Handshake::decode(body);
    if let Ok(Some(message)) = Message::decode(kind, &Bytes::copy_from_slice(body), seek_padding) {
        let mut again = Vec::new();
        message.encode(&mut again);
        // We write requests as those of today do, with the padding.
        assert_eq!(Message::decode(kind, &again.into(), true), Ok(Some(message)));
    }
}

/// A datagram of dht-rpc.
fn rpc(data: &[u8]) {
    let again = match Packet::decode(data) {
        Err(_) => return,
        Ok(Packet::Request(request)) => request.encode(),
        Ok(Packet::Reply(reply)) => {
            assert!(reply.closer.len() <= data.len() / 6);
            reply.encode()
        }
    };
    assert_eq!(Packet::decode(data), Packet::decode(&again));
}

/// What HyperDHT puts into the values of datagrams.
fn hyperdht(data: &[u8]) {
    again(data, Announce::decode, Announce::encode);
    again(data, DhtHandshake::decode, DhtHandshake::encode);
    again(data, Holepunch::decode, Holepunch::encode);
    again(data, HolepunchPayload::decode, HolepunchPayload::encode);
    again(data, NoisePayload::decode, NoisePayload::encode);
    again(data, MutablePut::decode, MutablePut::encode);
    again(data, PluginRequest::decode, PluginRequest::encode);
    again(data, LookupReply::decode, |reply| {
        let mut out = Vec::new();
        reply.encode(&mut out);
        out
    });
}

/// A datagram of BitTorrent's DHT.
fn krpc(data: &[u8]) {
    if let Ok(message) = Krpc::decode(data) {
        assert_eq!(Krpc::decode(&message.encode()), Ok(message));
    }
}

/// A node of Hyperswarm's DHT that stores and asks, and datagrams from its bootstrap node and a stranger, behind a byte that
/// says from whom, at which socket, and how long after the one before.
fn node(data: &[u8]) {
    let [bootstrap, stranger] = [1, 2].map(|host| std::net::SocketAddrV4::new([10, 0, 0, host].into(), 1));
    let public_address = Some(std::net::SocketAddrV4::new([10, 0, 0, 9].into(), 49_737));
    let config = DhtConfig {
        public_address,
        bootstrap: vec![bootstrap],
        ephemeral: Some(false),
        firewalled: false,
        ..DhtConfig::default()
    };
    let (mut now, mut sent, mut received) = (Time::ZERO, 0, 1_000);
    let mut node = DhtNode::new(now, config);
    node.handle_command(now, Command { query: 1, ask: Ask::Lookup { topic: [7; 32] } });
    for piece in pieces(data) {
        let Some((&how, datagram)) = piece.split_first() else { continue };
        let from = if how & 1 == 0 { bootstrap } else { stranger };
        let socket = if how & 2 == 0 { Socket::Server } else { Socket::Client };
        node.handle_datagram(now, socket, from.into(), datagram);
        received += datagram.len();
        now = now + std::time::Duration::from_millis(40 * u64::from(how >> 2));
        while node.poll_deadline().is_some_and(|deadline| deadline.at <= now) {
            node.handle_timeout(now);
        }
        while let Some((_, transmit)) = node.poll_transmit() {
            sent += transmit.datagram.len();
        }
        while node.poll_event().is_some() {}
    }
    assert!(sent < 200 * received, "{sent} bytes for {received}");
}

/// A node that announces and asks on its own network, and a datagram of multicast DNS, whole and in pieces; and the same as a
/// tracker's answer.
fn lan(data: &[u8]) {
    drop(tracker::answer(data));
    let mut node = LanNode::new(LanConfig::new([1; 32]));
    let topic = [0xaa; 32];
    let announcement = Announcement { port: Some(1), ..Announcement::new(topic, KeyPair::from_seed(&[1; 32])) };
    node.handle_command(Time::ZERO, Command { query: 1, ask: Ask::Announce(announcement) });
    let stranger = std::net::SocketAddr::from(([10, 0, 0, 1], 5_353));
    for datagram in std::iter::once(Bytes::copy_from_slice(data)).chain(pieces(data)) {
        node.handle_datagram(Time::ZERO, Socket::Server, stranger, &datagram);
    }
    let count = std::iter::from_fn(|| node.poll_transmit()).count();
    assert!(count <= 3, "one question and one answer in each manner, and {count} datagrams were sent");
}

fn again<T: PartialEq + Debug, E: PartialEq + Debug>(
    data: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = decode(data) {
        assert_eq!(decode(&encode(&value)), Ok(value));
    }
}

fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::decode(&mut Decoder::new(data)) else { return };
    let key = manifest.key();
    assert!(manifest.fits(&key));
    let mut again = Vec::new();
    manifest.encode(&mut again);
    assert_eq!(Manifest::decode(&mut Decoder::new(&again)), Ok(manifest));
}

/// A piece of evidence: what was read is written alike, and either proves something or not.
fn evidence(data: &[u8]) {
    let Ok(evidence) = Evidence::decode(data) else { return };
    assert_eq!(evidence.encode(), data);
    if let Ok(contradiction) = evidence.verify() {
        assert!(contradiction.heads.iter().all(|head| contradiction.blocks.end <= head.length));
    }
}

/// The blocks of a bee that somebody signed, read and written in every way.
fn bee(data: &[u8]) {
    let mut blocks = Held::new(data);
    let version = blocks.length();
    drop(bee::header(&blocks));
    (0..version).for_each(|seq| drop(bee::operation(&blocks, seq)));
    let key = |seq| match bee::operation(&blocks, seq) {
        Ok(Need::Ready(operation)) => operation.entry.key,
        _ => Bytes::from_static(b"k"),
    };
    let (first, last) = (key(1), key(version.saturating_sub(1)));
    let between = Range::between(std::ops::Bound::Included(first.clone()), std::ops::Bound::Excluded(last.clone()));
    for range in [Range { reverse: true, ..Range::all() }, between, Range::all()] {
        let mut walk = Walk::new(version, range);
        exhaust(|| walk.next(&blocks).ok());
    }
    drop(Bee::default().get(&blocks, version, &first));
    let mut diff = bee::Diff::new(version / 2, version);
    drop(diff.next(&blocks));
    let changes = [Change::Delete { key: last }, Change::Put { key: first, value: Bytes::from_static(b"v") }];
    drop(Bee::default().apply(&mut blocks, &changes));
}

/// The blocks of a drive's database that somebody signed.
fn drive(data: &[u8]) {
    let mut blocks = Held::new(data);
    let version = blocks.length();
    drop(drive::content_key(&blocks));
    if let Ok(mut files) = Files::new(version, "/") {
        exhaust(|| files.next(&blocks).ok());
    }
    let mut files = Files::after(version, "/b");
    exhaust(|| files.next(&blocks).ok());
    drop(Diff::new(version / 2, version).next(&blocks));
    drop(Drive::new().entry(&blocks, version, "/hello.txt"));
    drop(Drive::new().list(&blocks, version, "/dir"));
    drop(Drive::new().apply(&mut blocks, &[Edit::Delete { path: "/hello.txt".into() }]));
}

/// A place that an entry claims, in blocks that somebody signed: block maps too.
fn blobs(data: &[u8]) {
    let mut head = Decoder::new(data);
    let mut number = || head.uint().unwrap_or_default();
    let [flags, block_offset, byte_offset, block_length, byte_length] = std::array::from_fn(|_| number());
    let id = BlobId { block_offset, byte_offset, block_length, byte_length, block_map: flags & 1 == 1 };
    let _ = id.blocks();
    let blocks = Held::new(head.rest());
    let mut reader = BlobReader::new(id);
    exhaust(|| reader.next(&blocks).ok());
}

/// The JSON of a drive's entry, and a path in a drive.
fn entry(data: &[u8]) {
    if let Some(entry) = Entry::decode(data) {
        let _ = entry.blob.as_ref().map(BlobId::blocks);
        assert!(Entry::decode(&entry.encode()).is_some());
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(path) = normalize(&text) {
        assert!(path.is_empty() || path.starts_with('/'), "{path:?}");
        assert!(!path.split('/').any(|part| part == ".."), "{path:?}");
        assert_eq!(normalize(&path).as_ref(), Ok(&path));
    }
}

/// A block of an encrypted core, whoever wrote it, behind its index; and what is encrypted comes back.
fn sealed(data: &[u8]) {
    let Some((&index, stored)) = data.split_first() else { return };
    let encryption = Encryption::new(&PublicKey([1; 32]), &EncryptionKey::new([2; 32]), false);
    let index = u64::from(index);
    let plain = encryption.decrypt(index, u64::MAX, stored);
    assert_eq!(plain.ok().map(|plain| plain.len()), stored.len().checked_sub(Encryption::PADDING_BYTES));
    drop(encryption.decrypt(index, 0, stored));
    assert!(encryption.decrypt(index, 0, &encryption.encrypt(index, 0, stored)).is_ok_and(|plain| plain == stored));
}

/// Links, keys and addresses as people type or paste them.
fn texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    reads_again::<Link>(&text);
    reads_again::<PublicKey>(&text);
    reads_again::<Address>(&text);
    reads_again::<ListenAt>(&text);
}

fn reads_again<T: FromStr<Err: Display> + Display + PartialEq + Debug>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let again = value.to_string();
            assert!(again.parse::<T>().is_ok_and(|same| same == value), "{value:?} became {again:?}");
        }
        Err(error) => assert!(error.to_string().len() < 1_000, "a sentence that repeats all it was given: {error}"),
    }
}

/// The compact encoding: each byte asks for something to be read from what follows.
fn codec(data: &[u8]) {
    let mut from = Decoder::new(data);
    while let Ok(what) = from.byte() {
        let before = from.rest().len();
        let read = match what % 8 {
            0 => from.uint().map(drop),
            1 => from.uint64().map(drop),
            2 => from.fixed::<32>().map(drop),
            3 => from.bytes(usize::from(what)).map(drop),
            4 => from.buffer().map(drop),
            5 => from.string().map(drop),
            6 => from.count(3).map(|count| assert!(3 * count <= before)),
            _ => from.bytes(usize::MAX - usize::from(what)).map(drop),
        };
        assert!(from.rest().len() <= before);
        if read.is_err() {
            return;
        }
    }
}

/// Calls `next` until the end, an error, or something that is missing.
fn exhaust<T>(mut next: impl FnMut() -> Option<Need<Option<T>>>) {
    while let Some(Need::Ready(Some(_))) = next() {}
}

/// Cuts into pieces, each behind a byte with its length; 255 stands for all that is left.
fn pieces(mut data: &[u8]) -> impl Iterator<Item = Bytes> + '_ {
    std::iter::from_fn(move || {
        let (&length, rest) = data.split_first()?;
        let length = if length == u8::MAX { rest.len() } else { rest.len().min(usize::from(length)) };
        let (piece, rest) = rest.split_at(length);
        data = rest;
        Some(Bytes::copy_from_slice(piece))
    })
}

/// Blocks in memory that count how often they are read, so that endless work is an end; an empty one is not held.
struct Held {
    blocks: Vec<Bytes>,
    reads: Cell<u64>,
}

impl Held {
    fn new(data: &[u8]) -> Self {
        Self { blocks: pieces(data).collect(), reads: Cell::new(0) }
    }
}

impl Blocks for Held {
    type Error = Infallible;

    fn length(&self) -> u64 {
        self.blocks.len() as u64
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, Infallible> {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() < READS_MAX, "endless work");
        let block = usize::try_from(index).ok().and_then(|index| self.blocks.get(index));
        Ok(block.filter(|block| !block.is_empty()).cloned())
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

/// Reads of blocks for one input, far beyond what honest ones of a few KiB take.
const READS_MAX: u64 = 1_000_000;
