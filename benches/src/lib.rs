//! What every measurement shares: figures of many runs, what they cost, and the report made of them.
//!
//! A benchmark is a program with a list of [`Section`]s. Each measures into [`Figures`] and makes a [`Page`] of them;
//! [`run`] does the rest: options, progress, the raw figures as JSON, the report as Markdown and as one HTML page with
//! pictures. A report can be written again from its raw figures (`--render`), and one section of it measured again
//! (`--only`, `--out`).

pub mod idle;
pub mod import;

mod figures;
mod machine;
mod page;
mod plot;
mod report;
mod run;
mod usage;

pub use figures::{Figures, Summary, figure};
pub use machine::{JS, Machine, file_system, warm};
pub use report::{Bar, Bars, Page, Part, Table, Target, Tone};
pub use run::{Options, Plan, REPORTS, Section, Subject, run};
pub use usage::{Usage, process_cpu_seconds, thread_cpu_seconds};
