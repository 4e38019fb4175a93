//! A disk in memory that can lose power: what was not synced then arrives in part, out of order and torn, or not at all.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use anypath_replicate::store::{Disk, DiskFile};

use crate::chance::Chance;

/// One disk; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Content>,
    /// How many more operations the power lasts for.
    operations_left: Option<u64>,
}

/// A file.
#[derive(Debug, Default)]
struct Content {
    /// As the programs see it.
    seen: Vec<u8>,
    /// As it was synced last.
    kept: Vec<u8>,
    /// What was done to it since.
    since: Vec<Change>,
    /// Whether its name was synced.
    named: bool,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
    Hole(usize, usize),
}

impl SimulatedDisk {
    /// Lets the power fail during the operation that comes after so many others.
    pub(crate) fn fail_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    /// Returns whether the power has failed.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().operations_left == Some(0)
    }

    /// Returns the disk as it is found when the power is back. This one has none and nothing any more, as a database that
    /// could not be closed keeps it for good.
    pub(crate) fn after_the_cut(&self, chance: &mut Chance) -> Self {
        let mut state = self.state();
        state.operations_left = Some(0);
        let mut files = BTreeMap::new();
        for (name, content) in &mut state.files {
            let content = std::mem::take(content);
            let lost = !content.named && chance.once_in(2);
            if !lost {
                let kept = content.after_the_cut(chance);
                files.insert(name.clone(), Content { seen: kept.clone(), kept, since: Vec::new(), named: true });
            }
        }
        Self(Arc::new(Mutex::new(State { files, operations_left: None })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Does something that costs power. What fails half-way is done all the same: it is as unsure as all else.
    fn operate<T>(&self, operate: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.state();
        match &mut state.operations_left {
            Some(0) => return Err(io::Error::other("there is no power")),
            Some(left) => *left -= 1,
            None => {}
        }
        let failed = state.operations_left == Some(0);
        let done = operate(&mut state);
        if failed { Err(io::Error::other("the power fails")) } else { Ok(done) }
    }

    /// The same for a sync, which keeps nothing if it fails.
    fn sync_if_powered(&self, sync: impl FnOnce(&mut State)) -> io::Result<()> {
        self.operate(|_| ())?;
        sync(&mut self.state());
        Ok(())
    }
}

impl Disk for SimulatedDisk {
    fn path(&self) -> &Path {
        Path::new("simulated")
    }

    fn has(&self, name: &str) -> io::Result<bool> {
        Ok(self.state().files.contains_key(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.operate(|state| {
            state.files.entry(name.to_owned()).or_default();
        })?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), name: name.to_owned() }))
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_if_powered(|state| state.files.values_mut().for_each(|content| content.named = true))
    }
}

/// A file of a simulated disk.
#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    name: String,
}

impl SimulatedFile {
    fn change(&self, change: Change) -> io::Result<()> {
        self.disk.operate(|state| {
            let content = state.files.get_mut(&self.name).unwrap();
            change.apply(&mut content.seen);
            content.since.push(change);
        })
    }
}

impl DiskFile for SimulatedFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[&self.name].seen.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        let held = state.files[&self.name].seen.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(held.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes = slices.iter().map(|slice| &**slice).collect::<Vec<_>>().concat();
        self.change(Change::Write(offset as usize, bytes))
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.change(Change::Length(bytes as usize))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_if_powered(|state| state.files.get_mut(&self.name).unwrap().sync())
    }

    fn free(&self, offset: u64, bytes: u64) {
        let _ = self.change(Change::Hole(offset as usize, bytes as usize));
    }
}

impl Content {
    fn sync(&mut self) {
        let Self { kept, since, .. } = self;
        since.drain(..).for_each(|change| change.apply(kept));
    }

    /// Returns what is there after a power cut: of each change all, nothing, or some of its sectors.
    fn after_the_cut(&self, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.kept.clone();
        let sector = if chance.once_in(2) { 512 } else { 4096 };
        let in_order = chance.once_in(2);
        let whole = match chance.below(4) {
            0 => 0,
            1 => self.since.len() as u64,
            _ => chance.below(self.since.len() as u64 + 1),
        };
        for (number, change) in (0..).zip(&self.since) {
            let arrives = if in_order { number < whole } else { chance.below(self.since.len() as u64) < whole };
            match change {
                change if arrives => change.apply(&mut bytes),
                Change::Write(offset, written) if !in_order || number == whole => {
                    tear(&mut bytes, *offset, written, sector, chance);
                }
                _ => {}
            }
        }
        bytes
    }
}

/// Writes some of the sectors, and lets the file grow, with zeros or rubbish, as if all of them were written, or not.
fn tear(bytes: &mut Vec<u8>, offset: usize, written: &[u8], sector: usize, chance: &mut Chance) {
    let (before, end) = (bytes.len(), offset + written.len());
    if before < end && chance.once_in(2) {
        let rubbish = if chance.once_in(2) { 0xa5 } else { 0 };
        bytes.resize(end, rubbish);
    }
    let kept_in = 1 + chance.below(4);
    let mut at = offset;
    while at < end {
        let next = (at / sector * sector + sector).min(end);
        if chance.once_in(kept_in) {
            Change::Write(at, written[at - offset..next - offset].to_vec()).apply(bytes);
        }
        at = next;
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let end = offset + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(written);
            }
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Hole(offset, length) => {
                let end = (offset + length).min(bytes.len());
                bytes[(*offset).min(end)..end].fill(0);
            }
        }
    }
}
