//! Faults on request: a status, a delay or a cut line for the next requests to a path.

use serde::Deserialize;

use crate::state::Tenant;

/// Most faults that can wait at the same time.
pub(crate) const MAX_FAULTS: usize = 100;

/// One fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// Text the decoded path must hold; empty meets every request.
    #[serde(default)]
    pub(crate) path_contains: String,
    /// Only this method.
    #[serde(default)]
    pub(crate) method: Option<String>,
    /// Status to answer with; without it the delay alone is applied.
    #[serde(default)]
    pub(crate) status: Option<u16>,
    /// How many requests it meets.
    #[serde(default = "once")]
    pub(crate) count: u32,
    /// Do the work first, then answer with the fault.
    #[serde(default)]
    pub(crate) after: bool,
    /// `Retry-After` in seconds.
    #[serde(default)]
    pub(crate) retry_after: Option<u32>,
    /// Wait before the answer; at most a minute.
    #[serde(default)]
    pub(crate) delay_ms: u64,
    /// Close the connection without an answer.
    #[serde(default)]
    pub(crate) cut: bool,
    /// Send the first half of the answer, then close the connection.
    #[serde(default)]
    pub(crate) half: bool,
    /// Graph's error code; below `/{tenant}/` Entra's number, as `AADSTS53003`.
    #[serde(default)]
    pub(crate) code: Option<String>,
    /// Entra's `error`.
    #[serde(default)]
    pub(crate) error: Option<String>,
    /// The sentence of the error.
    #[serde(default)]
    pub(crate) message: Option<String>,
    /// A body as it is, instead of an error in the service's shape: what a proxy in between would say.
    #[serde(default)]
    pub(crate) body: Option<String>,
}

fn once() -> u32 {
    1
}

/// The fault that meets this request, used up by one.
pub(crate) fn take(tenant: &Tenant, method: &str, path: &str) -> Option<Fault> {
    let mut faults = tenant.faults();
    let meets = |fault: &Fault| {
        path.contains(&fault.path_contains)
            && fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
    };
    let index = faults.iter().position(meets)?;
    let fault = faults[index].clone();
    faults[index].count = faults[index].count.saturating_sub(1);
    if faults[index].count == 0 {
        faults.remove(index);
    }
    Some(fault)
}

/// Graph's code and sentence for a status.
pub(crate) fn words(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("InvalidAuthenticationToken", "Access token has expired or is not yet valid."),
        403 => ("ErrorAccessDenied", "Access is denied. Check credentials and try again."),
        404 => ("ErrorItemNotFound", "The specified object was not found in the store."),
        410 => ("SyncStateNotFound", "The sync state is not found."),
        413 => ("RequestEntityTooLarge", "The request is too large."),
        429 => ("ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
        503 => ("ServiceNotAvailable", "The service is temporarily unavailable."),
        504 => ("GatewayTimeout", "The gateway did not receive an answer in time."),
        400..=499 => ("BadRequest", "The request was refused on request."),
        _ => ("ErrorInternalServerError", "An internal server error occurred. The operation failed."),
    }
}
