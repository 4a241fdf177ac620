//! A tenant on this machine, and an application that may send and read in it by every door.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use postroom_entra::TokenClient;
use postroom_entra::http::{HttpSettings, ProxySettings, client};
use postroom_model::connection::{
    AuthenticationFlow, Cloud, ConnectionKind, ConnectionSettings, Endpoints, ExchangeApi, TlsMode,
};
use postroom_model::credential::Credential;
use postroom_model::env::ManualClock;
use postroom_model::failure::Failure;
use postroom_model::{ConnectionId, Env, SecretString};
use postroom_sandbox::{Sandbox, SandboxOptions};
use postroom_transport::imap::{ImapSource, Limits};
use postroom_transport::{Account, Credentials, Sender, Source, Wire};
use serde_json::{Value, json};

use crate::line::Line;

const TOOLS: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";
/// What the application may do: at Graph, and at the doors of Exchange.
const ROLES: [(&str, &[&str]); 2] = [
    (GRAPH, &["Mail.ReadWrite", "Mail.Send"]),
    (EXCHANGE, &["IMAP.AccessAsApp", "SMTP.SendAsApp", "full_access_as_app"]),
];

/// A way into the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Graph,
    Ews,
    Imap,
    Smtp,
}

/// The running tenant, and a line to one of its doors.
pub(crate) struct Tenant {
    sandbox: Sandbox,
    http: reqwest::Client,
    clock: Arc<ManualClock>,
    env: Env,
    admin: String,
    application: Application,
    settings: ConnectionSettings,
    pub(crate) line: Line,
    /// Assignments of roles, by their ids.
    granted: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Application {
    id: String,
    principal: String,
    secret: String,
}

/// Nothing is stored here: each client is given its secret.
struct Nothing;

#[async_trait]
impl Credentials for Nothing {
    async fn current(&self, _: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure> {
        Ok(None)
    }
}

/// A wire that nobody used before.
pub(crate) fn wire(env: &Env) -> Wire {
    let settings = HttpSettings { proxy: ProxySettings::default(), ..HttpSettings::default() };
    let http = client(&settings).unwrap();
    let tokens = Arc::new(TokenClient::new(http.clone(), env.clone()));
    Wire::new(http, tokens, Arc::new(Nothing), env.clone())
}

/// A source of IMAP whose pages are as small as those of the other services, so that every scenario has several.
pub(crate) fn in_small_pages(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    account: &Account,
) -> ImapSource {
    let limits = Limits { page: 50, ..Limits::default() };
    ImapSource::new(wire, settings, secret, account).unwrap().limits(limits)
}

fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

impl Tenant {
    /// A tenant whose application may do everything in these mailboxes.
    pub(crate) async fn new(door: Door, mailboxes: &[&str]) -> Self {
        let (env, clock) = Env::for_test(11);
        let mut options = SandboxOptions::new("127.0.0.1:0".parse().unwrap(), env.clone());
        options.limits.message_bytes = crate::sender::LARGEST_BY_SMTP;
        let sandbox = Sandbox::start(options).await.unwrap();
        let http =
            client(&HttpSettings { proxy: ProxySettings::default(), ..HttpSettings::default() }).unwrap();
        let ready = sandbox.ready();
        let line = Line::to(match door {
            Door::Graph | Door::Ews => sandbox.address().port(),
            Door::Imap => port_of(&ready.imap),
            Door::Smtp => port_of(&ready.smtp),
        })
        .await;
        let settings = settings(door, line.port, &ready.authority);
        let mut tenant = Self {
            sandbox,
            http,
            clock,
            env,
            admin: String::new(),
            application: Application::default(),
            settings,
            line,
            granted: Mutex::default(),
        };
        tenant.register().await;
        tenant.permit(mailboxes).await;
        tenant
    }

