//! The HTML of a mail in its frame: `/inbox/{id}/body`, and its pictures: `/inbox/{id}/cid/{cid}`. The HTML was
//! cleaned, the frame has no rights (`sandbox=""`), and its policy loads nothing but our own pictures. Each of the
//! three would be enough.

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use postroom_model::InboxMessageId;

use super::message::blocking;
use crate::App;
use crate::error::PageError;
use crate::session::SignedIn;

const POLICY: &str = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'; \
    base-uri 'none'; form-action 'none'; sandbox";

/// Kinds of pictures that are shown. Not SVG: it is a document, not a picture.
const PICTURES: [&str; 5] = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"];

/// `GET /inbox/{id}/body`.
pub(super) async fn body(
    user: SignedIn,
    State(app): State<App>,
    Path(id): Path<InboxMessageId>,
) -> Result<Response, PageError> {
    let raw = app.store.inbox_raw(&user.user.viewer(), id).await?.ok_or_else(PageError::not_found)?;
    let view = blocking(move || postroom_mime::read::view(&raw)).await?;
    let html = view.ok().and_then(|view| view.html).ok_or_else(PageError::not_found)?;
    let body = with_pictures(&html.html, id);
    let page = format!(
        "<!doctype html><html><head><meta charset=\"utf-8\"><title>Message</title><style>\
         body{{margin:12px;font:14px/1.5 system-ui,sans-serif;color:#1a1d21;background:#fff;overflow-wrap:anywhere}}\
         img{{max-width:100%;height:auto}}table{{max-width:100%}}pre{{white-space:pre-wrap}}\
         </style></head><body>{body}</body></html>"
    );
    Ok(([(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))], Html(page)).into_response())
}

/// Gives each picture of the message its address here: `data-cid="x"` becomes `src="/inbox/{id}/cid/x"`, and the
/// empty `src` beside it goes away (the first of two equal attributes would win). Works on cleaned HTML, where every
/// attribute stands in double quotes.
fn with_pictures(html: &str, id: InboxMessageId) -> String {
    let mut out = String::with_capacity(html.len() + 256);
    let mut rest = html;
    while let Some(start) = rest.find("<img") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = tag_end(from);
        let (tag, after) = from.split_at(end);
        out.push_str(&rewritten(tag, id));
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

fn rewritten(tag: &str, id: InboxMessageId) -> String {
    const MARK: &str = "data-cid=\"";
    let Some(start) = tag.find(MARK) else { return tag.to_owned() };
    let value_start = start + MARK.len();
    let Some(length) = tag[value_start..].find('"') else { return tag.to_owned() };
    let cid = tag[value_start..value_start + length].replace("&quot;", "\"").replace("&amp;", "&");
    let address = format!("src=\"/inbox/{id}/cid/{}\"", utf8_percent_encode(&cid, NON_ALPHANUMERIC));
    let after = &tag[value_start + length + 1..];
    format!("{}{address}{}", tag[..start].replace("src=\"\"", ""), after.replace("src=\"\"", ""))
}

/// The picture of this content id, with its media type.
fn find_picture(raw: &[u8], cid: &str) -> Option<(String, Vec<u8>)> {
    let view = postroom_mime::read::view(raw).ok()?;
    let named = |known: &str| known.trim_matches(['<', '>']) == cid.trim_matches(['<', '>']);
    let info = view.attachments.iter().find(|file| file.content_id.as_deref().is_some_and(named))?;
    let file = postroom_mime::read::attachment(raw, info.index).ok()??;
    PICTURES.contains(&file.info.content_type.as_str()).then_some((file.info.content_type, file.content))
}

/// `GET /inbox/{id}/cid/{cid}`.
pub(super) async fn picture(
    user: SignedIn,
    State(app): State<App>,
    Path((id, cid)): Path<(InboxMessageId, String)>,
) -> Result<Response, PageError> {
    let raw = app.store.inbox_raw(&user.user.viewer(), id).await?.ok_or_else(PageError::not_found)?;
    let found = blocking(move || find_picture(&raw, &cid)).await?;
    let (kind, content) = found.ok_or_else(PageError::not_found)?;
    let kind = HeaderValue::try_from(kind).map_err(|_| PageError::internal())?;
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    Ok(([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, policy)], content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_the_message_get_their_address_and_nothing_else_changes() {
        let id: InboxMessageId = "0198c5b0-7a52-7c3e-8a44-3f0f3c1f2a10".parse().unwrap();
        let html = "<p>a &gt; b</p><img src=\"\" alt=\">\" data-cid=\"logo@x\"><img alt=\"none\"><b>c</b>";
        let shown = with_pictures(html, id);
        assert_eq!(
            shown,
            format!(
                "<p>a &gt; b</p><img  alt=\">\" src=\"/inbox/{id}/cid/logo%40x\"><img alt=\"none\"><b>c</b>"
            )
        );
    }
}
