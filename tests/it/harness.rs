//! Processes of the real binary, and a tenant to work with.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The longest any single fact is waited for; a test that gets here is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls `look` until it gives something. `what` names the fact in the failure.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    within(PATIENCE, what, look).await
}

/// The same for what takes longer by its nature.
pub(crate) async fn within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < patience, "waited {patience:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A process that is killed when the test ends.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(mut command: Command, log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    /// SIGKILL: no chance to finish anything.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.ended()
    }

    /// SIGTERM.
    pub(crate) fn ask_to_stop(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// The exit code, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tenant, an application registered in it, and a data folder of Postroom.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) http: reqwest::Client,
    _sandbox: Process,
    pub(crate) ready: Value,
    pub(crate) application_id: String,
    pub(crate) secret: String,
}

impl World {
    /// A tenant with an application that may read and send.
    pub(crate) async fn new() -> Self {
        Self::start(false, &["Mail.ReadWrite", "Mail.Send"]).await
    }

    /// A tenant with an application that nobody has consented to.
    pub(crate) async fn without_consent() -> Self {
        Self::start(false, &[]).await
    }

    /// A tenant over TLS, with a certificate that [`World::ca_file`] names.
    pub(crate) async fn with_tls() -> Self {
        Self::start(true, &["Mail.ReadWrite", "Mail.Send"]).await
    }

