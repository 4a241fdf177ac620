//! A valid draft to raw MIME.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::{BodyPart, MimePart};
use postroom_model::draft::{Attachment, ValidDraft};
use postroom_model::{EmailAddress, NamedAddress, Timestamp};

use crate::html;

/// Longest line of a message without its line end (RFC 5322 section 2.1.1).
pub(crate) const MAX_LINE: usize = 998;
/// Longest display name written.
const MAX_NAME: usize = 255;

/// Raw MIME (RFC 5322, CRLF line ends) of a draft, without `Bcc`. Text and HTML become `multipart/alternative`;
/// HTML alone gets a text alternative; attachments with a content id become `multipart/related`.
///
/// `message_id` is written as given, with its angle brackets. `boundary_seed` makes the boundaries: unpredictable
/// in production, fixed in tests.
pub fn build(draft: &ValidDraft, message_id: &str, date: Timestamp, boundary_seed: &str) -> Vec<u8> {
    let builder = MessageBuilder::new()
        .header("Message-ID", Raw::new(message_id))
        .header("Date", Date::new(date.as_second()));
    let lists = [("To", &draft.to), ("Cc", &draft.cc), ("Reply-To", &draft.reply_to)];
    write(builder, draft, &lists, boundary_seed)
}

/// The message with these address headers, behind the headers that `builder` has.
pub(crate) fn write<'x>(
    builder: MessageBuilder<'x>,
    draft: &'x ValidDraft,
    lists: &[(&'static str, &'x Vec<NamedAddress>)],
    boundary_seed: &str,
) -> Vec<u8> {
    let mut builder = builder.from(named(&draft.from));
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        builder = builder.header(*name, Address::new_list(list.iter().map(named).collect()));
    }
    builder = builder.subject(draft.subject.as_str());
    for (name, value) in &draft.headers {
        builder = builder.header(name.as_str(), header_value(value));
    }
    let mut boundaries = Boundaries::new(boundary_seed);
    let mut out = Vec::new();
    builder.body(body(draft, &mut boundaries)).serialize(&mut out);
    out
}

fn named(address: &NamedAddress) -> Address<'_> {
    let name = address.name.as_deref().map(|name| match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => &name[..end],
        None => name,
    });
    Address::new_address(name, address.address.as_str())
}

/// A value folds at its blanks; one with a word too long for a line is encoded, which can be folded anywhere.
fn header_value(value: &str) -> HeaderType<'_> {
    let too_long = value.split([' ', '\t']).any(|word| word.len() > MAX_LINE - 100);
    if !too_long || !value.is_ascii() {
        return HeaderType::Text(Text::new(value));
    }
    let words: Vec<String> =
        value.as_bytes().chunks(42).map(|chunk| format!("=?utf-8?B?{}?=", STANDARD.encode(chunk))).collect();
    HeaderType::Raw(Raw::new(words.join(" ")))
}

/// Boundaries that no encoded line can hold: `=_` occurs neither in base64 nor in quoted-printable.
struct Boundaries {
    seed: String,
    count: usize,
}

impl Boundaries {
    fn new(seed: &str) -> Self {
        let seed = seed.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        Self { seed, count: 0 }
    }

    fn multipart<'x>(&mut self, subtype: &'static str, parts: Vec<MimePart<'x>>) -> MimePart<'x> {
        self.count += 1;
        let boundary = format!("=_{}_{}", self.seed, self.count);
        MimePart::new(ContentType::new(subtype).attribute("boundary", boundary), parts)
    }
}

fn body<'x>(draft: &'x ValidDraft, boundaries: &mut Boundaries) -> MimePart<'x> {
    let (inline, files): (Vec<_>, Vec<_>) =
        draft.attachments.iter().partition(|file| file.content_id.is_some() && draft.html.is_some());
    let mut whole = text(draft, &inline, boundaries);
    if !files.is_empty() {
        let mut parts = vec![whole];
        parts.extend(files.into_iter().map(|file| attachment(file, false)));
        whole = boundaries.multipart("multipart/mixed", parts);
    }
    whole
}

