//! RBAC for Applications: service principals known to Exchange, management scopes, role assignments
//! (<https://learn.microsoft.com/exchange/permissions-exo/application-rbac>).

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::access::{self, Target};
use super::cmdlets::{Failure, Output, absent, mailbox, need, said, target};
use super::filter;
use super::script::Filled;
use crate::state::Tenant;

/// Roles there are; all begin with `Application `.
const ROLES: &[&str] = &[
    "Mail.Read",
    "Mail.ReadBasic",
    "Mail.ReadWrite",
    "Mail.Send",
    "MailboxSettings.Read",
    "MailboxSettings.ReadWrite",
    "Calendars.Read",
    "Calendars.ReadWrite",
    "Contacts.Read",
    "Contacts.ReadWrite",
    "MailboxFolder.Read",
    "MailboxFolder.ReadWrite",
    "MailboxItem.Read",
    "MailboxItem.ReadWrite",
    "MailboxItem.Export",
    "MailboxItem.ImportExport",
    "MailboxConfigItem.Read",
    "MailboxConfigItem.ReadWrite",
    "MailTips.ReadBasic.All",
    "Mail-Advanced.ReadWrite.All",
    "EWS.AccessAsApp",
    "SMTP.SendAsApp",
    "Mail Full Access",
    "Exchange Full Access",
];

pub(super) async fn run(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    match command.cmdlet.to_ascii_lowercase().as_str() {
        "new-serviceprincipal" => new_principal(tenant, db, command).await,
        "get-serviceprincipal" => principals(db, command).await,
        "remove-serviceprincipal" => {
            let (id, _) = principal(db, need(command, "Identity")?).await?;
            sqlx::query("DELETE FROM management_role_assignment WHERE principal = ?")
                .bind(&id)
                .execute(&mut *db)
                .await?;
            sqlx::query("DELETE FROM exchange_principal WHERE object_id = ?").bind(&id).execute(db).await?;
            Ok(Vec::new())
        }
        "new-managementscope" => new_scope(db, command).await,
        "set-managementscope" => {
            let text = checked(need(command, "RecipientRestrictionFilter")?)?;
            let query = sqlx::query("UPDATE management_scope SET filter = ? WHERE name = ?").bind(text);
            let identity = need(command, "Identity")?;
            match query.bind(identity).execute(db).await?.rows_affected() {
                0 => absent(identity),
                _ => Ok(Vec::new()),
            }
        }
        "get-managementscope" => scopes(db, command).await,
        "remove-managementscope" => remove_scope(tenant, db, command).await,
        "new-managementroleassignment" => assign(tenant, db, command).await,
        "get-managementroleassignment" => assignments(db, command).await,
        "remove-managementroleassignment" => unassign(tenant, db, command).await,
        "test-serviceprincipalauthorization" => test(db, command).await,
        other => said(format!("The term '{other}' is not recognized as a name of a cmdlet.")),
    }
}

/// Object id and application id of a service principal Exchange knows.
async fn principal(db: &mut SqliteConnection, key: &str) -> Result<(String, String), Failure> {
    let row = sqlx::query(
        "SELECT object_id, app_id FROM exchange_principal
         WHERE object_id = ?1 COLLATE NOCASE OR app_id = ?1 COLLATE NOCASE OR display_name = ?1",
    )
    .bind(key)
    .fetch_optional(db)
    .await?;
    match row {
        Some(row) => Ok((row.get("object_id"), row.get("app_id"))),
        None => absent(key),
    }
}

fn principal_view(row: &SqliteRow) -> Value {
    let id: String = row.get("object_id");
    json!({
        "DisplayName": row.get::<String, _>("display_name"), "ObjectId": id, "Identity": id,
        "AppId": row.get::<String, _>("app_id"), "Sid": format!("S-1-5-21-{id}"),
    })
}

