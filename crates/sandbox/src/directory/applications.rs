//! `/applications`: the registrations.

use axum::http::Method;
use serde_json::{Map, Value, json};
use sqlx::{Row, SqliteConnection};

use super::{alternate_key, federated, keys, list, one, secrets, text};
use crate::answer::{Answer, Refusal, empty_answer, iso};
use crate::call::Call;
use crate::entra::bearer::Caller;
use crate::odata;
use crate::state::{DOMAIN, Tenant, random_guid};

/// Properties a client may write.
const WRITABLE: &[&str] = &[
    "displayName",
    "signInAudience",
    "isFallbackPublicClient",
    "publicClient",
    "requiredResourceAccess",
    "web",
    "spa",
    "api",
    "identifierUris",
    "keyCredentials",
    "tags",
    "notes",
    "description",
    "appRoles",
    "info",
    "optionalClaims",
    "groupMembershipClaims",
    "serviceManagementReference",
];
const AUDIENCES: &[&str] = &[
    "AzureADMyOrg",
    "AzureADMultipleOrgs",
    "AzureADandPersonalMicrosoftAccount",
    "PersonalMicrosoftAccount",
];

pub(super) async fn answer(tenant: &Tenant, db: &mut SqliteConnection, call: &Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, []) => {
            let rows =
                sqlx::query("SELECT id, app_id, created_at, body FROM application ORDER BY rowid LIMIT 5000")
                    .fetch_all(&mut *db)
                    .await?;
            let mut objects = Vec::new();
            for row in &rows {
                objects.push(view(db, row, false).await?);
            }
            list(call, "applications", objects)
        }
        (&Method::POST, []) => create(tenant, db, call).await,
        (&Method::GET, [key]) => {
            let row = find(db, key).await?;
            // The bytes of a key are read only on request, and of one object only.
            let bytes =
                odata::select(call).is_some_and(|names| names.iter().any(|name| name == "keyCredentials"));
            let object = view(db, &row, bytes).await?;
            one(call, "applications", 200, object)
        }
        (&Method::PATCH, [key]) => change(tenant, db, call, key).await,
        (&Method::DELETE, [key]) => {
            let id: String = find(db, key).await?.get("id");
            sqlx::query("DELETE FROM application WHERE id = ?").bind(id).execute(db).await?;
            Ok(empty_answer(204))
        }
        (&Method::POST, [key, "addPassword"]) => {
            let id: String = find(db, key).await?.get("id");
            secrets::add(tenant, db, call, &id).await
        }
        (_, [key, "federatedIdentityCredentials", rest @ ..]) => {
            let id: String = find(db, key).await?.get("id");
            federated::answer(tenant, db, call, &id, rest).await
        }
        (&Method::POST, [key, action @ ("addKey" | "removeKey")]) => {
            let row = find(db, key).await?;
            let id: String = row.get("id");
            let stored: Value = serde_json::from_str(row.get("body")).unwrap_or_default();
            match *action {
                "addKey" => keys::add(tenant, db, call, &id, stored).await,
                _ => keys::remove(tenant, db, call, &id, stored).await,
            }
        }
        (&Method::POST, [key, "removePassword"]) => {
            let id: String = find(db, key).await?.get("id");
            secrets::remove(db, call, &id).await
        }
        _ => Err(Refusal::no_route(call)),
    }
}

async fn find(db: &mut SqliteConnection, key: &str) -> Result<sqlx::sqlite::SqliteRow, Refusal> {
    let query = match alternate_key(key) {
        Some(app_id) => {
            sqlx::query("SELECT id, app_id, created_at, body FROM application WHERE app_id = ?").bind(app_id)
        }
        None => sqlx::query("SELECT id, app_id, created_at, body FROM application WHERE id = ?")
            .bind(key.to_ascii_lowercase()),
    };
    query.fetch_optional(db).await?.ok_or_else(|| Refusal::resource_not_found(key))
}

