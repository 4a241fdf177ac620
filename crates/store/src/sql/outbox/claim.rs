//! The claim: what is due and not held back by its sender's lane.
//!
//! A lane is one sender on one connection. It is closed for a message while an older one of the lane is `accepted` or
//! `sending`, so that the order is kept, and while any other of the lane is held under a running lease, so that one
//! at a time is sent. A deferred message closes nothing. An attempt whose lease has ended closes the lane only for
//! younger ones: else an older message, released meanwhile, and the interrupted one would wait for each other.

use postroom_model::Timestamp;
use postroom_model::event::{EventKind, Subject};
use postroom_model::outbox::{OutboxMessage, OutboxState};

use super::message;
use crate::sql::SqlStore;
use crate::sql::broken::of_the_row;
use crate::sql::db::{Db, Row, query, query_scalar};
use crate::sql::dialect::Work;
use crate::sql::events::append;
use crate::sql::fault::Fault;
use crate::sql::rows::{Cells, key, micros};
use crate::{BlobRef, ClaimedMessage, Lease, NodeId};

/// Holds for a row `m` of `outbox` whose lane is open at the instant $1.
macro_rules! lane_is_open {
    () => {
        "NOT EXISTS (SELECT 1 FROM outbox o WHERE o.connection = m.connection AND o.sender = m.sender
                     AND o.sequence < m.sequence AND o.state IN ('accepted', 'sending'))
         AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.connection = m.connection AND o.sender = m.sender
                         AND o.state = 'sending' AND o.lease_until > $1 AND o.sequence <> m.sequence)"
    };
}

/// Of the due ones in open lanes the first of each lane: a lane may be open for several deferred ones.
pub(in crate::sql) const CLAIM: &str = concat!(
    "SELECT * FROM (
         SELECT m.*, row_number() OVER (PARTITION BY m.connection, m.sender ORDER BY m.due_at, m.sequence) AS place
         FROM outbox m WHERE m.due_at <= $1 AND ",
    lane_is_open!(),
    ") AS candidates WHERE place = 1 ORDER BY due_at, sequence LIMIT $2"
);

pub(in crate::sql) const NEXT_DUE: &str = concat!(
    "SELECT m.due_at FROM outbox m WHERE m.due_at IS NOT NULL
     AND (m.state = 'sending' AND m.lease_until > $1 OR (",
    lane_is_open!(),
    ")) ORDER BY m.due_at, m.sequence LIMIT 1"
);

impl SqlStore {
    pub(super) async fn write_claims(
        &self,
        owner: &NodeId,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedMessage>, Fault> {
        let mut transaction = self.begin_to(Work::ClaimMessages).await?;
        let due = query(CLAIM).bind(micros(self.env.now())).bind(limit).fetch_all(&mut *transaction).await?;
        let mut claimed = Vec::with_capacity(due.len());
        for row in &due {
            match message(row).and_then(|message| Ok((message, Cells::new("outbox", row).raw()?))) {
                Ok((before, raw)) => {
                    claimed.push(self.claim(&mut transaction, before, raw, owner, until).await?);
                }
                Err(fault) => self.hold_broken(&mut transaction, row, of_the_row(fault)?).await?,
            }
        }
        transaction.commit().await?;
        Ok(claimed)
    }

    async fn claim(
        &self,
        db: &mut Db,
        before: OutboxMessage,
        raw: BlobRef,
        owner: &NodeId,
        until: Timestamp,
    ) -> Result<ClaimedMessage, Fault> {
        let row = query(
            "UPDATE outbox SET state = 'sending', attempts = attempts + 1, next_attempt_at = NULL,
                 lease_owner = $1, lease_until = $2, fence = fence + 1
             WHERE id = $3 RETURNING *",
        )
        .bind(owner.as_str())
        .bind(micros(until))
        .bind(key(before.id.as_uuid()))
        .fetch_one(&mut *db)
        .await?;
        let claimed = message(&row)?;
        let cells = Cells::new("outbox", &row);
        let subject = Subject::OutboxMessage(claimed.id);
        if before.state == OutboxState::Sending {
            let event = self.event(subject, EventKind::OutboxInterrupted).attempt(before.attempts);
            append(db, &event).await?;
        }
        append(db, &self.event(subject, EventKind::OutboxAttempt).attempt(claimed.attempts)).await?;
        let lease = Lease { owner: owner.clone(), fence: cells.int("fence")?, until };
        Ok(ClaimedMessage { previous: before.state, raw, message: claimed, lease })
    }

    /// A row that cannot be read waits for a person, and holds up nobody else.
    async fn hold_broken(&self, db: &mut Db, row: &Row, reason: String) -> Result<(), Fault> {
        let cells = Cells::new("outbox", row);
        let reason = format!("held, because what is stored of it cannot be read: {reason}");
        tracing::error!(reason, "an outbox message is held");
        query(
            "UPDATE outbox SET state = 'held', next_attempt_at = NULL, last_words = $1,
                 lease_owner = NULL, lease_until = NULL, fence = fence + 1
             WHERE sequence = $2",
        )
        .bind(&reason)
        .bind(cells.int("sequence")?)
        .execute(&mut *db)
        .await?;
        let subject = Subject::OutboxMessage(cells.id("id")?);
        append(db, &self.event(subject, EventKind::OutboxHeld).words(reason)).await
    }

    /// When the first message in an open lane is due, or a running lease ends. One in a closed lane waits for what
    /// closes it.
    pub(super) async fn first_due(&self) -> Result<Option<i64>, Fault> {
        let now = micros(self.env.now());
        Ok(query_scalar(NEXT_DUE).bind(now).fetch_optional(&self.readers).await?)
    }
}
