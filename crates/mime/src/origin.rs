//! Bounces, automatic answers, bulk mail: who must never be answered.

use mail_parser::MimeHeaders;
use postroom_model::inbox::Origin;

use crate::fields::{self, Field};
use crate::parts::Leaf;

/// What kind of sender wrote a message, by its headers and the types of its parts.
pub(crate) fn origin(header: &[u8], leaves: &[Leaf<'_>]) -> Origin {
    let fields = fields::fields(header);
    let value = |name: &str| fields.iter().find(|field| field.is(name)).map(Field::unfolded);
    let lower = |name: &str| value(name).unwrap_or_default().to_ascii_lowercase();
    if is_bounce(header, &fields, leaves) {
        return Origin::Bounce;
    }
    // RFC 3834 section 5: anything but `no` was made by a machine; what follows a semicolon is a comment.
    let submitted = lower("auto-submitted");
    let submitted = submitted.split([';', '(']).next().unwrap_or_default().trim();
    let precedence = lower("precedence");
    let receipt = report_type(header).as_deref() == Some("disposition-notification");
    // `X-Auto-Response-Suppress` asks others not to answer and says nothing about who wrote: Outlook and many
    // ticket systems set it on letters of people.
    let replied = ["x-autoreply", "x-autorespond", "x-autoresponse"]
        .iter()
        .any(|name| value(name).is_some_and(|value| !value.eq_ignore_ascii_case("no")));
    if !matches!(submitted, "" | "no") || replied || precedence == "auto_reply" || receipt {
        return Origin::AutoReply;
    }
    if value("list-id").is_some() || matches!(precedence.as_str(), "bulk" | "list" | "junk") {
        return Origin::Bulk;
    }
    Origin::Ordinary
}

fn is_bounce(header: &[u8], fields: &[Field<'_>], leaves: &[Leaf<'_>]) -> bool {
    match report_type(header).as_deref() {
        Some("delivery-status") => return true,
        // Quirk: a report that does not name its type.
        Some("") if leaves.iter().any(|leaf| leaf.content_type == "message/delivery-status") => return true,
        _ => {}
    }
    // Reports older than RFC 3464 are plain text from the null sender.
    let null_sender = fields.iter().any(|field| field.is("return-path") && field.unfolded() == "<>");
    let daemon = fields::addresses(fields::typed(header).from(), 1).first().is_some_and(|from| {
        let local = from.address.local_part().to_ascii_lowercase();
        local == "mailer-daemon" || local == "postmaster"
    });
    null_sender && daemon || fields.iter().any(|field| field.is("x-failed-recipients"))
}

/// The type of a `multipart/report`, empty when it names none; none when the message is no report.
fn report_type(header: &[u8]) -> Option<String> {
    let message = fields::typed(header);
    let root = message.root_part();
    if !root.is_content_type("multipart", "report") {
        return None;
    }
    let kind = root.content_type().and_then(|kind| kind.attribute("report-type")).unwrap_or_default();
    Some(kind.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sign_by_its_row() {
        use Origin::{AutoReply, Bounce, Bulk, Ordinary};
        for (header, expected) in [
            ("From: sales@fabrikam.example", Ordinary),
            ("Content-Type: multipart/report; report-type=delivery-status; boundary=b", Bounce),
            ("Return-Path: <>\r\nFrom: MAILER-DAEMON@fabrikam.example", Bounce),
            ("Return-Path: <>\r\nFrom: sales@fabrikam.example", Ordinary),
            ("From: postmaster@fabrikam.example", Ordinary),
            ("X-Failed-Recipients: a@b.example", Bounce),
            ("Auto-Submitted: auto-replied", AutoReply),
            ("Auto-Submitted: Auto-Generated (rejected)", AutoReply),
            ("Auto-Submitted: no", Ordinary),
            ("X-Autoreply: yes", AutoReply),
            ("Precedence: auto_reply", AutoReply),
            ("Content-Type: multipart/report; report-type=disposition-notification; boundary=b", AutoReply),
            ("X-Auto-Response-Suppress: All", Ordinary),
            ("List-Id: <news.fabrikam.example>", Bulk),
            ("Precedence: bulk", Bulk),
            ("Precedence: Junk", Bulk),
            ("List-Id: <a.example>\r\nAuto-Submitted: auto-replied", AutoReply),
        ] {
            assert_eq!(origin(format!("{header}\r\n").as_bytes(), &[]), expected, "{header}");
        }
    }
}
