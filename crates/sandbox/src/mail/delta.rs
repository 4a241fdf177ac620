//! Delta of a folder (<https://learn.microsoft.com/graph/delta-query-messages>).
//!
//! Every change in the tenant has a number. A round gives what has a number above the one in the token, in the
//! order of the numbers; so the first round is the whole folder, a message changed while it is paged comes again
//! later, and one that left the folder comes as `@removed`.

use axum::http::header;
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Row};

use super::messages::{context, restrict};
use super::store::{self, COLUMNS, Stored};
use super::{Desk, view};
use crate::answer::{Answer, Refusal, json_answer};
use crate::odata;
use crate::state::counter;

/// Largest page; 10 when nothing is preferred.
const MOST: u32 = 1000;

/// What a token carries. It is sealed, so it comes back as it went out.
struct Cursor {
    folder: String,
    /// Tokens of an older epoch have been expired.
    epoch: i64,
    /// Everything up to this number has been given.
    seen: i64,
    /// Where this client's first round began: removals before it do not concern it.
    floor: i64,
    select: Option<String>,
    filter: Option<String>,
    kind: Option<String>,
}

impl Cursor {
    fn sealed(&self, desk: &Desk<'_>) -> String {
        desk.tenant.seal.close(&json!({
            "m": desk.mailbox.id, "f": self.folder, "e": self.epoch, "s": self.seen, "b": self.floor,
            "select": self.select, "filter": self.filter, "kind": self.kind,
        }))
    }

    fn open(desk: &Desk<'_>, folder: &str, epoch: i64, token: &str) -> Option<Self> {
        let value = desk.tenant.seal.open(token)?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let cursor = Self {
            folder: text("f")?,
            epoch: value["e"].as_i64()?,
            seen: value["s"].as_i64()?,
            floor: value["b"].as_i64()?,
            select: text("select"),
            filter: text("filter"),
            kind: text("kind"),
        };
        let ours = value["m"] == desk.mailbox.id.as_str() && cursor.folder == folder && cursor.epoch == epoch;
        ours.then_some(cursor)
    }
}

/// `GET mailFolders/{id}/messages/delta`.
pub(super) async fn answer(desk: &mut Desk<'_>, folder: &str) -> Answer {
    let call = desk.call;
    let folder = store::folder(desk.db, &desk.mailbox.id, folder).await?;
    let epoch = counter(desk.db, "delta_epoch").await?;
    let token = call.param("$skiptoken").or_else(|| call.param("$deltatoken"));
    let mut cursor = match token {
        Some(token) => Cursor::open(desk, &folder, epoch, token).ok_or_else(|| lost(desk, token))?,
        None => first(desk, folder, epoch).await?,
    };
    let size = call.prefer().page_size.unwrap_or(10).min(MOST);
    let now = counter(desk.db, "change").await?;
    let (value, more) = page(desk, &mut cursor, size).await?;
    let mut answer = json!({"@odata.context": context(desk), "value": value});
    // Nothing below `now` is left when the page was not full.
    let (link, name) = if more {
        ("@odata.nextLink", "skiptoken")
    } else {
        cursor.seen = cursor.seen.max(now);
        ("@odata.deltaLink", "deltatoken")
    };
    let address = base(desk, &cursor.folder);
    answer[link] = json!(format!("{address}?${name}={}", cursor.sealed(desk)));
    Ok(json_answer(200, &answer))
}

fn base(desk: &Desk<'_>, folder: &str) -> String {
    let folder = folder.replace('=', "%3D");
    format!("{}/v1.0/users/{}/mailFolders/{folder}/messages/delta", desk.call.base, desk.mailbox.id)
}

