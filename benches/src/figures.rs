//! Raw figures run by run, and what is said of them: median, least and most.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What one section measured: the values of each quantity of each case, in the order of the runs, and facts about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    values: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    facts: BTreeMap<String, String>,
}

impl Figures {
    /// Adds what one run measured: seconds, MiB, or whatever the quantity's name says.
    pub fn add(&mut self, case: &str, quantity: &str, value: f64) {
        self.values.entry(case.to_owned()).or_default().entry(quantity.to_owned()).or_default().push(value);
    }

    /// Notes what is no number.
    pub fn note(&mut self, name: &str, fact: &str) {
        self.facts.insert(name.to_owned(), fact.to_owned());
    }

    /// Returns what was noted under a name, or nothing.
    pub fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    /// Returns the values of all runs.
    ///
    /// # Errors
    /// If there are none.
    pub fn values(&self, case: &str, quantity: &str) -> Result<&[f64]> {
        let values = self.values.get(case).and_then(|quantities| quantities.get(quantity));
        values.map(Vec::as_slice).with_context(|| format!("no {quantity} of {case:?} among the figures"))
    }

    /// Returns what is to be said of all runs.
    ///
    /// # Errors
    /// If there are none.
    pub fn of(&self, case: &str, quantity: &str) -> Result<Summary> {
        self.each(case, quantity, |value| value)
    }

    /// Returns what is to be said of something computed from each run.
    ///
    /// # Errors
    /// If there are none.
    pub fn each(&self, case: &str, quantity: &str, compute: impl Fn(f64) -> f64) -> Result<Summary> {
        Ok(Summary::of(self.values(case, quantity)?.iter().copied().map(compute)))
    }
}

/// The middle, the least and the most of some runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The middle one, or between the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Summary {
    /// Sums up some runs; of none, nothing is a number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let (last, half) = (sorted.len().saturating_sub(1), sorted.len() / 2);
        let median = if sorted.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 };
        Self { median, min: at(0), max: at(last) }
    }

    /// Returns `median (min..max)`.
    pub fn text(&self) -> String {
        format!("{} ({}..{})", figure(self.median), figure(self.min), figure(self.max))
    }
}

/// Returns a number with three digits that count, thousands set apart.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => apart(&format!("{value:.0}")),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        size if size >= 0.09995 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

fn apart(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(Summary::of([3.0, 1.0, 2.0]), Summary { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Summary::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Summary::of([7.0]), Summary { median: 7.0, min: 7.0, max: 7.0 });
        assert!(Summary::of([]).median.is_nan());
    }

    #[test]
    fn figures_have_three_digits() {
        let texts = [0.0451, 1.0, 12.34, 99.99, 163_945.2, 1_000_000.0, -1234.0].map(figure);
        assert_eq!(texts, ["0.0451", "1.00", "12.3", "100", "163,945", "1,000,000", "-1,234"]);
    }

    #[test]
    fn figures_come_back_from_json_as_they_were() {
        let mut figures = Figures::default();
        figures.add("a", "seconds", 0.1 + 0.2);
        figures.add("a", "seconds", 3.0);
        figures.note("file system", "ext4");
        let json = serde_json::to_string(&figures).unwrap();
        assert_eq!(serde_json::from_str::<Figures>(&json).unwrap(), figures);
        assert_eq!(figures.of("a", "seconds").unwrap().max, 3.0);
        assert!(figures.of("a", "minutes").is_err());
    }
}
