//! The processes that are measured: this program itself, and Node.

pub(crate) mod bare;
pub(crate) mod core;
pub(crate) mod drive;
pub(crate) mod link;
pub(crate) mod many;
pub(crate) mod stages;

use std::process::Command;

use anyhow::Result;
use anypath_benches::{JS, Tone};

/// Which program plays a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Ours,
    Js,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Js => "JS",
        }
    }

    /// Returns the command that plays a side: of ours this program, of JavaScript a script beside this file.
    fn command(self, script: &str) -> Result<Command> {
        Ok(match self {
            Self::Ours => Command::new(std::env::current_exe()?),
            Self::Js => {
                let mut node = Command::new("node");
                node.arg(format!("{}/src/bin/replication/sides/{script}", env!("CARGO_MANIFEST_DIR")));
                node.env("NODE_PATH", format!("{JS}/node_modules"));
                node
            }
        })
    }
}

/// Who serves to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) from: Program,
    pub(crate) to: Program,
}

impl Pair {
    pub(crate) const JS: Self = Self { from: Program::Js, to: Program::Js };
    pub(crate) const OURS: Self = Self { from: Program::Ours, to: Program::Ours };
    pub(crate) const ALL: [Self; 4] = [
        Self::JS,
        Self::OURS,
        Self { from: Program::Ours, to: Program::Js },
        Self { from: Program::Js, to: Program::Ours },
    ];

    pub(crate) fn name(self) -> String {
        format!("{} to {}", self.from.name(), self.to.name())
    }

    pub(crate) fn tone(self) -> Tone {
        match (self.from, self.to) {
            (Program::Ours, Program::Ours) => Tone::Ours,
            (Program::Js, Program::Js) => Tone::Js,
            _ => Tone::Mixed,
        }
    }
}

/// What is replicated: blocks of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) count: u64,
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) const ALL: [Self; 2] =
        [Self { name: "64 KiB", count: 2048, bytes: 64 << 10 }, Self { name: "1 KiB", count: 50_000, bytes: 1 << 10 }];

    pub(crate) fn mib(self) -> f64 {
        self.count as f64 * self.bytes as f64 / MIB
    }

    pub(crate) fn text(self) -> String {
        let count = anypath_benches::figure(self.count as f64);
        format!("{count} blocks of {}, {:.0} MiB", self.name, self.mib())
    }
}

#[expect(clippy::print_stdout, reason = "the other process reads it")]
fn say(line: &str) {
    println!("{line}");
}

/// Bytes.
pub(crate) const MIB: f64 = 1_048_576.0;
