//! What processing found, and the way back from quarantine.

use postroom_model::event::{EventKind, Subject};
use postroom_model::inbox::Summary;
use postroom_model::people::Viewer;
use postroom_model::{InboxMessageId, MailboxId};

use super::{TO_REFETCH, UNPROCESSED, settle, threads};
use crate::sql::broken::{of_the_row, readable};
use crate::sql::db::{Db, Row, query};
use crate::sql::events::append;
use crate::sql::fault::{Fault, one_row};
use crate::sql::rows::{Cells, key, micros, text_list, to_json};
use crate::sql::visible::{for_viewer, message_is_visible};
use crate::sql::{SqlStore, search};
use crate::{Processed, Refetch, StoreError, StoredMessage};

impl SqlStore {
    pub(super) async fn list_unprocessed(&self, limit: u32) -> Result<Vec<StoredMessage>, Fault> {
        let rows = query(UNPROCESSED).bind(limit).fetch_all(&self.readers).await?;
        let mut stored = Vec::with_capacity(rows.len());
        for row in &rows {
            match stored_message(row) {
                Ok(message) => stored.push(message),
                Err(fault) => {
                    let reason = of_the_row(fault)?;
                    self.write("list unprocessed messages", || self.quarantine_broken(row, &reason)).await?;
                }
            }
        }
        Ok(stored)
    }

    /// A row that cannot be read goes into quarantine, and blocks nobody else.
    async fn quarantine_broken(&self, row: &Row, reason: &str) -> Result<(), Fault> {
        let cells = Cells::new("inbox", row);
        let reason = format!("what is stored of it cannot be read: {reason}");
        tracing::error!(reason, "an inbox message is put into quarantine");
        let mut transaction = self.begin().await?;
        let touched = query(
            "UPDATE inbox SET state = 'quarantined', reason = $1 WHERE sequence = $2 AND state = 'stored'",
        )
        .bind(&reason)
        .bind(cells.int("sequence")?)
        .execute(&mut *transaction)
        .await?;
        if touched == 1 {
            let event = self.event(Subject::InboxMessage(cells.id("id")?), EventKind::InboxQuarantined);
            append(&mut transaction, &event.words(reason)).await?;
        }
        transaction.commit().await
    }

