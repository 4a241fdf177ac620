//! What goes wrong at the token endpoint.

use std::sync::Arc;

use jiff::SignedDuration;
use postroom_model::failure::{Decision, Failure, Origin};
use serde::Deserialize;
use serde_json::Value;

use super::federated::FederatedError;
use super::request::TokenRequest;
use crate::cause::{self, Code, Ids};
use crate::certificate::CertificateError;
use crate::http;

/// Where and for whom a token was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Host of the authority.
    pub host: String,
    /// Directory (tenant) ID or domain.
    pub tenant: String,
    /// Application (client) ID; empty where none is involved.
    pub application: String,
}

/// A refusal in the words of the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where and for whom.
    pub place: Place,
    /// HTTP status.
    pub status: u16,
    /// `invalid_client`, `invalid_grant`, ...: what programs branch on.
    pub error: String,
    /// AADSTS numbers, the most telling first: what people search for.
    pub codes: Vec<u32>,
    /// The endpoint's sentence, without the trailing ids, at most 1,000 characters.
    pub description: String,
    /// Its request id, for Microsoft's support.
    pub trace_id: Option<String>,
    /// The id of the whole conversation.
    pub correlation_id: Option<String>,
}

/// Why there is no token. No variant ever holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The endpoint said no.
    #[error("{} refused a token for tenant {}: {}", .0.place.host, .0.place.tenant, .0.description)]
    Refused(Box<Refusal>),
    /// No answer could be had.
    #[error("cannot reach {} for a token for tenant {}", place.host, place.tenant)]
    Network {
        /// Where and for whom.
        place: Place,
        /// What the network says.
        #[source]
        source: Arc<reqwest::Error>,
    },
    /// The answer was none of Microsoft Entra's: not JSON, too large, without a token. Usually something stands in
    /// between.
    #[error("{} answered {status} for tenant {} with {what}", place.host, place.tenant)]
    Garbage {
        /// Where and for whom.
        place: Place,
        /// HTTP status.
        status: u16,
        /// What it was instead.
        what: &'static str,
    },
    /// 429, or a pause after one that is not over yet.
    #[error("{} is throttling tenant {}", place.host, place.tenant)]
    Throttled {
        /// Where and for whom.
        place: Place,
        /// How long to wait, where it said so.
        retry_after: Option<SignedDuration>,
    },
    /// 5xx, or a pause that one asked for.
    #[error("{} is not available for tenant {}: {status}", place.host, place.tenant)]
    Unavailable {
        /// Where and for whom.
        place: Place,
        /// HTTP status.
        status: u16,
        /// How long to wait, where it said so.
        retry_after: Option<SignedDuration>,
    },
    /// Nothing was asked: the credential itself cannot be used.
    #[error("no token for tenant {} can be asked of {}", place.tenant, place.host)]
    Credential {
        /// Where and for whom.
        place: Place,
        /// What is wrong with it.
        #[source]
        source: CredentialError,
    },
    /// The authority's address cannot be used: not https, and not this machine.
    #[error("{} is no address to ask for a token for tenant {}", place.host, place.tenant)]
    Address {
        /// Where and for whom.
        place: Place,
    },
}

/// Why a credential cannot be shown to the token endpoint.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The other identity provider's token.
    #[error(transparent)]
    Federated(#[from] FederatedError),
}

impl TokenError {
    /// Where and for whom.
    pub fn place(&self) -> &Place {
        match self {
            Self::Refused(refusal) => &refusal.place,
            Self::Network { place, .. }
            | Self::Garbage { place, .. }
            | Self::Throttled { place, .. }
            | Self::Unavailable { place, .. }
            | Self::Credential { place, .. }
            | Self::Address { place } => place,
        }
    }

    /// The most telling AADSTS number.
    pub fn aadsts(&self) -> Option<u32> {
        match self {
            Self::Refused(refusal) => refusal.codes.first().copied(),
            _ => None,
        }
    }

