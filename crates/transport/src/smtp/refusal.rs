//! From a reply to a failure: what is done next, and what a person does about it.
//!
//! RFC 5321 section 4.2.1 gives the rule: 4yz is tried again, 5yz is final for this message. The table of [`KNOWN`]
//! holds the exceptions: refusals that are about a setting or a right and not about the message wait for a person.
//! Its texts are those of Exchange Online (Microsoft: "Fix NDR errors", "Authenticate an IMAP, POP or SMTP connection
//! using OAuth", "Authenticated client SMTP submission"). One more known refusal is one more row.

use std::fmt;

use jiff::SignedDuration;
use postroom_entra::http::tidy;
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
    advice: &'static str,
}

const HOLD: Decision = Decision::Hold;
const RETRY: Decision = Decision::Retry { after: None };
/// Recipients are counted over the last 24 hours, so room comes back bit by bit.
const QUOTA: Decision = Decision::Retry { after: Some(SignedDuration::from_hours(1)) };

const SEND_AS: &str = "The account that signed in may not send from this address. In Exchange Online PowerShell: Add-RecipientPermission -Identity SENDER -Trustee ACCOUNT -AccessRights SendAs (for an application, the object id of its service principal in Exchange).";
const SIZE: &str = "The message is larger than this server or mailbox takes: send less, or have the limit raised (Exchange Online PowerShell: Set-Mailbox SENDER -MaxSendSize 150MB).";
const SIGN_IN: &str = "This server wants its clients to sign in: enter a user name and a password, or choose a flow of Microsoft Entra.";
const CREDENTIAL: &str = "User name or password is wrong, or this account may not use SMTP. With Exchange Online, for an application: the permission SMTP.SendAsApp with admin consent; New-ServicePrincipal -AppId CLIENT -ObjectId the object id of the ENTERPRISE application; Add-MailboxPermission -Identity MAILBOX -User that object id -AccessRights FullAccess; Set-CASMailbox MAILBOX -SmtpClientAuthenticationDisabled $false.";

/// The first row that fits decides.
const KNOWN: &[Known] = &[
    Known {
        code: "5.7.139",
        text: "for the mailbox",
        decision: HOLD,
        advice: "SMTP AUTH is switched off for this mailbox. In Exchange Online PowerShell: Set-CASMailbox MAILBOX -SmtpClientAuthenticationDisabled $false.",
    },
    Known {
        code: "5.7.139",
        text: "for the tenant",
        decision: HOLD,
        advice: "SMTP AUTH is switched off in the organisation. In Exchange Online PowerShell, for one mailbox: Set-CASMailbox MAILBOX -SmtpClientAuthenticationDisabled $false; for all: Set-TransportConfig -SmtpClientAuthenticationDisabled $false.",
    },
    Known {
        code: "5.7.139",
        text: "",
        decision: HOLD,
        advice: "Exchange Online does not take this password: security defaults or a policy forbid it. Choose a flow of Microsoft Entra with a client secret or certificate.",
    },
    Known { code: "5.7.57", text: "", decision: HOLD, advice: SIGN_IN },
    Known { code: "5.7.60", text: "", decision: HOLD, advice: SEND_AS },
    Known { code: "", text: "sendasdenied", decision: HOLD, advice: SEND_AS },
    Known {
        code: "",
        text: "not owned by user",
        decision: HOLD,
        advice: "This server lets an account send from its own addresses only: have the sender's address added to the account.",
    },
    Known {
        code: "5.7.0",
        text: "starttls",
        decision: HOLD,
        advice: "This server wants TLS: choose the TLS mode STARTTLS.",
    },
    Known {
        code: "5.7.68",
        text: "",
        decision: HOLD,
        advice: "This tenant does not take Direct Send: sign in with SMTP AUTH, or set up an inbound connector for this machine's address.",
    },
    Known {
        code: "",
        text: "submissionquotaexceeded",
        decision: QUOTA,
        advice: "This mailbox has reached its number of recipients within 24 hours; it is tried again every hour.",
    },
    Known {
        code: "",
        text: "storedrv.submission.exception:quotaexceeded",
        decision: HOLD,
        advice: "The sender's mailbox is full, so the copy in Sent Items does not fit: free room in it.",
    },
    Known {
        code: "5.1.8",
        text: "",
        decision: HOLD,
        advice: "Microsoft has restricted this sender for spam: an administrator releases it in the Defender portal under Restricted entities.",
    },
    Known {
        code: "5.5.105",
        text: "",
        decision: Decision::Fail,
        advice: "High Volume Email reaches recipients of the own tenant only.",
    },
    Known { code: "5.3.4", text: "", decision: Decision::Fail, advice: SIZE },
    Known { code: "5.2.3", text: "", decision: Decision::Fail, advice: SIZE },
    Known {
        code: "4.3.2",
        text: "concurrent connections",
        decision: RETRY,
        advice: "Exchange Online takes three connections for each mailbox at a time: another program uses it too.",
    },
    Known {
        code: "",
        text: "relay access denied",
        decision: HOLD,
        advice: "The server passes mail on only for clients it knows: sign in, or have this machine's address added there.",
    },
    Known {
        code: "",
        text: "relaying denied",
        decision: HOLD,
        advice: "The server passes mail on only for clients it knows: sign in, or have this machine's address added there.",
    },
];