    async fn register(&mut self) {
        let admin = &self.sandbox.ready().admin;
        let scope = "https://graph.microsoft.com/.default";
        self.admin = self
            .token(&[
                ("grant_type", "password"),
                ("client_id", TOOLS),
                ("scope", scope),
                ("username", &admin.user),
                ("password", &admin.password),
            ])
            .await;
        let application = self.post("applications", json!({"displayName": "Mail connector"})).await;
        let principal = self.post("servicePrincipals", json!({"appId": application["appId"]})).await;
        let (id, principal) = (text(&application["appId"]), text(&principal["id"]));
        let path = format!("applications/{}/addPassword", text(&application["id"]));
        let secret = text(&self.post(&path, json!({})).await["secretText"]);
        self.exchange(&format!("New-ServicePrincipal -AppId {id} -ObjectId {principal}")).await;
        self.exchange(&format!("Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs \"{id}\"")).await;
        self.settings.application_id.clone_from(&id);
        self.application = Application { id, principal, secret };
    }

    async fn token(&self, form: &[(&str, &str)]) -> String {
        let url = format!("{}/contoso.example/oauth2/v2.0/token", self.sandbox.ready().authority);
        let answer: Value = self.http.post(url).form(form).send().await.unwrap().json().await.unwrap();
        text(&answer["access_token"])
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.sandbox.ready().graph)
    }

    /// A request of the administrator.
    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(self.url(&format!("v1.0/{path}"))).bearer_auth(&self.admin).json(&body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    /// Takes every right away: roles, and the mailboxes that Exchange opens.
    pub(crate) async fn forbid(&self, mailboxes: &[&str]) {
        let principal = &self.application.principal;
        let granted = std::mem::take(&mut *self.granted.lock().unwrap());
        for id in granted {
            let path = format!("v1.0/servicePrincipals/{principal}/appRoleAssignments/{id}");
            let request = self.http.delete(self.url(&path)).bearer_auth(&self.admin);
            assert_eq!(request.send().await.unwrap().status(), 204);
        }
        for at in mailboxes {
            self.exchange(&format!(
                "Remove-MailboxPermission -Identity {at} -User {principal} -AccessRights FullAccess"
            ))
            .await;
        }
    }

    /// Gives every right.
    pub(crate) async fn permit(&self, mailboxes: &[&str]) {
        let principal = &self.application.principal;
        for (resource, roles) in ROLES {
            let url = self.url(&format!("v1.0/servicePrincipals(appId='{resource}')"));
            let request = self.http.get(url).bearer_auth(&self.admin);
            let owner: Value = request.send().await.unwrap().json().await.unwrap();
            for wanted in roles {
                let known = owner["appRoles"].as_array().unwrap();
                let role = known.iter().find(|role| role["value"] == *wanted).unwrap();
                let grant =
                    json!({"principalId": principal, "resourceId": owner["id"], "appRoleId": role["id"]});
                let path = format!("servicePrincipals/{principal}/appRoleAssignments");
                let id = text(&self.post(&path, grant).await["id"]);
                self.granted.lock().unwrap().push(id);
            }
        }
        for at in mailboxes {
            self.open(at).await;
        }
    }

    async fn open(&self, at: &str) {
        let principal = &self.application.principal;
        self.exchange(&format!(
            "Add-MailboxPermission -Identity {at} -User {principal} -AccessRights FullAccess"
        ))
        .await;
    }

    /// Makes a mailbox that was not there.
    pub(crate) async fn appear(&self, at: &str) {
        let body = json!({
            "accountEnabled": true, "displayName": "New desk", "mailNickname": "late", "userPrincipalName": at,
            "passwordProfile": {"password": "xWwvJ]6NMw+bWH-d"},
        });
        self.post("users", body).await;
        self.open(at).await;
    }

    async fn exchange(&self, line: &str) {
        let script = format!("Connect-ExchangeOnline\n{line}\n");
        let answer = self.http.post(self.url("_sandbox/exchange")).body(script).send().await.unwrap();
        assert!(answer.status().is_success(), "{line}: {}", answer.text().await.unwrap());
    }

    /// A fault of the next request that it meets.
    pub(crate) async fn fault(&self, fault: Value) {
        let answer = self.http.post(self.url("_sandbox/faults")).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{fault}: {}", answer.text().await.unwrap());
    }

    /// A raw message into an inbox, a second after the one before.
    pub(crate) async fn deliver(&self, to: &str, raw: &[u8]) {
        self.pass(1);
        let url = self.url(&format!("_sandbox/deliver?to={to}"));
        assert_eq!(self.http.post(url).body(raw.to_vec()).send().await.unwrap().status(), 201);
    }

    /// Moves the clock of tenant and clients.
    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.advance(jiff::SignedDuration::from_secs(seconds));
    }

