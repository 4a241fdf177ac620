//! Messages and folders in the database. Every change takes a number; delta is made of these numbers alone.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{ids, mime};
use crate::answer::Refusal;
use crate::directory::users;
use crate::state::{Tenant, step};

/// Columns of a message; the raw bytes are read only where the `?` is true.
pub(crate) const COLUMNS: &str =
    "seq, mailbox, folder, ordinary_id, immutable_id, entered, change, is_draft, is_read,
     internet_message_id, received_at, created_at, modified_at, facts, marks";

/// A mailbox.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    pub(crate) id: String,
    pub(crate) address: String,
}

/// A stored message.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) mailbox: String,
    pub(crate) folder: String,
    pub(crate) ordinary_id: String,
    pub(crate) immutable_id: String,
    pub(crate) entered: i64,
    pub(crate) change: i64,
    pub(crate) is_draft: bool,
    pub(crate) is_read: bool,
    pub(crate) internet_message_id: String,
    pub(crate) received_at: i64,
    pub(crate) created_at: i64,
    pub(crate) modified_at: i64,
    pub(crate) facts: Value,
    pub(crate) marks: Value,
    pub(crate) raw: Option<Vec<u8>>,
}

impl Stored {
    pub(crate) fn read(row: &SqliteRow) -> Self {
        Self {
            seq: row.get("seq"),
            mailbox: row.get("mailbox"),
            folder: row.get("folder"),
            ordinary_id: row.get("ordinary_id"),
            immutable_id: row.get("immutable_id"),
            entered: row.get("entered"),
            change: row.get("change"),
            is_draft: row.get("is_draft"),
            is_read: row.get("is_read"),
            internet_message_id: row.get("internet_message_id"),
            received_at: row.get("received_at"),
            created_at: row.get("created_at"),
            modified_at: row.get("modified_at"),
            facts: serde_json::from_str(row.get("facts")).unwrap_or_default(),
            marks: serde_json::from_str(row.get("marks")).unwrap_or_default(),
            raw: row.try_get("raw").ok().flatten(),
        }
    }

    /// Its id in the family that was asked for.
    pub(crate) fn id(&self, immutable: bool) -> &str {
        if immutable { &self.immutable_id } else { &self.ordinary_id }
    }
}

/// The mailbox of an id or address.
pub(crate) async fn mailbox(db: &mut SqliteConnection, key: &str) -> sqlx::Result<Option<Mailbox>> {
    let row = users::find(db, key).await?;
    Ok(row.map(|row| Mailbox { id: row.get("id"), address: row.get("address") }))
}

/// The id of a folder by id or well-known name.
pub(crate) async fn folder(db: &mut SqliteConnection, mailbox: &str, key: &str) -> Result<String, Refusal> {
    let id: Option<String> =
        sqlx::query_scalar("SELECT id FROM folder WHERE mailbox = ? AND (id = ? OR well_known = ?)")
            .bind(mailbox)
            .bind(key)
            .bind(key.to_ascii_lowercase())
            .fetch_optional(db)
            .await?;
    match id {
        Some(id) => Ok(id),
        // A word is a well-known name that this mailbox lacks; anything else long enough was meant as an id.
        None if ids::well_formed(key) || key.chars().all(|c| c.is_ascii_alphabetic()) => {
            Err(Refusal::item_not_found())
        }
        None => Err(Refusal::new(400, "ErrorInvalidIdMalformed", "Id is malformed.")),
    }
}

/// A message of this mailbox by either id.
pub(crate) async fn message(db: &mut SqliteConnection, mailbox: &str, id: &str) -> Result<Stored, Refusal> {
    if !ids::well_formed(id) {
        return Err(Refusal::new(400, "ErrorInvalidIdMalformed", "Id is malformed."));
    }
    let query = format!(
        "SELECT {COLUMNS}, raw FROM message WHERE mailbox = ? AND (ordinary_id = ? OR immutable_id = ?)"
    );
    let row =
        sqlx::query(sqlx::AssertSqlSafe(query)).bind(mailbox).bind(id).bind(id).fetch_optional(db).await?;
    row.map(|row| Stored::read(&row)).ok_or_else(Refusal::item_not_found)
}

/// A message by its number in the database.
pub(crate) async fn by_seq(db: &mut SqliteConnection, seq: i64) -> Result<Stored, Refusal> {
    let query = format!("SELECT {COLUMNS}, raw FROM message WHERE seq = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(seq).fetch_optional(db).await?;
    row.map(|row| Stored::read(&row)).ok_or_else(Refusal::item_not_found)
}

/// A message about to be stored.
pub(crate) struct Arrival<'a> {
    pub(crate) mailbox: &'a str,
    /// Folder id or well-known name.
    pub(crate) folder: &'a str,
    pub(crate) raw: Vec<u8>,
    pub(crate) is_draft: bool,
    pub(crate) is_read: bool,
    pub(crate) marks: Value,
}

