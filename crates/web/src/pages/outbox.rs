//! `/outbox` and `/outbox/{id}`: what was accepted for sending and what became of it. Administrators see all,
//! everybody else what they handed in.

use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use postroom_model::outbox::{OutboxMessage, OutboxState};
use postroom_model::people::Role;
use postroom_model::{OutboxMessageId, Timestamp};
use postroom_store::{OutboxFilter, Page, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::PageError;
use crate::session::SignedIn;
use crate::templates::{render, shell};
use crate::{App, shown};

/// Messages on one page.
const PAGE: u32 = 50;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    state: String,
    #[serde(default)]
    page: String,
}

fn may_see(user: &SignedIn, message: &OutboxMessage) -> bool {
    user.user.has(Role::Administrator) || message.submitted_by == user.actor()
}

/// Up to `limit` messages that `user` may see, newest first: an administrator all, everybody else their own.
pub(super) async fn visible(
    app: &App,
    user: &SignedIn,
    state: Option<OutboxState>,
    limit: u32,
    offset: u32,
) -> Result<Vec<OutboxMessage>, StoreError> {
    let submitted_by = (!user.user.has(Role::Administrator)).then(|| user.actor());
    app.store.outbox(&OutboxFilter { state, submitted_by }, Page { limit, offset }).await
}

/// `GET /outbox`.
pub(super) async fn page(
    user: SignedIn,
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<Html<String>, PageError> {
    let state: Option<OutboxState> = query.state.parse().ok();
    let page: u32 = query.page.parse().unwrap_or(1).clamp(1, 1_000);
    let mut messages = visible(&app, &user, state, PAGE + 1, (page - 1) * PAGE).await?;
    let more = messages.len() > PAGE as usize;
    messages.truncate(PAGE as usize);
    let now = app.env.now();
    let link = |page: u32| match state {
        Some(state) => format!("/outbox?state={state}&page={page}"),
        None => format!("/outbox?page={page}"),
    };
    let values = json!({
        "shell": shell(Some(&user), "outbox"),
        "rows": messages.iter().map(|message| shown_message(message, now)).collect::<Vec<_>>(),
        "states": OutboxState::ALL.iter().map(|known| json!({
            "value": known.as_str(), "label": label(*known), "chosen": Some(*known) == state,
        })).collect::<Vec<_>>(),
        "filtered": state.is_some(),
        "newer": (page > 1).then(|| link(page - 1)),
        "older": more.then(|| link(page + 1)),
    });
    render("outbox/page.html", &values)
}

fn label(state: OutboxState) -> &'static str {
    match state {
        OutboxState::Accepted => "Accepted",
        OutboxState::Held => "Held",
        OutboxState::Scheduled => "Scheduled",
        OutboxState::Sending => "Sending",
        OutboxState::Sent => "Sent",
        OutboxState::Deferred => "Deferred",
        OutboxState::Unknown => "Unknown",
        OutboxState::Failed => "Not sent",
        OutboxState::Cancelled => "Cancelled",
    }
}

fn tone(state: OutboxState) -> &'static str {
    match state {
        OutboxState::Sent => "good",
        OutboxState::Failed => "bad",
        OutboxState::Deferred | OutboxState::Unknown | OutboxState::Held => "warn",
        _ => "plain",
    }
}

fn shown_message(message: &OutboxMessage, now: Timestamp) -> Value {
    let to: Vec<String> = message.envelope.to.iter().map(ToString::to_string).collect();
    let short = match to.as_slice() {
        [first, _, ..] => format!("{first} and {} more", to.len() - 1),
        _ => to.join(", "),
    };
    json!({
        "id": message.id,
        "state": message.state.as_str(),
        "label": if in_doubt(message) { "In doubt" } else { label(message.state) },
        "tone": tone(message.state),
        "from": message.envelope.from,
        "to": to.join(", "),
        "to_short": short,
        "subject": message.subject,
        "size": shown::size(message.size),
        "message_id": message.message_id,
        "provider_id": message.provider_id,
        "accepted": shown::time(message.accepted_at, now),
        "next": shown::maybe_time(message.next_attempt_at, now),
        "attempts": message.attempts,
        "words": message.last_words,
        "submitted_by": message.submitted_by,
        "follow_up_of": message.follow_up_of,
        "actions": actions(message),
    })
}

