//! A tenant looked up without any credential: a domain becomes a tenant id, and a mistyped one is found out.
//!
//! Source: the OpenID configuration, `GET {authority}/{tenant}/v2.0/.well-known/openid-configuration`
//! (<https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc>).

use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use crate::http::{self, ReadError};
use crate::token::{Place, TokenError, garbage, wire_error};

/// Largest configuration that is read, in bytes. Real ones have 2 to 3 kilobytes.
const MAX_CONFIGURATION: u64 = 256 * 1024;

/// What the authority says about a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantInfo {
    /// Directory (tenant) ID, taken from the issuer.
    pub tenant_id: String,
    /// Who signs its tokens: `https://login.microsoftonline.com/{tenant_id}/v2.0`.
    pub issuer: String,
    /// Where tokens are asked for.
    pub token_endpoint: String,
    /// Region: `EU`, `NA`, ...
    pub region: Option<String>,
    /// Host of Microsoft Graph in its cloud: `graph.microsoft.com`.
    pub graph_host: Option<String>,
}

#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    token_endpoint: String,
    #[serde(default)]
    tenant_region_scope: Option<String>,
    #[serde(default)]
    msgraph_host: Option<String>,
}

/// Looks up a tenant by its id or by one of its domains.
///
/// # Errors
/// [`TokenError`]: `Refused` with AADSTS90002 for a tenant that does not exist in this cloud; `Garbage` when
/// something else than Microsoft Entra answers, or for `common` and the like, which are no tenants.
pub async fn tenant(
    http: &reqwest::Client,
    authority: &Url,
    tenant_or_domain: &str,
) -> Result<TenantInfo, TokenError> {
    let name = tenant_or_domain.trim();
    let place =
        Place { host: http::host(authority), tenant: http::tidy(name, 100), application: String::new() };
    let address = http::join(authority, &[name, "v2.0", ".well-known", "openid-configuration"])
        .filter(|address| http::is_private(address) && !name.is_empty())
        .ok_or_else(|| TokenError::Address { place: place.clone() })?;
    let network = |source: reqwest::Error| TokenError::Network {
        place: place.clone(),
        source: Arc::new(source.without_url()),
    };
    let response = http.get(address).send().await.map_err(network)?;
    let status = response.status().as_u16();
    // No clock here: a date in Retry-After counts from the epoch and is cut to the longest pause.
    let retry_after = http::retry_after(response.headers(), jiff::Timestamp::UNIX_EPOCH);
    let body = match http::read_bounded(response, MAX_CONFIGURATION).await {
        Ok(body) => body,
        Err(ReadError::TooLarge { .. }) => return Err(garbage(&place, status, "far too much")),
        Err(ReadError::Network { source }) => return Err(network(source)),
    };
    if status != 200 {
        return Err(wire_error(&place, status, retry_after, &body, &[]));
    }
    let configuration: Configuration =
        serde_json::from_slice(&body).map_err(|_| garbage(&place, status, "no OpenID configuration"))?;
    let tenant_id = tenant_of(&configuration.issuer)
        .ok_or_else(|| garbage(&place, status, "an issuer without a tenant id"))?;
    Ok(TenantInfo {
        tenant_id,
        issuer: configuration.issuer,
        token_endpoint: configuration.token_endpoint,
        region: configuration.tenant_region_scope,
        graph_host: configuration.msgraph_host,
    })
}

/// The first path segment of an issuer that is a GUID.
fn tenant_of(issuer: &str) -> Option<String> {
    let issuer = Url::parse(issuer).ok()?;
    let segment = issuer.path_segments()?.find(|segment| postroom_model::connection::is_guid(segment))?;
    Some(segment.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_names_the_tenant() {
        let id = "5a1b2c3d-0000-4000-8000-00000000b001";
        for issuer in [
            format!("https://login.example/{id}/v2.0"),
            format!("https://sts.example/{}/", id.to_uppercase()),
        ] {
            assert_eq!(tenant_of(&issuer).as_deref(), Some(id));
        }
        assert_eq!(tenant_of("https://login.example/{tenantid}/v2.0"), None);
        assert_eq!(tenant_of("nothing"), None);
    }
}
