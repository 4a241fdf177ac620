//! `/login` and `/logout`.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::header::{HeaderValue, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use postroom_model::SecretString;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::people::User;
use serde::Deserialize;
use serde_json::json;

use crate::App;
use crate::error::PageError;
use crate::fields::Fields;
use crate::session::{self, SignedIn};
use crate::templates::{render, shell};

#[derive(Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

/// A path on this site, else the start page: the log-on page must not send people elsewhere.
fn safe_path(next: &str) -> &str {
    let second = next.as_bytes().get(1);
    let ours = next.starts_with('/')
        && !matches!(second, Some(b'/' | b'\\'))
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if ours { next } else { "/" }
}

fn form(name: &str, next: &str, error: Option<&str>) -> Result<Html<String>, PageError> {
    let values = json!({ "shell": shell(None, ""), "name": name, "next": next, "error": error });
    render("login.html", &values)
}

/// `GET /login`.
pub(super) async fn page(user: Option<SignedIn>, Query(query): Query<Next>) -> Result<Response, PageError> {
    let next = query.next.unwrap_or_default();
    if user.is_some() {
        return Ok(Redirect::to(safe_path(&next)).into_response());
    }
    Ok(form("", safe_path(&next), None)?.into_response())
}

/// `POST /login`.
pub(super) async fn log_on(
    State(app): State<App>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, PageError> {
    let peer = peer.map(|Extension(ConnectInfo(peer))| peer.ip());
    let name: String = fields.get("name").trim().to_lowercase().chars().take(64).collect();
    let next = safe_path(fields.get("next"));
    let wait = app.throttle.wait(&name, peer, app.env.now());
    if wait > 0 {
        let words = format!("Too many wrong passwords for this name. Try again in {wait} s.");
        let retry = [(RETRY_AFTER, wait.to_string())];
        return Ok((StatusCode::TOO_MANY_REQUESTS, retry, form(&name, next, Some(&words))?).into_response());
    }
    tokio::time::sleep(app.throttle.slow(&name, app.env.now())).await;
    let known = app.store.user_by_name(&name).await?;
    let (user, hash) = known.map_or((None, None), |(user, hash)| (Some(user), hash));
    // The password as it was typed: blanks at its ends belong to it.
    let password = SecretString::from(fields.get("password"));
    let right = app.passwords.verify(password, hash).await;
    let Some(user) = user.as_ref().filter(|_| right) else {
        app.throttle.failed(&name, peer, app.env.now());
        if let Some(user) = user {
            tell(&app, &user, EventKind::UserRefused).await?;
        }
        let words = "Name or password is wrong.";
        return Ok((StatusCode::UNAUTHORIZED, form(&name, next, Some(words))?).into_response());
    };
    app.throttle.succeeded(&name, peer);
    if let Some(old) = session::presented(&headers, app.secure_cookies) {
        app.store.end_session(&old).await?;
    }
    let cookie = session::begin(&app, user).await?;
    tell(&app, user, EventKind::UserSignedIn).await?;
    with_cookie(Redirect::to(next), &cookie)
}

async fn tell(app: &App, user: &User, kind: EventKind) -> Result<(), PageError> {
    let event = Event::new(app.env.new_id(), app.env.now(), Subject::User(user.id), kind);
    Ok(app.store.append_events(vec![event]).await?)
}

/// `POST /logout`.
pub(super) async fn log_off(State(app): State<App>, headers: HeaderMap) -> Result<Response, PageError> {
    if let Some(hash) = session::presented(&headers, app.secure_cookies) {
        app.store.end_session(&hash).await?;
    }
    with_cookie(Redirect::to("/login"), &session::clear_cookie(app.secure_cookies))
}

fn with_cookie(answer: Redirect, cookie: &str) -> Result<Response, PageError> {
    let value = HeaderValue::try_from(cookie).map_err(|_| PageError::internal())?;
    Ok(([(SET_COOKIE, value)], answer).into_response())
}

#[cfg(test)]
mod tests {
    use super::safe_path;

    #[test]
    fn the_way_back_stays_on_this_site() {
        assert_eq!(safe_path("/inbox?state=quarantined"), "/inbox?state=quarantined");
        for elsewhere in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "inbox"]
        {
            assert_eq!(safe_path(elsewhere), "/", "{elsewhere}");
        }
    }
}
