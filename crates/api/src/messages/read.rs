//! `GET /messages` and `GET /messages/{id}`: what became of the messages this key handed in.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use postroom_model::OutboxMessageId;
use postroom_model::event::Subject;
use postroom_model::outbox::{OutboxMessage, OutboxState};
use postroom_store::{EventFilter, OutboxFilter, Page, StoredEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::auth::Program;
use crate::{ApiError, ApiState};

/// Most events of one timeline. A message that is tried for five days has about a hundred.
const MAX_EVENTS: u32 = 500;
/// Most messages in one answer.
const MAX_LIMIT: u32 = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    state: Option<String>,
    limit: Option<u32>,
    offset: Option<u32>,
}

/// One line of a timeline.
#[derive(Serialize)]
struct TimelineEntry {
    sequence: i64,
    at: postroom_model::Timestamp,
    kind: &'static str,
    sentence: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl From<StoredEvent> for TimelineEntry {
    fn from(stored: StoredEvent) -> Self {
        let event = stored.event;
        Self {
            sequence: stored.sequence,
            at: event.at,
            kind: event.kind.as_str(),
            sentence: event.kind.sentence(),
            attempt: event.attempt,
            words: event.words,
            request_id: event.request_id,
        }
    }
}

pub(crate) async fn one(
    program: Program,
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    // What is no id, what does not exist and what another handed in are the same answer: none is told of.
    let unknown = || ApiError::not_found("there is no such message among those this key handed in");
    let id: OutboxMessageId = id.parse().map_err(|_| unknown())?;
    let message = state.store.outbox_message(id).await?;
    let message = message.filter(|message| message.submitted_by == program.submitter).ok_or_else(unknown)?;
    let filter = EventFilter { subject: Some(Subject::OutboxMessage(id)), after: 0 };
    let events = state.store.events(&filter, MAX_EVENTS).await?;
    let timeline: Vec<TimelineEntry> = events.into_iter().map(TimelineEntry::from).collect();
    let mut answer = shown(&message);
    answer["timeline"] = json!(timeline);
    Ok(Json(answer))
}

pub(crate) async fn list(
    program: Program,
    State(state): State<ApiState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::malformed_request(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(50);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::malformed_request(format!("limit must be 1 to {MAX_LIMIT}")));
    }
    let wanted = query.state.filter(|state| !state.is_empty());
    let wanted: Option<OutboxState> = wanted
        .map(|text| text.parse())
        .transpose()
        .map_err(|error| ApiError::malformed_request(format!("{error}")))?;
    let offset = query.offset.unwrap_or(0);
    let filter = OutboxFilter { state: wanted, submitted_by: Some(program.submitter.clone()) };
    let messages = state.store.outbox(&filter, Page { limit, offset }).await?;
    let messages: Vec<Value> = messages.iter().map(shown).collect();
    Ok(Json(json!({ "messages": messages, "limit": limit, "offset": offset })))
}

/// A message as its sender may see it.
fn shown(message: &OutboxMessage) -> Value {
    let mut shown = json!({
        "id": message.id,
        "message_id": message.message_id,
        "state": message.state,
        "from": message.envelope.from,
        "to": message.envelope.to,
        "subject": message.subject,
        "size": message.size,
        "accepted_at": message.accepted_at,
        "next_attempt_at": message.next_attempt_at,
        "attempts": message.attempts,
        "words": message.last_words,
    });
    if let Some(parent) = message.follow_up_of {
        shown["follow_up_of"] = json!(parent);
    }
    shown
}
