//! `/draft`: *Client based, via Microsoft Outlook*. A message is composed here, downloaded as a ready `.eml` file, and
//! sent by the program that opens it. Nothing of it is stored.

use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use postroom_engine::intake::IntakeError;
use postroom_mime::eml;
use postroom_model::draft::{Attachment, Draft, MAX_ATTACHMENTS, Signature};
use postroom_model::{EmailAddress, Problems};
use serde_json::{Value, json};

use crate::App;
use crate::error::{PageError, sentence};
use crate::session::SignedIn;
use crate::shown;
use crate::templates::{render, shell};

/// Largest form in bytes, files included; larger messages go by API or command line.
pub(super) const MAX_FORM: usize = 40 * 1024 * 1024;
/// Longest text of one field in bytes.
const MAX_TEXT: usize = 1_000_000;

const FIELDS: [&str; 7] = ["from", "to", "cc", "bcc", "subject", "text", "attachments"];

/// What stands in the form, files apart.
#[derive(Default, Clone)]
struct Typed {
    from: String,
    to: String,
    cc: String,
    bcc: String,
    subject: String,
    text: String,
    signature: String,
}

impl Typed {
    fn place(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "from" => &mut self.from,
            "to" => &mut self.to,
            "cc" => &mut self.cc,
            "bcc" => &mut self.bcc,
            "subject" => &mut self.subject,
            "text" => &mut self.text,
            "signature" => &mut self.signature,
            _ => return None,
        })
    }

    fn into_draft(self, attachments: Vec<Attachment>) -> Draft {
        let draft = Draft {
            from: self.from.trim().to_owned(),
            to: addresses(&self.to),
            cc: addresses(&self.cc),
            bcc: addresses(&self.bcc),
            subject: self.subject.trim().to_owned(),
            text: Some(self.text),
            attachments,
            ..Draft::default()
        };
        eml::signed(draft, &Signature { text: Some(self.signature), html: None })
    }

    fn shown(&self, user: &SignedIn, problems: &Problems) -> Value {
        // `to[1]` belongs to the field `to`.
        let place = |field: &str| field.split('[').next().unwrap_or_default().to_owned();
        let mut placed = Problems::new();
        for problem in problems.errors() {
            let error = placed.error(&place(&problem.field), sentence(&problem.message));
            error.hint.clone_from(&problem.hint);
        }
        json!({
            "shell": shell(Some(user), "draft"),
            "d": {
                "from": self.from,
                "to": self.to,
                "cc": self.cc,
                "bcc": self.bcc,
                "subject": self.subject,
                "text": self.text,
                "signature": self.signature,
                "problems": shown::problems(&placed, &FIELDS, str::to_owned),
            },
        })
    }
}

/// Addresses apart: by comma, semicolon or line, but not within the quotes of a name.
fn addresses(text: &str) -> Vec<String> {
    let mut quoted = false;
    let parts = text.split(|c: char| {
        quoted ^= c == '"';
        !quoted && matches!(c, ',' | ';' | '\n')
    });
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// `GET /draft`.
pub(super) async fn page(user: SignedIn) -> Result<Html<String>, PageError> {
    let from = user.user.address.as_ref().map_or_else(String::new, EmailAddress::to_string);
    let typed = Typed { from, ..Typed::default() };
    render("draft.html", &typed.shown(&user, &Problems::new()))
}

/// `POST /draft`: the file, or the form again with what is wrong.
pub(super) async fn make(
    user: SignedIn,
    State(app): State<App>,
    request: Request,
) -> Result<Response, PageError> {
    let mut form = Multipart::from_request(request, &app)
        .await
        .map_err(|_| PageError::wrong_form("The form could not be read."))?;
    let mut typed = Typed::default();
    let mut attachments = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(error.status()))? {
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().unwrap_or_default().to_owned();
        let content_type = field.content_type().unwrap_or("application/octet-stream").to_owned();
        let content = field.bytes().await.map_err(|error| unreadable(error.status()))?;
        if name == "attachment" {
            // A browser sends an empty one when no file was chosen.
            if !file_name.is_empty() && attachments.len() <= MAX_ATTACHMENTS {
                let content = content.to_vec();
                attachments.push(Attachment { name: file_name, content_type, content, content_id: None });
            }
        } else if let Some(place) = typed.place(&name).filter(|_| content.len() <= MAX_TEXT) {
            *place = String::from_utf8_lossy(&content).into_owned();
        }
    }
    let kept = typed.clone();
    let error = match app.engine.intake().make_draft(typed.into_draft(attachments)).await {
        Ok(ready) => return file(&ready.file_name, ready.raw),
        Err(error) => error,
    };
    let problems = match error {
        IntakeError::Invalid(problems) => problems,
        IntakeError::Store(error) => return Err(error.into()),
        error => {
            let mut problems = Problems::new();
            problems.error("attachments", error.to_string()).hint = error.hint().map(sentence);
            problems
        }
    };
    let page = render("draft.html", &kept.shown(&user, &problems))?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

fn unreadable(status: StatusCode) -> PageError {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let limit = MAX_FORM / 1024 / 1024;
        return PageError::new(
            status,
            format!("The files are larger than this page takes, which is {limit} MB."),
            "Send fewer or smaller ones, or use the command `postroom draft`.",
        );
    }
    PageError::wrong_form("The form could not be read.")
}

fn file(name: &str, raw: bytes::Bytes) -> Result<Response, PageError> {
    let disposition =
        HeaderValue::try_from(eml::content_disposition(name)).map_err(|_| PageError::internal())?;
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static("message/rfc822")), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, raw).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_but_not_their_names() {
        let typed =
            "\"Orders, Contoso\" <orders@contoso.example>; ann@fabrikam.example,\n\n bob@fabrikam.example";
        assert_eq!(
            addresses(typed),
            ["\"Orders, Contoso\" <orders@contoso.example>", "ann@fabrikam.example", "bob@fabrikam.example"]
        );
    }
}
