//! The tenant on one page: registrations, permissions, credentials, Exchange, users, the last requests. It shows no
//! secret and changes nothing.

use axum::response::Response;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::answer::{Refusal, iso};
use crate::directory::catalogue;
use crate::entra::certificate::KnownKey;
use crate::entra::pages::{self, escape};
use crate::state::{DOMAIN, Tenant};

/// Requests shown.
const MOST_REQUESTS: usize = 50;

/// `GET /_sandbox/`.
pub(super) async fn page(tenant: &Tenant) -> Result<Response, Refusal> {
    let mut tx = tenant.begin().await?;
    let mut body = format!(
        "<p>{} &middot; tenant <code>{}</code> &middot; {}</p>",
        escape(DOMAIN),
        escape(&tenant.tenant_id),
        iso(tenant.now())
    );
    body.push_str("<h2>App registrations</h2>");
    body.push_str(&registrations(tenant, &mut tx).await?);
    body.push_str("<h2>Exchange role assignments</h2>");
    body.push_str(&exchange_roles(tenant, &mut tx).await?);
    body.push_str("<h2>Application access policies</h2>");
    body.push_str(&policies(tenant, &mut tx).await?);
    body.push_str("<h2>Users and mailboxes</h2>");
    body.push_str(&users(&mut tx).await?);
    drop(tx);
    body.push_str("<h2>Last requests</h2>");
    body.push_str(&requests(tenant));
    Ok(pages::answer(200, "Contoso", &body))
}

/// A table; cells are HTML already. Without rows a sentence.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "<p>None.</p>".to_owned();
    }
    let head: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    let line = |row: &Vec<String>| {
        let cells: String = row.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        format!("<tr>{cells}</tr>")
    };
    let lines: String = rows.iter().map(line).collect();
    format!("<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>")
}

/// Lines of one cell.
fn lines(items: &[String]) -> String {
    if items.is_empty() { "&ndash;".to_owned() } else { items.join("<br>") }
}

/// The end of a credential, marked when it is past.
fn until(end: i64, now: i64) -> String {
    if end <= now {
        format!("<span class=\"no\">expired {}</span>", iso(end))
    } else {
        format!("until {}", iso(end))
    }
}

async fn registrations(tenant: &Tenant, db: &mut SqliteConnection) -> sqlx::Result<String> {
    let rows = sqlx::query(
        "SELECT a.id, a.app_id, a.body, p.id AS principal FROM application a
         LEFT JOIN service_principal p ON p.app_id = a.app_id ORDER BY a.rowid DESC LIMIT 100",
    )
    .fetch_all(&mut *db)
    .await?;
    let mut out = Vec::new();
    for row in &rows {
        let (id, app_id): (String, String) = (row.get("id"), row.get("app_id"));
        let principal: Option<String> = row.get("principal");
        let body: Value = serde_json::from_str(row.get("body")).unwrap_or_default();
        let ids = format!(
            "client <code>{}</code><br>object <code>{}</code><br>service principal <code>{}</code>",
            escape(&app_id),
            escape(&id),
            escape(principal.as_deref().unwrap_or("none"))
        );
        out.push(vec![
            escape(body["displayName"].as_str().unwrap_or_default()),
            ids,
            permissions(tenant, db, &body, principal.as_deref().unwrap_or_default()).await?,
            credentials(tenant, db, &id, &body).await?,
        ]);
    }
    Ok(table(&["Name", "Ids", "Permissions", "Credentials"], &out))
}

/// Permissions asked for or granted; a tick for those in new tokens.
async fn permissions(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    body: &Value,
    principal: &str,
) -> sqlx::Result<String> {
    let rows = sqlx::query(
        "SELECT r.id, r.role, p.app_id FROM role_assignment r JOIN service_principal p ON p.id = r.resource
         WHERE r.principal = ? ORDER BY r.rowid",
    )
    .bind(principal)
    .fetch_all(&mut *db)
    .await?;
    let mut granted: Vec<(String, String, bool)> = Vec::new();
    for row in &rows {
        let arrived = tenant.arrived(db, row.get("id")).await?;
        granted.push((row.get("app_id"), row.get("role"), arrived));
    }
    let mut items = Vec::new();
    let name = |app_id: &str, role: &str| {
        let resource = catalogue::resource(app_id);
        let value = resource.and_then(|resource| catalogue::role_value(resource, role)).unwrap_or(role);
        escape(&format!("{} ({})", value, resource.map_or(app_id, |resource| resource.name)))
    };
    for access in body["requiredResourceAccess"].as_array().into_iter().flatten().take(20) {
        let app_id = access["resourceAppId"].as_str().unwrap_or_default();
        for one in access["resourceAccess"].as_array().into_iter().flatten().take(50) {
            let id = one["id"].as_str().unwrap_or_default();
            if one["type"] == "Role" && !granted.iter().any(|(app, role, _)| app == app_id && role == id) {
                items.push(format!("<span class=\"no\">&#10007; not granted</span> {}", name(app_id, id)));
            }
        }
    }
    for (app_id, role, arrived) in &granted {
        let mark = if *arrived {
            "<span class=\"ok\">&#10003; granted</span>"
        } else {
            "<span class=\"no\">&#8230; on its way</span>"
        };
        items.push(format!("{mark} {}", name(app_id, role)));
    }
    Ok(lines(&items))
}

