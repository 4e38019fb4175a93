//! Ctrl-C and termination: asked for once, everything stops at a point from which it resumes; twice, it stops at once.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use crate::Exit;

/// Whether the person asked to stop. Clones share one answer.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The person asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("interrupted; run the same command again to go on from here")]
pub struct Interrupted;

impl Interrupt {
    /// Listens for SIGINT, SIGTERM and SIGHUP (Ctrl-C and closing the window on Windows) and calls `wake` at the first;
    /// the second ends the process with exit code 130.
    ///
    /// # Errors
    /// If the process listens already.
    pub fn listen(wake: impl Fn() + Send + 'static) -> Result<Self, ctrlc::Error> {
        let interrupt = Self::default();
        let asked = interrupt.clone();
        ctrlc::set_handler(move || {
            if asked.0.swap(true, Ordering::SeqCst) {
                process::exit(Exit::Interrupted.code().into());
            }
            wake();
        })?;
        Ok(interrupt)
    }

    /// Asks to stop, as a signal would.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Returns whether somebody asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns an error if somebody asked.
    ///
    /// # Errors
    /// [`Interrupted`], which ends the program with exit code 130.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_asked() { Err(Interrupted) } else { Ok(()) }
    }
}