/// Stores a message; gives it as stored.
pub(crate) async fn insert(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    arrival: Arrival<'_>,
) -> Result<Stored, Refusal> {
    let folder = folder(db, arrival.mailbox, arrival.folder).await?;
    let (internet_message_id, facts) = mime::facts(&arrival.raw);
    let change = step(db, "change").await?;
    let now = tenant.now();
    let mut stored = Stored {
        seq: 0,
        mailbox: arrival.mailbox.to_owned(),
        folder,
        ordinary_id: ids::ordinary(&tenant.env),
        immutable_id: ids::immutable(&tenant.env),
        entered: change,
        change,
        is_draft: arrival.is_draft,
        is_read: arrival.is_read,
        internet_message_id,
        received_at: now,
        created_at: now,
        modified_at: now,
        facts,
        marks: if arrival.marks.is_null() { json!({}) } else { arrival.marks },
        raw: Some(arrival.raw),
    };
    stored.seq = sqlx::query_scalar(
        "INSERT INTO message (mailbox, folder, ordinary_id, immutable_id, entered, change, is_draft, is_read,
         internet_message_id, received_at, created_at, modified_at, facts, marks, raw)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq",
    )
    .bind(&stored.mailbox)
    .bind(&stored.folder)
    .bind(&stored.ordinary_id)
    .bind(&stored.immutable_id)
    .bind(stored.entered)
    .bind(stored.change)
    .bind(stored.is_draft)
    .bind(stored.is_read)
    .bind(&stored.internet_message_id)
    .bind(stored.received_at)
    .bind(stored.created_at)
    .bind(stored.modified_at)
    .bind(stored.facts.to_string())
    .bind(stored.marks.to_string())
    .bind(&stored.raw)
    .fetch_one(&mut *db)
    .await?;
    super::subscriptions::arrived(tenant, db, &stored).await?;
    Ok(stored)
}

/// Writes back what a change may touch, under a new change number.
pub(crate) async fn update(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    stored: &mut Stored,
) -> Result<(), Refusal> {
    stored.change = step(db, "change").await?;
    stored.modified_at = tenant.now();
    if let Some(raw) = &stored.raw {
        (stored.internet_message_id, stored.facts) = mime::facts(raw);
    }
    sqlx::query(
        "UPDATE message SET folder = ?, ordinary_id = ?, entered = ?, change = ?, is_draft = ?, is_read = ?,
         internet_message_id = ?, received_at = ?, modified_at = ?, facts = ?, marks = ?, raw = coalesce(?, raw)
         WHERE seq = ?",
    )
    .bind(&stored.folder)
    .bind(&stored.ordinary_id)
    .bind(stored.entered)
    .bind(stored.change)
    .bind(stored.is_draft)
    .bind(stored.is_read)
    .bind(&stored.internet_message_id)
    .bind(stored.received_at)
    .bind(stored.modified_at)
    .bind(stored.facts.to_string())
    .bind(stored.marks.to_string())
    .bind(&stored.raw)
    .bind(stored.seq)
    .execute(db)
    .await?;
    Ok(())
}

/// Moves a message: a new ordinary id, the same immutable one, and a removal in the folder it leaves.
pub(crate) async fn relocate(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    stored: &mut Stored,
    folder: &str,
) -> Result<(), Refusal> {
    let moved = stored.folder != folder;
    if moved {
        note_removal(db, stored).await?;
        folder.clone_into(&mut stored.folder);
        stored.ordinary_id = ids::ordinary(&tenant.env);
        // The change that follows is the one that brings it in.
        stored.entered = crate::state::counter(db, "change").await? + 1;
    }
    update(tenant, db, stored).await?;
    if moved { super::subscriptions::arrived(tenant, db, stored).await } else { Ok(()) }
}

/// Removes a message for good.
pub(crate) async fn remove(db: &mut SqliteConnection, stored: &Stored) -> Result<(), Refusal> {
    note_removal(db, stored).await?;
    sqlx::query("DELETE FROM message WHERE seq = ?").bind(stored.seq).execute(db).await?;
    Ok(())
}

async fn note_removal(db: &mut SqliteConnection, stored: &Stored) -> Result<(), Refusal> {
    let change = step(db, "change").await?;
    sqlx::query("INSERT INTO removal (folder, change, ordinary_id, immutable_id) VALUES (?, ?, ?, ?)")
        .bind(&stored.folder)
        .bind(change)
        .bind(&stored.ordinary_id)
        .bind(&stored.immutable_id)
        .execute(db)
        .await?;
    Ok(())
}
