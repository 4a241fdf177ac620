//! A message as a person or a program composes it, and the rules that say what is wrong with it.

use serde::{Deserialize, Serialize};

use crate::address::{EmailAddress, NamedAddress};
use crate::problem::Problems;

/// Most recipients of one message. Exchange Online's default is 500 (`Set-Mailbox -RecipientLimits`, at most 1,000).
pub const MAX_RECIPIENTS: usize = 500;
/// Longest subject in characters, as Exchange stores it.
pub const MAX_SUBJECT: usize = 255;
/// Most attachments of one message.
pub const MAX_ATTACHMENTS: usize = 250;

/// Headers a draft may not set, because Postroom or the provider does.
const RESERVED_HEADERS: [&str; 16] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "return-path",
    "received",
    "dkim-signature",
];

/// A message to be sent. Addresses are text here, so that each wrong one can be named at its field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Sender: `a@b` or `Name <a@b>`.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
    /// Copy.
    pub cc: Vec<String>,
    /// Blind copy: in the envelope, never in the message the others get.
    pub bcc: Vec<String>,
    /// Where answers go; none means to the sender.
    pub reply_to: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Body as text.
    pub text: Option<String>,
    /// Body as HTML.
    pub html: Option<String>,
    /// Further headers, name and value.
    pub headers: Vec<(String, String)>,
    /// Files.
    pub attachments: Vec<Attachment>,
}

/// What stands below the body of everything a person writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// As text.
    #[serde(default)]
    pub text: Option<String>,
    /// As HTML: formatted text, links, pictures among the attachments.
    #[serde(default)]
    pub html: Option<String>,
}

/// A file that travels with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// File name as shown to the reader.
    pub name: String,
    /// Media type: `application/pdf`.
    pub content_type: String,
    /// The bytes.
    pub content: Vec<u8>,
    /// Content-ID without angle brackets, for a picture inside the HTML.
    pub content_id: Option<String>,
}

/// A draft whose addresses are known to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidDraft {
    /// Sender.
    pub from: NamedAddress,
    /// Recipients.
    pub to: Vec<NamedAddress>,
    /// Copy.
    pub cc: Vec<NamedAddress>,
    /// Blind copy.
    pub bcc: Vec<NamedAddress>,
    /// Where answers go.
    pub reply_to: Vec<NamedAddress>,
    /// Subject.
    pub subject: String,
    /// Body as text.
    pub text: Option<String>,
    /// Body as HTML.
    pub html: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Files.
    pub attachments: Vec<Attachment>,
}

impl ValidDraft {
    /// Every recipient once, in the order to, cc, bcc.
    pub fn recipients(&self) -> Vec<EmailAddress> {
        let mut seen = std::collections::BTreeSet::new();
        [&self.to, &self.cc, &self.bcc]
            .into_iter()
            .flatten()
            .map(|named| named.address.clone())
            .filter(|address| seen.insert(address.clone()))
            .collect()
    }
}

impl Draft {
    /// Checks every field and gives the draft with its addresses read.
    ///
    /// # Errors
    /// Every problem, each at its field: `from`, `to[0]`, `cc[1]`, `subject`, `headers[0]`, `attachments[2].name`.
    pub fn validate(self) -> Result<ValidDraft, Problems> {
        let mut problems = Problems::new();
        let from = read_address("from", &self.from, &mut problems);
        let to = read_addresses("to", &self.to, &mut problems);
        let cc = read_addresses("cc", &self.cc, &mut problems);
        let bcc = read_addresses("bcc", &self.bcc, &mut problems);
        let reply_to = read_addresses("reply_to", &self.reply_to, &mut problems);
        let count = self.to.len() + self.cc.len() + self.bcc.len();
        if count == 0 {
            problems.error("to", "a message needs at least one recipient in to, cc or bcc");
        } else if count > MAX_RECIPIENTS {
            problems.error(
                "to",
                format!("{count} recipients are too many; at most {MAX_RECIPIENTS} are allowed"),
            );
        }
        check_text(&self, &mut problems);
        check_headers(&self.headers, &mut problems);
        check_attachments(&self.attachments, &mut problems);
        problems.into_result()?;
        let Some(from) = from else { return Err(Problems::new()) };
        Ok(ValidDraft {
            from,
            to,
            cc,
            bcc,
            reply_to,
            subject: self.subject,
            text: self.text,
            html: self.html,
            headers: self.headers,
            attachments: self.attachments,
        })
    }
}

fn read_address(field: &str, text: &str, problems: &mut Problems) -> Option<NamedAddress> {
    match text.parse::<NamedAddress>() {
        Ok(address) => Some(address),
        Err(error) => {
            problems.error(field, error.to_string());
            None
        }
    }
}

fn read_addresses(field: &str, texts: &[String], problems: &mut Problems) -> Vec<NamedAddress> {
    texts
        .iter()
        .enumerate()
        .filter_map(|(index, text)| read_address(&format!("{field}[{index}]"), text, problems))
        .collect()
}

