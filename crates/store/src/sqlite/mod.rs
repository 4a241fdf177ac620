//! The traits on SQLite, in one folder.
//!
//! ```text
//! postroom.db        the database (and its -wal and -shm)
//! postroom.lock      held while a process opens the folder
//! blobs/ab/<sha256>  raw messages
//! blobs/new/         files being written
//! ```
//!
//! # How it is kept safe
//!
//! - WAL with `synchronous=FULL`: a commit that was answered survives a power cut.
//! - One connection writes, others read. Every write transaction is `BEGIN IMMEDIATE`, so it waits its turn (several
//!   processes may have the folder open) and never has to turn from reading to writing in the middle.
//! - Inside a write transaction nothing is awaited but the database.
//! - Claims, finishes and commits compare owner and fence in the statement that writes, so they hold between
//!   processes too.

mod blobs;
mod broken;
mod connections;
mod credentials;
mod events;
mod fault;
mod inbox;
mod journals;
mod mailboxes;
mod open;
mod outbox;
mod people;
mod rows;
mod switch;
mod upkeep;
mod visible;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use postroom_model::Env;
use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::StoreError;
use crate::seal::{KeyFile, Sealer};
use fault::Fault;
pub(crate) use open::{make_private_folder, sync_folder};

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The data folder; made when missing, for its owner only.
    pub folder: PathBuf,
    /// The file with the key of the secrets; made when missing and nothing is sealed yet.
    pub key_file: KeyFile,
    /// Clock and chance.
    pub env: Env,
}

/// A store in one folder.
pub struct SqliteStore {
    folder: PathBuf,
    env: Env,
    sealer: Sealer,
    writer: SqlitePool,
    readers: SqlitePool,
    blobs: Arc<blobs::BlobFolder>,
    waiters: upkeep::Waiters,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Begins a write transaction; waits for other writers, of other processes too, up to the busy time-out.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Fault> {
        let _waiting = self.waiters.enter();
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// The result for the caller, with the operation named.
    fn tell<T>(&self, operation: &'static str, result: Result<T, Fault>) -> Result<T, StoreError> {
        result.map_err(|fault| fault.during(operation, &self.folder))
    }
}

#[cfg(test)]
mod tests;
