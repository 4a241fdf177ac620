//! `/healthz`, `/readyz` and `/metrics`.
//!
//! | path | what it says |
//! |---|---|
//! | `/healthz` | 200 as long as the process answers at all: whether to start it again |
//! | `/readyz` | 200 when it can do its work, 503 when not or when it is about to stop: whether to send it requests |
//! | `/metrics` | figures for Prometheus, for whom the configuration names |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, FORWARDED, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, extract::Request, middleware::Next};
use postroom_engine::Engine;
use postroom_model::{Env, ExposeSecret, SecretString};
use postroom_store::{Store, StoreError};
use serde::Serialize;
use tokio::time::Instant;

use crate::app::App;
use crate::config::{Config, MetricsReader};

/// Longest look at the store. Whoever asks has a bound of its own, often as short as this.
const STORE_BOUND: Duration = Duration::from_secs(5);
/// How long a look at the store serves: many who ask do not make many writes.
const FRESH: Duration = Duration::from_secs(1);
/// What the encoder writes (OpenMetrics 1.0).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What these paths are given.
pub(crate) struct Health {
    store: Arc<dyn Store>,
    engine: Engine,
    env: Env,
    reader: Reader,
    mailboxes: usize,
    /// Set at the first signal to stop.
    stopping: AtomicBool,
    looked: tokio::sync::Mutex<Option<(Instant, Result<(), &'static str>)>>,
}

/// Who may read the figures.
enum Reader {
    Nobody,
    Loopback,
    Bearer(SecretString),
}

impl Health {
    pub(crate) fn new(app: &App) -> anyhow::Result<Arc<Self>> {
        let labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        app.engine.signals().families.build.get_or_create(&labels).set(1);
        Ok(Arc::new(Self {
            store: app.store.clone(),
            engine: app.engine.clone(),
            env: app.env.clone(),
            reader: reader(&app.config)?,
            mailboxes: usize::try_from(app.config.metrics.mailboxes).unwrap_or(usize::MAX),
            stopping: AtomicBool::new(false),
            looked: tokio::sync::Mutex::default(),
        }))
    }

    /// From now on not ready: requests are still answered, and new ones should go elsewhere.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// What is wrong with the store; the reason in full goes to the log alone.
    async fn store_fault(&self) -> Option<&'static str> {
        let mut looked = self.looked.lock().await;
        if let Some((at, known)) = &*looked
            && at.elapsed() < FRESH
        {
            return known.err();
        }
        let found = match tokio::time::timeout(STORE_BOUND, self.store.prove_writable()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "not ready: the store takes no write"
                );
                Err(match error {
                    StoreError::Full { .. } => "no space is left",
                    StoreError::Key { .. } => "the key does not open what is sealed",
                    _ => "it takes no write",
                })
            }
            Err(_) => {
                tracing::error!("not ready: the store took no write within {} s", STORE_BOUND.as_secs());
                Err("no answer in time")
            }
        };
        *looked = Some((Instant::now(), found));
        found.err()
    }
}

fn reader(config: &Config) -> anyhow::Result<Reader> {
    Ok(match (config.metrics.read, &config.metrics.bearer_file) {
        (MetricsReader::Off, _) => Reader::Nobody,
        (MetricsReader::Loopback, _) => Reader::Loopback,
        (MetricsReader::Bearer, Some(file)) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("read the bearer of the metrics from {}", file.display()))?;
            let bearer = text.trim();
            anyhow::ensure!(
                bearer.len() >= 16,
                "the bearer in {} has less than 16 characters",
                file.display()
            );
            Reader::Bearer(SecretString::from(bearer.to_owned()))
        }
        // Refused by the configuration.
        (MetricsReader::Bearer, None) => anyhow::bail!("metrics.bearer_file is missing"),
    })
}

/// The three paths.
pub(crate) fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Check {
    fn new(name: &'static str, fault: Option<String>) -> Self {
        Self { name, ok: fault.is_none(), reason: fault }
    }
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let stopping = health.stopping.load(Ordering::SeqCst);
    let mut checks = vec![Check::new("running", stopping.then(|| "it is about to stop".to_owned()))];
    // Whoever stops is asked by somebody who waits for this 503: the store has better to do.
    if !stopping {
        let silent = health.engine.silent_workers().join(", ");
        checks.push(Check::new("store", health.store_fault().await.map(str::to_owned)));
        let fault = (!silent.is_empty()).then(|| format!("no sign of life of: {silent}"));
        checks.push(Check::new("workers", fault));
    }
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CACHE_CONTROL, "no-store")], Json(Readiness { ready, checks })).into_response()
}

async fn metrics(
    State(health): State<Arc<Health>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    match &health.reader {
        Reader::Nobody => return StatusCode::NOT_FOUND.into_response(),
        Reader::Loopback if !is_local(peer, &headers) => {
            let words =
                "read from this machine only; see `read` in the section [metrics] of the configuration\n";
            return (StatusCode::FORBIDDEN, words).into_response();
        }
        Reader::Bearer(bearer) if !shows(&headers, bearer) => {
            let challenge = [(WWW_AUTHENTICATE, "Bearer realm=\"postroom metrics\"")];
            return (StatusCode::UNAUTHORIZED, challenge).into_response();
        }
        Reader::Loopback | Reader::Bearer(_) => {}
    }
    let read = health.engine.signals().read(health.store.as_ref(), &health.env, health.mailboxes);
    match tokio::time::timeout(STORE_BOUND, read).await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the figures could not be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Whether a request comes from this machine itself. A proxy on this machine speaks for others, and says so.
fn is_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let forwarded = headers.contains_key(FORWARDED)
        || headers.keys().any(|name| name.as_str().starts_with("x-forwarded-") || name == "x-real-ip");
    peer.ip().to_canonical().is_loopback() && !forwarded
}

fn shows(headers: &HeaderMap, bearer: &SecretString) -> bool {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    // In constant time: the answer must not tell how much of it was right.
    shown.is_some_and(|(_, token)| {
        let expected = bearer.expose_secret().as_bytes();
        aws_lc_rs::constant_time::verify_slices_are_equal(token.trim().as_bytes(), expected).is_ok()
    })
}

/// Counts a request, gives it its id and names that id in every line that is logged meanwhile.
pub(crate) async fn watched(State(health): State<Arc<Health>>, mut request: Request, next: Next) -> Response {
    use tracing::Instrument as _;
    let id = health.env.new_uuid().to_string();
    let method = method(request.method());
    // The pattern and never the path: there are as many paths as messages.
    let matched = request.extensions().get::<axum::extract::MatchedPath>();
    let route = matched.map_or("other", axum::extract::MatchedPath::as_str).to_owned();
    request.extensions_mut().insert(postroom_api::RequestId(id.clone()));
    let span = tracing::info_span!("request", request_id = %id, method, route);
    let begun = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let (took, status) = (begun.elapsed(), response.status().as_u16());
    span.in_scope(|| tracing::debug!(status, took_ms = took.as_millis(), "answered"));
    let families = &health.engine.signals().families;
    let labels =
        vec![("method", method.to_owned()), ("route", route.clone()), ("status", status.to_string())];
    families.http_requests.get_or_create(&labels).inc();
    families.http_duration.get_or_create(&vec![("route", route)]).observe(took.as_secs_f64());
    response
}

/// The method as a word of a closed list: a client may send any word.
fn method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
