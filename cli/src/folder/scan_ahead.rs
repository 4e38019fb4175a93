//! A scan that goes on while what it found is looked at.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::{io, vec};

use super::{Found, Scan};

/// Gives what a [`Scan`] gives, which a thread of its own walks.
pub(super) struct ScanAhead {
    batch: vec::IntoIter<Found>,
    batches: Receiver<Vec<Found>>,
    thread: Option<JoinHandle<()>>,
}

impl ScanAhead {
    /// Starts the thread; it ends with the scan, or soon after this is dropped.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub(super) fn start(mut scan: Scan) -> io::Result<Self> {
        let (sender, batches) = sync_channel(BATCHES_MAX);
        let walk = move || {
            loop {
                let batch: Vec<_> = scan.by_ref().take(BATCH).collect();
                if batch.is_empty() || sender.send(batch).is_err() {
                    return;
                }
            }
        };
        let thread = Builder::new().name("scan".into()).spawn(walk)?;
        Ok(Self { batch: Vec::new().into_iter(), batches, thread: Some(thread) })
    }
}

impl Iterator for ScanAhead {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.batch.next() {
                return Some(found);
            }
            match self.batches.recv() {
                Ok(batch) => self.batch = batch.into_iter(),
                Err(_) => {
                    // What a broken scan did not come to must not pass for gone.
                    self.thread.take().map(JoinHandle::join).transpose().unwrap_or_else(|panic| resume_unwind(panic));
                    return None;
                }
            }
        }
    }
}

/// Entries handed over at once.
const BATCH: usize = 256;
/// Batches that wait at most: with their names some 100 KiB each.
const BATCHES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn everything_is_found_in_the_order_of_the_scan() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..BATCH * 2 + 1 {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let scan = || Scan::new(folder.path(), Path::new("/")).unwrap();
        let names = |found: &mut dyn Iterator<Item = Found>| found.map(|found| found.name).collect::<Vec<_>>();
        let ahead = names(&mut ScanAhead::start(scan()).unwrap());
        assert_eq!((ahead.len(), &ahead), (BATCH * 2 + 1, &names(&mut scan())));
    }
}
