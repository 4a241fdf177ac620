//! A message without its largest files, for providers that take a message in one small request and files of any
//! size one by one (Microsoft Graph).
//!
//! What is taken out is decided by the bytes of the message alone: asked again, the answer is the same. Nothing else
//! of the message is touched, and no file is decoded as a whole: its bytes are decoded piece by piece where they lie.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::parts::{self, Leaf, Role};
use crate::{decode, fields, read};

/// Distance of the places in a base64 body that are remembered, in decoded bytes: from each of them it can be read
/// on. A multiple of 3, because 3 bytes are a group.
const MARK_EVERY: u64 = 3 * 256 * 1024;

/// Bits that a careless encoder left in the last group do no harm.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A message without its largest files.
#[derive(Debug)]
pub struct Light {
    /// The message: every header field and every other part as they were.
    pub raw: Vec<u8>,
    /// What was taken out, in the order of the message.
    pub taken: Vec<File>,
    /// The files that are still in it.
    pub kept: Vec<File>,
}

/// A file of a message.
#[derive(Debug)]
pub struct File {
    /// Name, without path and control characters; made up when the message has none.
    pub name: String,
    /// Media type in lower case, without parameters.
    pub content_type: String,
    /// Content-ID without angle brackets.
    pub content_id: Option<String>,
    /// Whether it belongs to the text: it has a content id and is not called an attachment.
    pub inline: bool,
    /// Decoded size in bytes.
    pub size: u64,
    content: Content,
}

/// How the bytes of a file are found.
#[derive(Debug)]
enum Content {
    /// As they lie in the message.
    Plain(Range<usize>),
    /// Base64; `marks` are the places of every [`MARK_EVERY`] decoded bytes.
    Base64 { body: Range<usize>, marks: Vec<usize> },
    /// Decoded: quoted-printable, and base64 that is glued together.
    Decoded(Vec<u8>),
}

/// Why a message cannot be made as light as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooHeavy {
    /// What is not a file is too large by itself.
    #[error("the message has {size} bytes without its files; at most {limit} are possible")]
    Text {
        /// Bytes without the files.
        size: u64,
        /// Bytes that are possible.
        limit: u64,
    },
    /// Its parts cannot be parted: they are signed or encrypted together, or are one report.
    #[error(
        "the message is signed or encrypted as a whole and has {size} bytes; at most {limit} are possible"
    )]
    Sealed {
        /// Bytes of the message.
        size: u64,
        /// Bytes that are possible.
        limit: u64,
    },
}

impl TooHeavy {
    /// Bytes that are possible.
    pub fn limit(&self) -> u64 {
        match self {
            Self::Text { limit, .. } | Self::Sealed { limit, .. } => *limit,
        }
    }
}

/// Takes the largest files out of a message until at most `limit` bytes are left.
///
/// # Errors
/// [`TooHeavy`] when that cannot be done.
pub fn lighten(raw: &[u8], limit: usize) -> Result<Light, TooHeavy> {
    let leaves = parts::leaves(raw);
    let chosen = choose(raw, &leaves, limit)?;
    let mut light = Light { raw: without(raw, &leaves, &chosen), taken: Vec::new(), kept: Vec::new() };
    let files = leaves.iter().enumerate().filter(|(_, leaf)| leaf.role == Role::File).enumerate();
    for (number, (index, leaf)) in files {
        let file = file(raw, number, leaf);
        if chosen.contains(&index) { light.taken.push(file) } else { light.kept.push(file) }
    }
    Ok(light)
}

/// Whether [`lighten`] can do it, without doing it.
///
/// # Errors
/// [`TooHeavy`] when it cannot.
pub fn check(raw: &[u8], limit: usize) -> Result<(), TooHeavy> {
    if raw.len() <= limit {
        return Ok(());
    }
    choose(raw, &parts::leaves(raw), limit).map(drop)
}

