//! One call to Microsoft Graph: the administrator's token, a client request id, a bounded answer, patience with what
//! is not replicated yet.

use std::time::Duration;

use postroom_model::Env;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::error::{PolicyRefusal, RegisterError};
use crate::http::{self, ReadError};
use crate::token::AccessToken;

/// Largest answer that is read, in bytes. The service principal of Microsoft Graph, with all its roles, has about
/// one megabyte.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// How long a step waits for something that was just made and is not known everywhere yet: that answers 404.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Tries, the first one included.
    pub tries: u32,
    /// Pause after the first try; each further one is twice as long, at most 15 s.
    pub pause: Duration,
}

impl Default for Patience {
    /// Eight tries: 1, 2, 4, 8, 15, 15 and 15 s apart, one minute in all. Microsoft's objects have needed that long.
    fn default() -> Self {
        Self { tries: 8, pause: Duration::from_secs(1) }
    }
}

pub(super) struct Caller {
    pub(super) http: reqwest::Client,
    pub(super) env: Env,
    pub(super) graph: Url,
    pub(super) token: AccessToken,
    pub(super) patience: Patience,
}

/// A call; `step` says what it is for.
pub(super) struct Call<'a> {
    pub(super) step: &'a str,
    pub(super) method: Method,
    pub(super) address: Url,
    pub(super) body: Option<Value>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorMembers,
}

#[derive(Deserialize)]
struct ErrorMembers {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Caller {
    /// `{graph}/v1.0/` and these segments.
    pub(super) fn address(&self, step: &str, segments: &[&str]) -> Result<Url, RegisterError> {
        let mut all = vec!["v1.0"];
        all.extend(segments);
        http::join(&self.graph, &all).ok_or_else(|| RegisterError::Address { step: step.to_owned() })
    }

    /// The answer as JSON. A 404 is tried again while patience lasts.
    pub(super) async fn patient<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, RegisterError> {
        read_json(call.step, &self.patient_bytes(call).await?)
    }

    /// The answer as JSON, at once.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, RegisterError> {
        read_json(call.step, &self.bytes(call).await?)
    }

    pub(super) async fn patient_bytes(&self, call: &Call<'_>) -> Result<Vec<u8>, RegisterError> {
        let mut pause = self.patience.pause;
        let mut tries = 1;
        loop {
            let answer = self.bytes(call).await;
            let not_yet = matches!(answer, Err(RegisterError::Refused { status: 404, .. }));
            if !not_yet || tries >= self.patience.tries {
                return answer;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(15));
            tries += 1;
        }
    }

    pub(super) async fn bytes(&self, call: &Call<'_>) -> Result<Vec<u8>, RegisterError> {
        let step = || call.step.to_owned();
        // A page's link may name another host: the token stays here.
        if call.address.origin() != self.graph.origin() || !http::is_private(&call.address) {
            return Err(RegisterError::Address { step: step() });
        }
        let network =
            |source: reqwest::Error| RegisterError::Network { step: step(), source: source.without_url() };
        let mut request = self
            .http
            .request(call.method.clone(), call.address.clone())
            .bearer_auth(self.token.expose())
            .header("client-request-id", self.env.new_uuid().to_string())
            .header("return-client-request-id", "true");
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(network)?;
        let status = response.status();
        let request_id =
            response.headers().get("request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = match http::read_bounded(response, MAX_ANSWER).await {
            Ok(body) => body,
            Err(ReadError::TooLarge { .. }) => {
                return Err(RegisterError::Garbage {
                    step: step(),
                    status: status.as_u16(),
                    what: "far too much",
                });
            }
            Err(ReadError::Network { source }) => return Err(network(source)),
        };
        if status.is_success() {
            return Ok(body);
        }
        let (code, message) = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => (http::tidy(body.error.code, 200), http::tidy(body.error.message, 1_000)),
            Err(_) => (String::new(), "an answer that is not Microsoft Graph's JSON".to_owned()),
        };
        let (step, status) = (step(), status.as_u16());
        Err(match PolicyRefusal::of(&code) {
            Some(refusal) => RegisterError::Policy { step, refusal, status, message, request_id },
            None => RegisterError::Refused { step, status, code, message, request_id },
        })
    }
}

fn read_json<T: DeserializeOwned>(step: &str, body: &[u8]) -> Result<T, RegisterError> {
    serde_json::from_slice(body).map_err(|_| RegisterError::Garbage {
        step: step.to_owned(),
        status: 200,
        what: "not the JSON that was expected",
    })
}
