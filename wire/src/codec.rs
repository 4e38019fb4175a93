//! Compact encoding: the little-endian, length-prefixed encoding of every Hypercore and HyperDHT message.
//!
//! | name | bytes |
//! |---|---|
//! | `uint` | up to 0xfc: 1; up to 0xffff: `fd` + u16; up to 0xffffffff: `fe` + u32; else `ff` + u64 |
//! | `buffer` | `uint` length, bytes |
//! | `string` | `uint` length, UTF-8 |
//! | `fixed` | that many raw bytes |
//! | `array` | `uint` count, then the items |
//!
//! Source: npm compact-encoding 3.5.2.

use thiserror::Error;

/// Why bytes from outside could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message ended before the value did.
    #[error("the message ends too early")]
    Short,
    /// An integer above 2^53 - 1, which no JavaScript peer can have meant.
    #[error("an integer is larger than 2^53 - 1")]
    Integer,
    /// An array that claims more items than the limit or than the bytes that follow could hold.
    #[error("an array claims too many items")]
    Count,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    Text,
    /// A well-formed value with a meaning that this version does not know.
    #[error("{0} has a value that is not known here")]
    Unknown(&'static str),
}

/// Writes values to the end of a byte vector; the inverse of [`Decoder`].
pub trait Encode {
    /// Appends a variable-length integer (1, 3, 5 or 9 bytes).
    fn uint(&mut self, value: u64);
    /// Appends 8 bytes, little endian.
    fn uint64(&mut self, value: u64);
    /// Appends the bytes as they are.
    fn raw(&mut self, bytes: &[u8]);
    /// Appends the length as `uint`, then the bytes.
    fn buffer(&mut self, bytes: &[u8]) {
        self.uint(bytes.len() as u64);
        self.raw(bytes);
    }
    /// Appends the byte length as `uint`, then the UTF-8 bytes.
    fn string(&mut self, text: &str) {
        self.buffer(text.as_bytes());
    }
}

impl Encode for Vec<u8> {
    fn uint(&mut self, value: u64) {
        match value {
            0..=0xfc => self.push(value as u8),
            0xfd..=0xffff => {
                self.push(0xfd);
                self.extend_from_slice(&(value as u16).to_le_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.push(0xfe);
                self.extend_from_slice(&(value as u32).to_le_bytes());
            }
            _ => {
                self.push(0xff);
                self.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    fn uint64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Reads values from the front of a byte slice, without copying.
///
/// Every method fails rather than panics, and none allocates: what a peer claims costs nothing
/// until the bytes for it have arrived.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns what has not been read yet, without consuming it.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads a variable-length integer; any of the four forms is accepted for any value below 2^53.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        let value = match self.byte()? {
            0xfd => u64::from(u16::from_le_bytes(self.fixed()?)),
            0xfe => u64::from(u32::from_le_bytes(self.fixed()?)),
            0xff => u64::from_le_bytes(self.fixed()?),
            small => u64::from(small),
        };
        if value > UINT_MAX { Err(DecodeError::Integer) } else { Ok(value) }
    }

    /// Reads 8 bytes, little endian; the value may use all 64 bits.
    pub fn uint64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.fixed()?))
    }

    /// Reads one byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.fixed::<1>()?[0])
    }

    /// Reads exactly `N` raw bytes.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Reads exactly `length` raw bytes.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// Reads a length and that many bytes.
    pub fn buffer(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.uint()?;
        self.bytes(usize::try_from(length).map_err(|_| DecodeError::Short)?)
    }

    /// Reads a length and that many bytes of UTF-8.
    pub fn string(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.buffer()?).map_err(|_| DecodeError::Text)
    }

    /// Reads an item count, which is refused when `item_bytes_min` times it exceeds what is left,
    /// so that a caller may reserve room for the items.
    pub fn count(&mut self, item_bytes_min: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.uint()?).map_err(|_| DecodeError::Count)?;
        let fits = count <= COUNT_MAX && count.saturating_mul(item_bytes_min) <= self.rest.len();
        if fits { Ok(count) } else { Err(DecodeError::Count) }
    }

    /// Reads everything that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Largest integer a JavaScript peer can hold exactly.
const UINT_MAX: u64 = (1 << 53) - 1;
/// Largest array, in items; the reference refuses more as well.
const COUNT_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_use_the_shortest_form_and_come_back() {
        for (value, length) in
            [(0, 1), (0xfc, 1), (0xfd, 3), (0xffff, 3), (0x1_0000, 5), (0xffff_ffff, 5), (1 << 32, 9)]
        {
            let mut out = Vec::new();
            out.uint(value);
            assert_eq!(out.len(), length, "{value}");
            assert_eq!(Decoder::new(&out).uint(), Ok(value));
        }
    }

    #[test]
    fn longer_forms_are_accepted_and_too_large_ones_refused() {
        assert_eq!(Decoder::new(&[0xfd, 1, 0]).uint(), Ok(1));
        let mut out = vec![0xff];
        out.uint64(1 << 53);
        assert_eq!(Decoder::new(&out).uint(), Err(DecodeError::Integer));
    }

    #[test]
    fn a_claimed_length_costs_nothing() {
        assert_eq!(Decoder::new(&[0xfe, 0xff, 0xff, 0xff, 0x7f]).buffer(), Err(DecodeError::Short));
        assert_eq!(Decoder::new(&[0xfd, 0xff, 0xff, 1, 2]).count(1), Err(DecodeError::Count));
        assert_eq!(Decoder::new(&[2, 1, 2]).count(1), Ok(2));
    }
}
