//! The one error envelope. A handler answers with an [`ApiError`]; the outermost layer gives every answer its
//! request id and writes the envelope, so no answer can miss it. Codes are listed in the crate's head.

use std::any::Any;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use postroom_engine::intake::IntakeError;
use postroom_model::{Env, Problems};
use postroom_store::StoreError;
use serde::Serialize;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, put into its extensions by whoever logs requests; made here where nobody has.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// A field and what is wrong with it.
#[derive(Debug, Clone, Serialize)]
pub struct FieldError {
    /// Name of the field: `to[0]`.
    pub field: String,
    /// One sentence.
    pub message: String,
}

/// An answer that is an error.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
    fields: Vec<FieldError>,
    limit: Option<u64>,
    retry_after: Option<u32>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    fields: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

impl ApiError {
    /// An error with its status, its stable code and one sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, hint: None, fields: Vec::new(), limit: None, retry_after: None }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn hint_of(mut self, error: &IntakeError) -> Self {
        self.hint = error.hint().map(str::to_owned);
        self
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "the API key is missing, unknown or revoked")
            .hint("send `Authorization: Bearer pr_...`; `postroom apikey create NAME` makes a key")
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn malformed_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", message)
    }

    pub(crate) fn too_large(message: impl Into<String>, limit: u64) -> Self {
        let mut error = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message);
        error.limit = Some(limit);
        error
    }

    pub(crate) fn invalid(problems: &Problems) -> Self {
        let mut error =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields", "the message is not valid");
        error.hint = problems.errors().find_map(|problem| problem.hint.clone());
        error.fields = problems
            .errors()
            .map(|problem| FieldError { field: problem.field.clone(), message: problem.message.clone() })
            .collect();
        if let [only] = error.fields.as_slice() {
            error.message = format!("{}: {}", only.field, only.message);
        }
        error
    }

    fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong on our side")
            .hint("try again later with the same idempotency key; the log tells more under this request id")
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        // The chain of causes is for the log alone: it holds paths and words of the database.
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
        match &error {
            StoreError::Full { .. } => Self::new(
                unavailable,
                "no_space",
                "no space is left to store the message; nothing was accepted",
            )
            .hint("try again later; the administrator has to free some space")
            .retry_after(60),
            error if error.is_temporary() => {
                Self::new(unavailable, "unavailable", "the store cannot be reached; nothing was accepted")
                    .hint("try again with the same idempotency key")
                    .retry_after(5)
            }
            _ => Self::internal(),
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Invalid(problems) => Self::invalid(&problems),
            IntakeError::TooLarge { limit, .. } => Self::too_large(error.to_string(), limit).hint_of(&error),
            IntakeError::TooHeavy(ref heavy) => Self::too_large(error.to_string(), heavy.limit()).hint_of(&error),
            IntakeError::NoConnection(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no_connection", error.to_string()).hint_of(&error)
            }
            IntakeError::DraftsOnly => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "drafts_only", error.to_string())
                    .hint("send the same JSON to POST /api/v1/drafts: its answer is the .eml file to open; or an administrator chooses a server based method on the page System settings - E-mail")
            }
            IntakeError::Busy { retry_after } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string())
                    .hint_of(&error)
                    .retry_after(retry_after)
            }
            IntakeError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for ApiError {
    /// Status and headers; the envelope is written by the outermost layer, which knows the request id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"postroom\""));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives every answer its request id and every error its envelope. The id is always ours: one that a client sends
/// could be another's.
pub(crate) async fn envelope(State(env): State<Env>, request: Request, next: Next) -> Response {
    // One id for the answer and for every line that is logged under it.
    let id = match request.extensions().get::<RequestId>() {
        Some(RequestId(id)) => id.clone(),
        None => env.new_uuid().to_string(),
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if response.status().is_client_error() && response.extensions().get::<ApiError>().is_none() {
        // The framework's own refusal, in plain text: a path that is no UTF-8.
        response = ApiError::malformed_request("the path or a parameter cannot be read").into_response();
    }
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        tracing::info!(request_id = %id, %method, path, status = error.status.as_u16(), code = error.code, "refused");
        let envelope = Envelope {
            error: Inner {
                code: error.code,
                message: &error.message,
                hint: error.hint.as_deref(),
                request_id: &id,
                fields: &error.fields,
                limit: error.limit,
            },
        };
        let headers = std::mem::take(response.headers_mut());
        response = (error.status, Json(envelope)).into_response();
        for (name, value) in headers.iter().filter(|(name, _)| !name.as_str().starts_with("content-")) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

pub(crate) async fn unknown_route(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::not_found(format!("there is nothing at {path}"))
}

pub(crate) async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not answer to this method",
    )
}

/// Turns a panic into the envelope: a defect of one request must not look like a cut line.
#[derive(Clone, Copy)]
pub(crate) struct PanicAnswer;

impl tower_http::catch_panic::ResponseForPanic for PanicAnswer {
    type ResponseBody = axum::body::Body;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send + 'static>) -> Response {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no words");
        tracing::error!(panic = words, "a request panicked");
        ApiError::internal().into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_failing_store_say_when_to_try_again() {
        let full = StoreError::Full { operation: "accept", path: "/srv/postroom".into() };
        let busy = StoreError::Database { operation: "accept", source: "locked".into() };
        for (error, code, seconds) in [(full, "no_space", "60"), (busy, "unavailable", "5")] {
            let error = ApiError::from(error);
            assert_eq!(error.code, code);
            assert!(
                !error.message.contains("srv") && !error.message.contains("locked"),
                "causes stay in the log"
            );
            let response = error.into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn a_message_over_the_connections_limit_names_it_as_a_number() {
        let error = ApiError::from(IntakeError::TooLarge { size: 12, limit: 10 });
        assert_eq!(
            (error.status, error.code, error.limit),
            (StatusCode::PAYLOAD_TOO_LARGE, "too_large", Some(10))
        );
        assert!(error.message.contains("10 bytes"));
    }
}
