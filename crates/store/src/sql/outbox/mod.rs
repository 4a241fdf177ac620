//! Messages on their way out.

mod accept;
mod claim;
mod follow_up;

#[cfg(test)]
pub(super) use claim::{CLAIM, NEXT_DUE};

use async_trait::async_trait;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::outbox::{IdempotencyKey, OutboxMessage, OutboxState};
use postroom_model::{OutboxMessageId, Timestamp};

use super::SqlStore;
use super::broken::readable;
use super::db::{Db, Row, query};
use super::events::append;
use super::fault::{Fault, one_row, still_held};
use super::rows::{Cells, key, micros, time};
use crate::{
    Acceptance, BlobRef, BlobStore, ClaimedMessage, FinishAttempt, Lease, NewOutboxMessage, NodeId,
    OutboxFilter, OutboxStore, Page, StoreError,
};

fn message(row: &Row) -> Result<OutboxMessage, Fault> {
    let cells = Cells::new("outbox", row);
    Ok(OutboxMessage {
        id: cells.id("id")?,
        state: cells.word("state")?,
        connection: cells.id("connection")?,
        envelope: cells.json("envelope")?,
        message_id: cells.text("message_id")?,
        subject: cells.text("subject")?,
        size: cells.count("raw_size")?,
        accepted_at: cells.time("accepted_at")?,
        next_attempt_at: cells.opt_time("next_attempt_at")?,
        attempts: cells.count("attempts")?,
        provider_id: cells.opt_text("provider_id")?,
        last_words: cells.opt_text("last_words")?,
        submitted_by: cells.text("submitted_by")?,
        follow_up_of: cells.opt_id("follow_up_of")?,
    })
}

async fn find(db: &mut Db, id: OutboxMessageId) -> Result<Option<OutboxMessage>, Fault> {
    let query = query("SELECT * FROM outbox WHERE id = $1").bind(key(id.as_uuid()));
    query.fetch_optional(db).await?.as_ref().map(message).transpose()
}

fn subject(id: OutboxMessageId) -> impl FnOnce() -> String {
    move || format!("outbox message {id}")
}

impl SqlStore {
    /// Writes the end of an attempt; `accepted` is due at once, as nothing else would bring it back.
    async fn write_finish(&self, finish: &FinishAttempt) -> Result<(), Fault> {
        let operation = "finish an attempt";
        if finish.state == OutboxState::Sending {
            return Err(StoreError::Untouched { operation, subject: subject(finish.id)() }.into());
        }
        let next = match finish.state {
            OutboxState::Accepted => finish.next_attempt_at.or_else(|| Some(self.env.now())),
            _ => finish.next_attempt_at,
        };
        let mut transaction = self.begin().await?;
        let touched = query(
            "UPDATE outbox SET state = $1, next_attempt_at = $2, provider_id = coalesce($3, provider_id),
                 last_words = $4, lease_owner = NULL, lease_until = NULL
             WHERE id = $5 AND state = 'sending' AND lease_owner = $6 AND fence = $7",
        )
        .bind(finish.state.as_str())
        .bind(next.map(micros))
        .bind(&finish.provider_id)
        .bind(&finish.words)
        .bind(key(finish.id.as_uuid()))
        .bind(finish.lease.owner.as_str())
        .bind(finish.lease.fence)
        .execute(&mut *transaction)
        .await?;
        still_held(touched, operation, subject(finish.id))?;
        for event in &finish.events {
            append(&mut transaction, event).await?;
        }
        if let Some(follow_up) = &finish.follow_up {
            self.write_follow_up(&mut transaction, finish.id, follow_up).await?;
        }
        transaction.commit().await
    }

