//! Messages made of EWS properties: said in Graph's words, so that both ways make the same message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroom_ews::wire::{Attachment, FileAttachment, Mailbox, Message};
use serde_json::{Map, Value, json};

use super::refusal::Trouble;
use super::shape;
use crate::mail::{headers, mime};
use crate::state::Tenant;

/// Properties that can be written, with Graph's names.
const NAMES: [(&str, &str); 10] = [
    ("item:Subject", "subject"),
    ("item:Body", "body"),
    ("item:Categories", "categories"),
    ("item:Importance", "importance"),
    ("message:IsRead", "isRead"),
    ("message:ToRecipients", "toRecipients"),
    ("message:CcRecipients", "ccRecipients"),
    ("message:BccRecipients", "bccRecipients"),
    ("message:ReplyTo", "replyTo"),
    ("message:From", "from"),
];

/// Graph's name of a property.
pub(super) fn graph_name(uri: &str) -> Option<&'static str> {
    NAMES.iter().find(|(ews, _)| *ews == uri).map(|(_, graph)| *graph)
}

fn person(mailbox: &Mailbox) -> Value {
    json!({"emailAddress": {"name": mailbox.name, "address": mailbox.address}})
}

fn people(list: &[Mailbox]) -> Value {
    Value::Array(list.iter().map(person).collect())
}

/// The value of a property under Graph's name; null when the item does not have it.
pub(super) fn value(message: &Message, name: &str) -> Value {
    match name {
        "subject" => json!(message.subject),
        "body" => message.body.as_ref().map_or(
            Value::Null,
            |body| json!({"contentType": body.kind.to_ascii_lowercase(), "content": body.text}),
        ),
        "categories" => json!(message.categories),
        "importance" => json!(message.importance.as_deref().map(str::to_ascii_lowercase)),
        "isRead" => json!(message.is_read),
        "toRecipients" => people(&message.to),
        "ccRecipients" => people(&message.cc),
        "bccRecipients" => people(&message.bcc),
        "replyTo" => people(&message.reply_to),
        "from" => message.from.as_ref().map_or(Value::Null, |from| person(&from.mailbox)),
        _ => Value::Null,
    }
}

/// A file as Graph has it.
pub(super) fn file(file: &FileAttachment) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.fileAttachment",
        "name": file.name,
        "contentType": file.content_type,
        "contentId": file.content_id,
        "isInline": file.is_inline.unwrap_or(false),
        "contentBytes": file.content.as_ref().map(|content| STANDARD.encode(content)),
    })
}

/// The files among attachments.
///
/// # Errors
/// One is an item, which is not made here.
pub(super) fn files(attachments: &[Attachment]) -> Result<Vec<Value>, Trouble> {
    let one = |attachment: &Attachment| match attachment {
        Attachment::File(described) => Ok(file(described)),
        Attachment::Item(_) => {
            let text = "Attached items are read by the sandbox, but not made.";
            Err(Trouble::new("ErrorInvalidAttachmentType", text))
        }
    };
    attachments.iter().map(one).collect()
}

/// What only the mailbox knows of a new message.
pub(super) fn marks(message: &Message) -> Value {
    if message.categories.is_empty() { json!({}) } else { json!({"categories": message.categories}) }
}

/// The message as bytes: as they came, or made of its properties. `from` is the mailbox it is written in.
pub(super) fn raw(tenant: &Tenant, message: &Message, from: &str) -> Result<Vec<u8>, Trouble> {
    if let Some(mime) = &message.mime {
        if mime.content.is_empty() {
            return Err(Trouble::new("ErrorMimeContentInvalid", "Mime content is invalid."));
        }
        return Ok(mime::completed(tenant, &mime.content, Some(from)));
    }
    let mut json = Map::new();
    for (_, name) in NAMES {
        json.insert(name.to_owned(), value(message, name));
    }
    json.insert("attachments".to_owned(), Value::Array(files(&message.attachments)?));
    if let Some(id) = &message.internet_message_id {
        json.insert("internetMessageId".to_owned(), json!(id));
    }
    let own = message.extended.iter().filter(|property| {
        property.uri.distinguished_set.as_deref() == Some("InternetHeaders")
            && !shape::is_flags(&property.uri)
    });
    let own: Vec<Value> =
        own.map(|property| json!({"name": property.uri.name, "value": property.value})).collect();
    json.insert("internetMessageHeaders".to_owned(), Value::Array(own));
    let mut raw = mime::compose(tenant, &json, from)?;
    for (name, value) in [("In-Reply-To", &message.in_reply_to), ("References", &message.references)] {
        let fine =
            |text: &&String| text.len() <= 5000 && text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if let Some(value) = value.as_ref().filter(fine) {
            raw = headers::with_first(&raw, name, value);
        }
    }
    if message.read_receipt == Some(true) {
        raw = headers::with_first(&raw, "Disposition-Notification-To", from);
    }
    Ok(raw)
}
