//! Measures the disk store against the ways it could have been built, one process a run, and prints the tables of
//! `reports/store.md`: `cargo run --release -p anypath-benches --bin store [RUNS [FOLDER]]`.
//!
//! Every load is committed in batches of blocks, two tree nodes a block, the bitfield page they fall into and the head.
//! A run ends by `abort`, so that what opening finds is what a kill leaves.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use anypath_benches::{Summary, Usage, thread_cpu_seconds};
use anypath_replicate::Node;
use anypath_replicate::store::{Batch, Config, CoreChanges, DiskStore, Durability, MemoryStore, Store};
use anypath_wire::DiscoveryKey;
use bytes::Bytes;

use built_otherwise::Otherwise;

mod built_otherwise;

const CORE: DiscoveryKey = DiscoveryKey([7; 32]);

/// What is written: `blocks` of `block_bytes`, `batch` at a time.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    block_bytes: usize,
    blocks: u64,
    batch: u64,
}

const LOADS: [Load; 2] = [
    Load { name: "64 KiB", block_bytes: 65536, blocks: 2048, batch: 32 },
    Load { name: "1 KiB", block_bytes: 1024, blocks: 50_000, batch: 512 },
];

/// The contenders, as the table names them.
const CONTENDERS: [&str; 11] = [
    "ours, relaxed",
    "ours, full",
    "memory",
    "no journal, 32 nodes a row, quick repair",
    "no journal, 32 nodes a row",
    "no journal, 16 nodes a row",
    "no journal, 64 nodes a row",
    "no journal, a row a node",
    "no journal, 32 nodes a row, blocks in redb",
    "no journal, 32 nodes a row, not lasting",
    "no journal, a row a node, not lasting",
];

/// Opens a contender in its folder.
fn open(contender: &str, folder: &Path) -> Result<Box<dyn Store>> {
    let ours = |durability| DiskStore::open(folder, Config { durability, ..Config::default() });
    Ok(match contender {
        "ours, relaxed" => Box::new(ours(Durability::Relaxed)?),
        "ours, full" => Box::new(ours(Durability::Full)?),
        "memory" => Box::new(MemoryStore::new()),
        otherwise => Box::new(Otherwise::open(otherwise, folder)?),
    })
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [run, contender, load, folder] if run == "run" => {
            run_one(contender, LOADS[load.parse::<usize>()?], folder.as_ref())
        }
        [runs, folder] => table(runs.parse()?, folder.as_ref()),
        [runs] => table(runs.parse()?, &env::temp_dir()),
        _ => table(3, &env::temp_dir()),
    }
}

/// The numbers of one run, by the column's name.
type Figures = BTreeMap<String, f64>;

/// Runs all contenders in turn, `runs` times over, and prints the medians.
fn table(runs: usize, folder: &Path) -> Result<()> {
    let mut all: BTreeMap<(usize, usize), Vec<Figures>> = BTreeMap::new();
    for run in 0..runs {
        for load in 0..LOADS.len() {
            // Whoever comes after a pause pays for memory the system gave away meanwhile: not always the same.
            for turn in 0..CONTENDERS.len() {
                let number = (turn + run * 2) % CONTENDERS.len();
                all.entry((load, number)).or_default().push(run_apart(CONTENDERS[number], load, folder)?);
            }
        }
    }
    let columns = [
        "blocks/s",
        "MiB/s",
        "CPU, us/block",
        "slowest commit, ms",
        "reads/s",
        "MiB on disk",
        "MiB memory",
        "reopen, ms",
    ];
    for (load, Load { name, .. }) in LOADS.iter().enumerate() {
        println!("\n### {name} blocks\n\n| store | {} |\n|---{}|", columns.join(" | "), "|---".repeat(columns.len()));
        for (number, contender) in CONTENDERS.iter().enumerate() {
            let figures = &all[&(load, number)];
            let cells: Vec<String> = columns.iter().map(|column| cell(median(figures, column))).collect();
            println!("| {contender} | {} |", cells.join(" | "));
        }
    }
    Ok(())
}

