//! No secret of a set-up or of a renewal in anything that they leave behind: what went over the wire, what was typed
//! and what was made here is searched for in every output, file, page and answer.

use std::collections::BTreeSet;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroom_model::{Env, ExposeSecret};
use postroom_store::{ConnectionStore, CredentialStore, KeyFile, SqlStore, SqliteOptions};
use serde_json::{Value, json};

use crate::credential::{
    RENEWED_WITHIN, administrator, credentials, grant, graph, object_id, short_certificate,
};
use crate::harness::{World, confirmation, eventually};
use crate::secrets::{files, holds, holds_token, log_on};
use crate::setup::{Administrator, CONNECTION, by_device_code, in_exchange, run_bash};
use crate::wiretap::Wiretap;

/// What a run said and left behind, and what must not be in it.
struct Search<'a> {
    world: &'a World,
    tap: Wiretap,
    secrets: BTreeSet<(&'static str, String)>,
    told: Vec<(String, Vec<u8>)>,
}

impl<'a> Search<'a> {
    fn new(world: &'a World, tap: Wiretap) -> Self {
        let password = world.ready["admin"]["password"].as_str().unwrap().to_owned();
        let secrets = [("the administrator's password", password), ("a client secret", world.secret.clone())];
        Self { world, tap, secrets: secrets.into(), told: Vec::new() }
    }

    /// Runs a command with everything logged. Gives its exit code and its output.
    async fn run(&mut self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.world.command();
        command.args(["--log", "trace"]).args(arguments).stdin(std::process::Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let words = String::from_utf8(output.stdout.clone()).unwrap();
        let name = format!("the command {}", arguments.join(" "));
        self.told.push((name, [output.stdout, output.stderr].concat()));
        self.keys().await;
        (output.status.code(), words)
    }

    /// The private keys and secrets that are sealed now become values to search for.
    async fn keys(&mut self) {
        let folder = self.world.path("data");
        let key_file = KeyFile(folder.join("postroom.key"));
        let store = SqlStore::open(SqliteOptions { folder, key_file, env: Env::for_test(1).0 });
        let store = store.await.unwrap();
        for connection in store.connections().await.unwrap() {
            for credential in store.credentials(connection.id).await.unwrap() {
                let Some(secret) = store.secret_of(credential.id).await.unwrap() else { continue };
                let secret = secret.expose_secret();
                let Some(begin) = secret.find("-----BEGIN PRIVATE KEY-----") else {
                    self.secrets.insert(("a sealed secret", secret.to_owned()));
                    continue;
                };
                let body: Vec<&str> =
                    secret[begin..].lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
                // The first half holds the modulus, which the certificate shows too.
                for line in body.iter().skip(body.len() / 2).filter(|line| line.len() == 64) {
                    self.secrets.insert(("a private key", (*line).to_owned()));
                }
            }
        }
    }

    /// Searches everything for everything. `kinds` must have been seen, so that the search is no empty one.
    fn end(mut self, kinds: &[&str]) {
        self.secrets.extend(self.tap.secrets());
        for kind in kinds {
            assert!(self.secrets.iter().any(|(what, _)| what == kind), "no {kind} was seen");
        }
        let traced = self.told.iter().filter(|(_, content)| holds(content, b"TRACE")).count();
        assert!(traced >= 3, "everything was to be logged");
        let data = self.world.path("data");
        let key = std::fs::read_to_string(data.join("postroom.key")).unwrap();
        self.secrets.insert(("the sealing key", key.lines().last().unwrap().to_owned()));
        let mut left = Vec::new();
        files(&data, &mut left);
        self.told.extend(left.into_iter().filter(|(name, _)| !name.ends_with("postroom.key")));
        assert!(self.told.iter().any(|(name, content)| name.contains("postroom.db") && content.len() > 4096));
        for (what, value) in &self.secrets {
            assert!(value.len() >= 12, "{what} is too short to be searched for: {value}");
            let raw = (*what == "a private key").then(|| STANDARD.decode(value).unwrap());
            for (place, content) in &self.told {
                assert!(!holds(content, value.as_bytes()), "{what} is in {place}");
                let raw = raw.as_ref().is_some_and(|raw| holds(content, raw));
                assert!(!raw, "the bytes of {what} are in {place}");
            }
        }
        for (place, content) in &self.told {
            assert!(!holds_token(content), "a token is in {place}");
        }
    }
}

// The tap works on threads of its own while this one waits for processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_up_by_hand_by_script_and_its_undo_leave_no_secret_behind() {
    let mut world = World::new().await;
    let tap = Wiretap::before(&mut world).await;
    let administrator = Administrator::of(&world).await;
    let world = &world;
    let mut search = Search::new(world, tap);

