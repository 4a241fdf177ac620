//! `/v1.0/subscriptions` and what is told by them
//! (<https://learn.microsoft.com/graph/api/resources/subscription>). Notifications go to this machine only: a tenant of
//! one's own must not call strangers.
//!
//! What is to be told is written down in the transaction of the change and posted once that is committed, each at most
//! three times.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::store::{self, Stored};
use super::{READ, mailbox, unknown_user};
use crate::answer::{Answer, Refusal, empty_answer, iso, json_answer};
use crate::call::{Call, split_path};
use crate::entra::bearer::Caller;
use crate::exchange::access::{self, Target};
use crate::state::{Tenant, random_guid};

/// Longest life: 7 days.
const LONGEST: i64 = 10_080 * 60;
/// A shorter life is made this long.
const SHORTEST: i64 = 45 * 60;
/// Most subscriptions of one mailbox.
const MOST: i64 = 1_000;
/// How long an end point may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a notification is posted.
const ATTEMPTS: u32 = 3;

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "InvalidRequest", message)
}

fn absent() -> Refusal {
    Refusal::new(404, "ResourceNotFound", "The object was not found.")
}

/// Answers everything below `/subscriptions`.
pub(crate) async fn answer(tenant: &Arc<Tenant>, call: &Call, caller: &Caller, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::POST, []) => create(tenant, call, caller).await,
        (&Method::GET, []) => list(tenant, caller).await,
        (&Method::GET, [id]) => {
            let mut tx = tenant.begin().await?;
            Ok(json_answer(200, &view(&own(tenant, &mut tx, caller, id).await?)))
        }
        (&Method::PATCH, [id]) => {
            let until = expiry(tenant, &Value::Object(call.json()?))?;
            let mut tx = tenant.begin().await?;
            own(tenant, &mut tx, caller, id).await?;
            sqlx::query("UPDATE subscription SET expires_at = ? WHERE id = ?")
                .bind(until)
                .bind(id)
                .execute(&mut *tx)
                .await?;
            let row = own(tenant, &mut tx, caller, id).await?;
            tx.commit().await?;
            Ok(json_answer(200, &view(&row)))
        }
        (&Method::POST, [id, "reauthorize"]) => {
            let mut tx = tenant.begin().await?;
            own(tenant, &mut tx, caller, id).await?;
            Ok(empty_answer(204))
        }
        (&Method::DELETE, [id]) => {
            let mut tx = tenant.begin().await?;
            own(tenant, &mut tx, caller, id).await?;
            sqlx::query("DELETE FROM subscription WHERE id = ?").bind(id).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(empty_answer(204))
        }
        _ => Err(Refusal::no_route(call)),
    }
}

async fn list(tenant: &Tenant, caller: &Caller) -> Answer {
    let mut tx = tenant.begin().await?;
    let rows = sqlx::query(
        "SELECT * FROM subscription WHERE app_id = ? AND expires_at > ? ORDER BY rowid LIMIT 1000",
    )
    .bind(&caller.app_id)
    .bind(tenant.now())
    .fetch_all(&mut *tx)
    .await?;
    let value: Vec<Value> = rows.iter().map(view).collect();
    Ok(json_answer(200, &json!({ "value": value })))
}

/// The caller's subscription of this id, while it lives.
async fn own(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    caller: &Caller,
    id: &str,
) -> Result<SqliteRow, Refusal> {
    sqlx::query("SELECT * FROM subscription WHERE id = ? AND app_id = ? AND expires_at > ?")
        .bind(id)
        .bind(&caller.app_id)
        .bind(tenant.now())
        .fetch_optional(db)
        .await?
        .ok_or_else(absent)
}

/// A subscription as it is shown; its `clientState` only to whom it was given.
fn view(row: &SqliteRow) -> Value {
    json!({
        "id": row.get::<String, _>("id"),
        "resource": row.get::<String, _>("resource"),
        "applicationId": row.get::<String, _>("app_id"),
        "changeType": row.get::<String, _>("change_type"),
        "clientState": null,
        "notificationUrl": row.get::<String, _>("url"),
        "lifecycleNotificationUrl": row.get::<Option<String>, _>("lifecycle_url"),
        "expirationDateTime": iso(row.get("expires_at")),
    })
}

fn expiry(tenant: &Tenant, json: &Value) -> Result<i64, Refusal> {
    let text = json["expirationDateTime"].as_str().unwrap_or_default();
    let until: postroom_model::Timestamp =
        text.parse().map_err(|_| invalid("expirationDateTime is missing or no time."))?;
    let (now, until) = (tenant.now(), until.as_second());
    if until <= now {
        return Err(invalid("Subscription expiration can only be in the future."));
    }
    if until > now + LONGEST {
        return Err(invalid("Subscription expiration can only be 10080 minutes in the future."));
    }
    Ok(until.max(now + SHORTEST))
}

