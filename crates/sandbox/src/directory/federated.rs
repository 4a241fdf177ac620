//! Federated identity credentials of an application
//! (<https://learn.microsoft.com/graph/api/resources/federatedidentitycredentials-overview>).

use axum::http::Method;
use serde_json::{Map, Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{list, one, text};
use crate::answer::{Answer, Refusal, empty_answer};
use crate::call::Call;
use crate::state::{Tenant, random_guid};

/// Most of them per application.
const MOST: i64 = 20;
const SET: &str = "applications/federatedIdentityCredentials";

/// Answers below `applications/{id}/federatedIdentityCredentials`.
pub(super) async fn answer(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    application: &str,
    path: &[&str],
) -> Answer {
    match (&call.method, path) {
        (&Method::GET, []) => {
            let rows = sqlx::query("SELECT * FROM federated WHERE application = ? ORDER BY rowid LIMIT 100")
                .bind(application)
                .fetch_all(db)
                .await?;
            list(call, SET, rows.iter().map(view).collect())
        }
        (&Method::POST, []) => create(tenant, db, call, application).await,
        (&Method::GET, [key]) => one(call, SET, 200, view(&find(db, application, key).await?)),
        (&Method::PATCH, [key]) => change(tenant, db, call, application, key).await,
        (&Method::DELETE, [key]) => {
            let id: String = find(db, application, key).await?.get("id");
            sqlx::query("DELETE FROM federated WHERE id = ?").bind(id).execute(db).await?;
            Ok(empty_answer(204))
        }
        _ => Err(Refusal::no_route(call)),
    }
}

/// By id or name.
async fn find(db: &mut SqliteConnection, application: &str, key: &str) -> Result<SqliteRow, Refusal> {
    sqlx::query("SELECT * FROM federated WHERE application = ? AND (id = ? OR name = ?)")
        .bind(application)
        .bind(key.to_ascii_lowercase())
        .bind(key)
        .fetch_optional(db)
        .await?
        .ok_or_else(|| Refusal::resource_not_found(key))
}

fn view(row: &SqliteRow) -> Value {
    json!({
        "id": row.get::<String, _>("id"),
        "name": row.get::<String, _>("name"),
        "issuer": row.get::<String, _>("issuer"),
        "subject": row.get::<String, _>("subject"),
        "description": row.get::<Option<String>, _>("description"),
        "audiences": [row.get::<String, _>("audience")],
    })
}

/// The one audience.
fn audience(body: &Map<String, Value>) -> Result<String, Refusal> {
    let list = body.get("audiences").and_then(Value::as_array);
    match list.map(Vec::as_slice) {
        Some([Value::String(one)]) if !one.is_empty() && one.chars().count() <= 600 => Ok(one.clone()),
        _ => {
            Err(Refusal::bad_request("Federated Identity Credential audiences must hold exactly one value."))
        }
    }
}

fn name(body: &Map<String, Value>) -> Result<String, Refusal> {
    let name = text(body, "name", 120)?;
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    let begins = name.starts_with(|character: char| character.is_ascii_alphanumeric());
    if name.len() < 3 || !begins || !name.chars().all(plain) {
        return Err(Refusal::bad_request(
            "Federated Identity Credential name is invalid: 3 to 120 letters, digits, '-' or '_'.",
        ));
    }
    Ok(name)
}

fn description(body: &Map<String, Value>) -> Option<String> {
    body.get("description").and_then(Value::as_str).map(|text| text.chars().take(600).collect())
}

fn taken() -> Refusal {
    Refusal::new(
        409,
        "Request_MultipleObjectsWithSameKeyValue",
        "FederatedIdentityCredential with the same name, or the same issuer and subject, already exists.",
    )
}

/// Whether another credential has the name, or issuer and subject.
async fn clashes(
    db: &mut SqliteConnection,
    application: &str,
    own: &str,
    [name, issuer, subject]: [&str; 3],
) -> sqlx::Result<bool> {
    let row = sqlx::query(
        "SELECT 1 FROM federated WHERE application = ? AND id <> ? AND (name = ? OR (issuer = ? AND subject = ?))",
    )
    .bind(application)
    .bind(own)
    .bind(name)
    .bind(issuer)
    .bind(subject)
    .fetch_optional(db)
    .await?;
    Ok(row.is_some())
}

async fn create(tenant: &Tenant, db: &mut SqliteConnection, call: &Call, application: &str) -> Answer {
    let body = call.json()?;
    let (name, audience) = (name(&body)?, audience(&body)?);
    let (issuer, subject) = (text(&body, "issuer", 600)?, text(&body, "subject", 600)?);
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM federated WHERE application = ?")
        .bind(application)
        .fetch_one(&mut *db)
        .await?;
    if count >= MOST {
        return Err(Refusal::bad_request(
            "The number of federated identity credentials on the application exceeds the limit of 20.",
        ));
    }
    if clashes(db, application, "", [&name, &issuer, &subject]).await? {
        return Err(taken());
    }
    let id = random_guid(&tenant.env);
    sqlx::query(
        "INSERT INTO federated (id, application, name, issuer, subject, audience, description)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(application)
    .bind(&name)
    .bind(&issuer)
    .bind(&subject)
    .bind(&audience)
    .bind(description(&body))
    .execute(&mut *db)
    .await?;
    tenant.announce(db, &id).await?;
    one(call, SET, 201, view(&find(db, application, &id).await?))
}

async fn change(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    application: &str,
    key: &str,
) -> Answer {
    let row = find(db, application, key).await?;
    let (id, old_name): (String, String) = (row.get("id"), row.get("name"));
    let body = call.json()?;
    if body.get("name").is_some_and(|name| *name != old_name.as_str()) {
        return Err(Refusal::bad_request("The name of a federated identity credential cannot be changed."));
    }
    let kept = |field: &str| -> Result<String, Refusal> {
        if body.contains_key(field) { text(&body, field, 600) } else { Ok(row.get(field)) }
    };
    let (issuer, subject) = (kept("issuer")?, kept("subject")?);
    let audience = if body.contains_key("audiences") { audience(&body)? } else { row.get("audience") };
    let words = if body.contains_key("description") { description(&body) } else { row.get("description") };
    if clashes(db, application, &id, [&old_name, &issuer, &subject]).await? {
        return Err(taken());
    }
    sqlx::query("UPDATE federated SET issuer = ?, subject = ?, audience = ?, description = ? WHERE id = ?")
        .bind(issuer)
        .bind(subject)
        .bind(audience)
        .bind(words)
        .bind(&id)
        .execute(&mut *db)
        .await?;
    tenant.announce(db, &id).await?;
    Ok(empty_answer(204))
}
