//! `/users`: people and shared mailboxes. Creating a user creates the mailbox at once.

use axum::http::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{list, one, text};
use crate::answer::{Answer, Refusal, empty_answer, iso, json_answer};
use crate::call::Call;
use crate::entra::sessions;
use crate::state::{DOMAIN, Tenant, add_mailbox, step};

pub(super) async fn answer(tenant: &Tenant, db: &mut SqliteConnection, call: &Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, []) => {
            let rows = sqlx::query("SELECT * FROM user ORDER BY rowid LIMIT 5000").fetch_all(db).await?;
            list(call, "users", rows.iter().map(view).collect())
        }
        (&Method::GET, [key]) => {
            let row = find(db, key).await?.ok_or_else(|| Refusal::resource_not_found(key))?;
            one(call, "users", 200, view(&row))
        }
        (&Method::POST, []) => create(tenant, db, call).await,
        (&Method::DELETE, [key]) => {
            let row = find(db, key).await?.ok_or_else(|| Refusal::resource_not_found(key))?;
            let id: String = row.get("id");
            sqlx::query("DELETE FROM user WHERE id = ?").bind(id).execute(db).await?;
            Ok(empty_answer(204))
        }
        (&Method::PATCH, [key]) => change(db, call, key).await,
        (&Method::POST, [key, "revokeSignInSessions"]) => {
            let row = find(db, key).await?.ok_or_else(|| Refusal::resource_not_found(key))?;
            step(db, &sessions(row.get("id"))).await?;
            Ok(json_answer(200, &json!({"value": true})))
        }
        _ => Err(Refusal::no_route(call)),
    }
}

/// A new name or password; a new password ends the sessions.
async fn change(db: &mut SqliteConnection, call: &Call, key: &str) -> Answer {
    let row = find(db, key).await?.ok_or_else(|| Refusal::resource_not_found(key))?;
    let id: String = row.get("id");
    let body = call.json()?;
    if body.contains_key("displayName") {
        let name = text(&body, "displayName", 256)?;
        sqlx::query("UPDATE user SET display_name = ? WHERE id = ?")
            .bind(name)
            .bind(&id)
            .execute(&mut *db)
            .await?;
    }
    if let Some(password) = body.get("passwordProfile").and_then(|profile| profile["password"].as_str()) {
        if password.is_empty() || password.len() > 256 {
            return Err(Refusal::bad_request(
                "The specified password does not comply with password complexity requirements.",
            ));
        }
        sqlx::query("UPDATE user SET password = ? WHERE id = ?")
            .bind(password)
            .bind(&id)
            .execute(&mut *db)
            .await?;
        step(db, &sessions(&id)).await?;
    }
    Ok(empty_answer(204))
}

/// By object id or user principal name.
pub(crate) async fn find(db: &mut SqliteConnection, key: &str) -> sqlx::Result<Option<SqliteRow>> {
    sqlx::query("SELECT * FROM user WHERE id = ? OR address = ?")
        .bind(key.to_ascii_lowercase())
        .bind(key)
        .fetch_optional(db)
        .await
}

fn view(row: &SqliteRow) -> Value {
    let address: String = row.get("address");
    json!({
        "id": row.get::<String, _>("id"),
        "displayName": row.get::<String, _>("display_name"),
        "userPrincipalName": address,
        "mail": address,
        "mailNickname": address.split('@').next().unwrap_or_default(),
        "accountEnabled": true,
        "userType": "Member",
        "createdDateTime": iso(row.get("created_at")),
        "businessPhones": [],
        "givenName": null,
        "jobTitle": null,
        "mobilePhone": null,
        "officeLocation": null,
        "preferredLanguage": null,
        "surname": null,
    })
}

async fn create(tenant: &Tenant, db: &mut SqliteConnection, call: &Call) -> Answer {
    let body = call.json()?;
    let name = text(&body, "displayName", 256)?;
    let address = text(&body, "userPrincipalName", 254)?;
    let valid = address
        .parse::<postroom_model::EmailAddress>()
        .is_ok_and(|a| a.domain().eq_ignore_ascii_case(DOMAIN));
    if !valid {
        return Err(Refusal::bad_request(
            "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain \
             names in your organization.",
        ));
    }
    if find(db, &address).await?.is_some() {
        return Err(Refusal::bad_request(
            "Another object with the same value for property userPrincipalName already exists.",
        ));
    }
    let password =
        body.get("passwordProfile").and_then(|profile| profile["password"].as_str()).unwrap_or_default();
    if password.len() > 256 {
        return Err(Refusal::bad_request(
            "The specified password does not comply with password complexity requirements.",
        ));
    }
    let id = add_mailbox(db, &tenant.env, &address, &name, password, false).await?;
    let row = find(db, &id).await?.ok_or_else(|| Refusal::resource_not_found(&id))?;
    one(call, "users", 201, view(&row))
}
