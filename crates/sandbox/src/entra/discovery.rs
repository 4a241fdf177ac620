//! What a client can learn before it has a token. Every address carries the host that was asked.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::errors::EntraError;
use super::{Place, place};
use crate::answer::bytes_answer;
use crate::call::Call;
use crate::state::{DOMAIN, Tenant};

/// The tenant's id, or the word or template that stands for any.
fn names(tenant: &Tenant, asked: &str) -> Result<(String, String), EntraError> {
    Ok(match place(tenant, asked)? {
        Place::Ours => (tenant.tenant_id.clone(), tenant.tenant_id.clone()),
        Place::Any => (asked.to_ascii_lowercase(), "{tenantid}".to_owned()),
    })
}

/// `/{tenant}/v2.0/.well-known/openid-configuration`.
pub(super) fn configuration(tenant: &Tenant, call: &Call, asked: &str) -> Result<Response, EntraError> {
    let (path, id) = names(tenant, asked)?;
    let base = &call.base;
    Ok(public(&json!({
        "token_endpoint": format!("{base}/{path}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{base}/{path}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{base}/{id}/v2.0"),
        "request_uri_parameter_supported": false,
        "userinfo_endpoint": format!("{base}/oidc/userinfo"),
        "authorization_endpoint": format!("{base}/{path}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/{path}/oauth2/v2.0/devicecode"),
        "http_logout_supported": true,
        "frontchannel_logout_supported": true,
        "end_session_endpoint": format!("{base}/{path}/oauth2/v2.0/logout"),
        "claims_supported": ["sub", "iss", "cloud_instance_name", "aud", "exp", "iat", "nonce", "tid", "ver"],
        "kerberos_endpoint": format!("{base}/{path}/kerberos"),
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": call.host,
        "rbac_url": "https://pas.windows.net",
    })))
}

/// `/{tenant}/discovery/v2.0/keys`.
pub(super) fn keys(tenant: &Tenant, call: &Call, asked: &str) -> Result<Response, EntraError> {
    let (_, id) = names(tenant, asked)?;
    Ok(public(&json!({"keys": [tenant.keys.jwk(&format!("{}/{id}/v2.0", call.base))]})))
}

/// `/common/discovery/instance`: which hosts belong together.
pub(super) fn instance(tenant: &Tenant, call: &Call) -> Response {
    let asked = call.param("authorization_endpoint").and_then(|text| text.split('/').nth(3));
    let path = asked
        .and_then(|asked| names(tenant, asked).ok())
        .map_or_else(|| "common".to_owned(), |(path, _)| path);
    public(&json!({
        "tenant_discovery_endpoint": format!("{}/{path}/v2.0/.well-known/openid-configuration", call.base),
        "api-version": "1.1",
        "metadata": [{"preferred_network": call.host, "preferred_cache": call.host, "aliases": [call.host]}],
    }))
}

/// `/common/userrealm/{user}`: libraries ask it before a password grant whether the domain is federated.
pub(super) fn realm(call: &Call, user: &str) -> Response {
    let domain = user.rsplit_once('@').map_or("", |(_, domain)| domain);
    let kind = if domain.eq_ignore_ascii_case(DOMAIN) { "Managed" } else { "Unknown" };
    public(&json!({
        "ver": "1.0", "account_type": kind, "domain_name": domain,
        "cloud_instance_name": call.host, "cloud_audience_urn": "urn:federation:MicrosoftOnline",
    }))
}

fn public(body: &Value) -> Response {
    let mut response = bytes_answer(200, "application/json; charset=utf-8", body.to_string().into_bytes());
    let keep = HeaderValue::from_static("max-age=86400, private");
    response.headers_mut().insert(header::CACHE_CONTROL, keep);
    response
}
