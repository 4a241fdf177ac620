//! Changes to a message: marks, a draft's content, its folder, its end.

use axum::http::header;
use serde_json::{Map, Value, json};

use super::store::{self, Arrival, Stored};
use super::{Desk, headers, messages, mime, view};
use crate::answer::{Answer, Refusal, empty_answer};

/// Most categories, and the longest.
const MOST_CATEGORIES: usize = 50;

fn invalid(property: &str) -> Refusal {
    Refusal::new(
        400,
        "ErrorPropertyValidationFailure",
        format!("The value of property '{property}' is not valid."),
    )
}

/// `PATCH messages/{id}`.
pub(super) async fn patch(desk: &mut Desk<'_>, id: &str) -> Answer {
    let mut stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    if let Some(wanted) = desk.call.header(header::IF_MATCH)
        && wanted != "*"
        && wanted != view::etag(&stored)
    {
        return Err(Refusal::new(
            412,
            "ErrorIrresolvableConflict",
            "The send or update operation could not be performed because the change key passed in the request does not \
             match the current change key for the item.",
        ));
    }
    let json = desk.call.json()?;
    messages::known(&json)?;
    apply(&mut stored, &json)?;
    store::update(desk.tenant, desk.db, &mut stored).await?;
    messages::shown(desk, 200, &stored)
}

/// Takes over what is named in `json`.
pub(crate) fn apply(stored: &mut Stored, json: &Map<String, Value>) -> Result<(), Refusal> {
    for (name, value) in json.iter().filter(|(name, _)| !name.starts_with('@')) {
        mark(stored, name, value)?;
    }
    content(stored, json)
}

/// Takes over what may be changed on any message; what belongs to the content only on a draft.
fn mark(stored: &mut Stored, name: &str, value: &Value) -> Result<(), Refusal> {
    match name {
        "isRead" => stored.is_read = value.as_bool().ok_or_else(|| invalid(name))?,
        "categories" => {
            let items = value.as_array().ok_or_else(|| invalid(name))?;
            let fine = |item: &Value| item.as_str().is_some_and(|text| text.chars().count() <= 255);
            if items.len() > MOST_CATEGORIES || !items.iter().all(fine) {
                return Err(invalid(name));
            }
            stored.marks[name] = value.clone();
        }
        "flag" => {
            let status = value["flagStatus"].as_str().unwrap_or_default();
            if !["notFlagged", "flagged", "complete"].contains(&status) {
                return Err(invalid(name));
            }
            stored.marks[name] = value.clone();
        }
        "importance" | "inferenceClassification" => {
            let known = ["low", "normal", "high", "focused", "other"];
            if !value.as_str().is_some_and(|text| known.contains(&text)) {
                return Err(invalid(name));
            }
            stored.marks[name] = value.clone();
        }
        _ if stored.is_draft => {}
        // Enforced by the service from 2026-12-31 on: such changes need Mail-Advanced.ReadWrite.All.
        _ => {
            return Err(Refusal::new(
                403,
                "ErrorAccessDenied",
                format!(
                    "The property '{name}' of a message that is not a draft can only be changed with Mail-Advanced.ReadWrite.All."
                ),
            ));
        }
    }
    Ok(())
}

/// Rewrites the header fields and the body of a draft that are named in `json`.
fn content(stored: &mut Stored, json: &Map<String, Value>) -> Result<(), Refusal> {
    let mut raw = stored.raw.take().unwrap_or_default();
    for (name, field) in
        [("toRecipients", "To"), ("ccRecipients", "Cc"), ("bccRecipients", "Bcc"), ("replyTo", "Reply-To")]
    {
        let Some(value) = json.get(name) else { continue };
        raw = match mime::written_list(name, value)? {
            Some(list) => headers::replaced(&raw, field, &mime::header_text(&list, field)),
            None => headers::without(&raw, field),
        };
    }
    let from = json.get("from").map(|from| mime::written_list("from", &json!([from]))).transpose()?.flatten();
    if let Some(from) = from {
        raw = headers::replaced(&raw, "From", &mime::header_text(&from, "From"));
    }
    if json.contains_key("subject") {
        let subject = mail_builder::headers::text::Text::new(mime::subject(json.get("subject")));
        raw = headers::replaced(&raw, "Subject", &mime::header_text(&subject, "Subject"));
    }
    if let Some(body) = json.get("body") {
        raw = mime::with_new_body(&raw, body)?;
    }
    stored.raw = Some(raw);
    Ok(())
}

/// `POST messages/{id}/move`.
pub(super) async fn relocate(desk: &mut Desk<'_>, id: &str) -> Answer {
    let folder = destination(desk).await?;
    let mut stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    store::relocate(desk.tenant, desk.db, &mut stored, &folder).await?;
    messages::shown(desk, 201, &stored)
}

/// `POST messages/{id}/copy`.
pub(super) async fn copy(desk: &mut Desk<'_>, id: &str) -> Answer {
    let folder = destination(desk).await?;
    let stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    let arrival = Arrival {
        mailbox: &stored.mailbox,
        folder: &folder,
        raw: stored.raw.unwrap_or_default(),
        is_draft: stored.is_draft,
        is_read: stored.is_read,
        marks: stored.marks,
    };
    let copy = store::insert(desk.tenant, desk.db, arrival).await?;
    messages::shown(desk, 201, &copy)
}

async fn destination(desk: &mut Desk<'_>) -> Result<String, Refusal> {
    let json = desk.call.json()?;
    let wanted = json
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("destinationId"))
        .and_then(|(_, value)| value.as_str())
        .ok_or_else(|| invalid("destinationId"))?;
    store::folder(desk.db, &desk.mailbox.id, wanted).await
}

/// `DELETE messages/{id}`: into Deleted Items, and from there for good.
pub(super) async fn delete(desk: &mut Desk<'_>, id: &str) -> Answer {
    let mut stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    let bin = store::folder(desk.db, &desk.mailbox.id, "deleteditems").await?;
    if stored.folder == bin {
        store::remove(desk.db, &stored).await?;
    } else {
        store::relocate(desk.tenant, desk.db, &mut stored, &bin).await?;
    }
    Ok(empty_answer(204))
}

/// `POST messages/{id}/permanentDelete`.
pub(super) async fn purge(desk: &mut Desk<'_>, id: &str) -> Answer {
    let stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    store::remove(desk.db, &stored).await?;
    Ok(empty_answer(204))
}
