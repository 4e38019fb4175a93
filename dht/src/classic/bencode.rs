//! Bencode, in its one canonical form: numbers without leading zeros, keys of dictionaries sorted and told once.
//!
//! | value | bytes |
//! |---|---|
//! | number | `i`, decimal digits, `e` |
//! | byte string | decimal length, `:`, bytes |
//! | list | `l`, values, `e` |
//! | dictionary | `d`, pairs of byte string and value, `e` |
//!
//! Source: BEP 3.

use thiserror::Error;

/// Why bytes are not canonical bencode within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BencodeError {
    /// The bytes ended before the value did.
    #[error("the value ends too early")]
    Short,
    /// A byte that starts or ends nothing.
    #[error("a byte that has no meaning here")]
    Syntax,
    /// A number or length with a leading zero, a sign alone, or one that fits in no 64 bits.
    #[error("a number that is not written canonically or is too large")]
    Number,
    /// Keys of a dictionary that are not in order, or told twice.
    #[error("keys of a dictionary are not in order")]
    Order,
    /// More bytes behind the value.
    #[error("something stands behind the value")]
    Trailing,
    /// Lists in lists in lists.
    #[error("values are nested too deeply")]
    Depth,
    /// More values than any message needs.
    #[error("there are too many values")]
    Count,
}

/// A value, which borrows the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(i64),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A list.
    List(Vec<Value<'a>>),
    /// A dictionary, sorted by key; each value with the bytes it was read from.
    Dictionary(Vec<(&'a [u8], Value<'a>, &'a [u8])>),
}

impl<'a> Value<'a> {
    /// Reads one value that takes all the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BencodeError> {
        let mut reader = Reader { rest: bytes, values: 0 };
        let value = reader.value(0)?;
        if reader.rest.is_empty() { Ok(value) } else { Err(BencodeError::Trailing) }
    }

    /// Returns the value under a key of a dictionary.
    pub fn at(&self, key: &str) -> Option<&Value<'a>> {
        self.entry(key).map(|(value, _)| value)
    }

    /// Returns the bytes from which the value under a key was read.
    pub fn raw_at(&self, key: &str) -> Option<&'a [u8]> {
        self.entry(key).map(|(_, raw)| raw)
    }

    /// Returns the byte string under a key.
    pub fn bytes_at(&self, key: &str) -> Option<&'a [u8]> {
        match self.at(key)? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the byte string of exactly that length under a key.
    pub fn fixed_at<const N: usize>(&self, key: &str) -> Option<[u8; N]> {
        self.bytes_at(key)?.try_into().ok()
    }

    /// Returns the number under a key.
    pub fn number_at(&self, key: &str) -> Option<i64> {
        match self.at(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the list under a key; an empty one if there is none.
    pub fn list_at(&self, key: &str) -> &[Value<'a>] {
        match self.at(key) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    fn entry(&self, key: &str) -> Option<(&Value<'a>, &'a [u8])> {
        let Value::Dictionary(entries) = self else { return None };
        let at = entries.binary_search_by(|(known, _, _)| (*known).cmp(key.as_bytes())).ok()?;
        entries.get(at).map(|(_, value, raw)| (value, *raw))
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>, BencodeError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(BencodeError::Count);
        }
        match self.peek()? {
            b'i' => {
                self.skip();
                self.number(b'e').map(Value::Number)
            }
            b'0'..=b'9' => self.bytes().map(Value::Bytes),
            b'l' | b'd' if depth == DEPTH_MAX => Err(BencodeError::Depth),
            b'l' => self.list(depth + 1),
            b'd' => self.dictionary(depth + 1),
            _ => Err(BencodeError::Syntax),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, BencodeError> {
        self.skip();
        let mut items = Vec::new();
        while self.peek()? != b'e' {
            items.push(self.value(depth)?);
        }
        self.skip();
        Ok(Value::List(items))
    }

    fn dictionary(&mut self, depth: usize) -> Result<Value<'a>, BencodeError> {
        self.skip();
        let mut entries: Vec<(&[u8], Value<'_>, &[u8])> = Vec::new();
        while self.peek()? != b'e' {
            let key = self.bytes()?;
            if entries.last().is_some_and(|(last, _, _)| *last >= key) {
                return Err(BencodeError::Order);
            }
            let before = self.rest;
            let value = self.value(depth)?;
            entries.push((key, value, &before[..before.len() - self.rest.len()]));
        }
        self.skip();
        Ok(Value::Dictionary(entries))
    }

    fn bytes(&mut self) -> Result<&'a [u8], BencodeError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(BencodeError::Syntax);
        }
        let length = usize::try_from(self.number(b':')?).map_err(|_| BencodeError::Number)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(BencodeError::Short)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads digits up to the end mark, which is taken too.
    fn number(&mut self, end: u8) -> Result<i64, BencodeError> {
        let window = &self.rest[..self.rest.len().min(DIGITS_MAX + 1)];
        let at = window.iter().position(|byte| *byte == end);
        let at = at.ok_or(if window.len() > DIGITS_MAX { BencodeError::Number } else { BencodeError::Short })?;
        let (text, rest) = (&self.rest[..at], &self.rest[at + 1..]);
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let canonical = match digits {
            [] => false,
            [b'0'] => text.len() == 1,
            [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
        };
        let number = std::str::from_utf8(text).ok().filter(|_| canonical).and_then(|text| text.parse().ok());
        self.rest = rest;
        number.ok_or(BencodeError::Number)
    }

    fn peek(&self) -> Result<u8, BencodeError> {
        self.rest.first().copied().ok_or(BencodeError::Short)
    }

    fn skip(&mut self) {
        self.rest = &self.rest[1..];
    }
}

/// Writes a dictionary, whose keys the caller gives in order.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Begins a dictionary.
    pub(super) fn new() -> Self {
        Self(b"d".to_vec())
    }

    /// Adds a byte string.
    pub(super) fn bytes(mut self, key: &str, bytes: &[u8]) -> Self {
        push_bytes(key.as_bytes(), &mut self.0);
        push_bytes(bytes, &mut self.0);
        self
    }

    /// Adds a number.
    pub(super) fn number(self, key: &str, number: i64) -> Self {
        self.raw(key, format!("i{number}e").as_bytes())
    }

    /// Adds a list of byte strings.
    pub(super) fn list<T: AsRef<[u8]>>(self, key: &str, items: impl IntoIterator<Item = T>) -> Self {
        let mut list = b"l".to_vec();
        items.into_iter().for_each(|item| push_bytes(item.as_ref(), &mut list));
        list.push(b'e');
        self.raw(key, &list)
    }

    /// Adds a value that is bencoded already.
    pub(super) fn raw(mut self, key: &str, value: &[u8]) -> Self {
        push_bytes(key.as_bytes(), &mut self.0);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds what `write` adds, if there is something to write.
    pub(super) fn maybe<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }

    /// Ends the dictionary.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'e');
        self.0
    }
}

/// Appends a byte string.
pub(super) fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(bytes);
}

