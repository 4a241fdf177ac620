//! An item with the properties that were asked for.

use bytes::Bytes;
use postroom_ews::wire::{
    Attachment, BaseShape, Body, ExtendedFieldUri, ExtendedProperty, FileAttachment, FolderId, Header,
    ItemAttachment, ItemId, ItemShape, Mailbox, Message, MimeContent, Path, SingleRecipient,
};
use serde_json::Value;

use super::attachments;
use super::desk::id_of;
use crate::mail::store::Stored;
use crate::mail::{headers, mime};

/// Properties that need the message itself.
const FROM_RAW: [&str; 8] = [
    "item:MimeContent",
    "item:Body",
    "item:TextBody",
    "item:UniqueBody",
    "item:Attachments",
    "item:InternetMessageHeaders",
    "item:Size",
    "item:InReplyTo",
];

/// What Exchange gives of a message by default; with GetItem more than with FindItem.
const DEFAULT: [&str; 14] = [
    "item:Attachments",
    "item:HasAttachments",
    "item:Subject",
    "item:Sensitivity",
    "item:Size",
    "item:DateTimeSent",
    "item:Body",
    "message:ToRecipients",
    "message:CcRecipients",
    "message:BccRecipients",
    "message:From",
    "message:IsRead",
    "message:IsReadReceiptRequested",
    "message:IsDeliveryReceiptRequested",
];

/// Tag of the message's header as one text (`PR_TRANSPORT_MESSAGE_HEADERS`), and of its flags (`PR_MESSAGE_FLAGS`).
const TAG_HEADERS: u32 = 0x007d;
const TAG_FLAGS: u32 = 0x0e07;

/// What is asked for.
pub(super) struct Wanted<'a> {
    shape: &'a ItemShape,
    /// FindItem and SyncFolderItems give no body, no file, and the recipients' names only.
    in_list: bool,
}

impl<'a> Wanted<'a> {
    pub(super) fn of_item(shape: &'a ItemShape) -> Self {
        Self { shape, in_list: false }
    }

    pub(super) fn in_list(shape: &'a ItemShape) -> Self {
        Self { shape, in_list: true }
    }

    fn has(&self, name: &str) -> bool {
        const NEVER_LISTED: [&str; 7] = [
            "item:MimeContent",
            "item:Body",
            "item:TextBody",
            "item:Attachments",
            "message:ToRecipients",
            "message:CcRecipients",
            "message:BccRecipients",
        ];
        if self.in_list && NEVER_LISTED.contains(&name) {
            return false;
        }
        let by_base = match self.shape.base {
            BaseShape::IdOnly | BaseShape::PcxPeopleSearch => false,
            BaseShape::Default => DEFAULT.contains(&name),
            BaseShape::AllProperties => name != "item:MimeContent" && name != "item:TextBody",
        };
        by_base || self.names(name)
    }

    fn names(&self, name: &str) -> bool {
        self.shape.additional.iter().any(|path| matches!(path, Path::Field(field) if field.uri == name))
    }

    fn mime(&self) -> bool {
        !self.in_list && (self.shape.include_mime_content == Some(true) || self.names("item:MimeContent"))
    }

    /// Whether the message itself must be read.
    pub(super) fn needs_raw(&self) -> bool {
        let further = |path: &Path| !matches!(path, Path::Field(_));
        self.mime() || FROM_RAW.iter().any(|name| self.has(name)) || self.shape.additional.iter().any(further)
    }
}

fn instant(second: i64) -> Option<postroom_model::Timestamp> {
    postroom_model::Timestamp::from_second(second).ok()
}

/// A recipient of the facts.
fn person(value: &Value) -> Option<Mailbox> {
    let email = &value["emailAddress"];
    Some(Mailbox {
        name: email["name"].as_str().map(str::to_owned),
        address: Some(email["address"].as_str()?.to_owned()),
        routing_type: Some("SMTP".to_owned()),
        kind: Some("OneOff".to_owned()),
    })
}

fn people(value: &Value) -> Vec<Mailbox> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(person).collect()
}

