//! A report as its sections give it: text, tables, bars, and what was asked against what was reached.

use crate::figures::{Summary, figure};

/// What one section says.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Its headline.
    pub title: String,
    /// What it says, in order.
    pub parts: Vec<Part>,
    /// What was asked, and what was reached.
    pub targets: Vec<Target>,
}

/// A piece of a page.
#[derive(Debug, Clone)]
pub enum Part {
    /// Markdown.
    Text(String),
    /// A picture; only the page for people has it.
    Bars(Bars),
}

impl Page {
    /// Begins a page.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    /// Adds Markdown.
    pub fn text(&mut self, markdown: impl Into<String>) {
        self.parts.push(Part::Text(markdown.into()));
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) {
        self.parts.push(Part::Text(table.markdown()));
    }

    /// Adds a picture.
    pub fn bars(&mut self, bars: Bars) {
        self.parts.push(Part::Bars(bars));
    }
}

/// Something that was asked of the program, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    what: String,
    asked: String,
    reached: String,
    met: bool,
}

impl Target {
    /// What must not be less.
    pub fn at_least(what: &str, asked: f64, reached: Summary, unit: &str) -> Self {
        Self::new(what, ("at least", asked), reached, unit, reached.median >= asked)
    }

    /// What must not be more.
    pub fn at_most(what: &str, asked: f64, reached: Summary, unit: &str) -> Self {
        Self::new(what, ("at most", asked), reached, unit, reached.median <= asked)
    }

    fn new(what: &str, (how, asked): (&str, f64), reached: Summary, unit: &str, met: bool) -> Self {
        let (asked, reached) = (format!("{how} {asked}{unit}"), format!("{}{unit}", figure(reached.median)));
        Self { what: what.to_owned(), asked, reached, met }
    }

    /// Returns all of them as a table.
    pub fn table<'a>(targets: impl IntoIterator<Item = &'a Self>) -> Table {
        let mut table = Table::new(&["what", "asked", "measured", ""]);
        for Self { what, asked, reached, met } in targets {
            table.row([what.as_str(), asked, reached, if *met { "met" } else { "**missed**" }]);
        }
        table
    }
}

/// A table; the first column is text, the others are figures.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Begins a table of these columns.
    pub fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|&column| column.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Returns it as Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|---{}|\n", "|---:".repeat(self.columns.len().saturating_sub(1)));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        line(&self.columns) + &rule + &rows
    }
}

/// Bars that lie one below the other, each with its least and most.
#[derive(Debug, Clone)]
pub struct Bars {
    /// What is shown.
    pub title: String,
    /// What the figures are in.
    pub unit: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
    /// A line across, and what it is.
    pub mark: Option<(f64, String)>,
}

impl Bars {
    /// Begins a picture without bars.
    pub fn new(title: &str, unit: &str) -> Self {
        Self { title: title.to_owned(), unit: unit.to_owned(), bars: Vec::new(), mark: None }
    }

    /// Adds a bar; `note` stands behind its figure.
    pub fn bar(&mut self, label: &str, tone: Tone, value: Summary, note: &str) {
        self.bars.push(Bar { label: label.to_owned(), tone, value, note: note.to_owned() });
    }

    /// Draws a line across.
    pub fn mark(&mut self, at: f64, what: &str) {
        self.mark = Some((at, what.to_owned()));
    }
}

/// One bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What stands before it.
    pub label: String,
    /// Whose it is.
    pub tone: Tone,
    /// How long it is, with its whiskers.
    pub value: Summary,
    /// What stands behind its figure.
    pub note: String,
}

/// Whose a bar is, by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Both ends ours.
    Ours,
    /// Both ends the reference.
    Js,
    /// One of each.
    Mixed,
    /// Nobody's: what the machine or the network can do.
    Bare,
}

/// Returns the pages as one Markdown text, below what is said first.
pub(crate) fn markdown(title: &str, lead: &str, pages: &[Page]) -> String {
    let mut text = format!("# {title}\n\n{}\n", lead.trim());
    for page in pages {
        text.push_str(&format!("\n## {}\n", page.title));
        for part in &page.parts {
            if let Part::Text(markdown) = part {
                text.push_str(&format!("\n{}\n", markdown.trim()));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIX: Summary = Summary { median: 6.0, min: 5.0, max: 7.0 };

    #[test]
    fn a_target_is_met_at_its_bound_and_missed_beyond() {
        let met = |target: Target| target.met;
        assert!(met(Target::at_least("a", 6.0, SIX, "")) && !met(Target::at_least("a", 6.1, SIX, "")));
        assert!(met(Target::at_most("a", 6.0, SIX, "")) && !met(Target::at_most("a", 5.9, SIX, "")));
        assert!(!met(Target::at_least("a", 1.0, Summary::of([]), "")));
        let table = Target::table(&[Target::at_most("memory", 128.0, SIX, " MiB")]).markdown();
        assert!(table.contains("| memory | at most 128 MiB | 6.00 MiB | met |"), "{table}");
    }

    #[test]
    fn a_page_becomes_markdown_without_its_pictures() {
        let mut page = Page::new("One");
        page.text("Text.");
        let mut table = Table::new(&["who", "s"]);
        table.row(["ours", "1"]);
        page.table(&table);
        page.bars(Bars::new("Bars", "s"));
        let text = markdown("All", "Lead.", &[page]);
        assert_eq!(text, "# All\n\nLead.\n\n## One\n\nText.\n\n| who | s |\n|---|---:|\n| ours | 1 |\n");
    }
}
