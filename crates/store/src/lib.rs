//! Where everything is kept: one trait per resource, SQLite or PostgreSQL behind them, raw messages as files named by their
//! content, secrets sealed.
//!
//! # Promises kept here
//!
//! - What a method has answered with `Ok` is on disk and synced.
//! - A change and the events that tell of it are one transaction.
//! - Every write checks how many rows it touched ([`StoreError::Untouched`]).
//! - Work is claimed with a [`Lease`]; a finish whose lease is no longer held is refused ([`StoreError::LeaseLost`]).
//! - A row that cannot be read stops no other: lists of mail leave it out and log it, claims set it apart.
//! - No read of mail without a [`Viewer`](postroom_model::people::Viewer): availability is part of the query.
//! - No secret leaves except by [`CredentialStore::credential_secret`] and [`CredentialStore::secret_of`], as a type that cannot be printed.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`error`] | [`StoreError`]: what can go wrong, and which of it is the disk's |
//! | [`blobs`] | raw messages by content |
//! | [`connections`], [`credentials`], [`journals`], [`mailboxes`], [`people`], [`outbox`], [`inbox`], [`events`], [`upkeep`] | one trait each, with its parameters |
//! | [`seal`] | the key file and the sealing of secrets (AES-256-GCM-SIV) |
//! | [`backup`] | backup of a running installation, verified restore |
//! | [`janitor`] | what is over and may go |
//! | [`sql`] | the traits on SQLite and PostgreSQL |
//!
//! # How to add a method
//!
//! Declare it in the trait with its errors, implement it in the file of the same name under `sql/`, and add a
//! test to `tests/it/` that goes through `dyn Store`: a method without one does not exist. The statement runs on both
//! engines; how it is written stands in [`sql`]. A new table: a new file under `migrations/`, in the words of SQLite, and
//! a line in `sql/migrations.rs`; never an edit of an old one. What only one engine has goes beside it in the folder of
//! that engine.

pub mod backup;
pub mod blobs;
pub mod connections;
pub mod credentials;
pub mod error;
pub mod events;
pub mod inbox;
pub mod janitor;
pub mod journals;
pub mod mailboxes;
pub mod outbox;
pub mod people;
pub mod seal;
pub mod sql;
pub mod upkeep;

use std::fmt;

use postroom_model::Timestamp;
use serde::{Deserialize, Serialize};

pub use blobs::{BlobRef, BlobStore, BlobWriter};
pub use connections::{ConnectionStore, InterfaceSwitch, SaveConnection};
pub use credentials::{CredentialStore, NewCredential};
pub use error::StoreError;
pub use events::{EventFilter, EventStore, StoredEvent};
pub use inbox::{
    CollectedBatch, CommitReport, InboxFilter, InboxStore, NewInboxMessage, Processed, Refetch, Settling,
    StoredMessage,
};
pub use janitor::{Expired, JanitorStore, Orphans, Retention};
pub use journals::JournalStore;
pub use mailboxes::{ClaimedMailbox, FailingMailbox, MailboxStore, PollFinish, PolledMailbox, SaveMailbox};
pub use outbox::{
    Acceptance, ClaimedMessage, FinishAttempt, FollowUp, NewOutboxMessage, OutboxFilter, OutboxStore,
};
pub use people::{NewUser, PeopleStore, Session};
pub use seal::{KeyFile, Sealer};
pub use sql::{Moved, MovedTable, PostgresOptions, SqlStore, SqliteOptions};
pub use upkeep::{EventCounts, Queues, UpkeepStore, Waiting};

/// Everything that is kept. Held as `Arc<dyn Store>`; no logic crate knows which engine is behind it.
pub trait Store:
    BlobStore
    + ConnectionStore
    + CredentialStore
    + JournalStore
    + MailboxStore
    + OutboxStore
    + InboxStore
    + EventStore
    + PeopleStore
    + UpkeepStore
    + JanitorStore
{
}

impl<T> Store for T where
    T: BlobStore
        + ConnectionStore
        + CredentialStore
        + JournalStore
        + MailboxStore
        + OutboxStore
        + InboxStore
        + EventStore
        + PeopleStore
        + UpkeepStore
        + JanitorStore
{
}

/// One process that works on this store: part of every lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeId(String);

impl NodeId {
    /// A name for one run of one process; never used twice.
    pub fn new(unique: uuid::Uuid) -> Self {
        Self(unique.to_string())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The right to work on one row until an instant. Whoever finishes shows it; when it was taken over meanwhile, the
/// finish is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub owner: NodeId,
    /// Number of the claim, unique per row: the same owner's older claim is not this one.
    pub fence: i64,
    /// When it ends.
    pub until: Timestamp,
}

/// A page of a list: newest first.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Most rows, 1 to 500.
    pub limit: u32,
    /// Rows to pass over.
    pub offset: u32,
}

impl Page {
    /// The limit that is kept, whatever was asked for.
    pub(crate) fn bounded_limit(self) -> u32 {
        self.limit.clamp(1, 500)
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 50, offset: 0 }
    }
}
