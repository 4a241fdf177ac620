//! Blobs as files named by their content. A file appears under its name only when it is complete and synced.

mod orphans;
mod writer;

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use postroom_model::{Env, Timestamp};

use super::SqlStore;
use super::files::{make_private_folder, sync_folder};
use crate::{BlobRef, BlobStore, BlobWriter, StoreError};

/// Leftovers of killed processes are removed when they are older than this; younger ones may be another process's
/// work in progress.
const LEFTOVER_AGE_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// The folder `blobs`.
pub(super) struct BlobFolder {
    folder: PathBuf,
    /// Where files are written before they have their name: on the same file system, so that they can be renamed.
    new: PathBuf,
    env: Env,
    /// Folders `ab` that this process has made durable.
    synced: Mutex<HashSet<String>>,
}

impl BlobFolder {
    pub(super) fn open(data: &Path, env: Env) -> Result<Self, StoreError> {
        let folder = data.join("blobs");
        let new = folder.join("new");
        make_private_folder(&new).map_err(|source| StoreError::of_file("make", &new, source))?;
        sync_folder(&folder)?;
        sync_folder(data)?;
        remove_leftovers(&new, env.now());
        let blobs = Self { folder, new, env, synced: Mutex::default() };
        blobs.bring_back()?;
        Ok(blobs)
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.folder.join(&sha256[..2]).join(sha256)
    }

    fn put(&self, content: &[u8], unique: uuid::Uuid) -> Result<BlobRef, StoreError> {
        let blob = self.place(content, unique)?;
        self.sync_shelves(&[blob.shelf()])?;
        Ok(blob)
    }

    /// Puts a content under its name, complete and synced. It survives a power cut once its shelf is synced too.
    fn place(&self, content: &[u8], unique: uuid::Uuid) -> Result<BlobRef, StoreError> {
        let blob = BlobRef { sha256: sha256(content), size: content.len() as u64 };
        if !self.holds(&blob) {
            let mut file = self.begin(unique)?;
            file.write(content)?;
            self.shelve(file, &blob)?;
        }
        Ok(blob)
    }

    /// The data folder it is in.
    pub(super) fn data(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// Whether the content is there. Then it is complete, unless somebody cut it: it is written again. Its time is
    /// renewed, and it is looked for again after that: the janitor may be about to remove it, see [`orphans`].
    fn holds(&self, blob: &BlobRef) -> bool {
        let path = self.path(&blob.sha256);
        let renewed = || -> io::Result<u64> {
            File::open(&path)?.set_modified(self.env.now().into())?;
            Ok(fs::metadata(&path)?.len())
        };
        renewed().is_ok_and(|size| size == blob.size)
    }

    /// A file that has no name yet.
    fn begin(&self, unique: uuid::Uuid) -> Result<NewFile, StoreError> {
        let path = self.new.join(unique.to_string());
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(file) => Ok(NewFile { file, path, shelved: false }),
            Err(source) => Err(StoreError::of_file("write", &path, source)),
        }
    }

    /// Syncs a file and gives it its name.
    fn shelve(&self, mut file: NewFile, blob: &BlobRef) -> Result<(), StoreError> {
        let path = self.path(&blob.sha256);
        let shelf = self.folder.join(&blob.sha256[..2]);
        make_private_folder(&shelf).map_err(|source| StoreError::of_file("make", &shelf, source))?;
        file.file
            .sync_all()
            .and_then(|()| fs::rename(&file.path, &path))
            .map_err(|source| StoreError::of_file("write", &path, source))?;
        file.shelved = true;
        Ok(())
    }

    /// Makes the names on these shelves durable. Even of contents that were there: whoever wrote them may not have come
    /// to this step.
    fn sync_shelves(&self, shelves: &[String]) -> Result<(), StoreError> {
        for shelf in shelves {
            sync_folder(&self.folder.join(shelf))?;
        }
        let new: Vec<String> = {
            let synced = self.synced();
            shelves.iter().filter(|shelf| !synced.contains(*shelf)).cloned().collect()
        };
        if !new.is_empty() {
            sync_folder(&self.folder)?;
            self.synced().extend(new);
        }
        Ok(())
    }