/// Whether it ended without anybody knowing whether it was sent.
fn in_doubt(message: &OutboxMessage) -> bool {
    message.state == OutboxState::Failed && message.in_doubt()
}

/// What is asked before a message is sent that may have been sent.
const MAY_ARRIVE_TWICE: &str = "This message may have been sent already; nobody can tell. Ask its recipients first. Sent again, it may arrive twice. Send it all the same?";

/// What a person may wish for a message: action, label, explanation.
fn actions(message: &OutboxMessage) -> Vec<Value> {
    use OutboxState::{Accepted, Deferred, Failed, Held, Scheduled};
    let state = message.state;
    let mut list = Vec::new();
    let mut offer = |action: &str, label: &str, ask: Option<&str>| {
        list.push(json!({ "action": action, "label": label, "ask": ask }));
    };
    if matches!(state, Held | Deferred | Failed) {
        offer("send", "Send now", message.in_doubt().then_some(MAY_ARRIVE_TWICE));
    }
    if matches!(state, Accepted | Scheduled | Deferred) {
        offer("hold", "Hold", None);
    }
    if matches!(state, Accepted | Held | Scheduled | Deferred) {
        offer("cancel", "Cancel message", Some("Take this message back? It will not be sent."));
    }
    list
}

async fn load(app: &App, user: &SignedIn, id: OutboxMessageId) -> Result<OutboxMessage, PageError> {
    let message = app.store.outbox_message(id).await?.filter(|message| may_see(user, message));
    message.ok_or_else(PageError::not_found)
}

/// `GET /outbox/{id}`.
pub(super) async fn one(
    user: SignedIn,
    State(app): State<App>,
    Path(id): Path<OutboxMessageId>,
) -> Result<Html<String>, PageError> {
    let message = load(&app, &user, id).await?;
    let now = app.env.now();
    let timeline = shown::outbox_timeline(app.store.as_ref(), id, now).await?;
    let connection = app.store.connection(message.connection).await?;
    let connection = connection.map(|known| known.settings.display_name().to_owned());
    let values = json!({
        "shell": shell(Some(&user), "outbox"),
        "m": shown_message(&message, now),
        "connection": connection,
        "timeline_lines": timeline,
    });
    render("outbox/message.html", &values)
}

/// `POST /outbox/{id}/{action}`: hold, send now, cancel.
pub(super) async fn change(
    user: SignedIn,
    State(app): State<App>,
    Path((id, action)): Path<(OutboxMessageId, String)>,
) -> Result<Response, PageError> {
    load(&app, &user, id).await?;
    let to = match action.as_str() {
        "hold" => OutboxState::Held,
        "send" => OutboxState::Accepted,
        "cancel" => OutboxState::Cancelled,
        _ => return Err(PageError::not_found()),
    };
    app.store.change_outbox(id, to, &user.actor()).await?;
    app.engine.nudge();
    Ok(Redirect::to(&format!("/outbox/{id}")).into_response())
}

#[cfg(test)]
mod tests {
    use postroom_model::Env;
    use postroom_model::outbox::{Envelope, IN_DOUBT};

    use super::*;

    #[test]
    fn whoever_sends_a_message_again_that_may_have_been_sent_is_warned_before() {
        let (env, _clock) = Env::for_test(1);
        let mut message = OutboxMessage {
            id: env.new_id(),
            state: OutboxState::Failed,
            connection: env.new_id(),
            envelope: Envelope { from: "orders@contoso.example".parse().unwrap(), to: Vec::new() },
            message_id: "<1@contoso.example>".into(),
            subject: String::new(),
            size: 1,
            accepted_at: env.now(),
            next_attempt_at: None,
            attempts: 2,
            provider_id: None,
            last_words: Some("550 5.1.1 No such user".into()),
            submitted_by: "cli".into(),
            follow_up_of: None,
        };
        let shown = shown_message(&message, env.now());
        assert_eq!((&shown["label"], &shown["actions"][0]["ask"]), (&json!("Not sent"), &Value::Null));
        message.last_words = Some(format!("{IN_DOUBT}, and is not sent again: no answer"));
        let shown = shown_message(&message, env.now());
        assert_eq!(shown["label"], "In doubt");
        assert!(shown["actions"][0]["ask"].as_str().unwrap().contains("may arrive twice"));
    }
}
