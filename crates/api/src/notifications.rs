//! `POST /notifications/graph`: Microsoft Graph tells of new messages
//! (<https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>). Anybody can call it, so a call only
//! wakes a mailbox, and only when it bears what was given to Graph when the subscription was made.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use postroom_engine::watch::subscriptions::{News, Notified};
use postroom_model::SecretString;
use serde::Deserialize;

use crate::{ApiError, ApiState, body};

/// Largest call, in bytes. An entry has some hundred.
const MAX_BODY: u64 = 256 * 1024;
/// Longest token of the handshake that is said back.
const MAX_TOKEN: usize = 2_048;

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
        if token.len() > MAX_TOKEN {
            return Err(ApiError::malformed_request("the validation token is too long"));
        }
        let headers = [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        return Ok((StatusCode::OK, headers, token).into_response());
    }
    let bytes = body::read(body, MAX_BODY).await?;
    let call: Call = serde_json::from_slice(&bytes)
        .map_err(|_| ApiError::malformed_request("the body is no list of notifications"))?;
    state.engine.notified(call.value.into_iter().map(Notified::from).collect()).await?;
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
