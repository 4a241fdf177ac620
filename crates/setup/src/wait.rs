//! Waiting for what was granted to arrive: a fresh token each time, because a cached one keeps its old rights, and
//! a countdown instead of an error.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use postroom_entra::cause::{self, Advice, Code, Ids};
use postroom_entra::certificate::CertificateCredential;
use postroom_entra::token::{TokenClient, TokenCredential, TokenError, TokenRequest};
use postroom_model::credential::Credential;
use postroom_model::failure::Failure;
use postroom_model::{ConnectionId, EmailAddress, SecretString, Timestamp};
use postroom_transport::{Account, Credentials, Wire};

use crate::apply::{Means, Progress, Tell, Waiting};
use crate::error::SetupError;
use crate::journal::Journal;
use crate::local;
use crate::plan::{Api, KeyKind};

/// When waiting ends that begins now.
pub(crate) fn end(means: &Means<'_>, patience: SignedDuration) -> Timestamp {
    means.env.now().saturating_add(patience).unwrap_or(Timestamp::MAX)
}

/// Waits until the application can sign in and its token holds the rights that Entra grants.
pub(crate) async fn sign_in(
    journal: &Journal,
    secret: &SecretString,
    means: &Means<'_>,
    end_of_all: Timestamp,
    tell: Tell<'_>,
) -> Result<(), SetupError> {
    let request = request(journal, secret)?;
    let needed: Vec<String> = journal.plan.permissions().into_iter().map(|one| one.value).collect();
    let began = means.env.now();
    let end = end(means, means.patience.sign_in).min(end_of_all);
    loop {
        let tokens = TokenClient::new(means.http.clone(), means.env.clone());
        let tried = tokens.token(&request).await;
        let left = end.duration_since(means.env.now());
        let advice = tried.as_ref().err().and_then(TokenError::advice);
        // A token that lacks a grant is what the same row of the table is about as a refused request.
        let advice = advice.or_else(|| {
            let code = Code::Graph { status: 403, code: "ErrorAccessDenied" };
            cause::explain(code, &Ids::default()).filter(|_| tried.is_ok())
        });
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
            return Err(late(&request.application, end.duration_since(began), &why, tried.err()));
        }
        let may_take = advice.and_then(|advice| advice.may_take);
        tell(Progress::Waiting { what: "the sign-in".to_owned(), why, may_take, left });
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

/// Waits until each mailbox opens through every connection of the plan; gives those that did not in time. A mailbox that is
/// to leave the limit is waited for until it is refused.
pub(crate) async fn mailboxes(
    journal: &Journal,
    secret: &SecretString,
    means: &Means<'_>,
    end: Timestamp,
    tell: Tell<'_>,
) -> Result<Vec<Waiting>, SetupError> {
    let mailboxes = &journal.plan.mailboxes;
    let mut waiting: Vec<EmailAddress> = mailboxes.clone();
    if journal.plan.needs_exchange() {
        waiting.extend(journal.leaving());
    }
    loop {
        let mut closed = Vec::new();
        let mut may_take = None;
        for mailbox in waiting {
            let leaves = !mailboxes.contains(&mailbox);
            match open(journal, secret, means, &mailbox).await {
                Ok(()) if leaves => closed.push(Waiting {
                    mailbox,
                    why: "it is to leave, and the application still opens it".to_owned(),
                }),
                Ok(()) => tell(Progress::Done(format!("mailbox {mailbox} opens"))),
                Err(failure) if leaves && is_refusal(journal.plan.api, &failure) => {
                    tell(Progress::Done(format!("mailbox {mailbox} is refused")));
                }
                Err(failure) if NO_MAILBOX.contains(&failure.code.as_deref().unwrap_or_default()) => {
                    return Err(SetupError::NoMailbox { mailbox: mailbox.to_string(), words: failure.words });
                }
                Err(failure) => {
                    may_take =
                        may_take.max(advice(journal.plan.api, &failure).and_then(|advice| advice.may_take));
                    closed.push(Waiting { mailbox, why: failure.words });
                }
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
        tell(Progress::Waiting { what, why: first.why.clone(), may_take, left });
        pause(means, left).await;
        waiting = closed.into_iter().map(|one| one.mailbox).collect();
    }
}

/// Codes that say that there is no such mailbox. IMAP and SMTP do not tell.
const NO_MAILBOX: [&str; 2] = ["ErrorInvalidUser", "ErrorNonExistentMailbox"];

/// Whether Exchange keeps the application out of this mailbox.
fn is_refusal(api: Api, failure: &Failure) -> bool {
    match api {
        Api::Graph => matches!(failure.status, Some(403 | 404)),
        Api::Ews | Api::ImapSmtp => {
            let rows = [
                "ews-access-denied",
                "ews-impersonation-denied",
                "ews-status-403",
                "imap-not-connected",
                "imap-sign-in-refused",
                "smtp-sign-in-refused",
            ];
            advice(api, failure).is_some_and(|advice| rows.contains(&advice.row))
        }
    }
}

/// What the table of causes says of a failure, which tells how long it may take until it comes right by itself.
fn advice(api: Api, failure: &Failure) -> Option<Advice> {
    let (status, code) = (failure.status, failure.code.as_deref().unwrap_or_default());
    let words = failure.words.as_str();
    let ids = Ids::default();
    match (api, status) {
        (Api::Graph, Some(status)) => cause::explain(Code::GraphSaid { status, code, message: words }, &ids),
        (Api::Ews, Some(status)) => {
            cause::explain(Code::Ews { status, code: if code.is_empty() { words } else { code } }, &ids)
        }
        (Api::ImapSmtp, Some(status)) => {
            cause::explain(Code::Smtp(&format!("{status} {code} {words}").replacen("  ", " ", 1)), &ids)
        }
        (Api::ImapSmtp, None) => cause::explain(Code::Imap(words), &ids),
        (Api::Graph | Api::Ews, None) => None,
    }
}

/// Opens the inbox and reads one header, with a token of now; where mail leaves by SMTP, signs in there too.
async fn open(
    journal: &Journal,
    secret: &SecretString,
    means: &Means<'_>,
    mailbox: &EmailAddress,
) -> Result<(), Failure> {
    let tokens = Arc::new(TokenClient::new(means.http.clone(), means.env.clone()));
    let wire = Wire::new(means.http.clone(), tokens, Arc::new(NothingStored), means.env.clone());
    let account = Account::of(mailbox.clone());
    for settings in local::connections(journal) {
        let secret = Some(secret.clone());
        if settings.kind.receives() {
            wire.source_for(&settings, secret, &account)?.probe().await?;
        } else {
            wire.sign_in_for(&settings, secret, &account).await?;
        }
    }
    Ok(())
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
            Api::Ews | Api::ImapSmtp => plan.cloud.exchange_scope(),
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
