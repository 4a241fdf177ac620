//! What a server's refusal means: its literal words, its code (RFC 5530), what is done next and what a person can do.

use async_imap::imap_proto::{Outcome, ResponseCode, Status};
use jiff::SignedDuration;
use postroom_entra::http::tidy;
use postroom_model::failure::{Decision, Failure, Origin};

/// The longest pause a server may ask for.
const MAX_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// A command that did not succeed.
#[derive(Debug)]
pub(super) struct Trouble {
    /// For the caller.
    pub(super) failure: Box<Failure>,
    /// What became of the session.
    pub(super) after: After,
}

/// What became of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It goes on.
    Alive,
    /// The server ended it or it broke; another one may work.
    Cut,
    /// The server ended it because the token expired.
    Expired,
    /// The server sent more than was asked for and was cut off.
    Excess,
    /// It is unusable, and another one would be so too.
    Dead,
}

impl Trouble {
    pub(super) fn new(failure: Failure, after: After) -> Self {
        Self { failure: Box::new(failure), after }
    }

    /// A polite NO that says nothing about the account: other messages may be readable.
    pub(super) fn is_partial(&self) -> bool {
        self.after == After::Alive
            && self.failure.origin == Origin::Provider
            && self.failure.decision() == (Decision::Retry { after: None })
    }

    /// The session cannot be used again.
    pub(super) fn is_over(&self) -> bool {
        self.after != After::Alive
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::new(failure, After::Dead)
    }
}

/// The words of a status response: `NO [UNAVAILABLE] Try later`. Codes that the parser does not know stay in the text.
pub(super) fn literal(status: &Status, outcome: &Outcome<'_>) -> String {
    let status = match status {
        Status::Ok => "OK",
        Status::No => "NO",
        Status::Bad => "BAD",
        Status::PreAuth => "PREAUTH",
        Status::Bye => "BYE",
    };
    let code = match &outcome.code {
        None => "",
        Some(ResponseCode::Alert) => "[ALERT] ",
        Some(ResponseCode::TryCreate) => "[TRYCREATE] ",
        Some(ResponseCode::ReadOnly) => "[READ-ONLY] ",
        Some(_) => "[...] ",
    };
    tidy(format!("{status} {code}{}", outcome.information.as_deref().unwrap_or_default()), 1_500)
}

/// The code between brackets, as far as it is a word: `AUTHENTICATIONFAILED`.
fn code(words: &str) -> Option<&str> {
    let (_, rest) = words.split_once(" [")?;
    let (code, _) = rest.split_once([']', ' '])?;
    let word = |c: char| c.is_ascii_uppercase() || c == '-';
    (!code.is_empty() && code.len() <= 40 && code.chars().all(word)).then_some(code)
}

/// The pause that Exchange asks for: `Suggested Backoff Time: 92415 milliseconds`.
fn backoff(words: &str) -> Option<SignedDuration> {
    let (_, rest) = words.split_once("Suggested Backoff Time: ")?;
    let number = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(SignedDuration::from_millis(number.parse().ok()?).min(MAX_PAUSE))
}

