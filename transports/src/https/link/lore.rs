//! What sessions have found out about the way to a relay.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::rungs::{Rung, Rungs};
use super::super::session::{Learnt, Lesson};

/// Keeps what is learnt of networks from one run of the program to the next.
pub trait Notebook: Send + Sync {
    /// Returns what was learnt on a way, which is named by words for people.
    fn read(&self, way: &str) -> Option<Lesson>;

    /// Keeps what was learnt there. It may take its time, and may fail: these are hints.
    fn write(&self, way: &str, lesson: &Lesson);
}

/// What sessions have found out about the way to one relay; clones share it, and the next session begins with it.
#[derive(Clone, Default)]
pub(in super::super) struct Lore(Arc<Inner>);

#[derive(Default)]
struct Inner {
    way: String,
    learnt: Mutex<Learnt>,
    notebook: Option<Arc<dyn Notebook>>,
}

impl Lore {
    /// Begins with what is known of a way.
    pub(in super::super) fn recall(way: String, notebook: Option<Arc<dyn Notebook>>) -> Self {
        let lesson = notebook.as_ref().and_then(|notebook| notebook.read(&way));
        let learnt = Mutex::new(lesson.map_or_else(Learnt::default, |lesson| Learnt::recall(&lesson)));
        Self(Arc::new(Inner { way, learnt, notebook }))
    }

    /// Returns which way it is about.
    pub(in super::super) fn way(&self) -> &str {
        &self.0.way
    }

    /// Notes what a session knows by now.
    pub(super) fn note(&self, learnt: &Learnt) {
        let mut known = self.0.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == *learnt {
            return;
        }
        let is_new = known.lesson() != learnt.lesson();
        known.clone_from(learnt);
        drop(known);
        if is_new && self.0.notebook.is_some() {
            let inner = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || inner.keep());
        }
    }

    /// Returns it, but for what is said already: what is forbidden does not pass, and what stands in the place of everything
    /// else does.
    pub(super) fn within(&self, rungs: &Rungs) -> Learnt {
        let learnt = self.0.learnt.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let streams_down = match (rungs.allow(Rung::Stream), rungs.allow(Rung::Poll)) {
            (false, _) => Some(false),
            (true, false) => Some(true),
            (true, true) => learnt.streams_down,
        };
        Learnt { streams_down, ..learnt }
    }
}

impl Inner {
    /// Writes down what is known when it is called: of several calls, whichever comes last, the last state is kept.
    fn keep(&self) {
        let lesson = self.learnt.lock().unwrap_or_else(PoisonError::into_inner).lesson();
        self.notebook.iter().for_each(|notebook| notebook.write(&self.way, &lesson));
    }
}