async fn credentials(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    id: &str,
    body: &Value,
) -> sqlx::Result<String> {
    let now = tenant.now();
    let rows = sqlx::query(
        "SELECT display_name, hint, ends_at FROM secret WHERE application = ? ORDER BY rowid LIMIT 50",
    )
    .bind(id)
    .fetch_all(&mut *db)
    .await?;
    let secret = |row: &SqliteRow| {
        let name: Option<String> = row.get("display_name");
        format!(
            "secret {} <code>{}&hellip;</code> {}",
            escape(name.as_deref().unwrap_or_default()),
            escape(row.get("hint")),
            until(row.get("ends_at"), now)
        )
    };
    let mut items: Vec<String> = rows.iter().map(secret).collect();
    for key in KnownKey::of(body) {
        items.push(format!("certificate <code>{}</code> {}", escape(&key.id), until(key.end, now)));
    }
    let rows =
        sqlx::query("SELECT name, issuer, subject FROM federated WHERE application = ? ORDER BY rowid")
            .bind(id)
            .fetch_all(db)
            .await?;
    items.extend(rows.iter().map(|row| {
        let [name, issuer, subject] = ["name", "issuer", "subject"].map(|column| escape(row.get(column)));
        format!("federated {name}: {subject} at {issuer}")
    }));
    Ok(lines(&items))
}

/// Whether a change of Exchange holds already.
fn state(row: &SqliteRow, now: i64) -> String {
    let (since, until): (i64, Option<i64>) = (row.get("since"), row.get("until"));
    match until {
        Some(until) => format!("removed, effective until {}", iso(until)),
        None if since > now => format!("effective from {}", iso(since)),
        None => "<span class=\"ok\">&#10003; effective</span>".to_owned(),
    }
}

async fn exchange_roles(tenant: &Tenant, db: &mut SqliteConnection) -> sqlx::Result<String> {
    let rows = sqlx::query(
        "SELECT r.role, r.scope, r.since, r.until, e.display_name, s.filter FROM management_role_assignment r
         JOIN exchange_principal e ON e.object_id = r.principal LEFT JOIN management_scope s ON s.name = r.scope
         WHERE r.until IS NULL OR r.until > ? ORDER BY r.rowid LIMIT 200",
    )
    .bind(tenant.now())
    .fetch_all(db)
    .await?;
    let line = |row: &SqliteRow| {
        let (scope, filter): (Option<String>, Option<String>) = (row.get("scope"), row.get("filter"));
        vec![
            escape(row.get("display_name")),
            escape(row.get("role")),
            escape(scope.as_deref().unwrap_or("the whole organisation")),
            escape(filter.as_deref().unwrap_or_default()),
            state(row, tenant.now()),
        ]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(line).collect();
    Ok(table(&["Application", "Role", "Scope", "Filter", "State"], &rows))
}

async fn policies(tenant: &Tenant, db: &mut SqliteConnection) -> sqlx::Result<String> {
    let rows =
        sqlx::query("SELECT * FROM access_policy WHERE until IS NULL OR until > ? ORDER BY rowid LIMIT 200")
            .bind(tenant.now())
            .fetch_all(db)
            .await?;
    let line = |row: &SqliteRow| {
        let [app, right, scope, words] =
            ["app_id", "access_right", "scope", "description"].map(|column| escape(row.get(column)));
        vec![format!("<code>{app}</code>"), right, scope, words, state(row, tenant.now())]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(line).collect();
    Ok(table(&["Application", "Right", "Scope", "Description", "State"], &rows))
}

async fn users(db: &mut SqliteConnection) -> sqlx::Result<String> {
    let rows = sqlx::query(
        "SELECT u.address, u.display_name, u.admin, count(m.seq) AS messages, coalesce(sum(NOT m.is_read), 0) AS unread
         FROM user u LEFT JOIN message m ON m.mailbox = u.id GROUP BY u.id ORDER BY u.rowid LIMIT 500",
    )
    .fetch_all(db)
    .await?;
    let line = |row: &SqliteRow| {
        vec![
            escape(row.get("address")),
            escape(row.get("display_name")),
            if row.get("admin") { "Global Administrator".to_owned() } else { String::new() },
            row.get::<i64, _>("messages").to_string(),
            row.get::<i64, _>("unread").to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(line).collect();
    Ok(table(&["Address", "Name", "Directory role", "Messages", "Unread"], &rows))
}

fn requests(tenant: &Tenant) -> String {
    let log = tenant.log();
    let line = |one: &Value| {
        vec![
            escape(one["method"].as_str().unwrap_or_default()),
            format!("<code>{}</code>", escape(one["path"].as_str().unwrap_or_default())),
            one["status"].to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = log.iter().rev().take(MOST_REQUESTS).map(line).collect();
    table(&["Method", "Path", "Status"], &rows)
}
