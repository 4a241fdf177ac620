//! Tokens for a person: who it is, what the client may do for them, and the refresh token that keeps the session.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::client::{COMMAND_LINE_TOOLS, Client, Form};
use super::errors::EntraError;
use super::token::{
    GLOBAL_ADMINISTRATOR, common_claims, invalid_scope, resource_of, signed, unsigned_failure,
};
use crate::call::Call;
use crate::directory::catalogue::Resource;
use crate::state::{Tenant, counter, setting};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What the administrator has consented to for the command line tools.
const ADMIN_SCOPES: &str =
    "Application.ReadWrite.All AppRoleAssignment.ReadWrite.All User.ReadWrite.All Directory.ReadWrite.All";
/// Scopes that are about the sign-in itself.
const OPEN_ID: [&str; 4] = ["openid", "profile", "email", "offline_access"];
/// A refresh token that is not used for so long is void.
const IDLE: i64 = 90 * 86_400;

/// How a person's sign-in ends when the password is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignInState {
    /// It succeeds.
    Allowed,
    /// The account is disabled.
    Disabled,
    /// A second factor is demanded. Pages ask for it; a password in a request cannot answer.
    SecondFactor,
}

impl SignInState {
    const NAMES: [(&'static str, Self); 3] =
        [("allowed", Self::Allowed), ("disabled", Self::Disabled), ("mfa", Self::SecondFactor)];

    /// The state of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, state)| state)
    }

    /// Keeps it for a user.
    pub(crate) async fn keep(self, db: &mut SqliteConnection, user: &str) -> sqlx::Result<()> {
        let name =
            Self::NAMES.into_iter().find(|(_, state)| *state == self).map_or("allowed", |(name, _)| name);
        sqlx::query("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)")
            .bind(format!("sign_in:{user}"))
            .bind(name.as_bytes())
            .execute(db)
            .await
            .map(drop)
    }

    async fn of(db: &mut SqliteConnection, user: &str) -> sqlx::Result<Self> {
        let kept = setting(db, &format!("sign_in:{user}")).await?.unwrap_or_default();
        Ok(std::str::from_utf8(&kept).ok().and_then(Self::named).unwrap_or(Self::Allowed))
    }
}

/// A person of the tenant.
pub(super) struct User {
    pub(super) id: String,
    pub(super) address: String,
    display_name: String,
    pub(super) admin: bool,
}

impl User {
    fn read(row: &SqliteRow) -> Self {
        Self {
            id: row.get("id"),
            address: row.get("address"),
            display_name: row.get("display_name"),
            admin: row.get("admin"),
        }
    }

    /// Checks user name and password of a request that nobody can be asked anything in return.
    pub(super) async fn sign_in_unasked(
        db: &mut SqliteConnection,
        tenant: &Tenant,
        name: &str,
        password: &str,
    ) -> Result<Self, EntraError> {
        let user = Self::sign_in(db, tenant, name, password).await?;
        if SignInState::of(db, &user.id).await? == SignInState::SecondFactor {
            return Err(EntraError::new(400, 50_076, "invalid_grant").text(
                "Due to a configuration change made by your administrator, or because you moved to a new location, you \
                 must use multi-factor authentication to access '00000003-0000-0000-c000-000000000000'.",
            ));
        }
        Ok(user)
    }

    /// Checks user name and password.
    pub(super) async fn sign_in(
        db: &mut SqliteConnection,
        tenant: &Tenant,
        name: &str,
        password: &str,
    ) -> Result<Self, EntraError> {
        let row =
            sqlx::query("SELECT id, address, display_name, password, admin FROM user WHERE address = ?")
                .bind(name)
                .fetch_optional(&mut *db)
                .await?;
        let Some(row) = row else {
            return Err(EntraError::new(400, 50_034, "invalid_grant").text(format!(
                "The user account {{EUII Hidden}} does not exist in the {} directory. To sign into this application, \
                 the account must be added to the directory.",
                tenant.tenant_id
            )));
        };
        if row.get::<&str, _>("password").is_empty() || row.get::<&str, _>("password") != password {
            return Err(EntraError::new(400, 50_126, "invalid_grant")
                .text("Error validating credentials due to invalid username or password."));
        }
        if SignInState::of(db, row.get("id")).await? == SignInState::Disabled {
            return Err(EntraError::new(400, 50_057, "invalid_grant").text("The user account is disabled."));
        }
        Ok(Self::read(&row))
    }

