//! Raw messages, named by their content.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Names stored bytes: SHA-256 of the content and its size.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// SHA-256 in lower-case hexadecimal, 64 digits.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

impl fmt::Display for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sha256)
    }
}

/// Keeps raw messages. The same content is kept once.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Stores `content`; on return it is synced, its folder too.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::File`].
    async fn put_blob(&self, content: Bytes) -> Result<BlobRef, StoreError>;

    /// Stores several contents and gives their names in the same order; on return all of them are synced, their folders
    /// too. Promises no more than [`BlobStore::put_blob`] for each, and is many times as fast.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::File`]: some may have been stored and some not.
    async fn put_blobs(&self, contents: Vec<Bytes>) -> Result<Vec<BlobRef>, StoreError>;

    /// Begins a content that comes piece by piece and is never in memory as a whole.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::File`].
    async fn write_blob(&self) -> Result<Box<dyn BlobWriter>, StoreError>;

    /// The content, compared with its name.
    ///
    /// # Errors
    /// [`StoreError::File`] when it cannot be read, [`StoreError::Contradiction`] when it is not what its name says.
    async fn blob(&self, blob: &BlobRef) -> Result<Bytes, StoreError>;

    /// The first `limit` bytes of the content, or all of it. What is less than all is not compared with the name; the
    /// size is.
    ///
    /// # Errors
    /// Those of [`BlobStore::blob`].
    async fn blob_beginning(&self, blob: &BlobRef, limit: u64) -> Result<Bytes, StoreError>;
}

/// A content while it is written. Dropped before it is finished, it leaves nothing behind; what a killed process was
/// writing is removed later.
#[async_trait]
pub trait BlobWriter: Send {
    /// Takes the next bytes. Keeps at most 512 KiB and one chunk in memory.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::File`]: the content cannot be finished any more.
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError>;

    /// Stores what was written; on return it is synced, its folder too.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::File`]: nothing is stored.
    async fn finish(self: Box<Self>) -> Result<BlobRef, StoreError>;
}
