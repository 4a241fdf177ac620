//! Which transport serves which connection.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use postroom_entra::token::FederatedToken;
use postroom_entra::{CertificateCredential, TokenClient, TokenCredential, TokenRequest};
use postroom_graph::GraphClient;
use postroom_model::connection::{
    AuthenticationFlow, Connection, ConnectionKind, ConnectionSettings, ExchangeApi, SecretField,
};
use postroom_model::credential::{Credential, CredentialKind};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::Mailbox;
use postroom_model::{EmailAddress, Env, ExposeSecret, SecretString, Timestamp};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::graph::{GraphSender, GraphSource, GraphSubscriber};
use crate::smtp::{Limits, Pool};
use crate::{Account, Credentials, Sender, Source, Subscriber, Transports};

/// Makes senders and sources over the network. Share one in the process.
pub struct Wire {
    pub(crate) http: reqwest::Client,
    pub(crate) tokens: Arc<TokenClient>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) env: Env,
    /// What certificates of mail servers are compared with; none means: what this machine trusts.
    trust: Option<Arc<ClientConfig>>,
    /// Kept connections to SMTP servers.
    pub(crate) smtp: Arc<Pool>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// A wire. `http` comes from [`postroom_entra::http::client`]; `credentials` opens what is stored.
    pub fn new(
        http: reqwest::Client,
        tokens: Arc<TokenClient>,
        credentials: Arc<dyn Credentials>,
        env: Env,
    ) -> Self {
        let smtp = Arc::new(Pool::new(&env, Limits::default()));
        Self { http, tokens, credentials, env, trust: None, smtp }
    }

    /// Gives the steps of SMTP other time limits.
    pub fn with_smtp_limits(mut self, limits: Limits) -> Self {
        self.smtp = Arc::new(Pool::new(&self.env, limits));
        self
    }

    /// Trusts these certificates (DER) of mail servers and their authorities besides what this machine trusts.
    ///
    /// # Errors
    /// A sentence when one is no certificate, or this machine has no root certificates.
    pub fn trusting(mut self, authorities: Vec<Vec<u8>>) -> Result<Self, String> {
        let authorities = authorities.into_iter().map(CertificateDer::from).collect();
        self.trust = Some(crate::tls::config_with(authorities)?);
        Ok(self)
    }

    /// How TLS is spoken with mail servers.
    ///
    /// # Errors
    /// A failure of our own that waits for a person: this machine has no root certificates.
    pub(crate) fn tls(&self, settings: &ConnectionSettings) -> Result<Arc<ClientConfig>, Failure> {
        match &self.trust {
            Some(config) => Ok(Arc::clone(config)),
            None => crate::tls::config().map_err(|words| hold(settings, words)),
        }
    }

    /// A Graph client for settings that need not be saved, with the secret that was typed or stored: for the check.
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`] naming the first thing that is missing or wrong in the settings.
    pub fn graph_for(
        &self,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
    ) -> Result<GraphClient, Failure> {
        let request = self.token_request(settings, secret)?;
        let tokens = Arc::clone(&self.tokens);
        let graph = settings.cloud.endpoints().graph;
        Ok(GraphClient::new(self.http.clone(), tokens, request, graph, self.env.clone()))
    }

    /// A sender for settings that need not be saved: for the check. Nothing is sent yet.
    ///
    /// # Errors
    /// As for [`Wire::graph_for`].
    pub fn sender_for(
        &self,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
    ) -> Result<Box<dyn Sender>, Failure> {
        match (settings.kind, settings.api) {
            (ConnectionKind::ExchangeOnline, ExchangeApi::Graph) => {
                Ok(Box::new(GraphSender::new(self.graph_for(settings, secret)?)))
            }
            (ConnectionKind::ExchangeOnline | ConnectionKind::Exchange, _) => {
                crate::ews::sender(self, settings, secret)
            }
            (ConnectionKind::Smtp, _) => crate::smtp::sender(self, settings, secret),
            (ConnectionKind::Imap, _) => Err(hold(settings, IMAP_RECEIVES_ONLY)),
        }
    }

    /// A source for settings that need not be saved: for the check. Nothing is asked yet.
    ///
    /// # Errors
    /// As for [`Wire::graph_for`].
    pub fn source_for(
        &self,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
        account: &Account,
    ) -> Result<Box<dyn Source>, Failure> {
        match (settings.kind, settings.api) {
            (ConnectionKind::ExchangeOnline, ExchangeApi::Graph) => {
                let client = self.graph_for(settings, secret)?;
                Ok(Box::new(GraphSource::new(client, account.address.clone(), self.env.clone())))
            }
            (ConnectionKind::ExchangeOnline | ConnectionKind::Exchange, _) => {
                crate::ews::source(self, settings, secret, account)
            }
            (ConnectionKind::Imap, _) => crate::imap::source(self, settings, secret, account),
            (ConnectionKind::Smtp, _) => Err(hold(settings, SMTP_SENDS_ONLY)),
        }
    }

    /// What a token for these settings is asked with.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`] naming the first thing that is missing or wrong in the settings.
    pub(crate) fn token_request(
        &self,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
    ) -> Result<TokenRequest, Failure> {
        let secret = self.valid(settings, secret)?;
        let Some(secret) = secret else {
            return Err(hold(settings, format!("{} is missing", settings.flow.label())));
        };
        Ok(TokenRequest {
            authority: settings.cloud.endpoints().authority,
            tenant: settings.tenant_id.trim().to_owned(),
            application: settings.application_id.trim().to_owned(),
            scope: settings.token_scope(),
            credential: credential(settings, secret)?,
        })
    }

    /// Gives the secret back when the settings are without error.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`] naming the first thing that is missing or wrong in the settings.
    pub(crate) fn valid(
        &self,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
    ) -> Result<Option<SecretString>, Failure> {
        let field = secret.as_ref().map_or(SecretField::Missing, SecretField::Typed);
        if let Some(problem) = settings.validate(field).errors().next() {
            let mut failure = hold(settings, problem.message.clone());
            failure.advice.clone_from(&problem.hint);
            return Err(failure);
        }
        Ok(secret)
    }

    /// The secret of a saved connection.
    pub(crate) async fn secret(&self, connection: &Connection) -> Result<Option<SecretString>, Failure> {
        let settings = &connection.settings;
        let stored = self.credentials.current(connection.id).await?;
        if let Some((Credential { kind, .. }, _)) = &stored
            && *kind != settings.credential_kind()
        {
            if !settings.uses_entra() {
                // A client secret left over from another flow is no password: no server is handed it as one.
                return Ok(None);
            }
            let words = format!("the stored credential does not fit the flow {}", settings.flow.label());
            return Err(hold(settings, words));
        }
        Ok(stored.map(|(_, secret)| secret))
    }

    /// A Graph client for a saved connection.
    pub(crate) async fn graph(&self, connection: &Connection) -> Result<GraphClient, Failure> {
        let secret = self.secret(connection).await?;
        self.graph_for(&connection.settings, secret)
    }
}

