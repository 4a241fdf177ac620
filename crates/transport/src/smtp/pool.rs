//! Kept connections: at most so many to one server as one user, closed with QUIT when nobody needs them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use postroom_model::{Env, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::Limits;
use super::client::Client;

/// Most connections to one server as one user: Exchange Online takes three and answers `432 4.3.2` to the fourth.
const SIGNED_IN: usize = 3;
/// Most connections to one server as nobody. Postfix takes 50 from one address (`smtpd_client_connection_count_limit`).
const AS_NOBODY: usize = 10;

/// What tells whether a kept connection may be used: TLS mode, flow and secret, as a keyed digest.
pub(super) type Fingerprint = [u8; 32];

/// Whom connections lead to, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    /// Blank for nobody.
    pub(super) user: String,
}

/// The connections of one process. The digests' key is made at its start and never leaves it.
pub(crate) struct Pool {
    key: hmac::Key,
    limits: Limits,
    slots: Mutex<HashMap<Place, Arc<Slot>>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

/// The connections of one place.
struct Slot {
    /// One for each connection in use. Kept ones need none: a new one is opened only when none is kept, so together
    /// they never are more.
    permits: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// In the order in which they were put back.
    clients: Vec<Idle>,
    /// Whether somebody watches over their time.
    watched: bool,
}

struct Idle {
    client: Client,
    fingerprint: Fingerprint,
    since: Instant,
}

impl Pool {
    /// An empty one.
    pub(crate) fn new(env: &Env, limits: Limits) -> Self {
        let mut key = [0; 32];
        env.fill(&mut key);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), limits, slots: Mutex::default() }
    }

    /// Time limits.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A digest of `parts`, which cannot be turned back.
    pub(super) fn fingerprint(&self, parts: &[&str]) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }

    /// Waits until one more connection to this place may be in use. None when all were in use for too long.
    pub(super) async fn turn(&self, place: &Place) -> Option<Turn> {
        let slot = self.slot(place);
        let permit =
            timeout(self.limits.command, Arc::clone(&slot.permits).acquire_owned()).await.ok()?.ok()?;
        Some(Turn { slot, _permit: permit, keep: self.limits.keep })
    }

    /// The slot of this place. When a new one is made, those go that nobody uses: whoever sends holds theirs, and so does
    /// whoever watches over kept connections.
    fn slot(&self, place: &Place) -> Arc<Slot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(place) {
            return Arc::clone(slot);
        }
        slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        let most = if place.user.is_empty() { AS_NOBODY } else { SIGNED_IN };
        let slot = Arc::new(Slot { permits: Arc::new(Semaphore::new(most)), kept: Mutex::default() });
        slots.insert(place.clone(), Arc::clone(&slot));
        slot
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Place, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to use one connection.
pub(super) struct Turn {
    slot: Arc<Slot>,
    _permit: OwnedSemaphorePermit,
    keep: Duration,
}

impl Turn {
    /// A kept connection that lives and was opened for the same secret; the others are closed.
    pub(super) async fn kept(&self, fingerprint: &Fingerprint, now: Timestamp) -> Option<Client> {
        loop {
            let mut idle = self.slot.kept().clients.pop()?;
            let waited = idle.since.elapsed();
            let fits = idle.fingerprint == *fingerprint
                && waited < self.keep
                && idle.client.until.is_none_or(|until| until > now);
            if fits && idle.client.is_alive(waited).await {
                return Some(idle.client);
            }
            idle.client.quit().await;
        }
    }

    /// Keeps a connection for the next message.
    pub(super) fn keep(self, client: Client, fingerprint: Fingerprint) {
        let mut kept = self.slot.kept();
        kept.clients.push(Idle { client, fingerprint, since: Instant::now() });
        if !std::mem::replace(&mut kept.watched, true) {
            drop(kept);
            tokio::spawn(watch(Arc::clone(&self.slot), self.keep));
        }
    }
}

impl Slot {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections whose time is over, and when the next one's is; none when none is left to watch.
    fn over(&self, keep: Duration) -> (Vec<Idle>, Option<Instant>) {
        let mut kept = self.kept();
        let old = kept.clients.iter().take_while(|idle| idle.since.elapsed() >= keep).count();
        let over = kept.clients.drain(..old).collect();
        let next = kept.clients.first().map(|idle| idle.since + keep);
        kept.watched = next.is_some();
        (over, next)
    }
}

/// Closes kept connections when their time is over, and ends with the last of them.
async fn watch(slot: Arc<Slot>, keep: Duration) {
    loop {
        let (over, next) = slot.over(keep);
        for idle in over {
            idle.client.quit().await;
        }
        let Some(next) = next else { return };
        sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_that_nobody_uses_any_more_is_forgotten_and_one_in_use_keeps_its_count() {
        let (env, _clock) = Env::for_test(1);
        let pool = Pool::new(&env, Limits::default());
        let place = |number: usize| Place {
            host: "mail.contoso.example".into(),
            port: 587,
            user: format!("u{number}@contoso.example"),
        };
        let first = pool.turn(&place(0)).await.unwrap();
        for number in 1..1_000 {
            drop(pool.turn(&place(number)).await.unwrap());
        }
        assert_eq!(pool.slots().len(), 2);
        assert_eq!(pool.slot(&place(0)).permits.available_permits(), SIGNED_IN - 1);
        drop(first);
        drop(pool.turn(&place(1_000)).await.unwrap());
        assert_eq!(pool.slots().len(), 1);
    }
}
