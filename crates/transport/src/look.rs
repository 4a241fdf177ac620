//! For the check: what a mail server shows of itself, a sign-in with nothing after it, a token by itself, and the test
//! message found again and removed. Nothing here is used for the mail of people.

use async_trait::async_trait;
use postroom_entra::{AccessToken, Ids};
use postroom_graph::wire::Message;
use postroom_graph::{GraphClient, GraphError};
use postroom_model::connection::{Connection, ConnectionKind, ConnectionSettings, ExchangeApi};
use postroom_model::failure::Failure;
use postroom_model::{EmailAddress, SecretString};

use crate::wire::{Wire, hold};
use crate::{Account, Opening, ews, imap, smtp};

/// What a mail server showed of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Host and port.
    pub server: String,
    /// Its certificate (DER), which was accepted; none when the line is not under TLS.
    pub certificate: Option<Vec<u8>>,
    /// What it offers, in capitals: capabilities of IMAP, keywords of EHLO.
    pub offers: Vec<String>,
    /// The largest message it takes, in bytes; none when it does not say.
    pub max_size: Option<u64>,
}

/// A message in the inbox that the check may remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The server's id of it.
    pub id: String,
    /// The message, or at least its header.
    pub raw: Vec<u8>,
}

/// The inbox in which the check looks for its test message.
#[async_trait]
pub trait TestBox: Send + Sync {
    /// The message with this `Message-ID` (with angle brackets), where it is there.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    async fn find(&self, message_id: &str) -> Result<Option<Found>, Failure>;

    /// Removes a message that [`TestBox::find`] gave, for good.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    async fn remove(&self, found: &Found) -> Result<(), Failure>;
}

impl Wire {
    /// A token for settings that need not be saved.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`](postroom_model::failure::Decision) naming what is missing in the settings;
    /// else what Microsoft Entra or the network said.
    pub async fn token_for(
        &self,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
    ) -> Result<AccessToken, Failure> {
        let request = self.token_request(settings, secret)?;
        self.tokens.token(&request).await.map_err(|error| error.failure("sign in"))
    }

    /// What an IMAP or SMTP server shows to somebody who has not signed in.
    ///
    /// # Errors
    /// The network's failure, the server's refusal, or ours where the kind has no such server.
    pub async fn look(&self, settings: &ConnectionSettings) -> Result<Seen, Failure> {
        match settings.kind {
            ConnectionKind::Imap => imap::look(self, settings).await,
            ConnectionKind::Smtp => smtp::look(self, settings).await,
            ConnectionKind::ExchangeOnline | ConnectionKind::Exchange => Err(hold(settings, BY_HTTP)),
        }
    }

    /// Signs in to an IMAP or SMTP server as this account and does nothing more. None when the settings name nobody
    /// to sign in as.
    ///
    /// # Errors
    /// As for [`Wire::look`].
    pub async fn sign_in_for(
        &self,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
        account: &Account,
    ) -> Result<Option<Seen>, Failure> {
        match settings.kind {
            ConnectionKind::Imap => imap::sign_in(self, settings, secret, account).await.map(Some),
            ConnectionKind::Smtp => smtp::sign_in_as(self, settings, secret, &account.address).await,
            ConnectionKind::ExchangeOnline | ConnectionKind::Exchange => Err(hold(settings, BY_HTTP)),
        }
    }

    /// Whether an application opens this mailbox by IMAP, or may sign in as it by SMTP. A server that refuses the sign-in
    /// does not say whether there is such a mailbox.
    pub(crate) async fn opens_at(
        &self,
        connection: &Connection,
        mailbox: &EmailAddress,
    ) -> Result<Opening, Failure> {
        let (settings, account) = (&connection.settings, Account::of(mailbox.clone()));
        let secret = self.secret(connection).await?;
        let answer = if settings.kind.receives() {
            self.source_for(settings, secret, &account)?.probe().await.map(drop)
        } else {
            self.sign_in_for(settings, secret, &account).await.map(drop)
        };
        let Err(failure) = answer else { return Ok(Opening::Opens) };
        let closed = match settings.kind {
            ConnectionKind::Imap => {
                ["AUTHENTICATE failed", "not connected"].iter().any(|words| failure.words.contains(words))
            }
            _ => failure.status == Some(535),
        };
        if closed { Ok(Opening::Refused) } else { Err(failure) }
    }

    /// The inbox of an account, for the test message.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`](postroom_model::failure::Decision) naming what is missing in the settings, or
    /// that the kind has no inbox to look into.
    pub fn test_box_for(
        &self,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
        account: &Account,
    ) -> Result<Box<dyn TestBox>, Failure> {
        match (settings.kind, settings.api) {
            (ConnectionKind::Imap, _) => imap::test_box(self, settings, secret, account),
            (ConnectionKind::Smtp, _) => Err(hold(settings, "SMTP has no inbox to look into")),
            (ConnectionKind::ExchangeOnline, ExchangeApi::Graph) => {
                let graph = self.graph_for(settings, secret)?;
                Ok(Box::new(GraphTestBox { graph, address: account.address.clone() }))
            }
            (ConnectionKind::ExchangeOnline | ConnectionKind::Exchange, _) => {
                ews::test_box(self, settings, secret, account)
            }
        }
    }
}

/// Newest messages looked through each time.
const NEWEST: u32 = 25;
/// Longest test message that is read back; ours have less than two kilobytes.
pub(crate) const MAX_BACK: u64 = 1024 * 1024;

struct GraphTestBox {
    graph: GraphClient,
    address: EmailAddress,
}

#[async_trait]
impl TestBox for GraphTestBox {
    async fn find(&self, message_id: &str) -> Result<Option<Found>, Failure> {
        let user = self.address.as_str();
        let failed = |error: GraphError| error.failure(&format!("look for the test message in {user}"));
        let newest = self.graph.newest(user, "inbox", NEWEST).await.map_err(failed)?;
        let ours = |found: &Message| found.internet_message_id.as_deref() == Some(message_id);
        let Some(found) = newest.into_iter().find(ours) else { return Ok(None) };
        let raw = self.graph.message_mime(user, &found.id, MAX_BACK).await.map_err(failed)?;
        Ok(Some(Found { id: found.id, raw: raw.to_vec() }))
    }

    async fn remove(&self, found: &Found) -> Result<(), Failure> {
        let removed = self.graph.purge_message(self.address.as_str(), &found.id).await;
        removed.map_err(|error| error.failure("remove the test message"))
    }
}

const BY_HTTP: &str = "this server is asked by HTTP";

/// Ids of a connection for advice.
pub(crate) fn ids(settings: &ConnectionSettings) -> Ids {
    Ids::of(settings.tenant_id.trim(), settings.application_id.trim()).with_cloud(&settings.cloud)
}
