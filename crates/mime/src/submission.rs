//! Raw MIME handed in by a program.

use mail_parser::HeaderName;
use postroom_model::{EmailAddress, Problems, Timestamp};

use crate::fields::{self, Field, StartsWithBlank};
use crate::{build, parts};

/// A raw message ready to be stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The message: CRLF line ends, with `Message-ID`, `Date` and `MIME-Version`, without `Bcc`. Otherwise byte for
    /// byte as handed in.
    pub raw: Vec<u8>,
    /// `Message-ID` with its angle brackets: the one it came with, else `fallback_message_id`.
    pub message_id: String,
    /// Decoded subject, at most 255 characters.
    pub subject: String,
    /// Address of `From`.
    pub from: EmailAddress,
    /// Address of `Sender`: who hands the message in for whom `From` names.
    pub sender: Option<EmailAddress>,
    /// Addresses of `To`, `Cc` and `Bcc`, each once.
    pub header_recipients: Vec<EmailAddress>,
}

/// Reads a raw message that is to be sent, adds what it lacks and takes `Bcc` out of it.
///
/// # Errors
/// Problems at `message` (not a message, nested deeper than 100 levels, a header line over 998 bytes with no fold)
/// or `from` (missing, more than one, no address).
pub fn read(raw: &[u8], fallback_message_id: &str, now: Timestamp) -> Result<Submission, Problems> {
    let raw = with_crlf(raw);
    let mut problems = Problems::new();
    let (header, body) = header_and_body(&raw, &mut problems);
    let levels = parts::messages_within(&raw);
    if levels > parts::MAX_MESSAGES {
        problems.error(
            "message",
            format!("the message holds more than {} messages within messages", parts::MAX_MESSAGES),
        );
    }
    problems.into_result()?;
    let fields = fields::fields(header);
    let from = sender(header, &fields)?;
    let typed = fields::typed(header);
    let given_id = fields.iter().find(|field| field.is("message-id")).and_then(message_id_of);
    let mut out = Vec::with_capacity(raw.len() + 200);
    for field in &fields {
        let unusable_id = field.is("message-id") && given_id.is_none();
        if !(field.is("bcc") || field.is("resent-bcc") || unusable_id) {
            out.extend_from_slice(field.raw);
        }
    }
    let message_id = given_id.unwrap_or_else(|| {
        out.extend_from_slice(format!("Message-ID: {fallback_message_id}\r\n").as_bytes());
        fallback_message_id.to_owned()
    });
    let has = |name: &str| fields.iter().any(|field| field.is(name));
    if !has("date") {
        let date = now.strftime("%a, %-d %b %Y %H:%M:%S +0000");
        out.extend_from_slice(format!("Date: {date}\r\n").as_bytes());
    }
    if !has("mime-version") {
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    Ok(Submission {
        raw: out,
        message_id,
        subject: fields::one_line(typed.subject().unwrap_or_default(), 255),
        from,
        sender: fields::addresses(typed.sender(), 1).into_iter().next().map(|named| named.address),
        header_recipients: header_recipients(header),
    })
}

/// Addresses of `To`, `Cc` and `Bcc` of a raw message, each once.
pub fn header_recipients(raw: &[u8]) -> Vec<EmailAddress> {
    fields::all_addresses(fields::split(raw).header, &[HeaderName::To, HeaderName::Cc, HeaderName::Bcc])
}

/// Every line end as CRLF: bare LF and bare CR are line ends of other systems, and no server may see them.
fn with_crlf(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                let _ = bytes.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            byte => out.push(byte),
        }
    }
    out
}

/// Cuts strictly where reading cuts kindly: what Postroom sends must be right. The header comes back with a line end
/// behind its last field.
fn header_and_body<'a>(raw: &'a [u8], problems: &mut Problems) -> (&'a [u8], &'a [u8]) {
    let mut end = 0;
    for (index, line) in fields::lines(raw).enumerate() {
        let text = fields::without_end(line);
        let number = index + 1;
        if text.is_empty() {
            if end == 0 {
                problems.error("message", "the message begins with a blank line and has no header");
            }
            return (&raw[..end], &raw[end + line.len()..]);
        }
        end += line.len();
        let begins = fields::field_name(text).is_some();
        let continues = index > 0 && text.starts_with_blank();
        let problem = if !(begins || continues) {
            Some(format!(
                "line {number} is no header line and no blank line came before it: this is not a message"
            ))
        } else if text.len() > build::MAX_LINE {
            Some(format!("line {number} of the header has {} bytes; at most 998 are allowed", text.len()))
        } else if text.contains(&0) {
            Some(format!("line {number} of the header holds a zero byte"))
        } else if end > fields::MAX_HEADER_SECTION {
            Some(format!("the header is longer than {} bytes", fields::MAX_HEADER_SECTION))
        } else {
            None
        };
        if let Some(problem) = problem {
            problems.error("message", problem);
            return (&raw[..0], raw);
        }
    }
    if raw.is_empty() {
        problems.error("message", "the message is empty");
    } else if !raw.ends_with(b"\n") {
        problems.error("message", "the message ends within its header");
    }
    (raw, &raw[raw.len()..])
}

fn message_id_of(field: &Field<'_>) -> Option<String> {
    let text = field.unfolded();
    if text.starts_with('<') && text.ends_with('>') { fields::message_id(&text) } else { None }
}

