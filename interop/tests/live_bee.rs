//! Hyperbees between JavaScript and Rust: lookups, ranges, deletions and older versions.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use anypath_interop::{Cast, CoreSpec, Until, scenarios};
use serde_json::{Value, json};

scenarios!(bee_with_deletions, bee_read_while_it_changes);

/// A bee grown and thinned in batches reads alike on the other side, now and at every version kept in mind.
fn bee_with_deletions(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let key = writer.bee_open("bee", &CoreSpec::named("bee"))?.key;
    let mut model = BTreeMap::new();
    let mut versions = Vec::new();
    for round in 0..12 {
        let changes = changes(round);
        versions.push((writer.bee_batch("bee", &changes)?, apply(&mut model, changes)));
    }
    ensure!(writer.bee_list("bee", None)? == versions[11].1, "the writer reads something else than it wrote");
    reader.bee_open("bee", &CoreSpec::keyed(&key))?;
    let port = writer.listen(None)?;
    reader.dial(port, None)?;
    reader.wait("bee", Until::length(versions[11].0))?;
    for (version, expected) in &versions {
        ensure!(&reader.bee_list("bee", Some(*version))? == expected, "version {version} reads differently");
    }
    ensure!(reader.bee_list("bee", None)? == versions[11].1, "the newest version reads differently");
    for number in 0..400 {
        let found = reader.bee_get("bee", &name(number))?;
        ensure!(found.as_ref() == model.get(&name(number)), "{} is {found:?}", name(number));
    }
    writer.close()?;
    reader.close()
}

/// Each change is there as soon as the reader's core has it.
fn bee_read_while_it_changes(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let key = writer.bee_open("bee", &CoreSpec::named("bee"))?.key;
    reader.bee_open("bee", &CoreSpec::keyed(&key))?;
    let port = reader.listen(None)?;
    writer.dial(port, None)?;
    let mut model = BTreeMap::new();
    for round in 0..6 {
        let changes = changes(round);
        let version = writer.bee_batch("bee", &changes)?;
        let expected = apply(&mut model, changes);
        reader.wait("bee", Until::length(version))?;
        ensure!(reader.bee_list("bee", None)? == expected, "round {round} reads differently");
    }
    writer.close()?;
    reader.close()
}

type Changes = Vec<(String, Option<Value>)>;

/// Puts, overwrites and deletions that split, merge and empty nodes: round 5 deletes nearly everything.
fn changes(round: u32) -> Changes {
    let numbers = (0..400u32).filter(move |number| (number * 7 + round * 3).is_multiple_of(4));
    let change = |number: u32| match (round, (number + round) % 3) {
        (5, _) => (name(number), None),
        (1.., 0) => (name(number), None),
        _ => {
            (name(number), Some(json!({ "number": number, "round": round, "text": "x".repeat(number as usize % 90) })))
        }
    };
    let mut changes: Changes = numbers.map(change).collect();
    if round == 5 {
        changes.extend((0..390).map(|number| (name(number), None)));
    }
    changes
}

fn apply(model: &mut BTreeMap<String, Value>, changes: Changes) -> Vec<(String, Value)> {
    for (key, value) in changes {
        match value {
            Some(value) => drop(model.insert(key, value)),
            None => drop(model.remove(&key)),
        }
    }
    model.clone().into_iter().collect()
}

/// Keys whose order by bytes is not the order of the numbers, some outside ASCII.
fn name(number: u32) -> String {
    match number % 5 {
        0 => format!("ü{number}"),
        _ => format!("key {number}"),
    }
}
