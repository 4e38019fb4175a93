//! Makes what was written outlive a power cut, a moment later and off the way of those who write.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::block_file::BlockFile;
use super::journal::Journal;

/// The two files that are appended to.
#[derive(Debug)]
pub(super) struct Files {
    /// The bytes of the blocks.
    pub(super) blocks: BlockFile,
    /// The batches.
    pub(super) journal: Journal,
    /// Why a sync failed. The system says so once and forgets what it could not write, so we must not.
    failed: OnceLock<io::ErrorKind>,
}

impl Files {
    /// Takes both.
    pub(super) fn new(blocks: BlockFile, journal: Journal) -> Self {
        Self { blocks, journal, failed: OnceLock::new() }
    }

    /// Waits until all blocks written before are on the disk.
    pub(super) fn sync_blocks(&self) -> io::Result<()> {
        self.sound()?;
        self.remember(self.blocks.sync())
    }

    /// Waits until all batches written before are on the disk.
    pub(super) fn sync_journal(&self) -> io::Result<()> {
        self.sound()?;
        self.remember(self.journal.sync())
    }

    /// Fails if a sync ever failed: the disk may have lost something that was announced, so nothing more is taken.
    fn sound(&self) -> io::Result<()> {
        self.failed.get().map_or(Ok(()), |kind| Err((*kind).into()))
    }

    fn remember(&self, synced: io::Result<()>) -> io::Result<()> {
        synced.inspect_err(|error| {
            tracing::error!(%error, "cannot sync the store");
            self.failed.get_or_init(|| error.kind());
        })
    }
}

/// A thread, the only one of this room, that syncs the files some time after it is told of a change; ends when dropped.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    files: Arc<Files>,
    delay: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    dirty: bool,
    stopped: bool,
}

impl Syncer {
    /// Starts the thread, which collects changes for `delay` before each sync.
    pub(super) fn start(files: Arc<Files>, delay: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared { files, delay, state: Mutex::default(), changed: Condvar::new() });
        let its = shared.clone();
        let thread = std::thread::Builder::new().name("store sync".to_owned()).spawn(move || its.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Says that something was written.
    ///
    /// # Errors
    /// If an earlier sync failed.
    pub(super) fn mark(&self) -> io::Result<()> {
        self.shared.files.sound()?;
        let mut state = self.shared.lock();
        if !state.dirty {
            state.dirty = true;
            self.shared.changed.notify_one();
        }
        Ok(())
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic over there has been reported there.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while self.wait() {
            // Blocks first, as the journal names them. A failure is remembered for the next commit.
            let _ = self.files.sync_blocks().and_then(|()| self.files.sync_journal());
        }
    }

    /// Waits for a change, and for more of them to come; returns false when stopped.
    fn wait(&self) -> bool {
        let wait = self.changed.wait_while(self.lock(), |state| !state.dirty && !state.stopped);
        let state = wait.unwrap_or_else(PoisonError::into_inner);
        let wait = self.changed.wait_timeout_while(state, self.delay, |state| !state.stopped);
        let (mut state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        state.dirty = false;
        !state.stopped
    }
}
