//! The progress bar on a person's terminal, with sentences above it.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Event;
use super::sentence::sentence;

/// Standard error, as a person sees it. Without a terminal there are sentences and no bar.
pub(super) struct Bars {
    bar: Option<ProgressBar>,
    /// When the work began that a bar would show.
    began: Option<Instant>,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self { bar: None, began: None }
    }

    pub(super) fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Progress { bytes, total, resumed } => self.progress(*bytes, *total, *resumed),
            Event::Done { .. } | Event::Shared { .. } | Event::Error { .. } => self.clear(),
            _ => {}
        }
        if let Some(line) = sentence(event) {
            match &self.bar {
                Some(bar) => bar.suspend(|| say(&line)),
                None => say(&line),
            }
        }
    }

    fn progress(&mut self, bytes: u64, total: u64, resumed: u64) {
        if bytes >= total {
            return self.clear();
        }
        if self.began.get_or_insert_with(Instant::now).elapsed() < BAR_AFTER {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total).with_position(resumed).with_style(style());
            bar.reset_eta();
            bar
        });
        bar.set_length(total);
        bar.set_position(bytes);
    }

    fn clear(&mut self) {
        self.began = None;
        self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
    }
}

fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Work that is done sooner than this needs no bar.
const BAR_AFTER: Duration = Duration::from_millis(400);
/// Bar, amount, rate and time left.
const TEMPLATE: &str = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
