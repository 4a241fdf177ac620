//! The body cut into parts. Forwarded messages are parts like any other and are not opened, so depth is a matter of
//! multiparts only, and that is bounded.

use std::borrow::Cow;

use mail_parser::MimeHeaders;

use crate::decode;
use crate::fields::{self, Split};

/// Most parts of one message that are looked at.
pub(crate) const MAX_PARTS: usize = 1_000;
/// Deepest multipart that is opened; what is deeper is shown as text.
const MAX_DEPTH: usize = 32;
/// Most messages within messages that are taken in.
pub(crate) const MAX_MESSAGES: usize = 100;

/// What a part is to its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Shown as the message itself: the number says which of the blocks shown one below the other. Parts with the
    /// same number are alternatives of one another.
    Body(usize),
    /// A file.
    File,
}

/// A part that is not a multipart.
#[derive(Debug, Clone)]
pub(crate) struct Leaf<'a> {
    /// What it is to its reader.
    pub(crate) role: Role,
    /// Media type in lower case.
    pub(crate) content_type: String,
    /// Character set as claimed.
    pub(crate) charset: Option<String>,
    /// Transfer encoding as claimed.
    pub(crate) encoding: String,
    /// File name as claimed, decoded.
    pub(crate) name: Option<String>,
    /// Content-ID without angle brackets.
    pub(crate) content_id: Option<String>,
    /// The body as it stands in the message.
    pub(crate) body: &'a [u8],
    /// The whole part, header and body, without the line end that belongs to the next delimiter.
    pub(crate) whole: &'a [u8],
    /// Whether its disposition is `attachment`.
    pub(crate) attached: bool,
    /// Number of the multipart it stands in directly; none for a message without parts.
    pub(crate) parent: Option<usize>,
    /// How many parts that multipart has.
    pub(crate) siblings: usize,
    /// Whether the message keeps its sense without this part where it stands: not so for alternatives, and for
    /// anything below a signature, an encryption or a report.
    pub(crate) loose: bool,
}

impl<'a> Leaf<'a> {
    /// The bytes without their transfer encoding.
    pub(crate) fn content(&self) -> Cow<'a, [u8]> {
        decode::transfer(self.body, &self.encoding)
    }

    /// The text, decoded, at most `limit` bytes.
    pub(crate) fn text(&self, limit: usize) -> String {
        decode::readable(&decode::text(&self.content(), self.charset.as_deref()), limit)
    }
}

/// What the headers of a part say about its body.
struct Kind {
    content_type: String,
    boundary: Option<String>,
    charset: Option<String>,
    encoding: String,
    attached: bool,
    name: Option<String>,
    content_id: Option<String>,
}

impl Kind {
    /// `fallback` is the type when none is named (RFC 2046 section 5.1.5).
    fn read(header: &[u8], fallback: &str) -> Self {
        let joined = join_words(header);
        let message = fields::typed(&joined);
        let root = message.root_part();
        let parameter = |name: &str| {
            root.content_type().and_then(|kind| kind.attribute(name)).map(|value| value.trim().to_owned())
        };
        let content_type = match root.content_type() {
            Some(kind) => match kind.subtype() {
                Some(subtype) => format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase(),
                // Quirk: `Content-Type: text`, as old programs wrote it.
                None if kind.ctype().eq_ignore_ascii_case("text") => "text/plain".to_owned(),
                None => "application/octet-stream".to_owned(),
            },
            None => fallback.to_owned(),
        };
        let name = root.attachment_name().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        Self {
            content_type: fields::one_line(&content_type, 127),
            boundary: parameter("boundary").filter(|boundary| !boundary.is_empty()),
            charset: parameter("charset"),
            encoding: root.content_transfer_encoding().unwrap_or_default().trim().to_owned(),
            attached: root.content_disposition().is_some_and(|disposition| disposition.is_attachment()),
            name,
            content_id: root
                .content_id()
                .and_then(fields::message_id)
                .map(|id| id.trim_matches(['<', '>']).to_owned()),
        }
    }

    fn is_shown_text(&self) -> bool {
        matches!(self.content_type.as_str(), "text/plain" | "text/html") && !self.attached
    }
}

