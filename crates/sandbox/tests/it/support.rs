//! A running sandbox and a client that speaks to it.

use std::sync::Arc;

use postroom_model::Env;
use postroom_model::env::ManualClock;
use postroom_sandbox::{Sandbox, SandboxOptions};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

pub(crate) const TOOLS: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";
pub(crate) const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
pub(crate) const GRAPH_SCOPE: &str = "https://graph.microsoft.com/.default";

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) client: Client,
    pub(crate) admin: String,
}

/// An application with a secret.
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) object: String,
    pub(crate) principal: String,
    pub(crate) secret: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::at(None).await
    }

    pub(crate) async fn at(data: Option<std::path::PathBuf>) -> Self {
        Self::started(data, |_| {}).await
    }

    /// With options of its own.
    pub(crate) async fn with(change: impl FnOnce(&mut SandboxOptions)) -> Self {
        Self::started(None, change).await
    }

    async fn started(data: Option<std::path::PathBuf>, change: impl FnOnce(&mut SandboxOptions)) -> Self {
        let (env, clock) = Env::for_test(11);
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut options = SandboxOptions::new(listen, env);
        options.data = data;
        change(&mut options);
        let trusted = options.tls_certificate.clone();
        let sandbox = Sandbox::start(options).await.unwrap();
        let mut client = Client::builder().no_proxy();
        if let Some(file) = &trusted {
            let authority = reqwest::Certificate::from_pem(&std::fs::read(file).unwrap()).unwrap();
            client = client.add_root_certificate(authority);
        }
        let client = client.build().unwrap();
        let mut world = Self { sandbox, clock, client, admin: String::new() };
        let admin = world.sandbox.ready().admin.clone();
        world.admin = world.user_token(TOOLS, &admin.user, &admin.password).await;
        world
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.ready().graph)
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.sandbox.ready().tenant_id
    }

    /// A token request: status and body.
    pub(crate) async fn ask(&self, tenant: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let url = self.url(&format!("/{tenant}/oauth2/v2.0/token"));
        let response = self.client.post(url).form(form).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub(crate) async fn user_token(&self, client: &str, user: &str, password: &str) -> String {
        let form = [
            ("grant_type", "password"),
            ("client_id", client),
            ("scope", GRAPH_SCOPE),
            ("username", user),
            ("password", password),
        ];
        let (status, body) = self.ask("contoso.example", &form).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn app_token(&self, app: &App) -> String {
        self.app_token_for(app, GRAPH_SCOPE).await
    }

    pub(crate) async fn app_token_for(&self, app: &App, scope: &str) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &app.id),
            ("client_secret", &app.secret),
            ("scope", scope),
        ];
        let (status, body) = self.ask(self.tenant(), &form).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn request(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth(token)
    }

    /// One call with a JSON body or none: status and JSON answer.
    pub(crate) async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.request(token, method, path);
        if !body.is_null() {
            request = request.json(&body);
        }
        answer(request).await
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Value {
        let (status, body) = self.call(token, Method::GET, path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Registers an application with these Graph roles, as the administrator.
    pub(crate) async fn app(&self, roles: &[&str]) -> App {
        let post = async |path: &str, body: Value| {
            let (status, body) = self.call(&self.admin, Method::POST, path, body).await;
            assert!([200, 201].contains(&status), "{path}: {body}");
            body
        };
        let application = post("/v1.0/applications", json!({"displayName": "Mail connector"})).await;
        let object = text(&application["id"]);
        let id = text(&application["appId"]);
        let principal = text(&post("/v1.0/servicePrincipals", json!({"appId": id})).await["id"]);
        let secret = post(&format!("/v1.0/applications/{object}/addPassword"), Value::Null).await;
        let app = App { id, object, principal, secret: text(&secret["secretText"]) };
        self.grant(&app, GRAPH, roles).await;
        app
    }

    /// Grants an application these roles of a resource, as the administrator.
    pub(crate) async fn grant(&self, app: &App, resource: &str, roles: &[&str]) {
        let owner = self.get(&self.admin, &format!("/v1.0/servicePrincipals(appId='{resource}')")).await;
        for wanted in roles {
            let known =
                owner["appRoles"].as_array().unwrap().iter().find(|role| role["value"] == *wanted).unwrap();
            let grant =
                json!({"principalId": app.principal, "resourceId": owner["id"], "appRoleId": known["id"]});
            let path = format!("/v1.0/servicePrincipals/{}/appRoleAssignments", app.principal);
            let (status, body) = self.call(&self.admin, Method::POST, &path, grant).await;
            assert_eq!(status, 201, "{body}");
        }
    }

    /// Runs a script of Exchange.
    pub(crate) async fn script(&self, text: &str) -> Value {
        let request = self.client.post(self.url("/_sandbox/exchange")).body(text.to_owned());
        let (status, body) = answer(request).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The tenant's dials: a POST with a JSON body.
    pub(crate) async fn dial(&self, name: &str, body: Value) -> Value {
        let (status, body) =
            answer(self.client.post(self.url(&format!("/_sandbox/{name}"))).json(&body)).await;
        assert!(status < 300, "{body}");
        body
    }

    /// The token of a fresh application with these roles.
    pub(crate) async fn token_with(&self, roles: &[&str]) -> String {
        self.app_token(&self.app(roles).await).await
    }

    /// Foreign mail into an inbox; gives the ids.
    pub(crate) async fn deliver(&self, to: &str, raw: &str) -> Value {
        let request = self.client.post(self.url(&format!("/_sandbox/deliver?to={to}"))).body(raw.to_owned());
        let (status, body) = answer(request).await;
        assert_eq!(status, 201, "{body}");
        body
    }

    pub(crate) async fn fault(&self, fault: Value) {
        let request = self.client.post(self.url("/_sandbox/faults")).json(&fault);
        assert_eq!(answer(request).await.0, 204);
    }

    pub(crate) async fn outside(&self) -> Value {
        answer(self.client.get(self.url("/_sandbox/outside"))).await.1
    }
}

pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// An id as it goes into a path.
pub(crate) fn encoded(id: &Value) -> String {
    id.as_str().unwrap().replace('=', "%3D")
}

pub(crate) fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap_or_default()
}

pub(crate) const MAIL: &[&str] = &["Mail.ReadWrite", "Mail.Send"];

/// So many days, for the clock.
pub(crate) fn days(count: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_hours(24 * count)
}
