//! From a reply to a failure: what is done next, and what a person does about it.
//!
//! RFC 5321 section 4.2.1 gives the rule: 4yz is tried again, 5yz is final for this message. The table of [`KNOWN`]
//! holds the exceptions: refusals that are about a setting or a right and not about the message wait for a person. What
//! that person does stands in the table of causes ([`explained`]). The texts are those of Exchange Online (Microsoft: "Fix
//! NDR errors", "Authenticate an IMAP, POP or SMTP connection using OAuth", "Authenticated client SMTP submission"). One
//! more known refusal is one more row.

use std::fmt;

use jiff::SignedDuration;
use postroom_entra::http::tidy;
use postroom_entra::{Code, Ids, cause};
use postroom_model::failure::{Decision, Failure, Origin};

use super::reply::Reply;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waiting for the server's first line.
    Greeting,
    /// EHLO.
    Ehlo,
    /// STARTTLS.
    Starttls,
    /// Signing in.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, and the content up to the final dot.
    Data,
    /// The final dot.
    End,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::Starttls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL FROM",
            Self::Rcpt => "RCPT TO",
            Self::Data => "DATA",
            Self::End => "final dot",
        })
    }
}

/// A known refusal.
struct Known {
    /// Enhanced status code; empty fits every one.
    code: &'static str,
    /// Part of its text, in lower case; empty fits every text.
    text: &'static str,
    decision: Decision,
}

const HOLD: Decision = Decision::Hold;
const RETRY: Decision = Decision::Retry { after: None };
/// Recipients are counted over the last 24 hours, so room comes back bit by bit.
const QUOTA: Decision = Decision::Retry { after: Some(SignedDuration::from_hours(1)) };

const SIZE: &str = "Send it with smaller attachments, or lower the maximum size in the settings so that it is refused before.";
const SIGN_IN: &str = "This server wants its clients to sign in: enter a user name and a password, or choose a flow of Microsoft Entra.";
const CREDENTIAL: &str = "Check user name and password, and whether this account may use SMTP.";

/// The first row that fits decides.
#[rustfmt::skip] // one row per refusal, readable as a table
const KNOWN: &[Known] = &[
    Known { code: "5.7.139", text: "", decision: HOLD },
    Known { code: "5.7.57", text: "", decision: HOLD },
    Known { code: "5.7.60", text: "", decision: HOLD },
    Known { code: "", text: "sendasdenied", decision: HOLD },
    Known { code: "", text: "not owned by user", decision: HOLD },
    Known { code: "5.7.0", text: "starttls", decision: HOLD },
    Known { code: "5.7.68", text: "", decision: HOLD },
    Known { code: "", text: "submissionquotaexceeded", decision: QUOTA },
    Known { code: "", text: "storedrv.submission.exception:quotaexceeded", decision: HOLD },
    Known { code: "5.1.8", text: "", decision: HOLD },
    Known { code: "5.5.105", text: "", decision: Decision::Fail },
    Known { code: "5.3.4", text: "", decision: Decision::Fail },
    Known { code: "5.2.3", text: "", decision: Decision::Fail },
    Known { code: "4.3.2", text: "concurrent connections", decision: RETRY },
    Known { code: "", text: "relay access denied", decision: HOLD },
    Known { code: "", text: "relaying denied", decision: HOLD },
];

/// The failure of `operation` that a reply means. Its advice is what follows from the step alone; [`explained`] knows
/// more.
pub(super) fn failure(operation: &str, stage: Stage, reply: &Reply) -> Failure {
    let lower = reply.text.to_ascii_lowercase();
    let code = reply.enhanced();
    let fits = |known: &&Known| (known.code.is_empty() || known.code == code) && lower.contains(known.text);
    let (decision, advice) = general(stage, reply);
    let decision = KNOWN.iter().find(fits).map_or(decision, |known| known.decision);
    let mut failure = Failure::new(operation, Origin::Provider, reply.words(), decision);
    failure.status = Some(reply.code);
    failure.code = Some(code).filter(|code| !code.is_empty()).map(str::to_owned);
    failure.advice = advice.map(str::to_owned);
    failure
}

