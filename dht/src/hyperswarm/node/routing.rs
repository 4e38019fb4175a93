//! Messages of two peers that want to connect, which nodes carry between them under one transaction.
//!
//! Forwarding asks nothing of us: the same transaction, command and target go on in a request, and the last node makes a
//! reply of it. So nothing is kept. Source: npm hyperdht 6.34.0, `lib/router.js`.

use super::serving::{Answer, Place};
use super::*;
use crate::hyperswarm::Request;
use crate::hyperswarm::messages::{Handshake, Holepunch};

impl Node {
    /// Carries a handshake message on.
    pub(super) fn route_handshake(&mut self, now: Time, place: Place, request: &Request<'_>) {
        let Some(Ok(message)) = request.value.map(Handshake::decode) else { return };
        let (from, forward) = (place.to, self.forward(now, request));
        match message.mode {
            Handshake::FROM_CLIENT => match message.relay_address.or(forward) {
                // Who knows of nobody tells who may.
                None => self.reply(now, place, request, Answer { closer: true, ..Answer::default() }),
                Some(to) => {
                    let on = Handshake {
                        mode: Handshake::FROM_RELAY,
                        peer_address: Some(from),
                        relay_address: None,
                        ..message
                    };
                    self.carried.handshakes += 1;
                    self.carry(place.socket, to, request, &on.encode());
                }
            },
            Handshake::FROM_RELAY => {
                let Some(to) = forward else { return };
                let on = Handshake { mode: Handshake::FROM_SECOND_RELAY, relay_address: Some(from), ..message };
                self.carry(place.socket, to, request, &on.encode());
            }
            Handshake::FROM_SERVER => {
                let Some(to) = message.peer_address else { return };
                let reply =
                    Handshake { mode: Handshake::REPLY, peer_address: Some(from), relay_address: None, ..message };
                self.carried.handshakes += 1;
                self.deliver(now, place.socket, to, request, &reply.encode());
            }
            _ => {}
        }
    }

    /// Carries a holepunch message on.
    pub(super) fn route_holepunch(&mut self, now: Time, place: Place, request: &Request<'_>) {
        let Some(Ok(message)) = request.value.map(Holepunch::decode) else { return };
        match message.mode {
            Handshake::FROM_CLIENT => {
                let Some(to) = message.peer_address.or(self.forward(now, request)) else { return };
                let on = Holepunch { mode: Handshake::FROM_RELAY, peer_address: Some(place.to), ..message };
                self.carried.holepunches += 1;
                self.carry(place.socket, to, request, &on.encode());
            }
            Handshake::FROM_SERVER => {
                let Some(to) = message.peer_address else { return };
                let reply = Holepunch { mode: Handshake::REPLY, peer_address: Some(place.to), ..message };
                self.carried.holepunches += 1;
                self.deliver(now, place.socket, to, request, &reply.encode());
            }
            _ => {}
        }
    }

    /// Returns where the peer is that announced itself under the target.
    fn forward(&mut self, now: Time, request: &Request<'_>) -> Option<SocketAddrV4> {
        self.storage.forwards.renew(now, &request.target?).map(|forward| forward.relay)
    }

    /// Sends a request on, to the same transaction.
    fn carry(&mut self, socket: Socket, to: SocketAddrV4, request: &Request<'_>, value: &[u8]) {
        if to.port() != 0 {
            let id = self.id().filter(|_| socket == Socket::Server);
            let on = Request { to, id, token: None, value: Some(value), ..request.clone() };
            self.post(socket, to, on.encode());
        }
    }

    /// Makes the reply of it that the client waits for.
    fn deliver(&mut self, now: Time, socket: Socket, to: SocketAddrV4, request: &Request<'_>, value: &[u8]) {
        if to.port() != 0 {
            self.reply(now, Place { socket, to }, request, Answer { value: Some(value), ..Answer::default() });
        }
    }
}
