//! A store on SQLite, in one folder.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};

use super::unlock;
use crate::StoreError;
use crate::backup::RESTORING;
use crate::sql::blobs::BlobFolder;
use crate::sql::db::{Pool, Transaction};
use crate::sql::fault::Fault;
use crate::sql::files::{make_private_folder, on_disk, private_file, sync_folder, tighten};
use crate::sql::migrations::{newest, of_sqlite};
use crate::sql::upkeep::Waiters;
use crate::sql::{SqlStore, SqliteOptions};

/// How long a write waits for the writers of other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

impl SqlStore {
    /// Opens the folder, and makes it when it is new. Several processes may have it open at once.
    ///
    /// # Errors
    /// [`StoreError::NewerVersion`]: the folder is left as it was. [`StoreError::Key`] when the key file is missing
    /// though secrets are sealed, is not theirs, or may be read by others. [`StoreError::File`],
    /// [`StoreError::Database`], [`StoreError::Full`].
    pub async fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        let SqliteOptions { folder, key_file, env } = options;
        // Migrations and the making of the key are for one process at a time; the system drops the lock when the
        // file is closed, so a killed process leaves none behind.
        let lock = on_disk(folder.clone(), lock_folder).await?;
        let opening = async {
            let (writer, readers) = connect(&folder).await?;
            let sealer = unlock(Transaction::on_sqlite(&writer).await?, &key_file, &env).await?;
            Ok::<_, Fault>((writer, readers, sealer))
        };
        let opened = opening.await.map_err(|fault| fault.during("open the database", &folder))?;
        let (writer, readers, sealer) = opened;
        let own = env.clone();
        let blobs = on_disk(folder.clone(), move |folder| BlobFolder::open(folder, own)).await?;
        drop(lock);
        let (writer, readers) = (Pool::Sqlite(writer), Pool::Sqlite(readers));
        let (blobs, waiters) = (Arc::new(blobs), Waiters::default());
        Ok(Self { place: folder, env, sealer, writer, readers, blobs, waiters })
    }
}

fn lock_folder(folder: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::of_file("open the folder", folder, source);
    let is_new = !folder.exists();
    make_private_folder(folder).map_err(failed)?;
    tighten(folder, 0o700);
    if is_new && let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        sync_folder(above)?;
    }
    if folder.join(RESTORING).exists() {
        return Err(StoreError::Refused {
            what: format!("a restore into {} was not finished", folder.display()),
            hint: "empty the folder and restore again",
        });
    }
    let path = folder.join("postroom.lock");
    let failed = |source| StoreError::of_file("lock", &path, source);
    let file = private_file(&path).map_err(failed)?;
    match file.lock() {
        // Some network file systems have no locks; there one process at a time must do.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(error) => Err(failed(error)),
        Ok(()) => Ok(file),
    }
}

/// The writing connection and the reading ones, with the schema up to date.
async fn connect(folder: &Path) -> Result<(SqlitePool, SqlitePool), Fault> {
    let path = folder.join("postroom.db");
    let existed = path.exists();
    // SQLite gives the write-ahead log and the shared memory the mode of the database.
    // Only a file that is not there is opened: to close one would drop the locks of whoever else has it open here.
    if !existed {
        private_file(&path).map_err(|source| StoreError::of_file("make", &path, source))?;
    }
    for name in ["postroom.db", "postroom.db-wal", "postroom.db-shm"] {
        tighten(&folder.join(name), 0o600);
    }
    let common = SqliteConnectOptions::new().filename(&path).foreign_keys(true).busy_timeout(BUSY_TIMEOUT);
    if existed {
        // Before anything is set or written: a newer folder must stay as it is.
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(common.clone()).await?;
        let checked = refuse_newer(&mut *pool.acquire().await?, folder).await;
        pool.close().await;
        checked?;
    }
    let keep = || SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None).test_before_acquire(false);
    let durable = common
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // On macOS a plain fsync leaves the data in the disk's own memory.
        .pragma("fullfsync", "on");
    let writer = keep().max_connections(1).connect_with(durable.clone()).await?;
    migrate(&writer).await?;
    let readers = keep()
        .max_connections(READERS)
        .connect_with(durable.create_if_missing(false).pragma("query_only", "on"))
        .await?;
    if !existed {
        sync_folder(folder)?;
    }
    Ok((writer, readers))
}

async fn refuse_newer(connection: &mut SqliteConnection, folder: &Path) -> Result<(), Fault> {
    let begun: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'")
            .fetch_optional(&mut *connection)
            .await?;
    if begun.is_none() {
        return Ok(());
    }
    let found: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(connection).await?;
    let known = newest();
    match found {
        Some(found) if found > known => {
            Err(StoreError::NewerVersion { path: folder.to_owned(), found, known }.into())
        }
        _ => Ok(()),
    }
}

async fn migrate(writer: &SqlitePool) -> Result<(), Fault> {
    // One transaction round all of them: half a schema is never seen, and a second process waits.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    // Not `run`: its future is not `Send`, and a store is opened on any task.
    of_sqlite()
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| sqlx::Error::Migrate(Box::new(error)))?;
    Ok(transaction.commit().await?)
}