fn single(value: &Value) -> Option<SingleRecipient> {
    person(value).map(|mailbox| SingleRecipient { mailbox })
}

fn names(value: &Value) -> String {
    let names = people(value).into_iter().filter_map(|one| one.name.or(one.address));
    names.collect::<Vec<_>>().join("; ")
}

/// Categories as they are kept.
fn categories(stored: &Stored) -> Vec<String> {
    let kept = stored.marks["categories"].as_array().map(Vec::as_slice).unwrap_or_default();
    kept.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `High` of `high`.
fn importance(stored: &Stored) -> String {
    let kept = stored.marks.get("importance").unwrap_or(&stored.facts["importance"]).as_str();
    match kept {
        Some("high") => "High",
        Some("low") => "Low",
        _ => "Normal",
    }
    .to_owned()
}

/// The message as it is asked for. Without its raw bytes what comes of them stays away.
pub(super) fn message(stored: &Stored, wanted: &Wanted<'_>) -> Message {
    let facts = &stored.facts;
    let when = |name: &str, second: i64| wanted.has(name).then(|| instant(second)).flatten();
    let flag = |name: &str, value: bool| wanted.has(name).then_some(value);
    let text = |name: &str, value: Option<&str>| value.filter(|_| wanted.has(name)).map(str::to_owned);
    let list = |name: &str, field: &str| if wanted.has(name) { people(&facts[field]) } else { Vec::new() };
    let one = |name: &str, field: &str| wanted.has(name).then(|| single(&facts[field])).flatten();
    let thread = facts["conversationId"].as_str();
    let mut message = Message {
        id: Some(id_of(stored)),
        parent: wanted
            .has("item:ParentFolderId")
            .then(|| FolderId { id: stored.folder.clone(), change_key: Some("AQAAAA==".to_owned()) }),
        class: text("item:ItemClass", Some("IPM.Note")),
        subject: text("item:Subject", facts["subject"].as_str()),
        sensitivity: text("item:Sensitivity", Some("Normal")),
        received: when("item:DateTimeReceived", stored.received_at),
        categories: if wanted.has("item:Categories") { categories(stored) } else { Vec::new() },
        importance: wanted.has("item:Importance").then(|| importance(stored)),
        // What is handed over has left at once.
        is_submitted: flag("item:IsSubmitted", false),
        is_draft: flag("item:IsDraft", stored.is_draft),
        is_from_me: flag("item:IsFromMe", false),
        is_resend: flag("item:IsResend", false),
        is_unmodified: flag("item:IsUnmodified", !stored.is_draft),
        sent: when("item:DateTimeSent", facts["sentAt"].as_i64().unwrap_or(stored.created_at)),
        created: when("item:DateTimeCreated", stored.created_at),
        display_cc: wanted.has("item:DisplayCc").then(|| names(&facts["ccRecipients"])),
        display_to: wanted.has("item:DisplayTo").then(|| names(&facts["toRecipients"])),
        has_attachments: flag("item:HasAttachments", facts["hasAttachments"] == true),
        last_modified: when("item:LastModifiedTime", stored.modified_at),
        is_associated: flag("item:IsAssociated", false),
        conversation_id: thread.filter(|_| wanted.has("item:ConversationId")).map(ItemId::of),
        sender: one("message:Sender", "sender"),
        to: list("message:ToRecipients", "toRecipients"),
        cc: list("message:CcRecipients", "ccRecipients"),
        bcc: list("message:BccRecipients", "bccRecipients"),
        read_receipt: flag("message:IsReadReceiptRequested", facts["isReadReceiptRequested"] == true),
        delivery_receipt: flag("message:IsDeliveryReceiptRequested", false),
        conversation_topic: text("message:ConversationTopic", facts["subject"].as_str()),
        from: one("message:From", "from"),
        internet_message_id: text("message:InternetMessageId", Some(&stored.internet_message_id)),
        is_read: flag("message:IsRead", stored.is_read),
        reply_to: list("message:ReplyTo", "replyTo"),
        ..Message::default()
    };
    if let Some(raw) = &stored.raw {
        from_raw(stored, raw, wanted, &mut message);
    }
    message
}

/// What only the message itself tells.
fn from_raw(stored: &Stored, raw: &[u8], wanted: &Wanted<'_>, message: &mut Message) {
    if wanted.mime() {
        let character_set = Some("UTF-8".to_owned());
        message.mime = Some(MimeContent { character_set, content: Bytes::copy_from_slice(raw) });
    }
    let body = |kind: Option<&str>| {
        let body = mime::body(raw, kind);
        Body {
            kind: if body["contentType"] == "html" { "HTML" } else { "Text" }.to_owned(),
            is_truncated: None,
            text: body["content"].as_str().unwrap_or_default().to_owned(),
        }
    };
    let kind = wanted.shape.body_type.as_deref().map(str::to_ascii_lowercase);
    message.body = wanted.has("item:Body").then(|| body(kind.as_deref()));
    message.text_body = wanted.has("item:TextBody").then(|| body(Some("text")));
    message.size = wanted.has("item:Size").then(|| u32::try_from(raw.len()).unwrap_or(u32::MAX));
    message.in_reply_to = headers::value(raw, "In-Reply-To").filter(|_| wanted.has("item:InReplyTo"));
    message.references = headers::value(raw, "References").filter(|_| wanted.has("message:References"));
    if wanted.has("item:InternetMessageHeaders") {
        message.headers = all_headers(raw);
    }
    if wanted.has("item:Attachments") {
        message.attachments = attached(stored, raw);
    }
    for path in &wanted.shape.additional {
        match path {
            Path::Extended(uri) => {
                message.extended.extend(extended(stored, raw, uri).map(|value| ExtendedProperty {
                    uri: uri.clone(),
                    value: Some(value),
                    values: Vec::new(),
                }));
            }
            Path::Indexed(indexed) if indexed.uri == "item:InternetMessageHeader" => {
                let value = headers::value(raw, &indexed.index);
                let header = |value| Header { name: indexed.index.clone(), value };
                message.headers.extend(value.map(header));
            }
            Path::Indexed(_) | Path::Field(_) => {}
        }
    }
}

fn all_headers(raw: &[u8]) -> Vec<Header> {
    let all = mime::all_headers(raw);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|one| Header { name: text(&one["name"]), value: text(&one["value"]) }).collect()
}

