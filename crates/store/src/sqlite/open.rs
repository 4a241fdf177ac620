//! Opening a folder: version, migrations, key.

use std::fs::{DirBuilder, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postroom_model::SecretString;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{SqlSafeStr as _, SqlitePool};

use super::blobs::BlobFolder;
use super::fault::Fault;
use super::upkeep::Waiters;
use super::{SqliteOptions, SqliteStore};
use crate::StoreError;
use crate::backup::RESTORING;
use crate::seal::{KeyFile, Place, Sealer};

/// Every migration: version, name, text. Never edit one that was released; add one.
const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "first", include_str!("../../migrations/sqlite/0001_first.sql"))];

/// How long a write waits for the writers of other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// The key check value: opening it proves that the key file is the one the secrets were sealed with.
const KEY_CHECK: Place<'static> = Place { table: "house", column: "value", row: b"key-check" };

impl SqliteStore {
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
        let tell = |fault: Fault| fault.during("open the database", &folder);
        let (writer, readers) = connect(&folder).await.map_err(tell)?;
        let sealer = unlock(&writer, &key_file, &env).await.map_err(tell)?;
        let now = env.now();
        let blobs = on_disk(folder.clone(), move |folder| BlobFolder::open(folder, now)).await?;
        drop(lock);
        Ok(Self { folder, env, sealer, writer, readers, blobs: Arc::new(blobs), waiters: Waiters::default() })
    }
}

/// Runs file work where it holds up nobody.
async fn on_disk<T: Send + 'static>(
    folder: PathBuf,
    work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let path = folder.clone();
    tokio::task::spawn_blocking(move || work(&path)).await.unwrap_or_else(|broken| {
        Err(StoreError::of_file("open the folder", &folder, std::io::Error::other(broken)))
    })
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

/// Opens `path` for writing; makes it when it is missing, for its owner only whatever the umask says.
fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    tighten(path, 0o600);
    Ok(file)
}

/// Takes away what others may do with `path`, and says so. Refuses nothing: where the mode cannot be changed, the log
/// tells who could read the mail.
#[cfg(unix)]
fn tighten(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(known) = std::fs::metadata(path) else { return };
    let found = known.permissions().mode() & 0o777;
    if found & 0o077 == 0 && found & mode == mode {
        return;
    }
    let (path_shown, found_shown) = (path.display(), format!("{found:o}"));
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)) {
        Ok(()) => {
            tracing::warn!(path = %path_shown, found = found_shown, "was open to others and is for its owner only now");
        }
        Err(error) => {
            tracing::error!(path = %path_shown, found = found_shown, %error, "is open to others and cannot be closed");
        }
    }
}

#[cfg(not(unix))]
fn tighten(_: &Path, _: u32) {}

/// Makes `folder` and those above it, for their owner only. A folder that is there keeps its mode.
pub(crate) fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
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
    let known = MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0);
    match found {
        Some(found) if found > known => {
            Err(StoreError::NewerVersion { path: folder.to_owned(), found, known }.into())
        }
        _ => Ok(()),
    }
}

async fn migrate(writer: &SqlitePool) -> Result<(), Fault> {
    let migrations = MIGRATIONS.map(|(version, name, text)| {
        Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.into());
    // One transaction round all of them: half a schema is never seen, and a second process waits.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    // Not `run`: its future is not `Send`, and a store is opened on any task.
    migrator
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| sqlx::Error::Migrate(Box::new(error)))?;
    Ok(transaction.commit().await?)
}

/// Loads the key, or makes one where nothing is sealed yet, and compares it with the key check value.
async fn unlock(writer: &SqlitePool, key_file: &KeyFile, env: &postroom_model::Env) -> Result<Sealer, Fault> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let sealed: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM credentials WHERE sealed IS NOT NULL)")
            .fetch_one(&mut *transaction)
            .await?;
    let sealer = if sealed {
        Sealer::load(key_file)?.ok_or_else(|| StoreError::Key {
            path: key_file.0.clone(),
            reason: "is missing, and the stored secrets open with no other key; put it back from its backup"
                .to_owned(),
        })?
    } else {
        Sealer::load_or_create(key_file, env)?
    };
    if sealed {
        compare_key(&mut transaction, &sealer).await?;
    } else {
        // A lost key with nothing sealed under it is no loss: the new one takes its place.
        let check = sealer.seal(KEY_CHECK, &SecretString::from("postroom"))?;
        sqlx::query(
            "INSERT INTO house (name, value) VALUES ('key-check', ?)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(check)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(sealer)
}

/// Refuses unless `sealer` has the key of this database.
pub(super) async fn compare_key(db: &mut SqliteConnection, sealer: &Sealer) -> Result<(), Fault> {
    let check: Vec<u8> =
        sqlx::query_scalar("SELECT value FROM house WHERE name = 'key-check'").fetch_one(db).await?;
    sealer.open(KEY_CHECK, &check)?;
    Ok(())
}

/// Syncs a folder, so that the names in it survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| StoreError::of_file("sync", folder, source))
}
