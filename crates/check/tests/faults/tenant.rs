//! A tenant in memory with applications that may read and send, registered in plain HTTP so that this does not lean
//! on the code under test.

use std::sync::Arc;

use postroom_check::CheckRequest;
use postroom_model::connection::{
    AuthenticationFlow, Cloud, ConnectionKind, ConnectionSettings, Endpoints, ExchangeApi, TlsMode,
};
use postroom_model::{Clock, Env, SecretString, Timestamp};
use postroom_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

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

/// By what the tenant's mailboxes are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Graph,
    Ews,
    Imap,
    Smtp,
}

/// An application in the tenant.
#[derive(Default)]
struct Application {
    id: String,
    principal: String,
    secret: String,
}

/// The tenant and what is needed to reach it.
pub(crate) struct Tenant {
    sandbox: Sandbox,
    http: reqwest::Client,
    /// For Microsoft Graph.
    graph: Application,
    /// For EWS, IMAP and SMTP.
    exchange: Application,
    pub(crate) env: Env,
}

/// `appId` of Microsoft Graph and of Office 365 Exchange Online.
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";

impl Tenant {
    pub(crate) async fn start() -> Self {
        let env = Env::new(Arc::new(Wall), Arc::new(postroom_model::env::SeededRandom::new(7)));
        let options = SandboxOptions::new("127.0.0.1:0".parse().unwrap(), env.clone());
        let sandbox = Sandbox::start(options).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (graph, exchange) = (Application::default(), Application::default());
        let mut tenant = Self { sandbox, http, graph, exchange, env };
        let token = tenant.administrator().await;
        tenant.graph = tenant.register(&token, GRAPH, &["Mail.ReadWrite", "Mail.Send"]).await;
        let rights = ["full_access_as_app", "IMAP.AccessAsApp", "SMTP.SendAsApp"];
        tenant.exchange = tenant.register(&token, EXCHANGE, &rights).await;
        let Application { id, principal, .. } = &tenant.exchange;
        tenant
            .exchange(&format!(
                "New-ServicePrincipal -AppId {id} -ObjectId {principal}\n\
                 Add-MailboxPermission -Identity {ORDERS} -User {principal} -AccessRights FullAccess\n\
                 Add-RecipientPermission -Identity {ORDERS} -Trustee {principal} -AccessRights SendAs -Confirm:$false\n\
                 Set-CASMailbox -Identity {ORDERS} -ImapEnabled $true -SmtpClientAuthenticationDisabled $false\n\
                 Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs \"{id}\""
            ))
            .await;
        tenant
    }

