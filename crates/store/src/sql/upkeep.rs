//! What waits, whether writes are taken, and who waits to write.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use postroom_model::Timestamp;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::MailboxState;
use postroom_model::outbox::OutboxState;

use super::SqlStore;
use super::broken::readable;
use super::db::{Db, Row, query, query_scalar};
use super::fault::Fault;
use super::open::compare_key;
use super::rows::{Cells, micros, time};
use crate::upkeep::{EventCounts, Queues, UpkeepStore, Waiting};
use crate::{BlobStore as _, StoreError};

/// States of the outbox that are counted: whatever is not finished for good, and the dead letters.
const OUTBOX: [OutboxState; 7] = [
    OutboxState::Accepted,
    OutboxState::Held,
    OutboxState::Scheduled,
    OutboxState::Sending,
    OutboxState::Deferred,
    OutboxState::Unknown,
    OutboxState::Failed,
];
const INBOX: [InboxState; 2] = [InboxState::Stored, InboxState::Quarantined];
const MAILBOXES: [MailboxState; 3] = [MailboxState::New, MailboxState::Running, MailboxState::Failing];

/// Writers that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Waiters(AtomicU32);

impl Waiters {
    /// Counts one until it is dropped.
    pub(super) fn enter(&self) -> Waiter<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiter(&self.0)
    }
}

/// One that waits.
pub(super) struct Waiter<'w>(&'w AtomicU32);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SqlStore {
    async fn write_pulse(&self) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        compare_key(&mut transaction, &self.sealer).await?;
        query(
            "INSERT INTO house (name, value) VALUES ('pulse', $1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(micros(self.env.now()).to_be_bytes().to_vec())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    async fn read_queues(&self) -> Result<Queues, Fault> {
        let mut db = self.readers.acquire().await?;
        let mut queues = Queues::default();
        for state in OUTBOX {
            let waiting = waiting(
                &mut db,
                "outbox",
                "SELECT count(*) AS messages FROM outbox WHERE state = $1",
                // Oldest by order, which is that of acceptance: its age needs no look at the others.
                "SELECT accepted_at FROM outbox WHERE state = $1 ORDER BY sequence LIMIT 1",
                state.as_str(),
            );
            let (messages, oldest) = waiting.await?;
            queues.outbox.push(Waiting { state, messages, oldest });
        }
        for state in INBOX {
            let waiting = waiting(
                &mut db,
                "inbox",
                "SELECT count(*) AS messages FROM inbox WHERE state = $1",
                "SELECT stored_at FROM inbox WHERE state = $1 ORDER BY received_at, sequence LIMIT 1",
                state.as_str(),
            );
            let (messages, oldest) = waiting.await?;
            queues.inbox.push(Waiting { state, messages, oldest });
        }
        let rows = query(
            "SELECT state, count(*) AS mailboxes FROM mailboxes WHERE removed_at IS NULL GROUP BY state",
        )
        .fetch_all(&mut db)
        .await?;
        let found: Vec<(MailboxState, u64)> = readable(&rows, |row: &Row| {
            let cells = Cells::new("mailboxes", row);
            Ok((cells.word("state")?, cells.count("mailboxes")?))
        })?;
        queues.mailboxes = MAILBOXES.map(|state| (state, of(&found, state))).to_vec();
        let overdue: Option<i64> =
            query_scalar("SELECT min(claimable_at) FROM mailboxes WHERE claimable_at <= $1")
                .bind(micros(self.env.now()))
                .fetch_one(&mut db)
                .await?;
        queues.overdue_since = overdue.map(|micros| time("mailboxes", micros)).transpose()?;
        Ok(queues)
    }

    async fn count_events(&self, after: Option<i64>) -> Result<EventCounts, Fault> {
        let Some(after) = after else {
            let last: Option<i64> =
                query_scalar("SELECT max(sequence) FROM events").fetch_one(&self.readers).await?;
            return Ok(EventCounts { last: last.unwrap_or(0), counts: Vec::new() });
        };
        let rows = query(
            "SELECT kind, count(*) AS events, max(sequence) AS last FROM events WHERE sequence > $1 GROUP BY kind",
        )
        .bind(after)
        .fetch_all(&self.readers)
        .await?;
        let counted = readable(&rows, |row: &Row| {
            let cells = Cells::new("events", row);
            Ok((cells.word("kind")?, cells.count("events")?, cells.int("last")?))
        })?;
        let last = counted.iter().map(|(.., last)| *last).max().unwrap_or(after);
        Ok(EventCounts {
            last,
            counts: counted.into_iter().map(|(kind, events, _)| (kind, events)).collect(),
        })
    }
}

/// How many rows are in a state, and the instant of the first.
async fn waiting(
    db: &mut Db,
    table: &'static str,
    count: &'static str,
    first: &'static str,
    state: &str,
) -> Result<(u64, Option<Timestamp>), Fault> {
    let messages: i64 = query_scalar(count).bind(state).fetch_one(&mut *db).await?;
    let oldest: Option<i64> = query_scalar(first).bind(state).fetch_optional(db).await?;
    Ok((u64::try_from(messages).unwrap_or(0), oldest.map(|micros| time(table, micros)).transpose()?))
}

fn of(found: &[(MailboxState, u64)], state: MailboxState) -> u64 {
    found.iter().find(|(known, _)| *known == state).map_or(0, |(_, count)| *count)
}

#[async_trait]
impl UpkeepStore for SqlStore {
    fn waiting_writers(&self) -> u32 {
        self.waiters.0.load(Ordering::Relaxed)
    }

    async fn prove_writable(&self) -> Result<(), StoreError> {
        self.write("prove that writes are taken", || self.write_pulse()).await?;
        // Dropped unfinished, it leaves nothing behind.
        drop(self.write_blob().await?);
        Ok(())
    }

    async fn queues(&self) -> Result<Queues, StoreError> {
        self.tell("count what waits", self.read_queues().await)
    }

    async fn event_counts(&self, after: Option<i64>) -> Result<EventCounts, StoreError> {
        self.tell("count events", self.count_events(after).await)
    }
}