    async fn by_id(db: &mut SqliteConnection, id: &str) -> Result<Self, EntraError> {
        let row = sqlx::query("SELECT id, address, display_name, admin FROM user WHERE id = ?")
            .bind(id)
            .fetch_optional(db)
            .await?;
        row.as_ref().map(Self::read).ok_or_else(|| {
            EntraError::new(400, 50_173, "invalid_grant")
                .text("The user of the grant does not exist any more.")
        })
    }
}

/// Name of the counter that is stepped when a user's sessions are revoked.
pub(crate) fn sessions(user: &str) -> String {
    format!("sessions:{user}")
}

/// What a sign-in leads to.
pub(super) struct Session {
    /// Object id of the user.
    pub(super) user: String,
    /// Scopes asked for.
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    /// Whether the client needs no secret to go on with it.
    pub(super) public: bool,
}

impl Session {
    /// The session of a refresh token.
    pub(super) async fn refreshed(
        tenant: &Tenant,
        db: &mut SqliteConnection,
        app_id: &str,
        token: &str,
        scope: Option<&str>,
    ) -> Result<Self, EntraError> {
        let refuse = |number| EntraError::new(400, number, "invalid_grant");
        let opened =
            tenant.seal.open(token).filter(|value| value["k"] == "refresh" && value["app"] == app_id);
        let Some(opened) = opened else {
            return Err(
                refuse(9_002_313).text("The refresh token is malformed or was issued to another client.")
            );
        };
        let issued = opened["at"].as_i64().unwrap_or_default();
        if tenant.now() - issued >= IDLE {
            return Err(refuse(700_082).text(format!(
                "The refresh token has expired due to inactivity. The token was issued on {} and was inactive for \
                 90.00:00:00.",
                crate::answer::iso(issued)
            )));
        }
        let user = opened["user"].as_str().unwrap_or_default();
        if counter(db, &sessions(user)).await? != opened["gen"].as_i64().unwrap_or_default() {
            return Err(refuse(50_173).text(
                "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might \
                 have changed or reset their password.",
            ));
        }
        Ok(Self {
            user: user.to_owned(),
            scope: scope.or(opened["scope"].as_str()).unwrap_or_default().to_owned(),
            nonce: None,
            public: opened["public"] == true,
        })
    }
}

/// Whether a refresh token belongs to a client without a secret; read before the client proves itself.
pub(super) fn is_public(tenant: &Tenant, token: &str) -> bool {
    tenant.seal.open(token).is_some_and(|value| value["public"] == true)
}

/// The answer to a person's sign-in.
pub(super) async fn token(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    form: &Form,
    client: &Client,
    session: &Session,
) -> Result<Value, EntraError> {
    let (resource, audience, wanted) = delegated(tenant, &session.scope)?;
    let user = User::by_id(db, &session.user).await?;
    let scopes = scopes_for(client, resource, user.admin, &wanted);
    let (mut claims, lifetime) = common_claims(tenant, client, &audience);
    for (name, value) in [
        ("amr", json!(["pwd"])),
        ("idtyp", json!("user")),
        ("name", json!(user.display_name)),
        ("oid", json!(user.id)),
        ("sub", json!(user.id)),
        ("scp", json!(scopes)),
        ("unique_name", json!(user.address)),
        ("upn", json!(user.address)),
        ("wids", if user.admin { json!([GLOBAL_ADMINISTRATOR]) } else { json!([]) }),
    ] {
        claims.insert(name.to_owned(), value);
    }
    let mut token = signed(tenant, claims, lifetime)?;
    token["scope"] = json!(scopes);
    let asked = |name: &str| session.scope.split_whitespace().any(|item| item == name);
    if asked("openid") {
        token["id_token"] = json!(id_token(tenant, call, client, &user, session, lifetime)?);
    }
    if asked("offline_access") {
        let generation = counter(db, &sessions(&user.id)).await?;
        token["refresh_token"] = json!(tenant.seal.close(&json!({
            "k": "refresh", "app": client.app_id, "user": user.id, "scope": session.scope, "at": tenant.now(),
            "gen": generation, "public": session.public, "salt": tenant.env.new_token(16),
        })));
    }
    if form.get("client_info") == Some("1") {
        let info = json!({"uid": user.id, "utid": tenant.tenant_id}).to_string();
        token["client_info"] = json!(URL_SAFE_NO_PAD.encode(info));
    }
    Ok(token)
}

fn id_token(
    tenant: &Tenant,
    call: &Call,
    client: &Client,
    user: &User,
    session: &Session,
    lifetime: i64,
) -> Result<String, EntraError> {
    let now = tenant.now();
    let claims = json!({
        "aud": client.app_id,
        "iss": format!("{}/{}/v2.0", call.base, tenant.tenant_id),
        "iat": now, "nbf": now, "exp": now + lifetime,
        "name": user.display_name,
        "oid": user.id,
        "preferred_username": user.address,
        "sub": user.id,
        "tid": tenant.tenant_id,
        "uti": tenant.env.new_token(22),
        "ver": "2.0",
    });
    let Value::Object(mut claims) = claims else { return Ok(String::new()) };
    if let Some(nonce) = &session.nonce {
        claims.insert("nonce".to_owned(), json!(nonce));
    }
    tenant.keys.sign(&Value::Object(claims)).map_err(|error| unsigned_failure(&error))
}

/// Refuses a scope that no token could be made for.
pub(super) fn check_scope(tenant: &Tenant, scope: &str) -> Result<(), EntraError> {
    delegated(tenant, scope).map(|_| ())
}

/// Resource, audience and scope names of a delegated request: `openid offline_access https://…/Mail.Send`.
fn delegated(tenant: &Tenant, scope: &str) -> Result<(&'static Resource, String, Vec<String>), EntraError> {
    let mut found: Option<(&'static Resource, String)> = None;
    let mut wanted = Vec::new();
    for item in scope.split_whitespace().filter(|item| !OPEN_ID.contains(item)) {
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
