//! What is induced, and what must be said.

use postroom_check::{CheckRequest, TestMessage};
use postroom_entra::{Code, Ids, cause};
use postroom_model::connection::{AuthenticationFlow, Cloud};
use postroom_model::polling::PollingInterval;
use postroom_model::{SecretString, Timestamp};
use serde_json::{Value, json};

use super::protocols;
use super::tenant::{Door, ORDERS};

/// One fault.
pub(crate) struct Case {
    /// Name of the row in the table of causes, or one of ours.
    pub(crate) name: String,
    /// By what mail is reached.
    pub(crate) door: Door,
    /// How it is brought about.
    pub(crate) induced: String,
    /// The rung that must name it.
    pub(crate) rung: String,
    pub(crate) faults: Vec<Value>,
    /// Why a policy keeps everybody from EWS.
    pub(crate) policy: Option<&'static str>,
    pub(crate) change: fn(&mut CheckRequest),
    pub(crate) expected: Expected,
}

/// How it is recognised.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    /// By this row of the table of causes.
    Row(Code<'static>),
    /// By words of our own.
    Words(&'static str),
}

/// Codes that Graph answers when a message is sent; all others are met when the inbox is asked for.
const SENDING: [&str; 6] = [
    "ErrorSendAsDenied",
    "ErrorMessageSubmissionBlocked",
    "ErrorInvalidRecipients",
    "ErrorMessageSizeExceeded",
    "ErrorExceededMessageLimit",
    "ErrorQuotaExceeded",
];

/// A code that stands in no row, so that the status decides.
const UNHEARD_OF: &str = "UnknownError";

/// All of them: our own findings, mistakes that Microsoft's own answer tells, and each row of the table of causes,
/// answered by the tenant on request.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = ours();
    cases.extend(natural());
    cases.extend(protocols::ours());
    cases.extend(cause::rows().filter_map(|row| match row.example {
        Code::Aadsts(number) => Some(refused_token(row.name, number)),
        Code::Graph { status, code } => Some(answered(row.name, status, code, None)),
        Code::GraphSaid { status, code, message } => Some(answered(row.name, status, code, Some(message))),
        Code::Ews { status, code } => Some(protocols::ews(row.name, status, code)),
        Code::Imap(words) => Some(protocols::imap(row.name, words)),
        Code::Smtp(words) => Some(protocols::smtp(row.name, words)),
        _ => None,
    }));
    cases
}

/// The token endpoint says no.
fn refused_token(name: &str, number: u32) -> Case {
    let code = format!("AADSTS{number}");
    Case {
        name: name.to_owned(),
        door: Door::Graph,
        policy: None,
        induced: format!("{code} instead of a token"),
        rung: "token".to_owned(),
        faults: vec![json!({"path_contains": "oauth2/v2.0/token", "status": 400, "code": code})],
        change: |_| {},
        expected: Expected::Row(Code::Aadsts(number)),
    }
}

/// Graph says no, at the mailbox or at sending.
fn answered(name: &str, status: u16, code: &'static str, said: Option<&'static str>) -> Case {
    let sending = SENDING.contains(&code);
    let path = if sending { "/send" } else { "mailFolders/inbox" };
    let shown = if code.is_empty() { UNHEARD_OF } else { code };
    // Twice, because a 401 is tried once more with a new token.
    let fault = json!({"path_contains": path, "status": status, "code": shown, "message": said, "count": 2});
    Case {
        name: name.to_owned(),
        door: Door::Graph,
        policy: None,
        induced: format!("{status} {shown} to {path}"),
        rung: if sending { "send".to_owned() } else { format!("mailbox:{ORDERS}") },
        faults: vec![fault],
        change: if sending { message } else { |_| {} },
        expected: Expected::Row(Code::GraphSaid { status, code: shown, message: said.unwrap_or_default() }),
    }
}

pub(crate) fn message(request: &mut CheckRequest) {
    let address = request.mailboxes[0].clone();
    request.test_message = Some(TestMessage { sender: address.clone(), recipient: address });
}

/// A case without a fault of the tenant: the settings are wrong.
pub(crate) fn wrong(
    name: &str,
    induced: &str,
    rung: &str,
    change: fn(&mut CheckRequest),
    expected: Expected,
) -> Case {
    Case {
        name: name.to_owned(),
        door: Door::Graph,
        policy: None,
        induced: induced.to_owned(),
        rung: rung.to_owned(),
        faults: Vec::new(),
        change,
        expected,
    }
}

