//! What a raw message says, in Graph's words; and messages made of Graph's JSON.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address as Written;
use mail_builder::headers::raw::Raw;
use mail_parser::{Address, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders};
use postroom_model::EmailAddress;
use serde_json::{Map, Value, json};

use super::headers;
use crate::answer::Refusal;
use crate::entra::keys::sha256;
use crate::state::Tenant;

/// Messages nested in messages are parsed by recursion, so one with more than this many is read as headers only.
const MAX_NESTED: usize = 100;
/// Most recipients of one message (<https://learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits>).
const MAX_RECIPIENTS: usize = 1000;
/// Length of `bodyPreview`.
const PREVIEW: usize = 255;

/// Parses within bounds.
pub(crate) fn parse(raw: &[u8]) -> Option<Message<'_>> {
    let needle = b"message/";
    let nested = raw.windows(needle.len()).filter(|window| window.eq_ignore_ascii_case(needle)).count();
    let parser = MessageParser::default();
    if nested > MAX_NESTED { parser.parse_headers(raw) } else { parser.parse(raw) }
}

/// Gives a message what every stored one has: CRLF, `Message-ID`, `Date`, and `From` when `from` is given.
pub(crate) fn completed(tenant: &Tenant, raw: &[u8], from: Option<&str>) -> Vec<u8> {
    let mut raw = headers::with_crlf(raw);
    if !headers::has(&raw, "Message-ID") {
        let id = format!("<{}@SANDBOX.PROD.OUTLOOK.COM>", tenant.env.new_token(32).to_ascii_uppercase());
        raw = headers::with_first(&raw, "Message-ID", &id);
    }
    if !headers::has(&raw, "Date") {
        raw = headers::with_first(&raw, "Date", &rfc5322_date(tenant.now()));
    }
    if let Some(from) = from.filter(|_| !headers::has(&raw, "From")) {
        raw = headers::with_first(&raw, "From", from);
    }
    raw
}

/// A second as RFC 5322 section 3.3 writes it.
pub(crate) fn rfc5322_date(second: i64) -> String {
    let instant =
        postroom_model::Timestamp::from_second(second).unwrap_or(postroom_model::Timestamp::UNIX_EPOCH);
    instant.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// `internetMessageId` and the other facts of a message.
pub(crate) fn facts(raw: &[u8]) -> (String, Value) {
    let Some(message) = parse(raw) else { return (String::new(), json!({"subject": ""})) };
    let id = message.message_id().map(|id| format!("<{id}>")).unwrap_or_default();
    let text = message.body_text(0).unwrap_or_default();
    let preview: String =
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(PREVIEW).collect();
    let from = people(message.from()).into_iter().next();
    let sender = people(message.sender()).into_iter().next().or_else(|| from.clone());
    let conversation = sha256(root(&message).unwrap_or(&id).as_bytes());
    let facts = json!({
        "subject": message.subject().unwrap_or_default(),
        "bodyPreview": preview,
        "hasAttachments": message.attachments().any(|part| !is_inline(part)),
        "importance": importance(raw),
        "from": from,
        "sender": sender,
        "toRecipients": people(message.to()),
        "ccRecipients": people(message.cc()),
        "bccRecipients": people(message.bcc()),
        "replyTo": people(message.reply_to()),
        "sentAt": message.date().map(mail_parser::DateTime::to_timestamp),
        "conversationId": format!("AAQkAG{}=", URL_SAFE_NO_PAD.encode(&conversation)),
        "conversationIndex": STANDARD.encode(&conversation[..22]),
        "isReadReceiptRequested": headers::has(raw, "Disposition-Notification-To"),
    });
    (id, facts)
}

/// The first message of the thread: first of `References`, else `In-Reply-To`.
fn root<'a>(message: &'a Message<'_>) -> Option<&'a str> {
    let first = |value: &'a HeaderValue<'_>| {
        value.as_text_list().and_then(|list| list.first().map(AsRef::as_ref)).or_else(|| value.as_text())
    };
    first(message.references()).or_else(|| first(message.in_reply_to()))
}

fn importance(raw: &[u8]) -> &'static str {
    let value = headers::value(raw, "Importance").unwrap_or_default().to_ascii_lowercase();
    match value.as_str() {
        "high" => "high",
        "low" => "low",
        _ => "normal",
    }
}

/// Whether a part belongs to the text rather than beside it.
pub(crate) fn is_inline(part: &MessagePart<'_>) -> bool {
    let attached = part.content_disposition().is_some_and(|disposition| disposition.is_attachment());
    part.content_id().is_some() && !attached
        || part.content_disposition().is_some_and(|disposition| disposition.is_inline())
}

