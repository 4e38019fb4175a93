//! From a name to whichever of its addresses answers: each has a head start before the next, in the manner of RFC 8305.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anypath_wire::Address;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::DialError;

/// How long everything may take, and how long an address is tried alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) limit_ms: u64,
    pub(crate) head_start_ms: u64,
}

/// Finds the addresses of a name and returns what `connect` makes of the first that answers.
///
/// Dropped, it gives up all attempts.
pub(crate) async fn reach<T, F>(
    to: &Address,
    patience: Patience,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, DialError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, DialError>> + Send + 'static,
{
    if to.port == 0 {
        return Err(DialError::NoPort { to: to.clone() });
    }
    let Patience { limit_ms, head_start_ms } = patience;
    let deadline = Instant::now() + Duration::from_millis(limit_ms);
    let addresses = match timeout_at(deadline, resolve(&to.host, to.port)).await {
        Ok(resolved) => resolved,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let addresses = addresses.map_err(|source| DialError::Name { host: to.host.clone(), source })?;

    let mut reasons = Vec::new();
    let first = connect_first(alternate(addresses), Duration::from_millis(head_start_ms), &mut reasons, connect);
    match timeout_at(deadline, first).await {
        Ok(Some(reached)) => return Ok(reached),
        Ok(None) => {}
        Err(_) => reasons.push(DialError::TimedOut { to: to.clone(), limit_ms }),
    }
    Err(if reasons.len() == 1 { reasons.remove(0) } else { DialError::AllFailed { to: to.clone(), reasons } })
}

/// Finds the addresses of a name, best first by the system's own rules; at least one.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
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

/// Returns the first to come about, or none when every address has failed.
async fn connect_first<T, F>(
    addresses: Vec<SocketAddr>,
    head_start: Duration,
    reasons: &mut Vec<DialError>,
    connect: impl Fn(SocketAddr) -> F,
) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, DialError>> + Send + 'static,
{
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    loop {
        if let Some(at) = waiting.next() {
            attempts.spawn(connect(at));
        }
        tokio::select! {
            attempt = attempts.join_next() => match attempt? {
                Ok(Ok(reached)) => return Some(reached),
                Ok(Err(reason)) => reasons.push(reason),
                // Ends the attempt like a failure would; nothing cancels one while this runs.
                Err(_) => {}
            },
            () = sleep(head_start), if waiting.len() > 0 => {}
        }
    }
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

    /// Port 1 refuses, 2 never answers, others do.
    async fn connect(at: SocketAddr) -> Result<u16, DialError> {
        match at.port() {
            1 => Err(DialError::Refused { to: "tcp://a:1".parse().unwrap() }),
            2 => std::future::pending().await,
            port => Ok(port),
        }
    }

    #[tokio::test]
    async fn a_failed_address_hands_over_to_the_next_and_says_why() {
        let mut reasons = Vec::new();
        // A head start no test would sit out: only the failure itself can have started the second attempt.
        let head_start = Duration::from_secs(3600);
        let first = connect_first(addresses(&["[::1]:1", "[::1]:3"]), head_start, &mut reasons, connect).await;
        assert_eq!(first, Some(3));
        assert!(matches!(&reasons[..], [DialError::Refused { .. }]));
    }

    #[tokio::test]
    async fn a_silent_address_does_not_keep_the_next_one_waiting() {
        let head_start = Duration::from_millis(10);
        let first = connect_first(addresses(&["[::1]:2", "[::1]:3"]), head_start, &mut Vec::new(), connect).await;
        assert_eq!(first, Some(3));
    }

    #[tokio::test]
    async fn when_all_fail_every_reason_is_kept() {
        let mut reasons = Vec::new();
        let all = addresses(&["[::1]:1", "[::1]:1"]);
        assert!(connect_first(all, Duration::ZERO, &mut reasons, connect).await.is_none());
        assert_eq!(reasons.len(), 2);
        assert!(connect_first(Vec::new(), Duration::ZERO, &mut reasons, connect).await.is_none());
    }
}
