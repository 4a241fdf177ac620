//! What goes wrong between us and Exchange.

use jiff::SignedDuration;
use postroom_entra::http;
use postroom_entra::{Advice, Code, Ids, TokenError};
use postroom_model::failure::{Decision, Failure, Origin};

/// Why a call failed. `operation` says what was tried, with its subject.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EwsError {
    /// There is no token to call with.
    #[error("{operation}: no token")]
    Token {
        /// What was tried.
        operation: String,
        /// Why.
        #[source]
        source: Box<TokenError>,
    },
    /// Exchange said no.
    #[error("{}: {} {} {}", .0.operation, .0.status, .0.code, .0.message)]
    Refused(Box<Refused>),
    /// No answer could be had.
    #[error("{operation}: no answer from Exchange")]
    Network {
        /// What was tried.
        operation: String,
        /// Whether the request, or a part of it, may have reached the server.
        handed_over: bool,
        /// What the network says.
        #[source]
        source: reqwest::Error,
    },
    /// The answer was none of Exchange's.
    #[error("{operation}: the answer {status} cannot be read: {what}")]
    Garbage {
        /// What was tried.
        operation: String,
        /// HTTP status.
        status: u16,
        /// What is wrong with it, with the place in the document.
        what: String,
    },
    /// The answer is larger than allowed.
    #[error("{operation}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was tried.
        operation: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The address would give the credential away.
    #[error("{operation}: {address} is not protected by TLS")]
    Address {
        /// What was tried.
        operation: String,
        /// The address.
        address: String,
    },
    /// The server sends elsewhere; the credential does not follow.
    #[error("{operation}: the server redirects to {to}, which is not followed")]
    Redirect {
        /// What was tried.
        operation: String,
        /// Host or address it sends to.
        to: String,
    },
}

/// A refusal in Exchange's words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// What was tried.
    pub operation: String,
    /// HTTP status; 200 when one part of the request was refused.
    pub status: u16,
    /// `ResponseCode`, or the fault's code; empty when there is none.
    pub code: String,
    /// The code below `ErrorInternalServerError`, where there is one.
    pub inner_code: Option<String>,
    /// The sentence, at most 1,000 characters.
    pub message: String,
    /// Request id, for the administrator of Exchange.
    pub request_id: Option<String>,
    /// How long it asks to wait.
    pub retry_after: Option<SignedDuration>,
    /// Whether a policy over EWS itself refused (`X-EWS-Policy-Reason`, which is `message`).
    pub policy: bool,
    /// Whether the server signs in by Windows (NTLM, Negotiate) only.
    pub windows_only: bool,
    /// Name of the connection, for the advice.
    pub connection: String,
    /// Ids for the advice.
    pub ids: Ids,
}

/// The mailbox has sent as much as it may for now.
const SENDING_LIMIT: [&str; 2] = ["ErrorSubmissionQuotaExceeded", "ErrorExceededMessageLimit"];

/// No later attempt with the same message can go better.
const PERMANENT: [&str; 9] = [
    "ErrorContentConversionFailed",
    "ErrorCorruptData",
    "ErrorItemCorrupt",
    "ErrorMimeContentConversionFailed",
    "ErrorInvalidRecipients",
    "ErrorMissingRecipients",
    "ErrorInvalidSmtpAddress",
    "ErrorMessageSizeExceeded",
    "ErrorAttachmentSizeLimitExceeded",
];

/// Exchange asks for slower requests: nothing was done.
const THROTTLED: [&str; 5] = [
    "ErrorServerBusy",
    "ErrorExceededConnectionCount",
    "ErrorExceededFindCountLimit",
    "ErrorExceededSubscriptionCount",
    "ErrorTooManyObjectsOpened",
];

/// The item was changed meanwhile.
const CONFLICT: [&str; 5] = [
    "ErrorStaleObject",
    "ErrorIrresolvableConflict",
    "ErrorInvalidChangeKey",
    "ErrorChangeKeyRequired",
    "ErrorChangeKeyRequiredForWriteOperations",
];

/// Exchange is in trouble; what was asked may have been done.
const TRANSIENT: [&str; 12] = [
    "ErrorMailboxMoveInProgress",
    "ErrorMailboxStoreUnavailable",
    "ErrorMailboxFailover",
    "ErrorConnectionFailed",
    "ErrorTimeoutExpired",
    "ErrorInternalServerError",
    "ErrorInternalServerTransientError",
    "ErrorNoRespondingCASInDestinationSite",
    "ErrorProxyRequestNotAllowed",
    "ErrorNotEnoughMemory",
    "ErrorBatchProcessingStopped",
    "ErrorMoveCopyFailed",
];