/// *Quirk: RFC 2047 words in a file name*, which RFC 2231 forbids and half the world writes. The library decodes them,
/// but keeps the blank between two of them, which is only there to separate them (RFC 2047 section 6.2).
fn join_words(header: &[u8]) -> Cow<'_, [u8]> {
    if !header.windows(4).any(|bytes| bytes.starts_with(b"?=") && bytes[2].is_ascii_whitespace()) {
        return header.into();
    }
    let mut out = Vec::with_capacity(header.len());
    let mut rest = header;
    while let Some((&byte, after)) = rest.split_first() {
        let next = after.trim_ascii_start();
        let gap = out.ends_with(b"?=") && byte.is_ascii_whitespace() && next.starts_with(b"=?");
        if gap {
            rest = next;
        } else {
            out.push(byte);
            rest = after;
        }
    }
    out.into()
}

/// Where a part stands.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// Type of a part that names none.
    digest: bool,
    /// Alternatives share a block.
    block: Option<usize>,
    /// First of its multipart, or the message itself: shown even when it has a file name.
    first: bool,
    /// The multipart around it and how many parts that has.
    parent: Option<usize>,
    siblings: usize,
    /// Whether something around it binds it.
    bound: bool,
    alternative: bool,
}

/// Multiparts whose parts say something together that none of them says alone.
const BINDING: [&str; 3] = ["signed", "encrypted", "report"];

/// All parts of a message that are no multiparts, in order, at most [`MAX_PARTS`].
pub(crate) fn leaves(raw: &[u8]) -> Vec<Leaf<'_>> {
    let mut walk = Walk { leaves: Vec::new(), blocks: 0, multiparts: 0 };
    let place = Place {
        depth: 0,
        digest: false,
        block: None,
        first: true,
        parent: None,
        siblings: 1,
        bound: false,
        alternative: false,
    };
    walk.part(raw, place);
    walk.leaves
}

struct Walk<'a> {
    leaves: Vec<Leaf<'a>>,
    blocks: usize,
    multiparts: usize,
}

impl<'a> Walk<'a> {
    fn part(&mut self, whole: &'a [u8], place: Place) {
        let split = fields::split(whole);
        let kind = Kind::read(split.header, if place.digest { "message/rfc822" } else { "text/plain" });
        let Some(subtype) = kind.content_type.strip_prefix("multipart/") else {
            self.leaf(kind, whole, split, place);
            return;
        };
        let children = match &kind.boundary {
            Some(boundary) if place.depth < MAX_DEPTH => cut(split.body, boundary.as_bytes()),
            _ => Vec::new(),
        };
        if children.is_empty() {
            // Quirk: a multipart without parts. What is there is shown.
            self.leaf(Kind { content_type: "text/plain".into(), ..kind }, whole, split, place);
            return;
        }
        let block = match subtype {
            "alternative" => Some(place.block.unwrap_or_else(|| self.next_block())),
            "related" => place.block,
            _ => None,
        };
        self.multiparts += 1;
        let (parent, siblings) = (Some(self.multiparts), children.len());
        for (index, child) in children.into_iter().enumerate() {
            if self.leaves.len() >= MAX_PARTS {
                return;
            }
            let place = Place {
                depth: place.depth + 1,
                digest: subtype == "digest",
                // Of related parts only the first is the text; the others serve it.
                block: if subtype == "related" && index > 0 { None } else { block },
                first: index == 0 || subtype == "alternative",
                parent,
                siblings,
                bound: place.bound || BINDING.contains(&subtype),
                alternative: subtype == "alternative",
            };
            self.part(child, place);
        }
    }

    fn next_block(&mut self) -> usize {
        self.blocks += 1;
        self.blocks
    }

    fn leaf(&mut self, kind: Kind, whole: &'a [u8], split: Split<'a>, place: Place) {
        let shown = kind.is_shown_text() && (place.first || kind.name.is_none());
        let role = match (shown, place.block) {
            (false, _) => Role::File,
            (true, Some(block)) => Role::Body(block),
            (true, None) => Role::Body(self.next_block()),
        };
        self.leaves.push(Leaf {
            role,
            content_type: kind.content_type,
            charset: kind.charset,
            encoding: kind.encoding,
            name: kind.name,
            content_id: kind.content_id,
            body: split.body,
            whole,
            attached: kind.attached,
            parent: place.parent,
            siblings: place.siblings,
            loose: !place.bound && !place.alternative,
        });
    }
}