    pub(super) async fn write_processed(
        &self,
        id: InboxMessageId,
        processed: &Processed,
    ) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let row = query("SELECT id, sequence, state FROM inbox WHERE id = $1")
            .bind(key(id.as_uuid()))
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or_else(|| StoreError::Untouched {
                operation: "finish processing",
                subject: format!("inbox message {id}"),
            })?;
        let cells = Cells::new("inbox", &row);
        if cells.text("state")? != "stored" {
            return Ok(());
        }
        let sequence = cells.int("sequence")?;
        let event = match processed {
            Processed::Read { summary, text } => {
                write_summary(&mut transaction, sequence, summary, text).await?;
                threads::join(&mut transaction, sequence, summary).await?;
                settle::make_due(&mut transaction, sequence, None, self.env.now()).await?;
                self.event(Subject::InboxMessage(id), EventKind::InboxProcessed)
            }
            Processed::Check => {
                write_check(&mut transaction, sequence).await?;
                let event = self.event(Subject::InboxMessage(id), EventKind::InboxProcessed);
                event.words("the test message of a check: shown to nobody")
            }
            Processed::Quarantined { reason } => {
                query("UPDATE inbox SET state = 'quarantined', reason = $1 WHERE sequence = $2")
                    .bind(reason)
                    .bind(sequence)
                    .execute(&mut *transaction)
                    .await?;
                self.event(Subject::InboxMessage(id), EventKind::InboxQuarantined).words(reason)
            }
        };
        append(&mut transaction, &event).await?;
        transaction.commit().await
    }

    pub(super) async fn write_reprocess(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
        actor: &str,
    ) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let change = query(concat!(
            "UPDATE inbox AS m SET state = 'stored', reason = NULL
             WHERE m.id = $4 AND m.state = 'quarantined' AND ",
            message_is_visible!(),
            " RETURNING id, sequence, placeholder"
        ));
        let changed = for_viewer(change, viewer).bind(key(id.as_uuid())).fetch_all(&mut *transaction).await?;
        one_row(changed.len() as u64, "process a message again", || format!("inbox message {id}"))?;
        let cells = Cells::new("inbox", &changed[0]);
        if cells.int("placeholder")? == 1 {
            self.write_refetch(&mut transaction, cells.int("sequence")?).await?;
        }
        let event = self.event(Subject::InboxMessage(id), EventKind::InboxReprocess);
        append(&mut transaction, &event.actor(actor)).await?;
        transaction.commit().await
    }

    /// The mail itself was never stored: the next reading of its mailbox fetches it, and that is due now. Where the
    /// mailbox means another account since, there is nothing to fetch, and the placeholder is read again.
    async fn write_refetch(&self, db: &mut Db, sequence: i64) -> Result<(), Fault> {
        query("UPDATE provider_messages SET refetch = 1 WHERE message = $1")
            .bind(sequence)
            .execute(&mut *db)
            .await?;
        query(
            "UPDATE mailboxes SET next_due_at = $1 WHERE id IN
                 (SELECT mailbox FROM provider_messages WHERE message = $2 AND refetch = 1)",
        )
        .bind(micros(self.env.now()))
        .bind(sequence)
        .execute(db)
        .await?;
        Ok(())
    }

    pub(super) async fn list_refetch(&self, mailbox: MailboxId, limit: u32) -> Result<Vec<Refetch>, Fault> {
        let rows =
            query(TO_REFETCH).bind(key(mailbox.as_uuid())).bind(limit).fetch_all(&self.readers).await?;
        let refetch = |row: &Row| {
            let cells = Cells::new("inbox", row);
            Ok(Refetch {
                provider_id: cells.text("provider_id")?,
                message_id: cells.opt_text("message_id")?,
                received_at: cells.time("received_at")?,
            })
        };
        readable(&rows, refetch)
    }
}

fn stored_message(row: &Row) -> Result<StoredMessage, Fault> {
    let cells = Cells::new("inbox", row);
    Ok(StoredMessage { id: cells.id("id")?, raw: cells.raw()?, received_at: cells.time("received_at")? })
}

/// What is in no mailbox is seen by nobody.
async fn write_check(db: &mut Db, sequence: i64) -> Result<(), Fault> {
    query("UPDATE inbox SET state = 'processed', reason = NULL, is_check = 1 WHERE sequence = $1")
        .bind(sequence)
        .execute(&mut *db)
        .await?;
    query("DELETE FROM inbox_mailboxes WHERE message = $1").bind(sequence).execute(db).await?;
    Ok(())
}

async fn write_summary(db: &mut Db, sequence: i64, summary: &Summary, text: &str) -> Result<(), Fault> {
    query(
        "UPDATE inbox SET state = 'processed', reason = NULL, summary = $1, header_id = $2 WHERE sequence = $3",
    )
    .bind(to_json("inbox", summary)?)
    .bind(&summary.message_id)
    .bind(sequence)
    .execute(&mut *db)
    .await?;
    query("DELETE FROM inbox_references WHERE message = $1").bind(sequence).execute(&mut *db).await?;
    query(
        "INSERT INTO inbox_references (header_id, message) SELECT value, $2 FROM json_each($1) WHERE true
         ON CONFLICT (header_id, message) DO NOTHING",
    )
    .bind(text_list(summary.references.iter().map(String::as_str)))
    .bind(sequence)
    .execute(&mut *db)
    .await?;
    let sender = summary.from.as_ref().map(ToString::to_string).unwrap_or_default();
    search::index(db, sequence, [&summary.subject, &sender, text]).await
}
