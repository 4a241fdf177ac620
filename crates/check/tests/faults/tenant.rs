//! A tenant in memory with an application that may read and send, registered in plain HTTP so that this does not lean
//! on the code under test.

use std::sync::Arc;

use postroom_check::CheckRequest;
use postroom_model::connection::{AuthenticationFlow, Cloud, ConnectionKind, ConnectionSettings, Endpoints};
use postroom_model::{Clock, Env, SecretString, Timestamp};
use postroom_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};

/// The mailbox that is checked.
pub(crate) const ORDERS: &str = "orders@contoso.example";

/// The time of this machine: HTTP answers carry it, and the clocks are compared.
struct Wall;

impl Clock for Wall {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The tenant and what is needed to reach it.
pub(crate) struct Tenant {
    sandbox: Sandbox,
    http: reqwest::Client,
    application: String,
    secret: String,
    pub(crate) env: Env,
}

impl Tenant {
    pub(crate) async fn start() -> Self {
        let env = Env::new(Arc::new(Wall), Arc::new(postroom_model::env::SeededRandom::new(7)));
        let options = SandboxOptions::new("127.0.0.1:0".parse().unwrap(), env.clone());
        let sandbox = Sandbox::start(options).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut tenant = Self { sandbox, http, application: String::new(), secret: String::new(), env };
        tenant.register().await;
        tenant
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.sandbox.ready().graph)
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Value {
        let url = self.url(&format!("v1.0/{path}"));
        let answer = self.http.post(url).bearer_auth(token).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn register(&mut self) {
        let ready = self.sandbox.ready().clone();
        let form = [
            ("grant_type", "password"),
            ("client_id", "14d82eec-204b-4c2f-b7e8-296a70dab67e"),
            ("scope", "https://graph.microsoft.com/.default"),
            ("username", &ready.admin.user),
            ("password", &ready.admin.password),
        ];
        let url = self.url(&format!("{}/oauth2/v2.0/token", ready.tenant_id));
        let answer: Value = self.http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let application = json!({"displayName": "Postroom", "signInAudience": "AzureADMyOrg", "isFallbackPublicClient": true});
        let application = self.post(&token, "applications", application).await;
        let app_id = application["appId"].as_str().unwrap().to_owned();
        let principal = self.post(&token, "servicePrincipals", json!({"appId": app_id})).await;
        let filter = "v1.0/servicePrincipals?$filter=appId%20eq%20'00000003-0000-0000-c000-000000000000'";
        let graph: Value =
            self.http.get(self.url(filter)).bearer_auth(&token).send().await.unwrap().json().await.unwrap();
        let graph = &graph["value"][0];
        for wanted in ["Mail.ReadWrite", "Mail.Send"] {
            let roles = graph["appRoles"].as_array().unwrap();
            let role = roles.iter().find(|role| role["value"] == wanted).unwrap();
            let path = format!("servicePrincipals/{}/appRoleAssignments", principal["id"].as_str().unwrap());
            let body =
                json!({"principalId": principal["id"], "resourceId": graph["id"], "appRoleId": role["id"]});
            self.post(&token, &path, body).await;
        }
        let path = format!("applications/{}/addPassword", application["id"].as_str().unwrap());
        let secret = self.post(&token, &path, json!({"passwordCredential": {"displayName": "test"}})).await;
        self.application = app_id;
        self.secret = secret["secretText"].as_str().unwrap().to_owned();
    }

    /// A check of this tenant in which nothing is wrong.
    pub(crate) fn request(&self) -> CheckRequest {
        let ready = self.sandbox.ready();
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.name = "Contoso 365".to_owned();
        settings.tenant_id = ready.tenant_id.clone();
        settings.application_id = self.application.clone();
        settings.flow = AuthenticationFlow::ClientSecret;
        settings.cloud = Cloud::Custom(Endpoints {
            authority: ready.authority.parse().unwrap(),
            graph: ready.graph.parse().unwrap(),
            exchange: None,
        });
        let mut request = CheckRequest::new(settings, Some(SecretString::from(self.secret.clone())));
        request.mailboxes = vec![ORDERS.parse().unwrap()];
        request
    }

    pub(crate) async fn fault(&self, fault: &Value) {
        let answer = self.http.post(self.url("_sandbox/faults")).json(fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{fault}: {}", answer.text().await.unwrap());
    }

    pub(crate) async fn clear_faults(&self) {
        self.http.delete(self.url("_sandbox/faults")).send().await.unwrap();
    }
}
