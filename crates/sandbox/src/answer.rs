//! Answers and refusals in Graph's shape.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::call::Call;
use crate::state::Tenant;

/// Media type of Graph's JSON.
const GRAPH_JSON: &str =
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";

/// What an area gives back.
pub(crate) type Answer = Result<Response, Refusal>;

/// A refusal: status, code and sentence, as in <https://learn.microsoft.com/graph/errors>.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// Code and target of the one entry in `details`.
    pub(crate) details: Option<(&'static str, &'static str)>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new(), details: None }
    }

    pub(crate) fn detail(mut self, code: &'static str, target: &'static str) -> Self {
        self.details = Some((code, target));
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A token of the right kind with too few permissions, at the mail side.
    pub(crate) fn access_denied() -> Self {
        Self::new(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
    }

    /// The same at the directory.
    pub(crate) fn privileges() -> Self {
        Self::new(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    }

    pub(crate) fn item_not_found() -> Self {
        Self::new(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    }

    pub(crate) fn resource_not_found(id: &str) -> Self {
        let id: String = id.chars().take(120).collect();
        Self::new(
            404,
            "Request_ResourceNotFound",
            format!(
                "Resource '{id}' does not exist or one of its queried reference-property objects are not present."
            ),
        )
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "Request_BadRequest", message)
    }

    /// A path that leads nowhere.
    pub(crate) fn no_route(call: &Call) -> Self {
        let segment: String =
            call.path.last().map(String::as_str).unwrap_or_default().chars().take(80).collect();
        Self::new(400, "BadRequest", format!("Resource not found for the segment '{segment}'."))
    }

    /// The refusal on the wire.
    pub(crate) fn into_response(self, tenant: &Tenant, call: &Call) -> Response {
        let mut body = json!({"error": {
            "code": self.code,
            "message": self.message,
            "innerError": {
                "date": tenant.env.now().strftime("%Y-%m-%dT%H:%M:%S").to_string(),
                "request-id": call.request_id,
                "client-request-id": client_request_id(call),
            },
        }});
        if let Some((code, target)) = self.details {
            body["error"]["details"] =
                json!([{"code": code, "message": body["error"]["message"], "target": target}]);
        }
        let mut response = json_answer(self.status, &body);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the sandbox's database failed");
        Self::new(500, "ErrorInternalServerError", "An internal server error occurred. The operation failed.")
    }
}

/// The client's own id of the request; the server's when it sent none.
pub(crate) fn client_request_id(call: &Call) -> String {
    call.header("client-request-id")
        .map_or_else(|| call.request_id.clone(), |id| id.chars().take(100).collect())
}

/// A JSON answer.
pub(crate) fn json_answer(status: u16, body: &Value) -> Response {
    bytes_answer(status, GRAPH_JSON, body.to_string().into_bytes())
}

/// An answer of bytes.
pub(crate) fn bytes_answer(status: u16, media_type: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// An answer without a body, and so without a media type.
pub(crate) fn empty_answer(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// A second as Graph writes it: `2026-11-23T10:00:00Z`.
pub(crate) fn iso(second: i64) -> String {
    let instant =
        postroom_model::Timestamp::from_second(second).unwrap_or(postroom_model::Timestamp::UNIX_EPOCH);
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
