//! Application access policies, the older way to keep an application to some mailboxes
//! (<https://learn.microsoft.com/exchange/permissions-exo/application-access-policies>).

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::access::{self, Verdict};
use super::cmdlets::{Failure, Output, absent, group, mailbox, need, said, target};
use super::script::Filled;
use crate::state::{Tenant, random_guid};

/// Most policies of a tenant.
const MOST: i64 = 300;

pub(super) async fn run(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    match command.cmdlet.to_ascii_lowercase().split('-').next().unwrap_or_default() {
        "new" => create(tenant, db, command).await,
        "test" => test(tenant, db, command).await,
        "remove" => {
            let identity = need(command, "Identity")?;
            let done = sqlx::query("UPDATE access_policy SET until = ? WHERE id = ? AND until IS NULL")
                .bind(tenant.effective())
                .bind(identity)
                .execute(db)
                .await?;
            if done.rows_affected() == 0 { absent(identity) } else { Ok(Vec::new()) }
        }
        _ => {
            let rows =
                sqlx::query("SELECT * FROM access_policy WHERE until IS NULL ORDER BY rowid LIMIT 1000")
                    .fetch_all(db)
                    .await?;
            let wanted = command.get("Identity");
            let fits = |row: &&SqliteRow| wanted.is_none_or(|id| id.eq_ignore_ascii_case(row.get("id")));
            Ok(rows.iter().filter(fits).map(view).collect())
        }
    }
}

fn view(row: &SqliteRow) -> Value {
    let scope: String = row.get("scope");
    json!({
        "Identity": row.get::<String, _>("id"), "AppId": row.get::<String, _>("app_id"), "ScopeName": scope,
        "ScopeIdentity": scope, "AccessRight": row.get::<String, _>("access_right"),
        "Description": row.get::<String, _>("description"), "IsValid": true,
    })
}

/// A policy names a group, or a mailbox.
async fn scope(db: &mut SqliteConnection, key: &str) -> Result<String, Failure> {
    match group(db, key).await {
        Err(Failure::Said(_)) => Ok(mailbox(db, key).await?.1),
        other => other,
    }
}

async fn create(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    let right = match need(command, "AccessRight")? {
        text if text.eq_ignore_ascii_case("RestrictAccess") => "RestrictAccess",
        text if text.eq_ignore_ascii_case("DenyAccess") => "DenyAccess",
        _ => return said("The access right must be RestrictAccess or DenyAccess."),
    };
    let scope = scope(db, need(command, "PolicyScopeGroupId")?).await?;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM access_policy").fetch_one(&mut *db).await?;
    if count >= MOST {
        return said("The total size of App Access Policies exceeded the limit.");
    }
    for app_id in need(command, "AppId")?.split(',').map(|id| id.trim().to_ascii_lowercase()) {
        if !postroom_model::connection::is_guid(&app_id) {
            return said("The parameter 'AppId' must hold application ids.");
        }
        let id = format!("{}\\{app_id}:{};{}", tenant.tenant_id, scope, random_guid(&tenant.env));
        sqlx::query(
            "INSERT INTO access_policy (id, app_id, scope, access_right, description, since)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(&app_id)
        .bind(&scope)
        .bind(right)
        .bind(command.get("Description").unwrap_or_default().chars().take(500).collect::<String>())
        .bind(tenant.effective())
        .execute(&mut *db)
        .await?;
    }
    let rows = sqlx::query("SELECT * FROM access_policy WHERE until IS NULL ORDER BY rowid DESC LIMIT 1")
        .fetch_all(db)
        .await?;
    Ok(rows.iter().map(view).collect())
}

/// Says at once what will hold; the mailboxes follow later.
async fn test(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    let app_id = need(command, "AppId")?.to_ascii_lowercase();
    let mailbox = mailbox(db, need(command, "Identity")?).await?;
    let verdict = access::policies(db, &app_id, target(&mailbox), tenant.effective()).await?;
    let result = if verdict == Verdict::Granted { "Granted" } else { "Denied" };
    Ok(vec![json!({"AppId": app_id, "Mailbox": mailbox.1, "AccessCheckResult": result})])
}
