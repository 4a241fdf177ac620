//! What is induced at EWS, IMAP and SMTP.

use postroom_entra::Code;
use postroom_model::SecretString;
use postroom_model::connection::{Cloud, TlsMode};
use serde_json::json;

use super::cases::{Case, Expected, message, wrong};
use super::tenant::{Door, ORDERS};

/// Codes that Exchange answers when a message is made or sent; all others are met when the inbox is opened.
const SENDING: [&str; 6] = [
    "ErrorInvalidRecipients",
    "ErrorSendAsDenied",
    "ErrorSubmissionQuotaExceeded",
    "ErrorMessageSizeExceeded",
    "ErrorQuotaExceeded",
    "ErrorMimeContentInvalid",
];

/// EWS says no: with a code as a SOAP fault, by status alone, or by its policy.
pub(crate) fn ews(name: &str, status: u16, code: &'static str) -> Case {
    let policy = code.starts_with("EWS is");
    let status = if policy || code.is_empty() { status } else { 500 };
    let body = format!(
        r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">a:{code}</faultcode><faultstring>Said on request.</faultstring><detail><e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">{code}</e:ResponseCode><e:Message xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">Said on request.</e:Message></detail></s:Fault></s:Body></s:Envelope>"#
    );
    let body = if code.is_empty() || policy { String::new() } else { body };
    let sending = SENDING.contains(&code);
    let shown = if code.is_empty() { "alone" } else { code };
    Case {
        name: name.to_owned(),
        door: Door::Ews,
        policy: policy.then_some(code),
        induced: format!("{status} {shown} from EWS"),
        rung: if sending { "send".to_owned() } else { format!("read:{ORDERS}") },
        faults: vec![
            json!({"path_contains": "EWS/Exchange.asmx", "status": status, "body": body, "count": 99}),
        ],
        change: if sending { message } else { |_| {} },
        expected: Expected::Row(Code::Ews { status, code }),
    }
}

/// Rows that an IMAP server answers to the sign-in; all others are met when the inbox is opened.
const AT_SIGN_IN: [&str; 7] = [
    "imap-sign-in-refused",
    "imap-password-expired",
    "imap-tls-wanted",
    "imap-blocked",
    "imap-not-permitted",
    "imap-too-many",
    "imap-unavailable",
];

/// IMAP says no.
pub(crate) fn imap(name: &str, words: &'static str) -> Case {
    let sign_in = AT_SIGN_IN.contains(&name);
    let command = if sign_in { "AUTHENTICATE" } else { "STATUS" };
    let status = if name == "imap-not-connected" { "BAD" } else { "NO" };
    let reply = format!("{status} {words} on request.");
    Case {
        name: name.to_owned(),
        door: Door::Imap,
        policy: None,
        induced: format!("{reply} to {command}"),
        rung: format!("{}:{ORDERS}", if sign_in { "sign-in" } else { "read" }),
        // A token that is refused is renewed once.
        faults: vec![json!({"door": "imap", "command": command, "reply": reply, "count": 9})],
        change: |_| {},
        expected: Expected::Row(Code::Imap(words)),
    }
}

/// SMTP says no, at the step where it belongs.
pub(crate) fn smtp(name: &str, words: &'static str) -> Case {
    let at = match name {
        "smtp-off-for-tenant"
        | "smtp-off-for-mailbox"
        | "smtp-basic-off"
        | "smtp-sign-in-refused"
        | "smtp-tls-wanted"
        | "smtp-tls-old" => "AUTH",
        "smtp-recipient-unknown" | "smtp-relay-denied" => "RCPT",
        "smtp-not-signed-in" | "smtp-too-many" | "smtp-too-many-recipients" | "smtp-transient" => "MAIL",
        _ => "DATA-END",
    };
    let bytes = words.as_bytes();
    // `535 5.7.3` is a reply already, `5.7.57` lacks the number in front, and other words lack both.
    let reply = match (bytes.get(1), bytes.get(3)) {
        (_, Some(b' ')) if bytes[0].is_ascii_digit() => format!("{} on request", words.trim_end()),
        (Some(b'.'), _) => format!("{}50 {words} on request", char::from(bytes[0])),
        _ => format!("554 5.6.0 {words}"),
    };
    let signing = at == "AUTH";
    Case {
        name: name.to_owned(),
        door: Door::Smtp,
        policy: None,
        induced: format!("{reply} to {at}"),
        rung: if signing { "sign-in" } else { "send" }.to_owned(),
        faults: vec![json!({"door": "smtp", "at": at, "reply": reply, "count": 9})],
        change: message,
        expected: Expected::Row(Code::Smtp(words)),
    }
}

/// Mistakes that are recognised here, or told by the server's own answer.
pub(crate) fn ours() -> Vec<Case> {
    use Expected::Words;
    let at = |door, case| Case { door, ..case };
    vec![
        at(
            Door::Imap,
            wrong(
                "imap-nobody-listens",
                "a port where nobody listens",
                "network:mail",
                |request| request.settings.port = 1,
                Words("refused"),
            ),
        ),
        at(
            Door::Imap,
            wrong(
                "imap-no-starttls",
                "STARTTLS where there is none",
                "network:mail",
                |request| request.settings.tls = TlsMode::Starttls,
                Words("STARTTLS"),
            ),
        ),
        at(
            Door::Imap,
            wrong(
                "imap-mailbox-not-granted",
                "a mailbox that Exchange has not granted",
                "read:service@contoso.example",
                |request| request.mailboxes = vec!["service@contoso.example".parse().unwrap()],
                Words("The sign-in is good"),
            ),
        ),
        at(
            Door::Imap,
            wrong(
                "imap-mailbox-open",
                "a mailbox that must stay closed and opens",
                &format!("refusal:{ORDERS}"),
                |request| request.must_not_open = request.mailboxes.clone(),
                Words("Exchange has granted it a permission"),
            ),
        ),
        at(
            Door::Imap,
            wrong(
                "imap-secret-wrong",
                "a wrong secret",
                "token",
                |request| request.secret = Some(SecretString::from("nQ3~a-wrong.value_of-a-secret")),
                Words("The client secret is wrong"),
            ),
        ),
        at(
            Door::Smtp,
            wrong(
                "smtp-no-starttls",
                "STARTTLS where there is none",
                "network:mail",
                |request| request.settings.tls = TlsMode::Starttls,
                Words("STARTTLS"),
            ),
        ),
        at(
            Door::Smtp,
            wrong(
                "smtp-sender-not-granted",
                "a sender that Exchange has not granted",
                "sign-in",
                |request| {
                    request.mailboxes = vec!["service@contoso.example".parse().unwrap()];
                    message(request);
                },
                Words("refused the sign-in"),
            ),
        ),
        at(
            Door::Ews,
            wrong(
                "exchange-unreachable",
                "a port where nobody listens",
                "network:mail",
                |request| {
                    if let Cloud::Custom(endpoints) = &mut request.settings.cloud {
                        endpoints.exchange = Some("http://127.0.0.1:1".parse().unwrap());
                    }
                },
                Words("cannot be reached from this machine"),
            ),
        ),
    ]
}
