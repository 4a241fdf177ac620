//! Header sections byte by byte: where they end, their fields, their decoded values.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use mail_parser::{Address, HeaderName, HeaderValue, Message, MessageParser, MessagePart};
use postroom_model::{EmailAddress, NamedAddress};

/// Longest header section that is parsed; what is beyond belongs to the body. 500 recipients with long names fit.
pub(crate) const MAX_HEADER_SECTION: usize = 512 * 1024;
/// Longest display name kept.
const MAX_NAME: usize = 255;

static TYPED: LazyLock<MessageParser> = LazyLock::new(MessageParser::default);
// One mapped header is enough to switch the built-in map off, so that every header is read as text.
static AS_TEXT: LazyLock<MessageParser> =
    LazyLock::new(|| MessageParser::new().header_text(HeaderName::Subject).default_header_text());

/// A part cut in two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Split<'a> {
    /// The header fields with their line ends, without the blank line.
    pub(crate) header: &'a [u8],
    /// What follows the blank line.
    pub(crate) body: &'a [u8],
}

/// One header field as it stands in the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    /// Name as written.
    pub(crate) name: &'a str,
    /// Everything after the colon, folds and last line end included.
    pub(crate) value: &'a [u8],
    /// The whole field with its line ends.
    pub(crate) raw: &'a [u8],
}

impl Field<'_> {
    /// Whether it has this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value on one line, without the blanks around it; bytes that are no UTF-8 are replaced.
    pub(crate) fn unfolded(&self) -> String {
        let text = String::from_utf8_lossy(self.value);
        text.replace(['\r', '\n'], "").trim().to_owned()
    }
}

/// Lines with their line ends.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n')
}

/// A line without its line end.
pub(crate) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The name of a field that begins on this line (RFC 5322 section 3.6.8, blanks before the colon tolerated).
pub(crate) fn field_name(line: &[u8]) -> Option<&str> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    let valid = !name.is_empty() && name.iter().all(|byte| (33..=126).contains(byte));
    if valid { std::str::from_utf8(name).ok() } else { None }
}

/// Cuts a message or part into header and body. The header ends at the first blank line, or at the first line that
/// is neither a field nor the continuation of one (*quirk: blank line forgotten*), or at [`MAX_HEADER_SECTION`].
/// An mbox separator in front (*quirk: `From ` line*) is skipped.
pub(crate) fn split(raw: &[u8]) -> Split<'_> {
    cut(raw, true).unwrap_or(Split { header: raw, body: &[] })
}

/// The same of a message of which `beginning` is known so far: what [`split`] will say of the whole, its body as far
/// as it is known; none while the header may go on. Certain from [`CERTAIN`] bytes on.
pub(crate) fn split_beginning(beginning: &[u8]) -> Option<Split<'_>> {
    cut(beginning, false)
}

/// From so many bytes on [`split_beginning`] gives an answer: a separator and a header of the greatest length.
pub(crate) const CERTAIN: usize = 2 * (MAX_HEADER_SECTION + LINE_END) + 1;
/// Longest line end.
const LINE_END: usize = 2;

/// `whole` says that nothing follows, so that the last line is a line and the header can end with the message.
fn cut(raw: &[u8], whole: bool) -> Option<Split<'_>> {
    let mut start = 0;
    let mut end = 0;
    for (index, line) in lines(raw).enumerate() {
        let after = end + line.len();
        // What more there is of a line that has not ended changes nothing when it is too long already.
        if !(whole || line.ends_with(b"\n") || after - start > MAX_HEADER_SECTION + LINE_END) {
            return None;
        }
        let separates = line.len() <= MAX_HEADER_SECTION + LINE_END
            && (line.starts_with(b"From ") || line.starts_with(b">From "));
        if index == 0 && separates {
            (start, end) = (after, after);
            continue;
        }
        if without_end(line).is_empty() {
            return Some(Split { header: &raw[start..end], body: &raw[after..] });
        }
        let continues = end > start && line.starts_with_blank();
        if !(continues || field_name(line).is_some()) || after - start > MAX_HEADER_SECTION {
            return Some(Split { header: &raw[start..end], body: &raw[end..] });
        }
        end = after;
    }
    whole.then(|| Split { header: &raw[start..end], body: &raw[end..] })
}

/// Whether bytes begin with a blank: the mark of a continued header line.
pub(crate) trait StartsWithBlank {
    /// Whether the first byte is a space or a tab.
    fn starts_with_blank(&self) -> bool;
}

impl StartsWithBlank for [u8] {
    fn starts_with_blank(&self) -> bool {
        matches!(self.first(), Some(b' ' | b'\t'))
    }
}

