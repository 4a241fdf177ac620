//! Which transport serves which connection.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use postroom_entra::token::FederatedToken;
use postroom_entra::{CertificateCredential, TokenClient, TokenCredential, TokenRequest};
use postroom_graph::GraphClient;
use postroom_model::connection::{
    AuthenticationFlow, Connection, ConnectionKind, ConnectionSettings, SecretField,
};
use postroom_model::credential::{Credential, CredentialKind};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{EmailAddress, Env, ExposeSecret, SecretString};

use crate::graph::{GraphSender, GraphSource};
use crate::{Credentials, Sender, Source, Transports};

/// Makes senders and sources over the network. Share one in the process.
pub struct Wire {
    pub(crate) http: reqwest::Client,
    tokens: Arc<TokenClient>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) env: Env,
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
        Self { http, tokens, credentials, env }
    }

    /// A Graph client for settings that need not be saved, with the secret that was typed or stored: for the check.
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`] naming the first thing that is missing or wrong in the settings, or what is
    /// not available yet.
    pub fn graph_for(
        &self,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
    ) -> Result<GraphClient, Failure> {
        available(settings)?;
        let field = secret.as_ref().map_or(SecretField::Missing, SecretField::Typed);
        if let Some(problem) = settings.validate(field).errors().next() {
            let mut failure = hold(settings, problem.message.clone());
            failure.advice.clone_from(&problem.hint);
            return Err(failure);
        }
        let Some(secret) = secret else {
            return Err(hold(settings, format!("{} is missing", settings.flow.label())));
        };
        let endpoints = settings.cloud.endpoints();
        let request = TokenRequest {
            authority: endpoints.authority.clone(),
            tenant: settings.tenant_id.trim().to_owned(),
            application: settings.application_id.trim().to_owned(),
            scope: endpoints.graph_scope(),
            credential: credential(settings, secret)?,
        };
        let tokens = Arc::clone(&self.tokens);
        Ok(GraphClient::new(self.http.clone(), tokens, request, endpoints.graph, self.env.clone()))
    }

    /// A Graph client for a saved connection.
    pub(crate) async fn graph(&self, connection: &Connection) -> Result<GraphClient, Failure> {
        let settings = &connection.settings;
        available(settings)?;
        let stored = self.credentials.current(connection.id).await?;
        if let Some((Credential { kind, .. }, _)) = &stored
            && *kind != expected(settings.flow)
        {
            let words = format!("the stored credential does not fit the flow {}", settings.flow.label());
            return Err(hold(settings, words));
        }
        self.graph_for(settings, stored.map(|(_, secret)| secret))
    }
}

#[async_trait]
impl Transports for Wire {
    fn can_send(&self, settings: &ConnectionSettings) -> Result<(), String> {
        available(settings).map_err(|failure| failure.words)
    }

    async fn sender(&self, connection: &Connection) -> Result<Box<dyn Sender>, Failure> {
        Ok(Box::new(GraphSender::new(self.graph(connection).await?)))
    }

    async fn source(
        &self,
        connection: &Connection,
        mailbox: &EmailAddress,
    ) -> Result<Box<dyn Source>, Failure> {
        let client = self.graph(connection).await?;
        Ok(Box::new(GraphSource::new(client, mailbox.clone(), self.env.clone())))
    }
}

/// A failure that waits for a person.
pub(crate) fn hold(settings: &ConnectionSettings, words: impl Into<String>) -> Failure {
    let operation = format!("connect {}", settings.display_name());
    Failure::new(operation, Origin::Ourselves, words, Decision::Hold)
}

/// Refuses what this version cannot do.
fn available(settings: &ConnectionSettings) -> Result<(), Failure> {
    let missing = match settings.kind {
        ConnectionKind::Exchange => "EWS is not available yet in this version",
        ConnectionKind::Imap => "IMAP is not available yet in this version",
        ConnectionKind::Smtp => "SMTP is not available yet in this version",
        ConnectionKind::ExchangeOnline => return Ok(()),
    };
    Err(hold(settings, missing))
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
