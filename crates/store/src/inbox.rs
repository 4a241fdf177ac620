//! Collected messages, and the mails filed on records.

use async_trait::async_trait;
use bytes::Bytes;
use postroom_model::event::Event;
use postroom_model::inbox::{InboxMessage, InboxState, Summary};
use postroom_model::mailbox::MailType;
use postroom_model::people::Viewer;
use postroom_model::record::{LogEntry, RecordRef};
use postroom_model::{InboxMessageId, MailboxId, Timestamp};

use crate::{BlobRef, Lease, Page, StoreError};

/// A message just fetched. Its raw MIME is already stored and synced.
#[derive(Debug)]
pub struct NewInboxMessage {
    /// The provider's immutable id.
    pub provider_id: String,
    /// `Message-ID` as the provider tells it; part of the comparison that finds the same mail in another mailbox.
    pub message_id: Option<String>,
    /// Digest of what is the same of this mail in every mailbox: its body and what its sender wrote in the header. The
    /// raw MIME is not, as servers write their trace into it.
    pub content: [u8; 32],
    /// Whether `raw` is no mail but says why the mail could not be fetched. Running it again fetches it once more.
    pub placeholder: bool,
    /// The raw MIME.
    pub raw: BlobRef,
    /// When the provider received it.
    pub received_at: Timestamp,
}

/// A message to be fetched once more: a person asked for it, and the provider will not name it again by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refetch {
    /// The provider's immutable id.
    pub provider_id: String,
    /// `Message-ID` as the provider told it.
    pub message_id: Option<String>,
    /// When the provider received it.
    pub received_at: Timestamp,
}

/// What one page of a reading brings: committed as a whole with the cursor that covers it.
#[derive(Debug)]
pub struct CollectedBatch {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The lease of the claim; it goes on.
    pub lease: Lease,
    /// Where the next reading begins; none is the beginning.
    pub cursor: Option<String>,
    /// New messages, oldest first, and those that were fetched once more.
    pub messages: Vec<NewInboxMessage>,
    /// Known provider ids that the page names: those that had left the folder are back.
    pub present: Vec<String>,
    /// Provider ids that left the folder.
    pub removed: Vec<String>,
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Messages not known before, and those that took the place of a placeholder.
    pub stored: u32,
    /// Known messages that a further mailbox holds (same `Message-ID` and same content).
    pub delivered: u32,
    /// Provider ids of this mailbox that were known: dropped.
    pub repeated: u32,
}

/// A stored message to be processed.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its id.
    pub id: InboxMessageId,
    /// The raw MIME.
    pub raw: BlobRef,
    /// When the provider received it.
    pub received_at: Timestamp,
}

/// A processed message that is to be marked or moved at its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settling {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The message.
    pub message: InboxMessageId,
    /// The provider's id.
    pub provider_id: String,
}

/// What processing found.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, handed over and taken apart at once")]
pub enum Processed {
    /// It was read.
    Read {
        /// What lists and threads need.
        summary: Summary,
        /// Its text, at most 1 MB, for search.
        text: String,
    },
    /// It is the test message of a check: done with, seen by nobody, part of no thread and no search.
    Check,
    /// It could not be; it stays, with the reason.
    Quarantined {
        /// One sentence.
        reason: String,
    },
}

/// Which messages a list shows.
#[derive(Debug, Clone, Default)]
pub struct InboxFilter {
    /// Only this mailbox.
    pub mailbox: Option<MailboxId>,
    /// Only mailboxes of this type.
    pub kind: Option<MailType>,
    /// Only this state; without it, everything but `stored`.
    pub state: Option<InboxState>,
    /// Only messages whose subject, sender or text hold all these words.
    pub search: Option<String>,
}

