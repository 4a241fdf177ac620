//! Messages on their way out.

use async_trait::async_trait;
use postroom_model::event::Event;
use postroom_model::outbox::{Envelope, IdempotencyKey, OutboxMessage, OutboxState};
use postroom_model::{ConnectionId, EmailAddress, OutboxMessageId, Timestamp};

use crate::{BlobRef, Lease, NodeId, Page, StoreError};

/// A message to be accepted. Its raw MIME is already stored and synced.
#[derive(Debug)]
pub struct NewOutboxMessage {
    /// Its id.
    pub id: OutboxMessageId,
    /// The connection it leaves through.
    pub connection: ConnectionId,
    /// Who it is from and to.
    pub envelope: Envelope,
    /// `Message-ID` with its angle brackets, as in the raw MIME.
    pub message_id: String,
    /// Subject, for people.
    pub subject: String,
    /// The raw MIME.
    pub raw: BlobRef,
    /// Who handed it in; idempotency keys are the submitter's own.
    pub submitted_by: String,
    /// Key and SHA-256 of the whole request.
    pub idempotency: Option<(IdempotencyKey, [u8; 32])>,
}

/// What became of an acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// New, and on disk.
    Accepted(OutboxMessage),
    /// The same request came before under this key: its message, as it stands now.
    Repeated(OutboxMessage),
    /// Another request came before under this key; nothing was accepted.
    KeyConflict {
        /// The message of the first request.
        first: OutboxMessageId,
    },
}

/// A message claimed for one attempt.
#[derive(Debug, Clone)]
pub struct ClaimedMessage {
    /// The message, now `sending`, with this attempt counted.
    pub message: OutboxMessage,
    /// The state it was claimed from. `Sending` means that a worker died in the middle: look it up first.
    pub previous: OutboxState,
    /// The raw MIME.
    pub raw: BlobRef,
    /// The right to note and finish.
    pub lease: Lease,
}

/// How an attempt ended.
#[derive(Debug)]
pub struct FinishAttempt {
    /// The message.
    pub id: OutboxMessageId,
    /// The lease of the claim; it ends here.
    pub lease: Lease,
    /// Where it stands now; never `sending`.
    pub state: OutboxState,
    /// When it is tried next; some for `deferred` and `unknown`, none otherwise.
    pub next_attempt_at: Option<Timestamp>,
    /// The provider's id of the message, when known.
    pub provider_id: Option<String>,
    /// The provider's literal words, or our reason.
    pub words: Option<String>,
    /// What is to be told.
    pub events: Vec<Event>,
    /// The message that goes on for some of its recipients.
    pub follow_up: Option<FollowUp>,
}

/// A message that is made with the end of an attempt: the same raw message, on the same connection and from the same
/// sender, accepted when the first one was, for the recipients that were refused for now. It is `deferred`.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowUp {
    /// Its id.
    pub id: OutboxMessageId,
    /// Its recipients; at least one, each a recipient of the message that ends.
    pub to: Vec<EmailAddress>,
    /// When it is tried.
    pub next_attempt_at: Timestamp,
    /// Why they were refused.
    pub words: String,
}

/// Which messages a list shows.
#[derive(Debug, Clone, Default)]
pub struct OutboxFilter {
    /// Only this state.
    pub state: Option<OutboxState>,
    /// Only what this submitter handed in.
    pub submitted_by: Option<String>,
}

/// Keeps the outbox.
#[async_trait]
pub trait OutboxStore: Send + Sync {
    /// Accepts a message: row, key and event in one synced transaction. A key older than 7 days is forgotten.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Database`]: nothing was accepted.
    async fn accept(&self, message: NewOutboxMessage) -> Result<Acceptance, StoreError>;

    /// What an idempotency key stands for, before a message is built: `None` for a fresh key.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn idempotent(
        &self,
        submitted_by: &str,
        key: &IdempotencyKey,
        request: &[u8; 32],
    ) -> Result<Option<Acceptance>, StoreError>;

    /// Claims up to `limit` messages that are due now (accepted, scheduled, deferred, unknown; sending with an
    /// ended lease), oldest due first, until `until`. Counts the attempt and writes its event. At most one message
    /// of a sender (`envelope.from` on one connection) is claimed at a time, and none while an older one of the
    /// same sender is `accepted` or `sending`, so that a sender's order is kept. A row that cannot be read is held,
    /// with the reason, and stops no other.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn claim_outbox(
        &self,
        owner: &NodeId,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedMessage>, StoreError>;

    /// Writes down the provider's id of the draft, before the risky step.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]: then the risky step must not be taken.
    async fn note_provider_draft(
        &self,
        id: OutboxMessageId,
        lease: &Lease,
        provider_id: &str,
        event: Event,
    ) -> Result<(), StoreError>;

    /// Moves the end of a lease.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    async fn extend_outbox_lease(
        &self,
        id: OutboxMessageId,
        lease: &Lease,
        until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Ends an attempt and its lease, and makes the follow-up with its event, all in one transaction: as the lease ends
    /// once, there is one follow-up, or none when this fails.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    async fn finish_attempt(&self, finish: FinishAttempt) -> Result<(), StoreError>;

    /// A person's wish: `held` (from accepted, scheduled, deferred), `accepted` (from held, deferred, failed: try
    /// now), `cancelled` (from accepted, held, scheduled, deferred).
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when its state does not allow it.
    async fn change_outbox(
        &self,
        id: OutboxMessageId,
        to: OutboxState,
        actor: &str,
    ) -> Result<OutboxMessage, StoreError>;

    /// One message.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn outbox_message(&self, id: OutboxMessageId) -> Result<Option<OutboxMessage>, StoreError>;

    /// The raw MIME of a message.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when there is no such message, and the errors of the blob.
    async fn outbox_raw(&self, id: OutboxMessageId) -> Result<bytes::Bytes, StoreError>;

    /// A page of messages, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn outbox(&self, filter: &OutboxFilter, page: Page) -> Result<Vec<OutboxMessage>, StoreError>;

    /// How many messages are in each state; states without any are left out.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn outbox_counts(&self) -> Result<Vec<(OutboxState, u64)>, StoreError>;

    /// When the next message is due; none when none waits.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn next_outbox_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Ends every lease, of messages and mailboxes: only for the process that holds the data folder alone, at its
    /// start, so that what a killed process left is taken up at once. Gives the number of leases ended.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn end_all_leases(&self) -> Result<u64, StoreError>;
}
