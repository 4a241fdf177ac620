//! Credentials by reference. The secret itself lives sealed in the store and never in one of these.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, CredentialId};

/// What a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// A client secret's value.
    ClientSecret,
    /// A certificate with its private key.
    Certificate,
    /// Another identity provider's token.
    FederatedToken,
    /// A user's password.
    Password,
}

/// Where a credential stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialState {
    /// In use.
    Current,
    /// Staged, to be switched to.
    Next,
    /// In use before the current one, and kept to return to.
    Former,
    /// Used no more, and without its secret.
    Retired,
}

/// A credential of a connection, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// What it is.
    pub kind: CredentialKind,
    /// Where it stands.
    pub state: CredentialState,
    /// When it stops working; none when nobody said.
    pub expires_at: Option<Timestamp>,
    /// Microsoft's own id of it (`keyId`); none when unknown.
    pub key_id: Option<String>,
    /// When it was stored.
    pub created_at: Timestamp,
}
