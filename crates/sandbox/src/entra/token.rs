//! The token endpoint. Checks run in the order that gives the answers Entra gives: body, tenant, application,
//! credential, scope, resource, user.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Map, Value, json};
use sqlx::{Row, SqliteConnection};

use super::client::{COMMAND_LINE_TOOLS, Client, Form, claimed, prove};
use super::errors::{EntraError, answer};
use super::{Place, place};
use crate::call::Call;
use crate::directory::catalogue::{self, RESOURCES, Resource};
use crate::state::Tenant;

/// Template id of the directory role Global Administrator.
pub(crate) const GLOBAL_ADMINISTRATOR: &str = "62e90394-69f5-4237-9190-012177145e10";
/// Stands in every app-only token and is no role of the application.
const APP_ONLY_WID: &str = "0997a1d0-0d1d-4acb-b408-d5ca73121e90";
/// What the administrator has consented to for the command line tools.
const ADMIN_SCOPES: &str =
    "Application.ReadWrite.All AppRoleAssignment.ReadWrite.All User.ReadWrite.All Directory.ReadWrite.All";
/// Entra dates tokens back, so that a slow clock elsewhere does not refuse them.
const BACKDATED: i64 = 300;

/// `POST /{tenant}/oauth2/v2.0/token`.
pub(super) async fn issue(tenant: &Arc<Tenant>, call: &Call, asked: &str) -> Result<Response, EntraError> {
    let form = Form::read(call);
    let grant = form.need("grant_type")?;
    if !["client_credentials", "password"].contains(&grant) {
        let shown: String = grant.chars().take(80).collect();
        return Err(EntraError::new(400, 70_003, "unsupported_grant_type")
            .text(format!("The app requested an unsupported grant type '{shown}'.")));
    }
    let claimed = claimed(call, &form)?;
    let scope = form.need("scope")?;
    let place = place(tenant, asked)?;
    let mut tx = tenant.begin().await?;
    let token = if grant == "client_credentials" {
        if place == Place::Any {
            return Err(EntraError::new(400, 50_059, "invalid_request").text(
                "No tenant-identifying information found in either the request or implied by any provided credentials.",
            ));
        }
        let client = prove(tenant, &mut tx, &form, claimed, false).await?;
        for_application(tenant, &mut tx, &client, scope).await?
    } else {
        if place == Place::Any && !asked.eq_ignore_ascii_case("organizations") {
            return Err(EntraError::new(400, 9_001_023, "invalid_request").text(
                "The grant type is not supported over the /common or /consumers endpoints. Please use the \
                 /organizations or tenant-specific endpoint.",
            ));
        }
        let (user, password) = (form.need("username")?, form.need("password")?);
        let client = prove(tenant, &mut tx, &form, claimed, true).await?;
        for_user(tenant, &mut tx, &client, scope, user, password).await?
    };
    Ok(answer(200, &token))
}

/// The resource of `…/.default`, and the text it was named by (which becomes the audience).
fn resource_of<'a>(tenant: &Tenant, named: &'a str) -> Result<(&'static Resource, &'a str), EntraError> {
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

fn invalid_scope(scope: &str) -> EntraError {
    let shown: String = scope.chars().take(120).collect();
    EntraError::new(400, 70_011, "invalid_scope").text(format!(
        "The provided request must include a 'scope' input parameter. The provided value for the input parameter \
         'scope' is not valid. The scope {shown} is not valid."
    ))
}

/// Claims both kinds of token have; the lifetime is random between 60 and 90 minutes.
fn common_claims(tenant: &Tenant, client: &Client, audience: &str) -> (Map<String, Value>, i64) {
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

fn signed(tenant: &Tenant, claims: Map<String, Value>, lifetime: i64) -> Result<Value, EntraError> {
    let token = tenant.keys.sign(&Value::Object(claims)).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a token could not be signed");
        EntraError::new(500, 90_033, "temporarily_unavailable").text("A transient error has occurred.")
    })?;
    let left = lifetime - 1;
    Ok(json!({"token_type": "Bearer", "expires_in": left, "ext_expires_in": left, "access_token": token}))
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
    let roles = granted(db, &principal, resource).await?;
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
    db: &mut SqliteConnection,
    principal: &str,
    resource: &'static Resource,
) -> Result<Vec<&'static str>, EntraError> {
    let rows = sqlx::query(
        "SELECT r.role FROM role_assignment r JOIN service_principal p ON p.id = r.resource
         WHERE r.principal = ? AND p.app_id = ? ORDER BY r.rowid",
    )
    .bind(principal)
    .bind(resource.app_id)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().filter_map(|row| catalogue::role_value(resource, row.get("role"))).collect())
}

