//! Faults on request: a status, a delay or a cut line for the next requests to a path, or the next steps at one of the
//! mail doors.

use serde::Deserialize;

use crate::doors::Door;
use crate::state::Tenant;

/// Most faults that can wait at the same time.
pub(crate) const MAX_FAULTS: usize = 100;

/// One fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// The mail door it waits at; without it the HTTP listener.
    #[serde(default)]
    pub(crate) door: Option<Door>,
    /// At SMTP: the step it meets, such as `RCPT`, `DATA-END` or `CONNECT`; none meets every step.
    #[serde(default)]
    pub(crate) at: Option<String>,
    /// At IMAP: the command it meets, such as `FETCH` or `UID FETCH`; `CONNECT` is the greeting; none meets all.
    #[serde(default)]
    pub(crate) command: Option<String>,
    /// At a mail door: what is answered; at IMAP without the tag.
    #[serde(default)]
    pub(crate) reply: Option<String>,
    /// Text the decoded path must hold; empty meets every request.
    #[serde(default)]
    pub(crate) path_contains: String,
    /// Only this method.
    #[serde(default)]
    pub(crate) method: Option<String>,
    /// At EWS: the operation it meets, such as `SendItem`; none meets every request.
    #[serde(default)]
    pub(crate) operation: Option<String>,
    /// Status to answer with; without it the delay alone is applied.
    #[serde(default)]
    pub(crate) status: Option<u16>,
    /// How many requests it lets pass first.
    #[serde(default)]
    pub(crate) skip: u32,
    /// How many requests it meets.
    #[serde(default = "once")]
    pub(crate) count: u32,
    /// Do the work first, then answer with the fault.
    #[serde(default)]
    pub(crate) after: bool,
    /// `Retry-After` in seconds.
    #[serde(default)]
    pub(crate) retry_after: Option<u32>,
    /// At EWS: `BackOffMilliseconds`.
    #[serde(default)]
    pub(crate) back_off_ms: Option<u32>,
    /// At EWS: the code within the code, in the disguise of `ErrorInternalServerError`.
    #[serde(default)]
    pub(crate) inner: Option<String>,
    /// Wait before the answer; at most a minute.
    #[serde(default)]
    pub(crate) delay_ms: u64,
    /// Close the connection without an answer.
    #[serde(default)]
    pub(crate) cut: bool,
    /// Send the first half of the answer, then close the connection.
    #[serde(default)]
    pub(crate) half: bool,
    /// Graph's or EWS's error code (EWS: a SOAP fault; with status 200 the code of the answer's one message); below `/{tenant}/` Entra's number, as `AADSTS53003`.
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
pub(crate) fn take(tenant: &Tenant, method: &str, path: &str, operation: Option<&str>) -> Option<Fault> {
    first(tenant, |fault| {
        fault.door.is_none()
            && fault.operation.as_deref().is_none_or(|wanted| operation == Some(wanted))
            && path.contains(&fault.path_contains)
            && fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
    })
}

/// The fault that meets this step at a mail door, used up by one.
pub(crate) fn take_at(tenant: &Tenant, door: Door, step: &str) -> Option<Fault> {
    first(tenant, |fault| {
        let wanted = fault.at.as_deref().or(fault.command.as_deref());
        let bare = step.strip_prefix("UID ").unwrap_or(step);
        fault.door == Some(door)
            && wanted
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(step) || wanted.eq_ignore_ascii_case(bare))
    })
}

fn first(tenant: &Tenant, meets: impl Fn(&Fault) -> bool) -> Option<Fault> {
    let mut faults = tenant.faults();
    let index = faults.iter().position(meets)?;
    if faults[index].skip > 0 {
        faults[index].skip -= 1;
        return None;
    }
    let fault = faults[index].clone();
    faults[index].count = faults[index].count.saturating_sub(1);
    if faults[index].count == 0 {
        faults.remove(index);
    }
    Some(fault)
}

