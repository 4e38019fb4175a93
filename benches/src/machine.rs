//! What the figures depend on: the machine, the versions, the day.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Where and with what was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub cpu: String,
    /// Cores that a process may use.
    pub cores: usize,
    /// Main memory, in MiB.
    pub memory_mib: u64,
    /// System and release.
    pub kernel: String,
    /// The file system of the folder for temporary files.
    pub file_system: String,
    /// Programs and packages with their versions.
    pub versions: BTreeMap<String, String>,
    /// The day, in UTC.
    pub date: String,
}

impl Machine {
    /// Looks at this machine. What it does not tell stays empty.
    pub fn here() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = field(&info, "model name").unwrap_or_default().to_owned();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kib(&memory, "MemTotal").unwrap_or(0) / 1024,
            kernel: said_by("uname", &["-sr"]),
            file_system: file_system(&std::env::temp_dir()).unwrap_or_default(),
            versions: versions(),
            date: said_by("date", &["-u", "+%Y-%m-%d"]),
        }
    }

    /// Returns it as lines of Markdown.
    pub fn text(&self) -> String {
        let Self { cpu, cores, memory_mib, kernel, file_system, versions, date } = self;
        let versions: Vec<_> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let versions = versions.join(", ");
        format!(
            "- Machine: {cpu}, {cores} cores, {:.0} GiB, {kernel}; temporary files on {file_system}\n- Versions: \
             {versions}\n- Date: {date}\n",
            *memory_mib as f64 / 1024.0
        )
    }
}

/// Makes use of memory and gives it back, a quarter of all but at most 2 GiB: a virtual machine whose host gives memory
/// when it is first used would charge that to whoever comes first.
pub fn warm() {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = kib(&memory, "MemAvailable").unwrap_or(0) << 8;
    let mut used = vec![0u8; usize::try_from(bytes).unwrap_or(0).min(WARM_BYTES_MAX)];
    used.chunks_mut(PAGE_BYTES).for_each(|page| page[0] = 1);
    std::hint::black_box(used);
}

const WARM_BYTES_MAX: usize = 2 << 30;
const PAGE_BYTES: usize = 4096;

/// Returns the kind of the file system that a folder lies on, and what it is on.
///
/// # Errors
/// If the folder is not there, or the system does not list its mounts.
pub fn file_system(folder: &Path) -> Result<String> {
    let folder = folder.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, at, kind) = (words.next()?, words.next()?, words.next()?);
        folder.starts_with(at).then(|| (at.len(), format!("{kind} ({device})")))
    });
    // Of two mounts at one place the later one is on top.
    Ok(mounts.max_by_key(|(length, _)| *length).map_or_else(String::new, |(_, name)| name))
}

/// Returns the value of `name: value` or `name = value`.
fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.strip_suffix(" kB")?.parse().ok()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
}

fn versions() -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    let rust = said_by("rustc", &["--version"]);
    versions.insert("Rust".to_owned(), rust.split(' ').nth(1).unwrap_or_default().to_owned());
    versions.insert("Node".to_owned(), said_by("node", &["--version"]).trim_start_matches('v').to_owned());
    versions.insert("anypath".to_owned(), revision());
    let manifest = fs::read_to_string(JS.to_owned() + "/package.json").unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap_or_default();
    let packages = manifest["dependencies"].as_object().into_iter().flatten();
    let measured = packages.filter(|(name, _)| PACKAGES.contains(&name.as_str()));
    versions.extend(measured.map(|(name, version)| (name.clone(), version.as_str().unwrap_or_default().to_owned())));
    versions
}

/// Returns the commit, with a plus if there are changes beyond it.
fn revision() -> String {
    let git = |words: &[&str]| said_by("git", &[&["-C", env!("CARGO_MANIFEST_DIR")], words].concat());
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", "..", ":!reports"]);
    git(&["rev-parse", "--short", "HEAD"]) + if changed.is_empty() { "" } else { "+" }
}

/// Returns the first line that a program says, or nothing.
fn said_by(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().trim().to_owned()
}

/// Where the JavaScript packages are.
pub const JS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../interop/js");
/// The packages that take part.
const PACKAGES: [&str; 4] = ["hypercore", "corestore", "hyperdrive", "@hyperswarm/secret-stream"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotalled: 2 kB\nMemTotal:       24 kB\nmodel name\t: A B\n";
        assert_eq!(
            (field(text, "MemTotal"), field(text, "model name"), field(text, "x")),
            (Some("24 kB"), Some("A B"), None)
        );
    }
}
