//! The commit of a reading: messages and cursor together, or nothing.
//!
//! After a connection was switched to another interface, the provider names what it named before by other ids. Such a
//! message is recognised among those whose id is a *former* one, takes its new id, and is no arrival.

use postroom_model::event::{EventKind, Subject};
use postroom_model::inbox::InboxState;
use postroom_model::{InboxMessageId, MailboxId};

use super::settle;
use crate::sql::SqlStore;
use crate::sql::db::{Db, query, query_scalar};
use crate::sql::events::append;
use crate::sql::fault::{Fault, still_held};
use crate::sql::rows::{Cells, key, micros, number, text_list};
use crate::{CollectedBatch, CommitReport, NewInboxMessage};

/// What became of one message of a batch.
enum Arrival {
    Stored,
    Delivered,
    Repeated,
}

/// A known message: its row and its id.
struct Known {
    sequence: i64,
    id: InboxMessageId,
}

impl SqlStore {
    pub(super) async fn write_batch(&self, batch: &CollectedBatch) -> Result<CommitReport, Fault> {
        let mut transaction = self.begin().await?;
        let touched =
            query("UPDATE mailboxes SET cursor = $1 WHERE id = $2 AND lease_owner = $3 AND fence = $4")
                .bind(&batch.cursor)
                .bind(key(batch.mailbox.as_uuid()))
                .bind(batch.lease.owner.as_str())
                .bind(batch.lease.fence)
                .execute(&mut *transaction)
                .await?;
        still_held(touched, "commit collected messages", || format!("mailbox {}", batch.mailbox))?;
        let mut report = CommitReport::default();
        let switched = self.write_names(&mut transaction, batch).await?;
        for new in &batch.messages {
            match self.write_arrival(&mut transaction, batch.mailbox, new, switched).await? {
                Arrival::Stored => report.stored += 1,
                Arrival::Delivered => report.delivered += 1,
                Arrival::Repeated => report.repeated += 1,
            }
        }
        self.write_returns(&mut transaction, batch.mailbox, &batch.present).await?;
        for provider_id in &batch.removed {
            self.write_removal(&mut transaction, batch.mailbox, provider_id).await?;
        }
        transaction.commit().await?;
        Ok(report)
    }

    async fn write_arrival(
        &self,
        db: &mut Db,
        mailbox: MailboxId,
        new: &NewInboxMessage,
        switched: bool,
    ) -> Result<Arrival, Fault> {
        let known =
            query("SELECT message, refetch FROM provider_messages WHERE mailbox = $1 AND provider_id = $2")
                .bind(key(mailbox.as_uuid()))
                .bind(&new.provider_id)
                .fetch_optional(&mut *db)
                .await?;
        if let Some(known) = known {
            let cells = Cells::new("provider_messages", &known);
            if cells.int("refetch")? == 1 {
                return self.write_refetched(db, mailbox, cells.int("message")?, new).await;
            }
            self.write_returns(db, mailbox, std::slice::from_ref(&new.provider_id)).await?;
            return Ok(Arrival::Repeated);
        }
        if switched && let Some(former) = find_former(db, mailbox, new).await? {
            return self.write_new_name(db, mailbox, &former, new).await;
        }
        let (message, arrival, kind) = match find_same(&mut *db, new).await? {
            Some(message) => (message, Arrival::Delivered, EventKind::InboxDelivered),
            None => {
                (self.write_message(&mut *db, mailbox, new).await?, Arrival::Stored, EventKind::InboxStored)
            }
        };
        query("INSERT INTO provider_messages (mailbox, provider_id, message) VALUES ($1, $2, $3)")
            .bind(key(mailbox.as_uuid()))
            .bind(&new.provider_id)
            .bind(message.sequence)
            .execute(&mut *db)
            .await?;
        // A second copy in the same mailbox is the same place; a test message has none.
        query(
            "INSERT INTO inbox_mailboxes (mailbox, received_at, message)
             SELECT $1, received_at, sequence FROM inbox WHERE sequence = $2 AND is_check = 0
             ON CONFLICT (mailbox, received_at, message) DO NOTHING",
        )
        .bind(key(mailbox.as_uuid()))
        .bind(message.sequence)
        .execute(&mut *db)
        .await?;
        settle::make_due(&mut *db, message.sequence, Some(mailbox), self.env.now()).await?;
        let event = self.event(Subject::InboxMessage(message.id), kind);
        append(db, &event.words(format!("mailbox {mailbox}"))).await?;
        Ok(arrival)
    }

