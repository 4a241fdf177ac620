//! From a draft or a raw message to an accepted message.

use bytes::Bytes;
use postroom_model::Problems;
use postroom_model::draft::Draft;
use postroom_model::outbox::{Envelope, IdempotencyKey};
use postroom_store::{Acceptance, StoreError};

/// Who hands a message in, and under which key.
#[derive(Debug, Clone)]
pub struct Submitter {
    /// `user:admin`, `key:erp`, `cli`.
    pub name: String,
    /// The key and the SHA-256 of the whole request.
    pub idempotency: Option<(IdempotencyKey, [u8; 32])>,
}

/// Why a message was not accepted. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Fields are wrong.
    #[error("the message is not valid: {0}")]
    Invalid(Problems),
    /// Larger than the connection takes.
    #[error("the message has {size} bytes encoded; the limit is {limit} bytes")]
    TooLarge {
        /// Encoded size in bytes.
        size: u64,
        /// Limit in bytes.
        limit: u64,
    },
    /// There is no connection to send it through.
    #[error("{0}")]
    NoConnection(String),
    /// The store failed.
    #[error("the message could not be stored")]
    Store(#[from] StoreError),
}

/// Takes messages in.
#[derive(Clone)]
pub struct Intake {}

impl Intake {
    /// Validates a draft, builds its MIME, stores it, and answers when it is on disk. The connection is that of the
    /// mailbox with the sender's address, else the one of the outgoing settings.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn submit_draft(&self, draft: Draft, submitter: Submitter) -> Result<Acceptance, IntakeError> {
        let _ = (draft, submitter);
        todo!()
    }

    /// The same for a raw message with its envelope.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn submit_raw(
        &self,
        raw: Bytes,
        envelope: Envelope,
        submitter: Submitter,
    ) -> Result<Acceptance, IntakeError> {
        let _ = (raw, envelope, submitter);
        todo!()
    }
}