    async fn write_draft(
        &self,
        id: OutboxMessageId,
        lease: &Lease,
        provider_id: &str,
        event: &Event,
    ) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let touched = query(
            "UPDATE outbox SET provider_id = $1 WHERE id = $2 AND state = 'sending' AND lease_owner = $3 AND fence = $4",
        )
        .bind(provider_id)
        .bind(key(id.as_uuid()))
        .bind(lease.owner.as_str())
        .bind(lease.fence)
        .execute(&mut *transaction)
        .await?;
        still_held(touched, "note the draft", subject(id))?;
        append(&mut transaction, event).await?;
        transaction.commit().await
    }

    async fn write_extension(
        &self,
        id: OutboxMessageId,
        lease: &Lease,
        until: Timestamp,
    ) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let touched = query(
            "UPDATE outbox SET lease_until = $1 WHERE id = $2 AND state = 'sending' AND lease_owner = $3 AND fence = $4",
        )
        .bind(micros(until))
        .bind(key(id.as_uuid()))
        .bind(lease.owner.as_str())
        .bind(lease.fence)
        .execute(&mut *transaction)
        .await?;
        still_held(touched, "extend a lease", subject(id))?;
        transaction.commit().await
    }

    /// A person's wish. From which states it is possible stands in the statement, so a worker that claims at the
    /// same moment is either before it or after it.
    async fn write_wish(
        &self,
        id: OutboxMessageId,
        to: OutboxState,
        actor: &str,
    ) -> Result<OutboxMessage, Fault> {
        let operation = "change an outbox message";
        let (change, kind, next) = match to {
            OutboxState::Held => (
                "UPDATE outbox SET state = 'held', next_attempt_at = $1
                 WHERE id = $2 AND state IN ('accepted', 'scheduled', 'deferred') RETURNING *",
                EventKind::OutboxHeld,
                None,
            ),
            OutboxState::Accepted => (
                "UPDATE outbox SET state = 'accepted', next_attempt_at = $1
                 WHERE id = $2 AND state IN ('held', 'deferred', 'failed') RETURNING *",
                EventKind::OutboxReleased,
                Some(micros(self.env.now())),
            ),
            OutboxState::Cancelled => (
                "UPDATE outbox SET state = 'cancelled', next_attempt_at = $1
                 WHERE id = $2 AND state IN ('accepted', 'held', 'scheduled', 'deferred') RETURNING *",
                EventKind::OutboxCancelled,
                None,
            ),
            _ => return Err(StoreError::Untouched { operation, subject: subject(id)() }.into()),
        };
        let mut transaction = self.begin().await?;
        let changed = query(change).bind(next).bind(key(id.as_uuid())).fetch_all(&mut *transaction).await?;
        one_row(changed.len() as u64, operation, subject(id))?;
        let changed = message(&changed[0])?;
        let mut event = self.event(Subject::OutboxMessage(id), kind).actor(actor);
        if let Some(words) = changed.last_words.as_deref().filter(|_| changed.in_doubt()) {
            event = event.words(format!("although {words}"));
        }
        append(&mut transaction, &event).await?;
        transaction.commit().await?;
        Ok(changed)
    }

    async fn write_end_of_leases(&self) -> Result<u64, Fault> {
        let now = micros(self.env.now());
        let mut transaction = self.begin().await?;
        // The fence grows, so that no earlier holder can finish.
        let messages = query(
            "UPDATE outbox SET lease_owner = NULL, lease_until = CASE WHEN lease_until < $1 THEN lease_until ELSE $1 END, fence = fence + 1
             WHERE state = 'sending' AND lease_owner IS NOT NULL",
        )
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        let mailboxes = query(
            "UPDATE mailboxes SET lease_owner = NULL, lease_until = NULL, fence = fence + 1
             WHERE lease_owner IS NOT NULL",
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(messages + mailboxes)
    }

    async fn list_outbox(&self, filter: &OutboxFilter, page: Page) -> Result<Vec<OutboxMessage>, Fault> {
        let state = filter.state.map(|state| state.as_str());
        let query = match (state, &filter.submitted_by) {
            (Some(state), None) => {
                query("SELECT * FROM outbox WHERE state = $1 ORDER BY sequence DESC LIMIT $2 OFFSET $3").bind(state)
            }
            (Some(state), Some(submitter)) => query(
                "SELECT * FROM outbox WHERE submitted_by = $1 AND state = $2 ORDER BY sequence DESC LIMIT $3 OFFSET $4",
            )
            .bind(submitter)
            .bind(state),
            (None, Some(submitter)) => {
                query("SELECT * FROM outbox WHERE submitted_by = $1 ORDER BY sequence DESC LIMIT $2 OFFSET $3")
                    .bind(submitter)
            }
            (None, None) => query("SELECT * FROM outbox ORDER BY sequence DESC LIMIT $1 OFFSET $2"),
        };
        let rows = query.bind(page.bounded_limit()).bind(page.offset).fetch_all(&self.readers).await?;
        readable(&rows, message)
    }

    async fn raw_of(&self, id: OutboxMessageId) -> Result<BlobRef, Fault> {
        let rows = query("SELECT id, raw_sha256, raw_size FROM outbox WHERE id = $1")
            .bind(key(id.as_uuid()))
            .fetch_all(&self.readers)
            .await?;
        one_row(rows.len() as u64, "read a raw message", subject(id))?;
        Cells::new("outbox", &rows[0]).raw()
    }
}

