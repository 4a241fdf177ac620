//! Mails filed on records.

use postroom_model::event::{EventKind, Subject};
use postroom_model::inbox::Summary;
use postroom_model::people::Viewer;
use postroom_model::record::{Direction, FiledMail, LogEntry, RecordRef};
use postroom_model::{InboxMessageId, LogEntryId, NamedAddress};

use crate::StoreError;
use crate::sql::SqlStore;
use crate::sql::broken::readable;
use crate::sql::db::{Db, Row, query};
use crate::sql::events::append;
use crate::sql::fault::Fault;
use crate::sql::rows::{Cells, key, micros, to_word};
use crate::sql::visible::{for_viewer, message_is_visible};

fn entry(row: &Row) -> Result<LogEntry, Fault> {
    let cells = Cells::new("log_entries", row);
    Ok(LogEntry {
        id: cells.id("id")?,
        record: RecordRef { kind: cells.word("record_type")?, number: cells.text("record_number")? },
        mail: FiledMail::Inbox(cells.id("message")?),
        direction: cells.word("direction")?,
        time: cells.time("time")?,
        from: cells.text("sender")?,
        to: cells.text("recipients")?,
        cc: cells.text("cc")?,
        bcc: cells.text("bcc")?,
        subject: cells.text("subject")?,
        filed_by: cells.text("filed_by")?,
    })
}

fn shown(addresses: &[NamedAddress]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Entries `e` with their message `m` beside them.
macro_rules! select_entries {
    ($($rest:expr),*) => {
        concat!(
            "SELECT e.*, m.id AS message FROM log_entries e JOIN inbox m ON m.sequence = e.inbox_message WHERE ",
            $($rest),*
        )
    };
}

impl SqlStore {
    pub(super) async fn write_log_entry(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
        record: &RecordRef,
        actor: &str,
    ) -> Result<LogEntry, Fault> {
        let mut transaction = self.begin().await?;
        let query = query(concat!(
            "SELECT m.id, m.sequence, m.summary FROM inbox m WHERE m.id = $4 AND ",
            message_is_visible!()
        ));
        let row = for_viewer(query, viewer)
            .bind(key(id.as_uuid()))
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or_else(|| StoreError::Untouched {
                operation: "file on a record",
                subject: format!("inbox message {id}"),
            })?;
        let cells = Cells::new("inbox", &row);
        let sequence = cells.int("sequence")?;
        if let Some(first) = filed_before(&mut transaction, sequence, record).await? {
            return Ok(first);
        }
        let summary: Summary = cells.opt_json("summary")?.unwrap_or_default();
        let new = LogEntry {
            id: self.env.new_id::<LogEntryId>(),
            record: record.clone(),
            mail: FiledMail::Inbox(id),
            direction: Direction::In,
            time: self.env.now(),
            from: summary.from.as_ref().map(ToString::to_string).unwrap_or_default(),
            to: shown(&summary.to),
            cc: shown(&summary.cc),
            bcc: String::new(), // a received message does not tell
            subject: summary.subject,
            filed_by: actor.to_owned(),
        };
        insert(&mut transaction, sequence, &new).await?;
        let event = self.event(Subject::InboxMessage(id), EventKind::InboxFiled);
        append(&mut transaction, &event.actor(actor).words(record.to_string())).await?;
        transaction.commit().await?;
        Ok(new)
    }

    pub(super) async fn entries_of_record(
        &self,
        viewer: &Viewer,
        record: &RecordRef,
    ) -> Result<Vec<LogEntry>, Fault> {
        let query = query(select_entries!(
            "e.record_type = $4 AND e.record_number = $5 AND ",
            message_is_visible!(),
            " ORDER BY e.time, e.sequence"
        ));
        let rows = for_viewer(query, viewer)
            .bind(record.kind.as_str())
            .bind(&record.number)
            .fetch_all(&self.readers)
            .await?;
        readable(&rows, entry)
    }

    pub(super) async fn entries_of_message(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
    ) -> Result<Vec<LogEntry>, Fault> {
        let query =
            query(select_entries!("m.id = $4 AND ", message_is_visible!(), " ORDER BY e.time, e.sequence"));
        let rows = for_viewer(query, viewer).bind(key(id.as_uuid())).fetch_all(&self.readers).await?;
        readable(&rows, entry)
    }
}

async fn filed_before(db: &mut Db, message: i64, record: &RecordRef) -> Result<Option<LogEntry>, Fault> {
    let query =
        query(select_entries!("e.record_type = $1 AND e.record_number = $2 AND e.inbox_message = $3"));
    let row = query.bind(record.kind.as_str()).bind(&record.number).bind(message).fetch_optional(db).await?;
    row.as_ref().map(entry).transpose()
}

async fn insert(db: &mut Db, message: i64, new: &LogEntry) -> Result<(), Fault> {
    query(
        "INSERT INTO log_entries (id, record_type, record_number, inbox_message, direction, time, sender, recipients,
                                  cc, bcc, subject, filed_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(key(new.id.as_uuid()))
    .bind(new.record.kind.as_str())
    .bind(&new.record.number)
    .bind(message)
    .bind(to_word("log_entries", &new.direction)?)
    .bind(micros(new.time))
    .bind(&new.from)
    .bind(&new.to)
    .bind(&new.cc)
    .bind(&new.bcc)
    .bind(&new.subject)
    .bind(&new.filed_by)
    .execute(db)
    .await?;
    Ok(())
}