/// An address that may be called.
fn end_point(text: Option<&str>) -> Result<Url, Refusal> {
    let address = text.and_then(|text| Url::parse(text).ok());
    let here = |address: &Url| address.host_str().is_some_and(postroom_model::connection::is_loopback);
    address
        .filter(here)
        .ok_or_else(|| invalid("The sandbox calls notification addresses of this machine only."))
}

async fn create(tenant: &Arc<Tenant>, call: &Call, caller: &Caller) -> Answer {
    let json = Value::Object(call.json()?);
    let until = expiry(tenant, &json)?;
    let change_type = json["changeType"].as_str().unwrap_or_default();
    if change_type.is_empty()
        || !change_type.split(',').all(|one| ["created", "updated", "deleted"].contains(&one))
    {
        return Err(invalid("changeType is created, updated or deleted."));
    }
    let client_state = json["clientState"].as_str().unwrap_or_default();
    if client_state.len() > 128 {
        return Err(invalid("clientState has at most 128 characters."));
    }
    let url = end_point(json["notificationUrl"].as_str())?;
    let lifecycle =
        json["lifecycleNotificationUrl"].as_str().map(|text| end_point(Some(text))).transpose()?;
    let resource = json["resource"].as_str().unwrap_or_default();
    let place = watched(tenant, caller, resource).await?;
    for address in std::iter::once(&url).chain(&lifecycle) {
        validate(tenant, address).await?;
    }
    let mut tx = tenant.begin().await?;
    let id = random_guid(&tenant.env);
    check_numbers(tenant, &mut tx, caller, &place.0, resource, change_type).await?;
    sqlx::query(
        "INSERT INTO subscription (id, app_id, mailbox, folder, resource, change_type, url, lifecycle_url, client_state,
         expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(&caller.app_id)
    .bind(&place.0)
    .bind(&place.1)
    .bind(resource)
    .bind(change_type)
    .bind(url.as_str())
    .bind(lifecycle.as_ref().map(Url::as_str))
    .bind(client_state)
    .bind(until)
    .execute(&mut *tx)
    .await?;
    let mut shown = view(&own(tenant, &mut tx, caller, &id).await?);
    tx.commit().await?;
    shown["clientState"] = json!(client_state);
    Ok(json_answer(201, &shown))
}

/// Mailbox and folder of a resource, when the caller may read there.
async fn watched(
    tenant: &Tenant,
    caller: &Caller,
    resource: &str,
) -> Result<(String, Option<String>), Refusal> {
    let segments = split_path(resource);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (user, folder) = match segments.as_slice() {
        ["users", user, "messages"] => (*user, None),
        ["users", user, "mailFolders", folder, "messages"] => (*user, Some(*folder)),
        _ => return Err(invalid("The sandbox has subscriptions on messages only.")),
    };
    let mut tx = tenant.begin().await?;
    let mailbox = mailbox(&mut tx, user).await?.ok_or_else(|| unknown_user(user))?;
    let target = Target { id: &mailbox.id, address: &mailbox.address };
    access::check(tenant, &mut tx, &caller.app_id, caller.has(READ), READ, target).await?;
    let folder = match folder {
        Some(folder) => Some(store::folder(&mut tx, &mailbox.id, folder).await?),
        None => None,
    };
    Ok((mailbox.id, folder))
}

async fn check_numbers(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    caller: &Caller,
    mailbox: &str,
    resource: &str,
    change_type: &str,
) -> Result<(), Refusal> {
    sqlx::query("DELETE FROM subscription WHERE expires_at <= ?")
        .bind(tenant.now())
        .execute(&mut *db)
        .await?;
    let rows = sqlx::query("SELECT app_id, resource, change_type FROM subscription WHERE mailbox = ?")
        .bind(mailbox)
        .fetch_all(db)
        .await?;
    if i64::try_from(rows.len()).unwrap_or(MOST) >= MOST {
        return Err(Refusal::new(
            403,
            "ExtensionError",
            "The mailbox has reached its limit of subscriptions.",
        ));
    }
    let same = |row: &SqliteRow| {
        row.get::<&str, _>("app_id") == caller.app_id
            && row.get::<&str, _>("resource") == resource
            && row.get::<&str, _>("change_type") == change_type
    };
    if rows.iter().any(same) {
        return Err(Refusal::new(
            409,
            "Conflict",
            "A subscription for this resource and change type exists already.",
        ));
    }
    Ok(())
}

fn client() -> Result<Client, reqwest::Error> {
    Client::builder().no_proxy().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()
}

/// The handshake: whoever is named must say the token back.
async fn validate(tenant: &Tenant, address: &Url) -> Result<(), Refusal> {
    let token = format!("Validation: Testing client application reachability <{}>", tenant.env.new_token(16));
    let mut asked = address.clone();
    asked.query_pairs_mut().append_pair("validationToken", &token);
    let heard = async {
        let answer = client()?.post(asked).header("content-type", "text/plain; charset=utf-8").send().await?;
        let plain = answer
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, plain, answer.text().await?))
    };
    let why = match heard.await {
        Ok((StatusCode::OK, true, text)) if text == token => return Ok(()),
        Ok((status, ..)) => format!("HTTP status code is '{status}', or the token did not come back."),
        Err(error) => format!("{}.", error.without_url()),
    };
    Err(Refusal::new(400, "ValidationError", format!("Subscription validation request failed. {why}")))
}

