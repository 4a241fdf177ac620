//! Credentials: the current one, the next one staged beside it, the former one to return to, and those that are retired.

use async_trait::async_trait;
use postroom_model::credential::{Credential, CredentialKind};
use postroom_model::{ConnectionId, CredentialId, SecretString, Timestamp};

use crate::StoreError;

/// A credential to be stored.
#[derive(Debug)]
pub struct NewCredential {
    /// What it is.
    pub kind: CredentialKind,
    /// The secret; sealed before it is written.
    pub secret: SecretString,
    /// When it stops working, where known.
    pub expires_at: Option<Timestamp>,
    /// Microsoft's id of it, where known.
    pub key_id: Option<String>,
}

/// Keeps credentials, each sealed. A retired one keeps its dates and loses its secret.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// All credentials of a connection, without their secrets, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn credentials(&self, connection: ConnectionId) -> Result<Vec<Credential>, StoreError>;

    /// The current credential with its secret, to sign in with; none when nothing is stored.
    ///
    /// # Errors
    /// [`StoreError::Key`] when it was sealed with another key.
    async fn credential_secret(
        &self,
        connection: ConnectionId,
    ) -> Result<Option<(Credential, SecretString)>, StoreError>;

    /// Stores a credential as the connection's next one, beside the current one. A next one that was there before is
    /// retired.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when the connection is not there.
    async fn stage_credential(
        &self,
        connection: ConnectionId,
        credential: NewCredential,
        actor: &str,
    ) -> Result<Credential, StoreError>;

    /// Makes the next credential the current one, in one transaction. The one before it is the former one now and keeps
    /// its secret; a former one that was there before is retired.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when the connection has no next credential.
    async fn switch_credential(
        &self,
        connection: ConnectionId,
        actor: &str,
    ) -> Result<Credential, StoreError>;

    /// Makes the former credential the current one again, and the current one the former, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when the connection has no former credential.
    async fn switch_credential_back(
        &self,
        connection: ConnectionId,
        actor: &str,
    ) -> Result<Credential, StoreError>;

    /// Takes a next or former credential out of use and erases its secret.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when it is neither: the current one is replaced, not retired.
    async fn retire_credential(&self, id: CredentialId, actor: &str) -> Result<(), StoreError>;

    /// The secret of one credential that is not retired.
    ///
    /// # Errors
    /// [`StoreError::Key`] when it was sealed with another key.
    async fn secret_of(&self, id: CredentialId) -> Result<Option<SecretString>, StoreError>;

    /// Learns when a credential ends, and Microsoft's id of it.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when it is not there.
    async fn learn_credential(
        &self,
        id: CredentialId,
        expires_at: Option<Timestamp>,
        key_id: Option<&str>,
    ) -> Result<(), StoreError>;
}
