//! `POST /notifications/graph`: Microsoft Graph tells of new messages
//! (<https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>). Anybody can call it, so a call only
//! wakes a mailbox, and only when it bears what was given to Graph when the subscription was made.
//!
//! Graph counts an answer after three seconds as late and then tells less, so a call is answered within that time: what is
//! not done by then goes on behind the answer.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use postroom_engine::watch::subscriptions::{News, Notified};
use postroom_model::SecretString;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::{ApiError, ApiState, body};

/// Largest call, in bytes. An entry has some hundred.
const MAX_BODY: u64 = 256 * 1024;
/// Longest token of the handshake that is said back.
const MAX_TOKEN: usize = 2_048;

/// How long a call may take to come.
const READ_WITHIN: Duration = Duration::from_millis(1_500);
/// How long a call waits for what it brings about.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Calls in hand at the same time, also behind their answers. Others are told to come again.
static HANDS: Semaphore = Semaphore::const_new(16);

/// The handshake's part of the address.
#[derive(Deserialize)]
pub(crate) struct Handshake {
    #[serde(rename = "validationToken")]
    token: Option<String>,
}

#[derive(Deserialize)]
struct Call {
    value: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    subscription_id: String,
    #[serde(default)]
    client_state: Option<String>,
    #[serde(default)]
    lifecycle_event: Option<String>,
}

impl From<Entry> for Notified {
    fn from(entry: Entry) -> Self {
        let news = match entry.lifecycle_event.as_deref() {
            Some("reauthorizationRequired") => News::Renew,
            Some("subscriptionRemoved") => News::Gone,
            // A change, `missed`, or an event that is not known yet: looking does no harm.
            _ => News::Arrived,
        };
        Self {
            subscription: entry.subscription_id,
            state: SecretString::from(entry.client_state.unwrap_or_default()),
            news,
        }
    }
}

/// Says the token of the handshake back, or wakes what the call is about. The answer is the same whether somebody was
/// woken or not: whoever guesses learns nothing.
pub(crate) async fn graph(
    State(state): State<ApiState>,
    Query(handshake): Query<Handshake>,
    body: Body,
) -> Result<Response, ApiError> {
    if let Some(token) = handshake.token {
        if token.len() > MAX_TOKEN || token.chars().any(char::is_control) {
            return Err(ApiError::malformed_request("the validation token is too long, or no text"));
        }
        // It has to come back letter by letter, so nothing in it is rewritten: no browser takes it for a page.
        let headers = [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        ];
        return Ok((StatusCode::OK, headers, token).into_response());
    }
    let Ok(hand) = HANDS.try_acquire() else {
        let words = "too many calls at once; come again";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", words));
    };
    let Ok(bytes) = timeout(READ_WITHIN, body::read(body, MAX_BODY)).await else {
        let words = "the body did not come in time";
        return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", words));
    };
    let bytes = bytes?;
    let call: Call = serde_json::from_slice(&bytes)
        .map_err(|_| ApiError::malformed_request("the body is no list of notifications"))?;
    let told = call.value.into_iter().map(Notified::from).collect();
    let work = tokio::spawn(async move {
        let _hand = hand;
        state.engine.notified(told).await
    });
    match timeout(ANSWER_WITHIN, work).await {
        Ok(Ok(woken)) => drop(woken?),
        Ok(Err(error)) => {
            tracing::error!(%error, "a call about subscriptions ended early");
            let words = "a fault of Postroom ended the call; come again";
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", words));
        }
        // It goes on, and polling finds what it may miss.
        Err(_) => {}
    }
    Ok(StatusCode::ACCEPTED.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    postroom_fuzz::targets! {
        api_notification: [
            r#"{"value":[{"subscriptionId":"s","clientState":"c","changeType":"created","resource":"users/x","lifecycleEvent":"missed","resourceData":{"id":"m"}}]}"#,
        ] => |bytes| serde_json::from_slice::<Call>(bytes).map(|call| {
            call.value.into_iter().map(Notified::from).map(|told| told.subscription).collect::<Vec<_>>()
        }),
    }
}
