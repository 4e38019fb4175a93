//! Keys as people write them: 52 characters of z-base-32, or 64 of hexadecimal.

use std::sync::LazyLock;

use data_encoding::{BitOrder, Encoding, HEXLOWER_PERMISSIVE, Specification};
use thiserror::Error;

/// Text that is not a 32-byte key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a key: expected 52 characters of z-base-32 or 64 of hexadecimal")]
pub struct InvalidKeyText {
    text: String,
}

/// Returns the 52 z-base-32 characters of a 32-byte key.
pub fn key_to_text(key: &[u8; 32]) -> String {
    Z32.encode(key)
}

/// Reads a key from 52 characters of z-base-32 or 64 of hexadecimal, in either case.
///
/// The four spare bits at the end of the 52nd character are ignored, as npm z32 does.
///
/// # Errors
/// If the text has another length or a character of neither alphabet.
pub fn key_from_text(text: &str) -> Result<[u8; 32], InvalidKeyText> {
    let decoded = match text.len() {
        64 => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
        52 => Z32.decode(text.to_ascii_lowercase().as_bytes()).ok(),
        _ => None,
    };
    decoded.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| InvalidKeyText { text: excerpt(text) })
}

/// Returns as much of a wrong text as an error repeats.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// How much of a wrong text an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 80;

static Z32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("ybndrfg8ejkmcpqxot1uwisza345h769");
    specification.bit_order = BitOrder::MostSignificantFirst;
    specification.check_trailing_bits = false;
    specification.encoding().unwrap_or(data_encoding::BASE32_NOPAD)
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_both_forms() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8 * 7);
        let text = key_to_text(&key);
        assert_eq!(text.len(), 52);
        assert_eq!(key_from_text(&text), Ok(key));
        assert_eq!(key_from_text(&HEXLOWER_PERMISSIVE.encode(&key)), Ok(key));
    }

    #[test]
    fn other_text_is_named_in_the_error() {
        let error = key_from_text("hello").unwrap_err().to_string();
        assert!(error.contains("\"hello\""), "{error}");
        assert!(key_from_text(&"l".repeat(52)).is_err());
    }
}
