//! Users, groups, sessions, API keys.

use async_trait::async_trait;
use postroom_model::people::{ApiKey, Group, Role, User};
use postroom_model::{ApiKeyId, EmailAddress, GroupId, Timestamp, UserId};

use crate::StoreError;

/// A user to be added or changed.
#[derive(Debug)]
pub struct NewUser {
    /// A fresh id, or that of the user to change.
    pub id: UserId,
    /// Name to sign in with.
    pub name: String,
    /// Name shown to others.
    pub display_name: String,
    /// The user's own address.
    pub address: Option<EmailAddress>,
    /// What the user may do.
    pub roles: Vec<Role>,
    /// Groups the user belongs to.
    pub groups: Vec<GroupId>,
    /// Argon2 hash in PHC form; none leaves the stored one alone. A new one ends every session of the user.
    pub password_hash: Option<String>,
    /// Who saves.
    pub actor: String,
}

/// A signed-in browser. Only the hash of its cookie is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the cookie's value.
    pub id_hash: [u8; 32],
    /// Who signed in.
    pub user: UserId,
    /// When.
    pub created_at: Timestamp,
    /// When it ends, whatever happens.
    pub expires_at: Timestamp,
}

/// Keeps people and what they sign in with.
#[async_trait]
pub trait PeopleStore: Send + Sync {
    /// Adds or changes a user: roles and groups become those given.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another user has that name, or had it before being removed;
    /// [`StoreError::Untouched`] when the user was removed.
    async fn save_user(&self, user: NewUser) -> Result<User, StoreError>;

    /// Removes a user: every session ends, nobody signs in under the name any more, and it is given to nobody else,
    /// because what the user did stays under it.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when there is no such user; [`StoreError::Refused`] for the last administrator.
    async fn remove_user(&self, id: UserId, actor: &str) -> Result<(), StoreError>;

    /// All users but removed ones, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn users(&self) -> Result<Vec<User>, StoreError>;

    /// One user; none when removed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError>;

    /// The user who signs in under `name`, with the password's hash (none: may not sign in by password).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn user_by_name(&self, name: &str) -> Result<Option<(User, Option<String>)>, StoreError>;

    /// Adds or renames a group.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another group has that name; [`StoreError::Invalid`] when the name is none.
    async fn save_group(&self, group: &Group) -> Result<(), StoreError>;

    /// All groups, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn groups(&self) -> Result<Vec<Group>, StoreError>;

    /// Stores a session.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn save_session(&self, session: &Session) -> Result<(), StoreError>;

    /// The session of this hash unless it has ended.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn session(&self, id_hash: &[u8; 32]) -> Result<Option<Session>, StoreError>;

    /// Ends a session; no error when it is gone already.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn end_session(&self, id_hash: &[u8; 32]) -> Result<(), StoreError>;

    /// Adds an API key by the SHA-256 of the key.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another key that was not revoked has that name.
    async fn save_api_key(&self, key: &ApiKey, key_hash: &[u8; 32], actor: &str) -> Result<(), StoreError>;

    /// The key of this hash unless it was revoked.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn api_key(&self, key_hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError>;

    /// All API keys, by name; revoked ones too, each name's oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Takes a key away.
    ///
    /// # Errors
    /// [`StoreError::Untouched`] when there is no such key, or it was revoked before.
    async fn revoke_api_key(&self, id: ApiKeyId, actor: &str) -> Result<(), StoreError>;
}
