//! Traces to an OpenTelemetry collector: one trace for each message on its way out, over HTTP with protobuf.
//!
//! The id of a trace is the id of its message, so a message that is accepted by one process and sent by another, or
//! after a restart, is one trace; the message id is also an attribute of each span. A span is made of
//! [`Passed`] alone, which has no room for an address or a subject.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use postroom_engine::signals::journey::{Journeys, Passed, Step};
use tokio::runtime::Handle;

/// Longest export of one batch.
const EXPORT: Duration = Duration::from_secs(10);
/// Longest wait for the last batch when the process stops: traces must not hold up a stop.
const LAST_EXPORT: Duration = Duration::from_secs(5);
/// Longest answer of a collector that is read.
const ANSWER: usize = 64 * 1024;

/// Sends spans to a collector until it is stopped.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Traces to the collector at `endpoint`, such as `http://127.0.0.1:4318/v1/traces`. Call it inside the runtime.
    pub(crate) fn start(endpoint: &str) -> anyhow::Result<Self> {
        let client = postroom_entra::http::client(&postroom_entra::http::HttpSettings::default())?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client { client, runtime: Handle::current() })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(EXPORT)
            .build()
            .with_context(|| format!("prepare the traces to {endpoint}"))?;
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "postroom"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
    }

    /// What the engine tells its steps.
    pub(crate) fn journeys(&self) -> Arc<dyn Journeys> {
        Arc::new(Spans(self.0.tracer("postroom")))
    }

    /// Sends what is left, within a bounded time.
    pub(crate) async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST_EXPORT)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Turns steps into spans.
struct Spans(SdkTracer);

impl Journeys for Spans {
    fn passed(&self, passed: &Passed) {
        let id = passed.message.as_uuid();
        let trace = TraceId::from_bytes(*id.as_bytes());
        // All steps hang on one parent that is never sent: no process sees the whole journey.
        let mut half = [0; 8];
        half.copy_from_slice(&id.as_bytes()[8..]);
        let (parent, flags) = (SpanId::from_bytes(half), TraceFlags::SAMPLED);
        let parent = SpanContext::new(trace, parent, flags, true, TraceState::default());
        let context = Context::new().with_remote_span_context(parent);
        let mut attributes = vec![
            KeyValue::new("messaging.message.id", id.to_string()),
            KeyValue::new("postroom.outcome", passed.outcome),
        ];
        attributes
            .extend(passed.attempt.map(|attempt| KeyValue::new("postroom.attempt", i64::from(attempt))));
        let kind = if passed.step == Step::Send { SpanKind::Client } else { SpanKind::Internal };
        let builder = SpanBuilder::from_name(passed.step.as_str())
            .with_kind(kind)
            .with_start_time(SystemTime::from(passed.begun))
            .with_attributes(attributes);
        let mut span = self.0.build_with_context(builder, &context);
        if passed.failed {
            span.set_status(Status::error(passed.outcome));
        }
        span.end_with_timestamp(SystemTime::from(passed.ended));
    }
}

/// The exporter's requests by our own client, with its bounds and its roots of trust. The exporter runs on a thread of
/// its own; the work is done on the runtime.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let request = reqwest::Request::try_from(request)?;
            let mut answer = client.execute(request).await?;
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                *headers = std::mem::take(answer.headers_mut());
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > ANSWER {
                    return Err(HttpError::from("the answer of the collector is too long"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(response.body(Bytes::from(body))?)
        });
        sent.await?
    }
}
