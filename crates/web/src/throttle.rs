//! Wrong passwords make the next try wait longer. In memory and per name: a restart forgives, an attacker who tries
//! many names is held up by the cost of each try.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use postroom_model::Timestamp;

/// Failures without any delay.
const FREE_FAILURES: u32 = 5;
/// Longest delay in seconds.
const MAX_DELAY: i64 = 900;
/// Most names remembered; beyond it those whose delay is over are forgotten, and at worst all.
const MAX_NAMES: usize = 10_000;

#[derive(Default)]
pub(crate) struct Throttle(Mutex<HashMap<String, Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    /// Second from which the next try is allowed.
    free_at: i64,
}

/// Seconds to wait after this many failures: 1, 2, 4 ... from the fifth on.
fn delay(failures: u32) -> i64 {
    match failures.checked_sub(FREE_FAILURES) {
        None => 0,
        Some(over) => 1_i64.checked_shl(over.min(20)).unwrap_or(MAX_DELAY).min(MAX_DELAY),
    }
}

impl Throttle {
    /// Seconds that `name` still has to wait; 0 when it may try.
    pub(crate) fn wait(&self, name: &str, now: Timestamp) -> i64 {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).map_or(0, |failures| (failures.free_at - now.as_second()).max(0))
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, name: &str, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_NAMES {
            known.retain(|_, failures| failures.free_at > now.as_second());
            if known.len() >= MAX_NAMES {
                known.clear();
            }
        }
        let failures = known.entry(name.to_owned()).or_insert(Failures { count: 0, free_at: 0 });
        failures.count = failures.count.saturating_add(1);
        failures.free_at = now.as_second() + delay(failures.count);
    }

    /// Forgets the failures of `name`.
    pub(crate) fn succeeded(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_from_the_fifth_failure_on() {
        let table: Vec<i64> = (1..=9).map(delay).collect();
        assert_eq!(table, [0, 0, 0, 0, 1, 2, 4, 8, 16]);
        assert_eq!(delay(u32::MAX), MAX_DELAY);
    }

    #[test]
    fn a_success_forgives() {
        let throttle = Throttle::default();
        let now = Timestamp::UNIX_EPOCH;
        (0..6).for_each(|_| throttle.failed("ann", now));
        assert_eq!((throttle.wait("ann", now), throttle.wait("bob", now)), (2, 0));
        throttle.succeeded("ann");
        assert_eq!(throttle.wait("ann", now), 0);
    }
}
