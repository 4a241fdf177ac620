//! One call, from address to answer.

use std::time::Duration;

use bytes::Bytes;
use postroom_entra::http::{self, ReadError};
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::{GraphClient, MAX_JSON};
use crate::error::{GraphError, Refused};
use crate::wire::ErrorEnvelope;

/// The preference that every request has.
pub(super) const IMMUTABLE: &str = "IdType=\"ImmutableId\"";

/// A call that is going to be made, perhaps twice.
pub(super) struct Call<'a> {
    /// What it is for, with its subject.
    pub(super) operation: String,
    /// The mailbox it is about.
    pub(super) user: &'a str,
    pub(super) method: Method,
    pub(super) address: Url,
    pub(super) body: Option<Body>,
    /// `odata.maxpagesize`.
    pub(super) page_size: Option<u32>,
    /// Longest time for the whole call; the client's own when none.
    pub(super) timeout: Option<Duration>,
}

/// A body with its type. Cheap to clone, for the repetition after a 401.
#[derive(Clone)]
pub(super) struct Body {
    pub(super) kind: &'static str,
    pub(super) bytes: Bytes,
}

impl GraphClient {
    /// `{graph}/v1.0/users/{user}/` and these segments, each percent-encoded. An empty or dotted segment is refused,
    /// because it would change which resource is meant.
    pub(super) fn address(&self, operation: &str, user: &str, rest: &[&str]) -> Result<Url, GraphError> {
        let wrong = || GraphError::Address { operation: operation.to_owned() };
        let mut segments = vec!["v1.0", "users", user];
        segments.extend(rest);
        if segments.iter().any(|segment| ["", ".", ".."].contains(segment)) {
            return Err(wrong());
        }
        http::join(&self.graph, &segments).ok_or_else(wrong)
    }

    /// A link of Graph's, refused unless it stays on the configured Graph: the token goes with it.
    pub(super) fn pinned(&self, operation: &str, link: &str) -> Result<Url, GraphError> {
        let address = Url::parse(link).ok().filter(|address| {
            address.origin() == self.graph.origin()
                && address.username().is_empty()
                && address.password().is_none()
        });
        address.ok_or_else(|| GraphError::Address { operation: operation.to_owned() })
    }

    pub(super) fn get<'a>(operation: String, user: &'a str, address: Url) -> Call<'a> {
        Call { operation, user, method: Method::GET, address, body: None, page_size: None, timeout: None }
    }

    /// The answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, GraphError> {
        let response = self.send(call).await?;
        let status = response.status().as_u16();
        let body = read(&call.operation, response, MAX_JSON).await?;
        serde_json::from_slice(&body).map_err(|_| GraphError::Garbage {
            operation: call.operation.clone(),
            status,
            what: "not the JSON that was expected",
        })
    }

    /// The answer, whose status says success. A 401 renews the token once and repeats the call: a request that was
    /// not let in was not carried out.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response, GraphError> {
        let operation = || call.operation.clone();
        if !http::is_private(&call.address) || call.address.origin() != self.graph.origin() {
            return Err(GraphError::Address { operation: operation() });
        }
        let mut renewed = false;
        loop {
            let token = self.tokens.token(&self.request).await;
            let token = token
                .map_err(|source| GraphError::Token { operation: operation(), source: Box::new(source) })?;
            let response = self.attempt(call, token.expose()).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            if response.status() == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                self.tokens.invalidate(&token);
                continue;
            }
            return Err(self.refusal(call, response).await);
        }
    }

    async fn attempt(&self, call: &Call<'_>, token: &str) -> Result<Response, GraphError> {
        let mut prefer = IMMUTABLE.to_owned();
        if let Some(size) = call.page_size {
            prefer.push_str(&format!(", odata.maxpagesize={size}"));
        }
        let mut request = self
            .http
            .request(call.method.clone(), call.address.clone())
            .bearer_auth(token)
            .header("client-request-id", self.env.new_uuid().to_string())
            .header("return-client-request-id", "true")
            .header("prefer", prefer);
        if let Some(Body { kind, bytes }) = call.body.clone() {
            request = request.header(header::CONTENT_TYPE, kind).body(bytes);
        } else if call.method == Method::POST {
            // Quirk: front ends answer 411 to a POST without a length.
            request = request.header(header::CONTENT_LENGTH, 0);
        }
        if let Some(timeout) = call.timeout {
            request = request.timeout(timeout);
        }
        request.send().await.map_err(|source| GraphError::Network {
            operation: call.operation.clone(),
            handed_over: !(source.is_connect() || source.is_builder()),
            source: source.without_url(),
        })
    }

    /// A refusal, in Graph's words where the body has them.
    pub(super) async fn refusal(&self, call: &Call<'_>, response: Response) -> GraphError {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        // A refusal whose body breaks off is still that refusal.
        let body = read(&call.operation, response, MAX_JSON).await.unwrap_or_default();
        self.refused(call, status, &headers, &body)
    }

    /// The same of an answer that was read.
    pub(super) fn refused(
        &self,
        call: &Call<'_>,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
    ) -> GraphError {
        let retry_after = http::retry_after(headers, self.env.now());
        let header_id = request_id(headers);
        let envelope = serde_json::from_slice::<ErrorEnvelope>(body).ok();
        let (code, message, inner) = match envelope {
            Some(ErrorEnvelope { error }) => (error.code, error.message, error.inner),
            None => (String::new(), "(an answer without Microsoft Graph's error body)".to_owned(), None),
        };
        GraphError::Refused(Box::new(Refused {
            operation: call.operation.clone(),
            status,
            code: http::tidy(code, 200),
            message: http::tidy(message, 1_000),
            request_id: header_id.or_else(|| inner.and_then(|inner| inner.request_id)),
            retry_after,
            ids: self.ids(call.user),
        }))
    }
}

/// Graph's request id, for Microsoft's support.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("request-id")?.to_str().ok()?;
    Some(http::tidy(id, 100))
}

pub(super) async fn read(operation: &str, response: Response, limit: u64) -> Result<Vec<u8>, GraphError> {
    http::read_bounded(response, limit).await.map_err(|error| match error {
        ReadError::TooLarge { limit } => GraphError::TooLarge { operation: operation.to_owned(), limit },
        ReadError::Network { source } => {
            GraphError::Network { operation: operation.to_owned(), handed_over: true, source }
        }
    })
}
