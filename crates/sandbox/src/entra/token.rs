//! The token endpoint. Checks run in the order that gives the answers Entra gives: body, tenant, application,
//! credential, scope, resource, user.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Map, Value, json};
use sqlx::{Row, SqliteConnection};

use super::assertion::Assertion;
use super::client::{Client, Form, Public, claimed, known_client, prove};
use super::delegated::{Session, User};
use super::errors::{EntraError, answer};
use super::{Place, code, delegated, device, federation, place};
use crate::call::Call;
use crate::directory::catalogue::{self, RESOURCES, Resource};
use crate::state::Tenant;

/// Template id of the directory role Global Administrator.
pub(crate) const GLOBAL_ADMINISTRATOR: &str = "62e90394-69f5-4237-9190-012177145e10";
/// Stands in every app-only token and is no role of the application.
const APP_ONLY_WID: &str = "0997a1d0-0d1d-4acb-b408-d5ca73121e90";
/// Entra dates tokens back, so that a slow clock elsewhere does not refuse them.
const BACKDATED: i64 = 300;

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What MSAL for Node writes instead, from before RFC 8628.
const DEVICE_CODE_SHORT: &str = "device_code";

/// `POST /{tenant}/oauth2/v2.0/token`.
pub(super) async fn issue(tenant: &Arc<Tenant>, call: &Call, asked: &str) -> Result<Response, EntraError> {
    let form = Form::read(call);
    let grant = form.need("grant_type")?;
    let claimed = claimed(call, &form)?;
    // What the grant cannot do without.
    let needed = match grant {
        "client_credentials" | "password" => "scope",
        "authorization_code" => "code",
        "refresh_token" => "refresh_token",
        DEVICE_CODE | DEVICE_CODE_SHORT => "device_code",
        _ => {
            let shown: String = grant.chars().take(80).collect();
            return Err(EntraError::new(400, 70_003, "unsupported_grant_type")
                .text(format!("The app requested an unsupported grant type '{shown}'.")));
        }
    };
    let needed = form.need(needed)?;
    let place = place(tenant, asked)?;
    check_place(grant, &place, asked)?;
    let assertion = form
        .get("client_assertion")
        .map(|text| Assertion::read(form.get("client_assertion_type"), text))
        .transpose()?;
    if let Some(foreign) = assertion.as_ref().filter(|assertion| assertion.is_foreign()) {
        known_and_expected(tenant, &claimed.id, foreign).await?;
        federation::verify(foreign).await?;
    }
    let mut tx = tenant.begin().await?;
    let public = match grant {
        "client_credentials" => Public::No,
        "refresh_token" if delegated::is_public(tenant, needed) => Public::Yes,
        "authorization_code" if code::is_public(tenant, needed) => Public::Yes,
        _ => Public::IfAllowed,
    };
    let client = prove(tenant, &mut tx, call, claimed, assertion.as_ref(), public).await?;
    let token = match grant {
        "client_credentials" => for_application(tenant, &mut tx, &client, needed).await?,
        _ => {
            let session = session(tenant, &mut tx, &form, &client, grant, needed).await?;
            delegated::token(tenant, &mut tx, call, &form, &client, &session).await?
        }
    };
    Ok(answer(200, &token))
}

/// Which grants need a tenant by name.
fn check_place(grant: &str, place: &Place, asked: &str) -> Result<(), EntraError> {
    match grant {
        "client_credentials" if *place == Place::Any => {
            Err(EntraError::new(400, 50_059, "invalid_request").text(
                "No tenant-identifying information found in either the request or implied by any provided credentials.",
            ))
        }
        "password" if *place == Place::Any && !asked.eq_ignore_ascii_case("organizations") => {
            Err(EntraError::new(400, 9_001_023, "invalid_request").text(
                "The grant type is not supported over the /common or /consumers endpoints. Please use the \
                 /organizations or tenant-specific endpoint.",
            ))
        }
        _ => Ok(()),
    }
}

/// Whether the application is known and waits for this foreign assertion; in a transaction of its own.
async fn known_and_expected(
    tenant: &Tenant,
    app_id: &str,
    assertion: &Assertion<'_>,
) -> Result<(), EntraError> {
    let mut tx = tenant.begin().await?;
    let known = known_client(tenant, &mut tx, app_id).await?;
    federation::expected(tenant, &mut tx, &known.application, assertion).await?;
    assertion.within(tenant)
}

/// The person's session behind a grant.
async fn session(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    form: &Form,
    client: &Client,
    grant: &str,
    needed: &str,
) -> Result<Session, EntraError> {
    match grant {
        "refresh_token" => Session::refreshed(tenant, db, &client.app_id, needed, form.get("scope")).await,
        "authorization_code" => code::redeem(tenant, form, &client.app_id, needed),
        DEVICE_CODE | DEVICE_CODE_SHORT => {
            let (user, scope) = device::poll(tenant, &client.app_id, needed)?;
            Ok(Session { user, scope, nonce: None, public: true })
        }
        _ => {
            let (user, password) = (form.need("username")?, form.need("password")?);
            let user = User::sign_in_unasked(db, tenant, user, password).await?;
            let public = client.proof == "0";
            Ok(Session { user: user.id, scope: needed.to_owned(), nonce: None, public })
        }
    }
}