    async fn write_message(
        &self,
        db: &mut Db,
        mailbox: MailboxId,
        new: &NewInboxMessage,
    ) -> Result<Known, Fault> {
        let id: InboxMessageId = self.env.new_id();
        let sequence = query_scalar(
            "INSERT INTO inbox (id, state, message_id, content, placeholder, raw_sha256, raw_size, received_at, stored_at,
                                thread, is_old)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $1,
                 (SELECT CASE WHEN begun_at > $8 THEN 1 ELSE 0 END FROM mailboxes WHERE id = $10))
             RETURNING sequence",
        )
        .bind(key(id.as_uuid()))
        .bind(InboxState::Stored.as_str())
        .bind(&new.message_id)
        .bind(new.content.as_slice())
        .bind(new.placeholder)
        .bind(&new.raw.sha256)
        .bind(number(new.raw.size))
        .bind(micros(new.received_at))
        .bind(micros(self.env.now()))
        .bind(key(mailbox.as_uuid()))
        .fetch_one(db)
        .await?;
        Ok(Known { sequence, id })
    }

    /// What was fetched once more takes the place of its placeholder: the message keeps its id and its mailbox. It is
    /// not compared with what other mailboxes hold, so the same mail may be there a second time.
    async fn write_refetched(
        &self,
        db: &mut Db,
        mailbox: MailboxId,
        sequence: i64,
        new: &NewInboxMessage,
    ) -> Result<Arrival, Fault> {
        let row = query(
            "UPDATE inbox SET state = 'stored', reason = NULL, message_id = $1, content = $2, placeholder = $3,
                 raw_sha256 = $4, raw_size = $5
             WHERE sequence = $6 RETURNING id",
        )
        .bind(&new.message_id)
        .bind(new.content.as_slice())
        .bind(new.placeholder)
        .bind(&new.raw.sha256)
        .bind(number(new.raw.size))
        .bind(sequence)
        .fetch_one(&mut *db)
        .await?;
        query("UPDATE provider_messages SET refetch = 0 WHERE message = $1")
            .bind(sequence)
            .execute(&mut *db)
            .await?;
        let id = Cells::new("inbox", &row).id("id")?;
        let event = self.event(Subject::InboxMessage(id), EventKind::InboxStored);
        append(db, &event.words(format!("mailbox {mailbox}, fetched once more"))).await?;
        Ok(Arrival::Stored)
    }

    /// Ids of the batch that are in use again after a switch there and back are former ones no more. Gives whether the
    /// mailbox has former ids at all.
    async fn write_names(&self, db: &mut Db, batch: &CollectedBatch) -> Result<bool, Fault> {
        let mailbox = key(batch.mailbox.as_uuid());
        let switched: bool =
            query_scalar("SELECT EXISTS (SELECT 1 FROM provider_messages WHERE mailbox = $1 AND former = 1)")
                .bind(&mailbox)
                .fetch_one(&mut *db)
                .await?;
        if switched {
            let fetched = batch.messages.iter().filter(|new| !new.placeholder).map(|new| &new.provider_id);
            query(
                "UPDATE provider_messages SET former = 0
                 WHERE mailbox = $1 AND former = 1 AND provider_id IN (SELECT value FROM json_each($2))",
            )
            .bind(&mailbox)
            .bind(text_list(batch.present.iter().chain(fetched).map(String::as_str)))
            .execute(db)
            .await?;
        }
        Ok(switched)
    }

    /// The same message under another id. Where our copy says only why it could not be fetched, the mail takes its
    /// place.
    async fn write_new_name(
        &self,
        db: &mut Db,
        mailbox: MailboxId,
        former: &Former,
        new: &NewInboxMessage,
    ) -> Result<Arrival, Fault> {
        query(
            "UPDATE provider_messages SET provider_id = $1, former = 0 WHERE mailbox = $2 AND provider_id = $3",
        )
        .bind(&new.provider_id)
        .bind(key(mailbox.as_uuid()))
        .bind(&former.provider_id)
        .execute(&mut *db)
        .await?;
        self.write_returns(db, mailbox, std::slice::from_ref(&new.provider_id)).await?;
        if former.placeholder && !new.placeholder {
            return self.write_refetched(db, mailbox, former.sequence, new).await;
        }
        Ok(Arrival::Repeated)
    }

    /// Those of these ids that had left the folder are back.
    async fn write_returns(
        &self,
        db: &mut Db,
        mailbox: MailboxId,
        provider_ids: &[String],
    ) -> Result<(), Fault> {
        if provider_ids.is_empty() {
            return Ok(());
        }
        let returned = query(
            "UPDATE provider_messages SET removed_at = NULL
             WHERE mailbox = $1 AND provider_id IN (SELECT value FROM json_each($2)) AND removed_at IS NOT NULL
             RETURNING (SELECT id FROM inbox WHERE sequence = message) AS id",
        )
        .bind(key(mailbox.as_uuid()))
        .bind(text_list(provider_ids.iter().map(String::as_str)))
        .fetch_all(&mut *db)
        .await?;
        for row in &returned {
            let id = Cells::new("inbox", row).id("id")?;
            let event = self.event(Subject::InboxMessage(id), EventKind::InboxReturned);
            append(db, &event.words(format!("mailbox {mailbox}"))).await?;
        }
        Ok(())
    }

    async fn write_removal(&self, db: &mut Db, mailbox: MailboxId, provider_id: &str) -> Result<(), Fault> {
        // Of what was never collected, or left before, there is nothing to tell.
        let removed = query(
            "UPDATE provider_messages SET removed_at = $1, settle_at = NULL
             WHERE mailbox = $2 AND provider_id = $3 AND removed_at IS NULL
             RETURNING (SELECT id FROM inbox WHERE sequence = message) AS id",
        )
        .bind(micros(self.env.now()))
        .bind(key(mailbox.as_uuid()))
        .bind(provider_id)
        .fetch_optional(&mut *db)
        .await?;
        let Some(removed) = removed else { return Ok(()) };
        let id = Cells::new("inbox", &removed).id("id")?;
        let event = self.event(Subject::InboxMessage(id), EventKind::InboxRemoved);
        append(db, &event.words(format!("mailbox {mailbox}"))).await
    }
}

