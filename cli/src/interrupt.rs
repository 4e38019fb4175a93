//! Ctrl-C and termination: asked for once, everything stops at a point from which it resumes; twice, it stops at once.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::Exit;

/// Whether the person asked to stop. Clones share one answer.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

/// The person asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("interrupted; run the same command again to go on from here")]
pub struct Interrupted;

impl Interrupt {
    /// Listens for SIGINT, SIGTERM and SIGHUP (Ctrl-C and closing the window on Windows); the second one ends the
    /// process at once, with exit code 130. One that follows at once is taken for the same: a terminal that is closed
    /// sends two.
    ///
    /// # Errors
    /// If the process listens already.
    pub fn listen() -> Result<Self, ctrlc::Error> {
        let interrupt = Self::default();
        let asked = interrupt.clone();
        let mut first = None;
        ctrlc::set_handler(move || {
            let first: Instant = *first.get_or_insert_with(Instant::now);
            if asked.is_asked() && first.elapsed() > SAME_WITHIN {
                process::exit(Exit::Interrupted.code().into());
            }
            asked.ask();
        })?;
        Ok(interrupt)
    }

    /// Asks to stop, as a signal would.
    pub fn ask(&self) {
        let _lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.changed.notify_all();
    }

    /// Returns whether somebody asked.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// Returns an error if somebody asked.
    ///
    /// # Errors
    /// [`Interrupted`], which ends the program with exit code 130.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_asked() { Err(Interrupted) } else { Ok(()) }
    }

    /// Waits until somebody asks, at most so long, and returns whether somebody did.
    pub fn wait(&self, at_most: Duration) -> bool {
        let lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.changed.wait_timeout_while(lock, at_most, |()| !self.is_asked()));
        self.is_asked()
    }
}

/// Within how long signals are one: the shell and the system each tell of a closed terminal.
const SAME_WITHIN: Duration = Duration::from_millis(500);
