//! Measures replication over loopback TCP, disk to disk, between two processes: ours and JavaScript's in one run.
//!
//! `cargo run --release -p anypath-benches --bin replication [-- ROUNDS]`; needs Node and `interop/js/node_modules`.
//! Each round times every pair once, one after the other, so that a busy machine is busy for all of them.

mod ours;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", folder, count, bytes] => ours::serve(folder.as_ref(), count.parse()?, bytes.parse()?),
        ["fetch", folder, key, port] => ours::fetch(folder.as_ref(), key, port.parse()?),
        [] => measure(3),
        [rounds] => measure(rounds.parse().context("expected a number of rounds")?),
        _ => anyhow::bail!("usage: replication [ROUNDS]"),
    }
}

/// Which program plays a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Program {
    Ours,
    Js,
}

/// Who serves to whom.
const PAIRS: [(Program, Program); 4] = [
    (Program::Js, Program::Js),
    (Program::Ours, Program::Ours),
    (Program::Ours, Program::Js),
    (Program::Js, Program::Ours),
];

/// Blocks and their size in bytes.
const LOADS: [(u64, usize); 2] = [(2048, 64 << 10), (50_000, 1 << 10)];

fn measure(rounds: usize) -> Result<()> {
    ensure!(rounds > 0, "at least one round is needed");
    for (count, bytes) in LOADS {
        let mut seconds: BTreeMap<(Program, Program), Vec<f64>> = BTreeMap::new();
        let dir = tempfile::tempdir()?;
        let servers = [Program::Js, Program::Ours].map(|program| Server::start(program, dir.path(), count, bytes));
        let [js, ours] = servers;
        let (js, ours) = (js?, ours?);
        for round in 0..rounds {
            for (from, to) in PAIRS {
                let server = if from == Program::Js { &js } else { &ours };
                let took = server.fetch(to, &dir.path().join(format!("{from:?}-{to:?}-{round}")), count)?;
                seconds.entry((from, to)).or_default().push(took);
            }
        }
        print(count, bytes, &seconds);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a measurement's report")]
fn print(count: u64, bytes: usize, seconds: &BTreeMap<(Program, Program), Vec<f64>>) {
    println!("\n{count} blocks of {bytes} bytes, {:.0} MiB\n", count as f64 * bytes as f64 / f64::from(1 << 20));
    println!("| from | to | median s (min..max) | blocks/s | MiB/s | times JS to JS |");
    println!("|---|---|---|---|---|---|");
    let reference = median(&seconds[&PAIRS[0]]);
    for (from, to) in PAIRS {
        let times = &seconds[&(from, to)];
        let (least, most) =
            times.iter().fold((f64::MAX, 0.0), |(least, most): (f64, f64), t| (least.min(*t), most.max(*t)));
        let took = median(times);
        let (rate, mebibytes) = (count as f64 / took, count as f64 * bytes as f64 / took / f64::from(1 << 20));
        let ratio = reference / took;
        println!("| {from:?} | {to:?} | {took:.3} ({least:.3}..{most:.3}) | {rate:.0} | {mebibytes:.0} | {ratio:.1} |");
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A process that serves one core to whoever dials; ended when dropped.
struct Server {
    child: Child,
    key: String,
    port: String,
}

impl Server {
    fn start(program: Program, dir: &Path, count: u64, bytes: usize) -> Result<Self> {
        let folder = dir.join(format!("{program:?}"));
        let (count, bytes) = (count.to_string(), bytes.to_string());
        let mut child = command(program)?
            .args(["serve", &folder.to_string_lossy(), &count, &bytes])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the {program:?} side"))?;
        let line = first_line(&mut child)?;
        let (key, port) = line.split_once(' ').with_context(|| format!("the {program:?} side said {line:?}"))?;
        Ok(Self { key: key.to_owned(), port: port.trim().to_owned(), child })
    }

    /// Fetches everything into a new folder; returns the seconds from dialling to the last block on disk.
    fn fetch(&self, program: Program, folder: &Path, count: u64) -> Result<f64> {
        let mut child = command(program)?
            .args(["fetch", &folder.to_string_lossy(), &self.key, &self.port])
            .stdout(Stdio::piped())
            .spawn()?;
        let line = first_line(&mut child)?;
        child.wait()?;
        let (seconds, blocks) = line.split_once(' ').with_context(|| format!("the {program:?} side said {line:?}"))?;
        ensure!(blocks.trim().parse() == Ok(count), "the {program:?} side got {blocks} of {count} blocks");
        Ok(seconds.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(program: Program) -> Result<Command> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(match program {
        Program::Ours => Command::new(std::env::current_exe()?),
        Program::Js => {
            let mut node = Command::new("node");
            node.arg(root.join("src/bin/replication/side.js"))
                .env("NODE_PATH", root.join("../interop/js/node_modules"));
            node
        }
    })
}

fn first_line(child: &mut Child) -> Result<String> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("a side has no output")?).read_line(&mut line)?;
    Ok(line)
}
