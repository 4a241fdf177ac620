//! Mailboxes, and the claim to read one.

use async_trait::async_trait;
use postroom_model::connection::Connection;
use postroom_model::event::Event;
use postroom_model::mailbox::{Mailbox, MailboxSettings, MailboxState, Validation};
use postroom_model::people::Viewer;
use postroom_model::{ConnectionId, CredentialId, EmailAddress, MailboxId, SecretString, Timestamp};

use crate::{Lease, NodeId, StoreError};

/// A mailbox to be added or changed.
#[derive(Debug)]
pub struct SaveMailbox {
    /// A fresh id, or that of the mailbox to change.
    pub id: MailboxId,
    /// The connection it is on.
    pub connection: ConnectionId,
    /// Its settings; the caller has validated them.
    pub settings: MailboxSettings,
    /// Its own password; none leaves the stored one alone.
    pub password: Option<SecretString>,
    /// Who saves.
    pub actor: String,
}

/// A mailbox claimed for one reading.
#[derive(Debug, Clone)]
pub struct ClaimedMailbox {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// Its connection.
    pub connection: Connection,
    /// Where the last reading ended; none before the first.
    pub cursor: Option<String>,
    /// The right to commit and finish.
    pub lease: Lease,
}

/// A mailbox whose polling is on, and by what one sees that it is still opened in the same way: all of it is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolledMailbox {
    /// The mailbox.
    pub id: MailboxId,
    /// Its connection.
    pub connection: ConnectionId,
    /// Grows whenever the mailbox is saved, its password too.
    pub revision: i64,
    /// Grows whenever the connection is saved.
    pub connection_revision: i64,
    /// The connection's current credential.
    pub credential: Option<CredentialId>,
}

/// A mailbox whose last reading failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingMailbox {
    /// The mailbox.
    pub id: MailboxId,
    /// Its connection.
    pub connection: ConnectionId,
    /// Its address.
    pub address: EmailAddress,
    /// When it began to fail.
    pub since: Timestamp,
    /// Why the last reading failed.
    pub error: Option<String>,
}

/// How a reading ended.
#[derive(Debug)]
pub struct PollFinish {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The lease of the claim; it ends here.
    pub lease: Lease,
    /// How the mailbox fares now.
    pub state: MailboxState,
    /// Why it failed.
    pub error: Option<String>,
    /// Failed readings in a row.
    pub failures: u32,
    /// When it is read next; none while polling is off.
    pub next_due_at: Option<Timestamp>,
    /// What is to be told: begun to fail, works again.
    pub events: Vec<Event>,
}

/// Keeps mailboxes.
#[async_trait]
pub trait MailboxStore: Send + Sync {
    /// Adds or changes one mailbox and no other. It becomes due at once unless its polling is off. A fresh id with the
    /// address of a mailbox that was removed from the same connection brings that one back, under its own id and with
    /// its cursor and mail: work on with the id of the answer.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the connection has another mailbox of that address; [`StoreError::Refused`] when
    /// address or connection of a mailbox would change that has collected mail: its mail would be shown to those who
    /// may see another account.
    async fn save_mailbox(&self, save: SaveMailbox) -> Result<Mailbox, StoreError>;

    /// The mailbox's own password; none when it has none.
    ///
    /// # Errors
    /// [`StoreError::Database`], or that the sealed password cannot be opened.
    async fn mailbox_password(&self, id: MailboxId) -> Result<Option<SecretString>, StoreError>;

    /// Removes a mailbox: it is read no more and gone from every list of settings. Messages that came from it stay,
    /// seen by those to whom it was available.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when it is not there.
    async fn remove_mailbox(&self, id: MailboxId, actor: &str) -> Result<(), StoreError>;

    /// One mailbox; none when it was removed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn mailbox(&self, id: MailboxId) -> Result<Option<Mailbox>, StoreError>;

    /// The mailboxes of one address, at most one per connection, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn mailboxes_by_address(&self, address: &EmailAddress) -> Result<Vec<Mailbox>, StoreError>;

    /// All mailboxes, by address: for settings, not for reading mail. A row that contradicts itself is logged and left
    /// out, here and in [`MailboxStore::mailboxes_for`].
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn mailboxes(&self) -> Result<Vec<Mailbox>, StoreError>;

    /// The mailboxes that `viewer` may read, by address; removed ones too, because their mail is there
    /// ([`Mailbox::removed_at`]).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn mailboxes_for(&self, viewer: &Viewer) -> Result<Vec<Mailbox>, StoreError>;

    /// Remembers what *Validate* found.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when the mailbox is not there.
    async fn save_validation(
        &self,
        id: MailboxId,
        validation: &Validation,
        actor: &str,
    ) -> Result<(), StoreError>;

    /// Claims up to `limit` mailboxes that are due now and held by nobody, the longest due first, until `until`. One
    /// whose row contradicts itself is set apart: failing, with the reason, and due again in an hour.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn claim_mailboxes(
        &self,
        owner: &NodeId,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedMailbox>, StoreError>;

    /// Claims one mailbox whether it is due or not; none when another holds it.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when the mailbox is not there.
    async fn claim_mailbox(
        &self,
        id: MailboxId,
        owner: &NodeId,
        until: Timestamp,
    ) -> Result<Option<ClaimedMailbox>, StoreError>;

    /// Ends a reading and its lease. Where polling was switched off or on meanwhile, the settings win over the due time.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    async fn finish_poll(&self, finish: PollFinish) -> Result<(), StoreError>;

    /// Makes a mailbox due now, because its provider says that there is something new. One that is being read is due
    /// again right after that reading, which may have looked too early. Does nothing where polling is off, where the
    /// mailbox was removed or is not there; one that is failing keeps the time of its next reading, as its provider
    /// may have asked for rest.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn wake_mailbox(&self, id: MailboxId) -> Result<(), StoreError>;

    /// Every mailbox whose polling is on, oldest first: little of each, so that all of many can be asked for often.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn polled_mailboxes(&self) -> Result<Vec<PolledMailbox>, StoreError>;

    /// Every mailbox whose last reading failed, oldest first. One that cannot be read is left out.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn failing_mailboxes(&self) -> Result<Vec<FailingMailbox>, StoreError>;

    /// When the next mailbox is due; none when there is none.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn next_mailbox_due(&self) -> Result<Option<Timestamp>, StoreError>;
}
