//! An entry of a drive, and the JSON it is kept as.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A file or a symbolic link.
///
/// As JSON, in the order JavaScript writes it (any order is read, and what is unknown is passed over):
/// `{"executable":false,"linkname":null,"blob":{...},"metadata":null}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Whether the file may be run.
    #[serde(deserialize_with = "null_is_false")]
    pub executable: bool,
    /// Where a symbolic link points, as it was given.
    pub linkname: Option<String>,
    /// Where the contents of a file are; a symbolic link has none.
    pub blob: Option<BlobId>,
    /// Anything.
    pub metadata: Option<Value>,
}

/// Where the contents of a file are in the blobs core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobId {
    /// The first block.
    pub block_offset: u64,
    /// Bytes in front of the first block.
    pub byte_offset: u64,
    /// How many blocks; none for an empty file.
    pub block_length: u64,
    /// Bytes of these blocks, together.
    pub byte_length: u64,
    /// Whether these blocks hold a list of the blocks with the contents, rather than the contents.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub block_map: bool,
}

impl Entry {
    /// Returns a file that is not executable.
    pub fn file(blob: BlobId) -> Self {
        Self { blob: Some(blob), ..Self::default() }
    }

    /// Returns a symbolic link to `target`, which is kept as it is.
    pub fn symlink(target: impl Into<String>) -> Self {
        Self { linkname: Some(target.into()), ..Self::default() }
    }

    /// Returns the JSON text.
    pub fn encode(&self) -> Bytes {
        let text = serde_json::to_vec(self);
        text.unwrap_or_else(|_| unreachable!("no map of an entry has keys other than strings")).into()
    }

    /// Reads the JSON text; `None` if it is not an entry.
    pub fn decode(text: &[u8]) -> Option<Self> {
        // Without this check a list would do: serde takes its items for the fields.
        text.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(text).ok())?
    }
}

impl BlobId {
    /// Returns the blocks it names: those with the contents, or with the list of them.
    pub fn blocks(&self) -> Range<u64> {
        self.block_offset..self.block_offset.saturating_add(self.block_length)
    }
}

fn null_is_false<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<bool>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_the_text_javascript_writes() {
        let blob = BlobId { block_offset: 4, byte_offset: 131076, block_length: 3, byte_length: 10, block_map: false };
        let mut entry = Entry::file(blob);
        let text = r#"{"executable":false,"linkname":null,"blob":{"blockOffset":4,"byteOffset":131076,"blockLength":3,"byteLength":10},"metadata":null}"#;
        assert_eq!(entry.encode(), text);
        entry.blob = Some(BlobId { block_map: true, ..blob });
        assert!(entry.encode().ends_with(br#""byteLength":10,"blockMap":true},"metadata":null}"#));
        assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        let link = Entry::symlink("../\u{1}\"\u{8}é\u{7f}");
        let text = "{\"executable\":false,\"linkname\":\"../\\u0001\\\"\\bé\u{7f}\",\"blob\":null,\"metadata\":null}";
        assert_eq!(link.encode(), text);
    }

    #[test]
    fn entries_are_read_in_any_order_and_with_parts_missing() {
        let text = br#"{"metadata":{"mtime":1,"a":[1.5]},"x":{},"blob":{"byteLength":0,"blockLength":0,"byteOffset":9,"blockOffset":2},"executable":null}"#;
        let entry = Entry::decode(text).unwrap();
        assert_eq!(entry.blob.unwrap().blocks(), 2..2);
        assert_eq!(entry.metadata.unwrap()["mtime"], 1);
        assert!(!entry.executable);
        assert_eq!(Entry::decode(b"{}"), Some(Entry::default()));
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in ["", "null", "[]", "[1]", r#"{"blob":{}}"#, r#"{"blob":{"blockOffset":-1}}"#, r#"{"linkname":7}"#] {
            assert_eq!(Entry::decode(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Entry::decode("[".repeat(1 << 20).as_bytes()), None);
        let endless = BlobId { block_offset: u64::MAX, block_length: u64::MAX, ..BlobId::default() };
        assert!(endless.blocks().is_empty());
    }
}
