//! Frames of which only a part has come, of all connections together: strangers may begin many and finish none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The memory that unfinished frames take. When it is too much, the one that was begun first costs its connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unfinished(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    begun: u64,
    bytes: usize,
    frames: BTreeMap<u64, Frame>,
}

#[derive(Debug)]
struct Frame {
    bytes: usize,
    given_up: Arc<Notify>,
}

/// One connection's unfinished frame, while it is large.
#[derive(Debug)]
pub(crate) struct Part {
    all: Unfinished,
    number: Option<u64>,
    given_up: Arc<Notify>,
}

impl Unfinished {
    /// Starts with a connection of which nothing has come.
    pub(crate) fn part(&self) -> Part {
        Part { all: self.clone(), number: None, given_up: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Says how many bytes wait for the rest of their frame. Small ones are not counted.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes <= BYTES_FREE && self.number.is_none() {
            return;
        }
        let mut state = self.all.state();
        let before = self.number.and_then(|number| state.frames.remove(&number));
        state.bytes -= before.map_or(0, |frame| frame.bytes);
        if bytes <= BYTES_FREE {
            self.number = None;
            return;
        }
        state.begun += 1;
        let number = *self.number.get_or_insert(state.begun);
        state.bytes += bytes;
        state.frames.insert(number, Frame { bytes, given_up: self.given_up.clone() });
        while state.bytes > BYTES_MAX {
            let Some((_, frame)) = state.frames.pop_first() else { break };
            state.bytes -= frame.bytes;
            frame.given_up.notify_one();
        }
    }

    /// Returns when the connection is to be ended for its frame.
    pub(crate) async fn given_up(&self) {
        self.given_up.notified().await;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What a connection may keep without being counted, in bytes: a frame of the usual size and some more.
const BYTES_FREE: usize = 128 << 10;
/// What all others together may keep, in bytes: sixteen frames of the largest size.
const BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_given_up(part: &Part) -> bool {
        use std::pin::pin;
        use std::task::{Context, Waker};
        pin!(part.given_up()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_oldest_of_too_much_is_given_up() {
        let all = Unfinished::default();
        let mut parts: Vec<_> = (0..17).map(|_| all.part()).collect();
        for part in &mut parts {
            part.set(BYTES_FREE);
            part.set(1 << 20);
        }
        parts[3].set(0);
        parts[0].set(16 << 20);
        parts.iter_mut().skip(1).for_each(|part| part.set(16 << 20));
        let given_up: Vec<_> = parts.iter().map(is_given_up).collect();
        assert_eq!(given_up.iter().position(|gone| *gone), Some(0));
        assert_eq!(given_up.iter().filter(|gone| **gone).count(), 1);
        drop(parts);
        let state = all.state();
        assert!(state.bytes == 0 && state.frames.is_empty());
    }
}
