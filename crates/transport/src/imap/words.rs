//! What a server's refusal means: its literal words, its code (RFC 5530), what is done next and what a person can do.

use async_imap::imap_proto::{Outcome, ResponseCode, Status};
use jiff::SignedDuration;
use postroom_entra::http::tidy;
use postroom_entra::{Code, Ids, cause};
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

/// A server's refusal of `operation`; `signing_in` when it answers a sign-in. The advice is that of the table of causes.
pub(super) fn refusal(operation: &str, words: &str, signing_in: bool, ids: &Ids) -> Failure {
    let retry = Decision::Retry { after: None };
    let code = code(words);
    let decision = if words.contains("Request is throttled") {
        Decision::Retry { after: backoff(words) }
    } else if words.contains("User is authenticated but not connected") {
        Decision::Hold
    } else if words.contains("AccessTokenExpired") || words.contains("Session invalidated") {
        retry
    } else {
        match code {
            Some("UNAVAILABLE" | "SERVERBUG" | "CORRUPTION" | "INUSE" | "LIMIT" | "OVERQUOTA") => retry,
            Some(
                "EXPIRED"
                | "PRIVACYREQUIRED"
                | "CONTACTADMIN"
                | "AUTHORIZATIONFAILED"
                | "NOPERM"
                | "NONEXISTENT"
                | "TRYCREATE",
            ) => Decision::Hold,
            _ if words.contains("doesn't exist") || words.contains("AUTHENTICATE failed") || signing_in => {
                Decision::Hold
            }
            _ => retry,
        }
    };
    let advice = cause::explain(Code::Imap(words), ids).map(|advice| advice.to_string());
    let advice = advice.or_else(|| signing_in.then(|| UNEXPLAINED.to_owned()));
    let mut failure = Failure::new(operation, Origin::Provider, words, decision);
    failure.code = code.map(str::to_owned);
    failure.advice = advice;
    failure
}

/// A sign-in that was refused in words of the server's own.
const UNEXPLAINED: &str = "Check user name and password, and whether this account may use IMAP.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_carries_its_words_code_decision_and_advice() {
        let retry = Decision::Retry { after: None };
        let paused = Decision::Retry { after: Some(SignedDuration::from_millis(92_415)) };
        let table = [
            ("NO AUTHENTICATE failed.", true, None, Decision::Hold, "Get-ServicePrincipal"),
            ("BAD User is authenticated but not connected.", false, None, Decision::Hold, "FullAccess"),
            (
                "BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds",
                false,
                None,
                paused,
                "slower",
            ),
            (
                "NO [AUTHENTICATIONFAILED] Authentication failed.",
                true,
                Some("AUTHENTICATIONFAILED"),
                Decision::Hold,
                "password",
            ),
            ("NO [UNAVAILABLE] Temporary failure", true, Some("UNAVAILABLE"), retry, "trouble"),
            ("NO [INUSE] locked", false, Some("INUSE"), retry, "Another program"),
            ("NO [OVERQUOTA] full", false, Some("OVERQUOTA"), retry, "full"),
            ("NO [EXPIRED] change it", true, Some("EXPIRED"), Decision::Hold, "expired"),
            ("NO [PRIVACYREQUIRED] no", true, Some("PRIVACYREQUIRED"), Decision::Hold, "TLS"),
            ("NO [NONEXISTENT] no such", false, Some("NONEXISTENT"), Decision::Hold, "folder"),
        ];
        for (words, signing_in, code, decision, advice) in table {
            let failure = refusal("read desk@contoso.example", words, signing_in, &Ids::default());
            assert_eq!((failure.words.as_str(), failure.code.as_deref()), (words, code));
            assert_eq!(failure.decision(), decision, "{words}");
            assert!(failure.advice.unwrap().contains(advice), "{words}");
        }
        let gone = refusal("read", "BYE Session invalidated - AccessTokenExpired", false, &Ids::default());
        assert_eq!(gone.decision(), retry);
        assert_eq!(refusal("read", "NO Suggested Backoff Time", false, &Ids::default()).decision(), retry);
        let endless = refusal(
            "read",
            "NO Request is throttled. Suggested Backoff Time: 999999999999 ms",
            false,
            &Ids::default(),
        );
        assert_eq!(endless.decision(), Decision::Retry { after: Some(MAX_PAUSE) });
    }
}
