//! Requests of others: dht-rpc's own commands, and who answers the rest.

use super::*;
use crate::hyperswarm::messages::{
    DELAYED_PING, DOWN_HINT, FIND_NODE, INVALID_TOKEN, PEER_HANDSHAKE, PEER_HOLEPUNCH, PING, PING_NAT, UNKNOWN_COMMAND,
};
use crate::hyperswarm::{Reply, Request, token};

/// A reply that waits for its time.
#[derive(Debug)]
pub(super) struct Delayed {
    to: SocketAddrV4,
    socket: Socket,
    tid: u16,
}

/// A reply in the making.
#[derive(Debug, Default)]
pub(super) struct Answer<'a> {
    pub(super) token: bool,
    pub(super) closer: bool,
    pub(super) error: u64,
    pub(super) value: Option<&'a [u8]>,
}

/// Where a reply goes, and from which socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) socket: Socket,
    pub(super) to: SocketAddrV4,
}

impl Node {
    /// Answers a request, or does not.
    pub(super) fn serve(&mut self, now: Time, socket: Socket, from: SocketAddrV4, request: &Request<'_>) {
        let place = Place { socket, to: from };
        if request.token.is_some_and(|token| !self.secrets.holds(now, |secret| self::token(secret, from.ip()) == token))
        {
            let answer = Answer { token: true, closer: true, error: INVALID_TOKEN, value: None };
            return self.reply(now, place, request, answer);
        }
        if let Some(id) = request.id.filter(|id| *id == node_id(&from)) {
            self.heard(now, socket, from, Some(id), request.to);
        }
        match (request.internal, request.command) {
            (true, _) => self.serve_internal(now, place, request),
            (false, PEER_HANDSHAKE) => self.route_handshake(now, place, request),
            (false, PEER_HOLEPUNCH) => self.route_holepunch(now, place, request),
            (false, _) if self.ephemeral => self.refuse(now, place, request),
            (false, _) => self.serve_storage(now, place, request),
        }
    }

    fn serve_internal(&mut self, now: Time, place: Place, request: &Request<'_>) {
        let value = request.value.unwrap_or_default();
        match request.command {
            PING => self.reply(now, place, request, Answer::default()),
            PING_NAT => match value.first_chunk().map(|port| u16::from_le_bytes(*port)) {
                None | Some(0) => {}
                Some(port) => {
                    let to = SocketAddrV4::new(*place.to.ip(), port);
                    self.reply(now, Place { to, ..place }, request, Answer::default());
                }
            },
            FIND_NODE if request.target.is_none() => {}
            FIND_NODE => self.reply(now, place, request, Answer { closer: true, ..Answer::default() }),
            DOWN_HINT => {
                let Some(address) = value.first_chunk::<6>() else { return };
                self.check_hinted(now, &anypath_wire::hash(address));
                self.reply(now, place, request, Answer::default());
            }
            DELAYED_PING => match value.first_chunk().map(|delay| u32::from_le_bytes(*delay)) {
                Some(delay) if delay <= DELAY_MS_MAX && self.delayed.len() < DELAYED_MAX => {
                    let key = (now + Duration::from_millis(delay.into()), self.chance.number());
                    let Place { socket, to } = place;
                    self.delayed.insert(key, Delayed { to, socket, tid: request.tid });
                }
                _ => {}
            },
            _ => self.refuse(now, place, request),
        }
    }

    /// Pings a contact that somebody says is down, unless it was pinged just now or many are.
    fn check_hinted(&mut self, now: Time, id: &Id) {
        let is_idle = self.table.find(id).is_some_and(|contact| now.since(contact.pinged) >= super::hearing::TICK);
        if is_idle && self.checks < CHECKS_MAX {
            self.check(now, *id);
        }
    }

    /// Says that the command is not known, or not served here, and who may serve it.
    pub(super) fn refuse(&mut self, now: Time, place: Place, request: &Request<'_>) {
        self.reply(now, place, request, Answer { closer: true, error: UNKNOWN_COMMAND, ..Answer::default() });
    }

    /// Sends a reply.
    pub(super) fn reply(&mut self, now: Time, place: Place, request: &Request<'_>, answer: Answer<'_>) {
        let Place { socket, to } = place;
        let closest = |target: &Id| {
            let closest = self.table.closest(target, self.config.query.k);
            closest.into_iter().map(|contact| contact.address).collect()
        };
        let reply = Reply {
            tid: request.tid,
            to,
            id: self.id().filter(|_| socket == Socket::Server),
            closer: request.target.as_ref().filter(|_| answer.closer).map(closest).unwrap_or_default(),
            token: answer.token.then(|| token(&self.secrets.current(now), to.ip())),
            error: answer.error,
            value: answer.value,
        };
        self.post(socket, to, reply.encode());
    }

    /// Puts a datagram into the outbox.
    pub(super) fn post(&mut self, socket: Socket, to: SocketAddrV4, datagram: Vec<u8>) {
        self.outbox.push_back((socket, Transmit { to: to.into(), datagram }));
    }

    /// Sends the delayed replies whose time has come.
    pub(super) fn send_delayed(&mut self, now: Time) {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let Delayed { to, socket, tid } = entry.remove();
            let id = self.id().filter(|_| socket == Socket::Server);
            let reply = Reply { tid, to, id, token: None, closer: Vec::new(), error: 0, value: None };
            self.post(socket, to, reply.encode());
        }
    }
}

/// The longest delay of a ping, in milliseconds: as the reference.
const DELAY_MS_MAX: u32 = 10_000;
/// Pings that wait: each costs a stranger one datagram.
const DELAYED_MAX: usize = 1_024;
/// Contacts that are checked at once because somebody said they are down.
const CHECKS_MAX: usize = 10;
