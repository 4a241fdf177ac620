//! The parts of a message as IMAP sees them: envelope, body structure (RFC 3501 section 7.4.2), and where a numbered
//! part lies.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{Address, ContentType, Message, MessagePart, MimeHeaders, PartType};

use super::names::{nstring, string};
use crate::mail::{header_value, parse};

/// Parts that lie deeper are shown as bytes.
const DEEPEST: usize = 30;
/// Most addresses of one field.
const MOST_ADDRESSES: usize = 1000;

/// Header with its blank line, and body.
pub(super) fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    if raw.starts_with(b"\r\n") {
        return raw.split_at(2);
    }
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n");
    raw.split_at(end.map_or(raw.len(), |end| end + 4))
}

/// The fields of a header whose name fits, with a blank line after them.
pub(super) fn fields(header: &[u8], fits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut out, mut taken) = (Vec::new(), false);
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            break;
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            taken = fits(name.trim_ascii());
        }
        if taken {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Where a part lies.
pub(super) struct Place<'a> {
    /// Its MIME header.
    pub(super) header: &'a [u8],
    /// Its content, still encoded.
    pub(super) body: &'a [u8],
    /// Whether the content is a message.
    pub(super) message: bool,
}

fn slice(raw: &[u8], from: u32, to: u32) -> &[u8] {
    let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX).min(raw.len());
    raw.get(place(from)..place(to)).unwrap_or_default()
}

/// The part a list of numbers names (RFC 3501 section 6.4.5).
pub(super) fn locate<'a>(raw: &'a [u8], numbers: &[u32]) -> Option<Place<'a>> {
    let (mut raw, mut rest) = (raw, numbers);
    for _ in 0..DEEPEST {
        let message = parse(raw)?;
        let mut part = message.parts.first()?;
        // A message that has no parts is its own first.
        if !matches!(part.body, PartType::Multipart(_)) {
            let (1, tail) = (*rest.first()?, &rest[1..]) else { return None };
            rest = tail;
        }
        loop {
            match (&part.body, rest) {
                (PartType::Multipart(ids), [number, tail @ ..]) => {
                    let at = usize::try_from(*number).ok()?.checked_sub(1)?;
                    part = message.parts.get(usize::try_from(*ids.get(at)?).ok()?)?;
                    rest = tail;
                }
                (PartType::Message(_), [_, ..]) => break,
                (_, []) => {
                    return Some(Place {
                        header: slice(raw, part.offset_header, part.offset_body),
                        body: slice(raw, part.offset_body, part.offset_end),
                        message: matches!(part.body, PartType::Message(_)),
                    });
                }
                _ => return None,
            }
        }
        raw = slice(raw, part.offset_body, part.offset_end);
    }
    None
}

/// Text of a header as it may stand in an answer: ASCII, encoded where it is not (RFC 2047).
fn text(value: Option<&str>) -> Vec<u8> {
    match value {
        Some(text) if !text.is_ascii() => string(format!("=?utf-8?B?{}?=", STANDARD.encode(text)).as_bytes()),
        value => nstring(value),
    }
}

fn addresses(field: Option<&Address<'_>>) -> Vec<u8> {
    let mut out = Vec::new();
    for one in field.into_iter().flat_map(Address::iter).take(MOST_ADDRESSES) {
        let address = one.address.as_deref().unwrap_or_default();
        let (local, host) = address.rsplit_once('@').map_or((address, None), |(a, b)| (a, Some(b)));
        let parts = [text(one.name.as_deref()), b"NIL".to_vec(), text(Some(local)), text(host)];
        out.extend([b"(", parts.join(&b' ').as_slice(), b")"].concat());
    }
    if out.is_empty() { b"NIL".to_vec() } else { [b"(", out.as_slice(), b")"].concat() }
}

/// The envelope of a message.
pub(super) fn envelope(raw: &[u8]) -> Vec<u8> {
    let Some(message) = parse(raw) else { return format!("({})", ["NIL"; 10].join(" ")).into_bytes() };
    let header = split(raw).0;
    let field = |name: &str| text(header_value(header, name).as_deref());
    let from = addresses(message.from());
    let or_from = |field: Option<&Address<'_>>| match field {
        Some(field) => addresses(Some(field)),
        None => from.clone(),
    };
    let parts = [
        field("Date"),
        field("Subject"),
        from.clone(),
        or_from(message.sender()),
        or_from(message.reply_to()),
        addresses(message.to()),
        addresses(message.cc()),
        addresses(message.bcc()),
        field("In-Reply-To"),
        field("Message-ID"),
    ];
    [b"(", parts.join(&b' ').as_slice(), b")"].concat()
}

/// `BODYSTRUCTURE`, or `BODY` without the data that is an extension.
pub(super) fn body(raw: &[u8], extended: bool) -> Vec<u8> {
    structure(raw, extended, 0)
}

fn structure(raw: &[u8], extended: bool, depth: usize) -> Vec<u8> {
    let message = parse(raw);
    match message.as_ref().and_then(|message| Some((message, message.parts.first()?))) {
        Some((message, root)) => part(raw, message, root, extended, depth),
        None => b"(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0)".to_vec(),
    }
}

