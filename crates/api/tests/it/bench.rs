//! A store with two programs in it, and short ways to ask.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use postroom_api::{ApiState, new_api_key, router};
use postroom_engine::{Engine, EngineSettings};
use postroom_model::connection::{ConnectionKind, ConnectionSettings, EmailMethod, OutgoingSettings};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::Mailbox;
use postroom_model::people::ApiKey;
use postroom_model::{ConnectionId, Env, ExposeSecret};
use postroom_store::{KeyFile, SaveConnection, SqlStore, SqliteOptions, Store};
use postroom_transport::{Sender, Source, Transports};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const LIMIT: u64 = 20_000;

/// Transports that lead nowhere.
struct Nowhere;

#[async_trait]
impl Transports for Nowhere {
    fn can_send(&self, _: &postroom_model::connection::ConnectionSettings) -> Result<(), String> {
        Ok(())
    }

    async fn sender(&self, _: &postroom_model::connection::Connection) -> Result<Box<dyn Sender>, Failure> {
        Err(Failure::new("send", Origin::Ourselves, "no transport in this test", Decision::Hold))
    }

    async fn source(
        &self,
        _: &postroom_model::connection::Connection,
        _: &Mailbox,
    ) -> Result<Box<dyn Source>, Failure> {
        Err(Failure::new("read", Origin::Ourselves, "no transport in this test", Decision::Hold))
    }
}

pub(crate) struct Bench {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) env: Env,
    pub(crate) router: Router,
    /// The key of the program `erp`.
    pub(crate) erp: String,
    /// The key of the program `shop`.
    pub(crate) shop: String,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// With a way out.
    pub(crate) async fn new() -> Self {
        let bench = Self::without_connection().await;
        let settings = ConnectionSettings {
            server: "smtp.contoso.example".into(),
            max_size_mb: 1,
            ..ConnectionSettings::new(ConnectionKind::Smtp)
        };
        let id: ConnectionId = bench.env.new_id();
        let save = SaveConnection { id, settings, credential: None, actor: "test".into() };
        bench.store.save_connection(save).await.unwrap();
        let outgoing = OutgoingSettings { method: EmailMethod::Smtp, connection: Some(id) };
        bench.store.save_outgoing_settings(&outgoing, "test").await.unwrap();
        bench
    }

    pub(crate) async fn without_connection() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (env, _) = Env::for_test(1);
        let options = SqliteOptions {
            folder: folder.path().join("data"),
            key_file: KeyFile(folder.path().join("postroom.key")),
            env: env.clone(),
        };
        let store: Arc<dyn Store> = Arc::new(SqlStore::open(options).await.unwrap());
        let erp = add_key(store.as_ref(), &env, "erp").await;
        let shop = add_key(store.as_ref(), &env, "shop").await;
        let engine = Engine::new(store.clone(), Arc::new(Nowhere), env.clone(), EngineSettings::default());
        let state = ApiState { store: store.clone(), engine, env: env.clone(), max_request_bytes: LIMIT };
        Self { store, env, router: router(state), erp, shop, _folder: folder }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {key}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Posts a message in JSON as `erp`, with further headers.
    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.post_to("/messages", headers, body).await
    }

    pub(crate) async fn post_to(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.erp));
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }
}

async fn add_key(store: &dyn Store, env: &Env, name: &str) -> String {
    let (key, hash) = new_api_key(env);
    let row = ApiKey { id: env.new_id(), name: name.into(), created_at: env.now(), revoked_at: None };
    store.save_api_key(&row, &hash, "cli").await.unwrap();
    key.expose_secret().to_owned()
}

/// A message that nothing is wrong with.
pub(crate) fn message() -> Value {
    json!({
        "from": "Orders <orders@contoso.example>",
        "to": "ann@fabrikam.example",
        "reply_to": "sales@contoso.example",
        "subject": "Order 4711",
        "text": "On its way",
    })
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 10_000_000).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(parts.headers.contains_key("x-request-id"), "every answer has a request id");
        Self { status: parts.status, headers: parts.headers, body, text }
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    /// The names of the fields that are wrong.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let list = self.body["error"]["fields"].as_array().map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(|field| field["field"].as_str()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
