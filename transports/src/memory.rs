//! Streams within one process: for tests, demonstrations and simulated company.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anypath_wire::{Address, ListenAt, Role};
use tokio::io::duplex;
use tokio::sync::mpsc;

use crate::{AcceptError, BoxFuture, Conn, DialError, ListenError, Listener, Transport};

/// A network of its own, reached through this value and its clones: `memory://name:port`.
///
/// Names and ports mean nothing but themselves; port 0 is a port like any other here. Each direction of a stream
/// holds at most 64 KiB.
#[derive(Clone, Default)]
pub struct Memory {
    network: Arc<Network>,
}

impl Memory {
    /// Makes a network with nobody in it.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Transport for Memory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn speaks(&self, to: &Address) -> bool {
        to.scheme == NAME
    }

    /// Waits while 128 peers wait to be accepted there.
    fn dial<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, Result<Conn, DialError>> {
        Box::pin(async move {
            if !self.speaks(to) {
                return Err(DialError::NotSpoken { transport: NAME, to: to.clone() });
            }
            let refused = || DialError::Refused { to: to.clone() };
            let queue = self.network.places().get(to).cloned().ok_or_else(refused)?;
            let (ours, theirs) = pair(self.network.next_dialler(), to.clone());
            queue.send(theirs).await.map_err(|_| refused())?;
            Ok(ours)
        })
    }

    fn listen<'a>(&'a self, at: &'a ListenAt) -> BoxFuture<'a, Result<Box<dyn Listener>, ListenError>> {
        Box::pin(async move {
            if at.scheme != NAME {
                return Err(ListenError::NotSpoken { transport: NAME, at: at.clone() });
            }
            let (entrance, waiting) = mpsc::channel(WAITING_MAX);
            let mut places = self.network.places();
            for port in at.ports.clone() {
                let address = Address { scheme: at.scheme.clone(), host: at.host.clone(), port, key: None };
                if let Entry::Vacant(place) = places.entry(address.clone()) {
                    place.insert(entrance);
                    let network = self.network.clone();
                    return Ok(Box::new(MemoryListener { network, address, waiting }) as Box<dyn Listener>);
                }
            }
            Err(ListenError::InUse { at: at.clone() })
        })
    }
}

/// Who listens where.
#[derive(Default)]
struct Network {
    places: Mutex<BTreeMap<Address, mpsc::Sender<Conn>>>,
    diallers: AtomicU16,
}

impl Network {
    /// Nothing panics while it is held, so poison would say nothing.
    fn places(&self) -> MutexGuard<'_, BTreeMap<Address, mpsc::Sender<Conn>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an address to show for an end that dials; after 65,536 of them they repeat.
    fn next_dialler(&self) -> Address {
        let port = self.diallers.fetch_add(1, Ordering::Relaxed);
        Address { scheme: NAME.to_owned(), host: "dialler".to_owned(), port, key: None }
    }
}

struct MemoryListener {
    network: Arc<Network>,
    address: Address,
    waiting: mpsc::Receiver<Conn>,
}

impl Listener for MemoryListener {
    fn address(&self) -> Address {
        self.address.clone()
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Conn, AcceptError>> {
        Box::pin(async {
            match self.waiting.recv().await {
                Some(conn) => Ok(conn),
                // The network holds the other end for as long as this listener lives.
                None => std::future::pending().await,
            }
        })
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.network.places().remove(&self.address);
    }
}

/// Makes both ends of a stream. One pipe for each direction, so that dropping a writer ends that direction alone.
fn pair(dialler: Address, listener: Address) -> (Conn, Conn) {
    let (their_writer, our_reader) = duplex(PIPE_BYTES_MAX);
    let (our_writer, their_reader) = duplex(PIPE_BYTES_MAX);
    let end = |role, local, remote, reader, writer| Conn {
        role,
        remote,
        local,
        transport: NAME,
        moves: None,
        reader: Box::new(reader),
        writer: Box::new(writer),
    };
    let ours = end(Role::Initiator, dialler.clone(), listener.clone(), our_reader, our_writer);
    let theirs = end(Role::Responder, listener, dialler, their_reader, their_writer);
    (ours, theirs)
}

/// The ladder's word for it, and the scheme of its addresses.
const NAME: &str = "memory";
/// How much one direction of a stream holds, in bytes: a whole frame of the usual block size.
const PIPE_BYTES_MAX: usize = 64 << 10;
/// How many peers may wait to be accepted at one place; as many as common systems queue for a socket.
const WAITING_MAX: usize = 128;
