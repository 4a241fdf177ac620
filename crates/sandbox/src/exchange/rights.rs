//! What opens a mailbox to IMAP and SMTP: permissions at the mailbox, and the switches of the protocols
//! (<https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission>).

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};

use super::cmdlets::{Failure, Output, mailbox, need, said};
use super::script::Filled;
use crate::doors::sign_in::Trustee;
use crate::state::setting;

/// Setting that holds whether the organisation has switched submission off.
const SMTP_OFF: &str = "smtp_client_authentication_disabled";

/// Whether Exchange knows the application at all; a wrong object id is known too, and leads nowhere later.
pub(crate) async fn registered(db: &mut SqliteConnection, app_id: &str) -> sqlx::Result<bool> {
    let found = sqlx::query("SELECT 1 FROM exchange_principal WHERE app_id = ?").bind(app_id);
    Ok(found.fetch_optional(db).await?.is_some())
}

/// Whether a permission at the mailbox was given. Of an application the object id must be that of its real service
/// principal.
pub(crate) async fn has(
    db: &mut SqliteConnection,
    by: &Trustee,
    mailbox: &str,
    right: &str,
) -> sqlx::Result<bool> {
    let rows = match by {
        Trustee::Application(app_id) => sqlx::query(
            "SELECT m.rights FROM mailbox_permission m JOIN exchange_principal e ON e.object_id = m.trustee
                 JOIN service_principal p ON p.id = e.object_id AND p.app_id = e.app_id
                 WHERE e.app_id = ? AND m.mailbox = ?",
        )
        .bind(app_id)
        .bind(mailbox)
        .fetch_all(db)
        .await?,
        Trustee::Person(id) => sqlx::query(
            "SELECT m.rights FROM mailbox_permission m JOIN user u ON m.trustee IN (u.id, lower(u.address))
                 WHERE u.id = ? AND m.mailbox = ?",
        )
        .bind(id)
        .bind(mailbox)
        .fetch_all(db)
        .await?,
    };
    let given = |row: &sqlx::sqlite::SqliteRow| {
        row.get::<&str, _>("rights").split(',').any(|one| one.trim().eq_ignore_ascii_case(right))
    };
    Ok(rows.iter().any(given))
}

/// Whether the mailbox is open to IMAP.
pub(crate) async fn imap_enabled(db: &mut SqliteConnection, mailbox: &str) -> sqlx::Result<bool> {
    let off: Option<bool> = sqlx::query_scalar("SELECT imap_off FROM client_access WHERE mailbox = ?")
        .bind(mailbox)
        .fetch_optional(db)
        .await?;
    Ok(off != Some(true))
}

/// Whether the mailbox is open to EWS; none is as the organisation says.
pub(crate) async fn ews_enabled(db: &mut SqliteConnection, mailbox: &str) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar("SELECT enabled FROM ews_access WHERE mailbox = ?")
        .bind(mailbox)
        .fetch_optional(db)
        .await
}

/// Whose setting forbids submission: `Mailbox` or `Tenant`. The mailbox's own wins.
pub(crate) async fn submission_disabled(
    db: &mut SqliteConnection,
    mailbox: &str,
) -> sqlx::Result<Option<&'static str>> {
    let own: Option<Option<bool>> =
        sqlx::query_scalar("SELECT smtp_off FROM client_access WHERE mailbox = ?")
            .bind(mailbox)
            .fetch_optional(&mut *db)
            .await?;
    Ok(match own.flatten() {
        Some(true) => Some("Mailbox"),
        Some(false) => None,
        None => off_for_all(db).await?.then_some("Tenant"),
    })
}

async fn off_for_all(db: &mut SqliteConnection) -> sqlx::Result<bool> {
    Ok(setting(db, SMTP_OFF).await?.is_some_and(|value| value == b"true"))
}

/// `true` or `false` of a parameter; none when it is absent or `$null`.
fn switch(command: &Filled, name: &str) -> Result<Option<bool>, Failure> {
    match command.get(name) {
        None | Some("null") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => said(format!("The value of '{name}' is neither $true nor $false.")),
    }
}

pub(super) async fn run(db: &mut SqliteConnection, command: &Filled) -> Output {
    match command.cmdlet.to_ascii_lowercase().as_str() {
        "set-casmailbox" => set_mailbox(db, command).await,
        "get-casmailbox" => {
            let (id, address) = mailbox(db, need(command, "Identity")?).await?;
            Ok(vec![shown(db, &id, &address).await?])
        }
        "set-transportconfig" => {
            if let Some(off) = switch(command, "SmtpClientAuthenticationDisabled")? {
                sqlx::query("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)")
                    .bind(SMTP_OFF)
                    .bind(off.to_string().into_bytes())
                    .execute(db)
                    .await?;
            }
            Ok(Vec::new())
        }
        _ => Ok(vec![json!({"SmtpClientAuthenticationDisabled": off_for_all(db).await?})]),
    }
}

async fn set_mailbox(db: &mut SqliteConnection, command: &Filled) -> Output {
    let (id, _) = mailbox(db, need(command, "Identity")?).await?;
    let write = async |db: &mut SqliteConnection, query: &'static str, value: Option<bool>| {
        sqlx::query(query).bind(&id).bind(value).execute(db).await
    };
    if let Some(on) = switch(command, "ImapEnabled")? {
        let query = "INSERT INTO client_access (mailbox, imap_off) VALUES (?, ?)
                     ON CONFLICT (mailbox) DO UPDATE SET imap_off = excluded.imap_off";
        write(db, query, Some(!on)).await?;
    }
    if command.get("EwsEnabled").is_some() {
        match switch(command, "EwsEnabled")? {
            None => {
                sqlx::query("DELETE FROM ews_access WHERE mailbox = ?").bind(&id).execute(&mut *db).await?;
            }
            Some(on) => {
                let query = "INSERT OR REPLACE INTO ews_access (mailbox, enabled) VALUES (?, ?)";
                write(db, query, Some(on)).await?;
            }
        }
    }
    if command.get("SmtpClientAuthenticationDisabled").is_some() {
        let query = "INSERT INTO client_access (mailbox, smtp_off) VALUES (?, ?)
                     ON CONFLICT (mailbox) DO UPDATE SET smtp_off = excluded.smtp_off";
        write(db, query, switch(command, "SmtpClientAuthenticationDisabled")?).await?;
    }
    Ok(Vec::new())
}

async fn shown(db: &mut SqliteConnection, id: &str, address: &str) -> Result<Value, Failure> {
    let off: Option<Option<bool>> =
        sqlx::query_scalar("SELECT smtp_off FROM client_access WHERE mailbox = ?")
            .bind(id)
            .fetch_optional(&mut *db)
            .await?;
    Ok(json!({
        "Identity": address,
        "PrimarySmtpAddress": address,
        "ImapEnabled": imap_enabled(db, id).await?,
        "EwsEnabled": ews_enabled(db, id).await?,
        "SmtpClientAuthenticationDisabled": off.flatten(),
    }))
}
