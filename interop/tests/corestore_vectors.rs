//! Names and drives give the cores that JavaScript derives from the same primary key.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use anypath_replicate::corestore::{Namespace, PrimaryKey};
use anypath_wire::key_from_text;
use serde_json::Value;

#[test]
fn names_give_the_same_keys() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/corestore.json")).unwrap();
    let primary = PrimaryKey(key(&vectors["primaryKey"]));
    for vector in vectors["cores"].as_array().unwrap() {
        let path = vector["namespacePath"].as_str().unwrap_or_default();
        let namespaces = path.split('/').filter(|name| !name.is_empty());
        let namespace = namespaces.fold(Namespace::default(), |within, name| within.child(name));
        let core = primary.core(&namespace, vector["name"].as_str().unwrap());
        assert_eq!(core.signer.public().0, key(&vector["publicKey"]));
        assert_eq!(core.key().0, key(&vector["key"]));
        assert_eq!(core.key().discovery_key().0, key(&vector["discoveryKey"]));
    }
}

#[test]
fn a_drive_gives_the_same_blobs_core() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/hyperdrive.json")).unwrap();
    let drive = PrimaryKey([5; 32]).core(&Namespace::default(), "db");
    assert_eq!(drive.key().0, key(&vectors["key"]));
    assert_eq!(drive.blobs().key().0, key(&vectors["contentKey"]));
}

fn key(hex: &Value) -> [u8; 32] {
    key_from_text(hex.as_str().unwrap()).unwrap()
}
