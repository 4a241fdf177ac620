//! The settings by themselves: what can be seen without asking anybody.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postroom_entra::TokenClient;
use postroom_entra::http::{self, HttpSettings};
use postroom_model::connection::SecretField;
use postroom_model::credential::Credential;
use postroom_model::failure::Failure;
use postroom_model::{ConnectionId, Env, SecretString};
use postroom_transport::smtp::Limits;
use postroom_transport::{Credentials, Wire};

use super::{Client, Means};
use crate::finding::{Finding, Service, Way, sentence};
use crate::ladder::Probed;
use crate::{CheckRequest, Verdict};

const DID: &str = "Looked at the settings.";
/// A person waits in front of the page.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn probe(request: &CheckRequest, env: &Env) -> Probed<Means> {
    let field = request.any_secret().map_or(SecretField::Missing, SecretField::Typed);
    let problems = request.settings.validate(field);
    if let Some(error) = problems.errors().next() {
        let next_step =
            error.hint.clone().unwrap_or_else(|| "Correct the settings and press Test again.".to_owned());
        let got = problems.to_string();
        return Finding::wrong(Verdict::Fail, DID, got, sentence(&error.message), next_step).into();
    }
    let settings =
        HttpSettings { connect: PATIENCE / 3, read: PATIENCE, total: PATIENCE, ..HttpSettings::default() };
    let http = match http::client(&settings) {
        Ok(http) => http,
        Err(error) => {
            return Finding::wrong(
                Verdict::Fail,
                DID,
                http::chain(&error),
                "No HTTP client can be made on this machine.",
                error.hint(),
            )
            .into();
        }
    };
    // A cache of its own: what is tested is signing in now.
    let tokens = Arc::new(TokenClient::new(http.clone(), env.clone()));
    let wire =
        Wire::new(http.clone(), tokens, Arc::new(NothingStored), env.clone()).with_smtp_limits(Limits {
            command: PATIENCE,
            end: 4 * PATIENCE,
            // Exchange counts connections, and nobody comes after this message.
            keep: Duration::ZERO,
            ..Limits::default()
        });
    let service = Service::of(&request.settings);
    match opened(request, &wire, service.way) {
        Ok(client) => Probed::with(finding(&problems), Means { http, wire, service, client }),
        Err(failure) => Finding::refused(DID, &failure, &super::ids(request)).into(),
    }
}

/// Reads the credential and everything else that nobody has to be asked for.
fn opened(request: &CheckRequest, wire: &Wire, way: Way) -> Result<Option<Client>, Failure> {
    let (settings, secret) = (&request.settings, request.secret.clone());
    match (way, request.mailboxes.first()) {
        (Way::Graph, _) => {
            let graph = wire.graph_for(settings, secret)?;
            return Ok(Some(Client { graph }));
        }
        (Way::Smtp, _) => drop(wire.sender_for(settings, secret)?),
        (Way::Ews | Way::Imap, Some(first)) => {
            drop(wire.source_for(settings, secret, &request.account(first))?);
        }
        (Way::Ews | Way::Imap, None) => {}
    }
    Ok(None)
}

fn finding(problems: &postroom_model::Problems) -> Finding {
    match problems.warnings().next() {
        None => Finding::pass(DID, "Nothing is missing."),
        Some(warning) => Finding {
            verdict: Verdict::Warn,
            cause: Some(sentence(&warning.message)),
            next_step: warning.hint.clone(),
            ..Finding::pass(DID, problems.to_string())
        },
    }
}

/// The check has its secret from the request.
struct NothingStored;

#[async_trait]
impl Credentials for NothingStored {
    async fn current(&self, _: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure> {
        Ok(None)
    }
}
