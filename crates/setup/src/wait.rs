//! Waiting for what was granted to arrive: a fresh token each time, because a cached one keeps its old rights, and
//! a countdown instead of an error.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use postroom_entra::certificate::CertificateCredential;
use postroom_entra::token::{TokenClient, TokenCredential, TokenError, TokenRequest};
use postroom_model::credential::Credential;
use postroom_model::failure::Failure;
use postroom_model::{ConnectionId, EmailAddress, SecretString};
use postroom_transport::graph::GraphSource;
use postroom_transport::{Credentials, Source, Wire};

use crate::apply::{Means, Progress, Tell, Waiting};
use crate::error::SetupError;
use crate::journal::Journal;
use crate::local;
use crate::plan::{Api, KeyKind};

/// What tokens for EWS, IMAP and SMTP are made for.
const EXCHANGE_SCOPE: &str = "https://outlook.office365.com/.default";

/// Waits until the application can sign in and its token holds the rights that Entra grants.
pub(crate) async fn sign_in(
    journal: &Journal,
    secret: &SecretString,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<(), SetupError> {
    let request = request(journal, secret)?;
    let needed: Vec<String> = journal.plan.permissions().into_iter().map(|one| one.value).collect();
    let end = means.env.now().saturating_add(means.patience.sign_in).unwrap_or(means.env.now());
    loop {
        let tokens = TokenClient::new(means.http.clone(), means.env.clone());
        let tried = tokens.token(&request).await;
        let left = end.duration_since(means.env.now());
        let why = match &tried {
            Ok(token) => {
                let roles = token.claims().map(|claims| claims.roles).unwrap_or_default();
                let missing: Vec<&String> = needed.iter().filter(|one| !roles.contains(one)).collect();
                if missing.is_empty() {
                    tell(Progress::Done("the application signs in with its rights".to_owned()));
                    return Ok(());
                }
                let missing: Vec<&str> = missing.into_iter().map(String::as_str).collect();
                format!("the token still lacks {}", missing.join(", "))
            }
            Err(error) => error.to_string(),
        };
        if left <= SignedDuration::ZERO {
            return Err(late(&request.application, means.patience.sign_in, &why, tried.err()));
        }
        tell(Progress::Waiting { what: "the sign-in".to_owned(), why, left });
        pause(means, left).await;
    }
}

fn late(application: &str, waited: SignedDuration, why: &str, error: Option<TokenError>) -> SetupError {
    let (application, minutes) = (application.to_owned(), waited.as_mins());
    match error {
        Some(source) => SetupError::SignIn { application, minutes, source: Box::new(source) },
        None => {
            let missing = why.strip_prefix("the token still lacks ").unwrap_or(why).to_owned();
            SetupError::Rights { application, minutes, missing }
        }
    }
}

/// Waits until each mailbox opens; gives those that did not in time. EWS, IMAP and SMTP cannot be opened by this
/// version: nothing is waited for there.
pub(crate) async fn mailboxes(
    journal: &Journal,
    secret: &SecretString,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<Vec<Waiting>, SetupError> {
    let mut waiting: Vec<EmailAddress> = journal.plan.mailboxes.clone();
    if journal.plan.api != Api::Graph {
        return Ok(Vec::new());
    }
    let end = means.env.now().saturating_add(means.patience.mailboxes).unwrap_or(means.env.now());
    loop {
        let mut closed = Vec::new();
        for mailbox in waiting {
            match open(journal, secret, means, &mailbox).await {
                Ok(()) => tell(Progress::Done(format!("mailbox {mailbox} opens"))),
                Err(failure) => closed.push(Waiting { mailbox, why: failure.words }),
            }
        }
        let left = end.duration_since(means.env.now());
        let Some(first) = closed.first() else { return Ok(closed) };
        if left <= SignedDuration::ZERO {
            return Ok(closed);
        }
        let what = match closed.len() {
            1 => format!("mailbox {}", first.mailbox),
            more => format!("mailbox {} and {} more", first.mailbox, more - 1),
        };
        tell(Progress::Waiting { what, why: first.why.clone(), left });
        pause(means, left).await;
        waiting = closed.into_iter().map(|one| one.mailbox).collect();
    }
}

/// Opens the inbox and reads one header, with a token of now.
async fn open(
    journal: &Journal,
    secret: &SecretString,
    means: &Means<'_>,
    mailbox: &EmailAddress,
) -> Result<(), Failure> {
    let tokens = Arc::new(TokenClient::new(means.http.clone(), means.env.clone()));
    let wire = Wire::new(means.http.clone(), tokens, Arc::new(NothingStored), means.env.clone());
    let Some(settings) = local::connections(journal).into_iter().next() else { return Ok(()) };
    let client = wire.graph_for(&settings, Some(secret.clone()))?;
    GraphSource::new(client, mailbox.clone(), means.env.clone()).probe().await.map(drop)
}

async fn pause(means: &Means<'_>, left: SignedDuration) {
    let pause = means.patience.pause.min(left).max(SignedDuration::from_millis(10));
    tokio::time::sleep(Duration::try_from(pause).unwrap_or(Duration::from_secs(1))).await;
}

fn request(journal: &Journal, secret: &SecretString) -> Result<TokenRequest, SetupError> {
    let plan = &journal.plan;
    let endpoints = plan.cloud.endpoints();
    let credential = match plan.key.kind {
        KeyKind::Secret => TokenCredential::ClientSecret(secret.clone()),
        KeyKind::Certificate => {
            let certificate =
                CertificateCredential::from_pem(secret).map_err(|source| SetupError::Certificate {
                    operation: "read the certificate of this connection",
                    source: Box::new(source),
                })?;
            TokenCredential::Certificate(Arc::new(certificate))
        }
    };
    Ok(TokenRequest {
        authority: endpoints.authority.clone(),
        tenant: journal.tenant_id.clone().unwrap_or_default(),
        application: journal.application.as_ref().map(|one| one.application_id.clone()).unwrap_or_default(),
        scope: match plan.api {
            Api::Graph => endpoints.graph_scope(),
            Api::Ews | Api::ImapSmtp => EXCHANGE_SCOPE.to_owned(),
        },
        credential,
    })
}

/// The credential comes with the call.
struct NothingStored;

#[async_trait]
impl Credentials for NothingStored {
    async fn current(&self, _: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure> {
        Ok(None)
    }
}