async fn new_principal(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    let app_id = need(command, "AppId")?.to_ascii_lowercase();
    let id = match command.get("ObjectId") {
        Some(id) => id,
        None => need(command, "ServiceId")?,
    };
    let id = id.to_ascii_lowercase();
    for guid in [&app_id, &id] {
        if !postroom_model::connection::is_guid(guid) {
            return said(format!("'{}' is not a GUID.", guid.chars().take(80).collect::<String>()));
        }
    }
    let name: String = command.get("DisplayName").unwrap_or(&app_id).chars().take(256).collect();
    // As in the service, a wrong object id is taken: it only leads nowhere later.
    let done = sqlx::query(
        "INSERT INTO exchange_principal (object_id, app_id, display_name, since) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&id)
    .bind(&app_id)
    .bind(&name)
    .bind(tenant.now())
    .execute(&mut *db)
    .await?;
    if done.rows_affected() == 0 {
        return said(format!("The service principal '{id}' already exists."));
    }
    let row =
        sqlx::query("SELECT * FROM exchange_principal WHERE object_id = ?").bind(&id).fetch_one(db).await?;
    Ok(vec![principal_view(&row)])
}

async fn principals(db: &mut SqliteConnection, command: &Filled) -> Output {
    let rows =
        sqlx::query("SELECT * FROM exchange_principal ORDER BY rowid LIMIT 1000").fetch_all(&mut *db).await?;
    let Some(identity) = command.get("Identity") else {
        return Ok(rows.iter().map(principal_view).collect());
    };
    let (id, _) = principal(db, identity).await?;
    Ok(rows.iter().filter(|row| row.get::<&str, _>("object_id") == id).map(principal_view).collect())
}

fn checked(text: &str) -> Result<&str, Failure> {
    filter::read(text).map_err(Failure::Said)?;
    Ok(text)
}

fn scope_view(name: &str, filter: &str) -> Value {
    json!({"Name": name, "Identity": name, "RecipientFilter": filter, "ScopeRestrictionType": "RecipientScope"})
}

async fn new_scope(db: &mut SqliteConnection, command: &Filled) -> Output {
    let name = need(command, "Name")?;
    if name.chars().count() > 64 {
        return said("The name of a management scope has at most 64 characters.");
    }
    let text = checked(need(command, "RecipientRestrictionFilter")?)?;
    let done =
        sqlx::query("INSERT INTO management_scope (name, filter) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(text)
            .execute(db)
            .await?;
    match done.rows_affected() {
        0 => said(format!("The management scope '{name}' already exists.")),
        _ => Ok(vec![scope_view(name, text)]),
    }
}

async fn scopes(db: &mut SqliteConnection, command: &Filled) -> Output {
    let rows = sqlx::query("SELECT name, filter FROM management_scope ORDER BY rowid LIMIT 1000")
        .fetch_all(db)
        .await?;
    let wanted = command.get("Identity");
    let fits = |row: &&SqliteRow| wanted.is_none_or(|name| name.eq_ignore_ascii_case(row.get("name")));
    let found: Vec<Value> =
        rows.iter().filter(fits).map(|row| scope_view(row.get("name"), row.get("filter"))).collect();
    match (wanted, found.is_empty()) {
        (Some(name), true) => absent(name),
        _ => Ok(found),
    }
}

async fn remove_scope(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    let name = need(command, "Identity")?;
    let used = sqlx::query(
        "SELECT 1 FROM management_role_assignment WHERE scope = ? COLLATE NOCASE AND until IS NULL",
    );
    if used.bind(name).fetch_optional(&mut *db).await?.is_some() {
        return said(format!(
            "The management scope '{name}' is in use by role assignments and cannot be removed."
        ));
    }
    // Assignments that were removed and are still effective need the scope no longer than themselves.
    sqlx::query("DELETE FROM management_role_assignment WHERE until <= ?")
        .bind(tenant.now())
        .execute(&mut *db)
        .await?;
    match sqlx::query("DELETE FROM management_scope WHERE name = ?")
        .bind(name)
        .execute(db)
        .await?
        .rows_affected()
    {
        0 => absent(name),
        _ => Ok(Vec::new()),
    }
}

fn assignment_view(row: &SqliteRow) -> Value {
    let name: String = row.get("name");
    let scope: Option<String> = row.get("scope");
    json!({
        "Name": name, "Identity": name, "Role": row.get::<String, _>("role"),
        "RoleAssignee": row.get::<String, _>("principal"), "RoleAssigneeType": "ServicePrincipal",
        "App": row.get::<String, _>("app_id"), "CustomResourceScope": scope,
    })
}

const ASSIGNMENTS: &str = "SELECT r.*, e.app_id FROM management_role_assignment r
     JOIN exchange_principal e ON e.object_id = r.principal WHERE r.until IS NULL";

async fn assign(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    let (id, _) = principal(db, need(command, "App")?).await?;
    let asked = need(command, "Role")?;
    let role =
        ROLES.iter().map(|role| format!("Application {role}")).find(|role| role.eq_ignore_ascii_case(asked));
    let Some(role) = role else { return absent(asked) };
    let scope: Option<String> = match command.get("CustomResourceScope") {
        Some(name) => {
            let found: Option<String> =
                sqlx::query_scalar("SELECT name FROM management_scope WHERE name = ?")
                    .bind(name)
                    .fetch_optional(&mut *db)
                    .await?;
            if found.is_none() {
                return absent(name);
            }
            found
        }
        None => None,
    };
    let name =
        command.get("Name").map_or_else(|| format!("{role}-{id}"), |name| name.chars().take(128).collect());
    sqlx::query("DELETE FROM management_role_assignment WHERE name = ? AND until IS NOT NULL")
        .bind(&name)
        .execute(&mut *db)
        .await?;
    let done = sqlx::query(
        "INSERT INTO management_role_assignment (name, principal, role, scope, since) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&name)
    .bind(&id)
    .bind(&role)
    .bind(&scope)
    .bind(tenant.effective())
    .execute(&mut *db)
    .await?;
    if done.rows_affected() == 0 {
        return said(format!("The role assignment '{name}' already exists."));
    }
    let query = format!("{ASSIGNMENTS} AND r.name = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(&name).fetch_one(db).await?;
    Ok(vec![assignment_view(&row)])
}

async fn assignments(db: &mut SqliteConnection, command: &Filled) -> Output {
    let assignee = match command.get("RoleAssignee") {
        Some(key) => Some(principal(db, key).await?.0),
        None => None,
    };
    let query = format!("{ASSIGNMENTS} ORDER BY r.rowid LIMIT 1000");
    let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(db).await?;
    let wanted = command.get("Identity");
    let fits = |row: &&SqliteRow| {
        assignee.as_deref().is_none_or(|id| id == row.get::<&str, _>("principal"))
            && wanted.is_none_or(|name| name.eq_ignore_ascii_case(row.get("name")))
    };
    Ok(rows.iter().filter(fits).map(assignment_view).collect())
}

async fn unassign(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    let name = need(command, "Identity")?;
    let done =
        sqlx::query("UPDATE management_role_assignment SET until = ? WHERE name = ? AND until IS NULL")
            .bind(tenant.effective())
            .bind(name)
            .execute(db)
            .await?;
    if done.rows_affected() == 0 { absent(name) } else { Ok(Vec::new()) }
}

/// Looks past the caches: what is assigned counts at once.
async fn test(db: &mut SqliteConnection, command: &Filled) -> Output {
    let (_, app_id) = principal(db, need(command, "Identity")?).await?;
    let resource = match command.get("Resource") {
        Some(key) => Some(mailbox(db, key).await?),
        None => None,
    };
    let at = resource.as_ref().map_or(Target { id: "", address: "" }, target);
    let grants = access::assignments(db, &app_id, at, None).await?;
    Ok(grants.iter().map(|grant| grant.shown(resource.is_some())).collect())
}
