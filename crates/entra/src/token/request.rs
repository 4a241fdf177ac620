//! What is asked of the token endpoint.

use std::sync::Arc;

use aws_lc_rs::digest;
use jiff::Timestamp;
use postroom_model::{Env, ExposeSecret, SecretString};
use url::Url;

use super::error::CredentialError;
use super::federated::FederatedToken;
use crate::certificate::CertificateCredential;

/// The public client that an administrator signs in through when an application is registered
/// (`TokenCredential::Password`, without any secret): Microsoft Graph Command Line Tools, present in every tenant.
pub const GRAPH_TOOLS_APPLICATION: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";

/// Largest answer of the token endpoint that is read, in bytes. Real ones have 2 to 5 kilobytes.
pub const MAX_TOKEN_ANSWER: u64 = 256 * 1024;

/// `client_assertion_type` of RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

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
    /// Client credentials with a certificate: each request carries an assertion signed for it.
    Certificate(Arc<CertificateCredential>),
    /// Client credentials with another identity provider's token, read anew at each request.
    Federated(FederatedToken),
    /// Resource owner password credentials through a public client.
    Password {
        /// User name (UPN).
        user: String,
        /// The password.
        password: SecretString,
    },
}

/// What is sent for a credential: open fields, and the one that must never be shown.
pub(super) struct Proof<'a> {
    pub(super) fields: Vec<(&'static str, &'a str)>,
    pub(super) hidden: (&'static str, SecretString),
}

impl TokenCredential {
    /// Form fields of this way to sign in, for the endpoint whose clock shows `now`.
    pub(super) async fn proof(
        &self,
        endpoint: &Url,
        application: &str,
        now: Timestamp,
        env: &Env,
    ) -> Result<Proof<'_>, CredentialError> {
        let assertion = || vec![("grant_type", "client_credentials"), ("client_assertion_type", JWT_BEARER)];
        Ok(match self {
            Self::ClientSecret(secret) => Proof {
                fields: vec![("grant_type", "client_credentials")],
                hidden: ("client_secret", secret.clone()),
            },
            Self::Certificate(certificate) => {
                let jti = env.new_uuid().to_string();
                let signed = certificate.assertion(endpoint.as_str(), application, now, &jti)?;
                Proof { fields: assertion(), hidden: ("client_assertion", signed) }
            }
            Self::Federated(token) => {
                Proof { fields: assertion(), hidden: ("client_assertion", token.read().await?) }
            }
            Self::Password { user, password } => Proof {
                fields: vec![("grant_type", "password"), ("username", user)],
                hidden: ("password", password.clone()),
            },
        })
    }

    /// SHA-256 over kind and contents, each with its length before it: tells credentials apart in the cache
    /// without keeping them there.
    fn fingerprint(&self) -> [u8; 32] {
        let parts = match self {
            Self::ClientSecret(secret) => ["secret", "", secret.expose_secret()].map(str::to_owned),
            Self::Certificate(certificate) => {
                ["certificate".to_owned(), String::new(), certificate.thumbprint_sha256_base64url()]
            }
            Self::Federated(token) => ["federated".to_owned(), String::new(), token.to_string()],
            Self::Password { user, password } => {
                ["password", user, password.expose_secret()].map(str::to_owned)
            }
        };
        let parts = parts.map(zeroize::Zeroizing::new);
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in &parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
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
