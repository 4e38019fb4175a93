//! What the vectors in `vectors/` are written in: JSON, with bytes in hexadecimal.

use data_encoding::HEXLOWER;
use serde_json::Value;

/// Returns the bytes of a hexadecimal string.
///
/// # Panics
/// If it is none: a vector that cannot be read must not pass for one that holds.
pub fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("a vector has {value} where hexadecimal text is expected"));
    HEXLOWER.decode(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?} is no hexadecimal text: {error}"))
}

/// Returns the `N` bytes of a hexadecimal string.
///
/// # Panics
/// If it is none, or one of another length.
pub fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().unwrap_or_else(|_| panic!("a vector has {value} where {N} bytes are expected"))
}
