//! Folders to share: generated from a seed, and compared with a report that a person can read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::content::{Content, hex};

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Which content, and which sizes.
    pub seed: u32,
    /// How many files, symlinks not counted.
    pub files: u32,
    /// Bytes of one more file beside them; 0 for none.
    pub large_bytes: u64,
}

/// An entry of a folder or a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File {
        /// Whether the owner may execute it.
        executable: bool,
        /// Its size.
        bytes: u64,
        /// Hexadecimal.
        sha256: String,
    },
    /// A symlink and its target, as it stands.
    Link(String),
}

/// Every entry by its path from the root, without a leading slash. Folders are not entries.
pub type Listing = BTreeMap<String, Entry>;

/// Fills an empty or missing folder: files of many sizes (empty ones too), executable bits, names in several scripts,
/// deep paths, symlinks to files, to folders and to nothing.
pub fn generate(folder: &Path, plan: Plan) -> Result<()> {
    for index in 0..plan.files {
        let path = folder.join(name(index));
        write_file(&path, plan.seed, index, size(plan.seed, index), index % 7 == 0)?;
    }
    if plan.large_bytes > 0 {
        write_file(&folder.join("large.bin"), plan.seed, u32::MAX, plan.large_bytes, false)?;
    }
    if plan.files > 0 {
        fs::create_dir_all(folder.join("links"))?;
        symlink(format!("../{}", name(0)), folder.join("links/to a file"))?;
        symlink("../links", folder.join("links/to a folder"))?;
        symlink("not here", folder.join("links/to nothing"))?;
        symlink("zürich", folder.join("links/名前"))?;
    }
    Ok(())
}

/// Writes (or replaces) one file with the content `index` under `seed`; folders are made as needed.
pub fn write_file(path: &Path, seed: u32, index: u32, bytes: u64, executable: bool) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file needs a folder")?)?;
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    io::copy(&mut Content::new(seed, index, bytes), &mut BufWriter::with_capacity(BUFFER_BYTES, file))?;
    fs::set_permissions(path, fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    Ok(())
}

/// Reads a whole folder.
pub fn list(folder: &Path) -> Result<Listing> {
    let mut listing = Listing::new();
    list_below(folder, "", &mut listing)?;
    Ok(listing)
}

/// Returns the number of files and links, and the bytes of the files.
pub fn totals(listing: &Listing) -> (u64, u64) {
    let bytes = |entry: &Entry| if let Entry::File { bytes, .. } = entry { *bytes } else { 0 };
    (listing.len() as u64, listing.values().map(bytes).sum())
}

/// Fails with the differences, the first few in words, if the two listings are not the same.
pub fn expect_same(expected: &Listing, found: &Listing) -> Result<()> {
    let differences = differences(expected, found);
    if differences.is_empty() {
        return Ok(());
    }
    let shown = &differences[..differences.len().min(DIFFERENCES_SHOWN_MAX)];
    bail!("{} of {} entries differ:\n  {}", differences.len(), expected.len(), shown.join("\n  "))
}

/// Returns one sentence for each path that differs.
pub fn differences(expected: &Listing, found: &Listing) -> Vec<String> {
    let missing = expected.iter().filter_map(|(path, entry)| match found.get(path) {
        None => Some(format!("{path:?} is missing")),
        Some(other) if other != entry => Some(format!("{path:?} is {other:?}, expected {entry:?}")),
        Some(_) => None,
    });
    let extra = found.keys().filter(|path| !expected.contains_key(*path)).map(|path| format!("{path:?} is too much"));
    missing.chain(extra).collect()
}

fn list_below(folder: &Path, prefix: &str, listing: &mut Listing) -> Result<()> {
    let reading = || format!("cannot read the folder {}", folder.display());
    for item in fs::read_dir(folder).with_context(reading)? {
        let item = item?;
        let name = item.file_name().into_string().ok().with_context(reading)?;
        let path = format!("{prefix}{name}");
        let kind = item.file_type()?;
        if kind.is_dir() {
            list_below(&item.path(), &format!("{path}/"), listing)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(item.path())?.into_os_string().into_string().ok().with_context(reading)?;
            listing.insert(path, Entry::Link(target));
        } else {
            listing.insert(path, file_entry(&item.path())?);
        }
    }
    Ok(())
}

fn file_entry(path: &Path) -> Result<Entry> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let executable = file.metadata()?.permissions().mode() & 0o100 != 0;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(Entry::File { executable, bytes, sha256: hex(&hash.finalize()) });
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// Sizes around every boundary that matters; one in 64 is large, most are small, so that thousands stay cheap.
fn size(seed: u32, index: u32) -> u64 {
    let varied = u64::from(index.wrapping_mul(2_654_435_761).wrapping_add(seed));
    match index % 64 {
        edge @ 0..16 => EDGES_BYTES[edge as usize],
        16 => 100_000 + varied % 900_000,
        17..24 => varied % 60_000,
        _ => varied % 4_000,
    }
}

/// A path for each index: no two alike, not even where case or Unicode composition is folded.
fn name(index: u32) -> String {
    let folder = match index % 10 {
        0 => "zürich".to_owned(),
        1 => "日本語/資料".to_owned(),
        2 => "with space/and 'quotes'".to_owned(),
        3 => (0..30).map(|depth| format!("d{depth}")).collect::<Vec<_>>().join("/"),
        4 => ".hidden/-dash".to_owned(),
        5 => format!("many/{:03}", index / 100),
        6 => "emoji 👩‍🚀/#%?&=+".to_owned(),
        7 => "العربية".to_owned(),
        _ => format!("flat{}", index % 3),
    };
    match index {
        11 => format!("{folder}/{}", "n".repeat(255)),
        _ => format!("{folder}/file {index}.bin"),
    }
}

const EDGES_BYTES: [u64; 16] = [0, 1, 2, 3, 4, 7, 0, 255, 256, 1_000, 4_095, 4_096, 4_097, 65_535, 65_536, 65_537];
const BUFFER_BYTES: usize = 65_536;
const DIFFERENCES_SHOWN_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { seed: 5, files: 130, large_bytes: 1_000 };

    #[test]
    fn the_same_seed_makes_the_same_folder() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        generate(a.path(), PLAN).unwrap();
        generate(b.path(), PLAN).unwrap();
        let listing = list(a.path()).unwrap();
        assert_eq!(listing.len(), 130 + 1 + 4);
        expect_same(&listing, &list(b.path()).unwrap()).unwrap();
    }

    #[test]
    fn every_kind_of_difference_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path(), PLAN).unwrap();
        let before = list(folder.path()).unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("large.bin"), "other").unwrap();
        fs::set_permissions(path("flat1/file 19.bin"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(path("links/to nothing")).unwrap();
        fs::write(path("new"), "").unwrap();
        let report = differences(&before, &list(folder.path()).unwrap()).join("\n");
        assert_eq!(report.lines().count(), 4, "{report}");
        for expected in
            ["\"large.bin\" is File", "file 19.bin\" is File", "nothing\" is missing", "\"new\" is too much"]
        {
            assert!(report.contains(expected), "{report}");
        }
    }
}
