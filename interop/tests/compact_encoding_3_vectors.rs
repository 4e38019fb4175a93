//! Compact encoding as the copy under dht-rpc and hyperdht encodes it: each value gives the recorded bytes and comes
//! back from them. Types that nothing here has a name for are put together from those that have one.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::{Ipv4Addr, Ipv6Addr};

use anypath_interop::vectors::unhex;
use anypath_wire::{DecodeError, Decoder, Encode};
use data_encoding::HEXLOWER;
use serde_json::Value;

#[test]
fn every_value_gives_its_bytes_and_comes_back() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/compact-encoding-3.json")).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 57);
    for vector in vectors {
        let (kind, value) = (vector["type"].as_str().unwrap(), &vector["value"]);
        let bytes = unhex(&vector["hex"]);
        let mut out = Vec::new();
        encode(kind, value, &mut out);
        assert_eq!(out, bytes, "{vector}");
        let mut decoder = Decoder::new(&bytes);
        let decoded = decode(kind, &mut decoder).unwrap();
        assert!(decoder.is_empty(), "{vector}");
        // JavaScript and Rust write the same IPv6 address differently; its bytes are what counts.
        let mut again = Vec::new();
        encode(kind, &decoded, &mut again);
        assert!(again == bytes && (kind == "ipv6Address" || decoded == *value), "{vector}");
    }
}

fn encode(kind: &str, value: &Value, out: &mut Vec<u8>) {
    match kind {
        "uint" => out.uint(value.as_u64().unwrap()),
        "uint64" => out.uint64(value.as_u64().unwrap()),
        "int" => out.uint(value.as_i64().map(|n| ((n << 1) ^ (n >> 63)) as u64).unwrap()),
        "bool" => out.raw(&[u8::from(value.as_bool().unwrap())]),
        "string" => out.string(value.as_str().unwrap()),
        "buffer" => out.buffer(&unhex(value)),
        "optionalBuffer" => out.buffer(&if value.is_null() { Vec::new() } else { unhex(value) }),
        "raw" | "fixed32" => out.raw(&unhex(value)),
        "ipv4Address" => address(&host::<Ipv4Addr>(value).octets(), value, out),
        "ipv6Address" => address(&host::<Ipv6Addr>(value).octets(), value, out),
        _ => match (fixed_bytes(kind), kind.strip_prefix("array<")) {
            (Some(length), _) => out.raw(&value.as_u64().unwrap().to_le_bytes()[..length]),
            (_, Some(item)) => {
                let items = value.as_array().unwrap();
                out.uint(items.len() as u64);
                items.iter().for_each(|value| encode(item.trim_end_matches('>'), value, out));
            }
            _ => panic!("no type {kind}"),
        },
    }
}

fn decode(kind: &str, from: &mut Decoder<'_>) -> Result<Value, DecodeError> {
    Ok(match kind {
        "uint" => from.uint()?.into(),
        "uint64" => from.uint64()?.into(),
        "int" => from.uint().map(|n| (n >> 1) as i64 ^ -((n & 1) as i64))?.into(),
        "bool" => (from.byte()? == 1).into(),
        "string" => from.string()?.into(),
        "buffer" => HEXLOWER.encode(from.buffer()?).into(),
        "optionalBuffer" => match from.buffer()? {
            [] => Value::Null,
            bytes => HEXLOWER.encode(bytes).into(),
        },
        "fixed32" => HEXLOWER.encode(&from.fixed::<32>()?).into(),
        "raw" => HEXLOWER.encode(from.take_rest()).into(),
        "ipv4Address" => serde_json::json!({ "host": Ipv4Addr::from(from.fixed::<4>()?), "port": port(from)? }),
        "ipv6Address" => serde_json::json!({ "host": Ipv6Addr::from(from.fixed::<16>()?), "port": port(from)? }),
        _ => match (fixed_bytes(kind), kind.strip_prefix("array<")) {
            (Some(length), _) => {
                from.bytes(length)?.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte)).into()
            }
            (_, Some(item)) => {
                (0..from.count(1)?).map(|_| decode(item.trim_end_matches('>'), from)).collect::<Result<_, _>>()?
            }
            _ => panic!("no type {kind}"),
        },
    })
}

fn fixed_bytes(kind: &str) -> Option<usize> {
    ["uint8", "uint16", "uint24", "uint32"].iter().position(|fixed| *fixed == kind).map(|at| at + 1)
}

fn address(ip: &[u8], value: &Value, out: &mut Vec<u8>) {
    out.raw(ip);
    out.raw(&(value["port"].as_u64().unwrap() as u16).to_le_bytes());
}

fn host<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value["host"].as_str().unwrap().parse().unwrap()
}

fn port(from: &mut Decoder<'_>) -> Result<u16, DecodeError> {
    Ok(u16::from_le_bytes(from.fixed()?))
}
