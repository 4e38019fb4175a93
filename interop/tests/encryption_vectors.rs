//! Encrypted blocks and unordered messages as JavaScript made them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use anypath_interop::vectors::unhex;
use anypath_replicate::core::{DecryptError, Encryption};
use anypath_replicate::noise::Unordered;
use anypath_wire::{EncryptionKey, Handshake, PublicKey, Role};
use serde_json::Value;

#[test]
fn blocks_are_stored_as_hypercore_stores_them() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/encryption.json")).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        let core = PublicKey(unhex(&case["coreKey"]).try_into().unwrap());
        let key = EncryptionKey::new(unhex(&case["encryptionKey"]).try_into().unwrap());
        let encryption = Encryption::new(&core, &key, case["compat"].as_bool().unwrap());
        let blocks = case["plain"].as_array().unwrap().iter().zip(case["rawBlocks"].as_array().unwrap());
        for (index, (plain, raw)) in (0..).zip(blocks) {
            let (plain, raw) = (plain.as_str().unwrap().as_bytes(), unhex(raw));
            assert_eq!(encryption.encrypt(index, 0, plain), raw, "block {index}");
            assert_eq!(encryption.decrypt(index, 0, &raw).as_deref(), Ok(plain));
        }
        assert_eq!(encryption.decrypt(5, 0, &[0; 7]), Err(DecryptError::TooShort { index: 5 }));
        let raw = unhex(&case["rawBlocks"][0]);
        assert_eq!(encryption.decrypt(1, 0, &raw), Err(DecryptError::WrongKey { index: 1 }));
    }
}

#[test]
fn unordered_messages_are_sealed_as_secret_stream_seals_them() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/secret-stream.json")).unwrap();
    let mut opened = 0;
    for session in vectors["sessions"].as_array().unwrap() {
        let hash = unhex(&session["handshake_hash"]).try_into().unwrap();
        let shaken = |role| Handshake { role, remote: PublicKey([0; 32]), hash, tx: [0; 32], rx: [0; 32] };
        for write in session["raw"].as_array().unwrap().iter().filter(|write| write["udx_message"].is_string()) {
            let sealed = unhex(&write["udx_message"]);
            let from_initiator = write["from"] == "initiator";
            let (from, to) =
                if from_initiator { (Role::Initiator, Role::Responder) } else { (Role::Responder, Role::Initiator) };
            let text = Unordered::new(&shaken(to), 0).open(&sealed).unwrap();
            let reader = if from_initiator { "responder" } else { "initiator" };
            assert_eq!(text, unhex(&session["received_messages"][reader][0]));
            let counter = u64::from_le_bytes(*sealed.first_chunk().unwrap());
            assert_eq!(Unordered::new(&shaken(from), counter.wrapping_sub(1)).seal(&text), sealed);
            opened += 1;
        }
    }
    assert_eq!(opened, 2);
}
