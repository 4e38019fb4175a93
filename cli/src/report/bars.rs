//! The progress bar on a person's terminal, with sentences above it.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Event;
use super::sentence::sentence;

/// Standard error, as a person sees it. Without a terminal there are sentences and no bar.
pub(super) struct Bars {
    bar: Option<ProgressBar>,
    /// When the work began that the bar shows.
    unseen_since: Option<Instant>,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self { bar: None, unseen_since: None }
    }

    pub(super) fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Progress { bytes, total, .. } => self.progress(*bytes, *total),
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

    fn progress(&mut self, bytes: u64, total: u64) {
        if bytes >= total {
            return self.clear();
        }
        let bar = self.bar.get_or_insert_with(|| unseen(bytes, total));
        if self.unseen_since.get_or_insert_with(Instant::now).elapsed() >= UNSEEN_TIME && bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_length(total);
        bar.set_position(bytes);
    }

    fn clear(&mut self) {
        self.unseen_since = None;
        self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// Returns a bar that is not drawn yet and takes what was done so far for no achievement of this run's.
fn unseen(bytes: u64, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    bar.set_style(style());
    bar.set_position(bytes);
    bar.tick();
    bar.reset_eta();
    bar
}

fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Work that is done sooner than this needs no bar.
const UNSEEN_TIME: Duration = Duration::from_millis(400);
/// Bar, amount, rate and time left.
const TEMPLATE: &str = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