    /// Cause and next step, where the number is known.
    pub fn advice(&self) -> Option<cause::Advice> {
        let Self::Refused(refusal) = self else { return None };
        let place = &refusal.place;
        let ids = Ids::of(&place.tenant, &place.application).with_authority(&place.host);
        refusal.codes.iter().find_map(|number| cause::explain(Code::Aadsts(*number), &ids))
    }

    /// How long the endpoint asked to wait.
    pub fn retry_after(&self) -> Option<SignedDuration> {
        match self {
            Self::Throttled { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// As a failure of `operation`: a refusal waits for a person, all else is tried again.
    pub fn failure(&self, operation: &str) -> Failure {
        let retry = Decision::Retry { after: self.retry_after() };
        let (origin, decision) = match self {
            Self::Refused(refusal) if refusal.passes_by_itself() => (Origin::Provider, retry),
            Self::Refused(_) => (Origin::Provider, Decision::Hold),
            Self::Throttled { .. } | Self::Unavailable { .. } => (Origin::Provider, retry),
            Self::Network { .. } | Self::Garbage { .. } => (Origin::Network, retry),
            // The token in a file is replaced by somebody else, who may be late.
            Self::Credential { source: CredentialError::Federated(_), .. } => (Origin::Ourselves, retry),
            Self::Credential { .. } | Self::Address { .. } => (Origin::Ourselves, Decision::Hold),
        };
        let mut failure = Failure::new(operation, origin, http::chain(self), decision);
        failure.advice = self.advice().map(|advice| advice.to_string());
        match self {
            Self::Refused(refusal) => {
                failure.status = Some(refusal.status);
                failure.code = Some(refusal.code());
                failure.request_id.clone_from(&refusal.trace_id);
            }
            Self::Throttled { .. } => failure.status = Some(429),
            Self::Unavailable { status, .. } | Self::Garbage { status, .. } => failure.status = Some(*status),
            Self::Network { .. } | Self::Address { .. } | Self::Credential { .. } => {}
        }
        failure
    }
}

impl Refusal {
    /// `AADSTS7000215`, or the word of `error` when there is no number.
    pub fn code(&self) -> String {
        match self.codes.first() {
            Some(number) => format!("AADSTS{number}"),
            None => self.error.clone(),
        }
    }

    /// Refusals that need nobody: the endpoint is busy (90055), or asks for slower questions (50196).
    fn passes_by_itself(&self) -> bool {
        self.error == "temporarily_unavailable"
            || self.codes.iter().any(|code| matches!(code, 90_055 | 50_196))
    }
}

/// The error body (entra: RFC 6749 section 5.2 with Microsoft's members). Every member may be missing.
#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    error_codes: Value,
    #[serde(default)]
    trace_id: Option<String>,
    #[serde(default)]
    correlation_id: Option<String>,
}

/// Reads an error body; none when it is not one. Older answers separate the parts of the description by `\r\n`,
/// newer ones by blanks: both are read. `hidden` texts are masked wherever they stand.
pub(crate) fn read_refusal(place: &Place, status: u16, body: &[u8], hidden: &[&str]) -> Option<Refusal> {
    let body: ErrorBody = serde_json::from_slice(body).ok()?;
    let mask = |mut text: String| {
        for secret in hidden.iter().filter(|secret| secret.len() >= 4) {
            text = text.replace(secret, "[hidden]");
        }
        text
    };
    let full = mask(http::tidy(body.error_description.unwrap_or_default(), 4_000));
    let listed = body.error_codes.as_array().into_iter().flatten();
    let mut codes: Vec<u32> =
        listed.filter_map(Value::as_u64).filter_map(|code| u32::try_from(code).ok()).collect();
    if codes.is_empty() {
        codes.extend(aadsts_number(&full));
    }
    let sentence = full.find("Trace ID:").map_or(full.as_str(), |end| &full[..end]).trim();
    Some(Refusal {
        place: place.clone(),
        status,
        error: mask(http::tidy(&body.error, 100)),
        codes,
        description: sentence.chars().take(1_000).collect(),
        trace_id: body.trace_id.map(|id| mask(http::tidy(id, 100))).or_else(|| labelled(&full, "Trace ID:")),
        correlation_id: body
            .correlation_id
            .map(|id| mask(http::tidy(id, 100)))
            .or_else(|| labelled(&full, "Correlation ID:")),
    })
}

/// The number after the first `AADSTS`.
fn aadsts_number(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("AADSTS")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// The word after a label.
fn labelled(text: &str, label: &str) -> Option<String> {
    let (_, rest) = text.split_once(label)?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// The error for an answer of the token endpoint that is no token.
pub(crate) fn wire_error(
    place: &Place,
    status: u16,
    retry_after: Option<SignedDuration>,
    body: &[u8],
    hidden: &[&str],
) -> TokenError {
    match (status, read_refusal(place, status, body, hidden)) {
        (429, _) => TokenError::Throttled { place: place.clone(), retry_after },
        (500.., _) => TokenError::Unavailable { place: place.clone(), status, retry_after },
        (400..500, Some(refusal)) => TokenError::Refused(Box::new(refusal)),
        (300..400, _) => garbage(place, status, "a redirect"),
        (200..300, Some(_)) => garbage(place, status, "an error under a status of success"),
        _ => garbage(place, status, "something that is not Microsoft Entra's JSON"),
    }
}

pub(crate) fn garbage(place: &Place, status: u16, what: &'static str) -> TokenError {
    TokenError::Garbage { place: place.clone(), status, what }
}

impl TokenRequest {
    pub(super) fn place(&self) -> Place {
        Place {
            host: http::host(&self.authority),
            tenant: http::tidy(&self.tenant, 100),
            application: http::tidy(&self.application, 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { host: "login.example".into(), tenant: "contoso.example".into(), application: "app".into() }
    }

    #[test]
    fn both_forms_of_the_description_are_read() {
        let blanks = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Trace ID: t-1 Correlation ID: c-1 Timestamp: 2026-11-23 10:00:00Z","error_codes":[7000215],"trace_id":"t-1"}"#;
        let lines = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: t-1\r\nCorrelation ID: c-1\r\nTimestamp: 2026-11-23 10:00:00Z"}"#;
        for body in [blanks, lines] {
            let refusal = read_refusal(&place(), 401, body.as_bytes(), &[]).unwrap();
            assert_eq!(refusal.codes, [7_000_215]);
            assert_eq!(refusal.description, "AADSTS7000215: Invalid client secret provided.");
            assert_eq!(refusal.trace_id.as_deref(), Some("t-1"));
            assert_eq!(refusal.correlation_id.as_deref(), Some("c-1"));
        }
    }

    #[test]
    fn odd_members_do_no_harm() {
        for (body, codes) in [
            (r#"{"error":"x"}"#, vec![]),
            (r#"{"error":"x","error_codes":"7"}"#, vec![]),
            (r#"{"error":"x","error_codes":[-1,99999999999,50126]}"#, vec![50_126]),
            (r#"{"error":"x","error_description":"AADSTS"}"#, vec![]),
        ] {
            assert_eq!(read_refusal(&place(), 400, body.as_bytes(), &[]).unwrap().codes, codes, "{body}");
        }
        assert!(read_refusal(&place(), 400, b"<html>", &[]).is_none());
    }

    #[test]
    fn decisions() {
        let refused = |error: &str, code: u32| {
            let body = format!(r#"{{"error":"{error}","error_codes":[{code}]}}"#);
            wire_error(&place(), 400, None, body.as_bytes(), &[]).failure("sign in")
        };
        assert_eq!(refused("invalid_client", 7_000_215).decision(), Decision::Hold);
        assert!(refused("invalid_client", 7_000_215).advice.is_some());
        assert_eq!(refused("temporarily_unavailable", 1).decision(), Decision::Retry { after: None });
        let after = Some(SignedDuration::from_secs(9));
        for status in [429, 503] {
            let failure = wire_error(&place(), status, after, b"", &[]).failure("sign in");
            assert_eq!((failure.decision(), failure.status), (Decision::Retry { after }, Some(status)));
        }
        let garbage = wire_error(&place(), 200, None, b"<html>", &[]).failure("sign in");
        assert_eq!((garbage.decision(), garbage.origin), (Decision::Retry { after: None }, Origin::Network));
    }
}
