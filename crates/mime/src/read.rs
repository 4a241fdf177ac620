//! Raw MIME to what people and lists need.

use std::collections::HashSet;

use postroom_model::Timestamp;
use postroom_model::inbox::Summary;

use crate::fields::{self, Split};
use crate::html::{self, SafeHtml};
use crate::parts::{self, Leaf, Role};
use crate::{check_message, decode, origin};

/// Most text of a message that is kept for search, in bytes.
pub const MAX_TEXT: usize = 1_000_000;
const MAX_SUBJECT: usize = 998;
const MAX_PREVIEW: usize = 200;
const MAX_ADDRESSES: usize = 500;
const MAX_REFERENCES: usize = 100;
const MAX_HEADERS: usize = 500;
const MAX_FILE_NAME: usize = 255;

/// Why a message is kept but not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Messages within messages, deeper than is safe to take apart.
    #[error("the message holds {found} messages within messages; at most {limit} are taken apart")]
    Nested {
        /// Levels counted.
        found: usize,
        /// Levels allowed.
        limit: usize,
    },
    /// Nothing that could be a message.
    #[error("there is no header that could be read")]
    NoHeader,
}

/// What lists, threads and search need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMessage {
    /// Summary.
    pub summary: Summary,
    /// The text a reader sees, at most 1,000,000 bytes, for search.
    pub text: String,
}

/// What the reading pane shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Summary.
    pub summary: Summary,
    /// The text part, or the HTML turned into text.
    pub text: String,
    /// The HTML part made safe; none when there is none or it is beyond the limits.
    pub html: Option<SafeHtml>,
    /// Files, in the order of the message.
    pub attachments: Vec<AttachmentInfo>,
    /// All headers in order, decoded, at most 500.
    pub headers: Vec<(String, String)>,
}

/// A file in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentInfo {
    /// Place among the attachments, from 0: the argument of [`attachment`].
    pub index: usize,
    /// File name, without path and control characters; made up when the message has none.
    pub name: String,
    /// Media type in lower case.
    pub content_type: String,
    /// Decoded size in bytes.
    pub size: u64,
    /// Content-ID without angle brackets.
    pub content_id: Option<String>,
    /// Whether it is shown inside the HTML.
    pub inline: bool,
}

/// A file in a message with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentContent {
    /// What it is.
    pub info: AttachmentInfo,
    /// Its decoded bytes.
    pub content: Vec<u8>,
}

/// Reads a message for lists, threads and search.
///
/// # Errors
/// [`Unreadable`]: the message is kept and shown in quarantine.
pub fn summarize(raw: &[u8]) -> Result<ReadMessage, Unreadable> {
    let opened = Opened::new(raw)?;
    let text = opened.text();
    Ok(ReadMessage { summary: opened.summary(&text), text })
}

/// Reads the beginning of a message that is too large to be read whole: what its headers say, and its text as far as it
/// goes. It counts the attachments that begin there, and at least one: what makes a message so large is a file.
///
/// # Errors
/// [`Unreadable`]: the message is kept and shown in quarantine.
pub fn summarize_beginning(beginning: &[u8]) -> Result<ReadMessage, Unreadable> {
    let mut read = summarize(beginning)?;
    read.summary.attachments = read.summary.attachments.max(1);
    Ok(read)
}

/// Reads a message for the reading pane. May take long for large HTML: call it on the blocking pool.
///
/// # Errors
/// [`Unreadable`].
pub fn view(raw: &[u8]) -> Result<View, Unreadable> {
    let opened = Opened::new(raw)?;
    let text = opened.text();
    Ok(View {
        summary: opened.summary(&text),
        text,
        html: opened.html().and_then(|html| html::clean(&html)),
        attachments: opened
            .files()
            .map(|(index, leaf)| opened.info(index, leaf, leaf.content().len()))
            .collect(),
        headers: fields::as_text(opened.split.header, MAX_HEADERS),
    })
}

/// One file of a message; none when there is no such place.
///
/// # Errors
/// [`Unreadable`].
pub fn attachment(raw: &[u8], index: usize) -> Result<Option<AttachmentContent>, Unreadable> {
    let opened = Opened::new(raw)?;
    let found = opened.files().nth(index).map(|(index, leaf)| {
        let content = leaf.content().into_owned();
        AttachmentContent { info: opened.info(index, leaf, content.len()), content }
    });
    Ok(found)
}

