//! What the tenant allows applications to hold
//! (<https://learn.microsoft.com/graph/api/resources/applicationauthenticationmethodpolicy>).

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Refusal, json_answer};
use crate::call::Call;
use crate::state::Tenant;

const DAY: i64 = 86_400;

/// The switches; what a call leaves out stays as it was by default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// Whether client secrets may be made.
    secrets_allowed: bool,
    /// Longest life of a secret.
    max_secret_days: Option<u32>,
    /// Longest life of a certificate.
    max_certificate_days: Option<u32>,
    /// Audiences an application may not have.
    audiences_refused: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            secrets_allowed: true,
            max_secret_days: None,
            max_certificate_days: None,
            audiences_refused: Vec::new(),
        }
    }
}

/// The policy the refusals name.
const ID: &str = "b3a1f0d2-6c35-4a0e-9a57-2f6f2f0c7d11";

fn too_long(most: Option<u32>, start: i64, end: i64) -> Result<(), Refusal> {
    if most.is_some_and(|days| end - start > i64::from(days) * DAY) {
        let message =
            format!("Credential lifetime exceeds the max value allowed as per assigned policy '{ID}'.");
        return Err(Refusal::new(400, "CredentialInvalidLifetimeAsPerAppPolicy", message)
            .detail("InvalidKeyEndDate", "EndDate"));
    }
    Ok(())
}

impl Policy {
    pub(crate) fn check_secret(&self, start: i64, end: i64) -> Result<(), Refusal> {
        if !self.secrets_allowed {
            let message = format!("Credential type not allowed as per assigned policy '{ID}'.");
            return Err(Refusal::new(400, "CredentialTypeNotAllowedAsPerAppPolicy", message));
        }
        too_long(self.max_secret_days, start, end)
    }

    pub(crate) fn check_certificate(&self, start: i64, end: i64) -> Result<(), Refusal> {
        too_long(self.max_certificate_days, start, end)
    }

    pub(crate) fn check_audience(&self, audience: &str) -> Result<(), Refusal> {
        if self.audiences_refused.iter().any(|refused| refused == audience) {
            let message = format!("The sign-in audience is not allowed as per assigned policy '{ID}'.");
            return Err(Refusal::new(400, "SignInAudienceNotAllowedAsPerAppPolicy", message));
        }
        Ok(())
    }
}

/// `POST policy`.
pub(super) fn change(tenant: &Tenant, call: &Call) -> Answer {
    let policy: Policy = serde_json::from_slice(&call.body)
        .map_err(|error| Refusal::bad_request(format!("The policy cannot be read: {error}.")))?;
    let body = serde_json::json!(policy);
    *tenant.policy() = policy;
    Ok(json_answer(200, &body))
}
