//! All sessions of a relay, and what joins them: a circuit of one leads to a circuit of another.

mod passing;
mod weight;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anypath_transports::https::reason;
use anypath_transports::https::session::{
    self, CarrierId, CircuitId, Closed, Command, Event, Granted, Server, SessionId, Style,
};
use anypath_transports::https::{Admits, Descriptor, TAGS_MAX, Target};
use anypath_wire::{DiscoveryKey, KeyPair, PublicKey, Time, keyed_hash};
use bytes::Bytes;

use self::passing::Join;
use self::weight::Weight;
use crate::config::{Access, Config};
use crate::crowd::Seat;
use crate::directory::{Directory, End, Token};
use crate::metrics::Metrics;

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
    /// What all sessions keep, in bytes.
    kept_bytes: u64,
    metrics: Metrics,
    /// Nobody is let in any more: the relay is about to end.
    is_retiring: bool,
}

/// A request or a stream: whose, and which.
pub type Carrier = (SessionId, CarrierId);

/// A session.
struct Member {
    server: Server,
    /// The hash of its handshake.
    hash: [u8; 64],
    /// A key that it has proven.
    proven: Option<PublicKey>,
    /// When it is given up: unproven, or over and not fetched.
    gone_at: Option<Time>,
    /// When it is sent away, as the relay is about to end.
    leaves_at: Option<Time>,
    deadline: Option<Time>,
    over: bool,
    weight: Weight,
    /// Its place among those of its address.
    _seat: Option<Seat>,
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
            kept_bytes: 0,
            metrics: Metrics::default(),
            is_retiring: false,
        }
    }

    /// Returns what the relay says about itself, as far as the hub knows.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            key: self.identity.public(),
            version: 1,
            hold_ms_max: HOLD_MS_MAX,
            body_bytes_max: self.config.body_bytes_max as u64,
            admits: match self.config.access {
                Access::Open => Admits::All,
                Access::Token(_) => Admits::Token,
                Access::Keys(_) => Admits::Keys,
            },
            tags: self.config.tags.clamp(1, TAGS_MAX),
            tls_key: None,
            echo: None,
        }
    }

    /// Lets in whom it is told to from now on. A session by a key that is no longer among those told is over; by which
    /// token one came in is not looked at again.
    pub fn admit(&mut self, now: Time, access: Access) {
        self.config.access = access;
        let out: Vec<_> = self.sessions.iter().filter(|(_, member)| !self.admits(member)).map(|(id, _)| *id).collect();
        let mut touched = BTreeSet::new();
        for session in out {
            let proven = self.sessions.get(&session).is_some_and(|member| member.proven.is_some());
            if proven {
                self.command(now, session, Command::Close { reason: reason::NOT_ADMITTED }, &mut touched);
            }
        }
        touched.into_iter().for_each(|session| self.settle(now, session));
    }

    /// Whether a session may do what it likes, having shown what it was asked for.
    fn admits(&self, member: &Member) -> bool {
        let Access::Keys(keys) = &self.config.access else { return true };
        member.proven.is_some_and(|key| keys.contains(&key))
    }

    /// Lets nobody in any more, and sends the sessions away one after the other within that time, so that they do not all
    /// come back at once.
    pub fn retire(&mut self, now: Time, within: Duration) {
        self.is_retiring = true;
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
        for (turn, session) in (1..).zip(sessions) {
            // Their numbers are random, and so is their order.
            let after = within * turn / count;
            let mut touched = BTreeSet::from([session]);
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            self.command(now, session, Command::GoAway { after_ms }, &mut touched);
            if let Some(member) = self.sessions.get_mut(&session) {
                member.leaves_at = Some(now + after);
            }
            self.settle(now, session);
        }
    }

    /// Returns what the relay counts.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns what the relay signs with.
    pub(crate) fn identity(&self) -> &KeyPair {
        &self.identity
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

    /// Opens a session for a request to `/v1/o/<tag>`, with the place that it takes as long as it lives; `entropy` is fresh
    /// randomness. Returns the answer's body; nothing if the
    /// body is no such request, or there is no room.
    pub fn open(&mut self, now: Time, entropy: [u8; 48], tag: &str, body: &[u8], seat: Option<Seat>) -> Option<Bytes> {
        let (seed, id) = entropy.split_first_chunk::<32>()?;
        let Ok(asked) = session::ask(&self.identity, *seed, body) else {
            self.metrics.refused(reason::UNKNOWN);
            return None;
        };
        if let Access::Token(token) = &self.config.access
            && !same(token, &asked.token)
        {
            self.metrics.refused(reason::NOT_ADMITTED);
            return asked.refuse(reason::NOT_ADMITTED);
        }
        self.make_room(now);
        let full = self.sessions.len() >= self.config.sessions_max;
        if full || self.is_retiring {
            let reason = if full { reason::FULL } else { reason::RETIRING };
            self.metrics.refused(reason);
            return asked.refuse(reason);
        }
        let session = SessionId(id.try_into().ok()?);
        let granted = Granted {
            session,
            forgotten: self.forgotten_token(session),
            tag: tag.to_owned(),
            tags: self.config.tags.clamp(1, TAGS_MAX),
            proof: matches!(self.config.access, Access::Keys(_)),
        };
        let (answer, server, hash) = asked.grant(now, &granted, self.config.session.clone())?;
        let gone_at = Some(now + Duration::from_millis(self.config.unproven_ms_max));
        let member = Member {
            server,
            hash,
            proven: None,
            gone_at,
            leaves_at: None,
            deadline: None,
            over: false,
            weight: Weight::default(),
            _seat: seat,
        };
        self.sessions.insert(session, member);
        self.metrics.opened();
        tracing::info!(session = %brief(session), sessions = self.sessions.len(), "a session is open");
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
            self.forget(now, oldest, "unproven", &mut touched);
        }
        touched.into_iter().for_each(|session| self.settle(now, session));
    }

    /// Notes whether a request to a session is the first on its connection.
    pub fn note_connection(&mut self, session: SessionId, is_new: bool) {
        if let Some(member) = self.sessions.get_mut(&session) {
            member.server.note_connection(is_new);
        }
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
        self.settle_all(now, &mut touched);
        while self.kept_bytes > self.config.memory_bytes_max as u64
            && let Some(stuck) = self.most_stuck()
        {
            tracing::debug!(kept = self.kept_bytes, "a session is given up, for there is too little memory");
            self.forget(now, stuck, "memory", &mut touched);
            self.settle_all(now, &mut touched);
        }
    }

    /// Returns the session whose client has taken nothing for the longest time of what is kept for it.
    fn most_stuck(&self) -> Option<SessionId> {
        let keeping = self.sessions.iter().filter(|(_, member)| member.weight.bytes > 0);
        let stuck = keeping.min_by_key(|(_, member)| (member.weight.stuck_since, Reverse(member.weight.bytes)));
        stuck.map(|(session, _)| *session)
    }

    fn settle_all(&mut self, now: Time, touched: &mut BTreeSet<SessionId>) {
        while let Some(session) = touched.pop_first() {
            while let Some(event) = self.sessions.get_mut(&session).and_then(|member| member.server.poll_event()) {
                self.note(now, session, event, touched);
            }
            let Some(member) = self.sessions.get_mut(&session) else { continue };
            if member.leaves_at.take_if(|at| now >= *at).is_some() {
                member.server.handle_command(now, Command::Close { reason: reason::RETIRING });
                touched.insert(session);
                continue;
            }
            while let Some(transmit) = member.server.poll_transmit() {
                self.transmits.push_back((session, transmit));
            }
            let gone = member.gone_at.is_some_and(|at| now >= at) || (member.over && member.server.carriers() == 0);
            if gone {
                self.forget(now, session, "unproven", touched);
                continue;
            }
            self.kept_bytes -= member.weight.bytes;
            member.weight.note(now, member.server.kept_bytes());
            self.kept_bytes += member.weight.bytes;
            let due = [member.server.poll_deadline().map(|it| it.at), member.gone_at, member.leaves_at]
                .into_iter()
                .flatten()
                .min();
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
                tracing::info!(session = %brief(session), ?why, "a session is over");
                if let Some(member) = self.sessions.get_mut(&session) {
                    member.over = true;
                    member.gone_at = Some(now + FAREWELL_TIME);
                    self.metrics.over(ending(why), member.server.sent_again());
                }
                self.leave(now, session, touched);
            }
            _ => {}
        }
    }

    /// Does what a circuit asks for.
    fn ask(&mut self, now: Time, end: End, style: Style, target: &[u8], touched: &mut BTreeSet<SessionId>) {
        let (session, circuit) = end;
        let done = match Target::decode(target) {
            Some(target @ (Target::Register { .. } | Target::Prove { .. })) => self.prove(now, end, &target, touched),
            Some(_) if !self.sessions.get(&session).is_some_and(|member| self.admits(member)) => {
                Err(reason::NOT_ADMITTED)
            }
            Some(Target::Peer(key)) => self.lead(now, end, style, &key, touched),
            Some(Target::Any { topic, but }) => {
                let keys = self.directory.look_up(&topic);
                let others: Vec<_> = keys.iter().filter(|key| Some(**key) != but).collect();
                // The numbers of sessions are random: who is found by many is not always the same.
                let turn = usize::from(session.0[0]) % others.len().max(1);
                let key = others.get(turn).copied().ok_or(reason::NOBODY);
                key.and_then(|key| self.lead(now, end, style, key, touched))
            }
            Some(Target::Announce { key, topic }) => self.announce(now, end, key, topic, touched),
            Some(Target::LookUp(topic)) => {
                let keys: Vec<u8> = self.directory.look_up(&topic).iter().flat_map(|key| key.0).collect();
                self.command(now, session, Command::Accept { circuit }, touched);
                self.command(now, session, Command::Send { circuit, bytes: keys.into() }, touched);
                self.command(now, session, Command::End { circuit }, touched);
                Ok(())
            }
            Some(Target::Meet(token)) => {
                self.meet(now, end, token, touched);
                Ok(())
            }
            Some(Target::From(_)) | None => Err(reason::UNKNOWN),
        };
        if let Err(reason) = done {
            self.metrics.circuit_refused(reason);
            self.command(now, session, Command::Reset { circuit, reason }, touched);
        }
    }

    /// Takes a proof of a key, and registers it if that is asked for.
    fn prove(&mut self, now: Time, end: End, target: &Target, touched: &mut BTreeSet<SessionId>) -> Result<(), u64> {
        let (session, circuit) = end;
        let member = self.sessions.get_mut(&session).ok_or(reason::GONE)?;
        let key = target.proven(&member.hash).ok_or(reason::UNPROVEN)?;
        if matches!(&self.config.access, Access::Keys(keys) if !keys.contains(&key)) {
            return Err(reason::NOT_ADMITTED);
        }
        member.proven = Some(key);
        if matches!(target, Target::Register { .. })
            && let Some(before) = self.directory.register(key, end)
        {
            self.end(now, before, reason::REPLACED, touched);
        }
        self.command(now, session, Command::Accept { circuit }, touched);
        Ok(())
    }

    fn announce(
        &mut self,
        now: Time,
        end: End,
        key: PublicKey,
        topic: DiscoveryKey,
        touched: &mut BTreeSet<SessionId>,
    ) -> Result<(), u64> {
        // It may be registered in another session of the same peer: those of several tags may lead here.
        if self.sessions.get(&end.0).and_then(|member| member.proven) != Some(key) {
            return Err(reason::UNPROVEN);
        }
        self.directory.announce(topic, key, end);
        self.command(now, end.0, Command::Accept { circuit: end.1 }, touched);
        Ok(())
    }

    /// Joins two circuits with the same token; the first of them waits.
    fn meet(&mut self, now: Time, end: End, token: Token, touched: &mut BTreeSet<SessionId>) {
        let Some(other) = self.directory.pair(token, end) else { return };
        self.join(end, other);
        for (session, circuit) in [other, end] {
            self.command(now, session, Command::Accept { circuit }, touched);
        }
    }

    /// Joins a circuit to a new one of the peer with that key.
    fn lead(
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
        let from = self.sessions.get(&end.0).and_then(|member| member.proven);
        let target = Target::From(from).encode();
        self.command(now, to, Command::Open { circuit, style, target, first: Bytes::new() }, touched);
        self.join(end, (to, circuit));
        Ok(())
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

    fn forget(&mut self, now: Time, session: SessionId, why: &'static str, touched: &mut BTreeSet<SessionId>) {
        self.leave(now, session, touched);
        let Some(member) = self.sessions.remove(&session) else { return };
        self.kept_bytes -= member.weight.bytes;
        if !member.over {
            self.metrics.over(why, member.server.sent_again());
        }
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

/// Returns as much of a session's number as tells it from others in a log.
fn brief(session: SessionId) -> String {
    let [a, b, c, d, ..] = session.0;
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

/// What the end of a session is called.
fn ending(why: Closed) -> &'static str {
    match why {
        Closed::ByUs => "relay",
        Closed::ByPeer { .. } => "client",
        Closed::Silent => "silent",
        Closed::Misbehaved(_) => "misbehaved",
        _ => "other",
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