/// The value of a property of the store: a header by name, the whole header, the flags.
pub(super) fn extended(stored: &Stored, raw: &[u8], uri: &ExtendedFieldUri) -> Option<String> {
    if uri.distinguished_set.as_deref() == Some("InternetHeaders") {
        return headers::value(raw, uri.name.as_deref()?);
    }
    match tag(uri)? {
        TAG_HEADERS => {
            let end = raw.windows(4).position(|window| window == b"\r\n\r\n").map_or(raw.len(), |at| at + 2);
            Some(String::from_utf8_lossy(&raw[..end]).into_owned())
        }
        TAG_FLAGS => Some((i32::from(stored.is_read) | if stored.is_draft { 8 } else { 0 }).to_string()),
        _ => None,
    }
}

/// The tag of a property, in either way of writing it.
pub(super) fn tag(uri: &ExtendedFieldUri) -> Option<u32> {
    let text = uri.tag.as_deref()?.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether this property holds a message's flags.
pub(super) fn is_flags(uri: &ExtendedFieldUri) -> bool {
    tag(uri) == Some(TAG_FLAGS)
}

/// The attachments without what they hold.
fn attached(stored: &Stored, raw: &[u8]) -> Vec<Attachment> {
    let Some(parsed) = mime::parse(raw) else { return Vec::new() };
    let parts = parsed.attachments().take(crate::mail::attachments::MOST).enumerate();
    let described = parts.map(|(index, part)| attachments::described(stored, index, part));
    described
        .map(|attachment| match attachment {
            Attachment::File(file) => Attachment::File(FileAttachment { content: None, ..file }),
            Attachment::Item(item) => Attachment::Item(ItemAttachment { item: Vec::new(), ..item }),
        })
        .collect()
}
