//! One run of a benchmark: measures its sections, keeps the raw figures, writes the report; or writes it again from them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::figures::Figures;
use crate::machine::{Machine, warm};
use crate::page::html;
use crate::report::{Page, Target, markdown};

/// One question, and how it is measured and told.
pub trait Section {
    /// Returns the word by which `--only` chooses it.
    fn name(&self) -> &'static str;

    /// Measures, and adds what each run gave to the figures.
    ///
    /// # Errors
    /// If something that was to be measured does not work.
    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()>;

    /// Returns what the figures say.
    ///
    /// # Errors
    /// If figures are missing.
    fn page(&self, figures: &Figures) -> Result<Page>;
}

/// What a benchmark is about.
pub struct Subject<'a> {
    /// The name of its program and of its report's files.
    pub name: &'a str,
    /// The report's title.
    pub title: &'a str,
    /// What is said before all else, as Markdown.
    pub lead: &'a str,
    /// The questions, in the report's order.
    pub sections: &'a [&'a dyn Section],
}

/// What a person may choose.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Runs of each case; those of one round follow each other, so that a busy machine is busy for all of them.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: usize,

    /// Measure this section alone; repeatable. With `--out`, it replaces the same section of the report there.
    #[arg(long, value_name = "SECTION")]
    pub only: Vec<String>,

    /// Measure larger loads as well.
    #[arg(long)]
    pub long: bool,

    /// Print the raw figures instead of the report.
    #[arg(long)]
    pub json: bool,

    /// Write report and raw figures into this folder [default: benches/reports; with `--only` nowhere].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Measure nothing: write the report again from the raw figures beside it.
    #[arg(long)]
    pub render: bool,
}

/// How much is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Runs of each case.
    rounds: usize,
    /// Whether larger loads are wanted.
    pub long: bool,
}

impl Plan {
    /// Returns the rounds' numbers, at most `most`; before each, memory is made ready.
    pub fn rounds(&self, most: usize) -> impl Iterator<Item = usize> {
        (1..=self.rounds.min(most)).inspect(|_| warm())
    }

    /// Tells whoever waits how far it is.
    #[expect(clippy::print_stderr, reason = "progress is for people")]
    pub fn say(&self, what: &str) {
        eprintln!("{what}");
    }
}

/// Everything measured, by section, as it is kept.
type Measured = BTreeMap<String, Measurement>;

/// What one section measured, and how.
#[derive(Debug, Serialize, Deserialize)]
struct Measurement {
    how: How,
    /// What it took.
    seconds: f64,
    figures: Figures,
}

/// By which run a section was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct How {
    command: String,
    machine: Machine,
}

/// Does what the options say.
///
/// # Errors
/// If a section fails, or the report cannot be written.
pub fn run(subject: &Subject<'_>, options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "at least one round is needed");
    let names: Vec<_> = subject.sections.iter().map(|section| section.name()).collect();
    let known = options.only.iter().all(|only| names.contains(&only.as_str()));
    ensure!(known, "the sections are {}", names.join(", "));
    let folder = options.out.clone().or_else(|| options.only.is_empty().then(|| REPORTS.into()));
    let path = |kind| folder.as_ref().map(|folder| folder.join(format!("{}.{kind}", subject.name)));
    let raw = path("json");
    let mut measured = match raw.as_ref().filter(|path| path.exists()) {
        Some(path) => kept(path)?,
        None => Measured::new(),
    };
    measured.retain(|name, _| names.contains(&name.as_str()));
    if !options.render {
        measure(subject, options, &mut measured, raw.as_deref())?;
    }
    let sections = subject.sections.iter().filter_map(|section| Some((section, measured.get(section.name())?)));
    let pages = sections.map(|(section, kept)| section.page(&kept.figures)).collect::<Result<Vec<Page>>>()?;
    let lead = lead(subject, &measured, &pages);
    let text = markdown(subject.title, &lead, &pages);
    for (kind, text) in [("md", &text), ("html", &html(subject.title, &lead, &pages)?)] {
        if let Some(path) = path(kind) {
            fs::write(path, text)?;
        }
    }
    print(if options.json { serde_json::to_string(&measured)? } else { text }.trim_end());
    Ok(())
}

/// Measures the sections that are wanted, and keeps the figures of each as soon as it is done.
fn measure(subject: &Subject<'_>, options: &Options, measured: &mut Measured, raw: Option<&Path>) -> Result<()> {
    let plan = Plan { rounds: options.rounds, long: options.long };
    let how = How { command: command(subject), machine: Machine::here() };
    for section in subject.sections {
        let name = section.name();
        if !options.only.is_empty() && options.only.iter().all(|only| only != name) {
            continue;
        }
        let (begun, mut figures) = (Instant::now(), Figures::default());
        section.measure(&plan, &mut figures).with_context(|| format!("the section {name} failed"))?;
        let seconds = begun.elapsed().as_secs_f64();
        plan.say(&format!("{name} is measured, in {seconds:.0} s"));
        measured.insert(name.to_owned(), Measurement { how: how.clone(), seconds, figures });
        if let Some(path) = raw {
            fs::create_dir_all(path.parent().context("a report needs a folder")?)?;
            fs::write(path, serde_json::to_string_pretty(&measured)? + "\n")?;
        }
    }
    Ok(())
}

/// Returns what was typed, as whoever wants the same would; where the report went does not matter.
fn command(subject: &Subject<'_>) -> String {
    let mut words = std::env::args().skip(1);
    let mut said = String::new();
    while let Some(word) = words.next() {
        if word == "--out" {
            words.next();
        } else if !word.starts_with("--out=") {
            said += &format!(" {word}");
        }
    }
    let dashes = if said.is_empty() { "" } else { " --" };
    format!("cargo run --release -p anypath-benches --bin {}{dashes}{said}", subject.name)
}

fn kept(path: &Path) -> Result<Measured> {
    let text = fs::read_to_string(path)?;
    serde_json::from_str(&text).with_context(|| format!("unknown raw figures in {}", path.display()))
}

/// Returns what is said first: how it was measured, and what was reached of what was asked.
fn lead(subject: &Subject<'_>, measured: &Measured, pages: &[Page]) -> String {
    let mut runs: Vec<(&How, Vec<String>)> = Vec::new();
    for name in subject.sections.iter().map(|section| section.name()) {
        let Some(Measurement { how, seconds, .. }) = measured.get(name) else { continue };
        let took = format!("{name} {seconds:.0} s");
        match runs.iter_mut().find(|(known, _)| *known == how) {
            Some((_, sections)) => sections.push(took),
            None => runs.push((how, vec![took])),
        }
    }
    let mut text = subject.lead.trim().to_owned();
    for (How { command, machine }, sections) in runs {
        let (took, machine) = (sections.join(", "), machine.text());
        text += &format!("\n\n```sh\n{command}\n```\n\n{machine}- Took: {took}\n");
    }
    text + "\n" + &Target::table(pages.iter().flat_map(|page| &page.targets)).markdown()
}

#[expect(clippy::print_stdout, reason = "the report is what the program is for")]
fn print(text: &str) {
    println!("{text}");
}

/// Where reports are kept.
pub const REPORTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reports");