fn text<'x>(draft: &'x ValidDraft, inline: &[&'x Attachment], boundaries: &mut Boundaries) -> MimePart<'x> {
    let Some(html) = &draft.html else {
        return text_part("text/plain", draft.text.as_deref().unwrap_or_default().into());
    };
    let plain: Cow<'x, str> = match &draft.text {
        Some(text) => text.as_str().into(),
        None => html::to_text(html).into(),
    };
    let mut rich = text_part("text/html", html.as_str().into());
    if !inline.is_empty() {
        let mut parts = vec![rich];
        parts.extend(inline.iter().map(|file| attachment(file, true)));
        rich = boundaries.multipart("multipart/related", parts);
    }
    boundaries.multipart("multipart/alternative", vec![text_part("text/plain", plain), rich])
}

fn text_part<'x>(content_type: &'static str, text: Cow<'x, str>) -> MimePart<'x> {
    let text = if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text };
    MimePart::new(content_type, BodyPart::Text(text))
}

fn attachment(file: &Attachment, inline: bool) -> MimePart<'_> {
    let disposition = if inline { "inline" } else { "attachment" };
    let name = file.name.as_str();
    // The name goes into both headers: old programs know only the one of Content-Type.
    let content_type = ContentType::new(file.content_type.as_str()).attribute("name", name);
    let is_message = file.content_type.to_ascii_lowercase().starts_with("message/");
    // A message may not be encoded (RFC 2046 section 5.2.1), unless a line of it could not travel otherwise.
    let (encoding, content) = if is_message && travels_unencoded(&file.content) {
        ("7bit", Cow::Borrowed(file.content.as_slice()))
    } else {
        ("base64", Cow::Owned(base64_lines(&file.content)))
    };
    let mut part = MimePart::new(content_type, BodyPart::Binary(content))
        .header("Content-Disposition", ContentType::new(disposition).attribute("filename", name))
        .transfer_encoding(encoding);
    if let Some(id) = &file.content_id {
        part = part.header("Content-ID", Raw::new(format!("<{id}>")));
    }
    part
}

fn travels_unencoded(content: &[u8]) -> bool {
    content.is_ascii()
        && !content.contains(&0)
        && crate::fields::lines(content).all(|line| {
            let text = line.strip_suffix(b"\r\n").unwrap_or(line);
            text.len() <= MAX_LINE && !text.contains(&b'\r') && !text.contains(&b'\n')
        })
}

/// Bytes that these files take in a built message, at least: what is encoded there grows by a third and by its line ends.
pub fn encoded_size(files: &[Attachment]) -> u64 {
    let one = |file: &Attachment| {
        let size = file.content.len() as u64;
        // One that is a message itself may travel as it is.
        if file.content_type.to_ascii_lowercase().starts_with("message/") {
            return size;
        }
        let encoded = size.div_ceil(3) * 4;
        encoded + encoded.div_ceil(76) * 2
    };
    files.iter().map(one).sum()
}

fn base64_lines(content: &[u8]) -> Vec<u8> {
    let encoded = STANDARD.encode(content);
    let mut out = Vec::with_capacity(encoded.len() + encoded.len() / 38 + 2);
    for line in encoded.as_bytes().chunks(76) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The message with this header field in front of the others, and without any other field of that name. `value` must
/// be short ASCII without control characters.
pub fn with_mark(raw: &[u8], name: &str, value: &str) -> Vec<u8> {
    let split = crate::fields::split(raw);
    let mut out = format!("{name}: {value}\r\n").into_bytes();
    for field in crate::fields::fields(split.header).iter().filter(|field| !field.is(name)) {
        out.extend_from_slice(field.raw);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(split.body);
    out
}

/// The message with a `Bcc` header of these addresses put in front of its other headers: for providers that take
/// the recipients from the headers (Microsoft Graph). Unchanged when `bcc` is empty.
pub fn with_bcc(raw: &[u8], bcc: &[EmailAddress]) -> Vec<u8> {
    if bcc.is_empty() {
        return raw.to_vec();
    }
    let addresses: Vec<&str> = bcc.iter().map(EmailAddress::as_str).collect();
    let mut out = format!("Bcc: {}\r\n", addresses.join(",\r\n ")).into_bytes();
    out.extend_from_slice(raw);
    out
}
