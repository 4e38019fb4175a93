//! How the program ends: the exit codes that scripts rely on, and the one sentence that goes with each failure.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use crate::Interrupted;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Done,
    /// Something failed, or some names were left out.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// No peer that has the data was reached in time.
    Nobody,
    /// Interrupted by a signal; the same command goes on from there.
    Interrupted,
}

impl Exit {
    /// Returns the number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Nobody => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why the program cannot go on, in a sentence that says what to do. It travels inside [`anyhow::Error`].
#[derive(Debug)]
pub struct Failure {
    /// The word scripts know it by.
    pub code: &'static str,
    /// The sentence.
    pub message: String,
    /// What each way of reaching a peer answered.
    pub rungs: Vec<Rung>,
}

/// One way of reaching a peer, and why it did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rung {
    /// The transport's word: `tcp`.
    pub transport: String,
    /// Where it dialled.
    pub address: String,
    /// What came of it.
    pub reason: String,
}

impl Failure {
    /// Makes a failure without rungs.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), rungs: Vec::new() }
    }

    /// Finds the code and the exit of an error: its own if it is a failure, an interruption, or else `failed`.
    pub fn of(error: anyhow::Error) -> (Self, Exit) {
        if error.chain().any(|cause| cause.is::<Interrupted>()) {
            return (Self::new("interrupted", Interrupted.to_string()), Exit::Interrupted);
        }
        match error.downcast::<Self>() {
            Ok(failure) => {
                let exit = failure.exit();
                (failure, exit)
            }
            Err(error) => (Self::new("failed", one_sentence(&error)), Exit::Failed),
        }
    }

    fn exit(&self) -> Exit {
        match self.code {
            NOBODY => Exit::Nobody,
            USAGE => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Returns the error and its causes on one line, and advice where the operating system's words need some.
fn one_sentence(error: &anyhow::Error) -> String {
    let full = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded));
    let advice = if full { "; free some space and run the same command again: it goes on from here" } else { "" };
    format!("{error:#}{advice}")
}

/// The code of a failure that ends with [`Exit::Nobody`].
pub const NOBODY: &str = "nobody_reachable";
/// The code of a failure that ends with [`Exit::Usage`].
pub const USAGE: &str = "usage";

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn errors_end_with_their_own_code_however_deep_they_lie() {
        let wrapped = |error: anyhow::Error| Failure::of(error.context("while cloning")).1;
        assert_eq!(Failure::of(Failure::new(NOBODY, "none").into()).1, Exit::Nobody);
        assert_eq!(wrapped(Interrupted.into()), Exit::Interrupted);
        assert_eq!(wrapped(Failure::new(NOBODY, "none").into()), Exit::Nobody);
        assert_eq!(wrapped(io::Error::other("x").into()), Exit::Failed);
    }

    #[test]
    fn a_full_disk_comes_with_advice() {
        let full = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)).context("cannot write /x");
        let message = Failure::of(full.unwrap_err()).0.message;
        assert!(message.starts_with("cannot write /x") && message.contains("free some space"), "{message}");
    }
}
