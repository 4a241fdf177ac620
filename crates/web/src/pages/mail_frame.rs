//! The HTML of a mail in its frame: `/inbox/{id}/body`. The HTML was cleaned, the frame has no rights (`sandbox=""`),
//! and its policy loads nothing from anywhere: each of the three would be enough. Pictures of the message stand in the
//! page itself as `data:` addresses, because a frame without rights has no origin, so a browser sends no session
//! cookie for what it loads.

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postroom_mime::read::{AttachmentInfo, attachment, view};
use postroom_model::InboxMessageId;

use super::message::blocking;
use crate::App;
use crate::error::PageError;
use crate::session::SignedIn;

const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'; \
    base-uri 'none'; form-action 'none'; sandbox";

/// Kinds of pictures that are shown. Not SVG: it is a document, not a picture.
const PICTURES: [&str; 5] = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"];
/// Most pictures shown, and most bytes of them together; what is beyond can be downloaded as a file.
const MAX_PICTURES: usize = 50;
const MAX_PICTURE_BYTES: usize = 10_000_000;

/// `GET /inbox/{id}/body`.
pub(super) async fn body(
    user: SignedIn,
    State(app): State<App>,
    Path(id): Path<InboxMessageId>,
) -> Result<Response, PageError> {
    let raw = app.store.inbox_raw(&user.user.viewer(), id).await?.ok_or_else(PageError::not_found)?;
    let body = blocking(move || cleaned(&raw)).await?.ok_or_else(PageError::not_found)?;
    let page = format!(
        "<!doctype html><html><head><meta charset=\"utf-8\"><title>Message</title><style>\
         body{{margin:12px;font:14px/1.5 system-ui,sans-serif;color:#1a1d21;background:#fff;overflow-wrap:anywhere}}\
         img{{max-width:100%;height:auto}}table{{max-width:100%}}pre{{white-space:pre-wrap}}\
         </style></head><body>{body}</body></html>"
    );
    Ok(([(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))], Html(page)).into_response())
}

/// The cleaned HTML of a message with its pictures; none when it has no HTML.
fn cleaned(raw: &[u8]) -> Option<String> {
    let view = view(raw).ok()?;
    let html = view.html?;
    let mut pictures = Pictures { raw, files: &view.attachments, count: 0, bytes: 0 };
    Some(with_pictures(&html.html, &mut |cid| pictures.address(cid)))
}

/// The pictures of a message, as many as are shown.
struct Pictures<'a> {
    raw: &'a [u8],
    files: &'a [AttachmentInfo],
    count: usize,
    bytes: usize,
}

impl Pictures<'_> {
    /// The `data:` address of the picture of this content id.
    fn address(&mut self, cid: &str) -> Option<String> {
        let cid = cid.trim_matches(['<', '>']);
        let named = |known: &str| known.trim_matches(['<', '>']) == cid;
        let file = self.files.iter().find(|file| file.content_id.as_deref().is_some_and(named))?;
        let size = usize::try_from(file.size).ok()?;
        let shown = PICTURES.contains(&file.content_type.as_str())
            && self.count < MAX_PICTURES
            && self.bytes.saturating_add(size) <= MAX_PICTURE_BYTES;
        if !shown {
            return None;
        }
        let content = attachment(self.raw, file.index).ok()??.content;
        self.count += 1;
        self.bytes += content.len();
        Some(format!("data:{};base64,{}", file.content_type, STANDARD.encode(content)))
    }
}

/// Gives each picture of the message its address: `data-cid="x"` becomes `src="data:..."`, and the empty `src` beside
/// it goes away (the first of two equal attributes would win). Works on cleaned HTML, where every attribute stands in
/// double quotes.
fn with_pictures(html: &str, address: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = rest.find("<img") {
        let (before, from) = rest.split_at(start);
        let (tag, after) = from.split_at(tag_end(from));
        out.push_str(before);
        out.push_str(&rewritten(tag, address).unwrap_or_else(|| tag.to_owned()));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Where the tag that `text` begins with ends, `>` within quotes not counted.
fn tag_end(text: &str) -> usize {
    let mut quoted = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'>' if !quoted => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn rewritten(tag: &str, address: &mut dyn FnMut(&str) -> Option<String>) -> Option<String> {
    let (before, rest) = tag.split_once("data-cid=\"")?;
    let (cid, after) = rest.split_once('"')?;
    let address = address(&cid.replace("&quot;", "\"").replace("&amp;", "&"))?;
    let clear = |part: &str| part.replace("src=\"\"", "");
    Some(format!("{}src=\"{address}\"{}", clear(before), clear(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_the_message_get_their_address_and_nothing_else_changes() {
        let html =
            "<p>a &gt; b</p><img src=\"\" alt=\">\" data-cid=\"a&amp;b\"><img data-cid=\"none\"><b>c</b>";
        let shown = with_pictures(html, &mut |cid| (cid == "a&b").then(|| "data:x".to_owned()));
        assert_eq!(shown, "<p>a &gt; b</p><img  alt=\">\" src=\"data:x\"><img data-cid=\"none\"><b>c</b>");
    }
}
