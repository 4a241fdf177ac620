//! Collected messages, and the mails filed on records.

mod commit;
mod list;
mod process;
mod records;
mod settle;
mod threads;

#[cfg(test)]
pub(super) use list::list_for_plan;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_model::event::Event;
use postroom_model::inbox::{InboxMessage, Summary};
use postroom_model::people::Viewer;
use postroom_model::record::{LogEntry, RecordRef};
use postroom_model::{InboxMessageId, MailboxId, Timestamp};

use super::SqlStore;
use super::db::{Row, query_scalar};
use super::fault::Fault;
use super::rows::{Cells, key, text_list, time};
use crate::{
    BlobStore, CollectedBatch, CommitReport, InboxFilter, InboxStore, Page, Processed, Refetch, Settling,
    StoreError, StoredMessage,
};

/// Every column of a message `m` for a viewer, its visible mailboxes beside them.
macro_rules! message_columns {
    () => {
        concat!(
            "m.*, (SELECT json_group_array(hex(p.mailbox)) FROM inbox_mailboxes p
                   JOIN mailboxes b ON b.id = p.mailbox WHERE p.message = m.sequence AND ",
            crate::sql::visible::mailbox_is_visible!(),
            ") AS mailboxes"
        )
    };
}

use message_columns;

pub(super) const UNPROCESSED: &str = "SELECT id, sequence, raw_sha256, raw_size, received_at FROM inbox m
     WHERE state = 'stored'
     AND NOT EXISTS (SELECT 1 FROM provider_messages p WHERE p.message = m.sequence AND p.refetch = 1)
     ORDER BY received_at, sequence LIMIT $1";

pub(super) const TO_REFETCH: &str = "SELECT p.provider_id, m.id, m.message_id, m.received_at
     FROM provider_messages p JOIN inbox m ON m.sequence = p.message
     WHERE p.mailbox = $1 AND p.refetch = 1 LIMIT $2";

fn message(row: &Row) -> Result<InboxMessage, Fault> {
    let cells = Cells::new("inbox", row);
    Ok(InboxMessage {
        id: cells.id("id")?,
        mailboxes: cells.id_list("mailboxes")?,
        state: cells.word("state")?,
        reason: cells.opt_text("reason")?,
        is_old: cells.int("is_old")? == 1,
        summary: cells.opt_json::<Summary>("summary")?.unwrap_or_default(),
        size: cells.count("raw_size")?,
        received_at: cells.time("received_at")?,
        stored_at: cells.time("stored_at")?,
        thread: cells.id("thread")?,
    })
}

#[async_trait]
impl InboxStore for SqlStore {
    async fn known_provider_ids(
        &self,
        mailbox: MailboxId,
        provider_ids: &[String],
    ) -> Result<std::collections::HashSet<String>, StoreError> {
        let work = async {
            let known: Vec<String> = query_scalar(
                "SELECT provider_id FROM provider_messages
                 WHERE mailbox = $1 AND provider_id IN (SELECT value FROM json_each($2)) AND refetch = 0",
            )
            .bind(key(mailbox.as_uuid()))
            .bind(text_list(provider_ids.iter().map(String::as_str)))
            .fetch_all(&self.readers)
            .await?;
            Ok(known.into_iter().collect())
        };
        self.tell("compare with the provider's ids", work.await)
    }

    async fn to_refetch(&self, mailbox: MailboxId, limit: u32) -> Result<Vec<Refetch>, StoreError> {
        self.tell("ask what is to be fetched once more", self.list_refetch(mailbox, limit).await)
    }

    async fn commit_batch(&self, batch: CollectedBatch) -> Result<CommitReport, StoreError> {
        self.write("commit collected messages", || self.write_batch(&batch)).await
    }

    async fn unprocessed(&self, limit: u32) -> Result<Vec<StoredMessage>, StoreError> {
        self.tell("list unprocessed messages", self.list_unprocessed(limit).await)
    }

    async fn finish_processing(&self, id: InboxMessageId, processed: Processed) -> Result<(), StoreError> {
        self.write("finish processing", || self.write_processed(id, &processed)).await
    }

    async fn claim_settling(&self, until: Timestamp, limit: u32) -> Result<Vec<Settling>, StoreError> {
        self.write("claim what is to be settled", || self.lease_settling(until, limit)).await
    }

    async fn finish_settling(&self, settled: &Settling, moved: bool, event: Event) -> Result<(), StoreError> {
        self.write("finish settling", || self.write_settled(settled, moved, &event)).await
    }

    async fn defer_settling(&self, settling: &[Settling], at: Timestamp) -> Result<(), StoreError> {
        self.write("settle later", || self.write_settle_later(settling, at)).await
    }

    async fn next_settling(&self) -> Result<Option<Timestamp>, StoreError> {
        let work = async {
            let due: Option<i64> = query_scalar(settle::NEXT).fetch_one(&self.readers).await?;
            Ok(due.map(|due| time("provider_messages", due)).transpose()?)
        };
        self.tell("ask when something is to be settled", work.await)
    }

    async fn arrivals(&self, mailbox: MailboxId, since: Timestamp) -> Result<Vec<(i64, u32)>, StoreError> {
        self.tell("count arrivals", self.count_arrivals(mailbox, since).await)
    }

    async fn reprocess(&self, viewer: &Viewer, id: InboxMessageId, actor: &str) -> Result<(), StoreError> {
        self.write("process a message again", || self.write_reprocess(viewer, id, actor)).await
    }

    async fn inbox(
        &self,
        viewer: &Viewer,
        filter: &InboxFilter,
        page: Page,
    ) -> Result<Vec<InboxMessage>, StoreError> {
        self.tell("list the inbox", self.list_inbox(viewer, filter, page).await)
    }

    async fn inbox_count(&self, viewer: &Viewer, filter: &InboxFilter) -> Result<u64, StoreError> {
        self.tell("count the inbox", self.count_inbox(viewer, filter).await)
    }

    async fn inbox_message(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
    ) -> Result<Option<InboxMessage>, StoreError> {
        self.tell("read an inbox message", self.find_inbox(viewer, id).await)
    }

    async fn inbox_raw(&self, viewer: &Viewer, id: InboxMessageId) -> Result<Option<Bytes>, StoreError> {
        match self.tell("read a raw message", self.raw_of_inbox(viewer, id).await)? {
            Some(raw) => self.blob(&raw).await.map(Some),
            None => Ok(None),
        }
    }

    async fn file_on_record(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
        record: &RecordRef,
        actor: &str,
    ) -> Result<LogEntry, StoreError> {
        self.write("file on a record", || self.write_log_entry(viewer, id, record, actor)).await
    }

    async fn log_entries(&self, viewer: &Viewer, record: &RecordRef) -> Result<Vec<LogEntry>, StoreError> {
        self.tell("list a record's log", self.entries_of_record(viewer, record).await)
    }

    async fn records_of(&self, viewer: &Viewer, id: InboxMessageId) -> Result<Vec<LogEntry>, StoreError> {
        self.tell("list a message's records", self.entries_of_message(viewer, id).await)
    }
}
