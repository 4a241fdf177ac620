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
mod db;
mod dialect;
mod events;
mod fault;
mod inbox;
mod journals;
mod mailboxes;
mod migrations;
mod open;
mod outbox;
mod people;
mod rows;
mod search;
mod switch;
mod visible;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use postroom_model::Env;

use crate::StoreError;
use crate::seal::{KeyFile, Sealer};
use db::{Pool, Transaction};
use dialect::{Turn, Work, begin_on_postgres};
use fault::Fault;

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
pub struct SqlStore {
    folder: PathBuf,
    env: Env,
    sealer: Sealer,
    writer: Pool,
    readers: Pool,
    blobs: Arc<blobs::BlobFolder>,
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("folder", &self.folder).finish_non_exhaustive()
    }
}

tokio::task_local! {
    /// Whether the write in progress is to be alone; see [`SqlStore::write`].
    static TURN: Turn;
}

/// How often a write goes beside others before it is alone.
const BESIDE_OTHERS: u32 = 2;
/// How often a write is begun at most.
const MOST: u32 = 5;

impl SqlStore {
    /// Begins a write transaction; waits for other writers as far as the engine lets one write at a time.
    async fn begin(&self) -> Result<Transaction, Fault> {
        self.begin_to(Work::Change).await
    }

    /// Begins the transaction of a claim, of which there is one at a time, or of any other write.
    async fn begin_to(&self, work: Work) -> Result<Transaction, Fault> {
        let turn = TURN.try_with(|turn| *turn).unwrap_or(Turn::Beside);
        Ok(match &self.writer {
            Pool::Sqlite(pool) => Transaction::on_sqlite(pool).await?,
            Pool::Postgres(pool) => Transaction::on_postgres(pool, begin_on_postgres(work, turn)).await?,
        })
    }

    /// Does a write of one transaction. One that PostgreSQL breaks off because of what others wrote meanwhile, and of
    /// which nothing was done, is done once more: a second time beside others, then alone, when nothing is left that
    /// could break it off.
    async fn write<T, F>(&self, operation: &'static str, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut broken_off = 0;
        loop {
            let turn = if broken_off < BESIDE_OTHERS { Turn::Beside } else { Turn::Alone };
            match TURN.scope(turn, work()).await {
                Err(fault) if fault.is_broken_off() && broken_off + 1 < MOST => broken_off += 1,
                result => return self.tell(operation, result),
            }
        }
    }

    /// The result for the caller, with the operation named.
    fn tell<T>(&self, operation: &'static str, result: Result<T, Fault>) -> Result<T, StoreError> {
        result.map_err(|fault| fault.during(operation, &self.folder))
    }
}

#[cfg(test)]
mod tests;
