//! `/users`: people and shared mailboxes. Creating a user creates the mailbox at once.

use axum::http::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{list, one, text};
use crate::answer::{Answer, Refusal, empty_answer, iso};
use crate::call::Call;
use crate::state::{DOMAIN, Tenant, add_mailbox};

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
        _ => Err(Refusal::no_route(call)),
    }
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
