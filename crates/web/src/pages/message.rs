//! `/inbox/{id}`: the reading pane, files, filing on a record, *Run again*.

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{Html, IntoResponse, Redirect, Response};
use postroom_mime::eml::content_disposition;
use postroom_mime::read::View;
use postroom_model::inbox::{InboxMessage, InboxState};
use postroom_model::record::RecordRef;
use postroom_model::{InboxMessageId, NamedAddress};
use serde_json::{Value, json};

use super::inbox::{self, ListQuery, mailbox_names};
use crate::error::PageError;
use crate::fields::Fields;
use crate::session::SignedIn;
use crate::templates::{render, shell};
use crate::{App, shown};

/// Runs work on a message's bytes off the request threads: large HTML takes long.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PageError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a message could not be shown");
        PageError::internal()
    })
}

/// `GET /inbox/{id}`.
pub(super) async fn page(
    user: SignedIn,
    State(app): State<App>,
    Path(id): Path<InboxMessageId>,
    headers: HeaderMap,
) -> Result<Html<String>, PageError> {
    let message = shown_message(&app, &user, id, "", None).await?;
    answer(&app, &user, message, &headers).await
}

/// The pane alone, or the whole page with the list beside it.
async fn answer(
    app: &App,
    user: &SignedIn,
    message: Value,
    headers: &HeaderMap,
) -> Result<Html<String>, PageError> {
    if headers.contains_key("hx-request") {
        return render("inbox/message.html", &json!({ "m": message }));
    }
    let mut values = inbox::list(app, user, &ListQuery::default()).await?;
    values["shell"] = shell(Some(user), "inbox");
    values["m"] = message;
    render("inbox/page.html", &values)
}

/// Everything the pane shows. `typed` and `refused` are what the filing form came back with.
async fn shown_message(
    app: &App,
    user: &SignedIn,
    id: InboxMessageId,
    typed: &str,
    refused: Option<String>,
) -> Result<Value, PageError> {
    let viewer = user.user.viewer();
    let message = app.store.inbox_message(&viewer, id).await?.ok_or_else(PageError::not_found)?;
    let raw = app.store.inbox_raw(&viewer, id).await?.ok_or_else(PageError::not_found)?;
    let mailboxes = app.store.mailboxes_for(&viewer).await?;
    let view = blocking(move || postroom_mime::read::view(&raw)).await?;
    let now = app.env.now();
    let records: Vec<Value> = app
        .store
        .records_of(&viewer, id)
        .await?
        .iter()
        .map(|entry| {
            json!({ "name": entry.record.to_string(), "by": entry.filed_by, "at": shown::time(entry.time, now) })
        })
        .collect();
    let timeline = shown::inbox_timeline(app.store.as_ref(), id, &mailboxes, now).await?;
    let (content, unreadable) = match &view {
        Ok(view) => (shown_view(view), None),
        Err(error) => (Value::Null, Some(error.to_string())),
    };
    // What is in quarantine was never summarized, though it can often be read.
    let summary = view.map_or(message.summary.clone(), |view| view.summary);
    Ok(json!({
        "id": id,
        "subject": summary.subject,
        "from": summary.from.as_ref().map(NamedAddress::to_string),
        "to": addresses(&summary.to),
        "cc": addresses(&summary.cc),
        "origin": summary.origin.as_str(),
        "is_old": message.is_old,
        "received": shown::time(message.received_at, now),
        "size": shown::size(message.size),
        "mailboxes": mailbox_names(&message, &mailboxes),
        "quarantined": message.state == InboxState::Quarantined,
        "reason": reason(&message),
        "content": content,
        "unreadable": unreadable,
        "records": records,
        "timeline": timeline,
        "typed": typed,
        "refused": refused,
    }))
}

fn reason(message: &InboxMessage) -> &str {
    message.reason.as_deref().unwrap_or("No reason was written down.")
}

fn addresses(list: &[NamedAddress]) -> String {
    list.iter().map(NamedAddress::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a mail needs little room: a few lines and no pictures. The frame cannot measure itself without scripts.
fn is_short(view: &View) -> bool {
    const LINES: usize = 9;
    const LINE: usize = 80;
    let lines = view.text.lines().map(|line| 1 + line.chars().take(LINES * LINE).count() / LINE);
    lines.take(LINES + 1).sum::<usize>() <= LINES && !view.attachments.iter().any(|file| file.inline)
}

fn shown_view(view: &View) -> Value {
    let files: Vec<Value> = view
        .attachments
        .iter()
        .filter(|file| !file.inline)
        .map(|file| {
            json!({
                "index": file.index,
                "name": file.name,
                "type": file.content_type,
                "size": shown::size(file.size),
            })
        })
        .collect();
    json!({
        "text": view.text,
        "html": view.html.is_some(),
        "short": is_short(view),
        "blocked": view.html.as_ref().map_or(0, |html| html.blocked_remote),
        "files": files,
        "headers": view.headers,
    })
}

/// `GET /inbox/{id}/attachments/{index}`. Always a download: nothing of a stranger is opened on our origin.
pub(super) async fn attachment(
    user: SignedIn,
    State(app): State<App>,
    Path((id, index)): Path<(InboxMessageId, usize)>,
) -> Result<Response, PageError> {
    let raw = app.store.inbox_raw(&user.user.viewer(), id).await?.ok_or_else(PageError::not_found)?;
    let found = blocking(move || postroom_mime::read::attachment(&raw, index)).await?;
    let file = found.ok().flatten().ok_or_else(PageError::not_found)?;
    let disposition =
        HeaderValue::try_from(content_disposition(&file.info.name)).map_err(|_| PageError::internal())?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CONTENT_DISPOSITION, disposition),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    Ok((headers, file.content).into_response())
}

/// `POST /inbox/{id}/file`.
pub(super) async fn file(
    user: SignedIn,
    State(app): State<App>,
    Path(id): Path<InboxMessageId>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, PageError> {
    let typed = fields.get("record");
    let refused = match typed.parse::<RecordRef>() {
        Ok(record) => {
            app.store.file_on_record(&user.user.viewer(), id, &record, &user.actor()).await?;
            None
        }
        Err(error) => Some(error.to_string()),
    };
    if refused.is_none() && !headers.contains_key("hx-request") {
        return Ok(Redirect::to(&format!("/inbox/{id}")).into_response());
    }
    let kept = if refused.is_some() { typed } else { "" };
    let message = shown_message(&app, &user, id, kept, refused).await?;
    Ok(answer(&app, &user, message, &headers).await?.into_response())
}

/// `POST /inbox/{id}/reprocess`: *Run again*.
pub(super) async fn reprocess(
    user: SignedIn,
    State(app): State<App>,
    Path(id): Path<InboxMessageId>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    app.store.reprocess(&user.user.viewer(), id, &user.actor()).await?;
    app.engine.nudge();
    if headers.contains_key("hx-request") {
        let message = shown_message(&app, &user, id, "", None).await?;
        return Ok(answer(&app, &user, message, &headers).await?.into_response());
    }
    Ok(Redirect::to(&format!("/inbox/{id}")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_small_for_a_few_lines_only() {
        let mail = |text: &str| {
            let raw = format!("Subject: a\r\nContent-Type: text/plain\r\n\r\n{text}\r\n");
            is_short(&postroom_mime::read::view(raw.as_bytes()).unwrap())
        };
        assert!(mail("Thanks!\r\n\r\nAnn"));
        assert!(!mail(&"Another line\r\n".repeat(12)));
        assert!(!mail(&"many words in one long line ".repeat(50)));
    }
}
