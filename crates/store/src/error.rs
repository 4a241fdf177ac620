//! What can go wrong in the store.

use std::path::{Path, PathBuf};

/// An operation on the store failed. Nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or its quota is. Nothing was accepted; what was stored before is intact.
    #[error("{operation}: no space is left on the disk of {}", path.display())]
    Full {
        /// What was tried.
        operation: &'static str,
        /// The data folder.
        path: PathBuf,
    },
    /// The database refused or could not be reached.
    #[error("{operation}: the database failed")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be read or written.
    #[error("{operation} {}: the file failed", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The data folder, or the database, was written by a newer Postroom.
    #[error(
        "the store in {} was written by a newer Postroom: it has schema {found}, this one knows up to {known}",
        path.display()
    )]
    NewerVersion {
        /// The data folder.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest that this binary knows.
        known: i64,
    },
    /// The key file is missing, unreadable, of another form, or not the one the secrets were sealed with.
    #[error("key file {}: {reason}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong, as a sentence with the next step.
        reason: String,
    },
    /// Stored data contradicts itself.
    #[error("{table} row {row} contradicts itself: {what}")]
    Contradiction {
        /// The table.
        table: &'static str,
        /// The row.
        row: String,
        /// What is wrong.
        what: String,
    },
    /// A write that had to touch exactly one row touched none: it is not there, or not in the state this needs.
    #[error("{operation}: {subject} is not there, or not in a state that allows it")]
    Untouched {
        /// What was tried.
        operation: &'static str,
        /// On what.
        subject: String,
    },
    /// The lease was taken over by another worker; whatever was done under it must not be recorded.
    #[error("{operation}: the lease on {subject} is no longer held")]
    LeaseLost {
        /// What was tried.
        operation: &'static str,
        /// On what.
        subject: String,
    },
    /// A name or address that must be unique is taken.
    #[error("{what} is already there")]
    Taken {
        /// What: `the mailbox orders@contoso.example`.
        what: String,
    },
    /// It cannot be removed: something else needs it.
    #[error("{what} is in use by {by}")]
    InUse {
        /// What: `the connection Office`.
        what: String,
        /// By what: `a mailbox`.
        by: &'static str,
    },
    /// A rule forbids it; the next step is in the hint.
    #[error("{what}")]
    Refused {
        /// What is forbidden and why, as a sentence.
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// The model says no: what is wrong is named at its field.
    #[error("it is not saved: {0}")]
    Invalid(postroom_model::Problems),
}

impl StoreError {
    /// The error of a file: [`StoreError::Full`] where the disk or a quota has no room left.
    pub(crate) fn of_file(operation: &'static str, path: &Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { operation, path: path.to_owned() },
            _ => Self::File { operation, path: path.to_owned(), source },
        }
    }

    /// Whether the same call may work later without anybody changing anything here: full disk, busy database.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Database { .. } | Self::File { .. })
    }

    /// What a person can do, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Full { .. } => "free some space; Postroom goes on by itself",
            Self::NewerVersion { .. } => {
                "start the newer Postroom again, or restore a backup made by this version"
            }
            Self::Key { .. } => "POSTROOM_KEY_FILE or `key_file` in postroom.toml names the file",
            Self::Taken { .. } => "choose another one",
            Self::InUse { .. } => "remove what uses it first, or wait until that is done",
            Self::Refused { hint, .. } => hint,
            _ => return None,
        })
    }
}