async fn for_user(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    client: &Client,
    scope: &str,
    user: &str,
    password: &str,
) -> Result<Value, EntraError> {
    let (resource, audience, wanted) = delegated(tenant, scope)?;
    let row = sqlx::query("SELECT id, address, display_name, password, admin FROM user WHERE address = ?")
        .bind(user)
        .fetch_optional(db)
        .await?;
    let Some(row) = row else {
        return Err(EntraError::new(400, 50_034, "invalid_grant").text(format!(
            "The user account {{EUII Hidden}} does not exist in the {} directory. To sign into this application, the \
             account must be added to the directory.",
            tenant.tenant_id
        )));
    };
    if row.get::<&str, _>("password").is_empty() || row.get::<&str, _>("password") != password {
        return Err(EntraError::new(400, 50_126, "invalid_grant")
            .text("Error validating credentials due to invalid username or password."));
    }
    let admin: bool = row.get("admin");
    let scopes = scopes_for(client, resource, admin, &wanted);
    let (mut claims, lifetime) = common_claims(tenant, client, &audience);
    let address: String = row.get("address");
    for (name, value) in [
        ("amr", json!(["pwd"])),
        ("idtyp", json!("user")),
        ("name", json!(row.get::<String, _>("display_name"))),
        ("oid", json!(row.get::<String, _>("id"))),
        ("sub", json!(row.get::<String, _>("id"))),
        ("scp", json!(scopes)),
        ("unique_name", json!(address)),
        ("upn", json!(address)),
        ("wids", if admin { json!([GLOBAL_ADMINISTRATOR]) } else { json!([]) }),
    ] {
        claims.insert(name.to_owned(), value);
    }
    let mut token = signed(tenant, claims, lifetime)?;
    token["scope"] = json!(scopes);
    Ok(token)
}

/// Resource, audience and scope names of a delegated request: `openid offline_access https://…/Mail.Send`.
fn delegated(tenant: &Tenant, scope: &str) -> Result<(&'static Resource, String, Vec<String>), EntraError> {
    let mut found: Option<(&'static Resource, String)> = None;
    let mut wanted = Vec::new();
    for item in scope
        .split_whitespace()
        .filter(|item| !["openid", "profile", "email", "offline_access"].contains(item))
    {
        // A bare name such as `Mail.Send` belongs to Graph.
        let (named, value) = item.rsplit_once('/').unwrap_or(("https://graph.microsoft.com", item));
        if named.is_empty() || value.is_empty() {
            return Err(invalid_scope(scope));
        }
        let (resource, audience) = resource_of(tenant, named)?;
        if found.as_ref().is_some_and(|(other, _)| other.app_id != resource.app_id) {
            return Err(invalid_scope(scope));
        }
        if value != ".default"
            && !resource.scopes.iter().any(|(name, _)| *name == value)
            && !ADMIN_SCOPES.split(' ').any(|name| name == value)
        {
            return Err(invalid_scope(scope));
        }
        found.get_or_insert((resource, audience.to_owned()));
        wanted.push(value.to_owned());
    }
    let (resource, audience) = found.map_or_else(
        || resource_of(tenant, "https://graph.microsoft.com").map(|(r, a)| (r, a.to_owned())),
        Ok,
    )?;
    Ok((resource, audience, wanted))
}

/// What the token allows: for the command line tools what the user may do; for an application of the tenant the
/// delegated permissions it is registered with, and those named in the request.
fn scopes_for(client: &Client, resource: &Resource, admin: bool, wanted: &[String]) -> String {
    if client.app_id == COMMAND_LINE_TOOLS {
        return if admin { ADMIN_SCOPES.to_owned() } else { "User.Read openid profile".to_owned() };
    }
    let named = |value: &&str| wanted.iter().any(|item| item == *value);
    let registered = |id: &str| {
        let accesses = client.body["requiredResourceAccess"].as_array().into_iter().flatten();
        accesses
            .filter(|access| access["resourceAppId"] == resource.app_id)
            .flat_map(|access| access["resourceAccess"].as_array().into_iter().flatten())
            .any(|access| access["type"] == "Scope" && access["id"] == id)
    };
    let scopes: Vec<&str> = resource
        .scopes
        .iter()
        .filter(|(value, id)| named(value) || registered(id))
        .map(|(value, _)| *value)
        .collect();
    if scopes.is_empty() { "User.Read".to_owned() } else { scopes.join(" ") }
}
