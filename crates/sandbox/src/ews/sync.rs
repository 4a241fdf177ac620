//! SyncFolderItems: what changed in a folder since the state that the client brings back. It is made of the numbers of
//! changes, as Graph's delta is.

use postroom_ews::wire::{
    Change, Gone, Here, Item, ItemId, ReadFlag, ResponseMessage, SyncFolderItems, Synced,
};
use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::desk::{Desk, id_of};
use super::refusal::{Refused, Trouble};
use super::shape::{self, Wanted};
use crate::mail::store::{COLUMNS, Stored};
use crate::state::counter;

/// Most changes of one answer.
const MOST: u32 = 512;

/// What a state carries. It is sealed, so it comes back as it went out.
struct State {
    folder: String,
    /// States of an older epoch are lost.
    epoch: i64,
    /// Everything up to this number has been told.
    seen: i64,
    /// Where this client began: what left before does not concern it.
    floor: i64,
}

impl State {
    fn sealed(&self, desk: &Desk, mailbox: &str) -> String {
        desk.tenant.seal.close(&json!({
            "ews": mailbox, "f": self.folder, "e": self.epoch, "s": self.seen, "b": self.floor,
        }))
    }

    fn open(desk: &Desk, mailbox: &str, folder: &str, epoch: i64, text: &str) -> Option<Self> {
        let value = desk.tenant.seal.open(text)?;
        let state = Self {
            folder: value["f"].as_str()?.to_owned(),
            epoch: value["e"].as_i64()?,
            seen: value["s"].as_i64()?,
            floor: value["b"].as_i64()?,
        };
        (value["ews"] == mailbox && state.folder == folder && state.epoch == epoch).then_some(state)
    }
}

pub(super) async fn sync(desk: &Desk, request: &SyncFolderItems) -> Result<ResponseMessage<Synced>, Refused> {
    let mut tx = desk.begin().await?;
    let synced = synced(desk, &mut tx, request).await;
    desk.end(tx, synced).await
}

async fn synced(
    desk: &Desk,
    db: &mut SqliteConnection,
    request: &SyncFolderItems,
) -> Result<Synced, Trouble> {
    if !(1..=MOST).contains(&request.max) {
        return Err(Trouble::new(
            "ErrorInvalidSyncStateData",
            "MaxChangesReturned must be a whole number from 1 to 512.",
        ));
    }
    let folder = match desk.holder(db, &request.folder).await {
        Err(trouble) if trouble.code == "ErrorFolderNotFound" => {
            let text = "The folder to be synchronized could not be found.";
            return Err(Trouble::new("ErrorSyncFolderNotFound", text));
        }
        folder => folder?,
    };
    let epoch = counter(db, "delta_epoch").await?;
    let now = counter(db, "change").await?;
    let mut state = match request.state.as_deref().filter(|state| !state.is_empty()) {
        None => State { folder: folder.id.clone(), epoch, seen: 0, floor: now },
        Some(text) => State::open(desk, &folder.mailbox, &folder.id, epoch, text).ok_or_else(|| {
            Trouble::new(
                "ErrorInvalidSyncStateData",
                "The synchronization state data is corrupt or otherwise invalid.",
            )
        })?,
    };
    let mut entries = here(db, &state, request).await?;
    entries.extend(gone(db, &state, request.max).await?);
    entries.sort_by_key(|(number, _)| *number);
    let is_last = entries.len() <= request.max as usize;
    entries.truncate(request.max as usize);
    state.seen = match entries.last() {
        Some((number, _)) if !is_last => *number,
        // Nothing below `now` is left.
        _ => state.seen.max(now),
    };
    let ignored =
        |change: &Change| id_in(change).is_some_and(|id| request.ignore.iter().any(|one| one.id == *id));
    let changes = entries.into_iter().map(|(_, change)| change).filter(|change| !ignored(change)).collect();
    Ok(Synced { state: Some(state.sealed(desk, &folder.mailbox)), is_last: Some(is_last), changes })
}

fn id_in(change: &Change) -> Option<&String> {
    match change {
        Change::Create(here) | Change::Update(here) => here.item.message.id.as_ref().map(|id| &id.id),
        Change::Delete(gone) => Some(&gone.id.id),
        Change::ReadFlag(flag) => Some(&flag.id.id),
    }
}

/// What came or was changed.
async fn here(
    db: &mut SqliteConnection,
    state: &State,
    request: &SyncFolderItems,
) -> Result<Vec<(i64, Change)>, Trouble> {
    let wanted = Wanted::in_list(&request.shape);
    let raw = if wanted.needs_raw() { "raw" } else { "NULL AS raw" };
    let query = format!(
        "SELECT {COLUMNS}, {raw},
         coalesce((SELECT t.change FROM touched t WHERE t.message = seq), entered) AS touched
         FROM message WHERE folder = ? AND change > ? ORDER BY change LIMIT ?"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(&state.folder)
        .bind(state.seen)
        .bind(i64::from(request.max) + 1)
        .fetch_all(db)
        .await?;
    let entry = |row: &sqlx::sqlite::SqliteRow| {
        let stored = Stored::read(row);
        let here = || Here { item: Item::from(shape::message(&stored, &wanted)) };
        let change = if stored.entered > state.seen {
            Change::Create(here())
        } else if row.get::<i64, _>("touched") > state.seen {
            Change::Update(here())
        } else {
            Change::ReadFlag(ReadFlag { id: id_of(&stored), is_read: stored.is_read })
        };
        (stored.change, change)
    };
    Ok(rows.iter().map(entry).collect())
}

/// What left.
async fn gone(db: &mut SqliteConnection, state: &State, max: u32) -> Result<Vec<(i64, Change)>, Trouble> {
    let rows = sqlx::query(
        "SELECT change, ordinary_id FROM removal WHERE folder = ? AND change > ? ORDER BY change LIMIT ?",
    )
    .bind(&state.folder)
    .bind(state.seen.max(state.floor))
    .bind(i64::from(max) + 1)
    .fetch_all(db)
    .await?;
    let entry = |row: &sqlx::sqlite::SqliteRow| {
        let id = ItemId { id: row.get("ordinary_id"), change_key: Some("AQAAAA==".to_owned()) };
        (row.get("change"), Change::Delete(Gone { id }))
    };
    Ok(rows.iter().map(entry).collect())
}