#[async_trait]
impl OutboxStore for SqlStore {
    async fn accept(&self, message: NewOutboxMessage) -> Result<Acceptance, StoreError> {
        self.write("accept a message", || self.write_acceptance(&message)).await
    }

    async fn idempotent(
        &self,
        submitted_by: &str,
        key: &IdempotencyKey,
        request: &[u8; 32],
    ) -> Result<Option<Acceptance>, StoreError> {
        let work = async {
            let mut db = self.readers.acquire().await?;
            self.known_request(&mut db, submitted_by, key, request).await
        };
        self.tell("look up an idempotency key", work.await)
    }

    async fn claim_outbox(
        &self,
        owner: &NodeId,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedMessage>, StoreError> {
        self.write("claim messages", || self.write_claims(owner, until, limit)).await
    }

    async fn note_provider_draft(
        &self,
        id: OutboxMessageId,
        lease: &Lease,
        provider_id: &str,
        event: Event,
    ) -> Result<(), StoreError> {
        self.write("note the draft", || self.write_draft(id, lease, provider_id, &event)).await
    }

    async fn extend_outbox_lease(
        &self,
        id: OutboxMessageId,
        lease: &Lease,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("extend a lease", || self.write_extension(id, lease, until)).await
    }

    async fn finish_attempt(&self, finish: FinishAttempt) -> Result<(), StoreError> {
        self.write("finish an attempt", || self.write_finish(&finish)).await
    }

    async fn change_outbox(
        &self,
        id: OutboxMessageId,
        to: OutboxState,
        actor: &str,
    ) -> Result<OutboxMessage, StoreError> {
        self.write("change an outbox message", || self.write_wish(id, to, actor)).await
    }

    async fn outbox_message(&self, id: OutboxMessageId) -> Result<Option<OutboxMessage>, StoreError> {
        let work = async { find(&mut self.readers.acquire().await?, id).await };
        self.tell("read an outbox message", work.await)
    }

    async fn outbox_raw(&self, id: OutboxMessageId) -> Result<bytes::Bytes, StoreError> {
        let raw = self.tell("read a raw message", self.raw_of(id).await)?;
        self.blob(&raw).await
    }

    async fn outbox(&self, filter: &OutboxFilter, page: Page) -> Result<Vec<OutboxMessage>, StoreError> {
        self.tell("list the outbox", self.list_outbox(filter, page).await)
    }

    async fn outbox_counts(&self) -> Result<Vec<(OutboxState, u64)>, StoreError> {
        let work = async {
            let rows = query("SELECT state, count(*) AS messages FROM outbox GROUP BY state")
                .fetch_all(&self.readers)
                .await?;
            let count = |row: &Row| {
                let cells = Cells::new("outbox", row);
                Ok((cells.word("state")?, cells.count("messages")?))
            };
            readable(&rows, count)
        };
        self.tell("count the outbox", work.await)
    }

    async fn next_outbox_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let work = async {
            // What is beyond the calendar is never due, and must not hide that something else is.
            let due: Option<i64> = self.first_due().await?;
            Ok(due.map(|due| time("outbox", due).unwrap_or(Timestamp::MAX)))
        };
        self.tell("ask when the next message is due", work.await)
    }

    async fn end_all_leases(&self) -> Result<u64, StoreError> {
        self.write("end all leases", || self.write_end_of_leases()).await
    }
}
