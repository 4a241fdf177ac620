//! The directory: what an administrator does in the portal, as calls
//! (<https://learn.microsoft.com/graph/api/resources/application>).

mod applications;
mod assignments;
pub(crate) mod catalogue;
mod federated;
mod keys;
mod secrets;
mod service_principals;
pub(crate) mod users;

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::answer::{Answer, Refusal, iso, json_answer};
use crate::call::Call;
use crate::entra::bearer::Caller;
use crate::odata;
use crate::state::{DOMAIN, Tenant};

const READ_APPLICATIONS: &[&str] = &[
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Application.ReadWrite.OwnedBy",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
const CHANGE_APPLICATIONS: &[&str] = &["Application.ReadWrite.All", "Application.ReadWrite.OwnedBy"];
const ASSIGN_ROLES: &[&str] = &["AppRoleAssignment.ReadWrite.All"];
const READ_USERS: &[&str] = &[
    "User.Read.All",
    "User.ReadBasic.All",
    "User.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
const READ_GROUPS: &[&str] =
    &["Group.Read.All", "GroupMember.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"];
const CHANGE_USERS: &[&str] = &["User.ReadWrite.All", "Directory.ReadWrite.All"];

/// Most objects a list holds; the directory of a sandbox is small, so lists have one page.
const MOST: u32 = 999;

/// Answers everything that is no mail.
pub(crate) async fn answer(
    tenant: &Arc<Tenant>,
    db: &mut SqliteConnection,
    call: &Call,
    caller: &Caller,
    path: &[&str],
) -> Answer {
    let need = match (&call.method, path) {
        (&Method::GET, ["organization"]) => {
            caller.user.is_some() || caller.has(READ_USERS) || caller.has(READ_APPLICATIONS)
        }
        (&Method::GET, ["applications" | "servicePrincipals", ..]) => caller.has(READ_APPLICATIONS),
        (_, ["servicePrincipals", _, "appRoleAssignments" | "appRoleAssignedTo", ..]) => {
            caller.may_change(ASSIGN_ROLES)
        }
        (&Method::POST, ["applications", key, "addKey" | "removeKey"]) => {
            caller.may_change(CHANGE_APPLICATIONS) || applications::is_own(db, caller, key).await
        }
        (_, ["applications" | "servicePrincipals", ..]) => caller.may_change(CHANGE_APPLICATIONS),
        (&Method::GET, ["users" | "me", ..]) => caller.user.is_some() || caller.has(READ_USERS),
        (_, ["users", ..]) => caller.may_change(CHANGE_USERS),
        (&Method::GET, ["groups"]) => caller.user.is_some() || caller.has(READ_GROUPS),
        _ => return Err(Refusal::no_route(call)),
    };
    if !need {
        return Err(Refusal::privileges());
    }
    match path {
        ["applications", rest @ ..] => applications::answer(tenant, db, call, rest).await,
        ["servicePrincipals", rest @ ..] => service_principals::answer(tenant, db, call, rest).await,
        ["users", rest @ ..] => users::answer(tenant, db, call, rest).await,
        ["groups"] => users::groups(db, call).await,
        ["me"] => {
            let user = caller.user.as_deref().ok_or_else(|| {
                Refusal::bad_request("/me request is only valid with delegated authentication flow.")
            })?;
            users::answer(tenant, db, call, &[user]).await
        }
        _ => Ok(organization(tenant, call)),
    }
}

fn organization(tenant: &Tenant, call: &Call) -> axum::response::Response {
    let organization = json!({
        "id": tenant.tenant_id,
        "displayName": "Contoso",
        "tenantType": "AAD",
        "createdDateTime": iso(1_600_000_000),
        "verifiedDomains": [
            {"name": DOMAIN, "isDefault": true, "isInitial": true, "type": "Managed", "capabilities": "Email, OfficeCommunicationsOnline"},
        ],
    });
    json_answer(
        200,
        &json!({
            "@odata.context": format!("{}/v1.0/$metadata#organization", call.base),
            "value": [organization],
        }),
    )
}

/// A list: filtered, cut to `$top`, narrowed to `$select`.
fn list(call: &Call, set: &str, objects: Vec<Value>) -> Answer {
    let clauses = call.param("$filter").map(odata::filter).transpose()?.unwrap_or_default();
    let selected = odata::select(call);
    let (top, _) = odata::page(call, 100, MOST)?;
    let mut value = Vec::new();
    for mut object in objects {
        if value.len() >= top as usize {
            break;
        }
        if odata::meets(&object, &clauses)? {
            if let Value::Object(map) = &mut object {
                odata::narrow(map, selected.as_deref());
            }
            value.push(object);
        }
    }
    let context = format!("{}/v1.0/$metadata#{set}", call.base);
    Ok(json_answer(200, &json!({"@odata.context": context, "value": value})))
}

/// One object, narrowed to `$select`.
fn one(call: &Call, set: &str, status: u16, mut object: Value) -> Answer {
    if let Value::Object(map) = &mut object {
        odata::narrow(map, odata::select(call).as_deref());
        map.insert("@odata.context".to_owned(), json!(format!("{}/v1.0/$metadata#{set}/$entity", call.base)));
    }
    Ok(json_answer(status, &object))
}

/// `appId='x'` of `(appId='x')`; nothing for a plain object id.
fn alternate_key(key: &str) -> Option<String> {
    let inner = key.strip_prefix("(appId=").and_then(|rest| rest.strip_suffix(')'))?;
    Some(inner.trim().trim_matches('\'').to_ascii_lowercase())
}

/// A text of at most `most` characters, or the refusal that names the property.
fn text(body: &serde_json::Map<String, Value>, name: &str, most: usize) -> Result<String, Refusal> {
    match body.get(name).and_then(Value::as_str).map(str::trim) {
        Some(text) if !text.is_empty() && text.chars().count() <= most => Ok(text.to_owned()),
        _ => Err(Refusal::bad_request(format!("Invalid value specified for property '{name}' of resource."))),
    }
}