/// A message of this mailbox that is known by an id of the interface used before.
struct Former {
    provider_id: String,
    sequence: i64,
    placeholder: bool,
}

/// The message of a former id that this one is: same content, as for [`find_same`]; else same `Message-ID` and received
/// in the same second, because the two interfaces need not write the same message by the same bytes. Each former id is
/// found once, so of two mails with one `Message-ID` none is taken for the other.
async fn find_former(
    db: &mut Db,
    mailbox: MailboxId,
    new: &NewInboxMessage,
) -> Result<Option<Former>, Fault> {
    const SECOND: i64 = 1_000_000;
    let same_content = query(
        "SELECT p.provider_id, i.sequence, i.placeholder
         FROM inbox i JOIN provider_messages p ON p.message = i.sequence
         WHERE p.mailbox = $1 AND p.former = 1
           AND i.content = $2 AND ($3 IS NULL OR i.message_id IS NULL OR i.message_id = $3)
         ORDER BY i.received_at <> $4, p.provider_id LIMIT 1",
    )
    .bind(key(mailbox.as_uuid()))
    .bind(new.content.as_slice())
    .bind(&new.message_id)
    .bind(micros(new.received_at))
    .fetch_optional(&mut *db)
    .await?;
    let begin = micros(new.received_at).div_euclid(SECOND) * SECOND;
    let found = match same_content {
        Some(found) => Some(found),
        None => {
            query(
                "SELECT p.provider_id, i.sequence, i.placeholder
                 FROM inbox_mailboxes m JOIN inbox i ON i.sequence = m.message
                     JOIN provider_messages p ON p.message = i.sequence
                 WHERE p.mailbox = $1 AND p.former = 1
                   AND m.mailbox = $1 AND m.received_at BETWEEN $2 AND $3 AND i.message_id = $4
                 ORDER BY p.provider_id LIMIT 1",
            )
            .bind(key(mailbox.as_uuid()))
            .bind(begin)
            .bind(begin + SECOND - 1)
            .bind(&new.message_id)
            .fetch_optional(db)
            .await?
        }
    };
    let Some(row) = found else { return Ok(None) };
    let cells = Cells::new("provider_messages", &row);
    Ok(Some(Former {
        provider_id: cells.text("provider_id")?,
        sequence: cells.int("sequence")?,
        placeholder: cells.int("placeholder")? == 1,
    }))
}

/// The message that this one is a copy of: same `Message-ID` and same content; without one, same content.
async fn find_same(db: &mut Db, new: &NewInboxMessage) -> Result<Option<Known>, Fault> {
    let row = query(
        "SELECT sequence, id FROM inbox WHERE content = $1 AND ($2 IS NULL OR message_id = $2)
         ORDER BY sequence LIMIT 1",
    )
    .bind(new.content.as_slice())
    .bind(&new.message_id)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let cells = Cells::new("inbox", &row);
    Ok(Some(Known { sequence: cells.int("sequence")?, id: cells.id("id")? }))
}