    // With a password that is wrong, then limited, applied in Exchange, checked, renewed, taken back.
    let arguments = administrator.setup(&["--wait", "0", "--limit", "rbac", "--type", "case", "--json"]);
    let right = std::fs::read_to_string(world.path("admin.txt")).unwrap();
    std::fs::write(world.path("admin.txt"), "not.the-password-4711").unwrap();
    assert_eq!(search.run(&arguments).await.0, Some(1));
    std::fs::write(world.path("admin.txt"), right).unwrap();
    assert_eq!(search.run(&[&arguments, ["--dry-run"].as_slice()].concat()).await.0, Some(0));
    assert_eq!(search.run(&arguments).await.0, Some(3));
    let (_, lines) = search.run(&["setup", "scope-script", "--connection", CONNECTION]).await;
    in_exchange(world, &lines).await;
    assert_eq!(search.run(&arguments).await.0, Some(0));
    for check in [vec!["check", "--connection", CONNECTION, "--json"], vec!["connection", "list", "--json"]] {
        assert_eq!(search.run(&check).await.0, Some(0));
    }
    assert_eq!(search.run(&["credential", "renew"]).await.0, Some(0));
    assert_eq!(search.run(&["credential", "list", "--json"]).await.0, Some(0));
    assert_eq!(search.run(&administrator.undo()).await.0, Some(3));
    assert_eq!(search.run(&["setup", "undo", CONNECTION, "--yes", "--exchange-done"]).await.0, Some(0));

    // A secret, with the administrator's sign-in by a code on another screen.
    let mut command = world.command();
    command.args(["--log", "trace"]);
    let (code, words) = by_device_code(world, &administrator, command, &["--secret"]).await;
    assert_eq!(code, Some(0), "{words}");
    search.told.push(("the set-up by device code".to_owned(), words.into_bytes()));
    search.keys().await;
    assert_eq!(search.run(&administrator.undo()).await.0, Some(0));

    // Handed over: page, scripts, the line that comes back.
    for credential in ["--certificate", "--secret"] {
        let plan = ["--connection", CONNECTION, "--mailbox", "orders@contoso.example", "--limit", "none"];
        let cloud: Vec<&str> = administrator.cloud.iter().map(String::as_str).collect();
        let page = [["setup", "handover", credential].as_slice(), &plan, &cloud].concat();
        assert_eq!(search.run(&page).await.0, Some(0));
        let script = ["setup", "script", "--shell", "bash", credential];
        let script = [script.as_slice(), &plan, &cloud].concat();
        let (_, make) = search.run(&script).await;
        let line = run_bash(world, &administrator, &make);
        let file = world.path("line.txt");
        std::fs::write(&file, line.trim()).unwrap();
        let mut command = world.command();
        command.args(["--log", "trace", "setup", "import", "-"]);
        let output = command.stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        search.told.push(("setup import".to_owned(), [output.stdout, output.stderr].concat()));
        search.keys().await;
        let (_, undo) = search.run(&[script.as_slice(), &["--undo"]].concat()).await;
        run_bash(world, &administrator, &undo);
        assert_eq!(search.run(&administrator.undo()).await.0, Some(0));
    }
    search.end(&[
        "the administrator's password",
        "access_token",
        "device_code",
        "secretText",
        "client_assertion",
        "client_secret",
        "password",
        "a private key",
        "a sealed secret",
    ]);
}

