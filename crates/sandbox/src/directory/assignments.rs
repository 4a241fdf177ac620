//! Application roles granted to a service principal: what the portal calls admin consent
//! (<https://learn.microsoft.com/graph/permissions-grant-via-msgraph>).

use axum::http::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::service_principals::find;
use super::{catalogue, list, one, text};
use crate::answer::{Answer, Refusal, empty_answer, iso};
use crate::call::Call;
use crate::state::{Tenant, random_guid};

const COLUMNS: &str = "SELECT r.id, r.role, r.created_at, p.id AS principal, p.display_name AS principal_name,
     s.id AS resource, s.display_name AS resource_name
     FROM role_assignment r JOIN service_principal p ON p.id = r.principal JOIN service_principal s ON s.id = r.resource";

/// `appRoleAssignments` of the client, `appRoleAssignedTo` of the resource: the same grants from both ends.
pub(super) async fn answer(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    owner: &SqliteRow,
    path: &[&str],
) -> Answer {
    let owner: String = owner.get("id");
    match (&call.method, path) {
        (&Method::GET, [side]) => {
            let column = if *side == "appRoleAssignments" { "r.principal" } else { "r.resource" };
            let query = format!("{COLUMNS} WHERE {column} = ? ORDER BY r.rowid LIMIT 5000");
            let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(owner).fetch_all(db).await?;
            list(call, side, rows.iter().map(view).collect())
        }
        (&Method::POST, [side]) => create(tenant, db, call, &owner, side).await,
        (&Method::DELETE, [_, id]) => {
            let done =
                sqlx::query("DELETE FROM role_assignment WHERE id = ? AND (principal = ? OR resource = ?)")
                    .bind(id)
                    .bind(&owner)
                    .bind(&owner)
                    .execute(db)
                    .await?;
            if done.rows_affected() == 0 {
                return Err(Refusal::resource_not_found(id));
            }
            Ok(empty_answer(204))
        }
        _ => Err(Refusal::no_route(call)),
    }
}

fn view(row: &SqliteRow) -> Value {
    json!({
        "id": row.get::<String, _>("id"),
        "createdDateTime": iso(row.get("created_at")),
        "appRoleId": row.get::<String, _>("role"),
        "principalDisplayName": row.get::<String, _>("principal_name"),
        "principalId": row.get::<String, _>("principal"),
        "principalType": "ServicePrincipal",
        "resourceDisplayName": row.get::<String, _>("resource_name"),
        "resourceId": row.get::<String, _>("resource"),
    })
}

async fn create(tenant: &Tenant, db: &mut SqliteConnection, call: &Call, owner: &str, side: &str) -> Answer {
    let body = call.json()?;
    let [principal, resource, role] = ["principalId", "resourceId", "appRoleId"]
        .map(|name| text(&body, name, 36).map(|id| id.to_ascii_lowercase()));
    let (principal, resource, role) = (principal?, resource?, role?);
    let own = if side == "appRoleAssignments" { &principal } else { &resource };
    if own != owner {
        return Err(Refusal::bad_request(
            "The id in the address and the id in the body are different objects.",
        ));
    }
    find(db, &principal).await?;
    let app_id: String = find(db, &resource).await?.get("app_id");
    let known = catalogue::resource(&app_id).and_then(|resource| catalogue::role_value(resource, &role));
    if known.is_none() {
        return Err(Refusal::bad_request("Permission being assigned was not found on application."));
    }
    let id = format!("{}-assignment", random_guid(&tenant.env));
    let done = sqlx::query(
        "INSERT INTO role_assignment (id, principal, resource, role, created_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&id)
    .bind(&principal)
    .bind(&resource)
    .bind(&role)
    .bind(tenant.now())
    .execute(&mut *db)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Refusal::bad_request("Permission being assigned already exists on the object."));
    }
    tenant.announce(db, &id).await?;
    let query = format!("{COLUMNS} WHERE r.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(&id).fetch_one(db).await?;
    one(call, "appRoleAssignments", 201, view(&row))
}
