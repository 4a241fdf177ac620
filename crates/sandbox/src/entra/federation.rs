//! Federated credentials: an assertion of another identity provider, whose keys are fetched where its issuer says
//! (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation>).

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use sqlx::{Row, SqliteConnection};
use url::Url;

use super::assertion::{Assertion, refuse};
use super::certificate::verifies;
use super::errors::EntraError;
use crate::state::Tenant;

/// Longest answer of an issuer.
const MAX_ANSWER: usize = 256 * 1024;
/// Longest wait for an issuer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most keys of an issuer that are looked at.
const MAX_KEYS: usize = 100;

/// Checks that a credential of the application expects exactly this issuer, subject and audience, letter for letter.
pub(super) async fn expected(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    application: &str,
    assertion: &Assertion<'_>,
) -> Result<(), EntraError> {
    let rows = sqlx::query("SELECT id, issuer, subject, audience FROM federated WHERE application = ?")
        .bind(application)
        .fetch_all(&mut *db)
        .await?;
    let mut known = Vec::new();
    for row in &rows {
        if tenant.arrived(db, row.get("id")).await? {
            known.push(["issuer", "subject", "audience"].map(|name| row.get::<String, _>(name)));
        }
    }
    let audience = match &assertion.claims["aud"] {
        Value::Array(list) if list.len() == 1 => list[0].as_str().unwrap_or_default(),
        other => other.as_str().unwrap_or_default(),
    };
    let presented = [assertion.claim("iss"), assertion.claim("sub"), audience];
    if known.iter().any(|record| record.iter().zip(presented).all(|(have, sent)| have == sent)) {
        return Ok(());
    }
    // The number names the part that meets no record at all; without any record there is no part to name.
    let unmet = |index: usize| !known.iter().any(|record| record[index] == presented[index]);
    let (number, part) = match known.is_empty() {
        true => (70_021, String::new()),
        false if unmet(0) => (700_211, format!(" issuer '{}'", shown(presented[0]))),
        false if unmet(2) => (700_212, format!(" audience '{}'", shown(presented[2]))),
        false if unmet(1) => (700_213, format!(" subject '{}'", shown(presented[1]))),
        false => (70_021, String::new()),
    };
    Err(refuse(number).text(format!(
        "No matching federated identity record found for presented assertion{part}. Please check your federated \
         identity credential Subject, Audience and Issuer against the presented assertion. \
         https://docs.microsoft.com/azure/active-directory/develop/workload-identity-federation"
    )))
}

fn shown(text: &str) -> String {
    text.chars().take(600).collect()
}

/// Fetches the issuer's keys and checks the signature. No transaction may be open: the issuer can be slow.
pub(super) async fn verify(assertion: &Assertion<'_>) -> Result<(), EntraError> {
    let issuer = assertion.claim("iss");
    let document =
        fetch(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).await?;
    if document["issuer"] != issuer {
        return Err(unreachable("The issuer names itself differently in its own configuration."));
    }
    let set = fetch(document["jwks_uri"].as_str().unwrap_or_default()).await?;
    let wanted = &assertion.header["kid"];
    let keys = set["keys"].as_array().into_iter().flatten().take(MAX_KEYS);
    let signed = keys
        .filter(|key| key["kty"] == "RSA" && (wanted.is_null() || key["kid"] == *wanted))
        .filter_map(|key| DecodingKey::from_rsa_components(key["n"].as_str()?, key["e"].as_str()?).ok())
        .any(|key| verifies(assertion.text, &key, &[Algorithm::RS256]));
    if signed {
        return Ok(());
    }
    let kid = shown(wanted.as_str().unwrap_or_default());
    Err(refuse(700_027).text(format!(
        "Client assertion contains an invalid signature. [Reason - The key was not found., Thumbprint of key used by \
         client: '{kid}']"
    )))
}

fn unreachable(why: &str) -> EntraError {
    EntraError::new(400, 50_166, "invalid_request")
        .text(format!("Request to External OIDC endpoint failed. {why}"))
}

/// A small JSON document: over TLS, or in the clear from this machine.
async fn fetch(address: &str) -> Result<Value, EntraError> {
    let allowed = Url::parse(address).ok().filter(|url| {
        let local = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        url.scheme() == "https" || (url.scheme() == "http" && local)
    });
    let Some(url) = allowed else { return Err(unreachable("Its address is no https address.")) };
    let failed = |error: reqwest::Error| {
        tracing::debug!(error = &error as &dyn std::error::Error, "an issuer could not be asked");
        unreachable("The issuer did not answer.")
    };
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(failed)?;
    let mut response =
        client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_ANSWER {
            return Err(unreachable("The issuer's answer is too long."));
        }
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).map_err(|_| unreachable("The issuer's answer is no JSON."))
}
