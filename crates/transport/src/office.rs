//! What is done with credentials themselves: try one, make the next one, remove the last one, and see what the
//! application can open. The engine's watches ask; [`Wire`](crate::Wire) answers for Microsoft 365.

use async_trait::async_trait;
use postroom_model::connection::Connection;
use postroom_model::credential::CredentialKind;
use postroom_model::failure::Failure;
use postroom_model::{EmailAddress, SecretString, Timestamp};

/// A credential with its secret, shown to prove who asks.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// What it is.
    pub kind: CredentialKind,
    /// Its secret.
    pub secret: &'a SecretString,
}

/// A key that was made here and that the provider does not know yet.
#[derive(Debug)]
pub struct MadeKey {
    /// The private key with its certificate, as it is stored.
    pub secret: SecretString,
    /// When the certificate ends.
    pub expires_at: Timestamp,
}

/// One renewal that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct RenewalOrder<'a> {
    /// The credential that works now; it proves the right to add another.
    pub current: Presented<'a>,
    /// The key that was made here and stored beforehand; none when the provider makes the credential.
    pub made: Option<&'a SecretString>,
    /// Names this renewal at the provider. What an earlier order of the same name left there, and whose answer was
    /// lost, is removed or taken up: asking twice leaves one credential.
    pub mark: &'a str,
}

/// A credential that the provider took or made.
#[derive(Debug)]
pub struct Renewed {
    /// What it is.
    pub kind: CredentialKind,
    /// Its secret: the one that was made here, or the one that the provider shows this once.
    pub secret: SecretString,
    /// The provider's id of it, where it said so.
    pub key_id: Option<String>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// What could be found out about a credential.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownCredential {
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// The provider's id of it.
    pub key_id: Option<String>,
}

/// A right to mail that stands for every mailbox of the tenant, whatever a scope says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WideRight {
    /// Its value: `Mail.ReadWrite`.
    pub value: String,
    /// What it lets the application do, in words: `to read and change every mailbox`.
    pub opens: String,
}

/// What trying to open a mailbox found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The application can open it.
    Opens,
    /// The application is refused.
    Refused,
    /// There is no such mailbox, which says nothing about what the application may do.
    NoSuchMailbox,
}

/// Tries, makes and removes credentials. Nothing here touches what is stored.
#[async_trait]
pub trait CredentialOffice: Send + Sync {
    /// Signs in anew with this credential and opens one mailbox with it, when one is named. Gives one sentence.
    ///
    /// # Errors
    /// The provider's refusal or the network's. Right after a renewal a refusal may only mean that the new
    /// credential is not known everywhere yet.
    async fn test(
        &self,
        connection: &Connection,
        credential: Presented<'_>,
        mailbox: Option<&EmailAddress>,
    ) -> Result<String, Failure>;

    /// Whether a renewal of this credential is possible at all: asked before anything is made for it.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`](postroom_model::failure::Decision) and advice when the application may not do
    /// that for itself, or what it needs for it is not known; else whatever leaves the question open.
    async fn can_renew(&self, connection: &Connection, current: Presented<'_>) -> Result<(), Failure>;

    /// Makes a key with its certificate here, to be stored before the provider hears of it.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`](postroom_model::failure::Decision) when the connection does not sign in with
    /// certificates, and a failure of our own.
    async fn make_key(&self, connection: &Connection) -> Result<MadeKey, Failure>;

    /// Has the provider take the key that was made here, or make a client secret, beside the current credential.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`](postroom_model::failure::Decision) and advice when the application may not
    /// do that for itself.
    async fn renew(&self, connection: &Connection, order: RenewalOrder<'_>) -> Result<Renewed, Failure>;

    /// Removes a credential at the provider. One that is already gone is a success.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    async fn remove(
        &self,
        connection: &Connection,
        current: Presented<'_>,
        key_id: &str,
    ) -> Result<(), Failure>;

    /// What is known of the credential: from the certificate itself, from the provider where the application may ask,
    /// else nothing.
    ///
    /// # Errors
    /// The network's failure. A refusal is no failure: nothing is known then.
    async fn expiry(
        &self,
        connection: &Connection,
        current: Presented<'_>,
    ) -> Result<KnownCredential, Failure>;

    /// Rights to mail that the application has for the whole tenant now, each with what it lets the application do. An
    /// office that cannot see them gives none.
    ///
    /// # Errors
    /// Whatever leaves the question open.
    async fn tenant_wide(&self, _connection: &Connection) -> Result<Vec<WideRight>, Failure> {
        Ok(Vec::new())
    }

    /// Whether the application can open this mailbox now.
    ///
    /// # Errors
    /// Whatever leaves the question open.
    async fn opens(&self, connection: &Connection, mailbox: &EmailAddress) -> Result<Opening, Failure>;
}