/// The fields of a header section, in order.
pub(crate) fn fields(header: &[u8]) -> Vec<Field<'_>> {
    let mut found: Vec<Field<'_>> = Vec::new();
    let mut begin = 0;
    let mut end = 0;
    for line in lines(header) {
        if !line.starts_with_blank() && end > begin {
            found.extend(field(&header[begin..end]));
            begin = end;
        }
        end += line.len();
    }
    found.extend(field(&header[begin..end]));
    found
}

fn field(raw: &[u8]) -> Option<Field<'_>> {
    let name = field_name(raw)?;
    let colon = raw.iter().position(|&byte| byte == b':')?;
    Some(Field { name, value: &raw[colon + 1..], raw })
}

/// The headers of a part, each read by its own rules.
pub(crate) fn typed(header: &[u8]) -> Message<'_> {
    // The library's getters take the first part for granted.
    let none = || Message { parts: vec![MessagePart::default()], ..Message::default() };
    TYPED.parse_headers(header).filter(|message| !message.parts.is_empty()).unwrap_or_else(none)
}

/// The headers of a part, in order, each decoded as text.
pub(crate) fn as_text(header: &[u8], limit: usize) -> Vec<(String, String)> {
    let message = AS_TEXT.parse_headers(header).unwrap_or_default();
    let Some(root) = message.parts.first() else { return Vec::new() };
    root.headers
        .iter()
        .take(limit)
        .map(|header| {
            let value = header.value.as_text().unwrap_or_default();
            (one_line(header.name.as_str(), 255), one_line(value, 10_000))
        })
        .collect()
}

/// Text on one line without control characters, at most `limit` characters.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let text = text.trim();
    text.chars()
        .map(|c| if matches!(c, '\t' | '\n' | '\r') { ' ' } else { c })
        .filter(|c| !c.is_control())
        .take(limit)
        .collect()
}

/// Addresses of one address header, those that are valid, at most `limit`.
pub(crate) fn addresses(address: Option<&Address<'_>>, limit: usize) -> Vec<NamedAddress> {
    let Some(address) = address else { return Vec::new() };
    address
        .iter()
        .filter_map(|entry| {
            let address = entry.address()?.parse::<EmailAddress>().ok()?;
            let name = entry.name().map(|name| one_line(name, MAX_NAME)).filter(|name| !name.is_empty());
            Some(NamedAddress { name, address })
        })
        .take(limit)
        .collect()
}

/// Addresses of all headers of these names, each once.
pub(crate) fn all_addresses(header: &[u8], names: &[HeaderName<'static>]) -> Vec<EmailAddress> {
    let message = typed(header);
    let mut seen = BTreeSet::new();
    names
        .iter()
        .flat_map(|name| message.header_values(name.to_owned()))
        .flat_map(|value| addresses(value.as_address(), usize::MAX))
        .map(|named| named.address)
        .filter(|address| seen.insert(address.clone()))
        .collect()
}

/// Message ids of a header value, each with its angle brackets.
pub(crate) fn message_ids(value: &HeaderValue<'_>) -> Vec<String> {
    let ids: Vec<&str> = match value {
        HeaderValue::Text(id) => vec![id],
        HeaderValue::TextList(ids) => ids.iter().map(AsRef::as_ref).collect(),
        _ => Vec::new(),
    };
    ids.into_iter().filter_map(message_id).collect()
}

/// A message id with its angle brackets; none when it is empty, too long or holds blanks or control characters.
pub(crate) fn message_id(id: &str) -> Option<String> {
    let id = id.trim().trim_start_matches('<').trim_end_matches('>');
    let valid = !id.is_empty() && id.len() <= 996 && !id.chars().any(|c| c.is_control() || c.is_whitespace());
    valid.then(|| format!("<{id}>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_ends_where_it_ends() {
        for (raw, header, body) in [
            ("A: 1\r\nB: 2\r\n c\r\n\r\nbody", "A: 1\r\nB: 2\r\n c\r\n", "body"),
            ("A: 1\n\nbody\n\nmore", "A: 1\n", "body\n\nmore"),
            ("A: 1\nno field\n\nbody", "A: 1\n", "no field\n\nbody"),
            ("From x Mon\nA: 1\n\nbody", "A: 1\n", "body"),
            ("\r\nbody", "", "body"),
            ("just text", "", "just text"),
            ("A: 1", "A: 1", ""),
            ("", "", ""),
        ] {
            let split = split(raw.as_bytes());
            assert_eq!((split.header, split.body), (header.as_bytes(), body.as_bytes()), "{raw:?}");
        }
    }

    #[test]
    fn fields_keep_their_folds() {
        let found = fields(b"To: a@b.example,\r\n c@d.example\r\nBcc : x@y.example\r\n");
        let shown: Vec<_> = found.iter().map(|field| (field.name, field.unfolded())).collect();
        assert_eq!(shown, [("To", "a@b.example, c@d.example".to_owned()), ("Bcc", "x@y.example".to_owned())]);
        assert!(found[1].is("bcc"));
    }
}
