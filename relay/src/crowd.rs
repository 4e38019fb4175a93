//! Who is here from which address, how many may be, and how fast they may come.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use governor::clock::MonotonicClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use hyper::HeaderMap;

/// Counts who is here by address; of IPv6, by the 64 bits that a network gives to one site.
#[derive(Debug, Clone)]
pub(crate) struct Crowd(Arc<Room>);

#[derive(Debug)]
struct Room {
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
    most: usize,
}

/// The place of one who is here; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    crowd: Crowd,
    address: IpAddr,
}

impl Crowd {
    /// Makes one with so many places for each address.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Room { by_address: Mutex::default(), most }))
    }

    /// Takes a place, if one is left.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Seat> {
        let address = site(address);
        let mut by_address = self.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= self.0.most {
            return None;
        }
        *count += 1;
        Some(Seat { crowd: self.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_address = self.crowd.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// How fast sessions are opened from each address.
pub(crate) struct Pace {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, MonotonicClock>,
    asked: AtomicU32,
}

impl Pace {
    /// Makes one: so many a minute, and as many at once.
    pub(crate) fn new(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::hashmap_with_clock(Quota::per_minute(per_minute), MonotonicClock),
            asked: AtomicU32::new(0),
        }
    }

    /// Returns whether one more may be opened now.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(ASKED_MAX) {
            // Addresses that were quiet for long are like those never seen.
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&site(address)).is_ok()
    }
}

/// Returns whose address counts: the peer's, or what a front says of whom it speaks for. Only the last name in
/// `X-Forwarded-For` is the front's own; those before it are what it was told.
pub(crate) fn address_of(peer: IpAddr, fronts: &[IpAddr], headers: &HeaderMap) -> IpAddr {
    if !fronts.contains(&peer.to_canonical()) {
        return peer;
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    last.and_then(|value| value.rsplit(',').next()?.trim().parse().ok()).unwrap_or(peer)
}

fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

/// After so many questions the addresses that are kept are looked through.
const ASKED_MAX: u32 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_given_back() {
        let crowd = Crowd::new(2);
        let (one, two) = (crowd.enter(at("192.0.2.1")), crowd.enter(at("::ffff:192.0.2.1")));
        assert!(one.is_some() && two.is_some() && crowd.enter(at("192.0.2.1")).is_none());
        assert!(crowd.enter(at("192.0.2.2")).is_some());
        drop(one);
        assert!(crowd.enter(at("192.0.2.1")).is_some());
        let sites = [crowd.enter(at("2001:db8::1")), crowd.enter(at("2001:db8::2"))];
        assert!(sites.iter().all(Option::is_some) && crowd.enter(at("2001:db8::3")).is_none());
    }

    #[test]
    fn whoever_hurries_waits_and_nobody_else() {
        let pace = Pace::new(NonZeroU32::new(3).unwrap());
        let [one, two] = [at("192.0.2.1"), at("192.0.2.2")];
        assert!((0..3).all(|_| pace.allows(one)) && !pace.allows(one) && pace.allows(two));
    }

    #[test]
    fn only_a_front_is_believed_and_only_its_own_word() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "10.0.0.1, 192.0.2.9".parse().unwrap());
        let (front, stranger) = (at("127.0.0.1"), at("198.51.100.1"));
        assert_eq!(address_of(front, &[front], &headers), at("192.0.2.9"));
        assert_eq!(address_of(stranger, &[front], &headers), stranger);
        headers.append("x-forwarded-for", "2001:db8::5".parse().unwrap());
        assert_eq!(address_of(front, &[front], &headers), at("2001:db8::5"));
        headers.append("x-forwarded-for", "unknown".parse().unwrap());
        assert_eq!(address_of(front, &[front], &headers), front);
    }
}
