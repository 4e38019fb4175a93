//! All sessions of a relay, and what joins them: a circuit of one leads to a circuit of another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anypath_transports::https::reason;
use anypath_transports::https::session::{
    self, CarrierId, CircuitId, Command, Event, Granted, Server, SessionId, Style,
};
use anypath_transports::https::{Descriptor, Target};
use anypath_wire::{KeyPair, PublicKey, Time, keyed_hash};
use bytes::Bytes;

use crate::config::{Access, Config};
use crate::directory::{Directory, End};

/// The relay's sessions, as a sans-IO machine; its driver numbers the carriers, which no two sessions share.
pub struct Hub {
    identity: KeyPair,
    config: Config,
    sessions: BTreeMap<SessionId, Member>,
    directory: Directory,
    /// Which circuits are joined; each pair stands here both ways round.
    joined: BTreeMap<End, Join>,
    /// Sessions of which no request has come yet, the oldest first.
    unproven: VecDeque<SessionId>,
    /// When each session is to be looked at.
    deadlines: BTreeSet<(Time, SessionId)>,
    transmits: VecDeque<(SessionId, session::Transmit)>,
}

/// A request or a stream: whose, and which.
pub type Carrier = (SessionId, CarrierId);

/// A session.
struct Member {
    server: Server,
    /// The hash of its handshake.
    hash: [u8; 64],
    /// When it is given up: unproven, or over and not fetched.
    gone_at: Option<Time>,
    deadline: Option<Time>,
    over: bool,
}

/// The way from one circuit into another.
struct Join {
    to: End,
    /// What found no room there yet; it counts against the sender's credit.
    waiting: VecDeque<Bytes>,
    ending: bool,
    /// The end has been passed on.
    ended: bool,
}

impl Hub {
    /// Makes a relay with that key.
    pub fn new(identity: KeyPair, config: Config) -> Self {
        Self {
            identity,
            config,
            sessions: BTreeMap::new(),
            directory: Directory::default(),
            joined: BTreeMap::new(),
            unproven: VecDeque::new(),
            deadlines: BTreeSet::new(),
            transmits: VecDeque::new(),
        }
    }

    /// Returns what the relay says about itself, signed.
    pub fn descriptor(&self) -> String {
        let descriptor = Descriptor {
            key: self.identity.public(),
            version: 1,
            hold_ms_max: HOLD_MS_MAX,
            body_bytes_max: self.config.body_bytes_max as u64,
            open: self.config.access == Access::Open,
        };
        descriptor.encode(&self.identity)
    }

    /// Returns the relay's key.
    pub fn key(&self) -> PublicKey {
        self.identity.public()
    }

    /// Returns how many sessions, registered keys, topics and joined circuits there are.
    pub fn size(&self) -> [usize; 4] {
        let (keys, topics) = self.directory.size();
        [self.sessions.len(), keys, topics, self.joined.len() / 2]
    }

    /// Opens a session for a request to `/v1/o`; `entropy` is fresh randomness. Returns the answer's body; nothing if the
    /// body is no such request, or there is no room.
    pub fn open(&mut self, now: Time, entropy: [u8; 48], body: &[u8]) -> Option<Bytes> {
        let (seed, id) = entropy.split_first_chunk::<32>()?;
        let asked = session::ask(&self.identity, *seed, body).ok()?;
        if let Access::Token(token) = &self.config.access
            && !same(token, &asked.token)
        {
            return asked.refuse(reason::NOT_ADMITTED);
        }
        self.make_room(now);
        if self.sessions.len() >= self.config.sessions_max {
            return asked.refuse(reason::FULL);
        }
        let session = SessionId(id.try_into().ok()?);
        let granted = Granted { session, forgotten: self.forgotten_token(session), tag: "a".to_owned() };
        let (answer, server, hash) = asked.grant(now, &granted, self.config.session.clone())?;
        let gone_at = Some(now + Duration::from_millis(self.config.unproven_ms_max));
        let member = Member { server, hash, gone_at, deadline: None, over: false };
        self.sessions.insert(session, member);
        self.unproven.push_back(session);
        self.settle(now, session);
        Some(answer)
    }

