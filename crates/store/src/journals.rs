//! What procedures of several steps remember.

use async_trait::async_trait;

use crate::StoreError;

/// Most bytes of one journal.
pub const MAX_JOURNAL: usize = 1_000_000;

/// Keeps journals.
#[async_trait]
pub trait JournalStore: Send + Sync {
    /// Keeps what a procedure of several steps (a set-up, a renewal, a watch) must remember when it is cut off:
    /// `content` under `name`, replacing what was there. None removes it. At most 1 MB; never a secret.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Full`].
    async fn save_journal(&self, name: &str, content: Option<&str>) -> Result<(), StoreError>;

    /// What was kept under `name`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn journal(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Names and contents that begin with `prefix`, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn journals(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError>;
}
