//! Backup of a running installation, and its verified restore.
//!
//! A backup is a folder:
//!
//! ```text
//! manifest.json   what is in it: counts, sizes, hashes; written last, so a folder without one is no backup
//! postroom.db     the database as it was at one instant
//! blobs.sha256    one line for each raw message, as `sha256sum --check` reads it
//! blobs/ab/<name> raw messages
//! postroom.key    the key, only when it was asked for
//! ```
//!
//! The database is copied first, by SQLite itself (`VACUUM INTO`, which holds up no writer). Raw messages come second: a row
//! is committed only after its raw message is synced, and names are contents, so whatever the copied rows name is there
//! unchanged. What is stored meanwhile may be in the copy too, and harms nothing. The janitor waits until a backup is done.
//!
//! # What becomes of messages that wait
//!
//! The Postroom that was backed up has gone on working, perhaps. Whatever was still to be sent in the copy may have been
//! sent since, so a restore makes it `unknown`: it is looked up at its provider before anything is sent, as after a crash.
//!
//! PostgreSQL has its own tools (`pg_dump`, point-in-time recovery); there only the raw messages are backed up.

mod files;
mod make;
mod restore;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use postroom_model::Timestamp;
use serde::{Deserialize, Serialize};

pub use make::{BackupRequest, back_up};
pub use restore::{RestoreRequest, restore};

use crate::StoreError;

/// The form this version writes and reads.
const FORM: &str = "postroom-backup-1";
const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "postroom.db";
const LIST: &str = "blobs.sha256";
const KEY: &str = "postroom.key";
/// Where a restore builds what it verifies, in the data folder. A folder that has it is not opened.
pub(crate) const RESTORING: &str = "restoring";

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `postroom-backup-1`.
    pub form: String,
    /// When it was begun: what was accepted before is in it.
    pub begun_at: Timestamp,
    /// Version of the Postroom that made it.
    pub version: String,
    /// The database; none where it is PostgreSQL's.
    pub database: Option<CopiedFile>,
    /// Rows of the tables that people ask for; empty without a database.
    pub rows: BTreeMap<String, u64>,
    /// How many raw messages.
    pub blobs: u64,
    /// Their size together, in bytes.
    pub blob_bytes: u64,
    /// SHA-256 of the list of raw messages.
    pub list_sha256: String,
    /// Whether the key is in it: then whoever has the backup can open its secrets.
    pub with_key: bool,
    /// Raw messages that are damaged or missing in the installation itself, by name.
    pub damaged: Vec<String>,
}

/// A file with its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedFile {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// What the janitor and a backup take, so that neither works while the other does. Held until dropped; the system gives
/// it back when a process dies.
#[derive(Debug)]
pub struct UpkeepLock(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

impl UpkeepLock {
    /// The lock on a data folder; none while another has it.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn try_take(data: &Path) -> Result<Option<Self>, StoreError> {
        let path = data.join("upkeep.lock");
        let failed = |source| StoreError::of_file("lock", &path, source);
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Runs file work where it holds up nobody.
async fn on_disk<T: Send + 'static>(
    place: PathBuf,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|broken| Err(StoreError::of_file("use", &place, std::io::Error::other(broken))))
}

fn database_failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| StoreError::Database { operation, source: Box::new(error) }
}
