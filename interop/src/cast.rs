//! Who plays a scenario: a writer and a reader, each in JavaScript or in Rust, each with a store on disk.

use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use crate::{JsPeer, Peer, rust_peer, skip};

/// What a peer is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Node with the npm packages.
    Js,
    /// This project.
    Rust,
}

/// The cast of one scenario.
#[derive(Debug)]
pub struct Cast {
    writer: Kind,
    reader: Kind,
    folder: TempDir,
}

impl Cast {
    /// Plays the scenario in a folder of its own; skips it where JavaScript peers cannot run.
    pub fn play(writer: Kind, reader: Kind, scenario: impl FnOnce(&Cast) -> Result<()>) -> Result<()> {
        if let Some(reason) = JsPeer::missing() {
            skip(&reason);
            return Ok(());
        }
        scenario(&Cast { writer, reader, folder: tempfile::tempdir()? })
    }

    /// Starts the writer and the reader.
    pub fn pair(&self) -> Result<(Box<dyn Peer>, Box<dyn Peer>)> {
        Ok((self.writer("writer")?, self.reader("reader")?))
    }

    /// Starts a writer by name; the same name again, after closing it, reopens the same store.
    pub fn writer(&self, name: &str) -> Result<Box<dyn Peer>> {
        start(self.writer, &self.folder.path().join(name))
    }

    /// Starts a reader by name.
    pub fn reader(&self, name: &str) -> Result<Box<dyn Peer>> {
        start(self.reader, &self.folder.path().join(name))
    }

    /// Starts a JavaScript peer by name, for what only it can do.
    pub fn js(&self, name: &str) -> Result<JsPeer> {
        JsPeer::spawn(&self.folder.path().join(name))
    }
}

fn start(kind: Kind, folder: &Path) -> Result<Box<dyn Peer>> {
    match kind {
        Kind::Js => Ok(Box::new(JsPeer::spawn(folder)?)),
        Kind::Rust => rust_peer(folder),
    }
}

/// Makes three tests of a scenario `fn(&Cast) -> anyhow::Result<()>`: JavaScript alone, and ours on either side.
#[macro_export]
macro_rules! scenarios {
    ($($scenario:ident),+ $(,)?) => {$(
        mod $scenario {
            use $crate::Kind::{Js, Rust};

            #[test]
            fn js_to_js() -> anyhow::Result<()> {
                $crate::Cast::play(Js, Js, super::$scenario)
            }

            #[test]
            fn js_to_rust() -> anyhow::Result<()> {
                $crate::Cast::play(Js, Rust, super::$scenario)
            }

            #[test]
            fn rust_to_js() -> anyhow::Result<()> {
                $crate::Cast::play(Rust, Js, super::$scenario)
            }
        }
    )+};
}
