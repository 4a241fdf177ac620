//! Connections and the outgoing settings.

use async_trait::async_trait;
use postroom_model::ConnectionId;
use postroom_model::connection::{Connection, ConnectionSettings, OutgoingSettings};

use crate::{NewCredential, StoreError};

/// A connection to be added or changed.
#[derive(Debug)]
pub struct SaveConnection {
    /// A fresh id, or that of the connection to change.
    pub id: ConnectionId,
    /// Its settings; the caller has validated them.
    pub settings: ConnectionSettings,
    /// A new credential; none leaves the stored one alone.
    pub credential: Option<NewCredential>,
    /// Who saves: `user:admin`, `cli`.
    pub actor: String,
}

/// Keeps connections.
#[async_trait]
pub trait ConnectionStore: Send + Sync {
    /// Adds or changes a connection and, in the same transaction, its credential and the due times of its mailboxes
    /// that have no polling interval of their own. Where the settings lead to another server or cloud
    /// ([`ConnectionSettings::may_keep_secret_of`]), the passwords of its mailboxes are erased: they are not for that one.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when the connection was removed; [`StoreError::Database`], [`StoreError::Full`].
    async fn save_connection(&self, save: SaveConnection) -> Result<Connection, StoreError>;

    /// Removes a connection without mailboxes and without messages still to be sent; clears the outgoing
    /// settings when they named it. Removed mailboxes do not keep it: its credentials are erased, their mail stays.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while mailboxes or unfinished messages use it; [`StoreError::Untouched`] when it is not there.
    async fn remove_connection(&self, id: ConnectionId, actor: &str) -> Result<(), StoreError>;

    /// One connection.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn connection(&self, id: ConnectionId) -> Result<Option<Connection>, StoreError>;

    /// All connections, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn connections(&self) -> Result<Vec<Connection>, StoreError>;

    /// How mail leaves by default; none before anybody saved it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn outgoing_settings(&self) -> Result<Option<OutgoingSettings>, StoreError>;

    /// Saves how mail leaves by default.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn save_outgoing_settings(
        &self,
        settings: &OutgoingSettings,
        actor: &str,
    ) -> Result<(), StoreError>;
}
