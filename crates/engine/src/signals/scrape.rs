//! The figures that are asked of the store when somebody reads.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use postroom_model::credential::CredentialState;
use postroom_model::{Env, Timestamp};
use postroom_store::{Queues, Store, StoreError};
use tokio::time::Instant;

use super::{Headroom, Signals};

/// How long an answer serves: readers that come more often do not cost the store more.
const FRESH: Duration = Duration::from_secs(2);
/// Most connections whose credential is told: those that end first.
const CREDENTIALS: usize = 100;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// What was asked last.
#[derive(Debug, Default)]
pub(super) struct Last {
    asked_at: Option<Instant>,
    /// Events up to this place are counted.
    events: Option<i64>,
}

impl Signals {
    /// The figures as text (OpenMetrics 1.0). `mailboxes` is how many mailboxes are told one by one, those with the
    /// least headroom first; 0 for none.
    ///
    /// # Errors
    /// The store's. [`StoreError::Database`] also when the text cannot be written.
    pub async fn read(&self, store: &dyn Store, env: &Env, mailboxes: usize) -> Result<String, StoreError> {
        let mut last = self.scrape.lock().await;
        if last.asked_at.is_none_or(|asked| asked.elapsed() >= FRESH) {
            self.set_queues(&store.queues().await?, env.now());
            self.set_credentials(store, env.now()).await?;
            self.count_events(store, &mut last).await?;
            last.asked_at = Some(Instant::now());
        }
        self.families.waiting_writers.set(i64::from(store.waiting_writers()));
        self.set_headroom(mailboxes);
        let mut text = String::with_capacity(16_384);
        prometheus_client::encoding::text::encode(&mut text, &self.registry).map_err(|error| {
            StoreError::Database { operation: "write the figures", source: Box::new(error) }
        })?;
        Ok(text)
    }

    fn set_queues(&self, queues: &Queues, now: Timestamp) {
        let families = &self.families;
        for waiting in &queues.outbox {
            let labels = vec![("state", waiting.state.as_str().to_owned())];
            families.outbox_messages.get_or_create(&labels).set(whole(waiting.messages));
            families.outbox_oldest.get_or_create(&labels).set(age(waiting.oldest, now));
        }
        for waiting in &queues.inbox {
            let labels = vec![("state", waiting.state.as_str().to_owned())];
            families.inbox_messages.get_or_create(&labels).set(whole(waiting.messages));
            families.inbox_oldest.get_or_create(&labels).set(age(waiting.oldest, now));
        }
        for (state, count) in &queues.mailboxes {
            let labels = vec![("state", state.as_str().to_owned())];
            families.mailboxes.get_or_create(&labels).set(whole(*count));
        }
        families.collector_lag.set(age(queues.overdue_since, now));
    }

    async fn set_credentials(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let mut ends = Vec::new();
        for connection in store.connections().await? {
            let credentials = store.credentials(connection.id).await?;
            let current =
                credentials.into_iter().find(|credential| credential.state == CredentialState::Current);
            if let Some(end) = current.and_then(|credential| credential.expires_at) {
                ends.push((end, connection.id));
            }
        }
        ends.sort_unstable();
        let family = &self.families.credential_days;
        // A connection that was removed must not be told for ever.
        family.clear();
        for (end, connection) in ends.into_iter().take(CREDENTIALS) {
            let labels = vec![("connection", connection.to_string())];
            family.get_or_create(&labels).set(end.duration_since(now).as_secs_f64() / SECONDS_PER_DAY);
        }
        Ok(())
    }

    async fn count_events(&self, store: &dyn Store, last: &mut Last) -> Result<(), StoreError> {
        let counted = store.event_counts(last.events).await?;
        for (kind, count) in counted.counts {
            let labels = vec![("kind", kind.as_str().to_owned())];
            self.families.events.get_or_create(&labels).inc_by(count);
        }
        last.events = Some(counted.last);
        Ok(())
    }

    fn set_headroom(&self, mailboxes: usize) {
        let sources = self.headroom.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all: Vec<Headroom> = sources.iter().flat_map(|source| source.headroom()).collect();
        all.retain(|headroom| !headroom.left.is_nan());
        all.sort_by(|one, other| one.left.total_cmp(&other.left));
        let families = &self.families;
        families.headroom.clear();
        families.mailbox_headroom.clear();
        let mut least: BTreeMap<&'static str, f64> = BTreeMap::new();
        for headroom in &all {
            least.entry(headroom.budget).or_insert(headroom.left);
        }
        for (budget, left) in least {
            families.headroom.get_or_create(&vec![("budget", budget.to_owned())]).set(left);
        }
        let mut told = std::collections::BTreeSet::new();
        for headroom in all {
            if told.len() >= mailboxes && !told.contains(&headroom.mailbox) {
                continue;
            }
            told.insert(headroom.mailbox);
            let labels =
                vec![("mailbox", headroom.mailbox.to_string()), ("budget", headroom.budget.to_owned())];
            families.mailbox_headroom.get_or_create(&labels).set(headroom.left);
        }
    }
}

fn age(since: Option<Timestamp>, now: Timestamp) -> f64 {
    since.map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0))
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
