//! Nodes that ask and answer on the same network: whom they find, whom not, and what they say.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use anypath_dht::lan::{Config, Node};
use anypath_dht::{Announcement, Ask, Command, Discovery, Event, Socket};
use anypath_wire::{Hash, KeyPair, Time};

const TOPIC: Hash = [0xaa; 32];
const OTHER: Hash = [0xbb; 32];

/// Nodes that hear all that any of them says to the group, themselves included, as multicast has it.
struct Network {
    nodes: Vec<(SocketAddr, Node)>,
    now: Time,
    sent: Vec<SocketAddr>,
}

impl Network {
    fn new(count: u8) -> Self {
        let node = |number| Node::new(Config::new([number; 32]));
        let nodes = (1..=count).map(|number| (SocketAddr::from(([10, 0, 0, number], 5_353)), node(number))).collect();
        Self { nodes, now: Time::ZERO, sent: Vec::new() }
    }

    fn ask(&mut self, number: usize, query: u64, ask: Ask) {
        self.nodes[number].1.handle_command(self.now, Command { query, ask });
    }

    fn announce(&mut self, number: usize, query: u64, topic: Hash, port: u16) {
        let announcement = Announcement::new(topic, KeyPair::from_seed(&[1; 32]));
        self.ask(number, query, Ask::Announce(Announcement { port: Some(port), ..announcement }));
    }

    /// Lets time pass until a wish of a node is done; returns the addresses it found and how many stored.
    fn finish(&mut self, number: usize, query: u64) -> (Vec<String>, usize) {
        let mut found = Vec::new();
        for _ in 0..100 {
            self.exchange();
            while let Some(event) = self.nodes[number].1.poll_event() {
                match event {
                    Event::Address { address, query: of } if of == query => found.push(address.to_string()),
                    Event::Done { query: of, outcome } if of == query => return (found, outcome.stored),
                    _ => {}
                }
            }
            self.now = self.now + Duration::from_millis(100);
            let now = self.now;
            self.nodes.iter_mut().for_each(|(_, node)| node.handle_timeout(now));
        }
        panic!("never done");
    }

    fn exchange(&mut self) {
        loop {
            let said = |(at, node): &mut (SocketAddr, Node)| {
                let next = || node.poll_transmit().map(|(_, transmit)| (*at, transmit));
                std::iter::from_fn(next).collect::<Vec<_>>()
            };
            let said: Vec<_> = self.nodes.iter_mut().flat_map(said).collect();
            if said.is_empty() {
                return;
            }
            for (from, transmit) in said {
                self.sent.push(transmit.to);
                for (_, node) in &mut self.nodes {
                    node.handle_datagram(self.now, Socket::Server, from, &transmit.datagram);
                }
            }
        }
    }
}

#[test]
fn who_announced_is_found_until_it_takes_that_back_and_never_by_itself() {
    let mut network = Network::new(3);
    network.announce(0, 1, TOPIC, 3282);
    network.announce(1, 2, OTHER, 3283);
    assert_eq!(network.finish(0, 1), (Vec::new(), 1));
    network.ask(2, 3, Ask::Lookup { topic: TOPIC });
    assert_eq!(network.finish(2, 3), (vec!["10.0.0.1:3282".to_owned()], 0));
    network.ask(0, 4, Ask::Unannounce { topic: TOPIC, key_pair: KeyPair::from_seed(&[1; 32]) });
    assert_eq!(network.finish(0, 4).1, 1);
    network.ask(2, 5, Ask::Lookup { topic: TOPIC });
    assert_eq!(network.finish(2, 5), (Vec::new(), 0));
    assert!(network.sent.iter().all(|to| to.ip().is_multicast()));
}

#[test]
fn two_that_announce_find_each_other_whoever_is_first() {
    let mut network = Network::new(2);
    network.announce(0, 1, TOPIC, 1);
    network.exchange();
    network.announce(1, 2, TOPIC, 2);
    assert_eq!(network.finish(1, 2).0, ["10.0.0.1:1"]);
    assert_eq!(network.finish(0, 1).0, ["10.0.0.2:2"]);
}

#[test]
fn a_flood_of_questions_gets_few_answers_and_a_flood_of_answers_little_memory() {
    let mut network = Network::new(2);
    network.announce(0, 1, TOPIC, 1);
    network.exchange();
    network.ask(1, 2, Ask::Lookup { topic: TOPIC });
    let question = network.nodes[1].1.poll_transmit().unwrap().1.datagram;
    let (to, stranger) = (&mut network.nodes[0].1, "10.0.0.9:999".parse().unwrap());
    for _ in 0..1_000 {
        to.handle_datagram(Time::ZERO + Duration::from_secs(1), Socket::Server, stranger, &question);
    }
    let answers: Vec<_> = std::iter::from_fn(|| to.poll_transmit()).collect();
    assert_eq!(answers.len(), 2, "one in each manner");
    assert!(answers.iter().all(|(_, answer)| answer.to == stranger && answer.datagram.len() < 4 * question.len()));

    let answer = &answers[0].1.datagram;
    for host in 0..2_000u16 {
        let [high, low] = host.to_be_bytes();
        let from = SocketAddr::from(([10, 1, high, low], 5_353));
        network.nodes[1].1.handle_datagram(network.now, Socket::Server, from, answer);
    }
    assert_eq!(network.finish(1, 2).0.len(), 256);
}