/// The resource of `…/.default`, and the text it was named by (which becomes the audience).
pub(super) fn resource_of<'a>(
    tenant: &Tenant,
    named: &'a str,
) -> Result<(&'static Resource, &'a str), EntraError> {
    let bare = named.trim_end_matches('/');
    let found = RESOURCES.iter().find(|resource| {
        resource.app_id.eq_ignore_ascii_case(bare)
            || resource.uris.iter().any(|uri| uri.eq_ignore_ascii_case(bare))
    });
    found.map(|resource| (resource, named)).ok_or_else(|| {
        let shown: String = named.chars().take(120).collect();
        EntraError::new(400, 500_011, "invalid_resource").text(format!(
            "The resource principal named {shown} was not found in the tenant named {}. This can happen if the \
             application has not been installed by the administrator of the tenant or consented to by any user in \
             the tenant. You might have sent your authentication request to the wrong tenant.",
            tenant.tenant_id
        ))
    })
}

pub(super) fn invalid_scope(scope: &str) -> EntraError {
    let shown: String = scope.chars().take(120).collect();
    EntraError::new(400, 70_011, "invalid_scope").text(format!(
        "The provided request must include a 'scope' input parameter. The provided value for the input parameter \
         'scope' is not valid. The scope {shown} is not valid."
    ))
}

/// Claims both kinds of token have; the lifetime is random between 60 and 90 minutes.
pub(super) fn common_claims(tenant: &Tenant, client: &Client, audience: &str) -> (Map<String, Value>, i64) {
    let mut chance = [0; 2];
    tenant.env.fill(&mut chance);
    let lifetime = 3600 + i64::from(u16::from_be_bytes(chance)) % 1800;
    let now = tenant.now();
    let sts = format!("https://sts.windows.net/{}/", tenant.tenant_id);
    let claims = json!({
        "aud": audience,
        "iss": sts,
        "iat": now - BACKDATED,
        "nbf": now - BACKDATED,
        "exp": now + lifetime,
        "aio": tenant.env.new_token(32),
        "app_displayname": client.name,
        "appid": client.app_id,
        "appidacr": client.proof,
        "idp": sts,
        "rh": format!("1.A{}", tenant.env.new_token(20)),
        "tenant_region_scope": "EU",
        "tid": tenant.tenant_id,
        "uti": tenant.env.new_token(22),
        "ver": "1.0",
        "xms_tcdt": 1_600_000_000,
    });
    let Value::Object(claims) = claims else { return (Map::new(), lifetime) };
    (claims, lifetime)
}

pub(super) fn signed(
    tenant: &Tenant,
    claims: Map<String, Value>,
    lifetime: i64,
) -> Result<Value, EntraError> {
    let token = tenant.keys.sign(&Value::Object(claims)).map_err(|error| unsigned_failure(&error))?;
    let left = lifetime - 1;
    Ok(json!({"token_type": "Bearer", "expires_in": left, "ext_expires_in": left, "access_token": token}))
}

/// The key failed; nothing a client can do about.
pub(super) fn unsigned_failure(error: &jsonwebtoken::errors::Error) -> EntraError {
    tracing::error!(error = error as &dyn std::error::Error, "a token could not be signed");
    EntraError::new(500, 90_033, "temporarily_unavailable").text("A transient error has occurred.")
}

async fn for_application(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    client: &Client,
    scope: &str,
) -> Result<Value, EntraError> {
    let Some(named) = scope.strip_suffix("/.default").filter(|named| !named.contains(' ')) else {
        let shown: String = scope.chars().take(120).collect();
        return Err(EntraError::new(400, 1_002_012, "invalid_scope").text(format!(
            "The provided value for scope {shown} is not valid. Client credential flows must have a scope value with \
             /.default suffixed to the resource identifier (application ID URI)."
        )));
    };
    if named.is_empty() {
        return Err(invalid_scope(scope));
    }
    let (resource, audience) = resource_of(tenant, named)?;
    let principal = client.principal.clone().unwrap_or_default();
    let roles = granted(tenant, db, &principal, resource).await?;
    let (mut claims, lifetime) = common_claims(tenant, client, audience);
    claims.insert("idtyp".to_owned(), json!("app"));
    claims.insert("oid".to_owned(), json!(principal));
    claims.insert("sub".to_owned(), json!(principal));
    claims.insert("wids".to_owned(), json!([APP_ONLY_WID]));
    // Without any grant the claim is absent, not empty.
    if !roles.is_empty() {
        claims.insert("roles".to_owned(), json!(roles));
    }
    signed(tenant, claims, lifetime)
}

/// Values of the roles assigned to `principal` at `resource`.
async fn granted(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    principal: &str,
    resource: &'static Resource,
) -> Result<Vec<&'static str>, EntraError> {
    let rows = sqlx::query(
        "SELECT r.role FROM role_assignment r JOIN service_principal p ON p.id = r.resource
         WHERE r.principal = ? AND p.app_id = ?
         AND NOT EXISTS (SELECT 1 FROM arriving a WHERE a.id = r.id AND a.at > ?) ORDER BY r.rowid",
    )
    .bind(principal)
    .bind(resource.app_id)
    .bind(tenant.now())
    .fetch_all(db)
    .await?;
    Ok(rows.iter().filter_map(|row| catalogue::role_value(resource, row.get("role"))).collect())
}
