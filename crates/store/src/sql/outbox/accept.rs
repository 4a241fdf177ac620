//! Acceptance: row, idempotency key and event in one synced transaction.

use postroom_model::event::{EventKind, Subject};
use postroom_model::outbox::{IdempotencyKey, OutboxState};

use super::{find, message};
use crate::sql::SqlStore;
use crate::sql::db::{Db, query};
use crate::sql::events::append;
use crate::sql::fault::Fault;
use crate::sql::rows::{Cells, key, micros, number, to_json};
use crate::{Acceptance, NewOutboxMessage, StoreError};

/// How long an idempotency key is remembered: 7 days.
const KEY_AGE_MICROS: i64 = 7 * 24 * 60 * 60 * 1_000_000;

impl SqlStore {
    /// Keys of this age and more are forgotten.
    fn forgotten_before(&self) -> i64 {
        micros(self.env.now()).saturating_sub(KEY_AGE_MICROS)
    }

    /// What a key stands for; none when it is fresh, or forgotten.
    pub(super) async fn known_request(
        &self,
        db: &mut Db,
        submitted_by: &str,
        idempotency: &IdempotencyKey,
        request: &[u8; 32],
    ) -> Result<Option<Acceptance>, Fault> {
        let known = query(
            "SELECT request, message FROM idempotency_keys WHERE submitted_by = $1 AND key = $2 AND created_at >= $3",
        )
        .bind(submitted_by)
        .bind(idempotency.as_str())
        .bind(self.forgotten_before())
        .fetch_optional(&mut *db)
        .await?;
        let Some(known) = known else { return Ok(None) };
        let cells = Cells::new("idempotency_keys", &known);
        let first = cells.id("message")?;
        if cells.bytes("request")?.as_deref() != Some(request.as_slice()) {
            return Ok(Some(Acceptance::KeyConflict { first }));
        }
        let first = find(db, first).await?.ok_or_else(|| StoreError::Contradiction {
            table: "idempotency_keys",
            row: idempotency.as_str().to_owned(),
            what: "its message is missing".to_owned(),
        })?;
        Ok(Some(Acceptance::Repeated(first)))
    }

    pub(super) async fn write_acceptance(&self, new: &NewOutboxMessage) -> Result<Acceptance, Fault> {
        // Whatever can fail for another reason than the database comes before the transaction.
        let envelope = to_json("outbox", &new.envelope)?;
        let mut transaction = self.begin().await?;
        if let Some((idempotency, request)) = &new.idempotency {
            let known = self.known_request(&mut transaction, &new.submitted_by, idempotency, request).await?;
            if let Some(known) = known {
                return Ok(known);
            }
        }
        let row = query(
            "INSERT INTO outbox (id, state, connection, sender, envelope, message_id, subject, raw_sha256, raw_size,
                                 accepted_at, next_attempt_at, submitted_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11) RETURNING *",
        )
        .bind(key(new.id.as_uuid()))
        .bind(OutboxState::Accepted.as_str())
        .bind(key(new.connection.as_uuid()))
        .bind(new.envelope.from.normalized())
        .bind(envelope)
        .bind(&new.message_id)
        .bind(&new.subject)
        .bind(&new.raw.sha256)
        .bind(number(new.raw.size))
        .bind(micros(self.env.now()))
        .bind(&new.submitted_by)
        .fetch_one(&mut *transaction)
        .await?;
        let accepted = message(&row)?;
        if let Some((idempotency, request)) = &new.idempotency {
            self.write_key(&mut transaction, new, idempotency, request).await?;
        }
        let event = self.event(Subject::OutboxMessage(new.id), EventKind::OutboxAccepted);
        append(&mut transaction, &event.actor(&new.submitted_by)).await?;
        transaction.commit().await?;
        Ok(Acceptance::Accepted(accepted))
    }

    async fn write_key(
        &self,
        db: &mut Db,
        new: &NewOutboxMessage,
        idempotency: &IdempotencyKey,
        request: &[u8; 32],
    ) -> Result<(), Fault> {
        // A few forgotten keys go with every new one, so that there is never a heap to clear.
        query(
            "DELETE FROM idempotency_keys WHERE (submitted_by, key) IN
                 (SELECT submitted_by, key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT 10)",
        )
        .bind(self.forgotten_before())
        .execute(&mut *db)
        .await?;
        query(
            "INSERT INTO idempotency_keys (submitted_by, key, request, message, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (submitted_by, key) DO UPDATE
             SET request = excluded.request, message = excluded.message, created_at = excluded.created_at",
        )
        .bind(&new.submitted_by)
        .bind(idempotency.as_str())
        .bind(request.as_slice())
        .bind(key(new.id.as_uuid()))
        .bind(micros(self.env.now()))
        .execute(db)
        .await?;
        Ok(())
    }
}
