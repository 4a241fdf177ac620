//! An HTTP server on loopback that answers as a test says and remembers what it was asked.

// Three test binaries include this file, and not each uses all of it.
#![allow(unreachable_pub, dead_code)]

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use url::Url;

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET`.
    pub method: String,
    /// Path with query, as it came.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Seen {
    /// A header's value; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// `GET /path`, without the query.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap_or_default())
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Status, headers, body.
    Raw(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The connection is cut after the request was read.
    Cut,
    /// The headers and half of the body, then the connection is cut.
    HalfBody,
    /// Nothing, ever.
    Silence,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Raw(status, vec![("content-type", "application/json".into())], body.to_string().into_bytes())
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::Raw(status, vec![("content-type", "text/html".into())], body.as_bytes().to_vec())
    }

    pub fn empty(status: u16) -> Self {
        Self::Raw(status, vec![], vec![])
    }

    pub fn with(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Raw(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Self::Raw(status, headers, body)
            }
            other => other,
        }
    }
}

type Answer = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

#[derive(Clone)]
struct Shared {
    answer: Answer,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A running server. It stops when dropped.
pub struct Stub {
    /// Its address.
    pub url: Url,
    shared: Shared,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stub {
    /// A server that answers by `answer`.
    pub async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Shared { answer: Arc::new(answer), seen: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let router = axum::Router::new().fallback(handle).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, task }
    }

    /// What was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Lines of what was asked so far.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

async fn handle(State(shared): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let headers = head.headers.iter();
    let seen = Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").into()))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    shared.seen.lock().unwrap().push(seen.clone());
    match (shared.answer)(&seen) {
        Reply::Raw(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(Bytes::from(body))).unwrap()
        }
        // Unwinding without the panic hook: the connection's task ends and the socket closes.
        Reply::Cut => std::panic::resume_unwind(Box::new(())),
        Reply::HalfBody => {
            let half = Bytes::from_static(b"{\"id\":");
            Response::builder().status(200).header("content-length", "100").body(Body::from(half)).unwrap()
        }
        Reply::Silence => std::future::pending().await,
    }
}
