//! The hub's task: requests come in as messages, answers leave by the channel that each brought.

use std::collections::BTreeMap;
use std::time::Duration;

use anypath_transports::https::session::{CarrierId, SessionId, Transmit};
use anypath_wire::Time;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::budget::Share;
use crate::config::Access;
use crate::crowd::Seat;
use crate::hub::Hub;

/// What happened to a request.
pub(crate) enum Input {
    /// One to open a session came, with its tag, body and place; the answer's body goes back.
    Open { tag: String, body: Bytes, seat: Seat, reply: oneshot::Sender<Option<Bytes>> },
    /// One to a session has begun, perhaps as the first on its connection, where that tells anything; it gets its number, or what to answer if there is no such session.
    Begin {
        session: SessionId,
        is_new: Option<bool>,
        answer: mpsc::UnboundedSender<Piece>,
        reply: oneshot::Sender<Result<u64, Bytes>>,
    },
    /// Bytes of it came.
    Bytes { session: SessionId, number: u64, bytes: Bytes, share: Option<Share> },
    /// It has come whole.
    End { session: SessionId, number: u64 },
    /// It is gone.
    Gone { session: SessionId, number: u64 },
    /// Others are let in from now on.
    Admit { access: Access },
    /// The relay is about to end: all are to be sent away within that time.
    Retire { within: Duration },
    /// Somebody wants to know how many sessions, keys, topics and joined circuits there are.
    Size { reply: oneshot::Sender<[usize; 4]> },
}

/// A piece of an answer.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<Bytes>,
    /// Nothing more follows.
    pub(crate) ends: bool,
}

/// Moves the hub until all who could send it something are gone.
pub(crate) async fn drive(mut hub: Hub, mut inputs: mpsc::Receiver<Input>) {
    let began = Instant::now();
    let now = || Time::from_micros(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    let mut answers = BTreeMap::new();
    let mut next = 0;
    loop {
        let due = hub.poll_deadline().map(|at| began + at.since(Time::ZERO));
        tokio::select! {
            input = inputs.recv() => match input {
                Some(input) => take(&mut hub, now(), input, &mut answers, &mut next),
                None => return,
            },
            () = sleep_until(due.unwrap_or(began)), if due.is_some() => hub.handle_timeout(now()),
        }
        while let Some((_, transmit)) = hub.poll_transmit() {
            send(transmit, &mut answers);
        }
    }
}

type Answers = BTreeMap<u64, mpsc::UnboundedSender<Piece>>;

fn take(hub: &mut Hub, now: Time, input: Input, answers: &mut Answers, next: &mut u64) {
    // Whoever asked may be gone by now; then nobody hears the answer.
    match input {
        Input::Open { tag, body, seat, reply } => {
            let mut entropy = [0; 48];
            let answer =
                getrandom::fill(&mut entropy).ok().and_then(|()| hub.open(now, entropy, &tag, &body, Some(seat)));
            drop(reply.send(answer));
        }
        Input::Begin { session, is_new, answer, reply } => {
            if let Some(is_new) = is_new {
                hub.note_connection(session, is_new);
            }
            let number = *next;
            *next += 1;
            answers.insert(number, answer);
            let begun = hub.handle_open(now, (session, CarrierId(number))).map(|()| number);
            if begun.is_err() {
                answers.remove(&number);
            }
            drop(reply.send(begun));
        }
        Input::Bytes { session, number, bytes, share } => {
            hub.handle_bytes(now, (session, CarrierId(number)), &bytes);
            // From here on the session accounts for what it keeps of them.
            drop(share);
        }
        Input::End { session, number } => hub.handle_end(now, (session, CarrierId(number))),
        Input::Gone { session, number } => {
            answers.remove(&number);
            hub.handle_failure(now, (session, CarrierId(number)));
        }
        Input::Admit { access } => hub.admit(now, access),
        Input::Retire { within } => hub.retire(now, within),
        Input::Size { reply } => drop(reply.send(hub.size())),
    }
}

fn send(transmit: Transmit, answers: &mut Answers) {
    match transmit {
        Transmit::Write { carrier, bytes, ends } => {
            let gone = answers.get(&carrier.0).is_none_or(|answer| answer.send(Piece { bytes, ends }).is_err());
            if ends || gone {
                answers.remove(&carrier.0);
            }
        }
        Transmit::Drop { carrier } => drop(answers.remove(&carrier.0)),
        Transmit::Post { .. } => {}
    }
}