/// Mistakes that Microsoft's own answer tells.
fn natural() -> Vec<Case> {
    const NOBODY: Code<'static> = Code::Graph { status: 404, code: "ErrorInvalidUser" };
    vec![
        told(Code::Aadsts(7_000_215), "a wrong secret", "token", wrong_secret),
        told(Code::Aadsts(50_126), "a client secret as a user's password", "token", |request| {
            request.settings.flow = AuthenticationFlow::Password;
            request.settings.user_name = ORDERS.to_owned();
        }),
        told(Code::Aadsts(90_002), "a tenant id that no tenant has", "tenant", |request| {
            request.settings.tenant_id = "5a1b2c3d-0000-4000-8000-00000000b001".to_owned();
        }),
        told(Code::Aadsts(90_002), "a domain that no tenant has", "tenant", |request| {
            request.settings.tenant_id = "fabrikam.example".to_owned();
        }),
        told(Code::Aadsts(700_016), "an application id that the tenant does not have", "token", |request| {
            request.settings.application_id = "5a1b2c3d-0000-4000-8000-00000000a001".to_owned();
        }),
        told(NOBODY, "a mailbox that is not there", "mailbox:nobody@contoso.example", |request| {
            request.mailboxes = vec!["nobody@contoso.example".parse().unwrap()];
        }),
    ]
}

/// A mistake in the settings that the provider answers with this code.
fn told(code: Code<'static>, induced: &str, rung: &str, change: fn(&mut CheckRequest)) -> Case {
    let row = cause::explain(code, &Ids::default()).unwrap().row;
    wrong(row, induced, rung, change, Expected::Row(code))
}

fn wrong_secret(request: &mut CheckRequest) {
    request.secret = Some(SecretString::from("nQ3~a-wrong.value_of-a-secret"));
}

/// Mistakes that are recognised here.
fn ours() -> Vec<Case> {
    use Expected::Words;
    let shapes = |name, induced, change, words| wrong(name, induced, "shapes", change, Words(words));
    vec![
        shapes(
            "secret-is-its-id",
            "the Secret ID as secret",
            |request| {
                request.secret = Some(SecretString::from("b5622740-d85f-4526-9d37-080000000000"));
            },
            "looks like the Secret ID",
        ),
        shapes("secret-missing", "no secret", |request| request.secret = None, "Client secret is missing"),
        shapes(
            "secret-blank",
            "a secret with a line end inside",
            |request| {
                request.secret = Some(SecretString::from("nQ3~one\ntwo"));
            },
            "holds a blank or a line end",
        ),
        shapes(
            "tenant-common",
            "`common` as tenant",
            |request| {
                request.settings.tenant_id = "common".to_owned();
            },
            "cannot be `common`",
        ),
        shapes(
            "tenant-missing",
            "no tenant",
            |request| request.settings.tenant_id.clear(),
            "(tenant) ID is missing",
        ),
        shapes(
            "application-no-guid",
            "the application's name as its id",
            |request| {
                request.settings.application_id = "Postroom".to_owned();
            },
            "is not a GUID",
        ),
        shapes(
            "ids-swapped",
            "one id pasted twice",
            |request| {
                request.settings.tenant_id = request.settings.application_id.clone();
            },
            "is the same as Application (client) ID",
        ),
        shapes(
            "authority-open",
            "a sign-in address without TLS",
            |request| {
                if let Cloud::Custom(endpoints) = &mut request.settings.cloud {
                    endpoints.authority = "http://login.example".parse().unwrap();
                }
            },
            "is not https",
        ),
        wrong(
            "host-unreachable",
            "a port where nobody listens",
            "network:sign-in",
            |request| {
                if let Cloud::Custom(endpoints) = &mut request.settings.cloud {
                    endpoints.authority = "http://127.0.0.1:1".parse().unwrap();
                }
            },
            Words("cannot be reached from this machine"),
        ),
        wrong(
            "credential-expired",
            "an end date in the past",
            "credential",
            |request| {
                request.credential_expires_at = Some(Timestamp::UNIX_EPOCH);
            },
            Words("The credential has expired"),
        ),
        wrong("credential-unknown", "no end date", "credential", |_| {}, Words("Nobody can be warned")),
        wrong(
            "mailbox-open",
            "a mailbox that must stay closed and opens",
            "refusal:hr@contoso.example",
            |request| {
                request.must_not_open = vec!["hr@contoso.example".parse().unwrap()];
            },
            Words("a grant for the whole tenant"),
        ),
        wrong("limit-unproved", "no mailbox that must stay closed", "refusal", |_| {}, Words("not proved")),
        wrong(
            "polling-off",
            "no polling",
            "notice",
            |request| request.polling = PollingInterval::Off,
            Words("only when somebody presses Check now"),
        ),
        Case {
            faults: vec![json!({"path_contains": "mailFolders/inbox", "cut": true, "count": 3})],
            ..wrong(
                "line-cut",
                "Graph cuts the line",
                &format!("mailbox:{ORDERS}"),
                |_| {},
                Words("No usable answer"),
            )
        },
    ]
}