fn median(figures: &[Figures], column: &str) -> f64 {
    Summary::of(figures.iter().filter_map(|run| run.get(column).copied())).median
}

fn cell(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0} k", value / 1000.0)
    } else if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

/// Runs one contender in a process of its own, and times how long opening takes after its death.
fn run_apart(contender: &str, load: usize, folder: &Path) -> Result<Figures> {
    let folder = tempfile::tempdir_in(folder)?;
    let mut run = Command::new(env::current_exe()?);
    let output = run.args(["run", contender, &load.to_string()]).arg(folder.path()).output()?;
    let mut figures = Figures::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (column, value) = line.split_once(": ").context("a figure is `column: value`")?;
        figures.insert(column.to_owned(), value.parse()?);
    }
    ensure!(figures.len() == 6, "{contender} failed: {}", String::from_utf8_lossy(&output.stderr));
    figures.insert("MiB on disk".to_owned(), mib_on_disk(folder.path())?);
    let start = Instant::now();
    black_box(open(contender, folder.path())?);
    figures.insert("reopen, ms".to_owned(), start.elapsed().as_secs_f64() * 1000.0);
    Ok(figures)
}

fn mib_on_disk(folder: &Path) -> Result<f64> {
    let lengths = fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len()));
    Ok(lengths.sum::<Result<u64>>()? as f64 / MIB)
}

/// Writes the load, reads blocks here and there, prints the figures, and dies.
fn run_one(contender: &str, load: Load, folder: &Path) -> Result<()> {
    let store = open(contender, folder)?;
    let start = Instant::now();
    let mut slowest: f64 = 0.0;
    for first in (0..load.blocks).step_by(load.batch as usize) {
        let batch = batch(first, (first + load.batch).min(load.blocks), load);
        let start = Instant::now();
        store.commit(batch)?;
        slowest = slowest.max(start.elapsed().as_secs_f64());
    }
    let blocks_per_second = load.blocks as f64 / start.elapsed().as_secs_f64();
    println!("blocks/s: {blocks_per_second}");
    println!("MiB/s: {}", blocks_per_second * load.block_bytes as f64 / MIB);
    println!("CPU, us/block: {}", thread_cpu_seconds() * 1e6 / load.blocks as f64);
    println!("slowest commit, ms: {}", slowest * 1000.0);
    println!("reads/s: {}", reads_per_second(&*store, load)?);
    println!("MiB memory: {}", Usage::here()?.peak_mib);
    std::process::abort()
}

fn batch(first: u64, end: u64, load: Load) -> Batch {
    let block = Bytes::from(vec![first as u8; load.block_bytes]);
    let node = |index| Node { index, size: load.block_bytes as u64, hash: [index as u8; 32] };
    let page_number = (end - 1) / PAGE_BLOCKS;
    let mut page = Box::new([0; 4096]);
    page[..(end - page_number * PAGE_BLOCKS).div_ceil(8) as usize].fill(0xff);
    let changes = CoreChanges {
        head: Some(vec![1; 120]),
        nodes: (2 * first..2 * end).map(node).collect(),
        blocks: (first..end).map(|index| (index, block.clone())).collect(),
        bitfield: vec![(page_number, page)],
        ..CoreChanges::new(CORE)
    };
    Batch { records: Vec::new(), cores: vec![changes] }
}

/// Reads blocks in an order that has none, each with its leaf.
fn reads_per_second(store: &dyn Store, load: Load) -> Result<f64> {
    let start = Instant::now();
    let mut index = 1;
    for _ in 0..READS {
        index = (index * 48_271) % 2_147_483_647;
        let block = index % load.blocks;
        let held = store.block(&CORE, block)?.is_some_and(|bytes| bytes.len() == load.block_bytes);
        ensure!(held && store.node(&CORE, 2 * block)?.is_some(), "block {block} is gone");
    }
    Ok(READS as f64 / start.elapsed().as_secs_f64())
}

/// Blocks read.
const READS: u64 = 20_000;

/// Blocks to a page of the bitfield.
const PAGE_BLOCKS: u64 = 32_768;

/// Bytes.
const MIB: f64 = 1_048_576.0;