/// Keeps collected messages. Every read is made for a viewer and shows only what is available to them.
#[async_trait]
pub trait InboxStore: Send + Sync {
    /// Which of these provider ids the mailbox is known to hold already: they need not be fetched. One that is to be
    /// fetched once more does not count.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn known_provider_ids(
        &self,
        mailbox: MailboxId,
        provider_ids: &[String],
    ) -> Result<std::collections::HashSet<String>, StoreError>;

    /// Up to `limit` messages of this mailbox that are to be fetched once more.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn to_refetch(&self, mailbox: MailboxId, limit: u32) -> Result<Vec<Refetch>, StoreError>;

    /// Commits messages and cursor together. What was fetched once more takes the place of its placeholder. Known provider ids are dropped; the same mail in another mailbox
    /// becomes a further delivery of the same message.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]: nothing was committed.
    async fn commit_batch(&self, batch: CollectedBatch) -> Result<CommitReport, StoreError>;

    /// Up to `limit` messages in state `stored`, oldest first, without those that are to be fetched once more. A row that
    /// cannot be read is put into quarantine, with the reason, and stops no other.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn unprocessed(&self, limit: u32) -> Result<Vec<StoredMessage>, StoreError>;

    /// Records what processing found, and puts the message into its thread. Does nothing when it is no longer
    /// `stored` (another worker was faster).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn finish_processing(&self, id: InboxMessageId, processed: Processed) -> Result<(), StoreError>;

    /// Claims up to `limit` processed messages that are due to be marked or moved at their provider, the longest due
    /// first: they are due again at `until` unless they are finished before. What a mailbox leaves alone is never due.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn claim_settling(&self, until: Timestamp, limit: u32) -> Result<Vec<Settling>, StoreError>;

    /// What was claimed is done, with the event that tells it; `moved` when the message left its folder by it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn finish_settling(&self, settled: &Settling, moved: bool, event: Event) -> Result<(), StoreError>;

    /// What was claimed is tried again at `at`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn defer_settling(&self, settling: &[Settling], at: Timestamp) -> Result<(), StoreError>;

    /// When the next message is due to be marked or moved; none when none is.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn next_settling(&self) -> Result<Option<Timestamp>, StoreError>;

    /// In which hours since `since` mail came to a mailbox, as hours since 1970 with the number of messages each.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn arrivals(&self, mailbox: MailboxId, since: Timestamp) -> Result<Vec<(i64, u32)>, StoreError>;

    /// Puts a quarantined message back to `stored`. A placeholder is to be fetched once more, and its mailbox is due
    /// at once, even when its polling is off.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when the viewer sees no such message in quarantine.
    async fn reprocess(&self, viewer: &Viewer, id: InboxMessageId, actor: &str) -> Result<(), StoreError>;

    /// A page of what `viewer` may see, newest first by the provider's time.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn inbox(
        &self,
        viewer: &Viewer,
        filter: &InboxFilter,
        page: Page,
    ) -> Result<Vec<InboxMessage>, StoreError>;

    /// How many messages `viewer` may see under this filter.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn inbox_count(&self, viewer: &Viewer, filter: &InboxFilter) -> Result<u64, StoreError>;

    /// One message; none when `viewer` may not see it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn inbox_message(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
    ) -> Result<Option<InboxMessage>, StoreError>;

    /// The raw MIME; none when `viewer` may not see it.
    ///
    /// # Errors
    /// The errors of the blob.
    async fn inbox_raw(&self, viewer: &Viewer, id: InboxMessageId) -> Result<Option<Bytes>, StoreError>;

    /// Files a message on a record. Filing the same message on the same record again gives the first entry.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when `viewer` may not see the message.
    async fn file_on_record(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
        record: &RecordRef,
        actor: &str,
    ) -> Result<LogEntry, StoreError>;

    /// The log of a record, oldest first, as far as `viewer` may see its mails.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn log_entries(&self, viewer: &Viewer, record: &RecordRef) -> Result<Vec<LogEntry>, StoreError>;

    /// The records a message is filed on; empty when `viewer` may not see it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn records_of(&self, viewer: &Viewer, id: InboxMessageId) -> Result<Vec<LogEntry>, StoreError>;
}
