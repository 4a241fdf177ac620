//! Append-only facts about messages, mailboxes, connections and credentials. Timelines, metrics, webhooks and the
//! feed are all derived from them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{
    ApiKeyId, ConnectionId, CredentialId, EventId, InboxMessageId, MailboxId, OutboxMessageId, UserId,
};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "subject", content = "subject_id")]
pub enum Subject {
    /// A message on its way out.
    OutboxMessage(OutboxMessageId),
    /// A collected message.
    InboxMessage(InboxMessageId),
    /// A mailbox.
    Mailbox(MailboxId),
    /// A connection.
    Connection(ConnectionId),
    /// A credential.
    Credential(CredentialId),
    /// A person.
    User(UserId),
    /// A key of a program.
    ApiKey(ApiKeyId),
    /// The installation itself.
    Installation,
}

impl Subject {
    /// Name of the kind, in the API and the database.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OutboxMessage(_) => "outbox-message",
            Self::InboxMessage(_) => "inbox-message",
            Self::Mailbox(_) => "mailbox",
            Self::Connection(_) => "connection",
            Self::Credential(_) => "credential",
            Self::User(_) => "user",
            Self::ApiKey(_) => "api-key",
            Self::Installation => "installation",
        }
    }

    /// The raw id.
    pub fn id(&self) -> uuid::Uuid {
        match self {
            Self::OutboxMessage(id) => id.as_uuid(),
            Self::InboxMessage(id) => id.as_uuid(),
            Self::Mailbox(id) => id.as_uuid(),
            Self::Connection(id) => id.as_uuid(),
            Self::Credential(id) => id.as_uuid(),
            Self::User(id) => id.as_uuid(),
            Self::ApiKey(id) => id.as_uuid(),
            Self::Installation => uuid::Uuid::nil(),
        }
    }

    /// The subject of this kind and id; none for an unknown kind.
    pub fn from_parts(kind: &str, id: uuid::Uuid) -> Option<Self> {
        Some(match kind {
            "outbox-message" => Self::OutboxMessage(id.into()),
            "inbox-message" => Self::InboxMessage(id.into()),
            "mailbox" => Self::Mailbox(id.into()),
            "connection" => Self::Connection(id.into()),
            "credential" => Self::Credential(id.into()),
            "user" => Self::User(id.into()),
            "api-key" => Self::ApiKey(id.into()),
            "installation" => Self::Installation,
            _ => return None,
        })
    }
}

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $sentence:literal;)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Name in the API, in webhooks and in the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What a timeline says.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// The kind of this name.
            pub fn from_name(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

event_kinds! {
    /// A message was accepted and is on disk.
    OutboxAccepted = "outbox.accepted", "Accepted and stored";
    /// A worker began an attempt.
    OutboxAttempt = "outbox.attempt", "Attempt begun";
    /// The provider holds a draft whose id is written down.
    OutboxDraftCreated = "outbox.draft-created", "Draft created at the provider";
    /// The provider took the message.
    OutboxSent = "outbox.sent", "Sent";
    /// The provider took the message, but not for this recipient; it is not tried again for them.
    OutboxRecipientRefused = "outbox.recipient-refused", "Not sent to one of its recipients";
    /// The provider took the message, but not yet for this recipient; the words name the message by which they are tried
    /// again.
    OutboxRecipientDeferred = "outbox.recipient-deferred", "Not sent yet to one of its recipients, will be tried again";
    /// A message was made for the recipients that were refused for now; the words name the message that was sent to the
    /// others.
    OutboxFollowUp = "outbox.follow-up", "Made for recipients that were refused for now";
    /// Not sent, to be tried again.
    OutboxDeferred = "outbox.deferred", "Not sent yet, will be tried again";
    /// Whether it was sent is not known.
    OutboxUnknown = "outbox.unknown", "Outcome unknown, will be looked up";
    /// The provider was asked what became of it.
    OutboxReconciled = "outbox.reconciled", "Looked up at the provider";
    /// Will not be sent.
    OutboxFailed = "outbox.failed", "Not sent";
    /// Kept back.
    OutboxHeld = "outbox.held", "Held";
    /// Released by a person.
    OutboxReleased = "outbox.released", "Released";
    /// Taken back.
    OutboxCancelled = "outbox.cancelled", "Cancelled";
    /// A worker died in the middle of an attempt.
    OutboxInterrupted = "outbox.interrupted", "Attempt interrupted";
    /// A message was collected: raw MIME and cursor are committed.
    InboxStored = "inbox.stored", "Collected and stored";
    /// A further mailbox holds the same message.
    InboxDelivered = "inbox.delivered", "Also delivered to another mailbox";
    /// It was read and put into the inbox.
    InboxProcessed = "inbox.processed", "Processed";
    /// It could not be processed.
    InboxQuarantined = "inbox.quarantined", "Put into quarantine";
    /// It is to be processed again.
    InboxReprocess = "inbox.reprocess", "To be processed again";
    /// It left the mailbox at the provider; our copy stays.
    InboxRemoved = "inbox.removed-at-provider", "Removed at the provider";
    /// It is back in the mailbox at the provider.
    InboxReturned = "inbox.returned", "Back in the mailbox";
    /// It was marked as read at the provider after it was processed.
    InboxMarkedRead = "inbox.marked-read", "Marked as read at the provider";
    /// It was moved to another folder at the provider after it was processed.
    InboxMoved = "inbox.moved", "Moved to another folder at the provider";
    /// It was filed on a record.
    InboxFiled = "inbox.filed", "Filed on a record";
    /// A mailbox was added or changed.
    MailboxSaved = "mailbox.saved", "Settings saved";
    /// A mailbox was removed.
    MailboxRemoved = "mailbox.removed", "Mailbox removed";
    /// A mailbox began to fail.
    MailboxFailing = "mailbox.failing", "Cannot be read";
    /// A mailbox works again.
    MailboxRecovered = "mailbox.recovered", "Works again";
    /// The provider's memory of our cursor was lost; everything is compared anew.
    MailboxResync = "mailbox.resync", "Read from the beginning";
    /// A mailbox has been failing for longer than is borne in silence.
    MailboxDown = "mailbox.down", "Cannot be read for a while";
    /// A mailbox that was told to be down works again.
    MailboxUp = "mailbox.up", "Works again after a while";
    /// No mail comes at a time at which mail usually comes.
    MailboxSilent = "mailbox.silent", "Silent at a time when mail usually comes";
    /// Mail comes again.
    MailboxHeard = "mailbox.heard", "Mail comes again";
    /// Processed mail could not be marked or moved; it stays where it is.
    MailboxUnsettled = "mailbox.settling-refused", "Processed mail cannot be marked or moved";
    /// Processed mail is marked or moved again.
    MailboxSettles = "mailbox.settling-works", "Processed mail is marked or moved again";
    /// Provider and store were compared; the words say how much was missing.
    MailboxReconciled = "mailbox.reconciled", "Compared with the provider";
    /// A mailbox was validated.
    MailboxValidated = "mailbox.validated", "Validated";
    /// A connection was added or changed.
    ConnectionSaved = "connection.saved", "Settings saved";
    /// A connection of Exchange Online is reached by its other interface from now on; the words say by which.
    ConnectionSwitched = "connection.switched", "Switched to another interface";
    /// A connection was removed.
    ConnectionRemoved = "connection.removed", "Connection removed";
    /// A connection was checked.
    ConnectionChecked = "connection.checked", "Checked";
    /// A credential was stored.
    CredentialStored = "credential.stored", "Credential stored";
    /// A second credential stands ready.
    CredentialStaged = "credential.staged", "Next credential staged";
    /// The next credential became the current one.
    CredentialSwitched = "credential.switched", "Switched to the next credential";
    /// A credential is in use no more, and is kept to return to.
    CredentialFormer = "credential.former", "Kept as the former credential";
    /// The former credential became the current one again.
    CredentialSwitchedBack = "credential.switched-back", "Switched back to the former credential";
    /// A credential was taken out of use, and its secret erased.
    CredentialRetired = "credential.retired", "Credential retired";
    /// A credential ends soon; the words say in how many days.
    CredentialExpiring = "credential.expiring", "Credential ends soon";
    /// A credential was renewed without anybody doing anything.
    CredentialRenewed = "credential.renewed", "Credential renewed";
    /// The renewal failed; the words say why and what to do.
    CredentialRenewalFailed = "credential.renewal-failed", "Credential could not be renewed";
    /// The application can open a mailbox that it must not open.
    ScopeExceeded = "scope.exceeded", "The application can open more than it should";
    /// What must be refused is refused again.
    ScopeHeld = "scope.held", "What must be refused is refused";
    /// The clock of this machine and that of a provider differ too much.
    ClockWrong = "clock.wrong", "Clock of this machine is wrong";
    /// They agree again.
    ClockRight = "clock.right", "Clock of this machine is right again";
    /// The disk is nearly full; the words say what is still taken.
    DiskLow = "disk.low", "Disk is nearly full";
    /// There is room again.
    DiskFine = "disk.fine", "Disk has room again";
    /// A set-up began, went on, ended or was undone; the words say what.
    SetupStep = "setup.step", "Set-up";
    /// A user was added or changed.
    UserSaved = "user.saved", "User saved";
    /// A user was removed; nobody signs in under the name any more.
    UserRemoved = "user.removed", "User removed";
    /// A user signed in.
    UserSignedIn = "user.signed-in", "Signed in";
    /// Somebody tried to sign in as this user and failed.
    UserRefused = "user.refused", "Sign-in refused";
    /// An API key was made.
    ApiKeyCreated = "apikey.created", "API key made";
    /// An API key was taken away.
    ApiKeyRevoked = "apikey.revoked", "API key revoked";
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id: stable, so that receivers can drop what they have.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// What happened.
    pub kind: EventKind,
    /// Number of the attempt, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The provider's literal words, or ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The provider's request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Who did it: `user:admin`, `key:erp`, `cli`; none for Postroom itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl Event {
    /// An event with nothing but what happened to what and when.
    pub fn new(id: EventId, at: Timestamp, subject: Subject, kind: EventKind) -> Self {
        Self { id, at, subject, kind, attempt: None, words: None, request_id: None, actor: None }
    }

    /// Adds literal words.
    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.words = Some(words.into());
        self
    }

    /// Adds the attempt's number.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// Adds the provider's request id.
    pub fn request_id(mut self, request_id: Option<String>) -> Self {
        self.request_id = request_id;
        self
    }

    /// Adds who did it.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_name() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.as_str()), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
