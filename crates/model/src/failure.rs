//! A failure carries its decision: who said no, in which words, and what is done next. Errors of our own are
//! never permanent; only the provider's can be.

use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Who said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The provider answered and refused.
    Provider,
    /// No answer could be had: name, connection, TLS, time-out before anything was handed over.
    Network,
    /// Something on this side.
    Ourselves,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Try again: after the time the provider named, else after the usual back-off.
    Retry {
        /// What `Retry-After` said.
        after: Option<SignedDuration>,
    },
    /// Never try again; tell the sender.
    Fail,
    /// Wait for a person: a setting or a right is missing, and trying again by the clock would not help soon.
    Hold,
    /// It may have happened: look it up before anything is sent again.
    Reconcile,
}

/// One failed operation on a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was tried, with its subject: `read orders@contoso.example`.
    pub operation: String,
    /// Who said no.
    pub origin: Origin,
    /// HTTP status or SMTP reply code.
    pub status: Option<u16>,
    /// The provider's own code: `ErrorAccessDenied`, `AADSTS7000215`.
    pub code: Option<String>,
    /// The provider's literal words, at most 2,000 characters, never a secret.
    pub words: String,
    /// The provider's request id, for its support.
    pub request_id: Option<String>,
    /// Cause and next step for a person, where known.
    pub advice: Option<String>,
    /// What is done next. Private, so that the rule about our own errors cannot be passed by.
    decision: Decision,
}

impl Failure {
    /// A failure. `decision` is kept as it is unless it is [`Decision::Fail`] and the failure is our own or the
    /// network's: then it becomes a retry.
    pub fn new(
        operation: impl Into<String>,
        origin: Origin,
        words: impl Into<String>,
        decision: Decision,
    ) -> Self {
        let decision = match (origin, decision) {
            (Origin::Network | Origin::Ourselves, Decision::Fail) => Decision::Retry { after: None },
            (_, decision) => decision,
        };
        let words: String = words.into();
        Self {
            operation: operation.into(),
            origin,
            status: None,
            code: None,
            words: words.chars().take(2_000).collect(),
            request_id: None,
            advice: None,
            decision,
        }
    }

    /// What is done next.
    pub fn decision(&self) -> Decision {
        self.decision
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.operation)?;
        if let Some(status) = self.status {
            write!(f, "{status} ")?;
        }
        if let Some(code) = &self.code {
            write!(f, "{code} ")?;
        }
        f.write_str(&self.words)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_provider_can_say_no_for_good() {
        let decision = |origin| Failure::new("send", origin, "no", Decision::Fail).decision();
        assert_eq!(decision(Origin::Provider), Decision::Fail);
        assert_eq!(decision(Origin::Network), Decision::Retry { after: None });
        assert_eq!(decision(Origin::Ourselves), Decision::Retry { after: None });
    }
}
