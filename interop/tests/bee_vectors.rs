//! Bees as JavaScript wrote them: the same operations must give the same blocks, and be read alike.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::convert::Infallible;
use std::ops::Bound;

use anypath_interop::vectors::unhex;
use anypath_replicate::bee::{Bee, Change, Diff, Entry, Need, Range, header, operation};
use anypath_replicate::{AppendBlocks, Blocks};
use anypath_wire::hash_all;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::Value;

#[derive(Default)]
struct Core(Vec<Bytes>);

impl Blocks for Core {
    type Error = Infallible;

    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, Infallible> {
        Ok(self.0.get(index as usize).cloned())
    }
}

impl AppendBlocks for Core {
    fn byte_length(&self) -> u64 {
        self.0.iter().map(|block| block.len() as u64).sum()
    }

    fn append(&mut self, blocks: &[Bytes]) -> Result<u64, Infallible> {
        self.0.extend_from_slice(blocks);
        Ok(self.length())
    }
}

#[test]
fn the_same_operations_give_the_same_blocks() {
    let vector = hyperbee();
    let mut core = Core::default();
    let mut bee = Bee::default();
    for op in array(&vector["ops"]) {
        let version = ready(bee.apply(&mut core, &changes(op)).unwrap());
        let seq = op["seq"].as_u64().or(op["lastSeq"].as_u64());
        assert_eq!(version, core.length());
        assert!(seq.is_none_or(|seq| seq + 1 == version), "{op}");
    }
    let ours: Vec<String> = core.0.iter().map(|block| HEXLOWER.encode(block)).collect();
    let theirs: Vec<&str> = array(&vector["blocks"]).iter().map(text).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn thousands_of_random_operations_give_the_same_blocks() {
    let vector: Value = serde_json::from_str(include_str!("../vectors/hyperbee-random.json")).unwrap();
    for case in array(&vector["cases"]) {
        let parameter = |name: &str| case[name].as_u64().unwrap() as u32;
        let mut dice = Dice(parameter("seed"));
        let (mut core, mut bee) = (Core::default(), Bee::default());
        for _ in 0..parameter("commits") {
            let batched = dice.roll(100) < parameter("batch_percent");
            let count = if batched { 1 + dice.roll(60) } else { 1 };
            let random = |_| random_change(&mut dice, parameter("keys"), parameter("delete_percent"));
            let changes: Vec<Change> = (0..count).map(random).collect();
            ready(bee.apply(&mut core, &changes).unwrap());
        }
        assert_eq!(core.length(), case["blocks"], "seed {}", case["seed"]);
        let blocks: Vec<&[u8]> = core.0.iter().map(|block| &block[..]).collect();
        assert_eq!(HEXLOWER.encode(&hash_all(&blocks)), text(&case["hash"]), "seed {}", case["seed"]);
    }
}

#[test]
fn their_blocks_are_read_as_they_read_them() {
    let vector = hyperbee();
    let core = Core(array(&vector["blocks"]).iter().map(hex).collect());
    let mut bee = Bee::default();
    assert!(ready(header(&core).unwrap()).is_bee());
    let entries = ready(bee.range(&core, core.length(), Range::all()).unwrap());
    let expected: Vec<(&str, &str)> =
        array(&vector["final"]).iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    assert_eq!(pairs(&entries), expected);
    for entry in entries {
        assert_eq!(ready(bee.get(&core, core.length(), &entry.key).unwrap()), Some(entry));
    }
    let range = Range::between(Bound::Excluded("k05".into()), Bound::Included("k09".into()));
    let found = ready(bee.range(&core, core.length(), range).unwrap());
    let keys: Vec<&str> = pairs(&found).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, array(&vector["rangeGtK05LteK09"]).iter().map(text).collect::<Vec<_>>());
}

#[test]
fn their_history_is_told_block_by_block() {
    let vector = hyperbee();
    let core = Core(array(&vector["blocks"]).iter().map(hex).collect());
    for (seq, decoded) in array(&vector["decoded"]).iter().enumerate().skip(1) {
        let operation = ready(operation(&core, seq as u64).unwrap());
        assert_eq!(operation.entry.key, text(&decoded["key"]));
        assert_eq!(operation.entry.value.as_deref(), decoded["value"].as_str().map(str::as_bytes));
        assert_eq!(operation.deletion, decoded["value"].is_null());
    }
}

#[test]
fn versions_differ_as_they_do_for_them() {
    let vector = hyperbee();
    let core = Core(array(&vector["blocks"]).iter().map(hex).collect());
    let differences = ready(Diff::new(20, core.length()).next(&core).unwrap());
    let key = |entry: &Option<Entry>| entry.as_ref().map(|entry| String::from_utf8(entry.key.to_vec()).unwrap());
    let ours: Vec<_> = differences.iter().map(|found| (key(&found.after), key(&found.before))).collect();
    let side = |value: &Value| value.as_str().map(str::to_owned);
    let theirs =
        array(&vector["diffAgainstVersion20"]).iter().map(|found| (side(&found["left"]), side(&found["right"])));
    assert_eq!(ours, theirs.collect::<Vec<_>>());
}

/// The random numbers the vectors were made with.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % sides
    }
}

fn random_change(dice: &mut Dice, keys: u32, delete_percent: u32) -> Change {
    let key = format!("k{}", dice.roll(keys)).into();
    if dice.roll(100) < delete_percent {
        return Change::Delete { key };
    }
    Change::Put { key, value: format!("v{}", dice.roll(1000)).into() }
}

fn hyperbee() -> Value {
    serde_json::from_str(include_str!("../vectors/hyperbee.json")).unwrap()
}

fn changes(op: &Value) -> Vec<Change> {
    let put = |key: String, value: &Value| Change::Put { key: key.into(), value: text(value).to_owned().into() };
    let key = || text(&op["key"]).to_owned();
    match text(&op["op"]) {
        "put" => vec![put(key(), &op["value"])],
        "del" => vec![Change::Delete { key: key().into() }],
        "sub put" => vec![put(format!("{}\0{}", text(&op["sub"]), key()), &op["value"])],
        "batch" => array(&op["items"])
            .iter()
            .map(|item| match text(&item[0]) {
                "put" => put(text(&item[1]).to_owned(), &item[2]),
                _ => Change::Delete { key: text(&item[1]).to_owned().into() },
            })
            .collect(),
        other => panic!("the vectors have an operation {other}"),
    }
}

fn pairs(entries: &[Entry]) -> Vec<(&str, &str)> {
    let utf8 = |bytes| std::str::from_utf8(bytes).unwrap();
    entries.iter().map(|entry| (utf8(&entry.key), utf8(entry.value.as_ref().unwrap()))).collect()
}

fn ready<T>(need: Need<T>) -> T {
    match need {
        Need::Ready(value) => value,
        Need::Missing(seqs) => panic!("blocks {seqs:?} are missing"),
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(value: &Value) -> Bytes {
    unhex(value).into()
}