/// A server's refusal of `operation`; `signing_in` when it answers a sign-in.
pub(super) fn refusal(operation: &str, words: &str, signing_in: bool) -> Failure {
    let retry = Decision::Retry { after: None };
    let code = code(words);
    let (decision, advice) = if words.contains("Request is throttled") {
        (
            Decision::Retry { after: backoff(words) },
            Some("The server asks for fewer requests; reading goes on by itself."),
        )
    } else if words.contains("User is authenticated but not connected") {
        (
            Decision::Hold,
            Some(
                "The sign-in is good but the mailbox cannot be opened: check that the mailbox exists, that IMAP is enabled for it, and that the application's service principal has FullAccess to it.",
            ),
        )
    } else if words.contains("AccessTokenExpired") || words.contains("Session invalidated") {
        (retry, None)
    } else {
        match code {
            Some("UNAVAILABLE" | "SERVERBUG" | "CORRUPTION") => {
                (retry, Some("The server has a problem of its own; its administrator finds more in its log."))
            }
            Some("INUSE") => {
                (retry, Some("Another program holds the mailbox; reading goes on when it lets go."))
            }
            Some("LIMIT" | "OVERQUOTA") => (
                retry,
                Some("A limit of the server is reached: sessions at once, or the size of the mailbox."),
            ),
            Some("EXPIRED") => {
                (Decision::Hold, Some("The password has expired: set a new one and enter it here."))
            }
            Some("PRIVACYREQUIRED") => {
                (Decision::Hold, Some("The server asks for an encrypted line: choose TLS or STARTTLS."))
            }
            Some("CONTACTADMIN") => {
                (Decision::Hold, Some("The account is blocked: ask the server's administrator."))
            }
            Some("AUTHORIZATIONFAILED" | "NOPERM") => (
                Decision::Hold,
                Some(
                    "The account may not open this mailbox: ask the server's administrator for the right to read it.",
                ),
            ),
            Some("NONEXISTENT" | "TRYCREATE") => {
                (Decision::Hold, Some("The folder does not exist on the server."))
            }
            _ if words.contains("doesn't exist") => {
                (Decision::Hold, Some("The folder does not exist on the server."))
            }
            _ if words.contains("AUTHENTICATE failed") => (
                Decision::Hold,
                Some(
                    "Exchange does not say why: check that the application has IMAP.AccessAsApp with admin consent, that New-ServicePrincipal was run with the object id of the enterprise application, that its FullAccess to the mailbox is granted, and that IMAP is enabled for the mailbox.",
                ),
            ),
            _ if signing_in => {
                (Decision::Hold, Some("Check user name and password, and whether this account may use IMAP."))
            }
            _ => (retry, None),
        }
    };
    let mut failure = Failure::new(operation, Origin::Provider, words, decision);
    failure.code = code.map(str::to_owned);
    failure.advice = advice.map(str::to_owned);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    postroom_fuzz::targets! {
        imap_refusal: [
            "NO [AUTHENTICATIONFAILED] no", "BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds", "BYE [UNAVAILABLE] x",
        ] => |bytes| {
            let failure = refusal("read", &String::from_utf8_lossy(bytes), bytes.len() % 2 == 0);
            (failure.decision(), failure.code, failure.advice)
        },
    }

    #[test]
    fn each_refusal_carries_its_words_code_decision_and_advice() {
        let retry = Decision::Retry { after: None };
        let paused = Decision::Retry { after: Some(SignedDuration::from_millis(92_415)) };
        let table = [
            ("NO AUTHENTICATE failed.", true, None, Decision::Hold, "New-ServicePrincipal"),
            ("BAD User is authenticated but not connected.", false, None, Decision::Hold, "FullAccess"),
            (
                "BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds",
                false,
                None,
                paused,
                "fewer",
            ),
            (
                "NO [AUTHENTICATIONFAILED] Authentication failed.",
                true,
                Some("AUTHENTICATIONFAILED"),
                Decision::Hold,
                "password",
            ),
            ("NO [UNAVAILABLE] Temporary failure", true, Some("UNAVAILABLE"), retry, "log"),
            ("NO [INUSE] locked", false, Some("INUSE"), retry, "Another program"),
            ("NO [OVERQUOTA] full", false, Some("OVERQUOTA"), retry, "limit"),
            ("NO [EXPIRED] change it", true, Some("EXPIRED"), Decision::Hold, "expired"),
            ("NO [PRIVACYREQUIRED] no", true, Some("PRIVACYREQUIRED"), Decision::Hold, "TLS"),
            ("NO [NONEXISTENT] no such", false, Some("NONEXISTENT"), Decision::Hold, "folder"),
        ];
        for (words, signing_in, code, decision, advice) in table {
            let failure = refusal("read desk@contoso.example", words, signing_in);
            assert_eq!((failure.words.as_str(), failure.code.as_deref()), (words, code));
            assert_eq!(failure.decision(), decision, "{words}");
            assert!(failure.advice.unwrap().contains(advice), "{words}");
        }
        let gone = refusal("read", "BYE Session invalidated - AccessTokenExpired", false);
        assert_eq!((gone.decision(), gone.advice), (retry, None));
        assert_eq!(refusal("read", "NO Suggested Backoff Time", false).decision(), retry);
        let endless =
            refusal("read", "NO Request is throttled. Suggested Backoff Time: 999999999999 ms", false);
        assert_eq!(endless.decision(), Decision::Retry { after: Some(MAX_PAUSE) });
    }
}