/// The parts between the delimiter lines of a multipart (RFC 2046 section 5.1.1), at most [`MAX_PARTS`].
/// *Quirk: the end is missing*: the last part then reaches to the end.
fn cut<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut begin = None;
    let mut at = 0;
    for line in fields::lines(body) {
        let delimiter = line.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary));
        let tail = delimiter.map(<[u8]>::trim_ascii);
        if let Some(tail) = tail.filter(|tail| tail.is_empty() || *tail == b"--") {
            if let Some(begin) = begin {
                // The line end before a delimiter belongs to the delimiter.
                parts.push(fields::without_end(&body[begin..at]));
            }
            begin = Some(at + line.len());
            if tail == b"--" || parts.len() >= MAX_PARTS {
                return parts;
            }
        }
        at += line.len();
    }
    parts.extend(begin.map(|begin| &body[begin..]).filter(|rest| !rest.trim_ascii().is_empty()));
    parts
}

/// How many messages lie within one another, counted up to one above [`MAX_MESSAGES`]. Nothing here opens them, but
/// whoever gets the message handed on will; and no honest message comes near.
pub(crate) fn messages_within(raw: &[u8]) -> usize {
    // One pass over the bytes settles it for every ordinary message: fewer mentions than levels allowed.
    if mentions(raw) <= MAX_MESSAGES {
        return 0;
    }
    let mut deepest = 0;
    let mut looked_at = 0;
    let mut waiting = vec![(fields::split(raw), 0, 0, false)];
    while let Some((split, level, depth, digest)) = waiting.pop() {
        deepest = deepest.max(level);
        looked_at += 1;
        if deepest > MAX_MESSAGES || looked_at > 10 * MAX_PARTS {
            return deepest;
        }
        let kind = Kind::read(split.header, if digest { "message/rfc822" } else { "text/plain" });
        if kind.content_type == "message/rfc822" || kind.content_type == "message/global" {
            waiting.push((fields::split(split.body), level + 1, depth, false));
        } else if let (Some(boundary), true) = (&kind.boundary, depth < MAX_DEPTH + MAX_MESSAGES) {
            let digest = kind.content_type == "multipart/digest";
            let children = cut(split.body, boundary.as_bytes());
            // The first part is looked into first, so a chain is followed to its end before its side branches.
            waiting.extend(
                children.into_iter().rev().map(|child| (fields::split(child), level, depth + 1, digest)),
            );
        }
    }
    deepest
}

/// How often `message/` or `/digest` stands in the bytes: every level of nesting needs one of them.
fn mentions(raw: &[u8]) -> usize {
    let found = |at: usize, word: &[u8], before: bool| {
        let range = if before {
            at.checked_sub(word.len())..Some(at)
        } else {
            Some(at + 1)..Some(at + 1 + word.len())
        };
        match (range.start, range.end) {
            (Some(start), Some(end)) => {
                raw.get(start..end).is_some_and(|text| text.eq_ignore_ascii_case(word))
            }
            _ => false,
        }
    };
    raw.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .filter(|(at, _)| found(*at, b"message", true) || found(*at, b"digest", false))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_are_whole_lines() {
        for (body, parts) in [
            ("pre\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\nepilogue", vec!["\r\none", "\r\ntwo"]),
            ("--b \n\none\n--b-1\n--bc\n--b--", vec!["\none\n--b-1\n--bc"]),
            ("--b\n\none", vec!["\none"]),
            ("--b--", vec![]),
            ("nothing", vec![]),
        ] {
            let cut: Vec<_> = cut(body.as_bytes(), b"b").into_iter().map(String::from_utf8_lossy).collect();
            assert_eq!(cut, parts, "{body:?}");
        }
    }

    #[test]
    fn levels_are_counted_and_neighbours_are_not() {
        let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(300);
        assert_eq!(messages_within(nested.as_bytes()), 101);
        let digest: String = (0..150)
            .map(|n| format!("--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: {n}\r\n\r\ntext\r\n"))
            .collect();
        let digest = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{digest}--b--\r\n");
        assert_eq!(messages_within(digest.as_bytes()), 1);
        assert_eq!(messages_within(b"Subject: about message/rfc822\r\n\r\ntext"), 0);
    }
}
