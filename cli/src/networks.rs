//! What was learnt of networks, on disk: hints for the next run, in one file, for its owner only.
//!
//! JSON: an object with a way's name for each key, and for its value the lesson and `at`, seconds since 1970.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anypath_transports::https::Notebook;
use anypath_transports::https::session::Lesson;
use serde::{Deserialize, Serialize};

use crate::lasting::replace;

/// The file.
pub(crate) struct Networks {
    path: PathBuf,
    /// One writes at a time.
    writing: Mutex<()>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    at: u64,
    #[serde(flatten)]
    lesson: Lesson,
}

impl Networks {
    /// Keeps them there; the file need not exist.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, writing: Mutex::default() }
    }

    /// Returns what is there and not too old. A file that cannot be read is none: nothing depends on it.
    fn notes(&self) -> BTreeMap<String, Note> {
        let read = || {
            let size = fs::metadata(&self.path).ok()?.len();
            let text = (size <= FILE_BYTES_MAX).then(|| fs::read(&self.path).ok())??;
            serde_json::from_slice::<BTreeMap<String, Note>>(&text).ok()
        };
        let mut notes = read().unwrap_or_default();
        notes.retain(|_, note| now().saturating_sub(note.at) < LASTS.as_secs());
        notes
    }

    fn keep(&self, way: &str, lesson: &Lesson) -> std::io::Result<()> {
        let mut notes = self.notes();
        notes.insert(way.to_owned(), Note { at: now(), lesson: lesson.clone() });
        while notes.len() > NOTES_MAX {
            let oldest = notes.iter().min_by_key(|(_, note)| note.at).map(|(way, _)| way.clone());
            oldest.and_then(|way| notes.remove(&way));
        }
        replace(&self.path, |out| Ok(serde_json::to_writer_pretty(out, &notes)?))
    }
}

impl Notebook for Networks {
    fn read(&self, way: &str) -> Option<Lesson> {
        self.notes().remove(way).map(|note| note.lesson)
    }

    fn write(&self, way: &str, lesson: &Lesson) {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.keep(way, lesson) {
            tracing::debug!(%error, path = %self.path.display(), "what was learnt of the network is not kept");
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How long a lesson is believed: networks are rebuilt, and what was bounded once is not for ever.
const LASTS: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many networks are remembered; of more, the oldest are forgotten.
const NOTES_MAX: usize = 64;
/// What is longer, in bytes, is none of ours: 64 notes of 500 bytes.
const FILE_BYTES_MAX: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use anypath_transports::https::session::Learnt;

    use super::*;

    #[test]
    fn lessons_are_kept_for_each_way_and_for_some_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("networks.json");
        let networks = Networks::at(path.clone());
        assert_eq!(networks.read("home"), None);
        let lesson = Lesson { streams_down: Some(false), ..Learnt::default().lesson() };
        networks.write("home", &lesson);
        let other = Lesson { hold_ms: 9_000, ..lesson.clone() };
        networks.write("office", &other);
        let again = Networks::at(path.clone());
        assert_eq!([again.read("home"), again.read("office")], [Some(lesson.clone()), Some(other)]);
        let old = Note { at: now() - LASTS.as_secs(), lesson };
        fs::write(&path, serde_json::to_vec(&BTreeMap::from([("home", old)])).unwrap()).unwrap();
        assert_eq!(again.read("home"), None, "too old");
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let networks = Networks::at(dir.path().join("networks.json"));
        for rubbish in ["", "[]", "{\"home\": 1}", "\0\0"] {
            fs::write(&networks.path, rubbish).unwrap();
            assert_eq!(networks.read("home"), None);
        }
        (0..NOTES_MAX + 3).for_each(|way| networks.write(&way.to_string(), &Learnt::default().lesson()));
        assert_eq!(networks.notes().len(), NOTES_MAX);
    }
}
