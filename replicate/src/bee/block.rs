//! The blocks of a bee: a header, then one block an operation, as protobuf.
//!
//! | message | fields |
//! |---|---|
//! | header (block 0) | 1 string protocol; 2 metadata {1 bytes content feed, 2 bytes user data}, optional |
//! | block | 1 bytes index; 2 bytes key; 3 bytes value, absent in a deletion |
//! | index | 1 level, repeated |
//! | level | 1 packed varints: keys; 2 packed varints: children, in pairs of block and level |
//!
//! Source: npm hyperbee 2.27, `lib/messages.js`.

use bytes::Bytes;

/// The first block of a bee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the core holds; `hyperbee` for every bee.
    pub protocol: String,
    /// Room for what is built on the bee.
    pub metadata: Option<Metadata>,
}

/// The part of a header that belongs to what is built on the bee.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The key of the core with the contents, if it is stored rather than derived.
    pub content_feed: Option<Bytes>,
    /// Anything.
    pub user_data: Option<Bytes>,
}

impl Header {
    /// Returns the header of a plain bee.
    pub fn plain() -> Self {
        Self { protocol: PROTOCOL.to_owned(), metadata: None }
    }

    /// Returns the header of a bee with something built on it.
    pub fn with_metadata(metadata: Metadata) -> Self {
        Self { protocol: PROTOCOL.to_owned(), metadata: Some(metadata) }
    }

    /// Returns whether this is the header of a bee.
    pub fn is_bee(&self) -> bool {
        self.protocol == PROTOCOL
    }

    /// Returns the block.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        put_field(&mut out, 1, self.protocol.as_bytes());
        if let Some(metadata) = &self.metadata {
            let mut inner = Vec::new();
            metadata.content_feed.iter().for_each(|bytes| put_field(&mut inner, 1, bytes));
            metadata.user_data.iter().for_each(|bytes| put_field(&mut inner, 2, bytes));
            put_field(&mut out, 2, &inner);
        }
        out.into()
    }

    /// Reads the block; `None` if it is not a header.
    pub fn decode(block: &Bytes) -> Option<Self> {
        let (mut protocol, mut metadata) = (None, None);
        Fields::new(block).each(|field, bytes| match field {
            1 => protocol = std::str::from_utf8(bytes).ok().map(str::to_owned),
            2 => metadata = Some(block.slice_ref(bytes)),
            _ => {}
        })?;
        let metadata = match metadata {
            Some(bytes) => Some(Metadata::decode(&bytes)?),
            None => None,
        };
        Some(Self { protocol: protocol?, metadata })
    }
}

impl Metadata {
    fn decode(message: &Bytes) -> Option<Self> {
        let mut metadata = Self::default();
        Fields::new(message).each(|field, bytes| match field {
            1 => metadata.content_feed = Some(message.slice_ref(bytes)),
            2 => metadata.user_data = Some(message.slice_ref(bytes)),
            _ => {}
        })?;
        Some(metadata)
    }
}

/// One operation: the key it was about, and the tree nodes it changed, still encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
    index: Bytes,
}

/// One tree node: blocks whose keys separate the children, and where the children are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Level {
    pub(super) keys: Vec<u64>,
    pub(super) children: Vec<Place>,
}

/// Where a tree node is: the block and the level in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) offset: u64,
}

impl Block {
    /// Splits a block into its fields without copying; `None` if it is not one.
    pub(super) fn decode(block: &Bytes) -> Option<Self> {
        let (mut index, mut key, mut value) = (None, None, None);
        Fields::new(block).each(|field, bytes| match field {
            1 => index = Some(bytes),
            2 => key = Some(bytes),
            3 => value = Some(bytes),
            _ => {}
        })?;
        let slice = |bytes| block.slice_ref(bytes);
        Some(Self { key: slice(key?), value: value.map(slice), index: slice(index?) })
    }

    /// Reads the level at `offset`; `None` if there is none, it cannot be read or it is too large to be a tree node.
    pub(super) fn level(&self, offset: u64) -> Option<Level> {
        let mut rest = Fields::new(&self.index);
        let mut passed = 0;
        while let Some((field, bytes)) = rest.next()? {
            if field != 1 {
                continue;
            }
            if passed == offset {
                return Level::decode(bytes);
            }
            passed += 1;
            if passed == LEVELS_MAX {
                return None;
            }
        }
        None
    }

    /// Returns whether the block at `seq` takes its key away: it has no value, and no node lists it.
    pub(super) fn is_deletion(&self, seq: u64) -> bool {
        let lists = |bytes| Level::decode(bytes).is_some_and(|level| level.keys.contains(&seq));
        let mut listed = false;
        let read = Fields::new(&self.index).each(|field, bytes| listed |= field == 1 && !listed && lists(bytes));
        self.value.is_none() && (read.is_none() || !listed)
    }
}

impl Level {
    fn decode(message: &[u8]) -> Option<Self> {
        let (mut keys, mut children) = (Vec::new(), Vec::new());
        let mut rest = Fields::new(message);
        while let Some((field, bytes)) = rest.next()? {
            match field {
                1 => varints(bytes, &mut keys, NODE_KEYS_MAX)?,
                2 => varints(bytes, &mut children, 2 * (NODE_KEYS_MAX + 1))?,
                _ => {}
            }
        }
        let children = children.chunks(2).map(|pair| Some(Place { seq: pair[0], offset: *pair.get(1)? }));
        Some(Self { keys, children: children.collect::<Option<_>>()? })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut packed = Vec::with_capacity(4 * (self.keys.len() + self.children.len()));
        self.keys.iter().for_each(|key| put_varint(&mut packed, *key));
        put_packed(out, 1, &packed);
        packed.clear();
        for child in &self.children {
            put_varint(&mut packed, child.seq);
            put_varint(&mut packed, child.offset);
        }
        put_packed(out, 2, &packed);
    }
}

