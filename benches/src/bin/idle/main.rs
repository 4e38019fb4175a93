//! Measures the memory of two peers that share 1,000 cores and have nothing to do:
//! `cargo run --release -p anypath-benches --bin idle [CORES [BLOCKS]]`. One holds all cores, the other fetches them
//! whole first; each is a process of its own, and says what it takes twelve seconds later, and again when started anew.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use anypath_benches::Usage;
use anypath_benches::idle::{fill, held, start};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse());
    match &arguments[..] {
        [role, folder, address, cores, whole] if role == "play" => {
            play(folder.as_ref(), address, cores.parse()?, whole.parse()?)
        }
        _ => table(number(0, 1_000)?, number(1, 100)? as usize),
    }
}

fn table(cores: u32, blocks: usize) -> Result<()> {
    let root = tempfile::tempdir()?;
    let whole = u64::from(cores) * blocks as u64;
    fill(&root.path().join("origin"), cores, blocks)?;
    println!("{cores} cores of {blocks} blocks, MiB resident, and at most");
    for (title, round) in [("while it fetched", 0), ("started again", 1)] {
        let (mut origin, address) = spawn(&root.path().join("origin"), "", cores, whole)?;
        let (mut reader, _) = spawn(&root.path().join("reader"), &address, cores, whole)?;
        let read = says(&mut reader)?;
        // The line to it is what the first one waits for.
        writeln!(origin.stdin.as_ref().context("no input")?)?;
        let served = says(&mut origin)?;
        println!("| {title} | holds all: {served} | {}: {read} |", ["fetched all", "holds all"][round]);
        for mut child in [origin, reader] {
            child.kill()?;
            child.wait()?;
        }
    }
    Ok(())
}

fn spawn(folder: &Path, address: &str, cores: u32, whole: u64) -> Result<(Child, String)> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("play").arg(folder).args([address, &cores.to_string(), &whole.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let address = says(&mut child)?;
    Ok((child, address))
}

/// Reads one line a byte at a time, so that none of the next is lost.
fn says(child: &mut Child) -> Result<String> {
    let stdout = child.stdout.as_mut().context("no output")?;
    let mut line = String::new();
    BufReader::with_capacity(1, stdout).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Listens, or dials and waits until all is here; then says what memory it takes.
#[tokio::main]
async fn play(folder: &Path, address: &str, cores: u32, whole: u64) -> Result<()> {
    let node = start(folder, cores, u8::from(address.is_empty())).await?;
    if address.is_empty() {
        println!("{}", node.listen(&"tcp://127.0.0.1:0".parse()?).await?);
        std::io::stdin().read_line(&mut String::new())?;
    } else {
        println!();
        node.connect(address.parse()?);
        while held(&node, cores).await? < whole {
            tokio::time::sleep(POLL).await;
        }
        tokio::time::sleep(REST).await;
    }
    let Usage { resident_mib, peak_mib, .. } = Usage::here()?;
    println!("{resident_mib:.1}, {peak_mib:.1}");
    std::future::pending().await
}

const POLL: Duration = Duration::from_millis(50);
/// Long enough for what is of no use any more to be given back.
const REST: Duration = Duration::from_secs(12);