/// Notes what is to be told of a message that has come into a folder.
pub(super) async fn arrived(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    stored: &Stored,
) -> Result<(), Refusal> {
    let rows = sqlx::query(
        "SELECT * FROM subscription WHERE mailbox = ? AND (folder IS NULL OR folder = ?) AND expires_at > ?
         AND change_type LIKE '%created%'",
    )
    .bind(&stored.mailbox)
    .bind(&stored.folder)
    .bind(tenant.now())
    .fetch_all(&mut *db)
    .await?;
    for row in rows {
        let place = format!("Users/{}/Messages/{}", stored.mailbox, stored.immutable_id);
        let body = json!({"value": [{
            "subscriptionId": row.get::<String, _>("id"),
            "subscriptionExpirationDateTime": iso(row.get("expires_at")),
            "clientState": row.get::<String, _>("client_state"),
            "changeType": "created",
            "resource": place,
            "tenantId": tenant.tenant_id,
            "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "@odata.id": place, "id": stored.immutable_id},
        }]});
        note(tenant, db, row.get("url"), &body).await?;
    }
    Ok(())
}

async fn note(tenant: &Tenant, db: &mut SqliteConnection, url: &str, body: &Value) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO notice (url, body) VALUES (?, ?)")
        .bind(url)
        .bind(body.to_string())
        .execute(db)
        .await?;
    tenant.news.notify_one();
    Ok(())
}

/// `POST /_sandbox/lifecycle`: tells every subscription of `event`; `subscriptionRemoved` removes them first.
pub(crate) async fn lifecycle(tenant: &Tenant, call: &Call) -> Answer {
    let json = call.json()?;
    let event = json.get("event").and_then(Value::as_str).unwrap_or_default();
    if !["reauthorizationRequired", "subscriptionRemoved", "missed"].contains(&event) {
        return Err(invalid("event is reauthorizationRequired, subscriptionRemoved or missed."));
    }
    let mut tx = tenant.begin().await?;
    let rows = sqlx::query("SELECT * FROM subscription WHERE lifecycle_url IS NOT NULL AND expires_at > ?")
        .bind(tenant.now())
        .fetch_all(&mut *tx)
        .await?;
    for row in &rows {
        let body = json!({"value": [{
            "lifecycleEvent": event,
            "subscriptionId": row.get::<String, _>("id"),
            "subscriptionExpirationDateTime": iso(row.get("expires_at")),
            "clientState": row.get::<String, _>("client_state"),
            "resource": row.get::<String, _>("resource"),
            "tenantId": tenant.tenant_id,
        }]});
        if event == "subscriptionRemoved" {
            let id: String = row.get("id");
            sqlx::query("DELETE FROM subscription WHERE id = ?").bind(id).execute(&mut *tx).await?;
        }
        note(tenant, &mut tx, row.get("lifecycle_url"), &body).await?;
    }
    tx.commit().await?;
    tenant.news.notify_one();
    Ok(json_answer(200, &json!({"told": rows.len()})))
}

/// Posts what is to be told until `stop` is cancelled.
pub(crate) async fn tell(tenant: Arc<Tenant>, stop: CancellationToken) {
    let Ok(client) = client() else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tenant.news.notified() => {}
        }
        // What a transaction noted is seen once that is committed: this one waits for it.
        while let Ok(Some((id, url, body))) = next(&tenant).await {
            for attempt in 1..=ATTEMPTS {
                let post = client.post(&url).header("content-type", "application/json").body(body.clone());
                match post.send().await {
                    Ok(answer) if answer.status().is_success() => break,
                    Ok(answer) => {
                        tracing::debug!(status = %answer.status(), attempt, "a notification was not taken")
                    }
                    Err(error) => tracing::debug!(%error, attempt, "a notification did not arrive"),
                }
            }
            if forget(&tenant, id).await.is_err() {
                return;
            }
        }
    }
}

async fn next(tenant: &Tenant) -> sqlx::Result<Option<(i64, String, String)>> {
    let mut tx = tenant.begin().await?;
    let row =
        sqlx::query("SELECT id, url, body FROM notice ORDER BY id LIMIT 1").fetch_optional(&mut *tx).await?;
    Ok(row.map(|row| (row.get("id"), row.get("url"), row.get("body"))))
}

async fn forget(tenant: &Tenant, id: i64) -> sqlx::Result<()> {
    let mut tx = tenant.begin().await?;
    sqlx::query("DELETE FROM notice WHERE id = ?").bind(id).execute(&mut *tx).await?;
    tx.commit().await
}
