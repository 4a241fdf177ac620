//! Exchange Web Services: Exchange on premises, and Exchange Online for as long as it answers.
//!
//! Sending makes a draft first, whose id is written down, and then sends that draft. Other than in Microsoft Graph
//! an id does not last: the copy in Sent Items has another one, so what was sent is found there by its `Message-ID` and
//! this job's own mark. Reading synchronises the inbox and changes nothing; a message that leaves the inbox and
//! comes back has a new id, too, and is known by its content.

mod sender;
mod source;

pub use sender::EwsSender;
pub use source::EwsSource;

use std::sync::Arc;

use async_trait::async_trait;
use postroom_ews::{EwsClient, EwsError, SignIn};
use postroom_model::connection::ConnectionSettings;
use postroom_model::failure::Failure;
use postroom_model::{EmailAddress, SecretString};

use crate::look::{Found, MAX_BACK, TestBox};
use crate::wire::{Wire, hold};
use crate::{Account, Opening, Sender, Source};

/// A sender. On premises it signs in with the connection's user name and password, who may send as each sender.
pub(crate) fn sender(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
) -> Result<Box<dyn Sender>, Failure> {
    let sign_in = if settings.uses_entra() {
        token(wire, settings, secret)?
    } else {
        let secret = wire.valid(settings, secret)?;
        basic(settings, settings.user_name.trim(), secret)?
    };
    Ok(Box::new(EwsSender::new(client(wire, settings, sign_in)?)))
}

/// A source. On premises the mailbox's own user name and password come before those of the connection.
pub(crate) fn source(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    account: &Account,
) -> Result<Box<dyn Source>, Failure> {
    let client = client_of(wire, settings, secret, account)?;
    Ok(Box::new(EwsSource::new(client, account.address.clone(), wire.env.clone())))
}

/// The inbox of an account, for the test message.
pub(crate) fn test_box(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    account: &Account,
) -> Result<Box<dyn TestBox>, Failure> {
    let client = client_of(wire, settings, secret, account)?;
    Ok(Box::new(EwsTestBox { client, address: account.address.clone() }))
}

struct EwsTestBox {
    client: EwsClient,
    address: EmailAddress,
}

#[async_trait]
impl TestBox for EwsTestBox {
    async fn find(&self, message_id: &str) -> Result<Option<Found>, Failure> {
        let user = self.address.as_str();
        let failed = |error: EwsError| error.failure(&format!("look for the test message in {user}"));
        let found = self.client.find_by_internet_message_id(user, "inbox", message_id).await;
        let Some(id) = found.map_err(failed)?.into_iter().next() else { return Ok(None) };
        let mut raw = Vec::new();
        let mut download = self.client.mime(user, &id).await.map_err(failed)?;
        while let Some(piece) = download.next().await.map_err(failed)? {
            raw.extend_from_slice(&piece);
            if raw.len() as u64 > MAX_BACK {
                break;
            }
        }
        Ok(Some(Found { id, raw }))
    }

    async fn remove(&self, found: &Found) -> Result<(), Failure> {
        let removed = self.client.delete(self.address.as_str(), &found.id).await;
        removed.map_err(|error| error.failure("remove the test message"))
    }
}

/// A client that signs in as this account.
fn client_of(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    account: &Account,
) -> Result<EwsClient, Failure> {
    let sign_in = if settings.uses_entra() {
        token(wire, settings, secret)?
    } else {
        let connection = settings.user_name.trim();
        let user = match (account.user_name.trim(), connection) {
            ("", "") => account.address.as_str(),
            ("", connection) => connection,
            (own, _) => own,
        };
        let password = account.password.clone();
        // What the connection has is not asked for where the mailbox has its own.
        let secret = match password {
            Some(password) => wire.valid(settings, Some(password))?,
            None => wire.valid(settings, secret)?,
        };
        basic(settings, user, secret)?
    };
    client(wire, settings, sign_in)
}

/// Whether the connection can open this mailbox now. That EWS itself is switched off says nothing about the mailbox.
///
/// # Errors
/// Whatever leaves the question open.
pub(crate) async fn opens(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    mailbox: &EmailAddress,
) -> Result<Opening, Failure> {
    let client = client(wire, settings, token(wire, settings, secret)?)?;
    let Err(error) = client.well_known(mailbox.as_str(), "inbox").await else { return Ok(Opening::Opens) };
    match (&error, error.code()) {
        (_, Some("ErrorNonExistentMailbox")) => Ok(Opening::NoSuchMailbox),
        (_, Some("ErrorImpersonateUserDenied" | "ErrorImpersonationDenied" | "ErrorAccessDenied")) => {
            Ok(Opening::Refused)
        }
        (EwsError::Refused(refused), _) if refused.status == 403 && !refused.policy => Ok(Opening::Refused),
        _ => Err(error.failure(&format!("try to open {mailbox}"))),
    }
}

fn client(wire: &Wire, settings: &ConnectionSettings, sign_in: SignIn) -> Result<EwsClient, Failure> {
    let url = settings.ews_url().map_err(|words| hold(settings, words))?;
    let client = EwsClient::new(wire.http.clone(), sign_in, url, settings.display_name(), wire.env.clone());
    Ok(client.accepting_plain(settings.accept_plain))
}

fn token(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
) -> Result<SignIn, Failure> {
    let request = Arc::new(wire.token_request(settings, secret)?);
    Ok(SignIn::Token { tokens: Arc::clone(&wire.tokens), request })
}

fn basic(
    settings: &ConnectionSettings,
    user: &str,
    password: Option<SecretString>,
) -> Result<SignIn, Failure> {
    if user.is_empty() {
        return Err(hold(settings, "User name is missing"));
    }
    let password = password.ok_or_else(|| hold(settings, "Password is missing"))?;
    Ok(SignIn::Basic { user: user.to_owned(), password })
}
