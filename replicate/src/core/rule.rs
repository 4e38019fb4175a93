//! What the application demands of a core's blocks, beyond that their writer signed them.
//!
//! A signature says who wrote a block, not that it makes sense. A [`Rule`] is asked about each block once it is proven
//! to be the writer's, and before it is staged: what it refuses is never stored, served or announced. The rest of the
//! proof is kept, for the block *is* part of the core, and stays missing. Since it is the same block wherever it comes
//! from, nobody is asked for it again, until the writer truncates it away or the core is opened anew. Blocks appended
//! here are asked about too: one that is refused fails the whole call ([`AppendError::Refused`](super::AppendError)).
//!
//! ```
//! use std::sync::Arc;
//!
//! use anypath_replicate::core::{AppendError, Core};
//! use anypath_replicate::store::MemoryStore;
//! use anypath_wire::KeyPair;
//!
//! let mut core = Core::create_compat(Arc::new(MemoryStore::default()), KeyPair::from_seed(&[1; 32]));
//! core.set_rule(|_, block: &[u8]| block.is_ascii());
//! core.append(&["plain".into()])?;
//! let refused = core.append(&["plain".into(), "größer".into()]);
//! assert!(matches!(refused, Err(AppendError::Refused { index: 2 })));
//! assert_eq!(core.length(), 1);
//! # Ok::<(), AppendError>(())
//! ```

use super::{Bitfield, Core};

/// Decides which blocks of a core are taken; a closure is one.
///
/// The same block must always get the same answer, and a rule must not panic: what it sees is a stranger's.
pub trait Rule: Send {
    /// Returns whether the block may be stored. `block` holds the bytes as they are stored, encrypted if the core is.
    fn accepts(&self, index: u64, block: &[u8]) -> bool;
}

impl<F: Fn(u64, &[u8]) -> bool + Send> Rule for F {
    fn accepts(&self, index: u64, block: &[u8]) -> bool {
        self(index, block)
    }
}

/// A core's rule and what it has refused.
#[derive(Default)]
pub(super) struct Gate {
    rule: Option<Box<dyn Rule>>,
    /// Blocks of the present tree that were refused; a bit for each one that came.
    refused: Bitfield,
}

impl Gate {
    /// Returns whether a block may pass.
    pub(super) fn accepts(&self, index: u64, block: &[u8]) -> bool {
        self.rule.as_ref().is_none_or(|rule| rule.accepts(index, block))
    }

    /// Remembers a refused block, and returns whether that is new.
    pub(super) fn refuse(&mut self, index: u64) -> bool {
        self.refused.set(index)
    }

    /// Forgets blocks that are no longer part of the core.
    pub(super) fn truncate(&mut self, length: u64) {
        self.refused.truncate(length);
    }
}

impl Core {
    /// Sets what is demanded of every block from now on. Blocks that are held already are not looked at again, nor are
    /// those that another rule refused: a rule is set once, when the core is opened.
    pub fn set_rule(&mut self, rule: impl Rule + 'static) {
        self.gate.rule = Some(Box::new(rule));
    }

    /// Returns whether a block came and was refused by the rule.
    pub fn is_refused(&self, index: u64) -> bool {
        self.gate.refused.has(index)
    }
}
