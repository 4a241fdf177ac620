//! Entra: tokens, discovery, keys, and the check of a bearer token at the Graph side.

mod assertion;
pub(crate) mod bearer;
pub(crate) mod certificate;
mod client;
mod code;
mod consent;
mod delegated;
pub(crate) mod device;
mod discovery;
mod errors;
mod federation;
pub(crate) mod keys;
pub(crate) mod pages;
pub(crate) mod pending;
mod token;

pub(crate) use assertion::proves;
pub(crate) use delegated::{SignInState, sessions};

use std::sync::Arc;

use axum::http::{Method, header};
use axum::response::Response;

use crate::answer::Refusal;
use crate::call::Call;
use crate::faults::Fault;
use crate::state::{DOMAIN, Tenant};

use errors::EntraError;

/// Largest request to Entra; a token request has a few kilobytes.
const MAX_BODY: usize = 256 * 1024;

/// Answers everything below `/{tenant}/`, and `/common/…`.
pub(crate) async fn answer(tenant: &Arc<Tenant>, call: &Call, first: &str, rest: &[&str]) -> Response {
    if call.body.len() > MAX_BODY {
        return Refusal::new(413, "RequestEntityTooLarge", "The request is too large.")
            .into_response(tenant, call);
    }
    let result = match (&call.method, rest) {
        (&Method::POST, ["oauth2", "v2.0", "token"]) => token::issue(tenant, call, first).await,
        (&Method::POST, ["oauth2", "v2.0", "devicecode"]) => device::start(tenant, call, first).await,
        (&Method::GET | &Method::POST, ["oauth2", "v2.0", "authorize"]) => {
            Ok(code::authorize(tenant, call, first).await)
        }
        (&Method::GET | &Method::POST, ["adminconsent"] | ["v2.0", "adminconsent"]) => {
            Ok(consent::answer(tenant, call, first).await)
        }
        (&Method::GET, ["v2.0", ".well-known", "openid-configuration"]) => {
            discovery::configuration(tenant, call, first)
        }
        (&Method::GET, ["discovery", "v2.0", "keys"]) => discovery::keys(tenant, call, first),
        (&Method::GET, ["discovery", "instance"]) => Ok(discovery::instance(tenant, call)),
        (&Method::GET, ["userrealm" | "UserRealm", user]) => Ok(discovery::realm(call, user)),
        (_, ["oauth2", "v2.0", "token"]) => Err(EntraError::new(405, 900_561, "invalid_request")
            .text("The endpoint only accepts POST, OPTIONS requests. Received a GET request.")),
        _ => return Refusal { status: 404, ..Refusal::no_route(call) }.into_response(tenant, call),
    };
    result.unwrap_or_else(|error| error.into_response(tenant, call))
}

/// A fault in Entra's own shape.
pub(crate) fn fault(tenant: &Tenant, call: &Call, status: u16, fault: &Fault) -> Response {
    let (number, word) = match (fault.number(), status) {
        (Some(number), 401) => (number, "invalid_client"),
        (Some(number), _) => (number, "invalid_grant"),
        (None, 429) => (90_055, "temporarily_unavailable"),
        (None, _) => (90_033, "temporarily_unavailable"),
    };
    let kind = fault.error.clone().unwrap_or_else(|| word.to_owned());
    let text = fault.message.clone();
    let text = text.unwrap_or_else(|| "A transient error has occurred. Please try again.".to_owned());
    let mut response = EntraError::new(status, number, kind).text(text).into_response(tenant, call);
    if let Some(seconds) = fault.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// What `{tenant}` in a path names.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// This tenant, by GUID or domain.
    Ours,
    /// `common`, `organizations` or `consumers`.
    Any,
}

/// Resolves `{tenant}`: GUID or domain, or one of the words for "whichever".
fn place(tenant: &Tenant, name: &str) -> Result<Place, EntraError> {
    let lower = name.to_ascii_lowercase();
    if lower == tenant.tenant_id || lower == DOMAIN {
        return Ok(Place::Ours);
    }
    if ["common", "organizations", "consumers"].contains(&lower.as_str()) {
        return Ok(Place::Any);
    }
    let shown: String = name.chars().take(100).collect();
    let domain = lower.contains('.') && lower.parse::<postroom_model::HostName>().is_ok();
    if postroom_model::connection::is_guid(&lower) || domain {
        return Err(EntraError::new(400, 90_002, "invalid_request").text(format!(
            "Tenant '{shown}' not found. Check to make sure you have the correct tenant ID and are signing into the \
             correct cloud. Check with your subscription administrator, this may happen if there are no active \
             subscriptions for the tenant."
        )));
    }
    Err(EntraError::new(400, 900_023, "invalid_request").text(format!(
        "Specified tenant identifier '{shown}' is neither a valid DNS name, nor a valid external domain."
    )))
}
