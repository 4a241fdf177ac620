//! HTML of strangers made safe to show, and turned into text.
//!
//! Cleaning is the second wall; the first is the sandboxed frame without scripts that the page shows it in.

mod measure;
mod style;
mod words;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ammonia::{Builder, UrlRelative};

/// Longest HTML that is parsed, in bytes.
pub const MAX_HTML: usize = 512 * 1024;
/// Deepest nesting of elements, as browsers have it.
pub const MAX_DEPTH: usize = 512;

/// Stands before the content id while the cleaned HTML still has it in `src`: a noncharacter, so that no text that
/// a person wrote is taken for it.
const CID_MARK: &str = "\u{fdd0}";
const TEXT_WIDTH: usize = 100;

/// HTML that holds no script, no form, no style that loads anything, and no address outside the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeHtml {
    /// The cleaned body. Pictures of the message keep `cid:` addresses as `data-cid` attributes with an empty `src`;
    /// remote pictures are taken out.
    pub html: String,
    /// How many remote pictures were taken out.
    pub blocked_remote: u32,
}

/// Cleans HTML. None when it is beyond the limits (512 kB, 512 levels, 100,000 elements or pieces of text): then the
/// text is shown.
pub fn clean(html: &str) -> Option<SafeHtml> {
    if !measure::within_limits(html) {
        return None;
    }
    // The filter must own what it counts into.
    let blocked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&blocked);
    let mut builder = Builder::empty();
    builder
        .tags(TAGS.into_iter().collect())
        .clean_content_tags(REMOVED_WITH_CONTENT.into_iter().collect())
        .generic_attributes(ATTRIBUTES.into_iter().collect())
        .tag_attributes(HashMap::from([
            ("a", HashSet::from(["href"])),
            ("img", HashSet::from(["src", "alt"])),
            ("td", HashSet::from(["colspan", "rowspan"])),
            ("th", HashSet::from(["colspan", "rowspan"])),
            ("ol", HashSet::from(["start", "type"])),
            ("font", HashSet::from(["color", "face", "size"])),
        ]))
        .url_schemes(HashSet::from(["http", "https", "mailto", "cid"]))
        // Relative addresses reach the filter below, which counts and removes them.
        .url_relative(UrlRelative::PassThrough)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .attribute_filter(move |element, attribute, value| match (element, attribute) {
            ("img", "src") => picture_source(value, &counter),
            (_, "href") => allowed_link(value).then_some(Cow::Borrowed(value)),
            (_, "src") => None,
            (_, "style") => style::reduce(value).map(Cow::Owned),
            _ => Some(Cow::Borrowed(value)),
        });
    let cleaned = builder.clean(html).to_string();
    let html = cleaned.replace(&format!(" src=\"{CID_MARK}"), " src=\"\" data-cid=\"");
    Some(SafeHtml { html, blocked_remote: blocked.load(Ordering::Relaxed) })
}

fn allowed_link(address: &str) -> bool {
    let address = address.trim_start().to_ascii_lowercase();
    ["http://", "https://", "mailto:"].iter().any(|scheme| address.starts_with(scheme))
}

/// Pictures of the message keep their content id; all others would tell the sender that the message was opened.
fn picture_source<'a>(address: &str, blocked: &AtomicU32) -> Option<Cow<'a, str>> {
    let address = address.trim();
    let id = address.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("cid:")).and(address.get(4..));
    match id {
        Some(id) if !id.is_empty() => Some(Cow::Owned(format!("{CID_MARK}{id}"))),
        _ => {
            blocked.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// HTML as text, wrapped at 100 columns: links without their addresses, tables without borders. Beyond the limits of [`clean`] the tags are
/// taken out and nothing more.
pub fn to_text(html: &str) -> String {
    let strip = || mail_parser::decoders::html::html_to_text(html);
    if !measure::within_limits(html) {
        return strip();
    }
    let rendered = html2text::config::with_decorator(words::Words)
        .no_table_borders()
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), TEXT_WIDTH);
    let text = rendered.unwrap_or_else(|_| strip());
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// Text as HTML: for a message of several parts of which some are text.
pub(crate) fn from_text(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<div style=\"white-space: pre-wrap\">{escaped}</div>")
}

/// The content ids that pictures of this HTML name.
pub(crate) fn content_ids(html: &str) -> HashSet<&str> {
    html.match_indices(':')
        .filter(|(at, _)| {
            let before = at.checked_sub(3).and_then(|start| html.get(start..*at));
            before.is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid"))
        })
        .filter_map(|(at, _)| html[at + 1..].split(['"', '\'', '>', ' ', ')', '\n', '\r']).next())
        .collect()
}

const TAGS: [&str; 72] = [
    "a",
    "abbr",
    "acronym",
    "address",
    "article",
    "aside",
    "b",
    "bdi",
    "bdo",
    "big",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "details",
    "dfn",
    "dir",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "font",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "main",
    "mark",
    "nobr",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "section",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "u",
    "ul",
    "wbr",
];
const REMOVED_WITH_CONTENT: [&str; 17] = [
    "script", "style", "title", "head", "svg", "math", "iframe", "object", "embed", "applet", "template",
    "noscript", "noembed", "noframes", "select", "textarea", "xmp",
];
const ATTRIBUTES: [&str; 14] = [
    "align",
    "valign",
    "width",
    "height",
    "bgcolor",
    "border",
    "cellpadding",
    "cellspacing",
    "color",
    "dir",
    "lang",
    "title",
    "style",
    "nowrap",
];
