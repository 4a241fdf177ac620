//! Messages on their way out: envelope, idempotency key, states.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::EmailAddress;
use crate::connection::UnknownWord;
use crate::id::{ConnectionId, OutboxMessageId};

/// Who a message is from and to, whatever its headers say (RFC 5321 section 2.3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Sender.
    pub from: EmailAddress,
    /// Recipients; at least one.
    pub to: Vec<EmailAddress>,
}

/// A key under which a sender may repeat the same request without sending twice: 1 to 255 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdempotencyKey(String);

/// Why a text is no idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an idempotency key has 1 to 255 printable ASCII characters; this one has {0} bytes or another character"
)]
pub struct InvalidIdempotencyKey(usize);

impl IdempotencyKey {
    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        let ok = (1..=255).contains(&text.len()) && text.bytes().all(|byte| (32..=126).contains(&byte));
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidIdempotencyKey(text.len())) }
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = InvalidIdempotencyKey;

    fn try_from(text: String) -> Result<Self, InvalidIdempotencyKey> {
        text.parse()
    }
}

impl From<IdempotencyKey> for String {
    fn from(key: IdempotencyKey) -> Self {
        key.0
    }
}

/// Where a message stands on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutboxState {
    /// On disk, to be sent now.
    Accepted,
    /// Kept back by a person or because a setting is missing.
    Held,
    /// To be sent later, as asked.
    Scheduled,
    /// Claimed by a worker that talks to the provider now.
    Sending,
    /// The provider took it.
    Sent,
    /// Not sent yet; will be tried again.
    Deferred,
    /// Whether it was sent is not known; it is looked up before anything is sent again.
    Unknown,
    /// Will not be sent; the sender is told.
    Failed,
    /// Taken back before it was sent.
    Cancelled,
}

impl OutboxState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Accepted,
        Self::Held,
        Self::Scheduled,
        Self::Sending,
        Self::Sent,
        Self::Deferred,
        Self::Unknown,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::Scheduled => "scheduled",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Deferred => "deferred",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will happen to it any more by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Sent | Self::Failed | Self::Cancelled)
    }
}

impl FromStr for OutboxState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownWord::new("outbox state", text, &Self::ALL.map(Self::as_str)))
    }
}

impl fmt::Display for OutboxState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message accepted for sending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxMessage {
    /// Its id, given at acceptance.
    pub id: OutboxMessageId,
    /// Where it stands.
    pub state: OutboxState,
    /// The connection it leaves through.
    pub connection: ConnectionId,
    /// Who it is from and to.
    pub envelope: Envelope,
    /// `Message-ID` with its angle brackets.
    pub message_id: String,
    /// Subject, for people.
    pub subject: String,
    /// Size of the raw message in bytes.
    pub size: u64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it is tried next; none when final or held.
    pub next_attempt_at: Option<Timestamp>,
    /// Attempts begun.
    pub attempts: u32,
    /// The provider's id of the draft or message, written down before the risky step.
    pub provider_id: Option<String>,
    /// The provider's last literal words, or our reason.
    pub last_words: Option<String>,
    /// Who handed it in: `user:admin`, `key:erp`, `cli`.
    pub submitted_by: String,
    /// The message whose recipients these are: it was sent, but these were refused for now, and are tried again here. It
    /// has the raw message and the time of acceptance of that one. None of what was handed in itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_up_of: Option<OutboxMessageId>,
}

/// How the words of a message begin that may have been sent already, and nobody can tell.
pub const IN_DOUBT: &str = "it may or may not have been sent";

impl OutboxMessage {
    /// Whether it may have been sent already, although it is not `sent`: sent again, it may arrive twice.
    pub fn in_doubt(&self) -> bool {
        self.state == OutboxState::Unknown
            || self.last_words.as_deref().is_some_and(|words| words.starts_with(IN_DOUBT))
    }
}