/// The object as it is shown: defaults, what was written, credentials without their secrets.
async fn view(
    db: &mut SqliteConnection,
    row: &sqlx::sqlite::SqliteRow,
    bytes: bool,
) -> Result<Value, Refusal> {
    let id: String = row.get("id");
    let mut object = json!({
        "id": id,
        "appId": row.get::<String, _>("app_id"),
        "createdDateTime": iso(row.get("created_at")),
        "publisherDomain": DOMAIN,
        "signInAudience": "AzureADandPersonalMicrosoftAccount",
        "identifierUris": [],
        "tags": [],
        "notes": null,
        "isFallbackPublicClient": null,
        "keyCredentials": [],
        "requiredResourceAccess": [],
        "appRoles": [],
        "web": {"redirectUris": []},
        "spa": {"redirectUris": []},
        "publicClient": {"redirectUris": []},
        "api": {"requestedAccessTokenVersion": null, "oauth2PermissionScopes": []},
    });
    let body: Value = serde_json::from_str(row.get("body")).unwrap_or_default();
    if let (Value::Object(object), Value::Object(body)) = (&mut object, body) {
        object.extend(body);
    }
    for key in object["keyCredentials"].as_array_mut().into_iter().flatten().filter(|_| !bytes) {
        key["key"] = Value::Null;
    }
    object["passwordCredentials"] = secrets::list(db, &id).await?;
    Ok(object)
}

/// Whether `caller` is the application itself, which may roll its own keys without any permission.
pub(super) async fn is_own(db: &mut SqliteConnection, caller: &Caller, key: &str) -> bool {
    caller.user.is_none()
        && find(db, key).await.is_ok_and(|row| row.get::<String, _>("app_id") == caller.app_id)
}

/// Takes over what may be written, and refuses the rest by name. Gives the ids of new keys.
fn take(
    tenant: &Tenant,
    body: Map<String, Value>,
    into: &mut Map<String, Value>,
) -> Result<Vec<String>, Refusal> {
    let mut made = Vec::new();
    for (name, mut value) in body {
        if name.starts_with('@') {
            continue;
        }
        if name == "passwordCredentials" {
            return Err(Refusal::bad_request(
                "New password credentials must be generated by the service: use the addPassword action.",
            ));
        }
        if !WRITABLE.contains(&name.as_str()) {
            return Err(Refusal::bad_request(format!("Invalid property '{name}'.")));
        }
        match name.as_str() {
            "signInAudience" if !value.as_str().is_some_and(|text| AUDIENCES.contains(&text)) => {
                return Err(Refusal::bad_request(
                    "Invalid value specified for property 'signInAudience' of resource 'Application'.",
                ));
            }
            "signInAudience" => tenant.policy().check_audience(value.as_str().unwrap_or_default())?,
            "keyCredentials" => made = keys::replace(tenant, &mut value, into.get("keyCredentials"))?,
            _ => {}
        }
        into.insert(name, value);
    }
    Ok(made)
}

async fn announce(tenant: &Tenant, db: &mut SqliteConnection, keys: &[String]) -> sqlx::Result<()> {
    for key in keys {
        tenant.announce(db, key).await?;
    }
    Ok(())
}

async fn create(tenant: &Tenant, db: &mut SqliteConnection, call: &Call) -> Answer {
    let body = call.json()?;
    text(&body, "displayName", 256)?;
    let mut kept = Map::new();
    let keys = take(tenant, body, &mut kept)?;
    announce(tenant, db, &keys).await?;
    let id = random_guid(&tenant.env);
    sqlx::query("INSERT INTO application (id, app_id, created_at, body) VALUES (?, ?, ?, ?)")
        .bind(&id)
        .bind(random_guid(&tenant.env))
        .bind(tenant.now())
        .bind(Value::Object(kept).to_string())
        .execute(&mut *db)
        .await?;
    let row = find(db, &id).await?;
    let object = view(db, &row, false).await?;
    one(call, "applications", 201, object)
}

async fn change(tenant: &Tenant, db: &mut SqliteConnection, call: &Call, key: &str) -> Answer {
    let row = find(db, key).await?;
    let Value::Object(mut kept) = serde_json::from_str(row.get("body")).unwrap_or_default() else {
        return Err(Refusal::resource_not_found(key));
    };
    let body = call.json()?;
    if body.contains_key("displayName") {
        text(&body, "displayName", 256)?;
    }
    let keys = take(tenant, body, &mut kept)?;
    announce(tenant, db, &keys).await?;
    let name = kept.get("displayName").and_then(Value::as_str).unwrap_or_default().to_owned();
    let id: String = row.get("id");
    sqlx::query("UPDATE application SET body = ? WHERE id = ?")
        .bind(Value::Object(kept).to_string())
        .bind(&id)
        .execute(&mut *db)
        .await?;
    sqlx::query("UPDATE service_principal SET display_name = ? WHERE application = ?")
        .bind(name)
        .bind(&id)
        .execute(db)
        .await?;
    Ok(empty_answer(204))
}
