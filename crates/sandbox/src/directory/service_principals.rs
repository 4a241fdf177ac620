//! `/servicePrincipals`: the applications as they stand in this tenant, and Microsoft's own resources.

use axum::http::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{alternate_key, assignments, catalogue, list, one, text};
use crate::answer::{Answer, Refusal, empty_answer, iso};
use crate::call::Call;
use crate::state::{Tenant, random_guid};

pub(super) async fn answer(tenant: &Tenant, db: &mut SqliteConnection, call: &Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, []) => {
            let rows = sqlx::query("SELECT * FROM service_principal ORDER BY rowid LIMIT 5000")
                .fetch_all(db)
                .await?;
            list(call, "servicePrincipals", rows.iter().map(view).collect())
        }
        (&Method::POST, []) => create(tenant, db, call).await,
        (&Method::GET, [key]) => {
            let row = find(db, key).await?;
            one(call, "servicePrincipals", 200, view(&row))
        }
        (&Method::DELETE, [key]) => {
            let row = find(db, key).await?;
            if row.get::<Option<String>, _>("application").is_none() {
                return Err(Refusal::privileges());
            }
            let id: String = row.get("id");
            sqlx::query("DELETE FROM service_principal WHERE id = ?").bind(id).execute(db).await?;
            Ok(empty_answer(204))
        }
        (&Method::PATCH, [key]) => {
            let id: String = find(db, key).await?.get("id");
            let query = match call.json()?.get("accountEnabled") {
                Some(Value::Bool(true)) => "DELETE FROM disabled WHERE principal = ?",
                Some(Value::Bool(false)) => "INSERT OR IGNORE INTO disabled (principal) VALUES (?)",
                _ => return Err(Refusal::bad_request("Only 'accountEnabled' can be changed here.")),
            };
            sqlx::query(query).bind(id).execute(db).await?;
            Ok(empty_answer(204))
        }
        (_, [key, "appRoleAssignments" | "appRoleAssignedTo", ..]) => {
            let row = find(db, key).await?;
            assignments::answer(tenant, db, call, &row, &path[1..]).await
        }
        _ => Err(Refusal::no_route(call)),
    }
}

/// By object id or `(appId='…')`.
pub(super) async fn find(db: &mut SqliteConnection, key: &str) -> Result<SqliteRow, Refusal> {
    let query = match alternate_key(key) {
        Some(app_id) => sqlx::query("SELECT * FROM service_principal WHERE app_id = ?").bind(app_id),
        None => sqlx::query("SELECT * FROM service_principal WHERE id = ?").bind(key.to_ascii_lowercase()),
    };
    query.fetch_optional(db).await?.ok_or_else(|| Refusal::resource_not_found(key))
}

fn view(row: &SqliteRow) -> Value {
    let app_id: String = row.get("app_id");
    let name: String = row.get("display_name");
    let resource = catalogue::resource(&app_id);
    json!({
        "id": row.get::<String, _>("id"),
        "appId": app_id,
        "displayName": name,
        "appDisplayName": name,
        "createdDateTime": iso(row.get("created_at")),
        "servicePrincipalType": "Application",
        "accountEnabled": true,
        "appRoleAssignmentRequired": false,
        "appRoles": resource.map_or_else(|| json!([]), catalogue::app_roles),
        "oauth2PermissionScopes": resource.map_or_else(|| json!([]), catalogue::permission_scopes),
        "servicePrincipalNames": [app_id],
        "tags": [],
    })
}

async fn create(tenant: &Tenant, db: &mut SqliteConnection, call: &Call) -> Answer {
    let app_id = text(&call.json()?, "appId", 36)?.to_ascii_lowercase();
    let exists = sqlx::query("SELECT 1 FROM service_principal WHERE app_id = ?")
        .bind(&app_id)
        .fetch_optional(&mut *db)
        .await?;
    if exists.is_some() {
        return Err(Refusal::new(
            409,
            "Request_MultipleObjectsWithSameKeyValue",
            format!(
                "The service principal cannot be created, updated, or restored because the service principal name {app_id} is already in use."
            ),
        ));
    }
    let application = sqlx::query("SELECT id, body FROM application WHERE app_id = ?")
        .bind(&app_id)
        .fetch_optional(&mut *db)
        .await?
        .ok_or_else(|| {
            Refusal::bad_request(format!(
                "The appId '{app_id}' of the service principal does not reference a valid application object."
            ))
        })?;
    let body: Value = serde_json::from_str(application.get("body")).unwrap_or_default();
    let id = random_guid(&tenant.env);
    sqlx::query("INSERT INTO service_principal (id, app_id, application, display_name, created_at) VALUES (?, ?, ?, ?, ?)")
        .bind(&id)
        .bind(&app_id)
        .bind(application.get::<String, _>("id"))
        .bind(body["displayName"].as_str().unwrap_or_default())
        .bind(tenant.now())
        .execute(&mut *db)
        .await?;
    tenant.announce(db, &id).await?;
    let row = find(db, &id).await?;
    one(call, "servicePrincipals", 201, view(&row))
}
