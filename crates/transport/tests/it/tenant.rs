//! A tenant of one's own on this machine, and an application that may send and read in it.

use std::sync::Arc;

use async_trait::async_trait;
use postroom_entra::TokenClient;
use postroom_entra::http::{HttpSettings, ProxySettings, client};
use postroom_model::connection::{Cloud, ConnectionSettings, Endpoints, ExchangeApi};
use postroom_model::credential::{Credential, CredentialKind, CredentialState};
use postroom_model::env::ManualClock;
use postroom_model::failure::Failure;
use postroom_model::{ConnectionId, Env, SecretString};
use postroom_sandbox::{Sandbox, SandboxOptions};
use postroom_transport::{Credentials, Sender, Source, Transports, Wire};
use serde_json::{Value, json};

use crate::{connection, mailbox, settings};

const TOOLS: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";
/// Resource and role.
const ROLES: [(&str, &str); 4] =
    [(GRAPH, "Mail.ReadWrite"), (GRAPH, "Mail.Send"), (GRAPH, "Mail.Read"), (EXCHANGE, "full_access_as_app")];

/// The running tenant.
pub(crate) struct Tenant {
    sandbox: Sandbox,
    http: reqwest::Client,
    settings: ConnectionSettings,
    secret: String,
    /// Clock of sandbox and client.
    clock: Arc<ManualClock>,
    env: Env,
}

struct Secret(String);

