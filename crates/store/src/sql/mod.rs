//! The traits in SQL, on SQLite and on PostgreSQL: one set of statements, and what differs in `dialect`, `search` and
//! `open`.
//!
//! On SQLite everything is in one folder:
//!
//! ```text
//! postroom.db        the database (and its -wal and -shm)
//! postroom.lock      held while a process opens the folder
//! blobs/ab/<sha256>  raw messages
//! blobs/new/         files being written
//! blobs/doomed/      files that the janitor is about to remove
//! upkeep.lock        held by the janitor and by a backup
//! ```
//!
//! On PostgreSQL the tables are in a database that several nodes share, and `blobs` in a folder that they share.
//!
//! # How it is kept safe
//!
//! - A commit that was answered survives a power cut: on SQLite WAL with `synchronous=FULL`, on PostgreSQL
//!   `synchronous_commit` and `fsync` are seen to.
//! - One writes as if it were alone. On SQLite it is: one connection writes, and every write transaction is
//!   `BEGIN IMMEDIATE`, so it waits its turn (several processes may have the folder open) and never has to turn from
//!   reading to writing in the middle. On PostgreSQL every write transaction is `SERIALIZABLE`, and one that is broken
//!   off because of others is done once more, see `SqlStore::write`; claims wait for one another.
//! - Events get their places in the feed at the end of their transaction, one transaction after the other, so a reader
//!   of the feed passes none over, see `events`.
//! - Inside a write transaction nothing is awaited but the database.
//! - Claims, finishes and commits compare owner and fence in the statement that writes, so they hold between processes
//!   and nodes.
//!
//! # How to write a statement
//!
//! With what both engines take: placeholders `$1`, `CASE` instead of `iif` and of `min` or `max` of two values,
//! `ON CONFLICT (columns)`, in its `DO UPDATE` the table's name before its own columns, `"user"` and `"group"` in
//! quotes, lists as JSON through `json_each` and `json_group_array`.

mod blobs;
mod broken;
mod connections;
mod credentials;
mod db;
mod dialect;
mod events;
mod fault;
mod files;
mod inbox;
mod janitor;
mod journals;
mod mailboxes;
mod migrations;
mod open;
mod outbox;
mod people;
mod rows;
mod search;
mod switch;
mod transfer;
mod upkeep;
mod visible;

pub use transfer::{Moved, MovedTable};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use postroom_model::{Env, SecretString};

use crate::StoreError;
use crate::seal::{KeyFile, Sealer};
use db::{Pool, Transaction};
use dialect::{Turn, Work, begin_on_postgres};
use fault::Fault;
pub(crate) use files::{make_private_folder, sync_folder};

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

/// What a store on PostgreSQL is opened with.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=verify-full`; secret, because of the password.
    pub url: SecretString,
    /// Connections at most, from 2.
    pub connections: u32,
    /// The folder of the raw messages, `blobs` in it; the same for every node.
    pub folder: PathBuf,
    /// The file with the key of the secrets, the same for every node.
    pub key_file: KeyFile,
    /// Clock and chance.
    pub env: Env,
}

/// A store on either engine.
pub struct SqlStore {
    /// What errors name: the data folder, or server and database.
    place: PathBuf,
    env: Env,
    sealer: Sealer,
    writer: Pool,
    readers: Pool,
    blobs: Arc<blobs::BlobFolder>,
    waiters: upkeep::Waiters,
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("place", &self.place).finish_non_exhaustive()
    }
}

tokio::task_local! {
    /// Whether the write in progress is to be alone; see `SqlStore::write`.
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
        let _waiting = self.waiters.enter();
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
        result.map_err(|fault| fault.during(operation, &self.place))
    }
}

#[cfg(test)]
mod tests;
