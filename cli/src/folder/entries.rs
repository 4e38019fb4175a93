//! A drive's entries one by one, fetched by the page, held to their order.

use std::collections::VecDeque;

use anyhow::{Result, ensure};

use super::drive::{DriveSource, Entry, Kind};

/// A place in the list of a drive's entries. The drive may change behind it: what it has not come to, it sees.
#[derive(Debug, Default)]
pub(super) struct Entries {
    page: VecDeque<Entry>,
    last: Option<String>,
    ended: bool,
}

impl Entries {
    /// Returns the next entry and moves on.
    ///
    /// # Errors
    /// The drive's own, or if its entries are not in order: a list that a stranger wrote could go in circles.
    pub(super) fn next(&mut self, drive: &mut dyn DriveSource) -> Result<Option<Entry>> {
        self.next_if(drive, |_| true)
    }

    /// Returns the next entry and moves on, if its name is wanted.
    ///
    /// # Errors
    /// Those of [`Entries::next`].
    pub(super) fn next_if(
        &mut self,
        drive: &mut dyn DriveSource,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Option<Entry>> {
        if self.page.is_empty() && !self.ended {
            self.page = drive.entries(self.last.as_deref(), PAGE_ENTRIES)?.into();
            self.ended = self.page.is_empty();
            self.check_order()?;
        }
        Ok(self.page.pop_front_if(|entry| wanted(&entry.name)))
    }

    fn check_order(&mut self) -> Result<()> {
        for entry in self.page.iter().filter(|entry| entry.kind != Kind::Unreadable) {
            let in_order = self.last.as_ref().is_none_or(|last| last.as_str() < entry.name.as_str());
            ensure!(in_order, "the drive is damaged: its entries are not in order at {:?}", entry.name);
            self.last = Some(entry.name.clone());
        }
        Ok(())
    }
}

/// How many entries are asked for at a time.
const PAGE_ENTRIES: usize = 512;
