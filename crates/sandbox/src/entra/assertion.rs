//! `client_assertion`: a token the client signed with its certificate
//! (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>), or one that another identity
//! provider signed for it (see `federation`).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sqlx::SqliteConnection;

use super::certificate::KnownKey;
use super::errors::EntraError;
use crate::answer::iso;
use crate::call::Call;
use crate::state::{DOMAIN, Tenant};

/// The only type of assertion.
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Longest assertion.
const MAX: usize = 16 * 1024;
/// How far the clocks may be apart.
const TOLERANCE: i64 = 300;
/// Audience of a proof for `addKey`.
const PROOF_AUDIENCE: &str = "00000002-0000-0000-c000-000000000000";
/// Longest life of a proof.
const PROOF_LIFE: i64 = 600;

/// A signed token, taken apart and not yet believed.
pub(crate) struct Assertion<'a> {
    pub(super) text: &'a str,
    pub(super) header: Value,
    pub(super) claims: Value,
}

impl<'a> Assertion<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX {
            return None;
        }
        let mut parts = text.split('.');
        let mut part = || {
            let bytes = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
            serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
        };
        Some(Self { header: part()?, claims: part()?, text })
    }

    /// Reads the assertion of a request.
    pub(super) fn read(kind: Option<&str>, text: &'a str) -> Result<Self, EntraError> {
        match kind {
            None => return Err(EntraError::missing("client_assertion_type")),
            Some(TYPE) => {}
            Some(_) => {
                return Err(EntraError::new(400, 900_471, "invalid_request")
                    .text("The 'client_assertion_type' parameter is not supported."));
            }
        }
        Self::parse(text).ok_or_else(|| refuse(50_027).text("JWT token is invalid or malformed."))
    }

    pub(super) fn claim(&self, name: &str) -> &str {
        self.claims[name].as_str().unwrap_or_default()
    }

    /// Whether another identity provider made it: its issuer is an address, a client's own is the client's id.
    pub(super) fn is_foreign(&self) -> bool {
        self.claim("iss").contains("://")
    }

    /// Refuses it outside its window, with the usual tolerance.
    pub(super) fn within(&self, tenant: &Tenant) -> Result<(), EntraError> {
        let now = tenant.now();
        let end = instant(&self.claims["exp"]);
        let start = instant(&self.claims["nbf"]).or(instant(&self.claims["iat"]));
        let begun = start.is_none_or(|start| start <= now.saturating_add(TOLERANCE));
        if begun && end.is_some_and(|end| end.saturating_add(TOLERANCE) > now) {
            return Ok(());
        }
        Err(refuse(700_024).text(format!(
            "Client assertion is not within its valid time range. Current time: {}, assertion valid from {}, expiry \
             time of assertion {}.",
            iso(now),
            iso(start.unwrap_or(now)),
            iso(end.unwrap_or_default()),
        )))
    }
}

pub(super) fn refuse(number: u32) -> EntraError {
    EntraError::new(401, number, "invalid_client")
}

/// Checks an assertion the client `app_id` signed itself; `body` is its application.
pub(super) async fn check(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    body: &Value,
    app_id: &str,
    assertion: &Assertion<'_>,
) -> Result<(), EntraError> {
    let print = |name: &str| assertion.header[name].as_str().unwrap_or_default();
    let shown = if print("x5t#S256").is_empty() { print("x5t") } else { print("x5t#S256") };
    let shown: String = URL_SAFE_NO_PAD
        .decode(shown.trim_end_matches('='))
        .unwrap_or_default()
        .iter()
        .take(32)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let invalid = |reason: &str, found: &str| {
        refuse(700_027).text(format!(
            "Client assertion contains an invalid signature. [Reason - {reason}, Thumbprint of key used by client: \
             '{shown}', {found}Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured \
             keys for app Id '{app_id}'.]"
        ))
    };
    let mut named = None;
    for key in KnownKey::of(body) {
        if key.is_named(&assertion.header) && tenant.arrived(db, &key.id).await? {
            named = Some(key);
        }
    }
    let Some(key) = named else { return Err(invalid("The key was not found.", "")) };
    let found = format!("Found key 'Start={}, End={}', ", iso(key.start), iso(key.end));
    if !key.signed(assertion.text) {
        return Err(invalid("The key was found, but use of the key to verify the signature failed.", &found));
    }
    let now = tenant.now();
    if key.end <= now {
        return Err(invalid("The key used is expired.", &found));
    }
    if key.start > now {
        return Err(invalid("The key used is not yet valid.", &found));
    }
    if [assertion.claim("iss"), assertion.claim("sub")].iter().any(|id| !id.eq_ignore_ascii_case(app_id)) {
        return Err(refuse(700_021).text(
            "Client assertion application identifier doesn't match 'client_id' parameter. Review the documentation at \
             https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
        ));
    }
    if !is_for_us(tenant, call, &assertion.claims["aud"]) {
        return Err(refuse(700_023).text(
            "Client assertion audience claim does not match Realm issuer. Review the documentation at \
             https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
        ));
    }
    assertion.within(tenant)
}

/// Whether an audience names this tenant: its token endpoint by id or domain, with or without a query, or its issuer.
fn is_for_us(tenant: &Tenant, call: &Call, audience: &Value) -> bool {
    let audience = match audience {
        Value::Array(list) if list.len() == 1 => &list[0],
        other => other,
    };
    let Some(asked) = audience.as_str().and_then(|text| text.split('?').next()) else { return false };
    let asked = asked.trim_end_matches('/');
    [tenant.tenant_id.as_str(), DOMAIN].iter().any(|name| {
        ["oauth2/v2.0/token", "v2.0"]
            .iter()
            .any(|path| asked.eq_ignore_ascii_case(&format!("{}/{name}/{path}", call.base)))
    })
}

/// Checks the proof of `addKey` and `removeKey`: signed with a valid key of the application whose object id is
/// `object` (<https://learn.microsoft.com/graph/application-rollkey-prooftoken>).
pub(crate) async fn proves(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    body: &Value,
    object: &str,
    proof: &str,
) -> sqlx::Result<bool> {
    let Some(proof) = Assertion::parse(proof) else { return Ok(false) };
    let now = tenant.now();
    let (Some(start), Some(end)) = (instant(&proof.claims["nbf"]), instant(&proof.claims["exp"])) else {
        return Ok(false);
    };
    let timely = start <= now.saturating_add(TOLERANCE)
        && end > now.saturating_sub(TOLERANCE)
        && end.saturating_sub(start) <= PROOF_LIFE;
    if !timely || proof.claim("aud") != PROOF_AUDIENCE || !proof.claim("iss").eq_ignore_ascii_case(object) {
        return Ok(false);
    }
    for key in KnownKey::of(body) {
        if key.start <= now && now < key.end && key.signed(proof.text) && tenant.arrived(db, &key.id).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A NumericDate: seconds, which may have a fraction (RFC 7519 section 2; MSAL for Python writes one).
fn instant(claim: &Value) -> Option<i64> {
    let seconds = claim.as_f64()?;
    (seconds.abs() < 1e12).then_some(seconds as i64)
}
