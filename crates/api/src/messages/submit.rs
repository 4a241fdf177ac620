//! `POST /messages`: yes means on disk.

use aws_lc_rs::digest::{Context, SHA256};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use postroom_engine::intake::Submitter;
use postroom_model::draft::MAX_RECIPIENTS;
use postroom_model::outbox::{Envelope, IdempotencyKey, OutboxMessage};
use postroom_model::{EmailAddress, Problems};
use postroom_store::Acceptance;
use serde_json::json;

use super::fields::MessageFields;
use crate::auth::Program;
use crate::{ApiError, ApiState, body};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const ENVELOPE_FROM: HeaderName = HeaderName::from_static("x-postroom-from");
const ENVELOPE_TO: HeaderName = HeaderName::from_static("x-postroom-to");

/// The forms a message is taken in.
pub(crate) enum Form {
    Json,
    Raw,
}

pub(crate) async fn submit(
    program: Program,
    State(state): State<ApiState>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let form = form(&parts.headers)?;
    let key = idempotency_key(&parts.headers)?;
    let body = body::read(body, state.max_request_bytes).await?;
    let idempotency = key.map(|key| (key, request_hash(&parts.headers, &body)));
    let submitter = Submitter { name: program.submitter, idempotency };
    let intake = state.engine.intake();
    let acceptance = match form {
        Form::Json => {
            // Decoding 100 MB of base64 takes long enough to hold up everybody else on this thread.
            let draft = blocking(move || MessageFields::parse(&body)?.into_draft()).await?;
            intake.submit_draft(draft, submitter).await?
        }
        Form::Raw => intake.submit_raw(body, envelope(&parts.headers)?, submitter).await?,
    };
    answer(acceptance)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(Box::new(error.to_string())),
    }
}

fn answer(acceptance: Acceptance) -> Result<Response, ApiError> {
    let body = |message: OutboxMessage| {
        Json(json!({ "id": message.id, "message_id": message.message_id, "state": message.state }))
    };
    match acceptance {
        Acceptance::Accepted(message) => Ok((StatusCode::ACCEPTED, body(message)).into_response()),
        Acceptance::Repeated(message) => {
            let replayed = [(REPLAYED, HeaderValue::from_static("true"))];
            Ok((StatusCode::ACCEPTED, replayed, body(message)).into_response())
        }
        Acceptance::KeyConflict { first } => Err(ApiError::new(
            StatusCode::CONFLICT,
            "idempotency_conflict",
            format!(
                "this idempotency key was used before with another request, which became message {first}"
            ),
        )
        .hint("nothing was accepted; use a new key for a new message")),
    }
}

pub(crate) fn form(headers: &HeaderMap) -> Result<Form, ApiError> {
    let unsupported = |message: &str| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
            .hint("send application/json, or message/rfc822 with X-Postroom-From and X-Postroom-To")
    };
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(unsupported("a compressed request body is not taken"));
    }
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Form::Json),
        "message/rfc822" => Ok(Form::Raw),
        "" => Err(unsupported("the content type is missing")),
        other => {
            let other: String = other.chars().take(100).collect();
            Err(unsupported(&format!("the content type {other} is not taken here")))
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    text.parse().map(Some).map_err(|error| {
        ApiError::malformed_request(format!("{error}")).hint("mend or leave out the header Idempotency-Key")
    })
}

/// SHA-256 over everything that makes the request what it is. Each part is led by its length, so that no two
/// different requests run together into the same bytes.
fn request_hash(headers: &HeaderMap, body: &Bytes) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    for name in [CONTENT_TYPE, ENVELOPE_FROM, ENVELOPE_TO] {
        part(name.as_str().as_bytes());
        let values = headers.get_all(&name);
        part(&(values.iter().count() as u64).to_be_bytes());
        values.iter().for_each(|value| part(value.as_bytes()));
    }
    part(body);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn envelope(headers: &HeaderMap) -> Result<Envelope, ApiError> {
    let mut problems = Problems::new();
    let mut read = |name: &HeaderName| -> Vec<EmailAddress> {
        let texts = headers.get_all(name).iter().flat_map(|value| {
            // Bytes that are no UTF-8 become a character that no address holds.
            String::from_utf8_lossy(value.as_bytes()).split(',').map(str::to_owned).collect::<Vec<_>>()
        });
        let mut addresses = Vec::new();
        for text in texts {
            match text.parse::<EmailAddress>() {
                Ok(address) if !addresses.contains(&address) => addresses.push(address),
                Ok(_) => {}
                Err(error) => {
                    problems.error(name.as_str(), error.to_string());
                }
            }
            // Whoever sends a thousand addresses gets one answer, not a thousand comparisons of all with all.
            if addresses.len() > MAX_RECIPIENTS {
                break;
            }
        }
        addresses
    };
    let (mut from, to) = (read(&ENVELOPE_FROM), read(&ENVELOPE_TO));
    if from.len() > 1 || (from.is_empty() && problems.at(ENVELOPE_FROM.as_str()).is_none()) {
        problems.error(ENVELOPE_FROM.as_str(), "needs exactly one address, the sender of the envelope");
    }
    if to.is_empty() && problems.at(ENVELOPE_TO.as_str()).is_none() {
        problems.error(ENVELOPE_TO.as_str(), "needs at least one address");
    } else if to.len() > MAX_RECIPIENTS {
        problems.error(ENVELOPE_TO.as_str(), format!("at most {MAX_RECIPIENTS} recipients are allowed"));
    }
    match from.pop() {
        Some(from) if !problems.blocks() => Ok(Envelope { from, to }),
        _ => Err(ApiError::invalid(&problems)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(HeaderName, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn recipients_come_by_comma_or_by_repeated_header_and_each_once() {
        let given = headers(&[
            (ENVELOPE_FROM, "orders@contoso.example"),
            (ENVELOPE_TO, "ann@fabrikam.example, bob@fabrikam.example"),
        ]);
        let mut given = given;
        given.append(ENVELOPE_TO, HeaderValue::from_static("ANN@fabrikam.example"));
        let envelope = envelope(&given).unwrap();
        assert_eq!(envelope.to.len(), 2);
        assert_eq!(envelope.from.as_str(), "orders@contoso.example");
    }

    #[test]
    fn the_request_hash_covers_type_envelope_and_body() {
        let base = headers(&[(CONTENT_TYPE, "message/rfc822"), (ENVELOPE_FROM, "a@b.example")]);
        let other_type = headers(&[(CONTENT_TYPE, "application/json"), (ENVELOPE_FROM, "a@b.example")]);
        let other_header = headers(&[(CONTENT_TYPE, "message/rfc822"), (ENVELOPE_TO, "a@b.example")]);
        let body = Bytes::from_static(b"x");
        let hash = request_hash(&base, &body);
        assert_eq!(hash, request_hash(&base, &body));
        assert_ne!(hash, request_hash(&other_type, &body));
        assert_ne!(hash, request_hash(&other_header, &body));
        assert_ne!(hash, request_hash(&base, &Bytes::from_static(b"y")));
    }
}
