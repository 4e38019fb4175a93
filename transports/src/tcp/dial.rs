//! From a name to a connected stream: all addresses of the name, each with a head start before the next.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anypath_wire::{Address, Role};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::{NAME, TcpConfig, address, conn};
use crate::{Conn, DialError};

pub(super) async fn dial(config: &TcpConfig, to: &Address) -> Result<Conn, DialError> {
    if to.scheme != NAME {
        return Err(DialError::NotSpoken { transport: NAME, to: to.clone() });
    }
    if to.port == 0 {
        return Err(DialError::NoPort { to: to.clone() });
    }
    let limit_ms = config.dial_timeout_ms;
    let deadline = Instant::now() + Duration::from_millis(limit_ms);
    let addresses = match timeout_at(deadline, resolve(&to.host, to.port)).await {
        Ok(resolved) => resolved,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let addresses = addresses.map_err(|source| DialError::Name { host: to.host.clone(), source })?;

    let mut reasons = Vec::new();
    let head_start = Duration::from_millis(config.head_start_ms);
    match timeout_at(deadline, connect_first(alternate(addresses), head_start, &mut reasons)).await {
        Ok(Some(stream)) => {
            return conn(config, Role::Initiator, stream).map_err(|source| DialError::Io { to: to.clone(), source });
        }
        Ok(None) => {}
        Err(_) => reasons.push(DialError::TimedOut { to: to.clone(), limit_ms }),
    }
    Err(if reasons.len() == 1 { reasons.remove(0) } else { DialError::AllFailed { to: to.clone(), reasons } })
}

/// Finds the addresses of a name, best first by the system's own rules; at least one.
pub(super) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
}

/// Takes both families in turn, beginning with the one the system prefers: a broken family costs one head start.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|at| at.is_ipv6() == first_is_v6);
    let turns = preferred.len().max(other.len());
    (0..turns).flat_map(|i| [preferred.get(i), other.get(i)]).flatten().copied().collect()
}

/// Returns the first stream to come about, or none when every address has failed. Dropped, it gives up all attempts.
async fn connect_first(
    addresses: Vec<SocketAddr>,
    head_start: Duration,
    reasons: &mut Vec<DialError>,
) -> Option<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    loop {
        if let Some(at) = waiting.next() {
            attempts.spawn(connect(at));
        }
        tokio::select! {
            attempt = attempts.join_next() => match attempt? {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(reason)) => reasons.push(reason),
                // Ends the attempt like a failure would; nothing cancels one while this runs.
                Err(_) => {}
            },
            () = sleep(head_start), if waiting.len() > 0 => {}
        }
    }
}

async fn connect(at: SocketAddr) -> Result<TcpStream, DialError> {
    let to = || address(at);
    let stream = TcpStream::connect(at).await.map_err(|source| match source.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused { to: to() },
        _ => DialError::Io { to: to(), source },
    })?;
    // Dialling a port of this machine where nobody listens may by chance leave from that very port, and TCP then
    // connects the socket to itself.
    if stream.local_addr().is_ok_and(|local| local == at) { Err(DialError::Refused { to: to() }) } else { Ok(stream) }
}

/// How many addresses of one name are tried: no service of people needs more.
const ADDRESSES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_preferred_one_begins() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        assert_eq!(alternate(given), addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
        let given = addresses(&["1.1.1.1:1", "[::1]:1"]);
        assert_eq!(alternate(given.clone()), given);
        assert_eq!(alternate(Vec::new()), []);
    }

    #[tokio::test]
    async fn a_failed_address_hands_over_to_the_next_and_says_why() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let open = listener.local_addr().unwrap();
        let mut reasons = Vec::new();
        // A head start no test would sit out: only the failure itself can have started the second attempt.
        let stream = connect_first(vec![closed, open], Duration::from_secs(3600), &mut reasons).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(matches!(&reasons[..], [DialError::Refused { to }] if *to == address(closed)));
    }

    /// Linux answers nothing when a listener's queue is full, as a firewall does that drops what it dislikes.
    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_silent_address_does_not_keep_the_next_one_waiting() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = socket.listen(1).unwrap();
        let at = silent.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(at)).await {
            queued.push(stream.unwrap());
            assert!(queued.len() < 16, "the queue never fills");
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let stream = connect_first(vec![at, open], Duration::from_millis(10), &mut Vec::new()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
    }

    #[tokio::test]
    async fn when_all_fail_every_reason_is_kept() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut reasons = Vec::new();
        assert!(connect_first(vec![closed, closed], Duration::ZERO, &mut reasons).await.is_none());
        assert_eq!(reasons.len(), 2);
        assert!(connect_first(Vec::new(), Duration::ZERO, &mut reasons).await.is_none());
    }
}