fn parameters(kind: Option<&ContentType<'_>>) -> Vec<u8> {
    let pairs: Vec<Vec<u8>> = kind
        .and_then(|kind| kind.attributes())
        .into_iter()
        .flatten()
        .take(50)
        .flat_map(|pair| [string(pair.name.to_uppercase().as_bytes()), text(Some(&pair.value))])
        .collect();
    if pairs.is_empty() { b"NIL".to_vec() } else { [b"(", pairs.join(&b' ').as_slice(), b")"].concat() }
}

/// Disposition, language and location.
fn extension(part: &MessagePart<'_>) -> Vec<u8> {
    let disposition = match part.content_disposition() {
        Some(kind) => {
            let kind = [string(kind.ctype().to_uppercase().as_bytes()), parameters(Some(kind))];
            [b"(", kind.join(&b' ').as_slice(), b")"].concat()
        }
        None => b"NIL".to_vec(),
    };
    [disposition, b"NIL".to_vec(), nstring(part.content_location())].join(&b' ')
}

fn part(raw: &[u8], message: &Message<'_>, part: &MessagePart<'_>, extended: bool, depth: usize) -> Vec<u8> {
    let kind = part.content_type();
    let upper = |text: &str| string(text.to_uppercase().as_bytes());
    let subtype = |default: &str| upper(kind.and_then(|kind| kind.subtype()).unwrap_or(default));
    let bytes = slice(raw, part.offset_body, part.offset_end);
    let lines = || bytes.iter().filter(|byte| **byte == b'\n').count().to_string().into_bytes();
    if let PartType::Multipart(ids) = &part.body
        && depth < DEEPEST
    {
        let children = ids.iter().filter_map(|id| message.parts.get(usize::try_from(*id).ok()?));
        let mut out: Vec<u8> =
            children.flat_map(|child| self::part(raw, message, child, extended, depth + 1)).collect();
        out.push(b' ');
        out.extend(subtype("MIXED"));
        if extended {
            out.extend([b" ", parameters(kind).as_slice(), b" ", extension(part).as_slice()].concat());
        }
        return [b"(", out.as_slice(), b")"].concat();
    }
    let encoding = part.content_transfer_encoding().unwrap_or("7BIT");
    let id = part.content_id().map(|id| format!("<{id}>"));
    let shared = [
        parameters(kind),
        text(id.as_deref()),
        text(part.content_description()),
        upper(encoding),
        bytes.len().to_string().into_bytes(),
    ]
    .join(&b' ');
    let mut out = match &part.body {
        PartType::Message(_) if depth < DEEPEST => {
            let inner = structure(bytes, extended, depth + 1);
            [b"\"MESSAGE\" \"RFC822\"".to_vec(), shared, envelope(bytes), inner, lines()].join(&b' ')
        }
        _ => {
            let main = kind.map_or("TEXT", ContentType::ctype);
            let default = if main.eq_ignore_ascii_case("text") { "PLAIN" } else { "OCTET-STREAM" };
            let mut fields = vec![upper(main), subtype(default), shared];
            if main.eq_ignore_ascii_case("text") {
                fields.push(lines());
            }
            fields.join(&b' ')
        }
    };
    if extended {
        out.extend([b" NIL ", extension(part).as_slice()].concat());
    }
    [b"(", out.as_slice(), b")"].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NESTED: &[u8] = b"From: \"A, B\" <a@fabrikam.example>\r\nTo: c@contoso.example\r\n\
        Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@fabrikam.example>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\none\r\n\
        --x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n\
        --y\r\nContent-Type: text/plain\r\n\r\ntwo\r\n--y\r\nContent-Type: text/html\r\n\r\n<p>two\r\n--y--\r\n\r\n--x--\r\n";

    #[test]
    fn parts_are_found_by_number_in_messages_that_are_parts_too() {
        let found = |numbers: &[u32]| {
            locate(NESTED, numbers).map(|place| String::from_utf8_lossy(place.body).into_owned())
        };
        assert_eq!(found(&[1]).unwrap(), "one");
        assert!(found(&[2]).unwrap().starts_with("Subject: inner\r\n"));
        assert_eq!((found(&[2, 1]).unwrap().as_str(), found(&[2, 2]).unwrap().as_str()), ("two", "<p>two"));
        assert!(found(&[3]).is_none() && found(&[1, 1]).is_none() && found(&[2, 3]).is_none());
        let plain = b"Subject: s\r\n\r\ntext\r\n";
        assert_eq!(locate(plain, &[1]).unwrap().body, b"text\r\n");
        assert!(locate(plain, &[2]).is_none());
    }

    #[test]
    fn envelope_and_structure_have_the_form_of_the_protocol() {
        let envelope = String::from_utf8(envelope(NESTED)).unwrap();
        assert!(
            envelope.starts_with(
                "(NIL \"=?utf-8?q?Gr=C3=BC=C3=9Fe?=\" ((\"A, B\" NIL \"a\" \"fabrikam.example\"))"
            ),
            "{envelope}"
        );
        let structure = String::from_utf8(body(NESTED, false)).unwrap();
        assert!(
            structure.starts_with("((\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 3 0)(\"MESSAGE\" \"RFC822\""),
            "{structure}"
        );
        assert!(structure.ends_with(" \"MIXED\")"), "{structure}");
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_structure(bytes in proptest::collection::vec(any::<u8>(), 0..300), number in 0..4u32) {
            let mut raw = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n".to_vec();
            raw.extend(&bytes);
            for raw in [&raw[..], &bytes] {
                envelope(raw);
                body(raw, true);
                locate(raw, &[number, number]);
                fields(raw, |_| true);
            }
        }
    }
}
