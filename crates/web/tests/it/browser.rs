//! A browser: keeps the cookie, sends what browsers send, reads pages.

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use postroom_model::Env;
use postroom_model::env::ManualClock;
use std::net::SocketAddr;
use std::sync::Arc;
use tower::ServiceExt;

use crate::sample::{PASSWORD, SECRET, Sample};

pub(crate) struct Browser {
    router: Router,
    cookie: Option<String>,
    peer: Option<SocketAddr>,
}

pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// How many errors the validation panel counts; 0 when it is not there.
    pub(crate) fn errors(&self) -> usize {
        self.text().matches("<li class=\"error\">").count()
    }

    pub(crate) fn has(&self, words: &str) -> bool {
        self.text().contains(words)
    }
}

/// A filled sample, its clock, and a browser that nobody has logged on with.
pub(crate) async fn filled() -> (Sample, Arc<ManualClock>, Browser) {
    let (env, clock) = Env::for_test(11);
    let sample = Sample::filled(env).await;
    let browser = Browser::of(&sample);
    (sample, clock, browser)
}

/// The same with people only.
pub(crate) async fn empty() -> (Sample, Browser) {
    let sample = Sample::empty(Env::for_test(12).0).await;
    let browser = Browser::of(&sample);
    (sample, browser)
}

impl Browser {
    pub(crate) fn of(sample: &Sample) -> Self {
        Self { router: postroom_web::router(sample.state.clone()), cookie: None, peer: None }
    }

    /// Another browser of the same server.
    pub(crate) fn another(&self) -> Self {
        Self { router: self.router.clone(), cookie: None, peer: None }
    }

    pub(crate) fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    pub(crate) fn set_cookie(&mut self, cookie: Option<String>) {
        self.cookie = cookie;
    }

    /// From here on requests come from this address.
    pub(crate) fn come_from(&mut self, peer: &str) {
        self.peer = Some(peer.parse().unwrap());
    }

    pub(crate) async fn ask(&mut self, request: Request<Body>) -> Page {
        let (mut parts, body) = request.into_parts();
        if let Some(cookie) = &self.cookie {
            parts.headers.insert("cookie", cookie.parse().unwrap());
        }
        if let Some(peer) = self.peer {
            parts.extensions.insert(ConnectInfo(peer));
        }
        let response = self.router.clone().oneshot(Request::from_parts(parts, body)).await.unwrap();
        let (parts, body) = response.into_parts();
        if let Some(set) = parts.headers.get("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        let body = axum::body::to_bytes(body, 50_000_000).await.unwrap().to_vec();
        let page = Page { status: parts.status, headers: parts.headers, body };
        assert!(!page.has(SECRET), "a page holds the stored secret");
        page
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// The same as htmx asks.
    pub(crate) async fn part(&mut self, path: &str) -> Page {
        self.ask(Request::get(path).header("hx-request", "true").body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.post_with(path, fields, &[("sec-fetch-site", "same-origin")]).await
    }

    pub(crate) async fn post_part(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.post_with(path, fields, &[("sec-fetch-site", "same-origin"), ("hx-request", "true")]).await
    }

    pub(crate) async fn post_with(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Page {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let mut request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Body::from(body.finish())).unwrap()).await
    }

    pub(crate) async fn log_on(mut self, name: &str) -> Self {
        let page = self.post("/login", &[("name", name), ("password", PASSWORD)]).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
        assert!(self.cookie.is_some());
        self
    }
}
