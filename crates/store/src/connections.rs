//! Connections and the outgoing settings.

use async_trait::async_trait;
use postroom_model::connection::{Connection, ConnectionSettings, ExchangeApi, OutgoingSettings};
use postroom_model::{ConnectionId, OutboxMessageId};

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

/// What a switch to the other interface of Exchange Online touches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterfaceSwitch {
    /// Mailboxes that are read from the beginning, by their new ids.
    pub mailboxes: u64,
    /// Messages known by an id of the interface used until now; each is recognised when it is named by the other.
    pub messages: u64,
    /// Messages to be sent whose draft at the provider is not used any more: another is made.
    pub drafts: u64,
    /// Messages that forbid the switch, oldest first, at most 20: being sent, or their outcome is looked up by an id that
    /// only the interface used until now knows.
    pub open: Vec<OutboxMessageId>,
}

/// Keeps connections.
#[async_trait]
pub trait ConnectionStore: Send + Sync {
    /// Adds or changes a connection and, in the same transaction, its credential and the due times of its mailboxes
    /// that have no polling interval of their own. Where the settings may not keep the stored secrets
    /// ([`ConnectionSettings::may_keep_secret_of`]), the connection's are retired and those of its mailboxes erased.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when the connection was removed; [`StoreError::Database`], [`StoreError::Full`].
    async fn save_connection(&self, save: SaveConnection) -> Result<Connection, StoreError>;

    /// What a switch to the other interface would touch. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn plan_interface_switch(&self, id: ConnectionId) -> Result<InterfaceSwitch, StoreError>;

    /// Switches a connection of Exchange Online to the other interface. Ids and cursors of one mean nothing to the
    /// other: every mailbox is read from the beginning, and what it is known to hold is recognised there by content, or
    /// by `Message-ID` and the second it was received. Readings that are going on commit nothing any more.
    ///
    /// # Errors
    /// [`StoreError::Refused`] while a message of it is being sent or looked up; [`StoreError::Untouched`] when there is
    /// no such connection of Exchange Online on another interface.
    async fn switch_interface(
        &self,
        id: ConnectionId,
        to: ExchangeApi,
        actor: &str,
    ) -> Result<InterfaceSwitch, StoreError>;

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