/// The same with the advice of the table of causes, where the server's reply stands there.
pub(super) fn explained(mut failure: Failure, ids: &Ids) -> Failure {
    let (Origin::Provider, Some(status)) = (failure.origin, failure.status) else { return failure };
    let reply = format!("{status} {} {}", failure.code.as_deref().unwrap_or_default(), failure.words);
    let reply = reply.replacen("  ", " ", 1);
    if let Some(advice) = cause::explain(Code::Smtp(&reply), ids) {
        failure.advice = Some(advice.to_string());
    }
    failure
}

/// The rule, without the exceptions.
fn general(stage: Stage, reply: &Reply) -> (Decision, Option<&'static str>) {
    match (reply.code, stage) {
        (400..500, _) => (RETRY, None),
        (_, Stage::Auth) => (HOLD, Some(CREDENTIAL)),
        (530, _) => (HOLD, Some(SIGN_IN)),
        (535 | 534 | 538, _) => (HOLD, Some(CREDENTIAL)),
        (500.., Stage::Greeting | Stage::Ehlo | Stage::Starttls) => (
            HOLD,
            Some(
                "The server does not serve this machine: check server address and port, and ask its administrator.",
            ),
        ),
        (500.., _) => (Decision::Fail, None),
        // An answer that fits no question: RFC 5321 section 4.3.2 knows none such.
        (_, _) => (RETRY, None),
    }
}

/// A failure of `operation` that the server has said by what it offers.
fn by_offer(operation: &str, words: String, decision: Decision, advice: &str) -> Failure {
    let mut failure = Failure::new(operation, Origin::Provider, words, decision);
    failure.advice = Some(advice.to_owned());
    failure
}

/// A password would cross an unprotected line.
pub(super) fn unprotected(operation: &str, host: &str) -> Failure {
    let words = format!("the line to {host} is not protected, so the credential was not sent");
    by_offer(operation, words, HOLD, "Choose TLS or STARTTLS.")
}

/// No way of signing in that both know.
pub(super) fn no_mechanism(operation: &str, host: &str, wanted: &str, offered: Option<&[String]>) -> Failure {
    let offered = match offered {
        None => "no AUTH at all".to_owned(),
        Some(offered) => tidy(format!("AUTH {}", offered.join(" ")), 300),
    };
    by_offer(
        operation,
        format!("{host} offers {offered}; {wanted} is needed"),
        HOLD,
        "Check port and TLS mode: many servers offer signing in on port 587 or 465 only. A relay that asks for no password needs no user name.",
    )
}

/// The message is larger than the server takes.
pub(super) fn too_large(operation: &str, host: &str, size: u64, limit: u64) -> Failure {
    let words = format!("the message has {size} bytes; {host} takes at most {limit} (SIZE {limit})");
    let mut failure = by_offer(operation, words, Decision::Fail, SIZE);
    failure.code = Some("5.3.4".to_owned());
    failure
}

/// The content has bytes above 127 and the server does not take them.
pub(super) fn not_eight_bit(operation: &str, host: &str) -> Failure {
    by_offer(
        operation,
        format!("the message holds bytes above 127, and {host} does not offer 8BITMIME"),
        Decision::Fail,
        "Write the message with base64 or quoted-printable, or send it through another server.",
    )
}

/// What is said of an address beyond ASCII to a server that takes none.
pub(super) fn not_utf8(operation: &str, host: &str, address: &str) -> Failure {
    by_offer(
        operation,
        format!("the address {address} is beyond ASCII, and {host} does not offer SMTPUTF8"),
        Decision::Fail,
        "Use the address's ASCII form, or send it through another server.",
    )
}

/// The header is UTF-8 beyond ASCII and the server does not take that (RFC 6531 section 3.1).
pub(super) fn header_not_utf8(operation: &str, host: &str) -> Failure {
    by_offer(
        operation,
        format!("the message's header holds UTF-8 beyond ASCII, and {host} does not offer SMTPUTF8"),
        Decision::Fail,
        "Write its fields as encoded words (RFC 2047), or send it through another server.",
    )
}

/// The header holds bytes that no standard knows: 8BITMIME is about bodies (RFC 6152), and RFC 6532 about UTF-8.
pub(super) fn no_header(operation: &str, host: &str) -> Failure {
    by_offer(
        operation,
        format!("{host} offers nothing for a header whose bytes above 127 are no UTF-8"),
        Decision::Fail,
        "Write its fields as encoded words (RFC 2047).",
    )
}

