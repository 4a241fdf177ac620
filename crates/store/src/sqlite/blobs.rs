//! Blobs as files named by their content. A file appears under its name only when it is complete and synced.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use postroom_model::Timestamp;

use super::SqliteStore;
use super::open::{make_private_folder, sync_folder};
use crate::{BlobRef, BlobStore, StoreError};

/// Leftovers of killed processes are removed when they are older than this; younger ones may be another process's
/// work in progress.
const LEFTOVER_AGE_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// The folder `blobs`.
pub(super) struct BlobFolder {
    folder: PathBuf,
    /// Where files are written before they have their name: on the same file system, so that they can be renamed.
    new: PathBuf,
    /// Folders `ab` that this process has made durable.
    synced: Mutex<HashSet<String>>,
}

impl BlobFolder {
    pub(super) fn open(data: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let folder = data.join("blobs");
        let new = folder.join("new");
        make_private_folder(&new).map_err(|source| StoreError::of_file("make", &new, source))?;
        sync_folder(&folder)?;
        sync_folder(data)?;
        remove_leftovers(&new, now);
        Ok(Self { folder, new, synced: Mutex::default() })
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.folder.join(&sha256[..2]).join(sha256)
    }

    fn put(&self, content: &[u8], unique: uuid::Uuid) -> Result<BlobRef, StoreError> {
        let blob = BlobRef { sha256: sha256(content), size: content.len() as u64 };
        let path = self.path(&blob.sha256);
        let shelf = self.folder.join(&blob.sha256[..2]);
        make_private_folder(&shelf).map_err(|source| StoreError::of_file("make", &shelf, source))?;
        // Content that is there is complete unless somebody cut it; then it is written again.
        if fs::metadata(&path).map(|known| known.len()).ok() != Some(blob.size) {
            self.write(content, &path, unique)?;
        }
        // Even for a file that was there: whoever wrote it may not have come to this step.
        sync_folder(&shelf)?;
        let unsynced = !self.synced().contains(&blob.sha256[..2]);
        if unsynced {
            sync_folder(&self.folder)?;
            self.synced().insert(blob.sha256[..2].to_owned());
        }
        Ok(blob)
    }

    fn write(&self, content: &[u8], path: &Path, unique: uuid::Uuid) -> Result<(), StoreError> {
        let temporary = self.new.join(unique.to_string());
        let failed = |source| StoreError::of_file("write", path, source);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary).map_err(failed)?;
        let written = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, path))
            .map_err(failed);
        if written.is_err() {
            // Gives the room back; what cannot be removed is a leftover.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn synced(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, blob: &BlobRef) -> Result<Bytes, StoreError> {
        let contradiction =
            |what: String| StoreError::Contradiction { table: "blobs", row: blob.sha256.clone(), what };
        if blob.sha256.len() != 64 || !blob.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(contradiction("the name is no SHA-256".to_owned()));
        }
        let path = self.path(&blob.sha256);
        let failed = |source| StoreError::of_file("read", &path, source);
        let size = File::open(&path).and_then(|file| file.metadata()).map_err(failed)?.len();
        // Before the content is read, so that a file that grew is not taken into memory.
        if size != blob.size {
            return Err(contradiction(format!("it has {size} bytes instead of {}", blob.size)));
        }
        let content = fs::read(&path).map_err(failed)?;
        if sha256(&content) != blob.sha256 {
            return Err(contradiction("its content is not what its name says".to_owned()));
        }
        Ok(content.into())
    }
}

fn sha256(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        text
    })
}

/// Removes what killed processes left behind. What fails here costs room and nothing else.
fn remove_leftovers(new: &Path, now: Timestamp) {
    let is_old = |path: &Path| -> io::Result<bool> {
        let modified = Timestamp::try_from(fs::metadata(path)?.modified()?).map_err(io::Error::other)?;
        Ok(now.as_microsecond().saturating_sub(modified.as_microsecond()) > LEFTOVER_AGE_MICROS)
    };
    let Ok(entries) = fs::read_dir(new) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if is_old(&path).unwrap_or(false)
            && let Err(error) = fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a leftover file cannot be removed");
        }
    }
}

impl SqliteStore {
    /// Runs file work on the threads that may wait.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BlobFolder) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let blobs = Arc::clone(&self.blobs);
        tokio::task::spawn_blocking(move || work(&blobs)).await.unwrap_or_else(|broken| {
            Err(StoreError::of_file("use", &self.folder.join("blobs"), io::Error::other(broken)))
        })
    }
}

#[async_trait]
impl BlobStore for SqliteStore {
    async fn put_blob(&self, content: Bytes) -> Result<BlobRef, StoreError> {
        let unique = self.env.new_uuid();
        self.on_disk(move |blobs| blobs.put(&content, unique)).await
    }

    async fn blob(&self, blob: &BlobRef) -> Result<Bytes, StoreError> {
        let blob = blob.clone();
        self.on_disk(move |blobs| blobs.get(&blob)).await
    }
}