    /// Runs lines for Exchange.
    pub(crate) async fn exchange(&self, lines: &str) {
        let url = self.url("_sandbox/exchange");
        let answer = self.http.post(url).body(lines.to_owned()).send().await.unwrap();
        assert!(answer.status().is_success(), "{lines}: {}", answer.text().await.unwrap());
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

    async fn administrator(&self) -> String {
        let ready = self.sandbox.ready();
        let form = [
            ("grant_type", "password"),
            ("client_id", "14d82eec-204b-4c2f-b7e8-296a70dab67e"),
            ("scope", "https://graph.microsoft.com/.default"),
            ("username", &ready.admin.user),
            ("password", &ready.admin.password),
        ];
        let url = self.url(&format!("{}/oauth2/v2.0/token", ready.tenant_id));
        let answer: Value = self.http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// An application with these rights to an API.
    async fn register(&self, token: &str, api: &str, rights: &[&str]) -> Application {
        let application = json!({"displayName": "Postroom", "signInAudience": "AzureADMyOrg", "isFallbackPublicClient": true});
        let application = self.post(token, "applications", application).await;
        let app_id = application["appId"].as_str().unwrap().to_owned();
        let principal = self.post(token, "servicePrincipals", json!({"appId": app_id})).await;
        let filter = format!("v1.0/servicePrincipals?$filter=appId%20eq%20'{api}'");
        let found: Value =
            self.http.get(self.url(&filter)).bearer_auth(token).send().await.unwrap().json().await.unwrap();
        let found = &found["value"][0];
        for wanted in rights {
            let roles = found["appRoles"].as_array().unwrap();
            let role = roles.iter().find(|role| role["value"] == *wanted).unwrap();
            let path = format!("servicePrincipals/{}/appRoleAssignments", principal["id"].as_str().unwrap());
            let body =
                json!({"principalId": principal["id"], "resourceId": found["id"], "appRoleId": role["id"]});
            self.post(token, &path, body).await;
        }
        let path = format!("applications/{}/addPassword", application["id"].as_str().unwrap());
        let secret = self.post(token, &path, json!({"passwordCredential": {"displayName": "test"}})).await;
        Application {
            id: app_id,
            principal: principal["id"].as_str().unwrap().to_owned(),
            secret: secret["secretText"].as_str().unwrap().to_owned(),
        }
    }

    /// A check of this tenant in which nothing is wrong.
    pub(crate) fn request(&self, door: Door) -> CheckRequest {
        let ready = self.sandbox.ready();
        let kind = match door {
            Door::Graph | Door::Ews => ConnectionKind::ExchangeOnline,
            Door::Imap => ConnectionKind::Imap,
            Door::Smtp => ConnectionKind::Smtp,
        };
        let mut settings = ConnectionSettings::new(kind);
        settings.name = "Contoso 365".to_owned();
        settings.tenant_id = ready.tenant_id.clone();
        settings.flow = AuthenticationFlow::ClientSecret;
        settings.cloud = Cloud::Custom(Endpoints {
            authority: ready.authority.parse().unwrap(),
            graph: ready.graph.parse().unwrap(),
            exchange: Some(ready.authority.parse().unwrap()),
        });
        let application = if door == Door::Graph { &self.graph } else { &self.exchange };
        settings.application_id = application.id.clone();
        if door == Door::Ews {
            settings.api = ExchangeApi::Ews;
        }
        if let Door::Imap | Door::Smtp = door {
            let address = if door == Door::Imap { &ready.imap } else { &ready.smtp };
            let (host, port) = address.rsplit_once(':').unwrap();
            (settings.server, settings.port) = (host.to_owned(), port.parse().unwrap());
            settings.tls = TlsMode::Plain;
        }
        let mut request = CheckRequest::new(settings, Some(SecretString::from(application.secret.clone())));
        request.mailboxes = vec![ORDERS.parse().unwrap()];
        request
    }

    /// A server in front of Exchange whose policy lets nobody use EWS, for this reason.
    pub(crate) async fn closed_front(&self, reason: &'static str) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                head(&mut stream).await;
                let answer = format!(
                    "HTTP/1.1 403 Forbidden\r\nX-EWS-Policy-Reason: {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        format!("http://{address}").parse().unwrap()
    }

    /// Makes a mailbox one of another kind.
    pub(crate) async fn kind(&self, user: &str, kind: &str) {
        let body = json!({"user": user, "kind": kind});
        let answer = self.http.post(self.url("_sandbox/mailboxes")).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Another application with these rights to Microsoft Graph: its id and secret.
    pub(crate) async fn another(&self, rights: &[&str]) -> (String, String) {
        let token = self.administrator().await;
        let made = self.register(&token, GRAPH, rights).await;
        (made.id, made.secret)
    }

    /// The subscriptions of the application.
    pub(crate) async fn subscriptions(&self) -> Value {
        let (token, url) = (self.application_token().await, self.url("v1.0/subscriptions"));
        let answer = self.http.get(url).bearer_auth(token).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["value"].clone()
    }

    /// Drafts of the mailbox that is checked.
    pub(crate) async fn drafts(&self) -> u64 {
        let token = self.application_token().await;
        let url = self.url(&format!("v1.0/users/{ORDERS}/mailFolders/drafts"));
        let answer = self.http.get(url).bearer_auth(token).send().await.unwrap();
        let folder: Value = answer.json().await.unwrap();
        folder["totalItemCount"].as_u64().unwrap_or_else(|| panic!("{folder}"))
    }

    async fn application_token(&self) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", self.graph.id.as_str()),
            ("client_secret", self.graph.secret.as_str()),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        let url = self.url(&format!("{}/oauth2/v2.0/token", self.sandbox.ready().tenant_id));
        let answer: Value = self.http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// An address that says back the token by which Microsoft proves that it is served.
    pub(crate) async fn receiver(&self) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = head(&mut stream).await;
                let path = seen.split(' ').nth(1).unwrap_or_default();
                let url = Url::parse(&format!("http://x{path}")).unwrap();
                let token = url.query_pairs().find(|(name, _)| name == "validationToken");
                let token = token.map(|(_, token)| token.into_owned()).unwrap_or_default();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{token}",
                    token.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        format!("http://{address}/api/v1/notifications/graph").parse().unwrap()
    }

    pub(crate) async fn fault(&self, fault: &Value) {
        let answer = self.http.post(self.url("_sandbox/faults")).json(fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{fault}: {}", answer.text().await.unwrap());
    }

    pub(crate) async fn clear_faults(&self) {
        self.http.delete(self.url("_sandbox/faults")).send().await.unwrap();
    }
}

/// A request to the end of its headers.
async fn head(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0; 8192];
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => seen.extend_from_slice(&chunk[..read]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}
