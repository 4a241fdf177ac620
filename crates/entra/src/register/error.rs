//! What goes wrong while an application is registered.

use postroom_model::failure::{Decision, Failure, Origin};

use crate::cause::{self, Code, Ids};
use crate::http;

/// Why a step failed. `step` says what was tried, with its subject.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Microsoft Graph said no.
    #[error("{step}: {status} {code} {message}")]
    Refused {
        /// What was tried.
        step: String,
        /// HTTP status.
        status: u16,
        /// `error.code`.
        code: String,
        /// Its sentence, at most 1,000 characters.
        message: String,
        /// Its request id, for Microsoft's support.
        request_id: Option<String>,
    },
    /// No answer could be had.
    #[error("{step}: no answer from Microsoft Graph")]
    Network {
        /// What was tried.
        step: String,
        /// What the network says.
        #[source]
        source: reqwest::Error,
    },
    /// The answer was none of Microsoft Graph's.
    #[error("{step}: the answer {status} is {what}")]
    Garbage {
        /// What was tried.
        step: String,
        /// HTTP status.
        status: u16,
        /// What it was instead.
        what: &'static str,
    },
    /// The tenant does not know the API or its permission.
    #[error("{step}: this tenant does not know {what}")]
    Unknown {
        /// What was tried.
        step: String,
        /// What is missing.
        what: String,
    },
    /// The address of Microsoft Graph cannot be used: not https and not this machine, or a page elsewhere.
    #[error("{step}: the token may not be sent to this address")]
    Address {
        /// What was tried.
        step: String,
    },
}

impl RegisterError {
    /// Cause and next step, where known.
    pub fn advice(&self, ids: &Ids) -> Option<cause::Advice> {
        let Self::Refused { status, code, .. } = self else { return None };
        cause::explain(Code::Graph { status: *status, code }, ids)
    }

    /// As a failure of `operation`.
    pub fn failure(&self, operation: &str) -> Failure {
        let (origin, decision) = match self {
            Self::Refused { status: 429 | 500.., .. } => (Origin::Provider, Decision::Retry { after: None }),
            Self::Refused { .. } | Self::Unknown { .. } => (Origin::Provider, Decision::Hold),
            Self::Network { .. } | Self::Garbage { .. } => (Origin::Network, Decision::Retry { after: None }),
            Self::Address { .. } => (Origin::Ourselves, Decision::Hold),
        };
        let mut failure = Failure::new(operation, origin, http::chain(self), decision);
        failure.advice = self.advice(&Ids::default()).map(|advice| advice.to_string());
        if let Self::Refused { status, code, request_id, .. } = self {
            failure.status = Some(*status);
            failure.code = Some(code.clone());
            failure.request_id.clone_from(request_id);
        }
        failure
    }
}