/// The leaves to be taken out, largest first.
fn choose(raw: &[u8], leaves: &[Leaf<'_>], limit: usize) -> Result<Vec<usize>, TooHeavy> {
    let mut loose: Vec<usize> = (0..leaves.len()).filter(|index| is_loose(&leaves[*index])).collect();
    loose.sort_by_key(|index| Reverse(leaves[*index].whole.len()));
    let mut left = raw.len();
    let mut chosen = Vec::new();
    for index in loose {
        if left <= limit {
            break;
        }
        left -= cut_of(raw, &leaves[index]).len();
        chosen.push(index);
    }
    if left <= limit {
        return Ok(chosen);
    }
    let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    if leaves.iter().any(|leaf| leaf.role == Role::File && !is_loose(leaf)) {
        return Err(TooHeavy::Sealed { size: bytes(raw.len()), limit: bytes(limit) });
    }
    Err(TooHeavy::Text { size: bytes(left), limit: bytes(limit) })
}

fn is_loose(leaf: &Leaf<'_>) -> bool {
    // S/MIME in one part (RFC 8551 section 3): the part is the message.
    let sealed = matches!(leaf.content_type.as_str(), "application/pkcs7-mime" | "application/x-pkcs7-mime");
    leaf.role == Role::File && leaf.loose && !sealed
}

/// Where `part` lies in `raw`, whose slice it is.
fn range(raw: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(raw.as_ptr().addr()).min(raw.len());
    start..(start + part.len()).min(raw.len())
}

/// What goes with a leaf: its delimiter line before and its line end after; of a message without parts, the body.
fn cut_of(raw: &[u8], leaf: &Leaf<'_>) -> Range<usize> {
    if leaf.parent.is_none() {
        return range(raw, leaf.body);
    }
    let whole = range(raw, leaf.whole);
    let line = raw[..whole.start.saturating_sub(1)].iter().rposition(|byte| *byte == b'\n');
    let start = line.map_or(0, |at| at + 1);
    let rest = &raw[whole.end..];
    let line_end = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
    start..whole.end + line_end
}

/// The message without these leaves.
fn without(raw: &[u8], leaves: &[Leaf<'_>], chosen: &[usize]) -> Vec<u8> {
    if let [only] = chosen
        && leaves[*only].parent.is_none()
    {
        return header_alone(raw);
    }
    let mut gone: HashMap<Option<usize>, usize> = HashMap::new();
    for index in chosen {
        *gone.entry(leaves[*index].parent).or_default() += 1;
    }
    let mut in_order = chosen.to_vec();
    in_order.sort_unstable();
    let mut out = Vec::new();
    let mut at = 0;
    for index in in_order {
        let leaf = &leaves[index];
        let emptied = gone.get(&leaf.parent).is_some_and(|count| *count == leaf.siblings);
        if emptied {
            // A multipart must have a part (RFC 2046 section 5.1.1): an empty text stands for them all.
            gone.remove(&leaf.parent);
            let whole = range(raw, leaf.whole);
            out.extend_from_slice(&raw[at..whole.start]);
            out.extend_from_slice(b"\r\n");
            at = whole.end;
        } else {
            let cut = cut_of(raw, leaf);
            out.extend_from_slice(&raw[at..cut.start]);
            at = cut.end;
        }
    }
    out.extend_from_slice(&raw[at..]);
    out
}

/// The header fields of a message that is nothing but a file, without what they say about that file.
fn header_alone(raw: &[u8]) -> Vec<u8> {
    let split = fields::split(raw);
    let mut out = Vec::new();
    for field in fields::fields(split.header) {
        if !field.name.to_ascii_lowercase().starts_with("content-") {
            out.extend_from_slice(field.raw);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn file(raw: &[u8], number: usize, leaf: &Leaf<'_>) -> File {
    let body = range(raw, leaf.body);
    let (content, size) = match leaf.encoding.to_ascii_lowercase().as_str() {
        "base64" => base64_content(raw, body)
            .unwrap_or_else(|| decoded(decode::transfer(leaf.body, &leaf.encoding).into_owned())),
        "quoted-printable" => decoded(decode::transfer(leaf.body, &leaf.encoding).into_owned()),
        _ => {
            let size = body.len() as u64;
            (Content::Plain(body), size)
        }
    };
    File {
        name: read::file_name(number, leaf),
        content_type: leaf.content_type.clone(),
        content_id: leaf.content_id.clone(),
        inline: leaf.content_id.is_some() && !leaf.attached,
        size,
        content,
    }
}

fn decoded(bytes: Vec<u8>) -> (Content, u64) {
    let size = bytes.len() as u64;
    (Content::Decoded(bytes), size)
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

/// Counts a base64 body and remembers places in it; none when something follows its padding.
fn base64_content(raw: &[u8], body: Range<usize>) -> Option<(Content, u64)> {
    let group_marks = MARK_EVERY / 3 * 4;
    let (mut digits, mut padded, mut marks) = (0_u64, false, Vec::new());
    for (at, byte) in raw[body.clone()].iter().enumerate() {
        if is_digit(*byte) {
            if padded {
                return None;
            }
            if digits.is_multiple_of(group_marks) {
                marks.push(body.start + at);
            }
            digits += 1;
        } else if *byte == b'=' {
            padded = true;
        }
    }
    // A single digit at the end is no byte.
    let size = digits / 4 * 3 + [0, 0, 1, 2][usize::try_from(digits % 4).unwrap_or(0)];
    Some((Content::Base64 { body, marks }, size))
}

impl File {
    /// Where those bytes lie in the message, when they lie there as they are.
    pub fn place(&self, from: u64, length: usize) -> Option<Range<usize>> {
        let Content::Plain(body) = &self.content else { return None };
        let start = body.start + usize::try_from(from).unwrap_or(usize::MAX).min(body.len());
        Some(start..start.saturating_add(length).min(body.end))
    }

    /// Up to `length` decoded bytes from `from` on; shorter at the end only. `raw` is the message the file is of.
    pub fn read<'a>(&'a self, raw: &'a [u8], from: u64, length: usize) -> Cow<'a, [u8]> {
        let length = usize::try_from(self.size.saturating_sub(from)).unwrap_or(usize::MAX).min(length);
        let start = usize::try_from(from.min(self.size)).unwrap_or(usize::MAX);
        match &self.content {
            Content::Plain(body) => raw[body.start + start..body.start + start + length].into(),
            Content::Decoded(bytes) => bytes[start..start + length].into(),
            Content::Base64 { body, marks } => {
                let mark = usize::try_from(from / MARK_EVERY).unwrap_or(usize::MAX);
                let Some(place) = marks.get(mark).filter(|_| length > 0) else { return (&[][..]).into() };
                let skip = usize::try_from(from % MARK_EVERY).unwrap_or(0);
                let digits = (skip + length).div_ceil(3) * 4;
                let text: Vec<u8> = raw[*place..body.end]
                    .iter()
                    .copied()
                    .filter(|byte| is_digit(*byte))
                    .take(digits)
                    .collect();
                // A single digit at the end is no byte.
                let whole = if text.len() % 4 == 1 { &text[..text.len() - 1] } else { &text };
                let mut bytes = LENIENT.decode(whole).unwrap_or_default();
                bytes.truncate(skip + length);
                bytes.drain(..skip.min(bytes.len()));
                bytes.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    fn part(head: &str, body: &str) -> String {
        format!("--b\r\n{head}\r\n\r\n{body}\r\n")
    }

    fn mail(parts: &[String]) -> Vec<u8> {
        let head = "Message-ID: <1@contoso.example>\r\nX-Odd:  kept \r\nMIME-Version: 1.0\r\n";
        format!(
            "{head}Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n{}--b--\r\nend",
            parts.concat()
        )
        .into_bytes()
    }

    fn names(raw: &[u8]) -> Vec<String> {
        read::view(raw).unwrap().attachments.into_iter().map(|file| file.name).collect()
    }

    fn pdf(name: &str, size: usize) -> String {
        let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        let lines: Vec<&str> =
            text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let head = format!("Content-Type: application/pdf; name={name}\r\nContent-Transfer-Encoding: base64");
        part(&head, &lines.join("\r\n"))
    }

    #[test]
    fn the_largest_files_go_and_everything_else_stays_as_it_was() {
        let text = part("Content-Type: text/plain", "Hello");
        let parts = [text.clone(), pdf("a.pdf", 50_000), pdf("b.pdf", 1_000), pdf("c.pdf", 2_000_000)];
        let raw = mail(&parts);
        let light = lighten(&raw, 20_000).unwrap();
        assert_eq!(light.raw, mail(&[text, parts[2].clone()]));
        let taken: Vec<_> = light.taken.iter().map(|file| (file.name.as_str(), file.size)).collect();
        assert_eq!(taken, [("a.pdf", 50_000), ("c.pdf", 2_000_000)]);
        assert_eq!((light.kept[0].name.as_str(), light.kept[0].size), ("b.pdf", 1_000));
        // Read from any place, also across the remembered ones.
        let file = &light.taken[1];
        for (from, length) in
            [(0, 10), (786_430, 10), (786_432, 5), (1_999_990, 100), (0, 3_000_000), (2_000_000, 1)]
        {
            let expected: Vec<u8> = (from..(from + length).min(2_000_000)).map(|n| (n % 251) as u8).collect();
            assert_eq!(*file.read(&raw, from as u64, length), expected, "{from} {length}");
        }
    }

    #[test]
    fn a_message_of_files_alone_keeps_its_header_and_an_empty_text() {
        let raw = mail(&[pdf("a.pdf", 50_000), pdf("b.pdf", 40_000)]);
        let light = lighten(&raw, 1_000).unwrap();
        assert_eq!((names(&light.raw), light.taken.len()), (vec![], 2));
        assert!(light.raw.starts_with(b"Message-ID: <1@contoso.example>\r\nX-Odd:  kept \r\n"));
        let one = b"Subject: x\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"\xc3\xa4.pdf\"\r\n\r\n";
        let raw = [&one[..], &[b'x'; 5_000]].concat();
        let light = lighten(&raw, 1_000).unwrap();
        assert_eq!(light.raw, b"Subject: x\r\n\r\n");
        assert_eq!((light.taken[0].name.as_str(), light.taken[0].size), ("\u{e4}.pdf", 5_000));
        assert!(matches!(light.taken[0].read(&raw, 5, 10), Cow::Borrowed(b"xxxxxxxxxx")));
    }

    #[test]
    fn what_cannot_be_parted_is_said() {
        let raw = mail(&[part("Content-Type: text/plain", &"x\r\n".repeat(1_000)), pdf("a.pdf", 9_000)]);
        let Err(TooHeavy::Text { size, limit: 1_000 }) = lighten(&raw, 1_000) else { panic!() };
        assert!((3_000..4_000).contains(&size), "{size}");
        let signed = String::from_utf8(raw).unwrap().replace("multipart/mixed", "multipart/signed");
        assert!(matches!(check(signed.as_bytes(), 1_000), Err(TooHeavy::Sealed { limit: 1_000, .. })));
        assert_eq!(check(signed.as_bytes(), 100_000), Ok(()));
    }

    #[test]
    fn careless_base64_is_counted_as_it_is_decoded() {
        for body in ["QUJD", "QUI=", "QQ", "Q", "QUI=QUI=", "Q\r\nU-J D\r\n", "", "===", "QUJ!DRE="] {
            let raw = mail(&[part("Content-Type: a/b\r\nContent-Transfer-Encoding: base64", body)]);
            let light = lighten(&raw, 10_000).unwrap();
            let file = &light.kept[0];
            assert_eq!(file.read(&raw, 0, 100).len() as u64, file.size, "{body}");
        }
    }
}
