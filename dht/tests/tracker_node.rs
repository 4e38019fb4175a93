//! A client of DNS trackers: what it asks in which order, whom it believes, and when it gives up.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use anypath_dht::tracker::{Config, Node};
use anypath_dht::{Announcement, Ask, Command, Discovery, Event, Outcome, Socket};
use anypath_wire::{Hash, KeyPair, Time, Transmit};

const TOPIC: Hash = [0xaa; 32];

fn trackers() -> Vec<SocketAddr> {
    ["10.0.0.1:5300", "10.0.0.2:5300"].map(|text| text.parse().unwrap()).into()
}

fn node() -> Node {
    Node::new(Config { seed: [1; 32], trackers: trackers() })
}

fn announce() -> Command {
    let announcement = Announcement::new(TOPIC, KeyPair::from_seed(&[1; 32]));
    Command { query: 1, ask: Ask::Announce(Announcement { port: Some(3282), ..announcement }) }
}

fn sent(node: &mut Node) -> Vec<Transmit> {
    std::iter::from_fn(|| node.poll_transmit()).map(|(_, transmit)| transmit).collect()
}

fn outcome(node: &mut Node) -> Option<Outcome> {
    std::iter::from_fn(|| node.poll_event()).find_map(|event| match event {
        Event::Done { outcome, .. } => Some(outcome),
        _ => None,
    })
}

/// Makes an answer of the reference's form to a question.
fn answer(question: &[u8], text: &[&str]) -> Vec<u8> {
    let mut answer = question.to_vec();
    (answer[2], answer[7], answer[11]) = (0x80, 1, 0);
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    answer.truncate(end);
    let text: Vec<u8> = text.iter().flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat()).collect();
    answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0, text.len() as u8]);
    [answer, text].concat()
}

#[test]
fn it_asks_for_a_token_and_announces_with_it() {
    let mut node = node();
    node.handle_command(Time::ZERO, announce());
    let probes = sent(&mut node);
    assert_eq!(probes.iter().map(|probe| probe.to).collect::<Vec<_>>(), trackers());
    for Transmit { to, datagram } in &probes {
        node.handle_datagram(Time::ZERO, Socket::Server, *to, &answer(datagram, &["token=t0ken"]));
    }
    let announcements = sent(&mut node);
    assert_eq!(announcements.len(), 2);
    for Transmit { to, datagram } in &announcements {
        for part in [&b"token=t0ken"[..], b"announce=3282"] {
            assert!(datagram.windows(part.len()).any(|bytes| bytes == part));
        }
        assert_eq!(outcome(&mut node), None);
        node.handle_datagram(Time::ZERO, Socket::Server, *to, &answer(datagram, &["token=t0ken"]));
    }
    assert_eq!(outcome(&mut node), Some(Outcome { asked: 2, answers: 2, errors: 0, stored: 2 }));
}

#[test]
fn nobody_but_the_tracker_that_was_asked_is_believed() {
    let mut node = node();
    node.handle_command(Time::ZERO, Command { query: 1, ask: Ask::Lookup { topic: TOPIC } });
    let questions = sent(&mut node);
    let told = ["token=t", "peers=CgAAAQzS"];
    let Transmit { to, datagram } = &questions[0];
    let mut guessed = answer(datagram, &told);
    guessed[0] ^= 1;
    node.handle_datagram(Time::ZERO, Socket::Server, "10.0.0.9:5300".parse().unwrap(), &answer(datagram, &told));
    node.handle_datagram(Time::ZERO, Socket::Server, *to, &guessed);
    node.handle_datagram(Time::ZERO, Socket::Server, *to, datagram);
    assert!(std::iter::from_fn(|| node.poll_event()).all(|event| event == Event::Bootstrapped));
    node.handle_datagram(Time::ZERO, Socket::Server, *to, &answer(datagram, &told));
    node.handle_datagram(Time::ZERO, Socket::Server, *to, &answer(datagram, &told));
    let address = "10.0.0.1:3282".parse().unwrap();
    assert_eq!(std::iter::from_fn(|| node.poll_event()).collect::<Vec<_>>(), [Event::Address { query: 1, address }]);
}

#[test]
fn trackers_that_are_silent_are_asked_three_times_and_given_up() {
    let mut node = node();
    node.handle_command(Time::ZERO, announce());
    let mut now = Time::ZERO;
    let mut asked = sent(&mut node).len();
    while let Some(deadline) = node.poll_deadline() {
        now = deadline.at;
        node.handle_timeout(now);
        asked += sent(&mut node).len();
    }
    assert_eq!((asked, now.since(Time::ZERO)), (6, Duration::from_secs(7)));
    assert_eq!(outcome(&mut node), Some(Outcome { asked: 2, answers: 0, errors: 2, stored: 0 }));
}