    fn synced(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content, or its first `limit` bytes.
    fn get(&self, blob: &BlobRef, limit: u64) -> Result<Bytes, StoreError> {
        let contradiction =
            |what: String| StoreError::Contradiction { table: "blobs", row: blob.sha256.clone(), what };
        if blob.sha256.len() != 64 || !blob.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(contradiction("the name is no SHA-256".to_owned()));
        }
        let path = self.path(&blob.sha256);
        let failed = |source| StoreError::of_file("read", &path, source);
        let file = File::open(&path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        // Before the content is read, so that a file that grew is not taken into memory.
        if size != blob.size {
            return Err(contradiction(format!("it has {size} bytes instead of {}", blob.size)));
        }
        let wanted = size.min(limit);
        let mut content = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        file.take(wanted).read_to_end(&mut content).map_err(failed)?;
        if wanted == size && sha256(&content) != blob.sha256 {
            return Err(contradiction("its content is not what its name says".to_owned()));
        }
        Ok(content.into())
    }
}

impl BlobRef {
    /// The folder `ab` it lies in.
    fn shelf(&self) -> String {
        self.sha256[..2].to_owned()
    }
}

/// A file without a name yet. Dropped before it has one, it is removed.
struct NewFile {
    file: File,
    path: PathBuf,
    shelved: bool,
}

impl NewFile {
    fn write(&mut self, content: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(content).map_err(|source| StoreError::of_file("write", &self.path, source))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.shelved {
            // Gives the room back; what cannot be removed is a leftover.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn sha256(content: &[u8]) -> String {
    hexadecimal(digest(&SHA256, content).as_ref())
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        text
    })
}

/// The bytes of a name; none when it is no SHA-256 in lower-case hexadecimal.
pub(super) fn from_hexadecimal(name: &str) -> Option<[u8; 32]> {
    let digits = name.as_bytes();
    if digits.len() != 64 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(name.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
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

/// Runs file work on the threads that may wait.
pub(super) async fn on_disk<T: Send + 'static>(
    blobs: &Arc<BlobFolder>,
    work: impl FnOnce(&BlobFolder) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let at_work = Arc::clone(blobs);
    tokio::task::spawn_blocking(move || work(&at_work))
        .await
        .unwrap_or_else(|broken| Err(StoreError::of_file("use", &blobs.folder, io::Error::other(broken))))
}

/// Files and folders synced at the same time by [`BlobStore::put_blobs`]: a file system does several of them in one go.
const PARALLEL: usize = 8;

/// Works on shares of `pieces` at the same time and gives what came of each, in order.
async fn in_parallel<P, T, F>(mut pieces: Vec<P>, work: impl Fn(Vec<P>) -> F) -> Result<Vec<T>, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let share = pieces.len().div_ceil(PARALLEL);
    let mut shares = Vec::new();
    while !pieces.is_empty() {
        let rest = pieces.split_off(share.min(pieces.len()));
        shares.push(work(std::mem::replace(&mut pieces, rest)));
    }
    futures_util::future::try_join_all(shares).await
}

#[async_trait]
impl BlobStore for SqlStore {
    async fn put_blob(&self, content: Bytes) -> Result<BlobRef, StoreError> {
        let unique = self.env.new_uuid();
        on_disk(&self.blobs, move |blobs| blobs.put(&content, unique)).await
    }

    async fn put_blobs(&self, contents: Vec<Bytes>) -> Result<Vec<BlobRef>, StoreError> {
        let new: Vec<_> = contents.into_iter().map(|content| (content, self.env.new_uuid())).collect();
        let placed = in_parallel(new, |new| {
            on_disk(&self.blobs, move |blobs| {
                new.iter()
                    .map(|(content, unique)| blobs.place(content, *unique))
                    .collect::<Result<Vec<_>, _>>()
            })
        });
        let placed = placed.await?.concat();
        let shelves: BTreeSet<String> = placed.iter().map(BlobRef::shelf).collect();
        let synced = in_parallel(shelves.into_iter().collect(), |shelves| {
            on_disk(&self.blobs, move |blobs| blobs.sync_shelves(&shelves))
        });
        synced.await?;
        Ok(placed)
    }

    async fn write_blob(&self) -> Result<Box<dyn BlobWriter>, StoreError> {
        let unique = self.env.new_uuid();
        let file = on_disk(&self.blobs, move |blobs| blobs.begin(unique)).await?;
        Ok(Box::new(writer::Writer::new(Arc::clone(&self.blobs), file)))
    }

    async fn blob(&self, blob: &BlobRef) -> Result<Bytes, StoreError> {
        let blob = blob.clone();
        on_disk(&self.blobs, move |blobs| blobs.get(&blob, u64::MAX)).await
    }

    async fn blob_beginning(&self, blob: &BlobRef, limit: u64) -> Result<Bytes, StoreError> {
        let blob = blob.clone();
        on_disk(&self.blobs, move |blobs| blobs.get(&blob, limit)).await
    }
}
