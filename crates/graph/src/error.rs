//! What goes wrong between us and Microsoft Graph.

use jiff::SignedDuration;
use postroom_entra::http;
use postroom_entra::{Advice, Code, Ids, TokenError};
use postroom_model::failure::{Decision, Failure, Origin};

/// Why a call failed. `operation` says what was tried, with its subject.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// There is no token to call with.
    #[error("{operation}: no token")]
    Token {
        /// What was tried.
        operation: String,
        /// Why.
        #[source]
        source: Box<TokenError>,
    },
    /// Graph said no.
    #[error("{}: {} {} {}", .0.operation, .0.status, .0.code, .0.message)]
    Refused(Box<Refused>),
    /// No answer could be had.
    #[error("{operation}: no answer from Microsoft Graph")]
    Network {
        /// What was tried.
        operation: String,
        /// Whether the request, or a part of it, may have reached the server.
        handed_over: bool,
        /// What the network says.
        #[source]
        source: reqwest::Error,
    },
    /// The answer was none of Graph's.
    #[error("{operation}: the answer {status} is {what}")]
    Garbage {
        /// What was tried.
        operation: String,
        /// HTTP status.
        status: u16,
        /// What it was instead.
        what: &'static str,
    },
    /// The answer is larger than allowed.
    #[error("{operation}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was tried.
        operation: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The address is not one of the configured Graph: a token sent there would be given away.
    #[error("{operation}: the address is not one of the configured Microsoft Graph")]
    Address {
        /// What was tried.
        operation: String,
    },
}

/// A refusal in Graph's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What was tried.
    pub operation: String,
    /// HTTP status.
    pub status: u16,
    /// `error.code`; empty when the body was not Graph's.
    pub code: String,
    /// Its sentence, at most 1,000 characters.
    pub message: String,
    /// Its request id, for Microsoft's support.
    pub request_id: Option<String>,
    /// How long it asks to wait.
    pub retry_after: Option<SignedDuration>,
    /// Ids for the advice.
    pub ids: Ids,
}

impl Refused {
    /// Whether `code` is this one, without regard to case.
    pub fn is(&self, code: &str) -> bool {
        self.code.eq_ignore_ascii_case(code)
    }

    fn is_any(&self, codes: &[&str]) -> bool {
        codes.iter().any(|code| self.is(code))
    }

    /// What is done next.
    fn decision(&self) -> Decision {
        let retry = Decision::Retry { after: self.retry_after };
        if self.is_any(&SENDING_LIMIT) {
            // The daily limit opens again piece by piece over 24 hours: asking each hour costs little.
            return Decision::Retry {
                after: Some(self.retry_after.unwrap_or(SignedDuration::from_hours(1))),
            };
        }
        if self.is_any(&PERMANENT) || self.status == 413 {
            return Decision::Fail;
        }
        match self.status {
            507 => Decision::Hold,
            _ if self.is("ErrorQuotaExceeded") => Decision::Hold,
            300..400 | 408 | 409 | 410 | 412 | 423 | 424 | 425 | 429 | 500.. => retry,
            _ => Decision::Hold,
        }
    }
}

/// The mailbox has sent as much as it may for now; comes with 429, 400 or 403.
const SENDING_LIMIT: [&str; 4] = [
    "ErrorExceededMessageLimit",
    "ErrorExceededHourlyMessageLimit",
    "ErrorExceededMaxRecipientLimit",
    "ErrorSubmissionQuotaExceeded",
];

/// No later attempt with the same message can go better. Other bad requests wait for a person: they may be our
/// own error, and those are never permanent.
const PERMANENT: [&str; 3] = ["ErrorInvalidRecipients", "ErrorMessageSizeExceeded", "RequestEntityTooLarge"];

/// The delta token is lost. Comes with 410, and according to reports with 400 and 404.
const CURSOR_LOST: [&str; 3] = ["SyncStateNotFound", "ResyncRequired", "SyncStateInvalid"];

