//! The JSON form of a message. The fields of [`Draft`], with the liberty
//! that a list of addresses may be one string.

use std::collections::BTreeMap;
use std::fmt;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postroom_mime::eml;
use postroom_model::Problems;
use postroom_model::draft::{Attachment, AttachmentFields, Draft, Signature};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::ApiError;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MessageFields {
    from: String,
    #[serde(deserialize_with = "one_or_many")]
    to: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    cc: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    bcc: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    reply_to: Vec<String>,
    subject: String,
    text: Option<String>,
    html: Option<String>,
    headers: BTreeMap<String, String>,
    attachments: Vec<AttachmentFields>,
    #[serde(deserialize_with = "text_or_both")]
    signature: Signature,
}

/// A string for text, or an object with text and HTML, or null for none.
fn text_or_both<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Signature, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text, or an object with `text` and `html`")]
    enum TextOrBoth {
        Text(String),
        Both(Signature),
    }

    Ok(match Option::deserialize(deserializer)? {
        None => Signature::default(),
        Some(TextOrBoth::Text(text)) => Signature { text: Some(text), html: None },
        Some(TextOrBoth::Both(both)) => both,
    })
}

/// A string, a list of strings, or null for none.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address or a list of addresses")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<String>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }

    deserializer.deserialize_any(OneOrMany)
}

impl MessageFields {
    /// Reads the body; what is wrong is named by line, column and path.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        // serde would also read the fields from an array, in the order they stand here: a form nobody promised.
        if body.trim_ascii_start().first() == Some(&b'[') {
            let message = "the JSON is malformed in line 1, column 1: expected an object, found an array";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", message));
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let fields = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            malformed(error.inner(), Some(&path).filter(|path| *path != "."))
        })?;
        json.end().map_err(|error| malformed(&error, None))?;
        Ok(fields)
    }

    /// The draft, signed and with attachments decoded. Addresses are judged by [`Draft::validate`].
    pub(crate) fn into_draft(self) -> Result<Draft, ApiError> {
        let mut problems = Problems::new();
        let mut attachments = Vec::with_capacity(self.attachments.len());
        for (index, fields) in self.attachments.into_iter().enumerate() {
            match decode(fields) {
                Ok(attachment) => attachments.push(attachment),
                Err(error) => {
                    let field = format!("attachments[{index}].content_base64");
                    problems.error(&field, format!("is not base64 (RFC 4648 section 4): {error}"));
                }
            }
        }
        if problems.blocks() {
            return Err(ApiError::invalid(&problems));
        }
        let draft = Draft {
            from: self.from,
            to: self.to,
            cc: self.cc,
            bcc: self.bcc,
            reply_to: self.reply_to,
            subject: self.subject,
            text: self.text,
            html: self.html,
            headers: self.headers.into_iter().collect(),
            attachments,
        };
        Ok(eml::signed(draft, &self.signature))
    }
}

fn decode(fields: AttachmentFields) -> Result<Attachment, base64::DecodeError> {
    let content = STANDARD.decode(fields.content_base64.as_bytes())?;
    let content_type = match fields.content_type.trim() {
        "" => "application/octet-stream".to_owned(),
        given => given.to_owned(),
    };
    Ok(Attachment { name: fields.name, content_type, content, content_id: fields.content_id })
}

fn malformed(error: &serde_json::Error, path: Option<&String>) -> ApiError {
    // serde_json ends its sentence with the place; the place is told once, in front.
    let words = error.to_string();
    let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
    let path = path.map(|path| format!(", at `{path}`")).unwrap_or_default();
    let message =
        format!("the JSON is malformed in line {}, column {}{path}: {words}", error.line(), error.column());
    ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", message)
}
