//! Messages that were collected.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::NamedAddress;
use crate::id::{InboxMessageId, MailboxId};

/// How far a collected message has come. Stored first, then processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InboxState {
    /// Raw MIME and cursor are committed; nothing else was done yet.
    Stored,
    /// Read, and in the inbox of those it is available to.
    Processed,
    /// Could not be processed; kept with the reason, can be run again.
    Quarantined,
}

impl InboxState {
    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Processed => "processed",
            Self::Quarantined => "quarantined",
        }
    }
}

/// What kind of sender wrote it: machines must never be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A person or a program that writes like one.
    #[default]
    Ordinary,
    /// An automatic answer (RFC 3834).
    AutoReply,
    /// A delivery status notification (RFC 3464).
    Bounce,
    /// A message list or mass mailing (RFC 2919, `Precedence`).
    Bulk,
}

impl Origin {
    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::AutoReply => "auto-reply",
            Self::Bounce => "bounce",
            Self::Bulk => "bulk",
        }
    }
}

/// What is read out of a raw message for lists, threads and search. Every text is bounded where it is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// `Message-ID` with its angle brackets.
    pub message_id: Option<String>,
    /// `In-Reply-To` and `References`, oldest first, each with its angle brackets; at most 100.
    pub references: Vec<String>,
    /// Sender as shown; none when the header is missing or holds no address.
    pub from: Option<NamedAddress>,
    /// Recipients of `To`; at most 500.
    pub to: Vec<NamedAddress>,
    /// Recipients of `Cc`; at most 500.
    pub cc: Vec<NamedAddress>,
    /// Decoded subject, at most 998 characters.
    pub subject: String,
    /// `Date` of the header.
    pub date: Option<Timestamp>,
    /// Beginning of the text, at most 200 characters, one line.
    pub preview: String,
    /// Number of attachments that are files to a reader.
    pub attachments: u32,
    /// What kind of sender wrote it.
    pub origin: Origin,
}

/// A collected message as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxMessage {
    /// Its id.
    pub id: InboxMessageId,
    /// The mailboxes it came to, as far as the viewer may see them.
    pub mailboxes: Vec<MailboxId>,
    /// How far it has come.
    pub state: InboxState,
    /// Why it is in quarantine.
    pub reason: Option<String>,
    /// Whether it was in its mailbox before that was added here: it never triggers an answer.
    #[serde(default)]
    pub is_old: bool,
    /// What was read out of it.
    pub summary: Summary,
    /// Size of the raw message in bytes.
    pub size: u64,
    /// When the provider received it.
    pub received_at: Timestamp,
    /// When it was stored here.
    pub stored_at: Timestamp,
    /// The oldest known message of its thread (its own id when it began one).
    pub thread: InboxMessageId,
}