    /// How often a request was refused because there were too many.
    pub(crate) async fn refused_as_too_many(&self) -> usize {
        let log: Vec<Value> =
            self.http.get(self.url("_sandbox/requests")).send().await.unwrap().json().await.unwrap();
        log.iter().filter(|one| one["status"] == 429).count()
    }

    /// The messages of an inbox as Graph tells them beside the line, oldest first.
    pub(crate) async fn inbox(&self, at: &str) -> Vec<Value> {
        let url = self.url(&format!(
            "v1.0/users/{at}/mailFolders/inbox/messages?$top=1000&$orderby=receivedDateTime&\
             $select=id,internetMessageId,isRead,flag,changeKey,lastModifiedDateTime,categories"
        ));
        let answer: Value = self
            .http
            .get(url)
            .bearer_auth(self.mail_token().await)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        answer["value"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// Its messages as they were stored, oldest first.
    pub(crate) async fn raws(&self, at: &str) -> Vec<Vec<u8>> {
        let token = self.mail_token().await;
        let mut raws = Vec::new();
        for message in self.inbox(at).await {
            let id = text(&message["id"]).replace('=', "%3D");
            let url = self.url(&format!("v1.0/users/{at}/messages/{id}/$value"));
            let answer = self.http.get(url).bearer_auth(&token).send().await.unwrap();
            raws.push(answer.bytes().await.unwrap().to_vec());
        }
        raws
    }

    /// Moves the oldest message of an inbox elsewhere.
    pub(crate) async fn move_oldest_away(&self, at: &str) {
        let id = text(&self.inbox(at).await[0]["id"]).replace('=', "%3D");
        let url = self.url(&format!("v1.0/users/{at}/messages/{id}/move"));
        let request = self.http.post(url).bearer_auth(self.mail_token().await);
        assert_eq!(request.json(&json!({"destinationId": "archive"})).send().await.unwrap().status(), 201);
    }

    async fn mail_token(&self) -> String {
        let scope = "https://graph.microsoft.com/.default";
        let Application { id, secret, .. } = &self.application;
        self.token(&[
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
            ("scope", scope),
        ])
        .await
    }

    fn secret(&self) -> Option<SecretString> {
        Some(self.application.secret.clone().into())
    }

    /// A source that knows nothing of any other, over the line.
    pub(crate) fn source(&self, at: &str) -> Box<dyn Source> {
        let account = Account::of(at.parse().unwrap());
        let wire = wire(&self.env);
        if self.settings.kind == ConnectionKind::Imap {
            return Box::new(in_small_pages(&wire, &self.settings, self.secret(), &account));
        }
        wire.source_for(&self.settings, self.secret(), &account).unwrap()
    }

    /// A sender that knows nothing of any other, over the line.
    pub(crate) fn sender(&self) -> Box<dyn Sender> {
        wire(&self.env).sender_for(&self.settings, self.secret()).unwrap()
    }
}

fn settings(door: Door, port: u16, authority: &str) -> ConnectionSettings {
    let mut settings = ConnectionSettings::new(match door {
        Door::Graph | Door::Ews => ConnectionKind::ExchangeOnline,
        Door::Imap => ConnectionKind::Imap,
        Door::Smtp => ConnectionKind::Smtp,
    });
    settings.api = if door == Door::Ews { ExchangeApi::Ews } else { ExchangeApi::Graph };
    settings.flow = AuthenticationFlow::ClientSecret;
    settings.tenant_id = "contoso.example".into();
    let here: url::Url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let authority = authority.parse().unwrap();
    settings.cloud = Cloud::Custom(Endpoints { authority, graph: here.clone(), exchange: Some(here) });
    if matches!(door, Door::Imap | Door::Smtp) {
        settings.server = "127.0.0.1".into();
        settings.port = port;
        settings.tls = TlsMode::Plain;
    }
    settings
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