fn check_text(draft: &Draft, problems: &mut Problems) {
    let length = draft.subject.chars().count();
    if length > MAX_SUBJECT {
        problems.error(
            "subject",
            format!("the subject has {length} characters; at most {MAX_SUBJECT} are allowed"),
        );
    }
    if draft.subject.chars().any(char::is_control) {
        problems.error("subject", "the subject holds a line break or another control character");
    }
    if draft.text.is_none() && draft.html.is_none() {
        problems.error("text", "a message needs a body: text, html or both");
    }
}

fn check_headers(headers: &[(String, String)], problems: &mut Problems) {
    if headers.len() > 50 {
        problems.error("headers", format!("{} headers are too many; at most 50 are allowed", headers.len()));
    }
    for (index, (name, value)) in headers.iter().enumerate() {
        let field = format!("headers[{index}]");
        // RFC 5322 section 3.6.8: printable US-ASCII without the colon.
        let name_ok = !name.is_empty()
            && name.len() <= 76
            && name.bytes().all(|b| (33..=126).contains(&b) && b != b':');
        if !name_ok {
            problems.error(&field, format!("`{}` is not a header name", name.escape_debug()));
        } else if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            problems
                .error(&field, format!("the header {name} is set by Postroom; use the field of that name"));
        }
        if value.len() > 2_000 || value.chars().any(char::is_control) {
            problems.error(
                &field,
                format!(
                    "the value of {} is longer than 2000 bytes or holds a line break",
                    name.escape_debug()
                ),
            );
        }
    }
}

fn check_attachments(attachments: &[Attachment], problems: &mut Problems) {
    if attachments.len() > MAX_ATTACHMENTS {
        problems.error(
            "attachments",
            format!("{} attachments are too many; at most {MAX_ATTACHMENTS} are allowed", attachments.len()),
        );
    }
    for (index, attachment) in attachments.iter().enumerate() {
        let name = attachment.name.trim();
        if name.is_empty()
            || name.chars().count() > 255
            || name.chars().any(|c| c.is_control() || c == '/' || c == '\\')
        {
            problems.error(
                &format!("attachments[{index}].name"),
                "an attachment needs a file name of 1 to 255 characters without a path or line break",
            );
        }
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let type_ok =
            attachment.content_type.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
        if !type_ok || attachment.content_type.len() > 127 {
            problems.error(
                &format!("attachments[{index}].content_type"),
                format!(
                    "`{}` is not a media type such as application/pdf",
                    attachment.content_type.escape_debug()
                ),
            );
        }
        let id_ok = |id: &str| {
            !id.is_empty()
                && id.len() <= 200
                && id.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b))
        };
        if attachment.content_id.as_deref().is_some_and(|id| !id_ok(id)) {
            problems.error(
                &format!("attachments[{index}].content_id"),
                "a content id is printable ASCII without blanks and angle brackets",
            );
        }
    }
}

/// An attachment as the API takes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentFields {
    /// File name.
    pub name: String,
    /// Media type.
    #[serde(default)]
    pub content_type: String,
    /// The bytes in base64 (RFC 4648 section 4).
    pub content_base64: String,
    /// Content-ID for a picture inside the HTML.
    #[serde(default)]
    pub content_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            from: "Orders <orders@contoso.example>".into(),
            to: vec!["ann@fabrikam.example".into()],
            subject: "Order 4711".into(),
            text: Some("On its way".into()),
            ..Draft::default()
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let mut wrong = draft();
        wrong.from = "orders".into();
        wrong.to.push("ann@fabrikam".repeat(40));
        wrong.cc.push("bob@@x.example".into());
        wrong.subject = "a\r\nBcc: eve@evil.example".into();
        wrong.text = None;
        wrong.headers.push(("To".into(), "x".into()));
        wrong.headers.push(("x-ticket".into(), "1\r\nBcc: eve@evil.example".into()));
        wrong.attachments.push(Attachment {
            name: "../../etc/passwd".into(),
            content_type: "pdf".into(),
            content: Vec::new(),
            content_id: None,
        });
        let problems = wrong.validate().unwrap_err();
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "from",
                "to[1]",
                "cc[0]",
                "subject",
                "text",
                "headers[0]",
                "headers[1]",
                "attachments[0].name",
                "attachments[0].content_type"
            ]
        );
    }

    #[test]
    fn a_recipient_named_twice_is_in_the_envelope_once() {
        let mut twice = draft();
        twice.bcc = vec!["ANN@fabrikam.example".into(), "audit@contoso.example".into()];
        let valid = twice.validate().unwrap();
        let recipients: Vec<_> = valid.recipients().iter().map(ToString::to_string).collect();
        assert_eq!(recipients, ["ann@fabrikam.example", "audit@contoso.example"]);
    }
}
