//! The few pages a person sees: plain HTML without script, in the light or dark the browser prefers.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

use crate::answer::bytes_answer;

/// Fields of a log-on.
pub(crate) const LOG_ON: &str = "<label>User <input name=\"user\" autocomplete=\"username\" required></label>\
    <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>";

const STYLE: &str = ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem \
    auto;padding:0 1rem}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}label{display:block;margin:.6rem \
    0}input{font:inherit;width:100%;max-width:26rem;display:block;padding:.3rem}button{font:inherit;padding:.4rem \
    1rem;margin:.6rem .4rem 0 0}table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}th,td{text-align:\
    left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8886;vertical-align:top}code{overflow-wrap:anywhere}.ok{\
    color:light-dark(#0a6b2d,#5ad27f)}.no{color:light-dark(#a11,#ff8a80)}";

/// Text as it goes into HTML, between tags or into a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A sentence that says what was wrong; nothing for none.
pub(crate) fn problem(sentence: &str) -> String {
    if sentence.is_empty() {
        return String::new();
    }
    format!("<p class=\"no\" role=\"alert\">{}</p>", escape(sentence))
}

/// Hidden fields that carry a request through a form.
pub(crate) fn hidden(pairs: &[(String, String)]) -> String {
    let field = |(name, value): &(String, String)| {
        format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value))
    };
    pairs.iter().map(field).collect()
}

/// A page. `body` is HTML already.
pub(crate) fn answer(status: u16, title: &str, body: &str) -> Response {
    let title = escape(title);
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>\
         {body}</main></body></html>\n"
    );
    let mut response = bytes_answer(status, "text/html; charset=utf-8", page.into_bytes());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("content-security-policy"),
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    response
}