fn people(address: Option<&Address<'_>>) -> Vec<Value> {
    let known = address.into_iter().flat_map(Address::iter).filter_map(|one| {
        let address = one.address.as_deref()?;
        Some(recipient(one.name.as_deref().unwrap_or(address), address))
    });
    known.take(MAX_RECIPIENTS).collect()
}

fn recipient(name: &str, address: &str) -> Value {
    json!({"emailAddress": {"name": name, "address": address}})
}

/// `body` of the message; `wanted` is `text` or `html`, none gives what it is.
pub(crate) fn body(raw: &[u8], wanted: Option<&str>) -> Value {
    let Some(message) = parse(raw) else { return json!({"contentType": "text", "content": ""}) };
    let is_html = message.html_part(0).is_some_and(MessagePart::is_text_html);
    let html = match wanted {
        Some("text") => false,
        Some("html") => true,
        _ => is_html,
    };
    if html {
        json!({"contentType": "html", "content": message.body_html(0).unwrap_or_default()})
    } else {
        json!({"contentType": "text", "content": message.body_text(0).unwrap_or_default()})
    }
}

/// `internetMessageHeaders`.
pub(crate) fn all_headers(raw: &[u8]) -> Value {
    let Some(message) = parse(raw) else { return json!([]) };
    let pairs = message
        .headers_raw()
        .take(500)
        .map(|(name, value)| json!({"name": name, "value": value.replace(['\r', '\n'], "").trim()}));
    Value::Array(pairs.collect())
}

/// A message in base64, decoded (<https://learn.microsoft.com/graph/outlook-send-mime-message>).
pub(crate) fn from_base64(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let text: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok().filter(|raw| !raw.is_empty()).ok_or_else(|| {
        Refusal::new(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.")
    })
}

fn invalid(property: &str) -> Refusal {
    Refusal::new(
        400,
        "ErrorPropertyValidationFailure",
        format!("The value of property '{property}' is not valid."),
    )
}

/// One address of the JSON form.
fn written(property: &str, value: &Value) -> Result<Written<'static>, Refusal> {
    let email = &value["emailAddress"];
    let shown: String = email["address"].as_str().unwrap_or_default().chars().take(120).collect();
    let address: EmailAddress = shown.parse().map_err(|_| {
        Refusal::new(
            400,
            "ErrorInvalidRecipients",
            format!("At least one recipient is not valid., Recipient '{shown}' is not resolved. All recipients must be resolved before a message can be submitted."),
        )
    })?;
    let name = email["name"].as_str().filter(|name| !name.is_empty() && *name != shown);
    if name.is_some_and(|name| name.chars().any(char::is_control) || name.len() > 1000) {
        return Err(invalid(property));
    }
    Ok(Written::new_address(name.map(str::to_owned), address.as_str().to_owned()))
}

/// A list of addresses of the JSON form.
pub(crate) fn written_list(property: &str, value: &Value) -> Result<Option<Written<'static>>, Refusal> {
    let items = match value {
        Value::Null => return Ok(None),
        Value::Array(items) => items,
        _ => return Err(invalid(property)),
    };
    if items.len() > MAX_RECIPIENTS {
        return Err(Refusal::new(
            400,
            "ErrorExceededMaxRecipientLimit",
            "The message has too many recipients.",
        ));
    }
    let list = items.iter().map(|item| written(property, item)).collect::<Result<Vec<_>, _>>()?;
    Ok((!list.is_empty()).then(|| Written::new_list(list)))
}