const IMAP_RECEIVES_ONLY: &str = "IMAP receives only: choose another connection for sending";
const SMTP_SENDS_ONLY: &str = "SMTP sends only: choose another connection for mailboxes";

#[async_trait]
impl Transports for Wire {
    fn can_send(&self, settings: &ConnectionSettings) -> Result<(), String> {
        if settings.kind.sends() { Ok(()) } else { Err(IMAP_RECEIVES_ONLY.to_owned()) }
    }

    fn can_subscribe(&self, settings: &ConnectionSettings) -> bool {
        (settings.kind, settings.api) == (ConnectionKind::ExchangeOnline, ExchangeApi::Graph)
    }

    fn tells_time(&self, settings: &ConnectionSettings) -> bool {
        clock(settings).is_some()
    }

    async fn time(&self, connection: &Connection) -> Result<Option<Timestamp>, Failure> {
        let Some(address) = clock(&connection.settings) else { return Ok(None) };
        let answer = self.http.head(address).send().await.map_err(|error| {
            let words = error.without_url().to_string();
            Failure::new("ask for the time", Origin::Network, words, Decision::Retry { after: None })
        })?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        Ok(date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp()))
    }

    async fn subscriber(
        &self,
        connection: &Connection,
        mailbox: &EmailAddress,
    ) -> Result<Option<Box<dyn Subscriber>>, Failure> {
        if !self.can_subscribe(&connection.settings) {
            return Ok(None);
        }
        Ok(Some(Box::new(GraphSubscriber::new(self.graph(connection).await?, mailbox.clone()))))
    }

    async fn sender(&self, connection: &Connection) -> Result<Box<dyn Sender>, Failure> {
        let secret = self.secret(connection).await?;
        self.sender_for(&connection.settings, secret)
    }

    async fn source(&self, connection: &Connection, mailbox: &Mailbox) -> Result<Box<dyn Source>, Failure> {
        let account = Account {
            address: mailbox.address.clone(),
            user_name: mailbox.settings.user_name.trim().to_owned(),
            password: self.credentials.mailbox_password(mailbox.id).await?,
        };
        let secret = self.secret(connection).await?;
        self.source_for(&connection.settings, secret, &account)
    }
}

