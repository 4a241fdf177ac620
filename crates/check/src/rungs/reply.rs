//! Replies find their message, and machines are told from people: with messages made here, nothing is asked.

use postroom_mime::read::summarize;
use postroom_model::inbox::{Origin, Summary};

use crate::Verdict;
use crate::finding::Finding;

/// `arrived` is the `Message-ID` under which the test message arrived; without one a sample stands in.
pub(crate) fn probe(arrived: Option<&str>) -> Finding {
    let did = "Read a reply, an automatic answer and a bounce made for this, as the router would.";
    let ours = arrived.unwrap_or("<postroom-check.sample@contoso.example>");
    let outcome = reply(ours).and_then(|reply| {
        let auto = expect(&auto_reply(ours), Origin::AutoReply, "the automatic answer")?;
        let bounce = expect(&bounce(ours), Origin::Bounce, "the bounce")?;
        Ok(format!("{reply} {auto} {bounce}"))
    });
    match outcome {
        Ok(got) => Finding::pass(did, got),
        Err(got) => Finding::wrong(
            Verdict::Fail,
            did,
            got,
            "A sample was not recognised for what it is.",
            "This is an error of the program; report it with the text above.",
        ),
    }
}

/// The rule is the header that names our message: `In-Reply-To`, else the newest of `References`.
fn reply(ours: &str) -> Result<String, String> {
    let raw = format!(
        "From: Purchasing <purchasing@fabrikam.example>\r\nTo: orders@contoso.example\r\nSubject: Re: Order\r\n\
         Message-ID: <reply.sample@fabrikam.example>\r\nIn-Reply-To: {ours}\r\nReferences: {ours}\r\n\r\nThank you.\r\n"
    );
    let summary = read(&raw)?;
    if summary.origin != Origin::Ordinary {
        return Err(format!("The reply was taken for {}.", summary.origin.as_str()));
    }
    if !summary.references.iter().any(|reference| reference == ours) {
        return Err(format!("The reply to {ours} names {}.", summary.references.join(" ")));
    }
    Ok(format!("Reply matched by rule In-Reply-To, evidence {ours}."))
}

fn auto_reply(ours: &str) -> (&'static str, String) {
    let raw = format!(
        "From: purchasing@fabrikam.example\r\nTo: orders@contoso.example\r\nSubject: Out of office\r\n\
         Message-ID: <auto.sample@fabrikam.example>\r\nIn-Reply-To: {ours}\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n"
    );
    ("Auto-Submitted: auto-replied", raw)
}

fn bounce(ours: &str) -> (&'static str, String) {
    let raw = format!(
        "From: MAILER-DAEMON@fabrikam.example\r\nTo: orders@contoso.example\r\nSubject: Undelivered\r\n\
         Message-ID: <bounce.sample@fabrikam.example>\r\nIn-Reply-To: {ours}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nNot delivered.\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.fabrikam.example\r\n\r\n\
         Final-Recipient: rfc822; nobody@fabrikam.example\r\nAction: failed\r\nStatus: 5.1.1\r\n--b--\r\n"
    );
    ("multipart/report; report-type=delivery-status", raw)
}

fn expect((sign, raw): &(&str, String), wanted: Origin, what: &str) -> Result<String, String> {
    let origin = read(raw)?.origin;
    if origin != wanted {
        return Err(format!("{what} was taken for {}, in spite of {sign}.", origin.as_str()));
    }
    Ok(format!("Recognised as {}, evidence {sign}.", wanted.as_str()))
}

fn read(raw: &str) -> Result<Summary, String> {
    summarize(raw.as_bytes()).map(|read| read.summary).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_recognised_with_rule_and_evidence() {
        let finding = probe(None);
        assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
        assert!(
            finding.got.contains("rule In-Reply-To")
                && finding.got.contains("auto-reply, evidence Auto-Submitted")
        );
    }
}