/// Whether a recipient was refused only because there were too many in one message (RFC 5321 section 4.5.3.1.10).
pub(super) fn is_one_too_many(reply: &Reply) -> bool {
    matches!((reply.code, reply.enhanced()), (452 | 552, "") | (_, "4.5.3" | "5.5.3"))
        && (!reply.enhanced().is_empty() || reply.text.to_ascii_lowercase().contains("too many"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_said_what_decides_what_is_done() {
        use Decision::{Fail, Hold};
        for (stage, said, decision, advice) in [
            (Stage::Mail, "530 5.7.0 Must issue a STARTTLS command first", Hold, Some("mode STARTTLS")),
            (
                Stage::Mail,
                "553 5.7.1 <a@b.example>: Sender address rejected: not owned by user desk",
                Hold,
                Some("own addresses"),
            ),
            (
                Stage::Auth,
                "535 5.7.3 Authentication unsuccessful [AM0PR]",
                Hold,
                Some("enterprise application"),
            ),
            (
                Stage::Auth,
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
                Hold,
                Some("Set-CASMailbox"),
            ),
            (
                Stage::Auth,
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
                Hold,
                Some("Set-CASMailbox"),
            ),
            (Stage::Auth, "454 4.7.0 Temporary authentication failure", RETRY, Some("tried again")),
            (Stage::Mail, "530 5.7.57 Client not authenticated to send mail.", Hold, Some("user name")),
            (
                Stage::End,
                "554 5.2.252 SendAsDenied; a@contoso.example not allowed to send as b",
                Hold,
                Some("Add-RecipientPermission"),
            ),
            (
                Stage::Mail,
                "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
                Hold,
                Some("SendAs"),
            ),
            (
                Stage::End,
                "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; x",
                QUOTA,
                Some("24 hours"),
            ),
            (
                Stage::End,
                "554 5.2.2 STOREDRV.Submission.Exception:QuotaExceededException; x",
                Hold,
                Some("full"),
            ),
            (Stage::Rcpt, "552 5.2.2 Mailbox full", Fail, Some("full")),
            (Stage::Mail, "552 5.3.4 Message size exceeds fixed maximum message size", Fail, Some("larger")),
            (
                Stage::Mail,
                "432 4.3.2 Concurrent connections limit exceeded.",
                RETRY,
                Some("three connections"),
            ),
            (Stage::Rcpt, "550 5.1.1 No such user", Fail, Some("does not know")),
            (Stage::Rcpt, "554 5.7.1 <x@y.example>: Relay access denied", Hold, Some("Sign in")),
            (Stage::Rcpt, "450 4.2.0 Greylisted", RETRY, Some("tried again")),
            (Stage::Greeting, "554 5.7.1 No service for you", Hold, Some("administrator")),
            (Stage::Greeting, "421 4.3.2 Later", RETRY, Some("tried again")),
            (Stage::Data, "250 what?", RETRY, None),
        ] {
            let reply = Reply::read(format!("{said}\r\n").as_bytes()).unwrap().unwrap().0;
            let failure = explained(failure("send", stage, &reply), &Ids::default());
            assert_eq!(failure.decision(), decision, "{said}");
            assert_eq!(failure.advice.is_some(), advice.is_some(), "{said}");
            assert!(advice.is_none_or(|part| failure.advice.as_ref().unwrap().contains(part)), "{failure:?}");
            let code = failure.code.as_deref().unwrap_or_default();
            let rebuilt = format!("{} {code} {}", failure.status.unwrap(), failure.words);
            assert_eq!(rebuilt.replace("  ", " "), said);
        }
    }

    #[test]
    fn too_many_recipients_is_told_from_a_full_disk() {
        for (said, expected) in [
            ("452 4.5.3 Error: too many recipients", true),
            ("452 Too many recipients", true),
            ("552 too many recipients", true),
            ("550 5.5.3 Too many recipients", true),
            ("452 4.3.1 Insufficient system storage", false),
            ("452 insufficient storage", false),
        ] {
            let reply = Reply::read(format!("{said}\r\n").as_bytes()).unwrap().unwrap().0;
            assert_eq!(is_one_too_many(&reply), expected, "{said}");
        }
    }
}
