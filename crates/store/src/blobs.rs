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

    /// The content, compared with its name.
    ///
    /// # Errors
    /// [`StoreError::File`] when it cannot be read, [`StoreError::Contradiction`] when it is not what its name says.
    async fn blob(&self, blob: &BlobRef) -> Result<Bytes, StoreError>;
}
