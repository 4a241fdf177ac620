//! CreateItem and SendItem.

use postroom_ews::wire::{
    CreateItem, FolderRef, ItemId, Items, Message, MessageDisposition, Nothing, ResponseMessage, SendItem,
};
use sqlx::SqliteConnection;

use super::compose;
use super::desk::{Desk, bare};
use super::refusal::{Refused, Trouble};
use super::shape;
use crate::limits;
use crate::mail::deliver::{self, Envelope};
use crate::mail::store::{self, Arrival};

pub(super) async fn create(desk: &Desk, request: CreateItem) -> Result<Vec<ResponseMessage<Items>>, Refused> {
    desk.bounded(request.items.len())?;
    let mut messages = Vec::new();
    for item in request.items {
        let mut tx = desk.begin().await?;
        let made = make(desk, &mut tx, item.message, request.disposition, request.folder.as_ref()).await;
        messages.push(desk.end(tx, made).await?);
    }
    Ok(messages)
}

async fn make(
    desk: &Desk,
    db: &mut SqliteConnection,
    message: Message,
    disposition: Option<MessageDisposition>,
    folder: Option<&FolderRef>,
) -> Result<Items, Trouble> {
    let Some(disposition) = disposition else {
        return Err(Trouble::new(
            "ErrorMessageDispositionRequired",
            "Message disposition is required for this operation.",
        ));
    };
    let raw = compose::raw(&desk.tenant, &message, &desk.mailbox.address)?;
    let is_new = disposition == MessageDisposition::SaveOnly;
    let folder = match folder {
        Some(folder) => desk.holder(db, folder).await?,
        None => {
            desk.holder(db, &FolderRef::distinguished(if is_new { "drafts" } else { "sentitems" })).await?
        }
    };
    // By its flags a client says that what it keeps is no draft.
    let flags = message.extended.iter().find(|property| shape::is_flags(&property.uri));
    let flags = flags.and_then(|property| property.value.as_deref()?.trim().parse::<i32>().ok());
    let arrival = Arrival {
        mailbox: &folder.mailbox,
        folder: &folder.id,
        is_draft: is_new && flags.is_none_or(|flags| flags & 8 != 0),
        is_read: message.is_read.unwrap_or(flags.is_none_or(|flags| flags & 1 != 0)),
        marks: compose::marks(&message),
        raw,
    };
    if is_new {
        let stored = store::insert(&desk.tenant, db, arrival).await?;
        return Ok(Items { items: vec![bare(&stored)] });
    }
    leave(desk, db, &arrival.raw).await?;
    if disposition == MessageDisposition::SendAndSaveCopy {
        store::insert(&desk.tenant, db, arrival).await?;
    }
    // What is sent at once has no id that is told.
    Ok(Items::default())
}

/// Hands the message over.
async fn leave(desk: &Desk, db: &mut SqliteConnection, raw: &[u8]) -> Result<(), Trouble> {
    let envelope = Envelope::of(db, &desk.mailbox, raw).await?;
    limits::sending(&desk.tenant, &desk.mailbox.id)?;
    deliver::submit(&desk.tenant, db, &envelope, raw).await?;
    Ok(())
}

pub(super) async fn send(desk: &Desk, request: &SendItem) -> Result<Vec<ResponseMessage<Nothing>>, Refused> {
    desk.bounded(request.items.len())?;
    let mut messages = Vec::new();
    for id in &request.items {
        let mut tx = desk.begin().await?;
        let sent = send_draft(desk, &mut tx, id, request).await;
        messages.push(desk.end(tx, sent).await?);
    }
    Ok(messages)
}

async fn send_draft(
    desk: &Desk,
    db: &mut SqliteConnection,
    id: &ItemId,
    request: &SendItem,
) -> Result<Nothing, Trouble> {
    let mut stored = desk.newest(db, id).await?;
    if !stored.is_draft {
        return Err(Trouble::new("ErrorInvalidRequest", "Only a draft can be sent."));
    }
    let raw = stored.raw.clone().unwrap_or_default();
    leave(desk, db, &raw).await?;
    if !request.save {
        store::remove(db, &stored).await?;
        return Ok(Nothing {});
    }
    let folder = match &request.folder {
        Some(folder) => desk.holder(db, folder).await?,
        None => desk.holder(db, &FolderRef::distinguished("sentitems")).await?,
    };
    stored.is_draft = false;
    stored.is_read = true;
    stored.received_at = desk.tenant.now();
    store::relocate(&desk.tenant, db, &mut stored, &folder.id).await?;
    Ok(Nothing {})
}