/// The cursor of a first round; its options are kept in the token.
async fn first(desk: &mut Desk<'_>, folder: String, epoch: i64) -> Result<Cursor, Refusal> {
    let call = desk.call;
    let owned = |name: &str| call.param(name).map(str::to_owned);
    let bad = |message: &str| Refusal::new(400, "ErrorInvalidRequest", message);
    if let Some(text) = call.param("$filter") {
        let clauses = odata::filter(text)?;
        let fine = |clause: &odata::Clause| {
            clause.property == "receivedDateTime"
                && matches!(clause.operator, odata::Operator::Ge | odata::Operator::Gt)
        };
        if !clauses.iter().all(fine) {
            return Err(bad("Delta supports only $filter=receivedDateTime ge or gt a date."));
        }
    }
    if call.param("$orderby").is_some_and(|text| !text.eq_ignore_ascii_case("receivedDateTime desc")) {
        return Err(bad("Delta supports only $orderby=receivedDateTime desc."));
    }
    if call.param("$search").is_some() {
        return Err(bad("Delta does not support $search."));
    }
    let kind = owned("changeType");
    if kind.as_deref().is_some_and(|kind| !["created", "updated", "deleted"].contains(&kind)) {
        return Err(bad("changeType must be created, updated or deleted."));
    }
    let floor = counter(desk.db, "change").await?;
    Ok(Cursor { folder, epoch, seen: 0, floor, select: owned("$select"), filter: owned("$filter"), kind })
}

/// The next entries by number, and whether there are more. Moves the cursor.
async fn page(desk: &mut Desk<'_>, cursor: &mut Cursor, size: u32) -> Result<(Vec<Value>, bool), Refusal> {
    let selected: Option<Vec<String>> =
        cursor.select.as_deref().map(|text| text.split(',').map(|name| name.trim().to_owned()).collect());
    let raw = if view::needs_raw(selected.as_deref()) { "raw" } else { "NULL AS raw" };
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS}, {raw} FROM message WHERE folder = "));
    query.push_bind(cursor.folder.clone()).push(" AND change > ").push_bind(cursor.seen);
    if let Some(text) = &cursor.filter {
        restrict(&mut query, &odata::filter(text)?)?;
    }
    match cursor.kind.as_deref() {
        Some("created") => query.push(" AND entered > ").push_bind(cursor.seen),
        // In the first round everything is news; `updated` alone begins with what comes after it.
        Some("updated") => query.push(" AND entered <= ").push_bind(cursor.seen),
        Some("deleted") => query.push(" AND 0"),
        _ => &mut query,
    };
    query.push(" ORDER BY change LIMIT ").push_bind(i64::from(size) + 1);
    let body = desk.call.prefer().body;
    let rows = query.build().fetch_all(&mut *desk.db).await?;
    let mut entries: Vec<(i64, Value)> = Vec::new();
    for row in &rows {
        let stored = Stored::read(row);
        let object = view::message(&stored, desk.immutable, body.as_deref(), selected.as_deref());
        entries.push((stored.change, Value::Object(object)));
    }
    if cursor.kind.as_deref().is_none_or(|kind| kind == "deleted") {
        entries.extend(removals(desk, cursor, size).await?);
    }
    entries.sort_by_key(|(change, _)| *change);
    let more = entries.len() > size as usize;
    entries.truncate(size as usize);
    if let Some((change, _)) = entries.last() {
        cursor.seen = *change;
    }
    Ok((entries.into_iter().map(|(_, value)| value).collect(), more))
}

async fn removals(desk: &mut Desk<'_>, cursor: &Cursor, size: u32) -> Result<Vec<(i64, Value)>, Refusal> {
    let rows = sqlx::query(
        "SELECT change, ordinary_id, immutable_id FROM removal WHERE folder = ? AND change > ? ORDER BY change LIMIT ?",
    )
    .bind(&cursor.folder)
    .bind(cursor.seen.max(cursor.floor))
    .bind(i64::from(size) + 1)
    .fetch_all(&mut *desk.db)
    .await?;
    let column = if desk.immutable { "immutable_id" } else { "ordinary_id" };
    let entry = |row: &sqlx::sqlite::SqliteRow| {
        let value = json!({
            "@odata.type": "#microsoft.graph.message",
            "id": row.get::<String, _>(column),
            "@removed": {"reason": "deleted"},
        });
        (row.get::<i64, _>("change"), value)
    };
    Ok(rows.iter().map(entry).collect())
}

/// The token is unknown or has expired: the client must begin again.
fn lost(desk: &Desk<'_>, token: &str) -> Refusal {
    let shown: String = token.chars().take(24).collect();
    Refusal::new(
        410,
        "SyncStateNotFound",
        format!("The sync state generation is not found; the sync state identified using the request token '{shown}' is not found."),
    )
    .header(header::LOCATION, desk.call.address())
}
