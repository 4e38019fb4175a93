//! Runs a node of a DHT on real sockets: datagrams and wishes in, datagrams and events out, woken by its deadlines.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use anypath_dht::{Ask, Command, Discovery, Event, Socket};
use anypath_transports::Udp;
use anypath_wire::{Time, Transmit};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// The sockets of a node: one, or two if it must learn from which of them it is reached.
#[derive(Debug)]
pub struct Sockets {
    server: Udp,
    client: Option<Udp>,
}

/// A running node of a DHT; it ends when this is dropped.
#[derive(Debug)]
pub struct Finder<N> {
    wishes: mpsc::Sender<Wish<N>>,
    events: broadcast::Sender<Event>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// What comes of one wish: events that have its number, the last of them [`Event::Done`]. Dropped, the rest is not told.
pub type Answers = mpsc::UnboundedReceiver<Event>;

/// A node that ended: the runtime is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the DHT node has ended")]
pub struct FinderEnded;

enum Wish<N> {
    Ask(Box<Ask>, mpsc::UnboundedSender<Event>),
    Look(Box<dyn FnOnce(&N) + Send>),
}

impl Sockets {
    /// Binds the server socket, and a client socket beside it at the same host if there shall be `two`.
    ///
    /// # Errors
    /// If a port is taken, or the address is not here.
    pub fn bind(server: SocketAddr, two: bool) -> io::Result<Self> {
        let client = two.then(|| Udp::bind(SocketAddr::new(server.ip(), 0))).transpose()?;
        Ok(Self { server: Udp::bind(server)?, client })
    }

    /// Binds a multicast group's port as the server socket.
    ///
    /// # Errors
    /// If a program that does not share has the port.
    pub fn multicast(group: SocketAddrV4) -> io::Result<Self> {
        Ok(Self { client: None, server: Udp::multicast(group)? })
    }

    /// Returns the address of the server socket.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the socket of that name; where there is one, it has both.
    fn named(&self, socket: Socket) -> &Udp {
        self.client.as_ref().filter(|_| socket == Socket::Client).unwrap_or(&self.server)
    }

    /// Waits for datagrams; returns the socket that has some.
    async fn readable(&self) -> io::Result<Socket> {
        let Some(client) = &self.client else { return self.server.readable().await.map(|()| Socket::Server) };
        tokio::select! {
            outcome = self.server.readable() => outcome.map(|()| Socket::Server),
            outcome = client.readable() => outcome.map(|()| Socket::Client),
        }
    }
}

impl<N: Discovery + Send + 'static> Finder<N> {
    /// Starts the node that `make` makes at the time zero of its clock, within the runtime of the caller.
    pub fn start(sockets: Sockets, make: impl FnOnce(Time) -> N) -> Self {
        let (wishes, wished) = mpsc::channel(WISHES_MAX);
        let events = broadcast::Sender::new(EVENTS_MAX);
        let address = sockets.address();
        let node = make(Time::ZERO);
        let driver = Driver {
            node,
            sockets,
            started: Instant::now(),
            events: events.clone(),
            asking: BTreeMap::new(),
            asked: 0,
        };
        let task = tokio::spawn(driver.run(wished));
        Self { wishes, events, address, task }
    }

    /// Returns the address of the server socket.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what the node tells of itself from now on: events about no wish.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Wishes for something; returns what comes of it as it comes.
    ///
    /// # Errors
    /// If the node has ended.
    pub async fn ask(&self, ask: Ask) -> Result<Answers, FinderEnded> {
        // A node tells of a few thousand peers a wish at most: that is the limit of this queue.
        let (sender, answers) = mpsc::unbounded_channel();
        self.wishes.send(Wish::Ask(Box::new(ask), sender)).await.map_err(|_| FinderEnded)?;
        Ok(answers)
    }

    /// Looks at the node.
    ///
    /// # Errors
    /// If the node has ended.
    pub async fn read<R: Send + 'static>(&self, look: impl FnOnce(&N) -> R + Send + 'static) -> Result<R, FinderEnded> {
        let (sender, seen) = oneshot::channel();
        let look = Wish::Look(Box::new(move |node| drop(sender.send(look(node)))));
        self.wishes.send(look).await.map_err(|_| FinderEnded)?;
        seen.await.map_err(|_| FinderEnded)
    }
}

impl<N> Drop for Finder<N> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the task of a node owns.
struct Driver<N> {
    node: N,
    sockets: Sockets,
    started: Instant,
    events: broadcast::Sender<Event>,
    /// Who waits for the events about a wish.
    asking: BTreeMap<u64, mpsc::UnboundedSender<Event>>,
    asked: u64,
}

impl<N: Discovery> Driver<N> {
    async fn run(mut self, mut wished: mpsc::Receiver<Wish<N>>) {
        let mut buffer = vec![0; Udp::DATAGRAM_BYTES_MAX];
        loop {
            self.drain().await;
            let deadline = self.node.poll_deadline().map(|deadline| self.instant(deadline.at));
            let due = async {
                match deadline {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                wish = wished.recv() => match wish {
                    Some(wish) => self.grant(wish),
                    None => return,
                },
                readable = self.sockets.readable() => match readable {
                    Ok(socket) => self.receive(socket, &mut buffer),
                    Err(error) => {
                        tracing::error!(at = %self.sockets.address(), %error, "the DHT node hears no more");
                        return;
                    }
                },
                () = due => self.node.handle_timeout(self.now()),
            }
        }
    }

    fn grant(&mut self, wish: Wish<N>) {
        match wish {
            Wish::Ask(ask, sender) => {
                self.asked += 1;
                self.asking.insert(self.asked, sender);
                let now = self.now();
                self.node.handle_command(now, Command { query: self.asked, ask: *ask });
            }
            Wish::Look(look) => look(&self.node),
        }
    }

    fn receive(&mut self, socket: Socket, buffer: &mut [u8]) {
        let now = self.now();
        let Self { node, sockets, .. } = self;
        let take = |from, datagram: &[u8]| node.handle_datagram(now, socket, from, datagram);
        sockets.named(socket).receive(buffer, take);
    }

    /// Takes everything out of the node.
    async fn drain(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.tell(event);
        }
        while let Some((socket, Transmit { to, datagram })) = self.node.poll_transmit() {
            self.sockets.named(socket).send(to, &datagram).await;
        }
    }

    fn tell(&mut self, event: Event) {
        let Some(query) = event.query() else {
            drop(self.events.send(event));
            return;
        };
        let is_last = matches!(event, Event::Done { .. });
        if let Some(sender) = self.asking.get(&query) {
            drop(sender.send(event));
        }
        if is_last {
            self.asking.remove(&query);
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }

    fn instant(&self, at: Time) -> Instant {
        self.started + at.since(Time::ZERO)
    }
}

/// Wishes that wait for the node to have a moment.
const WISHES_MAX: usize = 64;
/// Events about no wish that a subscriber may be behind.
const EVENTS_MAX: usize = 64;