    async fn start(tls: bool, roles: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ready_file = folder.path().join("tenant.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--ready-file"]).arg(&ready_file);
        command.arg("--data").arg(folder.path().join("tenant"));
        let certificate = folder.path().join("tenant.pem");
        if tls {
            command.arg("--tls-certificate").arg(&certificate);
        }
        let sandbox = Process::start(command, folder.path().join("tenant.log"));
        let ready = ready_json(&ready_file).await;
        let mut http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        if tls {
            let pem = std::fs::read(&certificate).unwrap();
            http = http.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]);
        }
        let http = http.build().unwrap();
        let mut world = Self {
            folder,
            http,
            _sandbox: sandbox,
            ready,
            application_id: String::new(),
            secret: String::new(),
        };
        world.register(roles).await;
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn graph(&self, path: &str) -> String {
        format!("{}/v1.0/{path}", self.ready["graph"].as_str().unwrap())
    }

    async fn admin_token(&self) -> String {
        let tenant = self.ready["tenant_id"].as_str().unwrap();
        let token_url = format!("{}/{tenant}/oauth2/v2.0/token", self.ready["authority"].as_str().unwrap());
        let form = [
            ("grant_type", "password"),
            ("client_id", "14d82eec-204b-4c2f-b7e8-296a70dab67e"),
            ("scope", "https://graph.microsoft.com/.default"),
            ("username", self.ready["admin"]["user"].as_str().unwrap()),
            ("password", self.ready["admin"]["password"].as_str().unwrap()),
        ];
        let answer: Value = self.http.post(token_url).form(&form).send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// A1 to A22 in plain HTTP, so that the tests do not lean on the code under test.
    async fn register(&mut self, granted: &[&str]) {
        let token = &self.admin_token().await;
        let post = async |path: &str, body: Value| -> Value {
            let answer =
                self.http.post(self.graph(path)).bearer_auth(token).json(&body).send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert!(status.is_success(), "{path}: {status} {text}");
            serde_json::from_str(&text).unwrap()
        };
        let application =
            post("applications", json!({"displayName": "Postroom", "signInAudience": "AzureADMyOrg"})).await;
        let app_id = application["appId"].as_str().unwrap().to_owned();
        let principal = post("servicePrincipals", json!({"appId": app_id})).await;
        let filter = "servicePrincipals?$filter=appId%20eq%20'00000003-0000-0000-c000-000000000000'";
        let graph: Value =
            self.http.get(self.graph(filter)).bearer_auth(token).send().await.unwrap().json().await.unwrap();
        let graph = &graph["value"][0];
        for wanted in granted {
            let roles = graph["appRoles"].as_array().unwrap();
            let role = roles.iter().find(|role| role["value"] == **wanted).unwrap();
            let path = format!("servicePrincipals/{}/appRoleAssignments", principal["id"].as_str().unwrap());
            post(
                &path,
                json!({"principalId": principal["id"], "resourceId": graph["id"], "appRoleId": role["id"]}),
            )
            .await;
        }
        let path = format!("applications/{}/addPassword", application["id"].as_str().unwrap());
        let secret = post(&path, json!({"passwordCredential": {"displayName": "test"}})).await;
        self.application_id = app_id;
        self.secret = secret["secretText"].as_str().unwrap().to_owned();
    }

    /// `postroom` on this world's data folder.
    pub(crate) fn command(&self) -> Command {
        self.command_on("data")
    }

    /// `postroom` on another folder of this world.
    pub(crate) fn command_on(&self, folder: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
        command.current_dir(self.folder.path()).arg("--data").arg(self.path(folder));
        for (name, _) in std::env::vars() {
            if name.starts_with("POSTROOM_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Runs a command that must succeed and gives its stdout.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{words}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with this exit code and gives its stderr.
    pub(crate) async fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{words}");
        words
    }

    /// Saves a connection to the tenant, which sends by default.
    pub(crate) async fn connect(&self) {
        self.connect_by("client-secret", &self.secret).await;
    }

    /// The same by another flow, with what that flow keeps as its secret.
    pub(crate) async fn connect_by(&self, flow: &str, kept: &str) {
        let secret = self.path("secret.txt");
        std::fs::write(&secret, kept).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (tenant, authority, graph) =
            (text(&self.ready["tenant_id"]), text(&self.ready["authority"]), text(&self.ready["graph"]));
        let arguments = [
            "connection",
            "save",
            "--name",
            "Contoso 365",
            "--kind",
            "exchange-online",
            "--flow",
            flow,
            "--tenant-id",
            &tenant,
            "--application-id",
            &self.application_id,
            "--secret-file",
            secret.to_str().unwrap(),
            "--authority",
            &authority,
            "--graph",
            &graph,
            "--outgoing",
        ];
        self.ok(&arguments).await;
    }

    /// Starts `postroom serve`; further arguments may follow.
    pub(crate) async fn serve(&self) -> Server {
        self.serve_with(self.command()).await
    }

    /// The same with a prepared command, which must be `postroom` with its global arguments.
    pub(crate) async fn serve_with(&self, mut command: Command) -> Server {
        let ready_file = self.path("serve.json");
        let _ = std::fs::remove_file(&ready_file);
        command.args(["serve", "--listen", "127.0.0.1:0", "--ready-file"]).arg(&ready_file);
        let process = Process::start(command, self.path("serve.log"));
        let ready = ready_json(&ready_file).await;
        Server { process, url: ready["url"].as_str().unwrap().to_owned(), http: self.http.clone() }
    }

    /// Makes an API key.
    pub(crate) async fn api_key(&self, name: &str) -> String {
        self.ok(&["apikey", "create", name]).await.trim().to_owned()
    }

    /// Drops foreign mail into a mailbox.
    pub(crate) async fn deliver(&self, to: &str, raw: &[u8]) {
        let url = format!("{}/_sandbox/deliver", self.ready["graph"].as_str().unwrap());
        let request = self.http.post(url).query(&[("to", to)]).body(raw.to_vec());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Every mail that left the tenant.
    pub(crate) async fn outside(&self) -> Vec<Value> {
        let url = format!("{}/_sandbox/outside", self.ready["graph"].as_str().unwrap());
        let answer: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        answer.as_array().unwrap().clone()
    }

    /// How often a message with this `Message-ID` left the tenant.
    pub(crate) async fn left(&self, message_id: &str) -> usize {
        let mails = self.outside().await;
        mails.iter().filter(|mail| mail["raw"].as_str().unwrap().contains(message_id)).count()
    }

    /// Makes the tenant misbehave.
    pub(crate) async fn fault(&self, fault: Value) {
        let url = format!("{}/_sandbox/faults", self.ready["graph"].as_str().unwrap());
        let answer = self.http.post(url).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The tenant behaves again.
    pub(crate) async fn no_faults(&self) {
        let url = format!("{}/_sandbox/faults", self.ready["graph"].as_str().unwrap());
        assert!(self.http.delete(url).send().await.unwrap().status().is_success());
    }

    /// Moves the tenant's clock.
    pub(crate) async fn advance(&self, seconds: i64) {
        let url = format!("{}/_sandbox/clock", self.ready["graph"].as_str().unwrap());
        let answer = self.http.post(url).json(&json!({"advance_seconds": seconds})).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The certificate of a tenant over TLS.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.path("tenant.pem")
    }

    /// Gives the application EWS's role, and puts it on the list of those that EWS lets in.
    pub(crate) async fn allow_ews(&self) {
        let token = &self.admin_token().await;
        let id = &self.application_id;
        let principal = async |app_id: &str| -> Value {
            let url = self.graph(&format!("servicePrincipals(appId='{app_id}')"));
            self.http.get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap()
        };
        let (own, exchange) = (principal(id).await, principal("00000002-0000-0ff1-ce00-000000000000").await);
        let roles = exchange["appRoles"].as_array().unwrap();
        let role = roles.iter().find(|role| role["value"] == "full_access_as_app").unwrap();
        let grant = json!({"principalId": own["id"], "resourceId": exchange["id"], "appRoleId": role["id"]});
        let path = format!("servicePrincipals/{}/appRoleAssignments", own["id"].as_str().unwrap());
        let answer = self.http.post(self.graph(&path)).bearer_auth(token).json(&grant).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        let url = format!("{}/_sandbox/exchange", self.ready["graph"].as_str().unwrap());
        let script = format!("Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs '{id}'");
        let answer = self.http.post(url).body(script).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The application trusts another provider's tokens.
    pub(crate) async fn trust(&self, federated: &Value) {
        let token = self.admin_token().await;
        let path = format!("applications(appId='{}')/federatedIdentityCredentials", self.application_id);
        let answer =
            self.http.post(self.graph(&path)).bearer_auth(token).json(federated).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// A certificate that the application may sign in with, made by OpenSSL.
    pub(crate) async fn certificate(&self) -> MadeCertificate {
        let (key_file, certificate_file) = (self.path("app.key"), self.path("app.pem"));
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "365",
            "-subj",
            "/CN=postroom-test",
        ]);
        command.arg("-keyout").arg(&key_file).arg("-out").arg(&certificate_file);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pem = std::fs::read_to_string(&certificate_file).unwrap();
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let body =
            json!({"keyCredentials": [{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64}]});
        let token = self.admin_token().await;
        let url = self.graph(&format!("applications(appId='{}')", self.application_id));
        let answer = self.http.patch(url).bearer_auth(token).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        let print = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
        let print = Command::new("openssl").args(print).arg(&certificate_file).output().unwrap();
        let print = String::from_utf8(print.stdout).unwrap();
        let thumbprint_sha256 = print.split_once('=').unwrap().1.trim().replace(':', "");
        MadeCertificate { key_file, certificate_file, thumbprint_sha256 }
    }

    /// What the tenant was asked: method, path, status.
    pub(crate) async fn requests(&self) -> Vec<Value> {
        let url = format!("{}/_sandbox/requests", self.ready["graph"].as_str().unwrap());
        let answer: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        answer.as_array().unwrap().clone()
    }
}

/// A certificate with its private key.
pub(crate) struct MadeCertificate {
    pub(crate) key_file: PathBuf,
    pub(crate) certificate_file: PathBuf,
    /// SHA-256 of the certificate in hexadecimal.
    pub(crate) thumbprint_sha256: String,
}

/// A running `postroom serve`.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
    http: reqwest::Client,
}

impl Server {
    /// `POST /api/v1/messages`.
    pub(crate) async fn submit(&self, key: &str, idempotency: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = self.http.post(format!("{}/api/v1/messages", self.url)).bearer_auth(key).json(body);
        if let Some(idempotency) = idempotency {
            request = request.header("idempotency-key", idempotency);
        }
        answer(request).await
    }

    /// `GET /api/v1/messages/{id}`.
    pub(crate) async fn message(&self, key: &str, id: &str) -> (u16, Value) {
        answer(self.http.get(format!("{}/api/v1/messages/{id}", self.url)).bearer_auth(key)).await
    }

    /// Waits until a message is in this state, and gives it.
    pub(crate) async fn reaches(&self, key: &str, id: &str, state: &str) -> Value {
        eventually(&format!("message {id} is {state}"), || async {
            let (_, message) = self.message(key, id).await;
            (message["state"] == state).then_some(message)
        })
        .await
    }
}

/// Status and JSON of an answer.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: no JSON: {text}"));
    (status, json)
}

async fn ready_json(path: &Path) -> Value {
    eventually(&format!("{} is written", path.display()), || async {
        let text = std::fs::read_to_string(path).ok()?;
        serde_json::from_str(&text).ok()
    })
    .await
}

/// An order confirmation to somebody outside the tenant.
pub(crate) fn confirmation(number: u32) -> Value {
    json!({
        "from": "Orders <orders@contoso.example>",
        "to": ["purchasing@fabrikam.example"],
        "subject": format!("Order {number}"),
        "text": "On its way",
    })
}