/// Whether this is the test message of a check, mail for nobody: marked as one, and saying what every one says. Whoever
/// copies the marks hides the fixed text and nothing else.
pub fn is_check(raw: &[u8]) -> bool {
    if raw.len() > check_message::MAX {
        return false;
    }
    let header = fields::fields(fields::split(raw).header);
    // Twice the same field is nothing that we wrote.
    let only = |name: &str| {
        let mut found = header.iter().filter(|field| field.is(name));
        found.next().filter(|_| found.next().is_none()).map(|field| field.unfolded().trim().to_owned())
    };
    let Some(token) = only(check_message::FIELD).filter(|token| check_message::is_token(token)) else {
        return false;
    };
    let ours = check_message::message_id(&token, "");
    let marked = only("Message-ID").is_some_and(|id| id.starts_with(ours.trim_end_matches('>')))
        && only(check_message::AUTO_FIELD).is_some_and(|auto| auto.eq_ignore_ascii_case(check_message::AUTO))
        && only("Subject").is_some_and(|subject| subject == check_message::subject(&token));
    marked && Opened::new(raw).is_ok_and(|opened| opened.says_only(check_message::TEXT))
}

/// A message cut into its parts.
struct Opened<'a> {
    split: Split<'a>,
    leaves: Vec<Leaf<'a>>,
    /// Content ids that its HTML shows.
    shown: HashSet<String>,
}

impl<'a> Opened<'a> {
    fn new(raw: &'a [u8]) -> Result<Self, Unreadable> {
        let found = parts::messages_within(raw);
        if found > parts::MAX_MESSAGES {
            return Err(Unreadable::Nested { found, limit: parts::MAX_MESSAGES });
        }
        let split = fields::split(raw);
        if fields::fields(split.header).is_empty() {
            return Err(Unreadable::NoHeader);
        }
        let leaves = parts::leaves(raw);
        let mut opened = Self { split, leaves, shown: HashSet::new() };
        if opened.leaves.iter().any(|leaf| leaf.role == Role::File && leaf.content_id.is_some()) {
            let html = opened.html().unwrap_or_default();
            opened.shown = html::content_ids(&html).into_iter().map(str::to_owned).collect();
        }
        Ok(opened)
    }

    fn files(&self) -> impl Iterator<Item = (usize, &Leaf<'a>)> {
        self.leaves.iter().filter(|leaf| leaf.role == Role::File).enumerate()
    }

    /// The blocks shown one below the other; in each the parts that say the same.
    fn blocks(&self) -> Vec<Vec<&Leaf<'a>>> {
        let mut blocks: Vec<(usize, Vec<&Leaf<'a>>)> = Vec::new();
        for leaf in &self.leaves {
            let Role::Body(number) = leaf.role else { continue };
            match blocks.iter_mut().find(|(known, _)| *known == number) {
                Some((_, parts)) => parts.push(leaf),
                None => blocks.push((number, vec![leaf])),
            }
        }
        blocks.into_iter().map(|(_, parts)| parts).collect()
    }

    /// What a reader without HTML sees.
    fn text(&self) -> String {
        let mut whole = String::new();
        for block in self.blocks() {
            let plain = block.iter().find(|leaf| leaf.content_type == "text/plain");
            let mut text = plain.map(|leaf| leaf.text(MAX_TEXT)).unwrap_or_default();
            // Quirk: an alternative whose text is empty because "your program cannot show HTML" was meant.
            if text.trim().is_empty()
                && let Some(rich) = block.iter().rev().find(|leaf| leaf.content_type == "text/html")
            {
                text = decode::readable(&html::to_text(&rich.text(usize::MAX)), MAX_TEXT);
            }
            if !whole.is_empty() && !text.is_empty() {
                whole.push_str("\n\n");
            }
            whole.push_str(&text);
            if whole.len() >= MAX_TEXT {
                break;
            }
        }
        whole.truncate(whole.floor_char_boundary(MAX_TEXT));
        whole
    }

    /// Whether it is one plain text with these words and nothing beside it.
    fn says_only(&self, words: &str) -> bool {
        match self.leaves.as_slice() {
            [leaf] if matches!(leaf.role, Role::Body(_)) && leaf.content_type == "text/plain" => {
                leaf.text(MAX_TEXT).trim() == words.trim()
            }
            _ => false,
        }
    }

