//! CreateAttachment, GetAttachment.

use bytes::Bytes;
use mail_parser::{MessagePart, MimeHeaders};
use postroom_ews::wire::{
    Attachment, AttachmentId, Attachments, CreateAttachment, FileAttachment, GetAttachment, Item,
    ItemAttachment, Message, MimeContent, ResponseMessage,
};
use sqlx::SqliteConnection;

use super::compose;
use super::desk::Desk;
use super::refusal::{Refused, Trouble};
use crate::mail::attachments::{self, MOST};
use crate::mail::store::Stored;
use crate::mail::{mime, upload, view};

/// An attachment with all that it holds.
pub(super) fn described(stored: &Stored, index: usize, part: &MessagePart<'_>) -> Attachment {
    let id = AttachmentId { id: attachments::id(&stored.ordinary_id, index), ..AttachmentId::default() };
    let kind = part.content_type().map_or_else(
        || "application/octet-stream".to_owned(),
        |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")),
    );
    let size = u32::try_from(part.contents().len()).ok();
    let last_modified = postroom_model::Timestamp::from_second(stored.created_at).ok();
    let name = part.attachment_name().map(str::to_owned);
    let content_id = part.content_id().map(str::to_owned);
    let content_location = part.content_location().map(str::to_owned);
    match part.message() {
        None => Attachment::File(FileAttachment {
            id: Some(id),
            name: Some(name.unwrap_or_else(|| format!("part-{index}"))),
            content_type: Some(kind),
            content_id,
            content_location,
            size,
            last_modified,
            is_inline: Some(mime::is_inline(part)),
            is_contact_photo: None,
            content: Some(Bytes::copy_from_slice(part.contents())),
        }),
        Some(nested) => {
            let subject = nested.subject().map(str::to_owned);
            let content = Bytes::copy_from_slice(nested.raw_message());
            let mime = Some(MimeContent { character_set: Some("UTF-8".to_owned()), content });
            let inner = Message { mime, subject: subject.clone(), ..Message::default() };
            Attachment::Item(ItemAttachment {
                id: Some(id),
                name: name.or(subject),
                content_type: Some(kind),
                content_id,
                content_location,
                size,
                last_modified,
                is_inline: Some(false),
                item: vec![Item::from(inner)],
            })
        }
    }
}

pub(super) async fn get(
    desk: &Desk,
    request: &GetAttachment,
) -> Result<Vec<ResponseMessage<Attachments>>, Refused> {
    desk.bounded(request.ids.len())?;
    let wants_mime = request.shape.as_ref().is_some_and(|shape| shape.include_mime_content == Some(true));
    let mut messages = Vec::new();
    for id in &request.ids {
        let mut tx = desk.begin().await?;
        let mut found = one(desk, &mut tx, &id.id).await;
        if let Ok(Attachment::Item(attached)) = &mut found
            && !wants_mime
        {
            attached.item.iter_mut().for_each(|item| item.message.mime = None);
        }
        let found = found.map(|attachment| Attachments { attachments: vec![attachment] });
        messages.push(desk.end(tx, found).await?);
    }
    Ok(messages)
}

async fn one(desk: &Desk, db: &mut SqliteConnection, id: &str) -> Result<Attachment, Trouble> {
    let malformed = || Trouble::new("ErrorInvalidAttachmentId", "The attachment ID is not valid.");
    let absent = || Trouble::new("ErrorItemNotFound", "The specified attachment was not found in the store.");
    // The id begins with that of its message, whose own padding is left out.
    let (message, index) = id.strip_suffix('=').and_then(|id| id.rsplit_once('A')).ok_or_else(malformed)?;
    let index: usize = index.parse().map_err(|_| malformed())?;
    let stored = desk.item(db, &format!("{message}=")).await.map_err(|_| absent())?;
    let parsed = mime::parse(stored.raw.as_deref().unwrap_or_default()).ok_or_else(absent)?;
    let part = parsed.attachments().take(MOST).nth(index).ok_or_else(absent)?;
    Ok(described(&stored, index, part))
}

pub(super) async fn create(
    desk: &Desk,
    request: CreateAttachment,
) -> Result<Vec<ResponseMessage<Attachments>>, Refused> {
    desk.bounded(request.attachments.len())?;
    let mut messages = Vec::new();
    // The version that is named is that before the first of them.
    let mut parent = request.parent;
    for attachment in &request.attachments {
        let mut tx = desk.begin().await?;
        let made = attach(desk, &mut tx, &parent.id, attachment).await;
        if let Ok((_, key)) = &made {
            parent.change_key = Some(key.clone());
        }
        messages.push(desk.end(tx, made.map(|(attachments, _)| attachments)).await?);
    }
    Ok(messages)
}

/// Attaches one file; gives its id, and the version of the item since.
async fn attach(
    desk: &Desk,
    db: &mut SqliteConnection,
    parent: &str,
    attachment: &Attachment,
) -> Result<(Attachments, String), Trouble> {
    let mut stored = desk.item(db, parent).await?;
    if !stored.is_draft {
        return Err(Trouble::new("ErrorAccessDenied", "Access is denied. Check credentials and try again."));
    }
    let file = compose::files(std::slice::from_ref(attachment))?.pop().unwrap_or_default();
    let item = attachments::Item::read(&file)?;
    upload::attach(&desk.tenant, db, &mut stored, item).await?;
    let parsed = mime::parse(stored.raw.as_deref().unwrap_or_default());
    let count = parsed.map_or(0, |parsed| parsed.attachments().count());
    let key = view::change_key(&stored);
    let id = AttachmentId {
        id: attachments::id(&stored.ordinary_id, count.saturating_sub(1)),
        root_item_id: Some(stored.ordinary_id.clone()),
        root_item_change_key: Some(key.clone()),
    };
    let made = Attachment::File(FileAttachment { id: Some(id), ..FileAttachment::default() });
    Ok((Attachments { attachments: vec![made] }, key))
}
