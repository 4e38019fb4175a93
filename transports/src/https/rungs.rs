//! What may carry a session with a relay, and which of it is preferred.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// A WebSocket, both ways.
    Socket,
    /// A request over HTTP/2 that is open both ways.
    Duplex,
    /// Requests; the answers of those that are held come in pieces.
    Stream,
    /// Requests and whole answers.
    Poll,
}

impl Rung {
    /// Returns its name in events: `https/ws`, `https/h2`, `https/stream`, `https/poll`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "https/ws",
            Self::Duplex => "https/h2",
            Self::Stream => "https/stream",
            Self::Poll => "https/poll",
        }
    }

    fn short(self) -> &'static str {
        self.name().trim_start_matches("https/")
    }
}

/// What may carry a session, best first; what is not in it is never used. A session opens by a request in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rungs(Vec<Rung>);

/// Why a list of carriers is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRungs {
    /// A name that is none of theirs.
    #[error("{0:?} carries nothing: there are ws, h2, stream and poll")]
    Unknown(String),
    /// One is named twice.
    #[error("{0} is named twice")]
    Twice(String),
    /// None is named.
    #[error("nothing is named that may carry a session: there are ws, h2, stream and poll")]
    Empty,
}

impl Rungs {
    /// Makes the list.
    ///
    /// # Errors
    /// If it is empty or names one twice.
    pub fn new(rungs: Vec<Rung>) -> Result<Self, InvalidRungs> {
        if rungs.is_empty() {
            return Err(InvalidRungs::Empty);
        }
        let twice = rungs.iter().enumerate().find(|(at, rung)| rungs[..*at].contains(rung));
        twice.map_or(Ok(Self(rungs.clone())), |(_, rung)| Err(InvalidRungs::Twice(rung.short().to_owned())))
    }

    /// Returns whether this may be used.
    pub fn allow(&self, rung: Rung) -> bool {
        self.0.contains(&rung)
    }

    /// Returns the best of those that pass.
    pub fn best(&self, passes: impl Fn(Rung) -> bool) -> Option<Rung> {
        self.0.iter().copied().find(|rung| passes(*rung))
    }

    /// Returns whether requests may do more than open a session.
    pub(super) fn allow_requests(&self) -> bool {
        self.allow(Rung::Stream) || self.allow(Rung::Poll)
    }

    /// Returns those that go both ways, the best first.
    pub(super) fn both_ways(&self) -> Vec<Rung> {
        self.0.iter().copied().filter(|rung| matches!(rung, Rung::Socket | Rung::Duplex)).collect()
    }

    /// Returns whether the one is allowed, and not worse than the other if that is allowed too.
    pub(super) fn prefer(&self, one: Rung, other: Rung) -> bool {
        let place = |rung| self.0.iter().position(|it| *it == rung);
        place(one).is_some_and(|at| place(other).is_none_or(|than| at < than))
    }
}

impl Default for Rungs {
    fn default() -> Self {
        Self(ALL.into())
    }
}

impl FromStr for Rungs {
    type Err = InvalidRungs;

    /// Reads `ws,h2,stream,poll`.
    fn from_str(text: &str) -> Result<Self, InvalidRungs> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let rungs = names.map(|name| {
            let known = ALL.into_iter().find(|rung| rung.short() == name);
            known.ok_or_else(|| InvalidRungs::Unknown(name.to_owned()))
        });
        Self::new(rungs.collect::<Result<_, _>>()?)
    }
}

impl fmt::Display for Rungs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|rung| rung.short()).collect();
        f.write_str(&names.join(","))
    }
}

/// What there is, in the order of the default: who gets through by WebSocket has the least in between.
const ALL: [Rung; 4] = [Rung::Socket, Rung::Duplex, Rung::Stream, Rung::Poll];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_written() {
        for text in ["ws,stream,poll", "poll", "poll,ws"] {
            assert_eq!(text.parse::<Rungs>().unwrap().to_string(), text);
        }
        assert_eq!("ws,udp".parse::<Rungs>(), Err(InvalidRungs::Unknown("udp".to_owned())));
        assert_eq!("ws,poll,ws".parse::<Rungs>(), Err(InvalidRungs::Twice("ws".to_owned())));
        assert_eq!(",".parse::<Rungs>(), Err(InvalidRungs::Empty));
    }

    #[test]
    fn the_first_is_preferred_and_what_is_left_out_never() {
        let rungs: Rungs = "stream,ws".parse().unwrap();
        assert!(rungs.prefer(Rung::Stream, Rung::Socket) && !rungs.prefer(Rung::Socket, Rung::Stream));
        assert!(rungs.prefer(Rung::Socket, Rung::Poll) && !rungs.prefer(Rung::Poll, Rung::Socket));
    }
}