fn sender(header: &[u8], fields: &[Field<'_>]) -> Result<EmailAddress, Problems> {
    let mut problems = Problems::new();
    let count = fields.iter().filter(|field| field.is("from")).count();
    let mut senders = fields::addresses(fields::typed(header).from(), 2).into_iter();
    let message = match (count, senders.next(), senders.next()) {
        (1, Some(sender), None) => return Ok(sender.address),
        (0, ..) => "the message has no From header",
        (1, None, _) => "the From header holds no valid address",
        (1, ..) => "the From header holds more than one address",
        _ => "the message has more than one From header",
    };
    problems.error("from", message);
    Err(problems)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "<fallback@contoso.example>";

    fn now() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    fn accepted(raw: &str) -> Submission {
        read(raw.as_bytes(), ID, now()).unwrap()
    }

    #[test]
    fn what_is_missing_is_added_and_bcc_goes() {
        let submission = accepted(
            "From: Orders <orders@contoso.example>\nTo: a@fabrikam.example\nBcc: audit@contoso.example,\n\tb@contoso.example\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\n\nBcc: stays in the body\n",
        );
        assert_eq!(
            String::from_utf8(submission.raw).unwrap(),
            "From: Orders <orders@contoso.example>\r\nTo: a@fabrikam.example\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <fallback@contoso.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n\r\nBcc: stays in the body\r\n"
        );
        assert_eq!((submission.message_id.as_str(), submission.subject.as_str()), (ID, "Grüße"));
        assert_eq!(submission.from.as_str(), "orders@contoso.example");
        let recipients: Vec<_> = submission.header_recipients.iter().map(EmailAddress::as_str).collect();
        assert_eq!(recipients, ["a@fabrikam.example", "audit@contoso.example", "b@contoso.example"]);
    }

    #[test]
    fn a_complete_message_stays_byte_for_byte() {
        let raw = "Received: from x\r\n\tby y\r\nFrom: a@contoso.example\r\nMessage-Id:\r\n <1@contoso.example>\r\nDATE: x\r\nMime-Version: 1.0\r\nX-Odd :  two  blanks \r\n\r\n\r\nbody without line end";
        let submission = accepted(raw);
        assert_eq!(String::from_utf8(submission.raw).unwrap(), raw);
        assert_eq!(submission.message_id, "<1@contoso.example>");
    }

    #[test]
    fn an_unusable_message_id_is_replaced() {
        for bad in ["Message-ID:\r\n", "Message-ID: 4711\r\n", "Message-ID: <a b@c>\r\n"] {
            let submission = accepted(&format!("From: a@contoso.example\r\n{bad}\r\n"));
            assert_eq!(submission.message_id, ID);
            assert_eq!(String::from_utf8(submission.raw).unwrap().matches("Message-ID").count(), 1);
        }
    }

    #[test]
    fn what_is_not_a_message_is_refused_with_the_reason() {
        let long = format!("From: a@contoso.example\r\nX-Long: {}\r\n\r\n", "x".repeat(1_000));
        let nested = "From: a@contoso.example\r\nContent-Type: message/rfc822\r\n\r\n".repeat(150);
        for (raw, field, reason) in [
            ("", "message", "the message is empty"),
            (
                "hello",
                "message",
                "line 1 is no header line and no blank line came before it: this is not a message",
            ),
            ("\r\nhello", "message", "the message begins with a blank line and has no header"),
            ("From: a@contoso.example", "message", "the message ends within its header"),
            (
                "From: a@contoso.example\r\nhello\r\n",
                "message",
                "line 2 is no header line and no blank line came before it: this is not a message",
            ),
            (long.as_str(), "message", "line 2 of the header has 1008 bytes; at most 998 are allowed"),
            (nested.as_str(), "message", "the message holds more than 100 messages within messages"),
            ("Subject: x\r\n\r\n", "from", "the message has no From header"),
            ("From: nobody\r\n\r\n", "from", "the From header holds no valid address"),
            ("From: a@b.example, c@d.example\r\n\r\n", "from", "the From header holds more than one address"),
            (
                "From: a@b.example\r\nFrom: c@d.example\r\n\r\n",
                "from",
                "the message has more than one From header",
            ),
        ] {
            let problems = read(raw.as_bytes(), ID, now()).unwrap_err();
            assert_eq!(problems.at(field).map(|problem| problem.message.as_str()), Some(reason));
        }
    }

    proptest! {
        #[test]
        fn never_a_bare_line_end_and_the_body_stays(
            header in "([A-Z][a-z-]{0,9}: [ -~]{0,40}(\r\n|\n|\r)){0,5}",
            body in "[ -~\r\n\\PC]{0,300}",
        ) {
            let raw = format!("From: a@contoso.example\r\n{header}\r\n{body}");
            if let Ok(submission) = read(raw.as_bytes(), ID, now()) {
                let text = String::from_utf8(submission.raw.clone()).unwrap();
                prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
                let wanted = body.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
                prop_assert!(text.ends_with(&wanted));
                // What was read once is complete.
                prop_assert_eq!(read(&submission.raw, "<other@contoso.example>", now()).unwrap().raw, submission.raw);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&raw, ID, now());
            let _ = header_recipients(&raw);
        }
    }
}
