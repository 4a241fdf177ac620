//! The tenant's clock: the environment's, moved forward on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use postroom_model::{Clock, Env, Random, Timestamp};

/// Furthest the clock can be moved: a hundred years.
pub(crate) const FURTHEST: i64 = 100 * 366 * 86_400;

/// A clock some seconds ahead of another.
pub(super) struct Shifted {
    inner: Env,
    ahead: AtomicI64,
}

/// Chance as it was.
struct Same(Env);

impl Random for Same {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

impl Shifted {
    /// An environment whose clock can be moved, and the clock to move.
    pub(super) fn over(inner: Env) -> (Env, Arc<Self>) {
        let clock = Arc::new(Self { inner: inner.clone(), ahead: AtomicI64::new(0) });
        (Env::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(Same(inner))), clock)
    }

    pub(super) fn advance(&self, seconds: i64) {
        let moved = self.ahead.load(Ordering::Acquire).saturating_add(seconds).min(FURTHEST);
        self.ahead.store(moved, Ordering::Release);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let now = self.inner.now();
        let ahead = u64::try_from(self.ahead.load(Ordering::Acquire)).unwrap_or(0);
        now.saturating_add(std::time::Duration::from_secs(ahead)).unwrap_or(now)
    }
}
