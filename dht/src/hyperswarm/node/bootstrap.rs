//! How a node finds its neighbours, whether it can be reached, and when it is one that others may rely on.

use super::asking::{Purpose, Question};
use super::search::Kind;
use super::*;
use crate::hyperswarm::messages::PING_NAT;

/// How far the beginning has come: a walk, perhaps a trial, and perhaps the walk again from the place that came of it.
#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    /// Whether it is over.
    pub(super) is_done: bool,
    /// Whether somebody reached the server socket when it was first asked to.
    pub(super) is_promising: bool,
    walks: u32,
    is_tried: bool,
}

/// A test in progress of whether others reach the server socket.
#[derive(Debug)]
pub(super) struct Trial {
    only_firewall: bool,
    asked: usize,
    waits: usize,
    pongs: usize,
    seen_at: NatSampler,
    /// What others see of the socket that asks, when the test began.
    expected: SocketAddrV4,
}

impl Node {
    /// Begins with a walk towards ourselves.
    pub(super) fn begin_bootstrap(&mut self, now: Time) {
        self.bootstrap.walks += 1;
        self.begin_search(now, None, Kind::Bootstrap, *self.table.own());
    }

    /// At the first answer of all, asks whether the server socket might be reachable, by a node that we have only heard of
    /// through the other one.
    pub(super) fn try_quickly(&mut self, now: Time, from: SocketAddrV4) {
        let wants = self.firewalled && self.config.ephemeral != Some(false);
        if wants && !std::mem::replace(&mut self.bootstrap.is_tried, true) {
            let port = self.config.server_port.to_le_bytes();
            self.ask(now, from, Purpose::QuickTrial, Question::internal(PING_NAT, Some(&port)));
        }
    }

    /// Goes on after a walk towards ourselves.
    pub(super) fn bootstrap_walked(&mut self, now: Time) {
        let wants_persistent = self.config.ephemeral == Some(false);
        if self.bootstrap.walks < WALKS_MAX && (self.bootstrap.is_promising || wants_persistent) {
            self.begin_trial(now, !wants_persistent);
        } else {
            self.finish_bootstrap();
        }
    }

    fn finish_bootstrap(&mut self) {
        self.bootstrap.is_done = true;
        self.events.push_back(Event::Bootstrapped);
    }

    /// Finds out whether the server socket can be reached, and, unless only that is asked, becomes persistent if it can.
    pub(super) fn begin_trial(&mut self, now: Time, only_firewall: bool) {
        if !only_firewall {
            self.tried = self.nat.host();
            self.stable_at = self.stable_at.map(|_| now + STABLE_AGAIN);
        }
        let expected = self.seen_at().filter(|address| address.port() != 0);
        let (Some(expected), true) = (expected, self.ephemeral && self.trial.is_none()) else {
            return self.conclude(now, None);
        };
        let nodes = if self.firewalled { self.examiners() } else { Vec::new() };
        let seen_at = if self.firewalled { NatSampler::default() } else { self.nat.clone() };
        let mut trial = Trial { only_firewall, asked: nodes.len(), waits: 0, pongs: 0, seen_at, expected };
        let port = self.config.server_port.to_le_bytes();
        for node in nodes {
            let sent = self.ask(now, node, Purpose::Trial, Question::internal(PING_NAT, Some(&port)));
            trial.waits += usize::from(sent);
        }
        if trial.waits == 0 { self.conclude(now, Some(trial)) } else { self.trial = Some(trial) }
    }

    /// Returns the nodes heard of last; where they are few, those that we began at too.
    fn examiners(&self) -> Vec<SocketAddrV4> {
        let silent = self.table.by_silence();
        let mut nodes: Vec<_> = silent.iter().rev().take(EXAMINERS).map(|contact| contact.address).collect();
        for node in &self.config.bootstrap {
            if nodes.len() < EXAMINERS && !nodes.contains(node) {
                nodes.push(*node);
            }
        }
        nodes
    }

    /// Counts an answer to a trial: where the server socket was seen, if it came in there.
    pub(super) fn pong(&mut self, now: Time, seen_at: Option<SocketAddrV4>) {
        let Some(trial) = &mut self.trial else { return };
        trial.waits -= 1;
        if let Some(seen_at) = seen_at {
            trial.pongs += 1;
            trial.seen_at.add(*seen_at.ip(), seen_at.port());
        }
        if trial.waits == 0 {
            let trial = self.trial.take();
            self.conclude(now, trial);
        }
    }

    fn conclude(&mut self, now: Time, trial: Option<Trial>) {
        let passed = trial.is_some_and(|trial| self.apply(now, trial));
        if self.bootstrap.is_done {
            return;
        }
        if passed { self.begin_bootstrap(now) } else { self.finish_bootstrap() }
    }

    /// Draws the consequences of a trial; returns whether there were any.
    fn apply(&mut self, now: Time, trial: Trial) -> bool {
        let Trial { only_firewall, asked, pongs, seen_at, expected, .. } = trial;
        if self.firewalled {
            let enough = pongs >= if asked >= EXAMINERS { PONGS_MIN } else { 1 };
            let same_host = seen_at.host() == Some(*expected.ip());
            if !enough || !same_host || seen_at.port() != self.config.server_port {
                return false;
            }
        }
        let was_firewalled = std::mem::replace(&mut self.firewalled, false);
        let moved = self.seen_at() != Some(expected);
        if moved || seen_at.host() != Some(*expected.ip()) || seen_at.port() == 0 {
            return false;
        }
        let address = SocketAddrV4::new(*expected.ip(), seen_at.port());
        if was_firewalled {
            self.nameless_samples.clear();
            self.nat = seen_at;
        }
        self.ephemeral = only_firewall;
        let id = node_id(&address);
        if *self.table.own() != id {
            self.table.rebuild(id);
            if self.bootstrap.is_done {
                self.refresh(now);
            }
        }
        if !self.ephemeral {
            self.events.push_back(Event::Persistent(address.into()));
        }
        true
    }
}

/// Walks towards ourselves before the beginning is over.
const WALKS_MAX: u32 = 2;
/// Nodes asked to reach the server socket,
const EXAMINERS: usize = 5;
/// and how many of them must.
const PONGS_MIN: usize = 3;
