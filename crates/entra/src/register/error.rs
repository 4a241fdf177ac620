//! What goes wrong while an application is registered.

use postroom_model::failure::{Decision, Failure, Origin};

use crate::cause::{self, Code, Ids};
use crate::certificate::CertificateError;
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
    /// A policy of the tenant forbids this credential or this kind of application.
    #[error("{step}: a policy of the tenant forbids it: {message}")]
    Policy {
        /// What was tried.
        step: String,
        /// What it forbids.
        refusal: PolicyRefusal,
        /// HTTP status.
        status: u16,
        /// Microsoft's sentence, which names the policy.
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
    /// The certificate that should prove something cannot.
    #[error("{step}: the certificate cannot be used")]
    Certificate {
        /// What was tried.
        step: String,
        /// What is wrong with it.
        #[source]
        source: CertificateError,
    },
    /// The address of Microsoft Graph cannot be used: not https and not this machine, or a page elsewhere.
    #[error("{step}: the token may not be sent to this address")]
    Address {
        /// What was tried.
        step: String,
    },
}

/// What an app management policy of a tenant forbids
/// (<https://learn.microsoft.com/entra/identity/enterprise-apps/configure-app-management-policies>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRefusal {
    /// A credential that lives so long: ask for an earlier end.
    Lifetime,
    /// This kind of credential, usually secrets: use a certificate.
    CredentialType,
    /// This account type: register for this directory only.
    AccountType,
    /// Something else.
    Other,
}

impl PolicyRefusal {
    const CODES: [(Self, &'static str); 3] = [
        (Self::Lifetime, "CredentialInvalidLifetimeAsPerAppPolicy"),
        (Self::CredentialType, "CredentialTypeNotAllowedAsPerAppPolicy"),
        (Self::AccountType, "SignInAudienceNotAllowedAsPerAppPolicy"),
    ];

    /// What a code of Microsoft Graph means; none when it is no policy's.
    pub(super) fn of(code: &str) -> Option<Self> {
        let known = Self::CODES.iter().find(|(_, known)| known.eq_ignore_ascii_case(code));
        let other = code.to_ascii_lowercase().ends_with("asperapppolicy").then_some(Self::Other);
        known.map(|(refusal, _)| *refusal).or(other)
    }

    /// The code of Microsoft Graph.
    pub fn code(self) -> &'static str {
        Self::CODES.iter().find(|(known, _)| *known == self).map_or("AsPerAppPolicy", |(_, code)| code)
    }
}

impl RegisterError {
    /// Cause and next step, where known.
    pub fn advice(&self, ids: &Ids) -> Option<cause::Advice> {
        match self {
            Self::Refused { status, code, .. } => cause::explain(Code::Graph { status: *status, code }, ids),
            Self::Policy { refusal, status, .. } => {
                cause::explain(Code::Graph { status: *status, code: refusal.code() }, ids)
            }
            _ => None,
        }
    }

    /// What a policy of the tenant forbade.
    pub fn policy(&self) -> Option<PolicyRefusal> {
        match self {
            Self::Policy { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// As a failure of `operation`.
    pub fn failure(&self, operation: &str) -> Failure {
        let (origin, decision) = match self {
            Self::Refused { status: 429 | 500.., .. } => (Origin::Provider, Decision::Retry { after: None }),
            Self::Refused { .. } | Self::Policy { .. } | Self::Unknown { .. } => {
                (Origin::Provider, Decision::Hold)
            }
            Self::Network { .. } | Self::Garbage { .. } => (Origin::Network, Decision::Retry { after: None }),
            Self::Address { .. } | Self::Certificate { .. } => (Origin::Ourselves, Decision::Hold),
        };
        let mut failure = Failure::new(operation, origin, http::chain(self), decision);
        failure.advice = self.advice(&Ids::default()).map(|advice| advice.to_string());
        if let Self::Refused { status, code, request_id, .. } = self {
            failure.status = Some(*status);
            failure.code = Some(code.clone());
            failure.request_id.clone_from(request_id);
        }
        if let Self::Policy { refusal, status, request_id, .. } = self {
            failure.status = Some(*status);
            failure.code = Some(refusal.code().to_owned());
            failure.request_id.clone_from(request_id);
        }
        failure
    }
}
