//! Wrong passwords make the next try wait longer: per name and peer address, so that a stranger keeps nobody out but
//! himself. A name that many addresses try is only slowed down. In memory: a restart forgives, an attacker who tries
//! many names is held up by the cost of each try.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postroom_model::Timestamp;

/// Failures without any delay.
const FREE_FAILURES: u32 = 5;
/// Longest delay in seconds.
const MAX_DELAY: i64 = 900;
/// How long each try takes longer for a name that was tried wrongly from many addresses.
const SLOW: Duration = Duration::from_millis(1_000);
/// Most pairs and names remembered; beyond it those whose delay is over are forgotten, and at worst all.
const MAX_KNOWN: usize = 10_000;

/// A name with the address it was tried from; the name alone without one.
type Key = (String, Option<IpAddr>);

#[derive(Default)]
pub(crate) struct Throttle(Mutex<HashMap<Key, Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    /// Second from which the next try is allowed, for a name alone is no longer slow.
    free_at: i64,
}

/// Seconds to wait after this many failures: 1, 2, 4 ... from the fifth on.
fn delay(failures: u32) -> i64 {
    match failures.checked_sub(FREE_FAILURES) {
        None => 0,
        Some(over) => 1_i64.checked_shl(over.min(20)).unwrap_or(MAX_DELAY).min(MAX_DELAY),
    }
}

/// The network that counts as one address: whoever has one IPv6 address has the 2^64 beside it.
fn network(peer: Option<IpAddr>) -> IpAddr {
    match peer.map(|peer| peer.to_canonical()) {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(IpAddr::V4(address)) => IpAddr::V4(address),
        Some(IpAddr::V6(address)) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

impl Throttle {
    fn known(&self) -> MutexGuard<'_, HashMap<Key, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds that `name` still has to wait from `peer`; 0 when it may be tried.
    pub(crate) fn wait(&self, name: &str, peer: Option<IpAddr>, now: Timestamp) -> i64 {
        let known = self.known();
        let pair = known.get(&(name.to_owned(), Some(network(peer))));
        pair.map_or(0, |failures| (failures.free_at - now.as_second()).max(0))
    }

    /// How much longer a try of `name` takes, from wherever: none unless it was tried wrongly again and again.
    pub(crate) fn slow(&self, name: &str, now: Timestamp) -> Duration {
        let known = self.known();
        let tried = known.get(&(name.to_owned(), None));
        let slow = tried.is_some_and(|tried| tried.count >= FREE_FAILURES && tried.free_at > now.as_second());
        if slow { SLOW } else { Duration::ZERO }
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, name: &str, peer: Option<IpAddr>, now: Timestamp) {
        let mut known = self.known();
        if known.len() + 2 > MAX_KNOWN {
            known.retain(|_, failures| failures.free_at > now.as_second());
            if known.len() + 2 > MAX_KNOWN {
                known.clear();
            }
        }
        for peer in [Some(network(peer)), None] {
            let failures =
                known.entry((name.to_owned(), peer)).or_insert(Failures { count: 0, free_at: i64::MIN });
            failures.count = failures.count.saturating_add(1);
            let rest = if peer.is_some() { delay(failures.count) } else { MAX_DELAY };
            failures.free_at = now.as_second() + rest;
        }
    }

    /// Forgets the failures of `name` from `peer`, and those of the name.
    pub(crate) fn succeeded(&self, name: &str, peer: Option<IpAddr>) {
        let mut known = self.known();
        for peer in [Some(network(peer)), None] {
            known.remove(&(name.to_owned(), peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn at(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn the_delay_grows_from_the_fifth_failure_on() {
        let table: Vec<i64> = (1..=9).map(delay).collect();
        assert_eq!(table, [0, 0, 0, 0, 1, 2, 4, 8, 16]);
        assert_eq!(delay(u32::MAX), MAX_DELAY);
    }

    #[test]
    fn a_success_forgives() {
        let throttle = Throttle::default();
        (0..6).for_each(|_| throttle.failed("ann", None, NOW));
        assert_eq!((throttle.wait("ann", None, NOW), throttle.wait("bob", None, NOW)), (2, 0));
        throttle.succeeded("ann", None);
        assert_eq!((throttle.wait("ann", None, NOW), throttle.slow("ann", NOW)), (0, Duration::ZERO));
    }

    #[test]
    fn a_stranger_keeps_nobody_out_but_himself() {
        let throttle = Throttle::default();
        (0..50).for_each(|_| throttle.failed("admin", at("203.0.113.7"), NOW));
        assert_eq!(throttle.wait("admin", at("203.0.113.7"), NOW), MAX_DELAY);
        assert_eq!(
            throttle.wait("admin", at("::ffff:203.0.113.7"), NOW),
            MAX_DELAY,
            "the same, otherwise written"
        );
        assert_eq!(throttle.wait("admin", at("198.51.100.1"), NOW), 0);
        assert_eq!((throttle.slow("admin", NOW), throttle.slow("ann", NOW)), (SLOW, Duration::ZERO));
        let later = Timestamp::from_second(MAX_DELAY).unwrap();
        assert_eq!(throttle.slow("admin", later), Duration::ZERO);
        (0..5).for_each(|_| throttle.failed("ann", at("2001:db8::1"), NOW));
        assert_eq!(throttle.wait("ann", at("2001:db8::2"), NOW), 1, "one network");
        assert_eq!(throttle.wait("ann", at("2001:db8:0:1::1"), NOW), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        (0..MAX_KNOWN).for_each(|number| throttle.failed(&number.to_string(), None, NOW));
        assert!(throttle.known().len() <= MAX_KNOWN);
    }
}
