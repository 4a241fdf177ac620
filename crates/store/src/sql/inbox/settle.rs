//! What is still to be done with processed mail at its provider, and when mail came.

use postroom_model::event::Event;
use postroom_model::{MailboxId, Timestamp};

use crate::Settling;
use crate::sql::SqlStore;
use crate::sql::db::{Db, Row, query};
use crate::sql::events::append;
use crate::sql::fault::Fault;
use crate::sql::rows::{Cells, key, micros};

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;

pub(super) const NEXT: &str = "SELECT min(settle_at) FROM provider_messages WHERE settle_at IS NOT NULL";

/// A message that is processed by now is due wherever its mailbox wants that, in this mailbox or in all.
pub(super) async fn make_due(
    db: &mut Db,
    message: i64,
    mailbox: Option<MailboxId>,
    now: Timestamp,
) -> Result<(), Fault> {
    query(
        "UPDATE provider_messages SET settle_at = $1
         WHERE message = $2 AND removed_at IS NULL AND ($3 IS NULL OR mailbox = $3)
           AND mailbox IN (SELECT id FROM mailboxes WHERE after_processing <> 'leave')
           AND EXISTS (SELECT 1 FROM inbox WHERE sequence = $2 AND state = 'processed' AND is_check = 0)",
    )
    .bind(micros(now))
    .bind(message)
    .bind(mailbox.map(|mailbox| key(mailbox.as_uuid())))
    .execute(db)
    .await?;
    Ok(())
}

impl SqlStore {
    pub(super) async fn lease_settling(&self, until: Timestamp, limit: u32) -> Result<Vec<Settling>, Fault> {
        let mut transaction = self.begin().await?;
        let rows = query(
            "UPDATE provider_messages SET settle_at = $1
             WHERE settle_at <= $2 AND (mailbox, provider_id) IN
                 (SELECT mailbox, provider_id FROM provider_messages WHERE settle_at <= $2 ORDER BY settle_at LIMIT $3)
             RETURNING mailbox, provider_id, (SELECT id FROM inbox WHERE sequence = message) AS id",
        )
        .bind(micros(until))
        .bind(micros(self.env.now()))
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let settling = |row: &Row| {
            let cells = Cells::new("provider_messages", row);
            Ok(Settling {
                mailbox: cells.id("mailbox")?,
                message: cells.id("id")?,
                provider_id: cells.text("provider_id")?,
            })
        };
        rows.iter().map(settling).collect()
    }

    pub(super) async fn write_settled(
        &self,
        settled: &Settling,
        moved: bool,
        event: &Event,
    ) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let touched = query(
            "UPDATE provider_messages SET settle_at = NULL, removed_at = CASE WHEN $1 = 1 THEN $2 ELSE removed_at END
             WHERE mailbox = $3 AND provider_id = $4 AND settle_at IS NOT NULL",
        )
        .bind(i64::from(moved))
        .bind(micros(self.env.now()))
        .bind(key(settled.mailbox.as_uuid()))
        .bind(&settled.provider_id)
        .execute(&mut *transaction)
        .await?;
        // Whoever was slower has nothing to tell.
        if touched == 1 {
            append(&mut transaction, event).await?;
        }
        transaction.commit().await
    }

    pub(super) async fn write_settle_later(&self, settling: &[Settling], at: Timestamp) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        for one in settling {
            query(
                "UPDATE provider_messages SET settle_at = $1
                 WHERE mailbox = $2 AND provider_id = $3 AND settle_at IS NOT NULL",
            )
            .bind(micros(at))
            .bind(key(one.mailbox.as_uuid()))
            .bind(&one.provider_id)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    }

    pub(super) async fn count_arrivals(
        &self,
        mailbox: MailboxId,
        since: Timestamp,
    ) -> Result<Vec<(i64, u32)>, Fault> {
        let rows = query(
            "SELECT received_at / $1 AS hour, count(*) AS messages FROM inbox_mailboxes
             WHERE mailbox = $2 AND received_at >= $3 GROUP BY 1 ORDER BY 1",
        )
        .bind(HOUR)
        .bind(key(mailbox.as_uuid()))
        .bind(micros(since))
        .fetch_all(&self.readers)
        .await?;
        let hour = |row: &Row| {
            let cells = Cells::new("inbox_mailboxes", row);
            Ok((cells.int("hour")?, cells.count("messages")?))
        };
        rows.iter().map(hour).collect()
    }
}
