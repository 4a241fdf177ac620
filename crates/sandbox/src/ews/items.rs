//! GetItem, UpdateItem, MoveItem, DeleteItem.

use postroom_ews::wire::{
    ConflictResolution, ConflictResults, DeleteItem, DeleteType, GetItem, ItemChange, ItemId, Items,
    MoveItem, Nothing, Path, ResponseMessage, Update, UpdateItem, Updated,
};
use serde_json::{Map, Value, json};
use sqlx::SqliteConnection;

use super::compose;
use super::desk::{Desk, bare};
use super::refusal::{Refused, Trouble};
use super::shape::{self, Wanted};
use crate::mail::store::{self, Stored};
use crate::mail::{change, view};

pub(super) async fn get(desk: &Desk, request: &GetItem) -> Result<Vec<ResponseMessage<Items>>, Refused> {
    desk.bounded(request.items.len())?;
    let wanted = Wanted::of_item(&request.shape);
    let mut messages = Vec::new();
    for id in &request.items {
        let mut tx = desk.begin().await?;
        let found = desk.item(&mut tx, &id.id).await;
        let items = found.map(|stored| Items { items: vec![shape::message(&stored, &wanted).into()] });
        messages.push(desk.end(tx, items).await?);
    }
    Ok(messages)
}

pub(super) async fn update(
    desk: &Desk,
    request: &UpdateItem,
) -> Result<Vec<ResponseMessage<Updated>>, Refused> {
    desk.bounded(request.changes.len())?;
    let mut messages = Vec::new();
    for change in &request.changes {
        let mut tx = desk.begin().await?;
        let updated = changed(desk, &mut tx, change, request).await;
        let updated = updated.map(|stored| Updated {
            items: vec![bare(&stored)],
            conflicts: Some(ConflictResults::default()),
        });
        messages.push(desk.end(tx, updated).await?);
    }
    Ok(messages)
}

async fn changed(
    desk: &Desk,
    db: &mut SqliteConnection,
    change: &ItemChange,
    request: &UpdateItem,
) -> Result<Stored, Trouble> {
    if request.disposition.is_none() {
        return Err(Trouble::new(
            "ErrorMessageDispositionRequired",
            "Message disposition is required for this operation.",
        ));
    }
    let mut stored = desk.item(db, &change.id.id).await?;
    let is_old = change.id.change_key.as_ref().is_some_and(|key| *key != view::change_key(&stored));
    if is_old && request.conflict == ConflictResolution::NeverOverwrite {
        return Err(Trouble::new(
            "ErrorIrresolvableConflict",
            "The send or update operation could not be performed because the change key passed in the request does not \
             match the current change key for the item.",
        ));
    }
    let mut json = Map::new();
    for update in &change.updates {
        named(&mut json, &stored, update)?;
    }
    change::apply(&mut stored, &json)?;
    store::update(&desk.tenant, db, &mut stored).await?;
    Ok(stored)
}

/// Adds one change under Graph's name for the property.
fn named(json: &mut Map<String, Value>, stored: &Stored, update: &Update) -> Result<(), Trouble> {
    let path = match update {
        Update::Set(set) | Update::Append(set) => &set.path,
        Update::Delete(delete) => &delete.path,
    };
    let unchangeable = || Trouble::new("ErrorInvalidPropertySet", "Set action is invalid for property.");
    let Path::Field(field) = path else { return Err(unchangeable()) };
    let name = compose::graph_name(&field.uri).ok_or_else(unchangeable)?;
    let value = match update {
        Update::Delete(_) => match name {
            "isRead" => return Err(unchangeable()),
            "subject" => json!(""),
            "body" => json!({"contentType": "text", "content": ""}),
            "importance" => json!("normal"),
            _ => json!([]),
        },
        Update::Set(set) => compose::value(&set.item.message, name),
        Update::Append(set) => {
            let mut more = compose::value(&set.item.message, name);
            let before = stored.marks.get(name).or_else(|| stored.facts.get(name)).and_then(Value::as_array);
            match (more.as_array_mut(), before) {
                (Some(more), Some(before)) => more.splice(0..0, before.iter().cloned()).for_each(drop),
                (Some(_), None) => {}
                (None, _) => return Err(unchangeable()),
            }
            more
        }
    };
    json.insert(name.to_owned(), value);
    Ok(())
}

pub(super) async fn relocate(
    desk: &Desk,
    request: &MoveItem,
) -> Result<Vec<ResponseMessage<Items>>, Refused> {
    desk.bounded(request.items.len())?;
    let mut messages = Vec::new();
    for id in &request.items {
        let mut tx = desk.begin().await?;
        let moved = moved(desk, &mut tx, id, request).await;
        let told = |stored: Stored| match request.return_new_ids {
            Some(false) => Items::default(),
            _ => Items { items: vec![bare(&stored)] },
        };
        messages.push(desk.end(tx, moved.map(told)).await?);
    }
    Ok(messages)
}

async fn moved(
    desk: &Desk,
    db: &mut SqliteConnection,
    id: &ItemId,
    request: &MoveItem,
) -> Result<Stored, Trouble> {
    let folder = desk.holder(db, &request.folder).await?;
    let mut stored = desk.item(db, &id.id).await?;
    if folder.mailbox != stored.mailbox {
        return Err(Trouble::new("ErrorMoveCopyFailed", "The move or copy operation failed."));
    }
    store::relocate(&desk.tenant, db, &mut stored, &folder.id).await?;
    Ok(stored)
}

pub(super) async fn delete(
    desk: &Desk,
    request: &DeleteItem,
) -> Result<Vec<ResponseMessage<Nothing>>, Refused> {
    desk.bounded(request.items.len())?;
    let mut messages = Vec::new();
    for id in &request.items {
        let mut tx = desk.begin().await?;
        let gone = gone(desk, &mut tx, id, request.how).await;
        messages.push(desk.end(tx, gone).await?);
    }
    Ok(messages)
}

async fn gone(
    desk: &Desk,
    db: &mut SqliteConnection,
    id: &ItemId,
    how: DeleteType,
) -> Result<Nothing, Trouble> {
    let mut stored = desk.item(db, &id.id).await?;
    let to = match how {
        DeleteType::HardDelete => {
            store::remove(db, &stored).await?;
            return Ok(Nothing {});
        }
        DeleteType::SoftDelete => "recoverableitemsdeletions",
        DeleteType::MoveToDeletedItems => "deleteditems",
    };
    let folder = store::folder(db, &stored.mailbox, to).await?;
    store::relocate(&desk.tenant, db, &mut stored, &folder).await?;
    Ok(Nothing {})
}
