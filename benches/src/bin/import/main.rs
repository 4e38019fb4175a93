//! Measures how fast `anypath share` brings a folder into its drive, beside hashing and listing it:
//! `cargo build --release -p anypath-cli && cargo run --release -p anypath-benches --bin import [RUNS [FOLDER]]`.
//! The folder is where files and stores are made: by default that of temporary files. The bounds are on the medians:
//! an import at no less than half the speed of hashing, a second one of unchanged files in about the time of listing.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::env;
use std::time::Duration;

use anyhow::Result;
use anypath_benches::import::{Imported, LOADS, measure, share};
use anypath_interop::binary;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let runs: usize = arguments.next().map_or(Ok(3), |runs| runs.parse())?;
    let root = arguments.next().map_or_else(env::temp_dir, Into::into);
    let program = binary()?;
    println!("| folder | MiB | hash, ms | import, ms | hash / import | list, ms | again, ms | started, ms |");
    println!("|---|---|---|---|---|---|---|---|");
    for load in LOADS {
        let runs: Vec<Imported> = (0..runs)
            .map(|_| {
                measure(&|folder, store| share(&program, folder, store), tempfile::tempdir_in(&root)?.path(), load)
            })
            .collect::<Result<_>>()?;
        let median = |of: fn(&Imported) -> Duration| {
            let mut times: Vec<_> = runs.iter().map(of).collect();
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1e3
        };
        let (hash, import, list) = (median(|run| run.hash), median(|run| run.import), median(|run| run.list));
        let (again, start) = (median(|run| run.again), median(|run| run.start));
        println!(
            "| {} | {} | {hash:.0} | {import:.0} | {:.2} | {list:.0} | {again:.0} | {start:.0} |",
            load.name,
            (load.files * load.file_bytes) >> 20,
            hash / import,
        );
    }
    Ok(())
}
