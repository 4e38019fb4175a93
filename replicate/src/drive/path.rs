//! Names of entries: absolute, with `/` between the parts, and the keys they are kept under.
//!
//! Source: npm hyperdrive 13.3, `index.js`; unix-path-resolve 1.0; sub-encoder 2.1.

use std::ops::Bound;

use bytes::Bytes;
use thiserror::Error;

use crate::bee::Range;

/// Why a name cannot be one of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidPath {
    /// The root itself.
    #[error("the root of a drive is no entry")]
    Root,
    /// More `..` than parts in front of them.
    #[error("the path leads out of the drive")]
    Outside,
}

/// Returns a name in the one form in which it is kept, as `/a/b`.
///
/// A name is taken to begin at the root, `\` parts it as `/` does, empty parts and `.` are dropped, `..` drops the
/// part before it: what the reference does, so that both find each other's entries.
pub fn normalize(name: &str) -> Result<String, InvalidPath> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop().ok_or(InvalidPath::Outside)?,
            _ => parts.push(part),
        }
    }
    Ok(parts.iter().flat_map(|part| ["/", part]).collect())
}

/// Returns the key of an entry.
pub(super) fn key(name: &str) -> Result<Bytes, InvalidPath> {
    let path = normalize(name)?;
    if path.is_empty() { Err(InvalidPath::Root) } else { Ok(prefixed(&path, "")) }
}

/// Returns whether a key of the bee is that of an entry.
pub(super) fn is_entry(key: &[u8]) -> bool {
    key.starts_with(PREFIX)
}

/// Returns the path in a key: the very one that was put, however hostile; `None` if it is not UTF-8.
pub(super) fn path(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(PREFIX)?).ok()
}

/// Returns the path in a key for people to read, with replacement characters for what is not UTF-8.
pub(super) fn readable(key: &[u8]) -> String {
    String::from_utf8_lossy(key.strip_prefix(PREFIX).unwrap_or(key)).into_owned()
}

/// Returns the range of all keys below a folder.
pub(super) fn below(folder: &str) -> Result<Range, InvalidPath> {
    let path = normalize(folder)?;
    Ok(Range::between(Bound::Excluded(prefixed(&path, "/")), Bound::Excluded(prefixed(&path, AFTER_SLASH))))
}

/// Returns the range of all keys behind that of a path, which is taken as it is.
pub(super) fn after(path: &str) -> Range {
    Range::between(Bound::Excluded(prefixed(path, "")), Bound::Excluded(prefixed("", AFTER_SLASH)))
}

fn prefixed(path: &str, suffix: &str) -> Bytes {
    [PREFIX, path.as_bytes(), suffix.as_bytes()].concat().into()
}

/// In front of every entry's path, so that a drive's bee can hold other things as well.
const PREFIX: &[u8] = b"files\0";
/// The character that follows `/`.
const AFTER_SLASH: &str = "0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_the_reference_makes_of_them() {
        for (name, path) in [
            ("dir/b.txt", "/dir/b.txt"),
            ("/dir//./b.txt/", "/dir/b.txt"),
            ("a\\b", "/a/b"),
            ("/a/../b", "/b"),
            ("/ä \0", "/ä \0"),
            ("...", "/..."),
            ("/", ""),
        ] {
            assert_eq!(normalize(name).as_deref(), Ok(path), "{name:?}");
        }
        assert_eq!(normalize("/a/../.."), Err(InvalidPath::Outside));
        assert_eq!(key("/."), Err(InvalidPath::Root));
    }

    #[test]
    fn keys_are_ordered_so_that_a_folder_is_one_range() {
        assert_eq!(&key("/a/b").unwrap()[..], b"files\0/a/b");
        assert_eq!(path(b"files\0/../x"), Some("/../x"));
        assert_eq!(path(b"files\0/\xff"), None);
        let range = below("a/").unwrap();
        for (name, inside) in [("/a/b", true), ("/a/b/c", true), ("/a", false), ("/a0", false), ("/a!", false)] {
            assert_eq!(range.contains(&key(name).unwrap()), inside, "{name}");
        }
        assert!(below("/").unwrap().contains(&key("/a").unwrap()));
    }
}
