//! What is asked of the token endpoint.

use aws_lc_rs::digest;
use postroom_model::{ExposeSecret, SecretString};
use url::Url;

/// The public client that an administrator signs in through when an application is registered
/// (`TokenCredential::Password`, without any secret): Microsoft Graph Command Line Tools, present in every tenant.
pub const GRAPH_TOOLS_APPLICATION: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";

/// Largest answer of the token endpoint that is read, in bytes. Real ones have 2 to 5 kilobytes.
pub const MAX_TOKEN_ANSWER: u64 = 256 * 1024;

/// A token that is wanted.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// Microsoft Entra: `https://login.microsoftonline.com`.
    pub authority: Url,
    /// Directory (tenant) ID, or a verified domain.
    pub tenant: String,
    /// Application (client) ID.
    pub application: String,
    /// One resource with `/.default`: `https://graph.microsoft.com/.default`.
    pub scope: String,
    /// What proves who asks.
    pub credential: TokenCredential,
}

/// What proves who asks for a token.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TokenCredential {
    /// Client credentials with a secret's value.
    ClientSecret(SecretString),
    /// Resource owner password credentials through a public client.
    Password {
        /// User name (UPN).
        user: String,
        /// The password.
        password: SecretString,
    },
}

impl TokenCredential {
    /// Form fields of this way to sign in.
    pub(super) fn fields(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::ClientSecret(secret) => {
                vec![("grant_type", "client_credentials"), ("client_secret", secret.expose_secret())]
            }
            Self::Password { user, password } => {
                vec![("grant_type", "password"), ("username", user), ("password", password.expose_secret())]
            }
        }
    }

    /// The part that must never be shown.
    pub(super) fn secret(&self) -> &SecretString {
        match self {
            Self::ClientSecret(secret) | Self::Password { password: secret, .. } => secret,
        }
    }

    /// SHA-256 over kind and contents, each with its length before it: tells credentials apart in the cache
    /// without keeping them there.
    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        for (name, value) in self.fields() {
            for part in [name, value] {
                hash.update(&(part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.finish().as_ref());
        bytes
    }
}

/// Tokens are kept apart by these.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    authority: String,
    tenant: String,
    application: String,
    scope: String,
    fingerprint: [u8; 32],
}

impl TokenRequest {
    pub(super) fn key(&self) -> Key {
        Key {
            authority: self.authority.to_string(),
            tenant: self.tenant.to_ascii_lowercase(),
            application: self.application.to_ascii_lowercase(),
            scope: self.scope.clone(),
            fingerprint: self.credential.fingerprint(),
        }
    }
}
