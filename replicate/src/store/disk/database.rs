//! The database file: opened, read and changed so that whatever is wrong with it comes back as a fault.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};

use super::fault::Fault;
use super::{folder, rows};

/// An open database. redb panics over some pages it cannot make sense of: that is damage, no reason to die.
#[derive(Debug)]
pub(super) struct Database(Option<redb::Database>);

/// Whether a change is there after the process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Only once a later one lasts.
    Later,
    /// It is, and all before it; opening afterwards needs no scan (redb's quick repair).
    Now,
}

impl Database {
    /// Opens the file, or creates it with all tables.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, Fault> {
        let file = folder::open_file(path)?;
        let open = || Ok(redb::Database::builder().set_cache_size(cache_bytes).create_file(file)?);
        let database = Self(Some(sound(open)?));
        if !database.read(rows::exist)? {
            database.change(Lasting::Now, rows::create)?;
        }
        Ok(database)
    }

    /// Reads what the changes so far have left.
    pub(super) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
        sound(|| read(&self.opened()?.begin_read()?))
    }

    /// Makes all of a change, or nothing.
    pub(super) fn change<T>(
        &self,
        lasting: Lasting,
        change: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        sound(|| {
            let mut transaction = self.opened()?.begin_write()?;
            match lasting {
                Lasting::Later => transaction.set_durability(redb::Durability::None)?,
                Lasting::Now => transaction.set_quick_repair(true),
            }
            let changed = change(&transaction)?;
            transaction.commit()?;
            Ok(changed)
        })
    }

    /// Leaves the file as it is, as if the process were killed: what does not last yet is dropped.
    pub(super) fn abandon(&mut self) {
        std::mem::forget(self.0.take());
    }

    fn opened(&self) -> Result<&redb::Database, Fault> {
        self.0.as_ref().ok_or(Fault::Senseless)
    }
}

impl Drop for Database {
    /// Closes it, which makes everything in it last.
    fn drop(&mut self) {
        let database = self.0.take();
        let close = || {
            drop(database);
            Ok(())
        };
        if sound(close).is_err() {
            tracing::error!("cannot close the store's database: it is damaged");
        }
    }
}

/// Turns a panic into a fault. The database refuses transactions after one, so nothing half-done is ever committed.
fn sound<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Fault::Senseless))
}