    /// Gives up the oldest of the sessions of which no request has come, if they are too many: who only opens sessions
    /// pushes out others who do so, and nobody who has proven to be there.
    fn make_room(&mut self, now: Time) {
        let most = (self.config.sessions_max / UNPROVEN_SHARE).max(1);
        if self.unproven.len() < most {
            return;
        }
        let sessions = &self.sessions;
        self.unproven.retain(|session| sessions.get(session).is_some_and(|member| member.gone_at.is_some()));
        let mut touched = BTreeSet::new();
        while self.unproven.len() >= most
            && let Some(oldest) = self.unproven.pop_front()
        {
            self.forget(now, oldest, &mut touched);
        }
        touched.into_iter().for_each(|session| self.settle(now, session));
    }

    /// Notes that a request to a session has begun; returns what to answer if there is no such session.
    pub fn handle_open(&mut self, now: Time, (session, carrier): Carrier) -> Result<(), Bytes> {
        let Some(member) = self.sessions.get_mut(&session) else {
            return Err(session::forgotten(&self.forgotten_token(session)));
        };
        member.server.handle_open(now, carrier);
        self.settle(now, session);
        Ok(())
    }

    /// Takes bytes of a request or stream.
    pub fn handle_bytes(&mut self, now: Time, (session, carrier): Carrier, bytes: &[u8]) {
        self.with(now, session, |server| server.handle_bytes(now, carrier, bytes));
    }

    /// Notes that a request has come whole.
    pub fn handle_end(&mut self, now: Time, (session, carrier): Carrier) {
        if let Some(member) = self.sessions.get_mut(&session) {
            member.server.handle_end(now, carrier);
            // Whoever has a request open by now has sent a record that only the session's client can make.
            if !member.over && member.server.carriers() > 0 {
                member.gone_at = None;
            }
        }
        self.settle(now, session);
    }

    /// Notes that a request or stream is gone before it was answered.
    pub fn handle_failure(&mut self, now: Time, (session, carrier): Carrier) {
        self.with(now, session, |server| server.handle_failure(now, carrier));
    }

