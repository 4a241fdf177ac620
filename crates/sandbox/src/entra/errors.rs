//! Errors of Entra in their own shape
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::answer::{Refusal, bytes_answer};
use crate::call::Call;
use crate::state::Tenant;

/// A refusal of the token endpoint.
#[derive(Debug)]
pub(crate) struct EntraError {
    status: u16,
    number: u32,
    error: &'static str,
    text: String,
}

impl EntraError {
    pub(super) fn new(status: u16, number: u32, error: &'static str) -> Self {
        Self { status, number, error, text: String::new() }
    }

    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// A parameter that is not there.
    pub(super) fn missing(parameter: &str) -> Self {
        Self::new(400, 900_144, "invalid_request")
            .text(format!("The request body must contain the following parameter: '{parameter}'."))
    }

    /// Number and sentence, as a page shows them.
    pub(super) fn sentence(&self) -> String {
        format!("AADSTS{}: {}", self.number, self.text)
    }

    pub(super) fn error(&self) -> &'static str {
        self.error
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn into_response(self, tenant: &Tenant, call: &Call) -> Response {
        let timestamp = tenant.env.now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let correlation = call.header("client-request-id").unwrap_or(&call.request_id);
        let correlation: String = correlation.chars().take(100).collect();
        let trace = &call.request_id;
        let body = json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}",
                self.number, self.text,
            ),
            "error_codes": [self.number],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("{}/error?code={}", call.base, self.number),
        });
        answer(self.status, &body)
    }
}

impl From<sqlx::Error> for EntraError {
    fn from(error: sqlx::Error) -> Self {
        let refusal = Refusal::from(error);
        Self::new(500, 90_033, "temporarily_unavailable").text(refusal.message)
    }
}

/// JSON that must not be kept by anyone on its way.
pub(super) fn answer(status: u16, body: &Value) -> Response {
    let mut response = bytes_answer(status, "application/json; charset=utf-8", body.to_string().into_bytes());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-ms-ests-server"), HeaderValue::from_static("2.1.0 - sandbox"));
    response
}