    /// The HTML of all blocks, not cleaned; none when no block has any.
    fn html(&self) -> Option<String> {
        let blocks = self.blocks();
        let rich = |block: &[&Leaf<'a>]| {
            // Of alternatives the last is the richest (RFC 2046 section 5.1.4).
            block
                .iter()
                .rev()
                .find(|leaf| leaf.content_type == "text/html")
                .map(|leaf| leaf.text(html::MAX_HTML + 1))
        };
        if !blocks.iter().any(|block| block.iter().any(|leaf| leaf.content_type == "text/html")) {
            return None;
        }
        let shown = blocks.iter().map(|block| {
            rich(block).unwrap_or_else(|| {
                html::from_text(&block.first().map(|leaf| leaf.text(html::MAX_HTML)).unwrap_or_default())
            })
        });
        Some(shown.collect::<Vec<_>>().join("\n"))
    }

    fn summary(&self, text: &str) -> Summary {
        let message = fields::typed(self.split.header);
        Summary {
            message_id: fields::message_ids(message.header("Message-ID").unwrap_or(&EMPTY))
                .into_iter()
                .next(),
            references: references(&message),
            from: fields::addresses(message.from(), 1).into_iter().next(),
            to: fields::addresses(message.to(), MAX_ADDRESSES),
            cc: fields::addresses(message.cc(), MAX_ADDRESSES),
            subject: fields::one_line(message.subject().unwrap_or_default(), MAX_SUBJECT),
            date: date(&message),
            preview: preview(text),
            attachments: u32::try_from(self.files().filter(|(_, leaf)| !self.is_inline(leaf)).count())
                .unwrap_or(u32::MAX),
            origin: origin::origin(self.split.header, &self.leaves),
        }
    }

    fn is_inline(&self, leaf: &Leaf<'_>) -> bool {
        leaf.content_id.as_ref().is_some_and(|id| self.shown.contains(id))
    }

    fn info(&self, index: usize, leaf: &Leaf<'_>, size: usize) -> AttachmentInfo {
        AttachmentInfo {
            index,
            name: file_name(index, leaf),
            content_type: leaf.content_type.clone(),
            size: u64::try_from(size).unwrap_or(u64::MAX),
            content_id: leaf.content_id.clone(),
            inline: self.is_inline(leaf),
        }
    }
}

const EMPTY: mail_parser::HeaderValue<'_> = mail_parser::HeaderValue::Empty;

/// `References`, then what `In-Reply-To` names beyond them, each once. Of too many the first, which began the thread,
/// and the last are kept.
fn references(message: &mail_parser::Message<'_>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut ids: Vec<String> = ["References", "In-Reply-To"]
        .into_iter()
        .flat_map(|name| fields::message_ids(message.header(name).unwrap_or(&EMPTY)))
        .filter(|id| seen.insert(id.clone()))
        .collect();
    if ids.len() > MAX_REFERENCES {
        ids.drain(1..=ids.len() - MAX_REFERENCES);
    }
    ids
}

fn date(message: &mail_parser::Message<'_>) -> Option<Timestamp> {
    let date = message.date().filter(|date| date.is_valid())?;
    Timestamp::from_second(date.to_timestamp()).ok()
}

fn preview(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MAX_PREVIEW * 4 {
            break;
        }
    }
    line.chars().take(MAX_PREVIEW).collect::<String>().trim_end().to_owned()
}

/// The name a file is shown under: as claimed, else made of what it is. `index` counts the files from 0.
pub(crate) fn file_name(index: usize, leaf: &Leaf<'_>) -> String {
    let claimed = leaf.name.as_deref().map(safe_name).filter(|name| !name.is_empty());
    if leaf.content_type == "message/rfc822" || leaf.content_type == "message/global" {
        let name = claimed.or_else(|| {
            let subject = fields::typed(fields::split(&leaf.content()).header).subject().map(|subject| {
                // A subject is no path: its slashes are part of it.
                safe_name(&fields::one_line(subject, 100).replace(['/', '\\'], "-"))
            });
            subject.filter(|name| !name.is_empty())
        });
        let name = name.unwrap_or_else(|| "message".to_owned());
        let named = name.to_ascii_lowercase().ends_with(".eml");
        return if named { name } else { format!("{name}.eml") };
    }
    if leaf.content_type == "message/delivery-status" && claimed.is_none() {
        return "delivery-status.txt".to_owned();
    }
    claimed.unwrap_or_else(|| format!("attachment-{}.{}", index + 1, extension(&leaf.content_type)))
}