/// Lists and dictionaries in each other; messages need 3, items of BEP 44 a few more.
const DEPTH_MAX: usize = 16;
/// Values in one message; a hundred peers and their like take a few hundred.
const VALUES_MAX: usize = 2_048;
/// Digits and sign of the longest number.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let value = Value::decode(b"d1:ai-7e1:bl0:3:abcee").unwrap();
        assert_eq!(value.number_at("a"), Some(-7));
        assert_eq!(value.list_at("b"), [Value::Bytes(b""), Value::Bytes(b"abc")]);
        assert_eq!(value.raw_at("b"), Some(&b"l0:3:abce"[..]));
        assert_eq!(Value::decode(b"i9223372036854775807e"), Ok(Value::Number(i64::MAX)));
        assert_eq!(Value::decode(b"i-9223372036854775808e"), Ok(Value::Number(i64::MIN)));
    }

    #[test]
    fn rubbish_is_refused_with_its_reason() {
        use BencodeError::{Count, Depth, Number, Order, Short, Syntax, Trailing};
        let deep = [&[b'l'; 17][..], &[b'e'; 17]].concat();
        let wide = [b"l", &b"0:".repeat(3000)[..], b"e"].concat();
        for (bytes, error) in [
            (&b""[..], Short),
            (b"i1", Short),
            (b"d1:a", Short),
            (b"3:ab", Short),
            (b"99999999999999999999999:", Number),
            (b"x", Syntax),
            (b"di1e1:ae", Syntax),
            (b"i01e", Number),
            (b"i-0e", Number),
            (b"i-e", Number),
            (b"ie", Number),
            (b"i+1e", Number),
            (b"i9223372036854775808e", Number),
            (b"01:a", Number),
            (b"i1ee", Trailing),
            (b"d1:bi1e1:ai1ee", Order),
            (b"d1:ai1e1:ai1ee", Order),
            (&deep, Depth),
            (&wide, Count),
        ] {
            assert_eq!(Value::decode(bytes), Err(error), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
