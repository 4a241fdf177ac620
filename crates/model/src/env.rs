//! Time and chance as parameters, so that every test of a retry runs in no wall time and gives the same ids.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present instant, to the microsecond.
    fn now(&self) -> Timestamp;
}

/// A source of unpredictable bytes.
pub trait Random: Send + Sync {
    /// Fills `bytes`. Secrets are made of these, so the system's source must be cryptographically strong.
    fn fill(&self, bytes: &mut [u8]);
}

/// Clock and random source, handed to whatever needs one of them. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

impl Env {
    /// An environment of this clock and this source.
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random }
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Fills `bytes` from the random source.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    /// A fresh id: UUID version 7 (RFC 9562), so ids sort by the time they were made.
    pub fn new_id<I: From<uuid::Uuid>>(&self) -> I {
        I::from(self.new_uuid())
    }

    /// A fresh UUID version 7.
    pub fn new_uuid(&self) -> uuid::Uuid {
        let mut bytes = [0; 10];
        self.random.fill(&mut bytes);
        let millis = u64::try_from(self.now().as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }

    /// `length` characters of the alphabet `a-z2-7`, five bits of chance each: for keys and passwords that
    /// people copy.
    pub fn new_token(&self, length: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = vec![0; length];
        self.random.fill(&mut bytes);
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves the clock forward by `step`.
    pub fn advance(&self, step: SignedDuration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.saturating_add(step).unwrap_or(*now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reproducible source for tests (SplitMix64). Never for secrets.
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    /// A source that always yields the same bytes for the same `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in bytes {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = ((mixed ^ (mixed >> 31)) & 0xff) as u8;
        }
    }
}

impl Env {
    /// A test's environment: a clock that stands at 2026-11-23T10:00:00Z and a seeded source. The clock comes
    /// back beside it, to be moved.
    pub fn for_test(seed: u64) -> (Self, Arc<ManualClock>) {
        let start = Timestamp::from_second(1_795_428_000).unwrap_or(Timestamp::UNIX_EPOCH);
        let clock = Arc::new(ManualClock::new(start));
        (Self::new(clock.clone(), Arc::new(SeededRandom::new(seed))), clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let (env, clock) = Env::for_test(1);
        let first = env.new_uuid();
        clock.advance(SignedDuration::from_millis(1));
        let second = env.new_uuid();
        assert!(first < second);
        assert_eq!(first.get_version_num(), 7);
    }

    #[test]
    fn the_same_seed_gives_the_same_token_and_another_seed_another() {
        let token = |seed| Env::for_test(seed).0.new_token(20);
        assert_eq!(token(7), token(7));
        assert_ne!(token(7), token(8));
        assert_eq!(token(7).len(), 20);
    }
}