/// A file name without path, without control characters and without the marks that turn writing around (a name that
/// reads `gpj.exe` from the right). Too long a name keeps its extension.
fn safe_name(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let turns =
        |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let kept: String = base.chars().filter(|c| !c.is_control() && !turns(*c)).collect();
    let kept = kept.trim();
    if kept.chars().all(|c| c == '.') {
        return String::new();
    }
    if kept.chars().count() <= MAX_FILE_NAME {
        return kept.to_owned();
    }
    let extension: String = match kept.rsplit_once('.') {
        Some((_, extension)) if extension.chars().count() <= 10 => format!(".{extension}"),
        _ => String::new(),
    };
    let stem = MAX_FILE_NAME - extension.chars().count();
    kept.chars().take(stem).chain(extension.chars()).collect()
}

fn extension(content_type: &str) -> &'static str {
    match content_type {
        "text/plain"
        | "message/delivery-status"
        | "message/disposition-notification"
        | "text/rfc822-headers" => "txt",
        "text/html" => "html",
        "text/csv" => "csv",
        "text/calendar" => "ics",
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "application/pdf" => "pdf",
        "application/xml" | "text/xml" => "xml",
        "application/json" => "json",
        "application/zip" => "zip",
        "application/ms-tnef" => "dat",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use super::is_check;

    const MAIL: &str = "From: ann@fabrikam.example\r\nTo: orders@contoso.example,\r\n service@contoso.example\r\nSubject: Order\r\nMessage-ID: <1@fabrikam.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nContent-Type: text/plain\r\n\r\nHello\r\n";

    const CHECK: &str = "From: Orders <orders@contoso.example>\r\nTo: service@contoso.example\r\nSubject: Postroom test message abcdefgh234567xy\r\nMessage-ID: <postroom-check.abcdefgh234567xy@contoso.example>\r\nX-Postroom-Check: abcdefgh234567xy\r\nAuto-Submitted: auto-generated\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThis message was sent by the check of the e-mail settings in Postroom.\r\n";

    #[test]
    fn a_test_message_is_known_by_all_its_marks() {
        assert!(is_check(CHECK.as_bytes()));
        let traced = format!("Received: from a by b;\r\n Mon, 23 Nov 2026\r\n{CHECK}");
        assert!(is_check(traced.replace("X-Postroom-Check", "x-postroom-check").as_bytes()));
        let plain = CHECK.replace("Content-Type: text/plain; charset=utf-8\r\n", "");
        assert!(is_check(plain.as_bytes()));
    }

    #[test]
    fn nothing_of_a_stranger_hides_behind_the_marks() {
        for (old, new) in [
            ("in Postroom.\r\n", "in Postroom.\r\nCall 555-0100.\r\n"),
            ("This message", "Your order. This message"),
            ("Subject: ", "Subject: Order 4711 "),
            ("Subject: Postroom test message abcdefgh", "Subject: Postroom test message bbcdefgh"),
            ("Subject: ", "Subject: Order 4711\r\nSubject: "),
            ("Check: abcdefgh234567xy", "Check: 1"),
            ("X-Postroom-Check: abcdefgh234567xy\r\n", ""),
            ("<postroom-check.", "<"),
            ("Auto-Submitted: auto-generated\r\n", ""),
            ("auto-generated", "auto-replied"),
            ("text/plain", "text/html"),
            ("text/plain; charset=utf-8", "text/plain; name=a.txt\r\nContent-Disposition: attachment"),
        ] {
            let other = CHECK.replace(old, new);
            assert_ne!(other, CHECK, "{old}");
            assert!(!is_check(other.as_bytes()), "{new}");
        }
        let body = CHECK.split_once("\r\n\r\n").unwrap().1;
        let parts = format!(
            "--b\r\nContent-Type: text/plain\r\n\r\n{body}\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\nx\r\n--b--\r\n"
        );
        let many =
            CHECK.replace("text/plain; charset=utf-8", "multipart/mixed; boundary=b").replace(body, &parts);
        assert!(!is_check(many.as_bytes()));
        assert!(!is_check(format!("X-Postroom-Check: 1\r\n{MAIL}").as_bytes()));
    }
}