    /// Is called when the deadline has come.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&(at, session)) = self.deadlines.first() {
            if at > now {
                return;
            }
            self.deadlines.pop_first();
            if let Some(member) = self.sessions.get_mut(&session) {
                member.deadline = None;
                member.server.handle_timeout(now);
            }
            self.settle(now, session);
        }
    }

    /// Returns what the driver is to do next, and for which session.
    pub fn poll_transmit(&mut self) -> Option<(SessionId, session::Transmit)> {
        self.transmits.pop_front()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) wants to be called next.
    pub fn poll_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn with(&mut self, now: Time, session: SessionId, act: impl FnOnce(&mut Server)) {
        if let Some(member) = self.sessions.get_mut(&session) {
            act(&mut member.server);
            self.settle(now, session);
        }
    }

    /// Does all that follows from what happened in a session, in others as well.
    fn settle(&mut self, now: Time, session: SessionId) {
        let mut touched = BTreeSet::from([session]);
        while let Some(session) = touched.pop_first() {
            while let Some(event) = self.sessions.get_mut(&session).and_then(|member| member.server.poll_event()) {
                self.note(now, session, event, &mut touched);
            }
            let Some(member) = self.sessions.get_mut(&session) else { continue };
            while let Some(transmit) = member.server.poll_transmit() {
                self.transmits.push_back((session, transmit));
            }
            let gone = member.gone_at.is_some_and(|at| now >= at) || (member.over && member.server.carriers() == 0);
            if gone {
                self.forget(now, session, &mut touched);
                continue;
            }
            let due = [member.server.poll_deadline().map(|it| it.at), member.gone_at].into_iter().flatten().min();
            if due != member.deadline {
                self.deadlines.extend(due.map(|at| (at, session)));
                if let Some(before) = std::mem::replace(&mut member.deadline, due) {
                    self.deadlines.remove(&(before, session));
                }
            }
        }
    }

    fn note(&mut self, now: Time, session: SessionId, event: Event, touched: &mut BTreeSet<SessionId>) {
        match event {
            Event::Offered { circuit, style, target } => self.ask(now, (session, circuit), style, &target, touched),
            Event::Accepted { circuit } => {
                if let Some(join) = self.joined.get(&(session, circuit)) {
                    let (to, circuit) = join.to;
                    self.command(now, to, Command::Accept { circuit }, touched);
                }
            }
            Event::Data { circuit, bytes } => match self.joined.get_mut(&(session, circuit)) {
                Some(join) => {
                    join.waiting.push_back(bytes);
                    self.pass(now, (session, circuit), touched);
                }
                // Nothing is said on a circuit that leads nowhere.
                None => self.end(now, (session, circuit), reason::UNKNOWN, touched),
            },
            Event::Writable { circuit } => {
                if let Some(join) = self.joined.get(&(session, circuit)) {
                    self.pass(now, join.to, touched);
                }
            }
            Event::Ended { circuit } => {
                let end = (session, circuit);
                match self.joined.get_mut(&end) {
                    Some(join) => {
                        join.ending = true;
                        self.pass(now, end, touched);
                    }
                    None => {
                        self.directory.forget(end);
                        self.command(now, session, Command::End { circuit }, touched);
                    }
                }
            }
            Event::Reset { circuit, reason } => {
                self.directory.forget((session, circuit));
                self.part(now, (session, circuit), reason, touched);
            }
            Event::Closed(why) => {
                tracing::debug!(?why, "a session is over");
                if let Some(member) = self.sessions.get_mut(&session) {
                    member.over = true;
                    member.gone_at = Some(now + FAREWELL_TIME);
                }
                self.leave(now, session, touched);
            }
            _ => {}
        }
    }

    /// Does what a circuit asks for.
    fn ask(&mut self, now: Time, end: End, style: Style, target: &[u8], touched: &mut BTreeSet<SessionId>) {
        let (session, circuit) = end;
        let Some(member) = self.sessions.get(&session) else { return };
        let target = Target::decode(target);
        let refused = match target {
            Some(Target::Peer(key)) => self.join(now, end, style, &key, touched).err(),
            Some(target @ Target::Register { .. }) => match target.proven(&member.hash) {
                Some(key) => {
                    if let Some(before) = self.directory.register(key, end) {
                        self.end(now, before, reason::REPLACED, touched);
                    }
                    self.command(now, session, Command::Accept { circuit }, touched);
                    None
                }
                None => Some(reason::UNPROVEN),
            },
            Some(Target::Announce { key, topic }) if self.directory.session_of(&key) == Some(session) => {
                self.directory.announce(topic, key, end);
                self.command(now, session, Command::Accept { circuit }, touched);
                None
            }
            Some(Target::Announce { .. }) => Some(reason::UNPROVEN),
            Some(Target::LookUp(topic)) => {
                let keys: Vec<u8> = self.directory.look_up(&topic).iter().flat_map(|key| key.0).collect();
                self.command(now, session, Command::Accept { circuit }, touched);
                self.command(now, session, Command::Send { circuit, bytes: keys.into() }, touched);
                self.command(now, session, Command::End { circuit }, touched);
                None
            }
            Some(Target::From(_)) | None => Some(reason::UNKNOWN),
        };
        if let Some(reason) = refused {
            self.command(now, session, Command::Reset { circuit, reason }, touched);
        }
    }

    /// Joins a circuit to a new one of the peer with that key.
    fn join(
        &mut self,
        now: Time,
        end: End,
        style: Style,
        key: &PublicKey,
        touched: &mut BTreeSet<SessionId>,
    ) -> Result<(), u64> {
        let to = self.directory.session_of(key).ok_or(reason::NOBODY)?;
        let member = self.sessions.get_mut(&to).ok_or(reason::NOBODY)?;
        let circuit = member.server.next_circuit().ok_or(reason::FULL)?;
        let target = Target::From(self.directory.key_of(end.0)).encode();
        self.command(now, to, Command::Open { circuit, style, target }, touched);
        let other = (to, circuit);
        let fresh = |to| Join { to, waiting: VecDeque::new(), ending: false, ended: false };
        self.joined.insert(end, fresh(other));
        self.joined.insert(other, fresh(end));
        Ok(())
    }

    /// Passes on what came on a circuit, as far as there is room.
    fn pass(&mut self, now: Time, from: End, touched: &mut BTreeSet<SessionId>) {
        while let Some(join) = self.joined.get_mut(&from) {
            let (to, circuit) = join.to;
            let Some(first) = join.waiting.front_mut() else {
                if join.ending {
                    self.finish(now, from, touched);
                }
                return;
            };
            let Some(member) = self.sessions.get_mut(&to) else { return };
            let room = member.server.send_room(circuit);
            if room == 0 {
                return;
            }
            let bytes = first.split_to(room.min(first.len()));
            if first.is_empty() {
                join.waiting.pop_front();
            }
            let consumed = Command::Consumed { circuit: from.1, bytes: bytes.len() as u64 };
            self.command(now, to, Command::Send { circuit, bytes }, touched);
            self.command(now, from.0, consumed, touched);
        }
    }

    /// Hands on the end of one direction; with the second one the two circuits are parted.
    fn finish(&mut self, now: Time, from: End, touched: &mut BTreeSet<SessionId>) {
        let Some(join) = self.joined.get_mut(&from).filter(|join| !join.ended) else { return };
        join.ended = true;
        let (to, circuit) = join.to;
        self.command(now, to, Command::End { circuit }, touched);
        if self.joined.get(&(to, circuit)).is_none_or(|back| back.ended) {
            self.joined.remove(&from);
            self.joined.remove(&(to, circuit));
        }
    }

    /// Ends both of two circuits, of which one was reset or is gone.
    fn part(&mut self, now: Time, end: End, reason: u64, touched: &mut BTreeSet<SessionId>) {
        let Some((to, circuit)) = self.joined.remove(&end).map(|join| join.to) else { return };
        self.joined.remove(&(to, circuit));
        self.command(now, to, Command::Reset { circuit, reason }, touched);
    }

    /// Ends a circuit of ours or theirs, for that reason.
    fn end(&mut self, now: Time, (session, circuit): End, reason: u64, touched: &mut BTreeSet<SessionId>) {
        self.directory.forget((session, circuit));
        self.command(now, session, Command::Reset { circuit, reason }, touched);
    }

    /// Parts all circuits of a session, and takes its keys and topics out of the directory.
    fn leave(&mut self, now: Time, session: SessionId, touched: &mut BTreeSet<SessionId>) {
        self.directory.forget_session(session);
        let from = (session, CircuitId(0));
        let own: Vec<End> = self.joined.range(from..).map(|(end, _)| *end).take_while(|end| end.0 == session).collect();
        own.into_iter().for_each(|end| self.part(now, end, reason::GONE, touched));
    }

    fn forget(&mut self, now: Time, session: SessionId, touched: &mut BTreeSet<SessionId>) {
        self.leave(now, session, touched);
        let Some(member) = self.sessions.remove(&session) else { return };
        let open = member.server.carrier_ids();
        self.transmits.extend(open.map(|carrier| (session, session::Transmit::Drop { carrier })));
        if let Some(at) = member.deadline {
            self.deadlines.remove(&(at, session));
        }
    }

    fn command(&mut self, now: Time, session: SessionId, command: Command, touched: &mut BTreeSet<SessionId>) {
        if let Some(member) = self.sessions.get_mut(&session) {
            member.server.handle_command(now, command);
            touched.insert(session);
        }
    }

    /// Returns what proves to a client that this relay does not know its session; a restarted relay says the same.
    fn forgotten_token(&self, session: SessionId) -> [u8; 16] {
        let secret = keyed_hash(self.identity.seed(), b"anypath forgotten sessions");
        let token = keyed_hash(&secret, &session.0);
        std::array::from_fn(|i| token[i])
    }
}

/// Compares without telling by its time how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// The part of all sessions that may be without a request; an honest one is so for a round trip.
const UNPROVEN_SHARE: usize = 4;
/// For how long a request is held at most, in milliseconds: as long as clients ask for.
const HOLD_MS_MAX: u64 = 50_000;
/// How long a session that is over waits for its client to hear of it.
const FAREWELL_TIME: Duration = Duration::from_secs(10);
