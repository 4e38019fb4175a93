//! Network namespaces: a machine of its own as far as its network goes.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, and what programs in it find in `/etc`; both are gone when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one with nothing in it; `role` makes its name readable.
    pub fn new(role: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{role}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        fs::create_dir_all(namespace.etc())?;
        namespace.write("hosts", "127.0.0.1 localhost\n")?;
        // Where nobody is, so that names which are not in `hosts` are not known at once.
        namespace.write("resolv.conf", "nameserver 127.0.0.1\n")?;
        Ok(namespace)
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes a file that programs started from now on find under `/etc`; the folders in its name hide those of the
    /// machine.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let path = self.etc().join(path);
        fs::create_dir_all(path.parent().context("a file's folder")?)?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Makes a command that runs inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs lines of shell inside, and fails with the first that does.
    pub fn script(&self, lines: &str) -> Result<()> {
        run(self.command("sh").args(["-ec", lines]))
    }

    /// Sets the filter: a statement of nft a line, all of them or none.
    pub fn filter(&self, statements: &str) -> Result<()> {
        let path = self.etc().join("filter");
        fs::write(&path, statements)?;
        run(self.command("nft").arg("--file").arg(path))
    }

    /// Returns what lets a thread in.
    pub(super) fn entrance(&self) -> Result<Entrance> {
        Ok(Entrance(fs::File::open(Path::new("/run/netns").join(&self.name))?))
    }

    fn etc(&self) -> PathBuf {
        etc(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Lets a thread into a namespace.
pub(super) struct Entrance(fs::File);

impl Entrance {
    /// Moves the calling thread inside, for good.
    pub(super) fn enter(&self) -> Result<()> {
        Ok(move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?)
    }
}

/// Removes the namespaces of test programs that were killed.
pub(super) fn remove_abandoned() -> Result<()> {
    let names = Command::new("ip").args(["netns", "list"]).output()?.stdout;
    for line in String::from_utf8_lossy(&names).lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            remove(name);
        }
    }
    Ok(())
}

/// Removes one as far as it is there.
fn remove(name: &str) {
    drop(Command::new("ip").args(["netns", "delete", name]).output());
    drop(fs::remove_dir_all(etc(name)));
}

fn etc(name: &str) -> PathBuf {
    Path::new("/etc/netns").join(name)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// What the names of ours begin with; the id of the process that made it follows.
const PREFIX: &str = "anypath-";
