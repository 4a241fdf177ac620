//! Back-pressure: whether one more message may wait for the store, decided before anything of it is stored.
//!
//! A message that has been let in is answered by what the store says, however long that takes: whoever was told *busy*
//! may rely on it that nothing was kept. So a slow store refuses those who come, never those who are inside.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bounds of the queue before the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// Most messages that wait for the store, and most writers that wait inside of it. Default 1,000.
    pub waiting: u32,
    /// How long storing one message may take before others are refused, in milliseconds. Default 10,000.
    pub stall_ms: u32,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { waiting: 1_000, stall_ms: 10_000 }
    }
}

/// Why a message is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Too many wait.
    Queue,
    /// One that was let in is still not stored.
    Stalled,
}

impl Busy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Stalled => "stalled",
        }
    }
}

/// The door before the store.
#[derive(Debug)]
pub(crate) struct Gate {
    pressure: Pressure,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

impl Gate {
    pub(crate) fn new(pressure: Pressure) -> Self {
        Self { pressure, inside: Mutex::default() }
    }

    /// Lets one in, or says why not. `writers` is how many wait inside the store for their turn.
    pub(crate) fn enter(&self, writers: u32) -> Result<Pass<'_>, Busy> {
        let mut inside = self.inside();
        let stall = Duration::from_millis(u64::from(self.pressure.stall_ms));
        // Numbers grow with time, so the first is the oldest.
        if inside.since.first_key_value().is_some_and(|(_, since)| since.elapsed() > stall) {
            return Err(Busy::Stalled);
        }
        let most = usize::try_from(self.pressure.waiting).unwrap_or(usize::MAX);
        if inside.since.len() >= most || writers >= self.pressure.waiting {
            return Err(Busy::Queue);
        }
        let number = inside.next;
        inside.next += 1;
        inside.since.insert(number, Instant::now());
        Ok(Pass { gate: self, number })
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is inside, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'g> {
    gate: &'g Gate,
    number: u64,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.inside().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_while_one_is_stuck_is_refused_until_it_is_through() {
        let gate = Gate::new(Pressure { waiting: 10, stall_ms: 500 });
        let stuck = gate.enter(0).unwrap();
        tokio::time::advance(Duration::from_millis(400)).await;
        let later = gate.enter(0).unwrap();
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(gate.enter(0).unwrap_err(), Busy::Stalled);
        drop(stuck);
        assert!(gate.enter(0).is_ok(), "the second came later");
        drop(later);
    }

    #[test]
    fn the_writers_that_wait_inside_the_store_count_too() {
        let gate = Gate::new(Pressure { waiting: 3, stall_ms: 500 });
        assert_eq!(gate.enter(3).unwrap_err(), Busy::Queue);
        assert!(gate.enter(2).is_ok());
    }
}
