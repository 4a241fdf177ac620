//! The token endpoint's answer, and the form it answers to.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use postroom_model::{Env, ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::error::{Place, TokenError, garbage, wire_error};
use super::request::MAX_TOKEN_ANSWER;
use crate::http::{self, ReadError};

/// Longest life believed, whatever `expires_in` says: 28 h, with continuous access evaluation.
const LONGEST_LIFE: u64 = 28 * 3600;

/// Names of form fields whose values are masked in whatever the endpoint says.
const HIDDEN: [&str; 7] = [
    "client_secret",
    "client_assertion",
    "password",
    "refresh_token",
    "code",
    "code_verifier",
    "device_code",
];

/// A token with what came beside it.
#[derive(Deserialize)]
pub(crate) struct Answer {
    access_token: Secret,
    expires_in: Seconds,
    #[serde(default)]
    refresh_token: Option<Secret>,
    #[serde(default)]
    id_token: Option<Secret>,
}

impl Answer {
    /// Reads a body that came with status 200.
    pub(crate) fn read(place: &Place, body: &[u8]) -> Result<Self, TokenError> {
        let Ok(answer) = serde_json::from_slice::<Self>(body) else {
            return Err(wire_error(place, 200, None, body, &[]));
        };
        if answer.access_token.0.expose_secret().trim().is_empty() {
            return Err(garbage(place, 200, "an empty token"));
        }
        Ok(answer)
    }

    /// How long the token works.
    pub(crate) fn life(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.expires_in.0.min(LONGEST_LIFE)).unwrap_or(0))
    }

    pub(crate) fn access_token(&self) -> SecretString {
        self.access_token.0.clone()
    }

    pub(crate) fn refresh_token(&self) -> Option<SecretString> {
        self.refresh_token.as_ref().map(|token| token.0.clone())
    }

    pub(crate) fn id_token(&self) -> Option<&str> {
        self.id_token.as_ref().map(|token| token.0.expose_secret())
    }
}

/// `now` and `wait`, at most the end of time.
pub(crate) fn later(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// Posts a form. Gives the body of a 200, or the error, and the server's date where it said one.
pub(crate) async fn send_form(
    http: &reqwest::Client,
    env: &Env,
    place: &Place,
    address: Url,
    fields: &[(&str, &str)],
    now: Timestamp,
) -> (Result<Vec<u8>, TokenError>, Option<Timestamp>) {
    let network = |source: reqwest::Error| TokenError::Network {
        place: place.clone(),
        source: Arc::new(source.without_url()),
    };
    let request = http
        .post(address)
        .header("client-request-id", env.new_uuid().to_string())
        .header("return-client-request-id", "true")
        .form(fields);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return (Err(network(error)), None),
    };
    let status = response.status().as_u16();
    let date = http::date(response.headers());
    // A date in Retry-After is in the server's time.
    let retry_after = http::retry_after(response.headers(), date.unwrap_or(now));
    let body = match http::read_bounded(response, MAX_TOKEN_ANSWER).await {
        Ok(body) => body,
        Err(ReadError::TooLarge { .. }) => return (Err(garbage(place, status, "far too much")), date),
        Err(ReadError::Network { source }) => return (Err(network(source)), date),
    };
    if status == 200 {
        return (Ok(body), date);
    }
    let hidden: Vec<&str> =
        fields.iter().filter(|(name, _)| HIDDEN.contains(name)).map(|(_, value)| *value).collect();
    (Err(wire_error(place, status, retry_after, &body, &hidden)), date)
}

struct Secret(SecretString);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// `expires_in`. Quirk: the endpoint of version 1 and some proxies write the number as text.
struct Seconds(u64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        number.map(Self).ok_or_else(|| serde::de::Error::custom("expires_in is no number of seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    postroom_fuzz::targets! {
        entra_token_answer: [
            r#"{"token_type":"Bearer","expires_in":"3599","access_token":"eyJ","refresh_token":"r","id_token":"i"}"#,
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Trace ID: 1 Correlation ID: 2 Timestamp: 2026-11-23 09:00:00Z","error_codes":[7000215],"trace_id":"1","correlation_id":"2","claims":"{}"}"#,
        ] => |bytes| {
            let place = Place { host: "x.example".into(), tenant: "t".into(), application: "a".into() };
            let refused = wire_error(&place, 400, None, bytes, &["pass"]).to_string();
            (Answer::read(&place, bytes).map(|answer| answer.life()), refused)
        },
    }
}
