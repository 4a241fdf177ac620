//! A ready `.eml` draft: what *Client based, via Microsoft Outlook* makes of a message.
//!
//! `X-Unsent: 1` makes Outlook open the file for writing, with its Send button. Two fields are left to the program that
//! sends it: `Date` and `Message-ID`. `Bcc` stays in, because nobody else keeps the blind copies until then.

use mail_builder::MessageBuilder;
use mail_builder::headers::raw::Raw;
use postroom_model::draft::{Draft, Signature, ValidDraft};

use crate::{build, fields, html};

/// The field that marks a message as not sent yet.
const UNSENT: &str = "X-Unsent";

/// The file (RFC 5322, CRLF line ends). `boundary_seed` makes the boundaries: unpredictable in production, fixed in
/// tests.
pub fn unsent(draft: &ValidDraft, boundary_seed: &str) -> Vec<u8> {
    let builder = MessageBuilder::new().header(UNSENT, Raw::new("1"));
    let lists = [("To", &draft.to), ("Cc", &draft.cc), ("Bcc", &draft.bcc), ("Reply-To", &draft.reply_to)];
    let whole = build::write(builder, draft, &lists, boundary_seed);
    let split = fields::split(&whole);
    let mut out = Vec::with_capacity(whole.len());
    let mut marked = false;
    for field in fields::fields(split.header) {
        // The library writes both by itself when they are missing.
        let left_out = field.is("Date") || field.is("Message-ID") || (field.is(UNSENT) && marked);
        marked |= field.is(UNSENT);
        if !left_out {
            out.extend_from_slice(field.raw);
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(split.body);
    out
}

/// The draft with the signature below its body: text below text, HTML inside the HTML. A signature that is HTML makes
/// HTML of a body that is text; one that is text becomes HTML where the body is.
pub fn signed(mut draft: Draft, signature: &Signature) -> Draft {
    let given = |part: &Option<String>| part.clone().filter(|part| !part.trim().is_empty());
    let (text, rich) = match (given(&signature.text), given(&signature.html)) {
        (None, None) => return draft,
        (Some(text), rich) => (text, rich),
        (None, Some(rich)) => (html::to_text(&rich), Some(rich)),
    };
    let body = draft
        .html
        .take()
        .or_else(|| rich.is_some().then(|| lines(draft.text.as_deref().unwrap_or_default())));
    draft.html = body.map(|body| below(&body, &rich.unwrap_or_else(|| lines(&text))));
    // Without a text of its own the text part is made of the HTML, signature included.
    if draft.html.is_none() || draft.text.is_some() {
        let body = draft.text.take().unwrap_or_default();
        draft.text = Some(format!("{}\n\n{text}", body.trim_end()));
    }
    draft
}

/// Text as HTML that every mail program shows line by line.
fn lines(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let lines: Vec<&str> = escaped.lines().collect();
    format!("<div>{}</div>", lines.join("<br>\r\n"))
}

/// `signature` as the last thing in the body of `html`.
fn below(html: &str, signature: &str) -> String {
    let signature = format!("<br>\r\n<div>{signature}</div>\r\n");
    let end = ["</body", "</html"].iter().filter_map(|tag| html.to_ascii_lowercase().rfind(tag)).min();
    let (before, after) = html.split_at(end.unwrap_or(html.len()));
    format!("{before}{signature}{after}")
}

/// A file name for the draft: its subject without what no file system takes, at most 60 characters.
pub fn file_name(subject: &str) -> String {
    let kept = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { ' ' } else { c };
    let words: String = subject.chars().take(60).map(kept).collect();
    let name = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let name = name.trim_matches(['.', ' ']);
    if name.is_empty() { "draft.eml".to_owned() } else { format!("{name}.eml") }
}

/// `Content-Disposition` that has a file saved under its name (RFC 6266): a plain name for old programs, the real one for
/// all others.
pub fn content_disposition(file_name: &str) -> String {
    let plain: String = file_name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._- ".contains(c) { c } else { '_' })
        .take(150)
        .collect();
    let real = file_name.bytes().map(|byte| {
        let safe = byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if safe { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    let real: String = real.collect();
    format!("attachment; filename=\"{}\"; filename*=UTF-8''{real}", plain.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: Option<&str>, html: Option<&str>) -> Draft {
        Draft { text: text.map(str::to_owned), html: html.map(str::to_owned), ..Draft::default() }
    }

    #[test]
    fn a_signature_stands_below_the_body_in_each_of_its_forms() {
        let text = Signature { text: Some("Ann & Co".into()), html: None };
        let rich = Signature { text: None, html: Some("<b>Ann</b>".into()) };
        let cases = [
            (draft(Some("Hello\n"), None), &text, Some("Hello\n\nAnn & Co"), None),
            (
                draft(None, Some("<body>Hello</BODY></html>")),
                &text,
                None,
                Some("<body>Hello<br>\r\n<div><div>Ann &amp; Co</div></div>\r\n</BODY></html>"),
            ),
            (
                draft(Some("1 < 2\nyes"), None),
                &rich,
                Some("1 < 2\nyes\n\nAnn"),
                Some("<div>1 &lt; 2<br>\r\nyes</div><br>\r\n<div><b>Ann</b></div>\r\n"),
            ),
            (
                draft(Some("Hello"), Some("<p>Hello</p>")),
                &rich,
                Some("Hello\n\nAnn"),
                Some("<p>Hello</p><br>\r\n<div><b>Ann</b></div>\r\n"),
            ),
            (draft(Some("Hello"), None), &Signature::default(), Some("Hello"), None),
        ];
        for (given, signature, text, html) in cases {
            let signed = signed(given.clone(), signature);
            let found = (signed.text.as_deref().map(|text| text.trim_end()), signed.html.as_deref());
            assert_eq!(found, (text, html), "{given:?}");
        }
    }

    #[test]
    fn a_draft_is_named_after_its_subject() {
        assert_eq!(file_name("RE: Order 4711/2 \r\n\"x\""), "RE Order 4711 2 x.eml");
        assert_eq!(file_name("..\\..\\"), "draft.eml");
        assert_eq!(file_name(&"Ü".repeat(500)).chars().count(), 64);
        assert_eq!(
            content_disposition("Größe 1.eml"),
            "attachment; filename=\"Gr__e 1.eml\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%201.eml"
        );
    }

    #[test]
    fn a_file_name_cannot_leave_its_header() {
        let text = content_disposition("..\"; x=\r\nSet-Cookie: a=b ü.pdf");
        assert!(text.is_ascii() && !text.contains(['\r', '\n']), "{text}");
        assert_eq!(text.matches('"').count(), 2, "{text}");
        assert!(text.starts_with("attachment; filename=\"__ x_"), "{text}");
    }
}