/// A header value as it is written into a message, folded.
pub(crate) fn header_text(value: &impl mail_builder::headers::Header, name: &str) -> String {
    let mut bytes: Vec<u8> = Vec::new();
    value.write_header(&mut bytes, name.len() + 2);
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// A message made of the JSON form. `from` is the mailbox it is written in.
pub(crate) fn compose(tenant: &Tenant, json: &Map<String, Value>, from: &str) -> Result<Vec<u8>, Refusal> {
    let mut builder = MessageBuilder::new().date(tenant.now());
    let sender = json.get("from").filter(|value| !value.is_null());
    builder = match sender {
        Some(value) => builder.from(written("from", value)?),
        None => builder.from(Written::new_address(None::<String>, from.to_owned())),
    };
    let id = match json.get("internetMessageId").and_then(Value::as_str) {
        Some(text) => own_id(text)?,
        None => format!("{}@SANDBOX.PROD.OUTLOOK.COM", tenant.env.new_token(32).to_ascii_uppercase()),
    };
    builder = builder.message_id(id);
    let list = |name: &str| written_list(name, json.get(name).unwrap_or(&Value::Null));
    if let Some(to) = list("toRecipients")? {
        builder = builder.to(to);
    }
    if let Some(cc) = list("ccRecipients")? {
        builder = builder.cc(cc);
    }
    if let Some(bcc) = list("bccRecipients")? {
        builder = builder.bcc(bcc);
    }
    if let Some(reply_to) = list("replyTo")? {
        builder = builder.reply_to(reply_to);
    }
    builder = builder.subject(subject(json.get("subject")));
    for (name, value) in custom_headers(json.get("internetMessageHeaders"))? {
        builder = builder.header(name, Raw::new(value));
    }
    if let Some(importance) = json.get("importance").and_then(Value::as_str).filter(|text| *text != "normal")
    {
        if !["low", "high"].contains(&importance) {
            return Err(invalid("importance"));
        }
        builder = builder.header("Importance", Raw::new(importance.to_owned()));
    }
    builder = with_body(builder, json.get("body"));
    builder = super::attachments::written(builder, json.get("attachments"))?;
    builder.write_to_vec().map_err(|_| invalid("message"))
}

/// A subject on one line.
pub(crate) fn subject(value: Option<&Value>) -> String {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    text.chars().take(1000).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The text of the message: HTML when it says so.
pub(crate) fn with_body<'x>(builder: MessageBuilder<'x>, body: Option<&Value>) -> MessageBuilder<'x> {
    let content = body.and_then(|body| body["content"].as_str()).unwrap_or_default().to_owned();
    let kind = body.and_then(|body| body["contentType"].as_str()).unwrap_or_default();
    if kind.eq_ignore_ascii_case("html") { builder.html_body(content) } else { builder.text_body(content) }
}

/// A `Message-ID` of the client's own, without its brackets.
fn own_id(text: &str) -> Result<String, Refusal> {
    let bare = text.trim().trim_start_matches('<').trim_end_matches('>');
    let fine = bare.len() <= 900
        && bare.contains('@')
        && bare.chars().all(|c| c.is_ascii_graphic() && !"<>".contains(c));
    if fine { Ok(bare.to_owned()) } else { Err(invalid("internetMessageId")) }
}

/// Headers of the client's own: at most five, and each must begin with `x-`.
fn custom_headers(value: Option<&Value>) -> Result<Vec<(String, String)>, Refusal> {
    let refuse = |message: String| Refusal::new(400, "InvalidInternetMessageHeaderCollection", message);
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if items.len() > 5 {
        return Err(refuse(
            "Maximum number of headers in one message should be less than or equal to 5.".to_owned(),
        ));
    }
    let mut out = Vec::new();
    for item in items {
        let name = item["name"].as_str().unwrap_or_default();
        let value = item["value"].as_str().unwrap_or_default();
        let shown: String = name.chars().take(80).collect();
        if !name.to_ascii_lowercase().starts_with("x-") {
            return Err(Refusal::new(
                400,
                "InvalidInternetMessageHeader",
                format!("The internet message header name '{shown}' should start with 'x-' or 'X-'."),
            ));
        }
        let name_ok =
            name.len() <= 200 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !name_ok || value.len() > 995 || !value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
            return Err(refuse(format!("The header '{shown}' is not valid.")));
        }
        out.push((name.to_owned(), value.to_owned()));
    }
    Ok(out)
}

/// The draft with another text: its own header fields, and the parts beside the text kept as attachments.
pub(crate) fn with_new_body(raw: &[u8], body: &Value) -> Result<Vec<u8>, Refusal> {
    let mut builder = with_body(MessageBuilder::new(), Some(body));
    if let Some(message) = parse(raw) {
        for part in message.attachments() {
            let kind = part.content_type().map_or_else(
                || "application/octet-stream".to_owned(),
                |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")),
            );
            let bytes = part.contents().to_vec();
            builder = match part.content_id().filter(|_| is_inline(part)) {
                Some(cid) => builder.inline(kind, cid.to_owned(), bytes),
                None => {
                    builder.attachment(kind, part.attachment_name().unwrap_or("attachment").to_owned(), bytes)
                }
            };
        }
    }
    let mut content = Vec::new();
    builder.write_body(&mut content).map_err(|_| invalid("body"))?;
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n").map_or(raw.len(), |at| at + 2);
    let mut out = raw[..end].to_vec();
    for name in ["Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "MIME-Version"] {
        out = headers::without(&out, name);
    }
    out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    out.extend_from_slice(&content);
    Ok(out)
}
