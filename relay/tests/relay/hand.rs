//! A client without sockets, for what only the hub decides.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use anypath_relay::{Config, Hub};
use anypath_transports::https::Target;
use anypath_transports::https::session::{
    CarrierId, CircuitId, Client, ClientConfig, Command, Event, Learnt, Style, Transmit, split_session_id,
};
use anypath_wire::{KeyPair, Time};

/// A client that is moved by hand, against a hub without sockets.
pub(crate) struct Hand {
    client: Client,
    pub(crate) hash: [u8; 64],
    carriers: u64,
    /// Our carriers by the hub's.
    ours: BTreeMap<CarrierId, CarrierId>,
}

impl Hand {
    pub(crate) fn open(hub: &mut Table, seed: u8) -> Option<Self> {
        let config = ClientConfig {
            relay: hub.key(),
            token: Vec::new(),
            tag: "a".to_owned(),
            seed: [seed; 32],
            session: Default::default(),
            learnt: Learnt::default(),
            attempts_max: u64::MAX,
            requests: true,
        };
        let mut client = Client::new(Time::ZERO, config);
        let Some(Transmit::Post { carrier, body, .. }) = client.poll_transmit() else { panic!("no request") };
        let answer = hub.open(Time::ZERO, [seed; 48], "a", &body.concat(), None)?;
        client.handle_bytes(Time::ZERO, carrier, &answer);
        client.handle_end(Time::ZERO, carrier);
        match client.poll_event() {
            Some(Event::Opened { hash, .. }) => {
                Some(Self { client, hash, carriers: u64::from(seed) << 32, ours: BTreeMap::new() })
            }
            _ => None,
        }
    }

    /// Asks for a circuit.
    pub(crate) fn begin(&mut self, target: Target) -> CircuitId {
        let circuit = self.client.next_circuit().unwrap();
        let style = Style { urgent: true, ciphertext: false };
        self.command(Command::Open { circuit, style, target: target.encode(), first: bytes::Bytes::new() });
        circuit
    }

    /// Asks for a circuit and returns whether it is granted, or why not.
    pub(crate) fn ask(&mut self, hub: &mut Table, target: Target) -> Result<(), u64> {
        self.begin(target);
        for event in self.hears(hub) {
            match event {
                Event::Accepted { .. } => return Ok(()),
                Event::Reset { reason, .. } => return Err(reason),
                _ => {}
            }
        }
        panic!("no answer to {target:?}");
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.client.handle_command(Time::ZERO, command);
    }

    /// Returns what the client is told until there is nothing more.
    pub(crate) fn hears(&mut self, hub: &mut Table) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..10 {
            self.turn(hub);
            events.extend(std::iter::from_fn(|| self.client.poll_event()));
        }
        events
    }

    fn turn(&mut self, hub: &mut Table) {
        let now = Time::ZERO;
        while let Some(transmit) = self.client.poll_transmit() {
            let Transmit::Post { carrier, body, .. } = transmit else { continue };
            self.carriers += 1;
            let body = body.concat();
            let (session, rest) = split_session_id(&body).unwrap();
            let theirs = CarrierId(self.carriers);
            self.ours.insert(theirs, carrier);
            hub.handle_open(now, (session, theirs)).unwrap();
            hub.handle_bytes(now, (session, theirs), rest);
            hub.handle_end(now, (session, theirs));
        }
        while let Some((_, transmit)) = hub.poll_transmit() {
            if let Transmit::Write { carrier, bytes, ends: true } = transmit {
                hub.answers.insert(carrier, bytes.concat());
            }
        }
        let ours = std::mem::take(&mut self.ours);
        for (theirs, carrier) in ours {
            match hub.answers.remove(&theirs) {
                Some(bytes) => {
                    self.client.handle_bytes(now, carrier, &bytes);
                    self.client.handle_end(now, carrier);
                }
                None => drop(self.ours.insert(theirs, carrier)),
            }
        }
    }
}

/// A hub, and what it has answered that nobody has fetched yet.
pub(crate) struct Table {
    hub: Hub,
    answers: BTreeMap<CarrierId, Vec<u8>>,
}

impl Deref for Table {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

impl DerefMut for Table {
    fn deref_mut(&mut self) -> &mut Hub {
        &mut self.hub
    }
}

pub(crate) fn hub(config: Config) -> Table {
    Table { hub: Hub::new(KeyPair::from_seed(&[9; 32]), config), answers: BTreeMap::new() }
}
