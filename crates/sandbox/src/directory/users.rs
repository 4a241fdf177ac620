//! `/users`: people and shared mailboxes. Creating a user creates the mailbox at once.

use axum::http::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{list, one, text};
use crate::answer::{Answer, Refusal, empty_answer, iso, json_answer};
use crate::call::Call;
use crate::entra::sessions;
use crate::mail::kind;
use crate::state::{DOMAIN, Tenant, add_mailbox, step};

/// `EXCHANGESTANDARD`, a plan with a mailbox.
const EXCHANGE_PLAN: &str = "4b9405b0-7788-4568-add1-99614e613b69";

pub(super) async fn answer(tenant: &Tenant, db: &mut SqliteConnection, call: &Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, []) => list(
            call,
            "users",
            all(db)
                .await?
                .into_iter()
                .filter(|(kind, _)| kind != kind::GROUP)
                .map(|(_, view)| view)
                .collect(),
        ),
        (&Method::GET, [key]) => {
            let row = find(db, key).await?.ok_or_else(|| Refusal::resource_not_found(key))?;
            let kind = kind::of(db, row.get("id")).await?;
            if kind == kind::GROUP {
                return Err(Refusal::resource_not_found(key));
            }
            one(call, "users", 200, view(&row, &kind))
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

/// `GET /groups`.
pub(super) async fn groups(db: &mut SqliteConnection, call: &Call) -> Answer {
    let all = all(db).await?.into_iter().filter(|(kind, _)| kind == kind::GROUP);
    let group = |view: Value| {
        json!({
            "id": view["id"], "displayName": view["displayName"], "mail": view["mail"],
            "mailEnabled": true, "securityEnabled": false, "groupTypes": ["Unified"],
        })
    };
    list(call, "groups", all.map(|(_, view)| group(view)).collect())
}

/// Everything with an address: its kind, and how it is shown.
async fn all(db: &mut SqliteConnection) -> sqlx::Result<Vec<(String, Value)>> {
    let rows = sqlx::query(
        "SELECT u.*, coalesce(k.kind, 'user') AS kind FROM user u LEFT JOIN mailbox_kind k ON k.mailbox = u.id
         ORDER BY u.rowid LIMIT 5000",
    )
    .fetch_all(db)
    .await?;
    let known = |row: &SqliteRow| {
        let kind: String = row.get("kind");
        let view = view(row, &kind);
        (kind, view)
    };
    Ok(rows.iter().map(known).collect())
}

fn view(row: &SqliteRow, kind: &str) -> Value {
    let address: String = row.get("address");
    let licence = json!({"skuId": EXCHANGE_PLAN, "disabledPlans": []});
    let licences = if kind::licensed(kind) { vec![licence] } else { Vec::new() };
    json!({
        "id": row.get::<String, _>("id"),
        "displayName": row.get::<String, _>("display_name"),
        "userPrincipalName": address,
        "mail": address,
        "mailNickname": address.split('@').next().unwrap_or_default(),
        "accountEnabled": true,
        "assignedLicenses": licences,
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
    one(call, "users", 201, view(&row, "user"))
}