/// The failure of `operation` that a reply means.
pub(super) fn failure(operation: &str, stage: Stage, reply: &Reply) -> Failure {
    let lower = reply.text.to_ascii_lowercase();
    let code = reply.enhanced();
    let fits = |known: &&Known| (known.code.is_empty() || known.code == code) && lower.contains(known.text);
    let known = KNOWN.iter().find(fits).map(|known| (known.decision, Some(known.advice)));
    let (decision, advice) = known.unwrap_or_else(|| general(stage, reply));
    let mut failure = Failure::new(operation, Origin::Provider, reply.words(), decision);
    failure.status = Some(reply.code);
    failure.code = Some(code).filter(|code| !code.is_empty()).map(str::to_owned);
    failure.advice = advice.map(str::to_owned);
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

/// The server, or somebody on the way, does not offer STARTTLS.
pub(super) fn not_offered(operation: &str, host: &str) -> Failure {
    let words = format!("{host} does not offer STARTTLS on this port, so nothing was said to it");
    by_offer(
        operation,
        words,
        HOLD,
        "Choose the TLS mode this port has; where the server should offer STARTTLS, somebody on the way may have removed it.",
    )
}

/// Somebody wrote into the line before TLS began.
pub(super) fn injected(operation: &str, host: &str, bytes: &[u8]) -> Failure {
    let shown = tidy(String::from_utf8_lossy(&bytes[..bytes.len().min(400)]), 200);
    let words = format!("{host} went on in the clear after its reply to STARTTLS: {shown:?}");
    by_offer(
        operation,
        words,
        HOLD,
        "Somebody on the way may be tampering with the line: have the server's administrator look at it.",
    )
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
            (Stage::Auth, "535 5.7.3 Authentication unsuccessful [AM0PR]", Hold, Some("ENTERPRISE")),
            (
                Stage::Auth,
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
                Hold,
                Some("Set-TransportConfig"),
            ),
            (
                Stage::Auth,
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
                Hold,
                Some("Set-CASMailbox"),
            ),
            (Stage::Auth, "454 4.7.0 Temporary authentication failure", RETRY, None),
            (Stage::Mail, "530 5.7.57 Client not authenticated to send mail.", Hold, Some("sign in")),
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
            (Stage::Rcpt, "552 5.2.2 Mailbox full", Fail, None),
            (Stage::Mail, "552 5.3.4 Message size exceeds fixed maximum message size", Fail, Some("larger")),
            (
                Stage::Mail,
                "432 4.3.2 Concurrent connections limit exceeded.",
                RETRY,
                Some("three connections"),
            ),
            (Stage::Rcpt, "550 5.1.1 No such user", Fail, None),
            (Stage::Rcpt, "554 5.7.1 <x@y.example>: Relay access denied", Hold, Some("sign in")),
            (Stage::Rcpt, "450 4.2.0 Greylisted", RETRY, None),
            (Stage::Greeting, "554 5.7.1 No service for you", Hold, Some("administrator")),
            (Stage::Greeting, "421 4.3.2 Later", RETRY, None),
            (Stage::Data, "250 what?", RETRY, None),
        ] {
            let reply = Reply::read(format!("{said}\r\n").as_bytes()).unwrap().unwrap().0;
            let failure = failure("send", stage, &reply);
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
