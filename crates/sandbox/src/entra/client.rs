//! Who asks for a token: the application, and the proof that it is the application.

use axum::http::header;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sqlx::{Row, SqliteConnection};

use super::assertion::{self, Assertion};
use super::errors::EntraError;
use super::keys::sha256;
use crate::call::{Call, split_form};
use crate::state::Tenant;

/// "Microsoft Graph Command Line Tools": a public client that every tenant knows.
pub(super) const COMMAND_LINE_TOOLS: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";

/// The form of a token request.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn read(call: &Call) -> Self {
        Self(split_form(&call.body))
    }

    /// A value that is there and not blank.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn need(&self, name: &str) -> Result<&str, EntraError> {
        self.get(name).ok_or_else(|| EntraError::missing(name))
    }
}

/// What the client says of itself.
pub(super) struct Claimed {
    pub(super) id: String,
    pub(super) secret: Option<String>,
}

/// Reads id and secret from the body, or from HTTP Basic (RFC 6749 section 2.3.1: both are form-encoded there).
pub(super) fn claimed(call: &Call, form: &Form) -> Result<Claimed, EntraError> {
    let basic = call
        .header(header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, text)| STANDARD.decode(text.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((id, secret)) = basic.as_deref().and_then(|text| text.split_once(':')) {
        let decoded = |text: &str| {
            let pairs = split_form(format!("v={text}").as_bytes());
            pairs.into_iter().next().map(|(_, value)| value).unwrap_or_default()
        };
        return Ok(Claimed { id: decoded(id).to_ascii_lowercase(), secret: Some(decoded(secret)) });
    }
    let id = form.need("client_id")?.to_ascii_lowercase();
    Ok(Claimed { id, secret: form.get("client_secret").map(str::to_owned) })
}

/// A client that has proved itself.
pub(super) struct Client {
    pub(super) app_id: String,
    pub(super) name: String,
    /// `appidacr`: 0 public, 1 secret, 2 certificate or foreign assertion.
    pub(super) proof: &'static str,
    /// Object id of its service principal; none for Microsoft's own public client.
    pub(super) principal: Option<String>,
    /// The application object; null for Microsoft's own.
    pub(super) body: Value,
}

/// What is known of an application that asks.
pub(super) struct Known {
    /// Object id; empty for Microsoft's own client.
    pub(super) application: String,
    principal: Option<String>,
    pub(super) name: String,
    pub(super) body: Value,
}

/// Whether a client may go without a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Public {
    /// Never.
    No,
    /// When its registration allows public client flows.
    IfAllowed,
    /// It must: the sign-in went to an address of a public client.
    Yes,
}

/// The application of this id, as this tenant knows it.
pub(super) async fn known_client(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    app_id: &str,
) -> Result<Known, EntraError> {
    if app_id == COMMAND_LINE_TOOLS {
        return Ok(Known {
            application: String::new(),
            principal: None,
            name: "Microsoft Graph Command Line Tools".to_owned(),
            body: Value::Null,
        });
    }
    let row = sqlx::query(
        "SELECT a.id, a.body, p.id AS principal FROM application a
         JOIN service_principal p ON p.app_id = a.app_id WHERE a.app_id = ?",
    )
    .bind(app_id)
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Err(unknown_application(app_id)) };
    let principal: String = row.get("principal");
    if !tenant.arrived(db, &principal).await? {
        return Err(unknown_application(app_id));
    }
    let disabled = sqlx::query("SELECT 1 FROM disabled WHERE principal = ?").bind(&principal);
    if disabled.fetch_optional(db).await?.is_some() {
        return Err(EntraError::new(400, 7_000_112, "unauthorized_client")
            .text(format!("Application '{app_id}' is disabled.")));
    }
    let body: Value = serde_json::from_str(row.get("body")).unwrap_or_default();
    Ok(Known {
        application: row.get("id"),
        principal: Some(principal),
        name: body["displayName"].as_str().unwrap_or_default().to_owned(),
        body,
    })
}

/// Finds the application and checks its secret or assertion. A foreign assertion has been verified before.
pub(super) async fn prove(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    claimed: Claimed,
    assertion: Option<&Assertion<'_>>,
    public: Public,
) -> Result<Client, EntraError> {
    if claimed.id == COMMAND_LINE_TOOLS && public == Public::No {
        return Err(unknown_application(&claimed.id));
    }
    let known = known_client(tenant, db, &claimed.id).await?;
    let without = match public {
        Public::No => false,
        Public::IfAllowed => {
            known.principal.is_none() || known.body["isFallbackPublicClient"] == Value::Bool(true)
        }
        Public::Yes => true,
    };
    let must_not = known.principal.is_none() || public == Public::Yes;
    let proof = match (&claimed.secret, assertion) {
        (Some(_), _) | (None, Some(_)) if must_not => {
            return Err(EntraError::new(401, 700_025, "invalid_client").text(
                "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
            ));
        }
        (Some(secret), _) => {
            check_secret(tenant, db, &known.application, &claimed.id, secret).await?;
            "1"
        }
        (None, Some(assertion)) => {
            if !assertion.is_foreign() {
                assertion::check(tenant, db, call, &known.body, &claimed.id, assertion).await?;
            }
            "2"
        }
        (None, None) if without => "0",
        (None, None) => {
            return Err(EntraError::new(401, 7_000_218, "invalid_client").text(
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            ));
        }
    };
    Ok(Client { app_id: claimed.id, name: known.name, proof, principal: known.principal, body: known.body })
}

fn unknown_application(id: &str) -> EntraError {
    let shown: String = id.chars().take(100).collect();
    EntraError::new(400, 700_016, "unauthorized_client").text(format!(
        "Application with identifier '{shown}' was not found in the directory 'Contoso'. This can happen if the \
         application has not been installed by the administrator of the tenant or consented to by any user in the \
         tenant. You may have sent your authentication request to the wrong tenant."
    ))
}

async fn check_secret(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    application: &str,
    app_id: &str,
    secret: &str,
) -> Result<(), EntraError> {
    let window =
        sqlx::query("SELECT key_id, starts_at, ends_at FROM secret WHERE application = ? AND digest = ?")
            .bind(application)
            .bind(sha256(secret.as_bytes()))
            .fetch_optional(&mut *db)
            .await?;
    let now = tenant.now();
    let window = match window {
        Some(row) if tenant.arrived(db, row.get("key_id")).await? => Some(row),
        _ => None,
    };
    match window.map(|row| (row.get::<i64, _>("starts_at"), row.get::<i64, _>("ends_at"))) {
        Some((_, end)) if end <= now => Err(EntraError::new(401, 7_000_222, "invalid_client").text(format!(
            "The provided client secret keys for app '{app_id}' are expired. Visit the Azure portal to create new \
             keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added \
             security: https://aka.ms/certCreds."
        ))),
        Some((start, _)) if start <= now => Ok(()),
        _ => Err(EntraError::new(401, 7_000_215, "invalid_client").text(format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, \
             not the client secret ID, for a secret added to app '{app_id}'."
        ))),
    }
}