/// Whose clock is asked: that of the sign-in, else that of Exchange on premises; IMAP and SMTP with a password tell no
/// time.
fn clock(settings: &ConnectionSettings) -> Option<url::Url> {
    match (settings.kind, settings.flow) {
        (ConnectionKind::Exchange, AuthenticationFlow::Password) => settings.ews_url().ok(),
        (ConnectionKind::Imap | ConnectionKind::Smtp, AuthenticationFlow::Password) => None,
        _ => Some(settings.cloud.endpoints().authority),
    }
}

/// A failure that waits for a person.
pub(crate) fn hold(settings: &ConnectionSettings, words: impl Into<String>) -> Failure {
    let operation = format!("connect {}", settings.display_name());
    Failure::new(operation, Origin::Ourselves, words, Decision::Hold)
}

/// The kind of credential a flow needs.
pub(crate) fn expected(flow: AuthenticationFlow) -> CredentialKind {
    match flow {
        AuthenticationFlow::ClientSecret => CredentialKind::ClientSecret,
        AuthenticationFlow::Certificate => CredentialKind::Certificate,
        AuthenticationFlow::Federated => CredentialKind::FederatedToken,
        AuthenticationFlow::Password => CredentialKind::Password,
    }
}

fn credential(settings: &ConnectionSettings, secret: SecretString) -> Result<TokenCredential, Failure> {
    match settings.flow {
        AuthenticationFlow::ClientSecret => Ok(TokenCredential::ClientSecret(secret)),
        AuthenticationFlow::Password if settings.user_name.trim().is_empty() => {
            Err(hold(settings, "User name is missing"))
        }
        AuthenticationFlow::Password => {
            Ok(TokenCredential::Password { user: settings.user_name.trim().to_owned(), password: secret })
        }
        AuthenticationFlow::Certificate => {
            let certificate = CertificateCredential::from_pem(&secret)
                .map_err(|error| advised(settings, &error, error.hint()))?;
            Ok(TokenCredential::Certificate(Arc::new(certificate)))
        }
        AuthenticationFlow::Federated => FederatedToken::parse(secret.expose_secret())
            .map(TokenCredential::Federated)
            .map_err(|error| advised(settings, &error, "Enter the place where the token is found.")),
    }
}

/// A failure that waits for a person, with what to do.
fn advised(settings: &ConnectionSettings, error: &impl fmt::Display, hint: &str) -> Failure {
    let mut failure = hold(settings, error.to_string());
    failure.advice = Some(hint.to_owned());
    failure
}
