//! The session cookie, and who is signed in as a handler's parameter. Only the cookie's SHA-256 is stored.

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use postroom_model::Timestamp;
use postroom_model::people::{Role, User};
use postroom_store::{Session, StoreError};

use crate::App;
use crate::error::PageError;

/// A session ends this many seconds after log-on, whatever happens: 12 hours.
const LIFETIME: i64 = 12 * 60 * 60;

/// A user who is signed in. As a handler's parameter it sends everybody else to the log-on page.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    pub(crate) user: User,
}

impl SignedIn {
    /// How changes are marked: `user:admin`.
    pub(crate) fn actor(&self) -> String {
        format!("user:{}", self.user.name)
    }

    /// Whether the user may change mailboxes.
    pub(crate) fn manages(&self) -> bool {
        self.user.has(Role::Administrator) || self.user.has(Role::MailboxManager)
    }
}

/// A signed-in administrator.
pub(crate) struct Administrator(pub(crate) SignedIn);

/// A signed-in administrator or mailbox manager.
pub(crate) struct Manager(pub(crate) SignedIn);

fn cookie_name(secure: bool) -> &'static str {
    if secure { "__Host-postroom" } else { "postroom" }
}

fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// The hash of the session cookie that came with a request.
pub(crate) fn presented(headers: &HeaderMap, secure: bool) -> Option<[u8; 32]> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == cookie_name(secure))
        .map(|(_, token)| hash(token))
}

/// Begins a session and gives the value of its `Set-Cookie`.
pub(crate) async fn begin(app: &App, user: &User) -> Result<String, StoreError> {
    let token = app.env.new_token(40);
    let now = app.env.now();
    let expires_at = Timestamp::from_second(now.as_second() + LIFETIME).unwrap_or(now);
    let session = Session { id_hash: hash(&token), user: user.id, created_at: now, expires_at };
    app.store.save_session(&session).await?;
    Ok(set_cookie(app.secure_cookies, &token, LIFETIME))
}

/// The value of `Set-Cookie` that takes the cookie away.
pub(crate) fn clear_cookie(secure: bool) -> String {
    set_cookie(secure, "", 0)
}

fn set_cookie(secure: bool, token: &str, seconds: i64) -> String {
    let name = cookie_name(secure);
    let flag = if secure { "; Secure" } else { "" };
    format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{flag}")
}

async fn load(parts: &Parts, app: &App) -> Result<Option<SignedIn>, StoreError> {
    let Some(id_hash) = presented(&parts.headers, app.secure_cookies) else { return Ok(None) };
    let session = app.store.session(&id_hash).await?.filter(|session| session.expires_at > app.env.now());
    let Some(session) = session else { return Ok(None) };
    Ok(app.store.user(session.user).await?.map(|user| SignedIn { user }))
}

/// Where a request without a session goes: to the log-on page, and back to a page that was asked for.
fn to_login(parts: &Parts) -> Response {
    let htmx = parts.headers.contains_key("hx-request");
    let page = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let back = match (&parts.method, htmx) {
        (&Method::GET, false) if page != "/" => {
            format!("/login?next={}", utf8_percent_encode(page, NON_ALPHANUMERIC))
        }
        _ => "/login".to_owned(),
    };
    if htmx {
        let header = (HeaderName::from_static("hx-redirect"), HeaderValue::from_static("/login"));
        return (StatusCode::UNAUTHORIZED, [header]).into_response();
    }
    Redirect::to(&back).into_response()
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        match load(parts, app).await {
            Ok(Some(signed_in)) => Ok(signed_in),
            Ok(None) => Err(to_login(parts)),
            Err(error) => Err(PageError::from(error).into_response()),
        }
    }
}

impl OptionalFromRequestParts<App> for SignedIn {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, PageError> {
        Ok(load(parts, app).await?)
    }
}

impl FromRequestParts<App> for Administrator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let signed_in = <SignedIn as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        if signed_in.user.has(Role::Administrator) {
            return Ok(Self(signed_in));
        }
        Err(PageError::forbidden(Role::Administrator.label()).into_response())
    }
}

impl FromRequestParts<App> for Manager {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let signed_in = <SignedIn as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        if signed_in.manages() {
            return Ok(Self(signed_in));
        }
        Err(PageError::forbidden("Administrator or Mailbox manager").into_response())
    }
}
