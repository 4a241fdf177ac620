//! The system's clock and random source: the only place that reads them.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use postroom_model::{Clock, Env, Random, Timestamp};

/// The environment of the running program.
pub(crate) fn env() -> Env {
    Env::new(Arc::new(SystemClock), Arc::new(SystemSource(SystemRandom::new())))
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct SystemSource(SystemRandom);

impl Random for SystemSource {
    fn fill(&self, bytes: &mut [u8]) {
        // Fails only when the kernel has no entropy source at all; going on would make guessable keys.
        self.0.fill(bytes).expect("the system's random source answers");
    }
}