#[async_trait]
impl Credentials for Secret {
    async fn current(&self, connection: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure> {
        let (env, _clock) = Env::for_test(9);
        let credential = Credential {
            id: env.new_id(),
            connection,
            kind: CredentialKind::ClientSecret,
            state: CredentialState::Current,
            expires_at: None,
            key_id: None,
            created_at: env.now(),
        };
        Ok(Some((credential, self.0.clone().into())))
    }
}

impl Tenant {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut SandboxOptions)) -> Self {
        let (env, clock) = Env::for_test(11);
        let mut options = SandboxOptions::new("127.0.0.1:0".parse().unwrap(), env.clone());
        change(&mut options);
        let sandbox = Sandbox::start(options).await.unwrap();
        let http =
            client(&HttpSettings { proxy: ProxySettings::default(), ..HttpSettings::default() }).unwrap();
        let settings = settings(&sandbox.ready().graph.parse().unwrap());
        let mut tenant = Self { sandbox, http, settings, secret: String::new(), clock, env };
        tenant.register().await;
        tenant
    }

    async fn register(&mut self) {
        let admin = &self.sandbox.ready().admin;
        let form = [
            ("grant_type", "password"),
            ("client_id", TOOLS),
            ("scope", "https://graph.microsoft.com/.default"),
            ("username", &admin.user),
            ("password", &admin.password),
        ];
        let url = format!("{}/contoso.example/oauth2/v2.0/token", self.sandbox.ready().authority);
        let answer: Value = self.http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let post = async |path: &str, body: Value| -> Value {
            let url = format!("{}/v1.0/{path}", self.sandbox.ready().graph);
            let asked = self.http.post(url).bearer_auth(&token).json(&body).send().await.unwrap();
            asked.json().await.unwrap()
        };
        let application = post("applications", json!({"displayName": "Mail connector"})).await;
        let principal = post("servicePrincipals", json!({"appId": application["appId"]})).await;
        let principal = principal["id"].as_str().unwrap();
        for (resource, wanted) in ROLES {
            let url = format!("{}/v1.0/servicePrincipals(appId='{resource}')", self.sandbox.ready().graph);
            let owner: Value =
                self.http.get(url).bearer_auth(&token).send().await.unwrap().json().await.unwrap();
            let roles = owner["appRoles"].as_array().unwrap();
            let role = roles.iter().find(|role| role["value"] == wanted).unwrap();
            let grant = json!({"principalId": principal, "resourceId": owner["id"], "appRoleId": role["id"]});
            post(&format!("servicePrincipals/{principal}/appRoleAssignments"), grant).await;
        }
        let object = application["id"].as_str().unwrap();
        let secret = post(&format!("applications/{object}/addPassword"), json!({})).await;
        self.secret = secret["secretText"].as_str().unwrap().to_owned();
        self.settings.application_id = application["appId"].as_str().unwrap().to_owned();
    }

    /// A tenant whose application comes by EWS. It is not on the list of those that are let in.
    pub(crate) async fn by_ews() -> Self {
        let mut tenant = Self::new().await;
        let base: url::Url = tenant.sandbox.ready().graph.parse().unwrap();
        tenant.settings.api = ExchangeApi::Ews;
        tenant.settings.cloud =
            Cloud::Custom(Endpoints { authority: base.clone(), graph: base.clone(), exchange: Some(base) });
        tenant
    }

    /// Where EWS answers.
    pub(crate) fn ews_url(&self) -> &str {
        &self.sandbox.ready().ews
    }

    /// Has EWS reached at another address.
    pub(crate) fn reach_ews_at(&mut self, exchange: url::Url) {
        if let Cloud::Custom(endpoints) = &mut self.settings.cloud {
            endpoints.exchange = Some(exchange);
        }
    }

    /// Puts the application on the list of those that EWS lets in.
    pub(crate) async fn allow_ews(&self) {
        let id = &self.settings.application_id;
        self.exchange(format!("Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs '{id}'")).await;
    }

    /// The messages that left the tenant.
    pub(crate) async fn outside(&self) -> Vec<Value> {
        let url = format!("{}/_sandbox/outside", self.sandbox.ready().graph);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The operations of EWS asked for so far, newest last.
    pub(crate) async fn operations(&self) -> Vec<String> {
        let url = format!("{}/_sandbox/requests", self.sandbox.ready().graph);
        let log: Vec<Value> = self.http.get(url).send().await.unwrap().json().await.unwrap();
        log.iter().filter_map(|one| one["operation"].as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn wire(&self) -> Wire {
        let tokens = Arc::new(TokenClient::new(self.http.clone(), self.env.clone()));
        Wire::new(self.http.clone(), tokens, Arc::new(Secret(self.secret.clone())), self.env.clone())
    }

    pub(crate) fn connection(&self) -> postroom_model::connection::Connection {
        connection(self.settings.clone())
    }

    pub(crate) fn now(&self) -> postroom_model::Timestamp {
        self.env.now()
    }

    /// Moves the clock of sandbox and client by days.
    pub(crate) async fn advance(&self, days: i64) {
        self.clock.advance(jiff::SignedDuration::from_hours(24 * days));
    }

    /// A sender that knows nothing of any other.
    pub(crate) async fn sender(&self) -> Box<dyn Sender> {
        self.wire().sender(&connection(self.settings.clone())).await.unwrap()
    }

    pub(crate) async fn source(&self, at: &str) -> Box<dyn Source> {
        self.wire().source(&connection(self.settings.clone()), &mailbox(at)).await.unwrap()
    }

    /// A client that calls with the application's token.
    pub(crate) fn graph(&self) -> postroom_graph::GraphClient {
        let secret = Some(self.secret.clone().into());
        let settings = ConnectionSettings { api: ExchangeApi::Graph, ..self.settings.clone() };
        self.wire().graph_for(&settings, secret).unwrap()
    }

    /// A dial of the tenant.
    pub(crate) async fn dial(&self, path: &str, body: Value) {
        let url = format!("{}/_sandbox/{path}", self.sandbox.ready().graph);
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
    }

    /// Runs a script of Exchange Online PowerShell.
    pub(crate) async fn exchange(&self, script: String) {
        let url = format!("{}/_sandbox/exchange", self.sandbox.ready().graph);
        let answer = self.http.post(url).body(script).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    pub(crate) async fn fault(&self, fault: Value) {
        self.dial("faults", fault).await;
    }

    /// A raw message into an inbox.
    pub(crate) async fn deliver(&self, to: &str, raw: impl Into<reqwest::Body>) {
        let url = format!("{}/_sandbox/deliver?to={to}", self.sandbox.ready().graph);
        assert_eq!(self.http.post(url).body(raw).send().await.unwrap().status(), 201);
    }

    /// The requests so far, as `POST /v1.0/...`, newest last.
    pub(crate) async fn requests(&self) -> Vec<String> {
        let url = format!("{}/_sandbox/requests", self.sandbox.ready().graph);
        let log: Vec<Value> = self.http.get(url).send().await.unwrap().json().await.unwrap();
        let line =
            |one: &Value| format!("{} {}", one["method"].as_str().unwrap(), one["path"].as_str().unwrap());
        log.iter().map(line).collect()
    }

    /// How many requests of this method hold these words in their path.
    pub(crate) async fn count(&self, method: &str, words: &str) -> usize {
        let meets = |line: &&String| line.starts_with(method) && line.contains(words);
        self.requests().await.iter().filter(meets).count()
    }

    /// All messages of an inbox, as they are read.
    pub(crate) async fn inbox(&self, at: &str) -> Vec<Vec<u8>> {
        let source = self.source(at).await;
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let page = source.changes(cursor.as_deref()).await.unwrap();
            for message in page.messages {
                let mut raw = Vec::new();
                let size = source.fetch(&message.provider_id, 200_000_000, &mut raw).await.unwrap();
                assert_eq!(size, Some(raw.len() as u64));
                found.push(raw);
            }
            if !page.more {
                return found;
            }
            cursor = Some(page.cursor);
        }
    }
}