/// Returns the block of an operation; `value` is absent in a deletion.
pub(super) fn encode_block(key: &[u8], value: Option<&[u8]>, levels: impl Iterator<Item = Level>) -> Bytes {
    let (mut index, mut level_bytes) = (Vec::new(), Vec::new());
    for level in levels {
        level_bytes.clear();
        level.encode(&mut level_bytes);
        put_field(&mut index, 1, &level_bytes);
    }
    let value_len = value.map_or(0, <[u8]>::len);
    let mut out = Vec::with_capacity(index.len() + key.len() + value_len + FIELDS_BYTES_MAX);
    put_field(&mut out, 1, &index);
    put_field(&mut out, 2, key);
    if let Some(value) = value {
        put_field(&mut out, 3, value);
    }
    out.into()
}

/// The length-delimited fields of a protobuf message; others are passed over.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Reads the next field: `Some(None)` at the end, `None` if the message is broken.
    fn next(&mut self) -> Option<Option<(u64, &'a [u8])>> {
        while !self.rest.is_empty() {
            let tag = varint(&mut self.rest)?;
            match tag & 7 {
                0 => _ = varint(&mut self.rest)?,
                1 => _ = self.take(8)?,
                2 => {
                    let length = varint(&mut self.rest)?;
                    return Some(Some((tag >> 3, self.take(usize::try_from(length).ok()?)?)));
                }
                5 => _ = self.take(4)?,
                _ => return None,
            }
        }
        Some(None)
    }

    fn each(mut self, mut visit: impl FnMut(u64, &'a [u8])) -> Option<()> {
        while let Some((field, bytes)) = self.next()? {
            visit(field, bytes);
        }
        Some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }
}

/// Reads one varint of at most 53 bits, which is all JavaScript can mean.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..56).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (value < 1 << 53).then_some(value);
        }
    }
    None
}

fn varints(mut bytes: &[u8], out: &mut Vec<u64>, count_max: usize) -> Option<()> {
    while !bytes.is_empty() {
        if out.len() == count_max {
            return None;
        }
        out.push(varint(&mut bytes)?);
    }
    Some(())
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A packed field is left out when it is empty, unlike a bytes field.
fn put_packed(out: &mut Vec<u8>, field: u8, packed: &[u8]) {
    if !packed.is_empty() {
        put_field(out, field, packed);
    }
}

const PROTOCOL: &str = "hyperbee";
/// Most levels read of one block: an operation changes two nodes a storey at most, of a tree of 23 storeys.
const LEVELS_MAX: u64 = 256;
/// Most keys of a node that is read; the reference writes 8 at most.
const NODE_KEYS_MAX: usize = 64;
/// Tags and lengths of a block's three fields.
const FIELDS_BYTES_MAX: usize = 3 * 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_as_it_was_written() {
        let levels = [
            Level { keys: vec![9], children: vec![Place { seq: 9, offset: 1 }, Place { seq: 300, offset: 2 }] },
            Level { keys: vec![1, 1 << 40], children: vec![] },
            Level::default(),
        ];
        let bytes = encode_block(b"key", Some(b""), levels.iter().cloned());
        let block = Block::decode(&bytes).unwrap();
        assert_eq!((&block.key[..], block.value.as_deref()), (&b"key"[..], Some(&b""[..])));
        for (offset, level) in levels.iter().enumerate() {
            assert_eq!(block.level(offset as u64).as_ref(), Some(level));
        }
        assert_eq!(block.level(3), None);
    }

    #[test]
    fn headers_are_the_bytes_javascript_writes() {
        assert_eq!(&Header::plain().encode()[..], b"\x0a\x08hyperbee");
        let drive = Header::with_metadata(Metadata::default());
        assert_eq!(&drive.encode()[..], b"\x0a\x08hyperbee\x12\x00");
        assert_eq!(Header::decode(&drive.encode()), Some(drive));
        assert_eq!(Header::decode(&Bytes::from_static(b"\x0a\x08hyper")), None);
    }

    #[test]
    fn broken_or_oversized_blocks_are_refused() {
        let good = encode_block(b"key", Some(b"value"), [Level { keys: vec![1], children: vec![] }].into_iter());
        for end in 0..good.len() {
            if let Some(block) = Block::decode(&good.slice(..end)) {
                assert_eq!(block.value, None, "cut at {end}");
            }
        }
        let wide = encode_block(b"", None, [Level { keys: vec![1; 65], children: vec![] }].into_iter());
        assert_eq!(Block::decode(&wide).unwrap().level(0), None);
        let tall = encode_block(b"", None, std::iter::repeat_n(Level::default(), 300));
        assert_eq!(Block::decode(&tall).unwrap().level(299), None);
        let endless = Bytes::from_static(&[0xff; 12]);
        assert_eq!(Block::decode(&endless), None);
    }

    #[test]
    fn unknown_fields_are_passed_over() {
        let mut bytes = vec![0x20, 0x96, 0x01, 0x2d, 1, 2, 3, 4, 0x31, 1, 2, 3, 4, 5, 6, 7, 8];
        bytes.extend_from_slice(&encode_block(b"k", None, std::iter::empty()));
        assert_eq!(Block::decode(&bytes.into()).unwrap().key, "k");
    }
}
