//! The message that goes on for recipients that were refused for now, made in the transaction that ends the attempt.

use postroom_model::OutboxMessageId;
use postroom_model::event::{EventKind, Subject};
use postroom_model::outbox::{Envelope, OutboxState};

use super::{find, subject};
use crate::sql::SqlStore;
use crate::sql::db::{Db, query};
use crate::sql::events::append;
use crate::sql::fault::{Fault, one_row};
use crate::sql::rows::{key, micros, to_json};
use crate::{FollowUp, StoreError};

impl SqlStore {
    pub(super) async fn write_follow_up(
        &self,
        db: &mut Db,
        parent: OutboxMessageId,
        follow_up: &FollowUp,
    ) -> Result<(), Fault> {
        let operation = "make a follow-up";
        let not_there = || StoreError::Untouched { operation, subject: subject(parent)() };
        let from = find(db, parent).await?.ok_or_else(not_there)?.envelope.from;
        let envelope = to_json("outbox", &Envelope { from, to: follow_up.to.clone() })?;
        let made = query(
            "INSERT INTO outbox (id, state, connection, sender, envelope, message_id, subject, raw_sha256, raw_size,
                                 accepted_at, next_attempt_at, last_words, submitted_by, follow_up_of)
             SELECT $1, $2, connection, sender, $3, message_id, subject, raw_sha256, raw_size,
                    accepted_at, $4, $5, submitted_by, id FROM outbox WHERE id = $6",
        )
        .bind(key(follow_up.id.as_uuid()))
        .bind(OutboxState::Deferred.as_str())
        .bind(envelope)
        .bind(micros(follow_up.next_attempt_at))
        .bind(&follow_up.words)
        .bind(key(parent.as_uuid()))
        .execute(&mut *db)
        .await?;
        one_row(made, operation, subject(parent))?;
        let event = self.event(Subject::OutboxMessage(follow_up.id), EventKind::OutboxFollowUp);
        append(db, &event.words(format!("of message {parent}: {}", follow_up.words))).await
    }
}