// The tap works on threads of its own while this one waits for processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_by_hand_and_one_by_itself_leave_no_secret_behind() {
    let mut world = World::new().await;
    let tap = Wiretap::before(&mut world).await;
    let world = &world;
    let mut search = Search::new(world, tap);
    let token = administrator(world).await;
    let object = object_id(world, &token).await;
    grant(world, &token, "Application.Read.All").await;
    world.connect().await;
    let password = "a password of this test, 4711";
    search.secrets.insert(("a user's password", password.to_owned()));

    // By hand: staged, wrong, staged, tested, switched; one that is staged and retired.
    let path = format!("applications/{object}/addPassword");
    let made = graph(world, &token, &path, Some(json!({"passwordCredential": {}}))).await;
    let file = world.path("next.txt");
    let file = file.to_str().unwrap();
    let stage = ["credential", "stage", "--secret-file", file];
    std::fs::write(file, "no~such-secret-of-this-application-0001").unwrap();
    assert_eq!(search.run(&stage).await.0, Some(0));
    assert_eq!(search.run(&["credential", "switch"]).await.0, Some(1));
    std::fs::write(file, made["secretText"].as_str().unwrap()).unwrap();
    for step in [stage.as_slice(), &["credential", "test"], &["credential", "switch"], &stage] {
        assert_eq!(search.run(step).await.0, Some(0), "{step:?}");
    }
    let staged = credentials(world).await.into_iter().find(|one| one["state"] == "next").unwrap();
    assert_eq!(search.run(&["credential", "retire", staged["id"].as_str().unwrap()]).await.0, Some(0));

    // By itself, under trace, while mail leaves and pages are looked at.
    let pem = world.path("first.pem");
    std::fs::write(&pem, short_certificate(world, &token, &object).await).unwrap();
    let save = ["connection", "save", "--name", "Contoso 365", "--flow", "certificate", "--secret-file"];
    assert_eq!(search.run(&[save.as_slice(), &[pem.to_str().unwrap()]].concat()).await.0, Some(0));
    let first = credentials(world).await[0]["id"].clone();
    let mut command = world.command();
    command.env("POSTROOM_LOG_LEVEL", "trace");
    let mut server = world.serve_with(command).await;
    search.keys().await;
    let key = world.api_key("erp").await;
    let cookie = log_on(world, &server, password).await;
    // Each look is a run of the command: nothing else is waited for.
    let begun = Instant::now();
    loop {
        let now = credentials(world).await;
        if now[0]["state"] == "current" && now[0]["id"] != first {
            break;
        }
        if now[0]["state"] == "next" {
            search.keys().await;
        }
        assert!(begun.elapsed() < RENEWED_WITHIN, "{}", server.process.log());
    }
    search.keys().await;
    let (_, accepted) = server.submit(&key, None, &confirmation(1)).await;
    let message = server.reaches(&key, accepted["id"].as_str().unwrap(), "sent").await;
    search.told.push(("the API".to_owned(), Value::to_string(&message).into_bytes()));
    eventually("the renewal is told", || async {
        server.process.log().contains("credential.renewed").then_some(())
    })
    .await;
    for page in ["/", "/settings/email", "/settings/incoming", "/outbox"] {
        let answer = world.http.get(format!("{}{page}", server.url)).header("cookie", &cookie);
        let content = answer.send().await.unwrap().bytes().await.unwrap().to_vec();
        search.told.push((page.to_owned(), content));
    }
    search.told.push(("serve.json".to_owned(), std::fs::read(world.path("serve.json")).unwrap()));
    assert_eq!(search.run(&["credential", "list", "--json"]).await.0, Some(0));
    assert_eq!(server.process.terminate(), Some(0));
    search.told.push(("the log".to_owned(), server.process.log().into_bytes()));
    search.end(&["access_token", "client_assertion", "client_secret", "a private key", "a sealed secret"]);
}
