//! Waits for a folder to change, by what the system tells and, in case it does not, by looking again now and then.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::warn;

use crate::{Interrupt, Interrupted};

/// A watched folder. What happens between two calls of [`Watch::wait`] is not lost.
pub struct Watch {
    changes: Receiver<()>,
    watcher: Option<RecommendedWatcher>,
    _sender: Sender<()>,
}

impl Watch {
    /// Watches a folder with all in it, but not the store, which lies there if the person wants it so.
    ///
    /// Where the system cannot watch (network folders, too many folders), it is looked at every few seconds.
    pub fn new(folder: &Path, store: &Path) -> Self {
        let (sender, changes) = channel();
        let watcher = watcher(folder, store.to_owned(), sender.clone())
            .inspect_err(|error| warn!(%error, "this folder cannot be watched; looking at it every few seconds"))
            .ok();
        Self { changes, watcher, _sender: sender }
    }

    /// Waits until the folder may have changed and has come to rest, or it is time to look anyway.
    ///
    /// # Errors
    /// If the person asked to stop.
    pub fn wait(&self, interrupt: &Interrupt) -> Result<(), Interrupted> {
        let patience = if self.watcher.is_some() { LOOK_ANYWAY } else { LOOK_UNWATCHED };
        if self.heard_within(patience, interrupt)? {
            let first = Instant::now();
            while first.elapsed() < REST_MAX && self.heard_within(REST, interrupt)? {}
        }
        Ok(())
    }

    fn heard_within(&self, time: Duration, interrupt: &Interrupt) -> Result<bool, Interrupted> {
        let until = Instant::now() + time;
        loop {
            interrupt.check()?;
            let left = until.saturating_duration_since(Instant::now());
            match self.changes.recv_timeout(left.min(INTERRUPT_CHECK)) {
                Ok(()) => {
                    self.changes.try_iter().for_each(drop);
                    return Ok(true);
                }
                Err(RecvTimeoutError::Timeout) if left > INTERRUPT_CHECK => {}
                Err(_) => return Ok(false),
            }
        }
    }
}

fn watcher(folder: &Path, store: PathBuf, sender: Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.as_ref().map_or(true, |event| matters(event, &store)) {
            let _ = sender.send(());
        }
    })?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Returns whether an event may mean a change; that a file was read, by us as a rule, does not.
fn matters(event: &notify::Event, store: &Path) -> bool {
    let within_store = !event.paths.is_empty() && event.paths.iter().all(|path| path.starts_with(store));
    !matches!(event.kind, EventKind::Access(_)) && !within_store
}

/// How long a folder must be quiet before it is looked at, so that a file being copied is read once.
const REST: Duration = Duration::from_millis(300);
/// After how long a folder that never rests is looked at all the same.
const REST_MAX: Duration = Duration::from_secs(3);
/// How often a watched folder is looked at without being told: systems drop events under load.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);
/// How often a folder that cannot be watched is looked at.
const LOOK_UNWATCHED: Duration = Duration::from_secs(5);
/// How long an interruption may go unnoticed.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_is_noticed_and_what_share_does_itself_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let store = root.join("store");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(&store).unwrap();
        fs::write(root.join("a/b/file"), "1").unwrap();
        let watch = Watch::new(&root, &store);
        if watch.watcher.is_none() {
            return;
        }
        let interrupt = Interrupt::default();
        fs::read(root.join("a/b/file")).unwrap();
        fs::write(store.join("own"), "x").unwrap();
        assert_eq!(watch.heard_within(Duration::from_millis(200), &interrupt), Ok(false));
        fs::write(root.join("a/b/file"), "2").unwrap();
        assert_eq!(watch.wait(&interrupt), Ok(()));
        interrupt.ask();
        assert_eq!(watch.wait(&interrupt), Err(Interrupted));
    }
}
