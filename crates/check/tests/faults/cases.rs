//! What is induced, and what must be said.

use postroom_check::{CheckRequest, Mode, TestMessage};
use postroom_entra::Code;
use postroom_model::connection::{AuthenticationFlow, Cloud};
use postroom_model::polling::PollingInterval;
use postroom_model::{SecretString, Timestamp};
use serde_json::{Value, json};

use super::tenant::ORDERS;

/// One fault.
pub(crate) struct Case {
    /// The provider's code, or a name of ours.
    pub(crate) name: String,
    /// How it is brought about.
    pub(crate) induced: String,
    /// The rung that must name it.
    pub(crate) rung: String,
    pub(crate) faults: Vec<Value>,
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

/// AADSTS numbers answered by the token endpoint instead of a token.
const SIGN_IN: &[(u16, u32)] = &[
    (400, 50_034),
    (400, 50_053),
    (400, 50_055),
    (400, 50_057),
    (400, 50_076),
    (400, 50_105),
    (400, 50_126),
    (400, 50_194),
    (400, 53_003),
    (400, 530_035),
    (400, 65_001),
    (401, 700_213),
    (400, 70_011),
    (401, 700_024),
    (401, 700_025),
    (401, 700_027),
    (400, 7_000_112),
    (401, 7_000_214),
    (401, 7_000_222),
    (400, 500_011),
    (400, 900_023),
    (400, 9_002_313),
];

/// Codes answered by Graph when the inbox is asked for.
const MAILBOX: &[(u16, &str)] = &[
    (401, "InvalidAuthenticationToken"),
    (403, "ErrorAccessDenied"),
    (404, "MailboxNotEnabledForRESTAPI"),
    (404, "ErrorFolderNotFound"),
    (404, "ErrorItemNotFound"),
    (404, "Request_ResourceNotFound"),
    (400, "RequestBodyRead"),
    (429, "ApplicationThrottled"),
    (503, "ServiceNotAvailable"),
    (504, "GatewayTimeout"),
];

/// Codes answered by Graph when the test message is sent.
const SENDING: &[(u16, &str)] = &[
    (403, "ErrorSendAsDenied"),
    (403, "ErrorMessageSubmissionBlocked"),
    (400, "ErrorInvalidRecipients"),
    (413, "ErrorMessageSizeExceeded"),
    (429, "ErrorExceededMessageLimit"),
    (507, "ErrorQuotaExceeded"),
];

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = ours();
    cases.extend(natural());
    for (status, number) in SIGN_IN {
        let fault = json!({"path_contains": "oauth2/v2.0/token", "status": status, "code": format!("AADSTS{number}")});
        cases.push(Case {
            name: format!("AADSTS{number}"),
            induced: format!("the token endpoint answers {status}"),
            rung: "token".to_owned(),
            faults: vec![fault],
            change: |_| {},
            expected: Expected::Row(Code::Aadsts(*number)),
        });
    }
    cases.extend(MAILBOX.iter().map(|(status, code)| answered(*status, code, "mailFolders/inbox")));
    cases.extend(SENDING.iter().map(|(status, code)| answered(*status, code, "/send")));
    let large = answered(413, "RequestEntityTooLarge", "createUploadSession");
    cases.push(Case { rung: "send-large".to_owned(), change: full, ..large });
    cases
}

/// A refusal of Graph, at the mailbox or at sending.
fn answered(status: u16, code: &'static str, path: &str) -> Case {
    // Twice, because a 401 is tried once more with a new token.
    let fault = json!({"path_contains": path, "status": status, "code": code, "count": 2});
    let sending = path == "/send";
    Case {
        name: code.to_owned(),
        induced: format!("Graph answers {status} to {path}"),
        rung: if sending { "send".to_owned() } else { format!("mailbox:{ORDERS}") },
        faults: vec![fault],
        change: if sending { message } else { |_| {} },
        expected: Expected::Row(Code::Graph { status, code }),
    }
}

fn message(request: &mut CheckRequest) {
    let address = request.mailboxes[0].clone();
    request.test_message = Some(TestMessage { sender: address.clone(), recipient: address });
}

fn full(request: &mut CheckRequest) {
    request.mode = Mode::Full;
}

/// A case without a fault of the tenant: the settings are wrong.
fn wrong(name: &str, induced: &str, rung: &str, change: fn(&mut CheckRequest), expected: Expected) -> Case {
    Case {
        name: name.to_owned(),
        induced: induced.to_owned(),
        rung: rung.to_owned(),
        faults: Vec::new(),
        change,
        expected,
    }
}

/// Mistakes that Microsoft's own answer tells.
fn natural() -> Vec<Case> {
    use Expected::Row;
    vec![
        wrong(
            "AADSTS7000215",
            "a secret with one sign changed",
            "token",
            wrong_secret,
            Row(Code::Aadsts(7_000_215)),
        ),
        wrong(
            "AADSTS50126",
            "a client secret where a user's password belongs",
            "token",
            |request| {
                request.settings.flow = AuthenticationFlow::Password;
                request.settings.user_name = ORDERS.to_owned();
            },
            Expected::Words("User name or password is wrong"),
        ),
        wrong(
            "AADSTS90002",
            "a tenant id that no tenant has",
            "tenant",
            |request| {
                request.settings.tenant_id = "5a1b2c3d-0000-4000-8000-00000000b001".to_owned();
            },
            Expected::Words("was not found"),
        ),
        wrong(
            "AADSTS90002 (domain)",
            "a domain that no tenant has",
            "tenant",
            |request| {
                request.settings.tenant_id = "fabrikam.example".to_owned();
            },
            Expected::Words("fabrikam.example was not found"),
        ),
        wrong(
            "AADSTS700016",
            "an application id that the tenant does not have",
            "token",
            |request| {
                request.settings.application_id = "5a1b2c3d-0000-4000-8000-00000000a001".to_owned();
            },
            Expected::Words("5a1b2c3d-0000-4000-8000-00000000a001 does not exist in tenant"),
        ),
        wrong(
            "ErrorInvalidUser",
            "a mailbox that is not there",
            "mailbox:nobody@contoso.example",
            |request| {
                request.mailboxes = vec!["nobody@contoso.example".parse().unwrap()];
            },
            Expected::Words("There is no mailbox nobody@contoso.example"),
        ),
    ]
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
