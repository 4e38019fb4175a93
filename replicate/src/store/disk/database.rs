//! The database file: opened, read and changed so that whatever is wrong with it comes back as a fault.

use std::fmt;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{ReadableDatabase, StorageBackend, WriteTransaction};

use super::fault::Fault;
use super::files::DiskFile;
use super::rows;
use super::rows::{Standing, View};

/// An open database. redb panics over some pages it cannot make sense of: that is damage, no reason to die.
pub(super) struct Database {
    /// The tables as the last change left them, opened by the first to read them since.
    view: RwLock<Option<View>>,
    opened: Option<redb::Database>,
}

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
    pub(super) fn open(file: Arc<dyn DiskFile>, cache_bytes: usize) -> Result<Self, Fault> {
        let open = || Ok(redb::Database::builder().set_cache_size(cache_bytes).create_with_backend(Backend(file))?);
        let database = Self { view: RwLock::default(), opened: Some(sound(open)?) };
        if !sound(|| rows::exist(&database.opened()?.begin_read()?))? {
            database.change(Lasting::Now, rows::create)?;
        }
        Ok(database)
    }

    /// Reads where the store stands.
    pub(super) fn standing(&self) -> Result<Standing, Fault> {
        sound(|| rows::standing(&self.opened()?.begin_read()?))
    }

    /// Reads what the changes so far have left.
    pub(super) fn read<T>(&self, read: impl FnOnce(&View) -> Result<T, Fault>) -> Result<T, Fault> {
        sound(|| {
            let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
            match &*view {
                Some(view) => read(view),
                None => {
                    drop(view);
                    read(self.renew()?.as_ref().ok_or(Fault::Senseless)?)
                }
            }
        })
    }

    /// Opens the tables as they are now. They are opened and forgotten under the same lock, so that none outlives a
    /// change.
    fn renew(&self) -> Result<RwLockReadGuard<'_, Option<View>>, Fault> {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        *view = Some(View::open(&self.opened()?.begin_read()?)?);
        Ok(RwLockWriteGuard::downgrade(view))
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
            *self.view.write().unwrap_or_else(PoisonError::into_inner) = None;
            Ok(changed)
        })
    }

    /// Leaves the file as it is, as if the process were killed: what does not last yet is dropped.
    pub(super) fn abandon(&mut self) {
        std::mem::forget(self.opened.take());
    }

    fn opened(&self) -> Result<&redb::Database, Fault> {
        self.opened.as_ref().ok_or(Fault::Senseless)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Drop for Database {
    /// Closes it, which makes everything in it last.
    fn drop(&mut self) {
        let (view, opened) = (std::mem::take(&mut self.view), self.opened.take());
        let close = || {
            drop(view);
            drop(opened);
            Ok(())
        };
        if sound(close).is_err() {
            tracing::error!("cannot close the store's database: it is damaged");
        }
    }
}

/// The file as redb takes it; who may open it is settled by the folder's lock.
#[derive(Debug)]
struct Backend(Arc<dyn DiskFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_bytes(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(&mut [IoSlice::new(data)], offset)
    }
}

/// Turns a panic into a fault. The database refuses transactions after one, so nothing half-done is ever committed.
fn sound<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Fault::Senseless))
}