/// Codes of Graph and EWS that a fault may name besides those of [`words`]: a mistyped one would test nothing.
#[rustfmt::skip] // a list
const CODES: &[&str] = &[
    "ApplicationThrottled", "Authorization_RequestDenied", "BadRequest", "CredentialInvalidLifetimeAsPerAppPolicy",
    "CredentialTypeNotAllowedAsPerAppPolicy", "ErrorAccessDenied", "ErrorAccountSuspend",
    "ErrorExceededHourlyMessageLimit", "ErrorExceededMaxRecipientLimit", "ErrorExceededMessageLimit",
    "ErrorFolderNotFound", "ErrorInternalServerError", "ErrorInternalServerTransientError",
    "ErrorInvalidIdMalformed", "ErrorInvalidPropertySet", "ErrorInvalidRecipients", "ErrorInvalidUser",
    "ErrorItemNotFound", "ErrorMailboxMoveInProgress", "ErrorMailboxStoreUnavailable",
    "ErrorServerBusy", "MailboxConcurrency", "Request_MultipleObjectsWithSameKeyValue", "Request_ThrottledTemporarily",
    "ErrorMessageSizeExceeded", "ErrorMessageSubmissionBlocked", "ErrorMimeContentInvalidBase64String",
    "ErrorPropertyValidationFailure", "ErrorQuotaExceeded", "ErrorSendAsDenied", "ErrorSubmissionQuotaExceeded",
    "ErrorSyncFolderNotFound", "ErrorTimeoutExpired", "GatewayTimeout", "InefficientFilter",
    "InvalidAuthenticationToken", "InvalidInternetMessageHeaderCollection", "MailboxNotEnabledForRESTAPI",
    "MailboxNotSupportedForRESTAPI", "RequestBodyRead", "RequestEntityTooLarge", "Request_ResourceNotFound",
    "ResourceNotFound", "ResyncRequired", "ServiceNotAvailable", "SignInAudienceNotAllowedAsPerAppPolicy",
    "SyncStateInvalid", "SyncStateNotFound", "TooManyRequests",
    "UnknownError", "ErrorAccountDisabled", "ErrorBatchProcessingStopped", "ErrorChangeKeyRequired",
    "ErrorConnectionFailed", "ErrorExceededConnectionCount", "ErrorExceededFindCountLimit",
    "ErrorExceededSubscriptionCount", "ErrorExpiredSubscription", "ErrorImpersonateUserDenied",
    "ErrorIncorrectSchemaVersion", "ErrorInvalidRequest", "ErrorInvalidServerVersion", "ErrorInvalidSubscription",
    "ErrorInvalidSyncStateData", "ErrorIrresolvableConflict", "ErrorMailboxFailover", "ErrorMimeContentInvalid",
    "ErrorMissedNotificationEvents", "ErrorNewEventStreamConnectionOpened", "ErrorNonExistentMailbox",
    "ErrorSchemaValidation", "ErrorStaleObject", "ErrorSubscriptionNotFound", "ErrorTooManyObjectsOpened",
];

impl Fault {
    /// The number of `AADSTS7000222`.
    pub(crate) fn number(&self) -> Option<u32> {
        self.code.as_deref()?.strip_prefix("AADSTS")?.parse().ok()
    }

    /// Whether what it says at a mail door could be said there: one line, and at SMTP a reply code.
    pub(crate) fn speaks(&self) -> bool {
        let steps = self.at.is_some() || self.command.is_some();
        let Some(reply) = &self.reply else { return !steps || self.door.is_some() };
        let code = |text: &str| text.len() >= 3 && text.as_bytes()[..3].iter().all(u8::is_ascii_digit);
        let fits = reply.len() <= 500 && reply.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        fits && match self.door {
            None => false,
            Some(Door::Imap) => !reply.is_empty(),
            Some(Door::Smtp) => code(reply),
        }
    }

    /// Whether it names a code that nothing here would answer with.
    pub(crate) fn names_nothing(&self) -> bool {
        let known = self.code.as_deref().is_none_or(|code| CODES.contains(&code));
        !known && self.number().is_none()
    }
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
