//! What surrounds every page: policy headers, refusal of cross-site changes, request ids, errors as pages.

use std::any::Any;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::App;
use crate::error::PageError;

/// No script and no style but our own files, nothing from another host, nobody may frame us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Largest form in bytes; the page of drafts, which takes files, has a limit of its own.
const MAX_FORM: usize = 256 * 1024;

/// Puts every protection around `routes`, the outermost last.
pub(crate) fn protect(routes: Router<App>, app: App) -> Router {
    routes
        .fallback(async || PageError::not_found())
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(CsrfLayer::new())
        .layer(from_fn(browser_says_where_from))
        .layer(CatchPanicLayer::custom(PanicPage))
        .layer(from_fn_with_state(app.clone(), finish))
        .with_state(app)
}

/// A change that comes with neither `Sec-Fetch-Site` nor `Origin` is from a browser too old to be protected, or from
/// a program; programs have the API.
async fn browser_says_where_from(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !request.method().is_safe() && !headers.contains_key("sec-fetch-site") && !headers.contains_key(ORIGIN)
    {
        return cross_site().into_response();
    }
    next.run(request).await
}

fn cross_site() -> PageError {
    PageError::new(
        StatusCode::FORBIDDEN,
        "This change did not come from one of our own pages, so it was not made.",
        "Open the page here and repeat the step. Behind a proxy: it must pass on Host and Origin unchanged.",
    )
}

/// Request id, errors as pages, policy headers.
async fn finish(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = app.env.new_uuid().to_string();
    let fragment = request.headers().contains_key("hx-request");
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_asset = path.starts_with("/assets/");
    let mut response = next.run(request).await;
    if response.extensions().get::<ProtectionError>().is_some() {
        response = cross_site().into_response();
    }
    if response.status() == StatusCode::METHOD_NOT_ALLOWED || is_bare_refusal(&response) {
        response = PageError::not_found().into_response();
    }
    if let Some(error) = response.extensions_mut().remove::<PageError>() {
        tracing::info!(request_id = %id, %method, path, status = error.status.as_u16(), "refused");
        response = error.render(&id, fragment);
    }
    add_headers(&mut response, &id);
    if !is_asset {
        // Mail, files and settings must not stay in a shared browser's cache after log-off.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A refusal in the framework's own words: the address holds something that is no id, or no parameter of ours.
fn is_bare_refusal(response: &Response) -> bool {
    let plain =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    response.status().is_client_error() && plain
}

fn add_headers(response: &mut Response, request_id: &str) {
    let headers = response.headers_mut();
    // The mail frame and attachments bring a narrower policy of their own.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::try_from(request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), value);
    }
}

/// Turns a panic into the error page.
#[derive(Clone, Copy)]
struct PanicPage;

impl ResponseForPanic for PanicPage {
    type ResponseBody = axum::body::Body;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send + 'static>) -> Response {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no words");
        tracing::error!(panic = words, "a page panicked");
        PageError::internal().into_response()
    }
}
