//! Attachments of a message: listed, read one by one, written from JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_builder::MessageBuilder;
use mail_parser::{MessagePart, MimeHeaders};
use serde_json::{Map, Value, json};

use super::mime;
use super::store::Stored;
use crate::answer::{Answer, Refusal, bytes_answer, iso, json_answer};
use crate::call::Call;
use crate::odata;

/// Most attachments of one message.
pub(crate) const MOST: usize = 250;

/// The id of an attachment: the message's, and its place.
pub(crate) fn id(message: &str, index: usize) -> String {
    format!("{}A{index:03}=", message.trim_end_matches('='))
}

fn view(stored: &Stored, message: &str, index: usize, part: &MessagePart<'_>) -> Map<String, Value> {
    let kind = part.content_type().map_or_else(
        || "application/octet-stream".to_owned(),
        |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")),
    );
    let nested = part.message();
    let name = part
        .attachment_name()
        .map(str::to_owned)
        .or_else(|| nested.and_then(|m| m.subject()).map(str::to_owned));
    let mut object = Map::new();
    let odata =
        if nested.is_some() { "#microsoft.graph.itemAttachment" } else { "#microsoft.graph.fileAttachment" };
    object.insert("@odata.type".to_owned(), json!(odata));
    object.insert("@odata.mediaContentType".to_owned(), json!(kind));
    object.insert("id".to_owned(), json!(id(message, index)));
    object.insert("lastModifiedDateTime".to_owned(), json!(iso(stored.created_at)));
    object.insert("name".to_owned(), json!(name.unwrap_or_else(|| format!("part-{index}"))));
    object.insert("contentType".to_owned(), json!(kind));
    object.insert("size".to_owned(), json!(part.contents().len()));
    object.insert("isInline".to_owned(), json!(mime::is_inline(part)));
    if nested.is_none() {
        object.insert("contentId".to_owned(), json!(part.content_id()));
        object.insert("contentLocation".to_owned(), json!(part.content_location()));
        object.insert("contentBytes".to_owned(), json!(STANDARD.encode(part.contents())));
    }
    object
}

/// `GET …/attachments`.
pub(super) fn list(call: &Call, stored: &Stored, immutable: bool) -> Answer {
    let raw = stored.raw.as_deref().unwrap_or_default();
    let selected = odata::select(call);
    let message = stored.id(immutable);
    let mut value = Vec::new();
    if let Some(parsed) = mime::parse(raw) {
        for (index, part) in parsed.attachments().take(MOST).enumerate() {
            let mut object = view(stored, message, index, part);
            odata::narrow(&mut object, selected.as_deref());
            value.push(Value::Object(object));
        }
    }
    Ok(json_answer(
        200,
        &json!({"@odata.context": format!("{}/v1.0/$metadata#attachments", call.base), "value": value}),
    ))
}

/// `GET …/attachments/{id}` and `…/$value`.
pub(super) fn get(call: &Call, stored: &Stored, immutable: bool, wanted: &str, bytes: bool) -> Answer {
    let raw = stored.raw.as_deref().unwrap_or_default();
    let parsed = mime::parse(raw).ok_or_else(Refusal::item_not_found)?;
    let mut parts = parsed.attachments().take(MOST).enumerate();
    let (index, part) = parts
        .find(|(index, _)| {
            [&stored.ordinary_id, &stored.immutable_id].iter().any(|message| id(message, *index) == wanted)
        })
        .ok_or_else(Refusal::item_not_found)?;
    if bytes {
        return Ok(bytes_answer(200, "application/octet-stream", part.contents().to_vec()));
    }
    let mut object = view(stored, stored.id(immutable), index, part);
    odata::narrow(&mut object, odata::select(call).as_deref());
    Ok(json_answer(200, &Value::Object(object)))
}

/// The newest attachment of a draft, as the answer to adding it.
pub(super) fn last(stored: &Stored, immutable: bool) -> Answer {
    let parsed =
        mime::parse(stored.raw.as_deref().unwrap_or_default()).ok_or_else(Refusal::item_not_found)?;
    let (index, part) = parsed.attachments().enumerate().last().ok_or_else(Refusal::item_not_found)?;
    Ok(json_answer(201, &Value::Object(view(stored, stored.id(immutable), index, part))))
}

/// An attachment of the JSON form, checked.
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Content id; only of inline parts.
    pub(crate) cid: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

impl Item {
    /// Reads a `fileAttachment`.
    pub(crate) fn read(item: &Value) -> Result<Self, Refusal> {
        let bad = |what: &str| {
            Refusal::new(
                400,
                "ErrorPropertyValidationFailure",
                format!("The attachment's '{what}' is not valid."),
            )
        };
        let odata = item["@odata.type"].as_str().unwrap_or("#microsoft.graph.fileAttachment");
        if !odata.eq_ignore_ascii_case("#microsoft.graph.fileAttachment") {
            return Err(bad("@odata.type"));
        }
        let clean =
            |text: &&str| !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control);
        let name = item["name"].as_str().filter(clean).ok_or_else(|| bad("name"))?;
        let kind_ok = |kind: &&str| {
            kind.len() <= 255 && kind.contains('/') && kind.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let kind = item["contentType"].as_str().filter(kind_ok).unwrap_or("application/octet-stream");
        let bytes = item["contentBytes"].as_str().and_then(|text| STANDARD.decode(text).ok());
        let graphic = |cid: &&str| !cid.is_empty() && cid.bytes().all(|byte| byte.is_ascii_graphic());
        let cid = item["contentId"].as_str().filter(graphic).filter(|_| item["isInline"] == true);
        Ok(Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            cid: cid.map(|cid| cid.trim_matches(['<', '>']).to_owned()),
            bytes: bytes.ok_or_else(|| bad("contentBytes"))?,
        })
    }
}

/// Adds the attachments of the JSON form to a message being written.
pub(super) fn written<'x>(
    mut builder: MessageBuilder<'x>,
    value: Option<&Value>,
) -> Result<MessageBuilder<'x>, Refusal> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if items.len() > MOST {
        return Err(Refusal::new(400, "ErrorInvalidRequest", "The message has too many attachments."));
    }
    for item in items {
        let item = Item::read(item)?;
        builder = match item.cid {
            Some(cid) => builder.inline(item.kind, cid, item.bytes),
            None => builder.attachment(item.kind, item.name, item.bytes),
        };
    }
    Ok(builder)
}