impl GraphError {
    /// HTTP status of the answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            Self::Garbage { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Code of the refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(refused) => Some(&refused.code),
            _ => None,
        }
    }

    /// Whether Graph says that the message, or object, is not there. A missing mailbox is not meant.
    pub fn is_item_not_found(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 404
            && refused.is_any(&["ErrorItemNotFound", "ResourceNotFound"]))
    }

    /// Whether Graph refused one message of several, and not because it is asked for too much: the fault may be the
    /// message's own.
    pub fn may_be_the_items_own(&self) -> bool {
        match self {
            Self::Refused(refused) => {
                !matches!(refused.status, 401 | 429 | 503) && refused.retry_after.is_none()
            }
            Self::Garbage { .. } => true,
            _ => false,
        }
    }

    /// Whether the delta cursor is lost and reading starts over.
    pub fn is_cursor_lost(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 410
            || (matches!(refused.status, 400 | 404) && refused.is_any(&CURSOR_LOST)))
    }

    /// Whether the server may have done what was asked all the same: it answered 5xx or 408, with a redirect or
    /// unreadably, or the line was cut after the request was handed over.
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::Token { .. } | Self::Address { .. } => false,
            Self::Refused(refused) => matches!(refused.status, 300..400 | 408 | 500..),
            Self::Network { handed_over, .. } => *handed_over,
            Self::Garbage { .. } | Self::TooLarge { .. } => true,
        }
    }

    /// Cause and next step, where known.
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Token { source, .. } => source.advice(),
            Self::Refused(refused) => postroom_entra::cause::explain(
                Code::GraphSaid { status: refused.status, code: &refused.code, message: &refused.message },
                &refused.ids,
            ),
            _ => None,
        }
    }

    /// As a failure of `operation`, with the decision that fits when nothing was changed by the call.
    pub fn failure(&self, operation: &str) -> Failure {
        self.failure_with(operation, self.decision())
    }

    /// As a failure of `operation`, with a decision of the caller's.
    pub fn failure_with(&self, operation: &str, decision: Decision) -> Failure {
        if let Self::Token { source, .. } = self {
            return source.failure(operation);
        }
        let (origin, words) = match self {
            Self::Refused(refused) => (Origin::Provider, refused.message.clone()),
            Self::Network { source, .. } => (Origin::Network, http::chain(source)),
            Self::Garbage { .. } => (Origin::Network, self.to_string()),
            Self::Token { .. } | Self::TooLarge { .. } | Self::Address { .. } => {
                (Origin::Ourselves, self.to_string())
            }
        };
        let mut failure = Failure::new(operation, origin, words, decision);
        failure.status = self.status();
        failure.advice = self.advice().map(|advice| advice.to_string());
        if let Self::Refused(refused) = self {
            failure.code = Some(refused.code.clone()).filter(|code| !code.is_empty());
            failure.request_id.clone_from(&refused.request_id);
        }
        failure
    }

    fn decision(&self) -> Decision {
        match self {
            Self::Refused(refused) => refused.decision(),
            Self::Token { source, .. } => source.failure("").decision(),
            Self::Network { .. } | Self::Garbage { .. } => Decision::Retry { after: None },
            Self::TooLarge { .. } | Self::Address { .. } => Decision::Hold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> GraphError {
        GraphError::Refused(Box::new(Refused {
            operation: "send".into(),
            status,
            code: code.into(),
            message: "no".into(),
            request_id: Some("r-1".into()),
            retry_after: None,
            ids: Ids::default(),
        }))
    }

    #[test]
    fn decisions() {
        let retry = Decision::Retry { after: None };
        let hour = Decision::Retry { after: Some(SignedDuration::from_hours(1)) };
        for (status, code, decision) in [
            (400, "ErrorInvalidRecipients", Decision::Fail),
            (400, "RequestBodyRead", Decision::Hold),
            (400, "errorexceededmessagelimit", hour),
            (401, "InvalidAuthenticationToken", Decision::Hold),
            (403, "ErrorAccessDenied", Decision::Hold),
            (404, "ErrorInvalidUser", Decision::Hold),
            (413, "", Decision::Fail),
            (429, "ApplicationThrottled", retry),
            (503, "ServiceNotAvailable", retry),
            (507, "ErrorQuotaExceeded", Decision::Hold),
        ] {
            assert_eq!(refused(status, code).failure("send").decision(), decision, "{status} {code}");
        }
    }

    #[test]
    fn a_lost_cursor_is_known_under_each_of_its_faces() {
        for (status, code, lost) in [
            (410, "", true),
            (410, "SyncStateNotFound", true),
            (400, "syncStateNotFound", true),
            (404, "ResyncRequired", true),
            (404, "ErrorItemNotFound", false),
            (400, "BadRequest", false),
        ] {
            assert_eq!(refused(status, code).is_cursor_lost(), lost, "{status} {code}");
        }
    }

    #[test]
    fn what_may_have_been_done() {
        for (status, may_be_done) in
            [(400, false), (401, false), (403, false), (404, false), (429, false), (408, true), (504, true)]
        {
            assert_eq!(refused(status, "").may_be_done(), may_be_done, "{status}");
        }
    }
}
