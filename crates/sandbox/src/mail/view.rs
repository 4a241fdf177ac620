//! A message as Graph shows it (<https://learn.microsoft.com/graph/api/resources/message>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::mime;
use super::store::Stored;
use crate::answer::iso;
use crate::odata;

/// Properties that need the raw message.
const FROM_RAW: &[&str] = &["body", "uniqueBody", "internetMessageHeaders"];

/// Whether the raw message must be read for this selection.
pub(super) fn needs_raw(selected: Option<&[String]>) -> bool {
    selected.is_none_or(|names| names.iter().any(|name| FROM_RAW.contains(&name.as_str())))
}

/// `changeKey`: eleven fixed bytes and the number of the change.
pub(crate) fn change_key(stored: &Stored) -> String {
    let mut bytes = b"\x09\x00\x00\x00\x16\x00\x00\x00".to_vec();
    bytes.extend_from_slice(&stored.change.to_be_bytes());
    STANDARD.encode(bytes)
}

/// The entity tag.
pub(super) fn etag(stored: &Stored) -> String {
    format!("W/\"{}\"", change_key(stored))
}

/// The message, narrowed to the selection.
pub(super) fn message(
    stored: &Stored,
    immutable: bool,
    body: Option<&str>,
    selected: Option<&[String]>,
) -> Map<String, Value> {
    let facts = &stored.facts;
    let sent = facts["sentAt"].as_i64().unwrap_or(stored.created_at);
    let object = json!({
        "@odata.etag": etag(stored),
        "id": stored.id(immutable),
        "changeKey": change_key(stored),
        "parentFolderId": stored.folder,
        "conversationId": facts["conversationId"],
        "conversationIndex": facts["conversationIndex"],
        "createdDateTime": iso(stored.created_at),
        "lastModifiedDateTime": iso(stored.modified_at),
        "receivedDateTime": iso(stored.received_at),
        "sentDateTime": iso(sent),
        "internetMessageId": stored.internet_message_id,
        "subject": facts["subject"],
        "bodyPreview": facts["bodyPreview"],
        "importance": stored.marks.get("importance").unwrap_or(&facts["importance"]),
        "hasAttachments": facts["hasAttachments"],
        "isRead": stored.is_read,
        "isDraft": stored.is_draft,
        "isReadReceiptRequested": facts["isReadReceiptRequested"],
        "isDeliveryReceiptRequested": null,
        "inferenceClassification": stored.marks.get("inferenceClassification").unwrap_or(&json!("focused")),
        "categories": stored.marks.get("categories").unwrap_or(&json!([])),
        "webLink": format!("https://outlook.office365.com/owa/?ItemID={}", stored.ordinary_id.replace('=', "%3D")),
        "sender": facts["sender"],
        "from": facts["from"],
        "toRecipients": facts["toRecipients"],
        "ccRecipients": facts["ccRecipients"],
        "bccRecipients": facts["bccRecipients"],
        "replyTo": facts["replyTo"],
        "flag": stored.marks.get("flag").unwrap_or(&json!({"flagStatus": "notFlagged"})),
    });
    let Value::Object(mut object) = object else { return Map::new() };
    if let Some(raw) = stored.raw.as_deref().filter(|_| needs_raw(selected)) {
        let asked = |name: &str| selected.is_some_and(|names| names.iter().any(|have| have == name));
        if selected.is_none() || asked("body") {
            object.insert("body".to_owned(), mime::body(raw, body));
        }
        // These two come only when named.
        if asked("uniqueBody") {
            object.insert("uniqueBody".to_owned(), mime::body(raw, body));
        }
        if asked("internetMessageHeaders") {
            object.insert("internetMessageHeaders".to_owned(), mime::all_headers(raw));
        }
    }
    odata::narrow(&mut object, selected);
    object
}
