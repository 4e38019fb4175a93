//! What a tracker of old Dat programs is asked and answers, byte for byte: npm dns-discovery 6.2.3.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use anypath_dht::lan::Voice;
use anypath_dht::tracker::{Wish, answer, question};
use anypath_interop::vectors::unhex;
use serde_json::Value;

const TOPIC: [u8; 20] = [0xaa; 20];

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/dns-discovery.json")).unwrap()
}

fn vector(name: &str) -> Value {
    let vectors = vectors();
    vectors["vectors"].as_array().unwrap().iter().find(|vector| vector["name"] == name).unwrap().clone()
}

#[test]
fn questions_are_the_references() {
    let token = vectors()["token_current"].as_str().unwrap().to_owned();
    let (topic, token) = (&TOPIC, &token[..]);
    for (name, id, wish) in [
        ("probe", 1, Wish::Probe),
        ("lookup-after-announce", 4, Wish::Lookup(topic)),
        ("unannounce", 7, Wish::Unannounce { topic, port: 3282, token }),
    ] {
        assert_eq!(question(id, wish), unhex(&vector(name)["query"]), "{name}");
    }
    // The reference subscribes along with it, and we do not.
    let (ours, theirs) =
        (question(3, Wish::Announce { topic, port: 3282, token }), unhex(&vector("announce")["query"]));
    let subscribe = b"\x0esubscribe=true";
    let at = theirs.windows(subscribe.len()).position(|bytes| bytes == subscribe).unwrap();
    let mut without = [&theirs[..at], &theirs[at + subscribe.len()..]].concat();
    without[at - 1] -= u8::try_from(subscribe.len()).unwrap();
    assert_eq!(ours, without);
}

#[test]
fn answers_are_read() {
    let peers = |name: &str| -> Vec<String> {
        let answer = answer(&unhex(&vector(name)["response"])).unwrap();
        assert!(answer.token.is_some(), "{name}");
        answer.peers.iter().map(ToString::to_string).collect()
    };
    assert_eq!(peers("probe"), [""; 0]);
    assert_eq!(peers("announce"), [""; 0]);
    assert_eq!(peers("lookup-two"), ["127.0.0.1:3282", "127.0.0.1:3283"]);
    assert_eq!(peers("lookup-after-unannounce"), ["127.0.0.1:3283"]);
    assert_eq!(answer(&unhex(&vector("probe")["query"])), None);
}

#[test]
fn a_push_is_no_answer() {
    let push = unhex(&vectors()["server_pushes"][0]["bytes"]);
    assert_eq!(answer(&push), None);
    // On the same network, such a record tells of its sender alone.
    assert_eq!(Voice::new(&[1; 32], None).hear(&push).len(), 1);
}
