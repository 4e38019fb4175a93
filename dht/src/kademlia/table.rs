//! The routing table: a row of at most `k` contacts for each count of first bits that they share with our id.
//!
//! Rows that never had a contact cost nothing.

use std::time::Duration;

use anypath_wire::Time;

use super::{closer, shared_bits};

/// A node in the table. `A` is how its dialect addresses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact<const N: usize, A> {
    /// Its id.
    pub id: [u8; N],
    /// Where it is.
    pub address: A,
    /// When it was added.
    pub added: Time,
    /// When it was last heard.
    pub seen: Time,
    /// When it was last heard or asked.
    pub pinged: Time,
    /// When it last told us our address, if ever.
    pub sampled: Option<Time>,
}

impl<const N: usize, A> Contact<N, A> {
    /// Makes a contact that is heard for the first time.
    pub fn new(id: [u8; N], address: A, now: Time) -> Self {
        Self { id, address, added: now, seen: now, pinged: now, sampled: None }
    }
}

/// When a contact of a full row is asked whether it is still there, because another wants its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRules {
    /// One that was heard or asked within this is not asked again.
    pub idle: Duration,
    /// Nor is one that was within this, if it is in the table for longer than
    pub recent: Duration,
    /// this.
    pub old: Duration,
}

/// What became of a contact that was to be added.
#[derive(Debug, PartialEq, Eq)]
pub enum Row {
    /// It is in the table now.
    Added,
    /// It was already, or it is ourselves; nothing changed.
    Known,
    /// Its row is full.
    Full,
}

/// Contacts by their distance from us.
#[derive(Debug, Clone)]
pub struct Table<const N: usize, A> {
    own: [u8; N],
    k: usize,
    rows: Vec<Vec<Contact<N, A>>>,
}

impl<const N: usize, A: Copy> Table<N, A> {
    /// Makes an empty table around our id, with `k` contacts a row.
    pub fn new(own: [u8; N], k: usize) -> Self {
        Self { own, k, rows: Vec::new() }
    }

    /// Returns the id that the table is built around.
    pub fn own(&self) -> &[u8; N] {
        &self.own
    }

    /// Returns the number of contacts.
    pub fn len(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(Vec::is_empty)
    }

    /// Returns all contacts, row by row, by id inside a row.
    pub fn iter(&self) -> impl Iterator<Item = &Contact<N, A>> {
        self.rows.iter().flatten()
    }

    /// Adds a contact if its row has room.
    pub fn add(&mut self, contact: Contact<N, A>) -> Row {
        if contact.id == self.own {
            return Row::Known;
        }
        let index = shared_bits(&self.own, &contact.id);
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, Vec::new);
        }
        let row = &mut self.rows[index];
        match row.binary_search_by(|known| known.id.cmp(&contact.id)) {
            Ok(_) => Row::Known,
            Err(_) if row.len() >= self.k => Row::Full,
            Err(at) => {
                row.insert(at, contact);
                Row::Added
            }
        }
    }

    /// Returns the contacts of the row that an id belongs to.
    pub fn row(&self, id: &[u8; N]) -> &[Contact<N, A>] {
        self.rows.get(shared_bits(&self.own, id)).map_or(&[], Vec::as_slice)
    }

    /// Returns a contact by its id.
    pub fn find(&self, id: &[u8; N]) -> Option<&Contact<N, A>> {
        let row = self.row(id);
        row.binary_search_by(|known| known.id.cmp(id)).ok().and_then(|at| row.get(at))
    }

    /// Returns a contact by its id, to be changed.
    pub fn find_mut(&mut self, id: &[u8; N]) -> Option<&mut Contact<N, A>> {
        let row = self.rows.get_mut(shared_bits(&self.own, id))?;
        row.binary_search_by(|known| known.id.cmp(id)).ok().and_then(|at| row.get_mut(at))
    }

    /// Returns the contact that has to show that it is still there, or its place in the row goes to a newcomer.
    pub fn challenged(&self, now: Time, newcomer: &[u8; N], rules: &RowRules) -> Option<&Contact<N, A>> {
        let idle = self.row(newcomer).iter().filter(|contact| now.since(contact.pinged) >= rules.idle);
        let oldest = idle.min_by_key(|contact| (contact.pinged, contact.added))?;
        let is_trusted = now.since(oldest.pinged) < rules.recent && now.since(oldest.added) > rules.old;
        (!is_trusted).then_some(oldest)
    }

    /// Takes a contact out.
    pub fn remove(&mut self, id: &[u8; N]) -> Option<Contact<N, A>> {
        let row = self.rows.get_mut(shared_bits(&self.own, id))?;
        row.binary_search_by(|known| known.id.cmp(id)).ok().map(|at| row.remove(at))
    }

    /// Returns the `count` contacts nearest to a target, nearest first.
    ///
    /// All in the target's own row are nearer than all in later rows, and those nearer than any earlier row.
    pub fn closest(&self, target: &[u8; N], count: usize) -> Vec<&Contact<N, A>> {
        let own = shared_bits(&self.own, target).min(self.rows.len());
        let later = (own + 1).min(self.rows.len());
        let near = [own..later, later..self.rows.len()];
        let far = (0..own).rev().map(|row| row..row + 1);
        let mut found: Vec<&Contact<N, A>> = Vec::new();
        for rows in near.into_iter().chain(far) {
            if found.len() >= count {
                break;
            }
            let start = found.len();
            found.extend(self.rows[rows].iter().flatten());
            found[start..].sort_by(|a, b| closer(target, &a.id, &b.id));
        }
        found.truncate(count);
        found
    }

    /// Returns the contacts sorted by when they were last heard, the longest silent first.
    pub fn by_silence(&self) -> Vec<&Contact<N, A>> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by_key(|contact| contact.seen);
        all
    }

    /// Builds the table anew around another id; contacts that find no room there are gone.
    pub fn rebuild(&mut self, own: [u8; N]) {
        let old = std::mem::replace(self, Self::new(own, self.k));
        for contact in old.rows.into_iter().flatten() {
            self.add(contact);
        }
    }
}