/// A subscription is lost, or its stream was taken over.
const SUBSCRIPTION_LOST: [&str; 5] = [
    "ErrorExpiredSubscription",
    "ErrorSubscriptionNotFound",
    "ErrorInvalidSubscription",
    "ErrorNewEventStreamConnectionOpened",
    "ErrorMissedNotificationEvents",
];

impl Refused {
    fn is_any(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    /// Whether Exchange asks for slower requests, also in the disguise of an internal error.
    pub fn is_throttled(&self) -> bool {
        self.is_any(&THROTTLED) || self.inner_code.as_deref().is_some_and(|code| THROTTLED.contains(&code))
    }

    fn decision(&self) -> Decision {
        let retry = Decision::Retry { after: self.retry_after };
        if self.is_any(&SENDING_LIMIT) {
            // The limit opens again piece by piece: asking each hour costs little.
            return Decision::Retry {
                after: Some(self.retry_after.unwrap_or(SignedDuration::from_hours(1))),
            };
        }
        if self.is_any(&PERMANENT) {
            return Decision::Fail;
        }
        let passing = [&TRANSIENT[..], &CONFLICT, &SUBSCRIPTION_LOST].iter().any(|codes| self.is_any(codes));
        if self.is_throttled() || passing {
            return retry;
        }
        match (self.code.is_empty(), self.status) {
            (true, 300..400 | 408 | 425 | 429 | 500..) => retry,
            _ => Decision::Hold,
        }
    }

    /// Whether it may have been done all the same.
    fn may_be_done(&self) -> bool {
        if self.is_any(&TRANSIENT) {
            return true;
        }
        // A fault refuses the whole request; without one a gateway may have answered instead of Exchange.
        self.code.is_empty() && matches!(self.status, 300..400 | 408 | 500..)
    }

    fn advice(&self) -> Option<String> {
        if self.windows_only {
            return Some(
                "The server signs in by NTLM or Kerberos only, which Postroom does not speak. An Exchange administrator switches Basic on for EWS, over TLS: `Set-WebServicesVirtualDirectory -Identity \"SERVER\\EWS (Default Web Site)\" -BasicAuthentication $true`."
                    .to_owned(),
            );
        }
        let code = if self.policy { &self.message } else { self.inner_code.as_ref().unwrap_or(&self.code) };
        let known = postroom_entra::cause::explain(Code::Ews { status: self.status, code }, &self.ids);
        let known = known.map(|advice: Advice| advice.to_string());
        if !self.policy {
            return known;
        }
        let name = self.connection.replace(['"', '\n'], " ");
        let switch = format!(
            "Switch this connection to Microsoft Graph: `postroom connection migrate \"{name}\" --to graph`"
        );
        Some(known.map_or(switch.clone(), |known| format!("{switch}. {known}")))
    }
}

impl EwsError {
    /// HTTP status of the answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            Self::Garbage { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Code of the refusal; none when there is none.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(refused) => Some(refused.code.as_str()).filter(|code| !code.is_empty()),
            _ => None,
        }
    }

    fn is_any(&self, codes: &[&str]) -> bool {
        self.code().is_some_and(|code| codes.contains(&code))
    }

    /// Whether Exchange says that the item is not there, or that the id is none of its own.
    pub fn is_item_not_found(&self) -> bool {
        self.is_any(&["ErrorItemNotFound", "ErrorInvalidIdMalformed", "ErrorInvalidId"])
    }

    /// Whether Exchange refused one item, and not because it is busy: the fault may be the item's own.
    pub fn may_be_the_items_own(&self) -> bool {
        matches!(self, Self::Refused(refused) if !refused.is_throttled() && refused.retry_after.is_none())
    }

    /// Whether the sync state is lost and reading starts over.
    pub fn is_sync_state_lost(&self) -> bool {
        self.is_any(&["ErrorInvalidSyncStateData"])
    }

    /// Whether the subscription is lost and has to be made anew.
    pub fn is_subscription_lost(&self) -> bool {
        self.is_any(&SUBSCRIPTION_LOST)
    }

    /// Whether the server does not understand what is asked: an old one without the operation.
    pub fn is_not_understood(&self) -> bool {
        self.is_any(&[
            "ErrorSchemaValidation",
            "ErrorInvalidRequest",
            "ErrorInvalidOperation",
            "ErrorInvalidServerVersion",
            "ErrorIncorrectSchemaVersion",
        ])
    }

    /// Whether the item was changed meanwhile, or the request named no version of it.
    pub fn is_conflict(&self) -> bool {
        self.is_any(&CONFLICT)
    }

    /// Whether the server may have done what was asked all the same.
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::Token { .. } | Self::Address { .. } | Self::Redirect { .. } => false,
            Self::Refused(refused) => refused.may_be_done(),
            Self::Network { handed_over, .. } => *handed_over,
            Self::Garbage { .. } | Self::TooLarge { .. } => true,
        }
    }

    /// As a failure of `operation`, with the decision that fits when nothing was changed by the call.
    pub fn failure(&self, operation: &str) -> Failure {
        self.failure_with(operation, self.decision())
    }

    /// As a failure of `operation`, with a decision of the caller's.
    pub fn failure_with(&self, operation: &str, decision: Decision) -> Failure {
        let (origin, words) = match self {
            Self::Token { source, .. } => return source.failure(operation),
            Self::Refused(refused) => (Origin::Provider, refused.message.clone()),
            Self::Network { source, .. } => (Origin::Network, http::chain(source)),
            Self::Garbage { .. } | Self::Redirect { .. } => (Origin::Network, self.to_string()),
            Self::TooLarge { .. } | Self::Address { .. } => (Origin::Ourselves, self.to_string()),
        };
        let mut failure = Failure::new(operation, origin, words, decision);
        failure.status = self.status();
        match self {
            Self::Refused(refused) => {
                failure.code = self.code().map(str::to_owned);
                failure.request_id.clone_from(&refused.request_id);
                failure.advice = refused.advice();
            }
            Self::Redirect { .. } => {
                let advice =
                    "Enter the address of Exchange Web Services itself: https://SERVER/EWS/Exchange.asmx.";
                failure.advice = Some(advice.to_owned());
            }
            _ => {}
        }
        failure
    }

    fn decision(&self) -> Decision {
        match self {
            Self::Refused(refused) => refused.decision(),
            Self::Token { source, .. } => source.failure("").decision(),
            Self::Network { .. } | Self::Garbage { .. } => Decision::Retry { after: None },
            Self::TooLarge { .. } | Self::Address { .. } | Self::Redirect { .. } => Decision::Hold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> EwsError {
        EwsError::Refused(Box::new(Refused { status, code: code.into(), ..Refused::default() }))
    }

    #[test]
    fn decisions_and_what_may_have_been_done() {
        let retry = Decision::Retry { after: None };
        let hour = Decision::Retry { after: Some(SignedDuration::from_hours(1)) };
        for (status, code, decision, may_be_done) in [
            (200, "ErrorInvalidRecipients", Decision::Fail, false),
            (200, "ErrorMessageSizeExceeded", Decision::Fail, false),
            (200, "ErrorMimeContentInvalid", Decision::Hold, false),
            (200, "ErrorSendAsDenied", Decision::Hold, false),
            (200, "ErrorAccessDenied", Decision::Hold, false),
            (200, "ErrorQuotaExceeded", Decision::Hold, false),
            (200, "ErrorSubmissionQuotaExceeded", hour, false),
            (200, "ErrorStaleObject", retry, false),
            (200, "ErrorInternalServerError", retry, true),
            (200, "ErrorMailboxStoreUnavailable", retry, true),
            (500, "ErrorServerBusy", retry, false),
            (500, "ErrorSchemaValidation", Decision::Hold, false),
            (500, "ErrorNonExistentMailbox", Decision::Hold, false),
            (500, "", retry, true),
            (503, "", retry, true),
            (302, "", retry, true),
            (401, "", Decision::Hold, false),
            (403, "", Decision::Hold, false),
            (440, "", Decision::Hold, false),
            (456, "", Decision::Hold, false),
        ] {
            let error = refused(status, code);
            assert_eq!(error.failure("send").decision(), decision, "{status} {code}");
            assert_eq!(error.may_be_done(), may_be_done, "{status} {code}");
        }
    }
}
