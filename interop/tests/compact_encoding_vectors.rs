//! Compact encoding against npm compact-encoding: every value encodes to the recorded bytes and decodes from them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use anypath_replicate::messages::{Bitfield, Message};
use anypath_wire::{Decoder, Encode};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::Value;

const VECTORS: &str = include_str!("../vectors/compact-encoding.json");

#[test]
fn integers() {
    for (value, bytes) in cases("uint") {
        let value = value.as_u64().unwrap();
        assert_eq!(encode(|out| out.uint(value)), bytes);
        assert_eq!(Decoder::new(&bytes).uint(), Ok(value));
    }
    // Signed integers have no name here; they are unsigned ones that alternate: 0, -1, 1, -2.
    for (value, bytes) in cases("int") {
        let value = value.as_i64().unwrap();
        assert_eq!(encode(|out| out.uint(((value << 1) ^ (value >> 63)) as u64)), bytes);
        assert_eq!(Decoder::new(&bytes).uint().map(|n| (n >> 1) as i64 ^ -((n & 1) as i64)), Ok(value));
    }
    for (value, bytes) in cases("uint64") {
        let value = value.as_u64().unwrap();
        assert_eq!(encode(|out| out.uint64(value)), bytes);
        assert_eq!(Decoder::new(&bytes).uint64(), Ok(value));
    }
}

#[test]
fn strings_and_buffers() {
    for (value, bytes) in cases("string") {
        let value = value.as_str().unwrap();
        assert_eq!(encode(|out| out.string(value)), bytes);
        assert_eq!(Decoder::new(&bytes).string(), Ok(value));
    }
    for (value, bytes) in cases("buffer") {
        let value = HEXLOWER.decode(value.as_str().unwrap_or("").as_bytes()).unwrap();
        assert_eq!(encode(|out| out.buffer(&value)), bytes);
        assert_eq!(Decoder::new(&bytes).buffer(), Ok(&value[..]));
    }
}

#[test]
fn arrays_of_words_as_in_a_bitfield() {
    for (value, bytes) in cases("uint32array") {
        let words: Vec<u32> = value.as_array().unwrap().iter().map(|word| word.as_u64().unwrap() as u32).collect();
        let body = [vec![0], bytes].concat();
        let message = Message::Bitfield(Bitfield::new(0, words.iter().copied()));
        assert_eq!(encode(|out| message.encode(out)), body);
        let decoded = Message::decode(message.kind(), &Bytes::from(body), true).unwrap().unwrap();
        let Message::Bitfield(decoded) = decoded else { panic!("{decoded:?}") };
        assert!(decoded.words().eq(words));
    }
}

fn cases(kind: &str) -> Vec<(Value, Vec<u8>)> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors[kind].as_array().unwrap();
    assert!(!cases.is_empty(), "no vectors for {kind}");
    let bytes = |case: &Value| HEXLOWER.decode(case["hex"].as_str().unwrap().as_bytes()).unwrap();
    cases.iter().map(|case| (case["value"].clone(), bytes(case))).collect()
}

fn encode(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}
