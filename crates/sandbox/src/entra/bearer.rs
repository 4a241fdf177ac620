//! Checks a bearer token: signature, audience, expiry, and what it allows.

use axum::http::header;
use jsonwebtoken::{Algorithm, Validation};
use serde_json::Value;

use super::token::GLOBAL_ADMINISTRATOR;
use crate::answer::Refusal;
use crate::call::Call;
use crate::directory::catalogue::{self, GRAPH};
use crate::state::Tenant;

/// Who sent a request, and what the token allows.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Application id.
    pub(crate) app_id: String,
    /// Object id of the user; none for an application on its own.
    pub(crate) user: Option<String>,
    /// The second from which on the token opens nothing.
    pub(crate) expires_at: i64,
    /// Whether the user is a Global Administrator.
    admin: bool,
    /// Application roles, or delegated scopes.
    permissions: Vec<String>,
}

impl Caller {
    /// Whether one of `wanted` was granted.
    pub(crate) fn has(&self, wanted: &[&str]) -> bool {
        self.permissions.iter().any(|have| wanted.contains(&have.as_str()))
    }

    /// Whether the directory may be changed with one of `wanted`: a user also needs the directory role.
    pub(crate) fn may_change(&self, wanted: &[&str]) -> bool {
        self.has(wanted) && (self.user.is_none() || self.admin)
    }
}

/// The caller of this Graph request.
pub(crate) fn check(tenant: &Tenant, call: &Call) -> Result<Caller, Refusal> {
    let token = call
        .header(header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| refuse(call, "Access token is empty."))?;
    verify(tenant, token, GRAPH).map_err(|why| refuse(call, why))
}

/// Whom a token names, when it stands now and was made for `resource`, an application id of the catalogue. The error
/// is the sentence that Graph would answer with.
pub(crate) fn verify(tenant: &Tenant, token: &str, resource: &str) -> Result<Caller, &'static str> {
    let mut rules = Validation::new(Algorithm::RS256);
    // Audience and times are checked below: the clock is the sandbox's, the audience may end in a slash.
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Value>(token, &tenant.keys.verifier, &rules)
        .map_err(|_| "IDX10511: Signature validation failed or the token is malformed.")?
        .claims;
    let audience = claims["aud"].as_str().unwrap_or_default().trim_end_matches('/');
    let ours = catalogue::resource(resource).is_some_and(|known| {
        known.app_id.eq_ignore_ascii_case(audience)
            || known.uris.iter().any(|uri| uri.eq_ignore_ascii_case(audience))
    });
    if !ours {
        return Err("Access token validation failure. Invalid audience.");
    }
    let now = tenant.now();
    let within = claims["nbf"].as_i64().is_some_and(|start| start <= now)
        && claims["exp"].as_i64().is_some_and(|end| now < end);
    if !within || claims["tid"] != tenant.tenant_id.as_str() {
        return Err("Lifetime validation failed, the token is expired.");
    }
    let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    let roles = claims["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let scopes = claims["scp"].as_str().unwrap_or_default().split_whitespace().map(str::to_owned);
    let wids = claims["wids"].as_array().into_iter().flatten();
    Ok(Caller {
        app_id: text("appid"),
        expires_at: claims["exp"].as_i64().unwrap_or(0),
        user: (claims["idtyp"] == "user").then(|| text("oid")),
        admin: wids.into_iter().any(|wid| *wid == GLOBAL_ADMINISTRATOR),
        permissions: roles.chain(scopes).collect(),
    })
}

fn refuse(call: &Call, message: &str) -> Refusal {
    let challenge = format!(
        "Bearer realm=\"\", authorization_uri=\"{}/common/oauth2/authorize\", client_id=\"{GRAPH}\"",
        call.base
    );
    Refusal::new(401, "InvalidAuthenticationToken", message).header(header::WWW_AUTHENTICATE, challenge)
}
