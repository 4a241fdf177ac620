//! `postroom setup`: from nothing to a connection that works, again, cut off half-way, taken back, and by script.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::World;

pub(crate) const CONNECTION: &str = "Contoso orders";

/// Arguments that reach the tenant's administrator.
pub(crate) struct Administrator {
    token: String,
    sign_in: Vec<String>,
    pub(crate) cloud: Vec<String>,
}

impl Administrator {
    pub(crate) async fn of(world: &World) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (user, password) = (text(&world.ready["admin"]["user"]), text(&world.ready["admin"]["password"]));
        let authority = text(&world.ready["authority"]);
        let token_url = format!("{authority}/{}/oauth2/v2.0/token", text(&world.ready["tenant_id"]));
        let form = [
            ("grant_type", "password"),
            ("client_id", "14d82eec-204b-4c2f-b7e8-296a70dab67e"),
            ("scope", "https://graph.microsoft.com/.default"),
            ("username", &user),
            ("password", &password),
        ];
        let answer: Value =
            world.http.post(token_url).form(&form).send().await.unwrap().json().await.unwrap();
        let file = world.path("admin.txt");
        std::fs::write(&file, password).unwrap();
        let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        Self {
            token: text(&answer["access_token"]),
            sign_in: own(&["--admin-user", &user, "--admin-password-file", file.to_str().unwrap()]),
            cloud: own(&[
                "--authority",
                &authority,
                "--graph",
                &text(&world.ready["graph"]),
                "--exchange",
                &authority,
                "--imap",
                &text(&world.ready["imap"]),
                "--smtp",
                &text(&world.ready["smtp"]),
            ]),
        }
    }

    /// Applications, service principals and grants of the tenant, without the times.
    pub(crate) async fn tenant(&self, world: &World) -> Value {
        let graph = world.ready["graph"].as_str().unwrap();
        let list = async |path: &str| -> Vec<Value> {
            let request = world.http.get(format!("{graph}/v1.0/{path}")).bearer_auth(&self.token);
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            answer["value"].as_array().unwrap_or_else(|| panic!("{path}: {answer}")).clone()
        };
        let principals = list("servicePrincipals").await;
        let mut grants = Vec::new();
        for principal in &principals {
            let id = principal["id"].as_str().unwrap();
            grants.extend(list(&format!("servicePrincipals/{id}/appRoleAssignments")).await);
        }
        json!({ "applications": list("applications").await, "principals": principals, "grants": grants })
    }

    /// The application of this name; there must be exactly one.
    pub(crate) async fn application(&self, world: &World, name: &str) -> Value {
        let tenant = self.tenant(world).await;
        let all = tenant["applications"].as_array().unwrap().clone();
        let mut named: Vec<Value> = all.into_iter().filter(|one| one["displayName"] == name).collect();
        assert_eq!(named.len(), 1, "{named:?}");
        named.remove(0)
    }

    /// `postroom setup` with these arguments and those that reach the tenant.
    pub(crate) fn setup<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments =
            vec!["setup", "--connection", CONNECTION, "--mailbox", "orders@contoso.example", "--yes"];
        arguments.extend(more);
        arguments.extend(self.cloud.iter().chain(&self.sign_in).map(String::as_str));
        arguments
    }

    pub(crate) fn undo(&self) -> Vec<&str> {
        let mut arguments = vec!["setup", "undo", CONNECTION, "--yes"];
        arguments.extend(self.sign_in.iter().map(String::as_str));
        arguments
    }
}

pub(crate) async fn says_ok(world: &World) {
    let told = world.ok(&["check", "--connection", CONNECTION]).await;
    assert!(told.trim_end().ends_with("OK!"), "{told}");
}

#[tokio::test]
async fn one_command_makes_a_connection_that_works_again_makes_nothing_and_undo_leaves_no_trace() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let before = administrator.tenant(&world).await;
    for credential in ["--certificate", "--secret"] {
        let arguments =
            administrator.setup(&["--limit", "none", "--type", "customer-order", "--json", credential]);
        let first: Value = serde_json::from_str(&world.ok(&arguments).await).unwrap();
        says_ok(&world).await;
        let made = administrator.tenant(&world).await;
        assert_ne!(made, before);
        let again: Value = serde_json::from_str(&world.ok(&arguments).await).unwrap();
        assert_eq!(again, first);
        assert_eq!(administrator.tenant(&world).await, made);
        let listed: Value = serde_json::from_str(&world.ok(&["connection", "list", "--json"]).await).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 1);
        let mailboxes = world.ok(&["mailbox", "list", "--json"]).await;
        assert_eq!(serde_json::from_str::<Value>(&mailboxes).unwrap().as_array().unwrap().len(), 1);
        // A certificate renews itself without another word; a secret cannot, with the rights it has.
        if credential == "--certificate" {
            let renewed = world.run(&["credential", "renew"]).await;
            assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
        }
        world.ok(&administrator.undo()).await;
        assert_eq!(administrator.tenant(&world).await, before);
        assert_eq!(world.ok(&["connection", "list", "--json"]).await.trim(), "[]");
        assert!(world.fails(1, &administrator.undo()).await.contains("no set-up of a connection"));
    }
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let before = administrator.tenant(&world).await;
    let told = world.ok(&administrator.setup(&["--dry-run"])).await;
    assert!(told.contains("Application Mail.Send (granted by Exchange)"), "{told}");
    let json = world.ok(&administrator.setup(&["--dry-run", "--json", "--limit", "none"])).await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["limit"], "none");
    assert_eq!(administrator.tenant(&world).await, before);
    assert_eq!(world.ok(&["connection", "list", "--json"]).await.trim(), "[]");
    let words = world.fails(2, &administrator.setup(&["--valid-days", "9999"])).await;
    assert!(words.contains("valid for 1 to 730 days"), "{words}");
}

#[tokio::test]
async fn what_was_cut_off_goes_on_from_there() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let before = administrator.tenant(&world).await;
    let arguments = administrator.setup(&["--limit", "none", "--secret"]);
    // The answer is lost after the work was done, once at each step that makes something.
    for path in ["/applications", "/servicePrincipals", "/appRoleAssignments", "/addPassword"] {
        world.fault(json!({"path_contains": path, "method": "POST", "status": 503, "after": true})).await;
        let words = world.fails(1, &arguments).await;
        assert!(words.contains("the same command again"), "{path}: {words}");
    }
    world.ok(&arguments).await;
    says_ok(&world).await;
    let application = administrator.application(&world, &format!("Postroom {CONNECTION}")).await;
    assert_eq!(application["passwordCredentials"].as_array().unwrap().len(), 1, "{application}");
    // So does taking it back.
    world.fault(json!({"path_contains": "/servicePrincipals/", "method": "DELETE", "status": 503})).await;
    world.fails(1, &administrator.undo()).await;
    world.ok(&administrator.undo()).await;
    assert_eq!(administrator.tenant(&world).await, before);
}

/// What an Exchange administrator does with the lines.
pub(crate) async fn in_exchange(world: &World, lines: &str) -> Value {
    let url = format!("{}/_sandbox/exchange", world.ready["graph"].as_str().unwrap());
    let (status, answer) = crate::harness::answer(world.http.post(url).body(lines.to_owned())).await;
    assert_eq!(status, 200, "{lines}\n{answer}");
    answer
}

/// The tenant, object by object.
pub(crate) async fn snapshot(world: &World) -> Value {
    let url = format!("{}/_sandbox/snapshot", world.ready["graph"].as_str().unwrap());
    crate::harness::answer(world.http.get(url)).await.1
}

/// The lines of an output that Exchange is told, without the ids of connections.
fn commands(output: &str) -> String {
    let known = |line: &&str| line.starts_with('#') || line.contains(" -Identity ");
    output.lines().filter(known).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn another_plan_than_that_of_the_earlier_set_up_is_refused_and_the_same_shows_what_is_left() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    world.ok(&administrator.setup(&["--limit", "none"])).await;
    let made = administrator.tenant(&world).await;
    for other in [
        ["--limit", "none", "--secret"].as_slice(),
        &["--limit", "none", "--name", "Other"],
        &["--api", "ews", "--limit", "none"],
        &["--limit", "rbac"],
    ] {
        for dry in [["--dry-run"].as_slice(), &[]] {
            let words = world.fails(1, &administrator.setup(&[other, dry].concat())).await;
            assert!(words.contains("undo first: postroom setup undo 'Contoso orders'"), "{words}");
        }
    }
    assert_eq!(administrator.tenant(&world).await, made);
    let same = world.run(&administrator.setup(&["--limit", "none", "--dry-run"])).await;
    let words = String::from_utf8_lossy(&same.stderr).into_owned();
    assert!(same.status.success() && words.contains("there already:"), "{words}");
    assert!(!words.contains("left to do:"), "{words}");
}

#[tokio::test]
async fn a_mailbox_that_is_not_there_is_not_waited_for_and_a_server_without_an_address_is_asked_for() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let before = administrator.tenant(&world).await;
    let words = world.fails(2, &setup_without_servers(&administrator)).await;
    assert!(words.contains("--imap") && words.contains("--smtp"), "{words}");
    assert_eq!(administrator.tenant(&world).await, before);
    let nobody =
        ["setup", "--connection", "Nobody", "--mailbox", "nobody@contoso.example", "--yes", "--limit"];
    let nobody = nobody.into_iter().chain(["none"]);
    let nobody = nobody.chain(administrator.cloud.iter().chain(&administrator.sign_in).map(String::as_str));
    let words = world.fails(1, &nobody.collect::<Vec<_>>()).await;
    assert!(words.contains("there is no mailbox nobody@contoso.example"), "{words}");
}

/// The addresses of sign-in, Graph and Exchange, and those of no mail server.
fn setup_without_servers(administrator: &Administrator) -> Vec<&str> {
    let mut arguments = administrator.setup(&["--api", "imap-smtp"]);
    for flag in ["--imap", "--smtp"] {
        let at = arguments.iter().position(|one| *one == flag).unwrap();
        arguments.drain(at..at + 2);
    }
    arguments
}

#[tokio::test]
async fn ews_waits_for_the_allow_list_works_and_is_taken_back_without_a_trace() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let nobody = "Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs $null";
    in_exchange(&world, nobody).await;
    let before = snapshot(&world).await;
    let arguments =
        administrator.setup(&["--api", "ews", "--limit", "none", "--type", "customer-order", "--wait", "0"]);
    let run = world.run(&arguments).await;
    let told = String::from_utf8_lossy(&run.stderr).into_owned() + &String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(3), "{told}");
    assert!(told.contains("EWS is blocked by policy"), "{told}");
    assert!(told.contains("2027-04-01") && told.contains("-EwsAllowedAppIDs"), "{told}");
    let application = administrator.application(&world, &format!("Postroom {CONNECTION}")).await;
    let listed = nobody.replace("$null", &format!("\"{}\"", application["appId"].as_str().unwrap()));
    in_exchange(&world, &listed).await;
    world.ok(&arguments).await;
    says_ok(&world).await;
    let listed: Value = serde_json::from_str(&world.ok(&["connection", "list", "--json"]).await).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert!(listed[0].to_string().contains("\"ews\""), "{listed:?}");
    world.ok(&administrator.undo()).await;
    // The allow-list is the organisation's: what is on it is taken off by its administrator.
    in_exchange(&world, nobody).await;
    assert_eq!(snapshot(&world).await, before);
    assert_eq!(world.ok(&["connection", "list", "--json"]).await.trim(), "[]");
}

#[tokio::test]
async fn imap_and_smtp_are_set_up_from_nothing_and_taken_back_without_a_trace() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    // The protocols stay switched on by an undo, which says so: they are on before.
    let switch = "Set-CASMailbox -Identity orders@contoso.example -ImapEnabled $true -SmtpClientAuthenticationDisabled $false";
    in_exchange(&world, switch).await;
    let before = snapshot(&world).await;
    let arguments = administrator.setup(&["--api", "imap-smtp", "--type", "customer-order", "--wait", "0"]);
    let run = world.run(&arguments).await;
    assert_eq!(run.status.code(), Some(3), "{}", String::from_utf8_lossy(&run.stderr));
    let lines = world.ok(&["setup", "scope-script", "--connection", CONNECTION]).await;
    assert!(lines.contains("New-ServicePrincipal") && lines.contains("Set-CASMailbox"), "{lines}");
    in_exchange(&world, &lines).await;
    world.ok(&arguments).await;
    says_ok(&world).await;
    let sending = format!("{CONNECTION} SMTP");
    let orders = "orders@contoso.example";
    let told =
        world.ok(&["check", "--connection", &sending, "--sender", orders, "--recipient", orders]).await;
    assert!(told.trim_end().ends_with("OK!") && told.contains("Arrived within"), "{told}");
    let lines = world.ok(&["setup", "scope-script", "--connection", CONNECTION, "--undo"]).await;
    assert!(lines.contains("STAY SWITCHED ON"), "{lines}");
    in_exchange(&world, &lines).await;
    let undo = administrator.undo();
    world.ok(&[undo.as_slice(), &["--exchange-done"]].concat()).await;
    assert_eq!(snapshot(&world).await, before);
    assert_eq!(world.ok(&["connection", "list", "--json"]).await.trim(), "[]");
}

#[tokio::test]
async fn a_limited_set_up_waits_for_exchange_and_opens_exactly_the_mailboxes() {
    for limit in ["rbac", "access-policy"] {
        let world = World::new().await;
        let administrator = Administrator::of(&world).await;
        let before = administrator.tenant(&world).await;
        let all_before = snapshot(&world).await;
        let arguments = administrator.setup(&["--wait", "0", "--limit", limit, "--type", "case"]);
        let output = world.run(&arguments).await;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        // Rights that come from Exchange are missing until the lines ran.
        assert_eq!(output.status.code(), Some(if limit == "rbac" { 3 } else { 0 }), "{words}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let scope = ["setup", "scope-script", "--connection", CONNECTION];
        let again = world.ok(&scope).await;
        assert!(lines.starts_with(&again), "{lines}\n\n{again}");
        let unlisted = [scope.as_slice(), &["--unlisted", "hr@contoso.example"]].concat();
        let proof = in_exchange(&world, &world.ok(&unlisted).await).await.to_string();
        let (open, shut) = if limit == "rbac" { ("True", "False") } else { ("Granted", "Denied") };
        assert!(proof.contains(open) && proof.contains(shut), "{proof}");
        world.ok(&arguments).await;
        says_ok(&world).await;
        let tenant = administrator.tenant(&world).await;
        let ours = format!("Postroom {CONNECTION}");
        let grants = tenant["grants"].as_array().unwrap();
        let wide = grants.iter().filter(|grant| grant["principalDisplayName"] == ours).count();
        assert_eq!(wide, if limit == "rbac" { 0 } else { 2 }, "{tenant}");
        world
            .ok(&["mailbox", "add", "hr@contoso.example", "--connection", CONNECTION, "--type", "personnel"])
            .await;
        let refused = world.run(&["check", "--connection", CONNECTION]).await;
        assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stdout));
        // What others added is in the way of taking it back, and is named.
        assert!(world.fails(1, &administrator.undo()).await.contains("hr@contoso.example"));
        world.ok(&["mailbox", "remove", "hr@contoso.example"]).await;
        // Mailboxes added and taken away: only the change is printed, and who leaves is named and waited for.
        let other = ["setup", "--connection", CONNECTION, "--mailbox", "service@contoso.example", "--yes"];
        let other: Vec<&str> = other
            .into_iter()
            .chain(["--wait", "0", "--limit", limit])
            .chain(administrator.cloud.iter().chain(&administrator.sign_in).map(String::as_str))
            .collect();
        let output = world.run(&other).await;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{words}");
        assert!(words.contains("leaves: mailbox orders@contoso.example"), "{words}");
        let lines = String::from_utf8(output.stdout).unwrap();
        assert!(!lines.contains("New-"), "{lines}");
        in_exchange(&world, &commands(&lines)).await;
        let words = world.run(&other).await;
        assert!(words.status.success(), "{}", String::from_utf8_lossy(&words.stderr));
        // Entra is taken back at once; Exchange when somebody says that the lines ran.
        let output = world.run(&administrator.undo()).await;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{words}");
        assert!(words.contains("Entra side taken back; Exchange still to do"), "{words}");
        assert_eq!(administrator.tenant(&world).await, before);
        let words = world.fails(1, &arguments).await;
        assert!(words.contains("not yet taken back in Exchange"), "{words}");
        let lines = world.ok(&[scope.as_slice(), &["--undo"]].concat()).await;
        assert_eq!(lines, String::from_utf8(output.stdout).unwrap());
        // Line by line, as a person does it: what went with the application couldn't be found any more.
        let url = format!("{}/_sandbox/exchange", world.ready["graph"].as_str().unwrap());
        for line in lines.lines() {
            let (status, answer) = crate::harness::answer(world.http.post(&url).body(line.to_owned())).await;
            let gone = answer.to_string().contains("couldn't be found");
            assert!(status == 200 || gone, "{line}\n{answer}");
        }
        world.ok(&["setup", "undo", CONNECTION, "--yes", "--exchange-done"]).await;
        assert_eq!(snapshot(&world).await, all_before, "{limit}");
        assert!(world.fails(1, &administrator.undo()).await.contains("no set-up of a connection"));
    }
}

/// Runs a script in an empty folder with `az` replaced by the administrator's token; gives its stdout.
pub(crate) fn run_bash(world: &World, administrator: &Administrator, script: &str) -> String {
    let folder = world.path("bash");
    let tools = world.path("tools");
    for path in [&folder, &tools] {
        std::fs::create_dir_all(path).unwrap();
    }
    let az: PathBuf = tools.join("az");
    std::fs::write(&az, format!("#!/bin/sh\necho {}\n", administrator.token)).unwrap();
    assert!(Command::new("chmod").arg("+x").arg(&az).status().unwrap().success());
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut child = Command::new("bash")
        .args(["-c", script])
        .current_dir(&folder)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"yes\n\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "something got out of its quotes: {words}");
    String::from_utf8(output.stdout).unwrap()
}

/// `postroom setup import -` with this line: how it ended and what it said.
pub(crate) fn import(world: &World, line: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = world.command();
    command.args(["setup", "import", "-"]).args(more).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_script_run_elsewhere_gives_one_line_that_makes_the_connection() {
    const NAME: &str = "O'Brien's \"mail\" $(touch a) `touch b` ’; touch c";
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let before = administrator.tenant(&world).await;
    for credential in ["--certificate", "--secret"] {
        let script = |more: &[&'static str]| {
            let mut arguments = vec!["setup", "script", "--shell", "bash", "--limit", "none", credential];
            arguments.extend([
                "--connection",
                CONNECTION,
                "--name",
                NAME,
                "--mailbox",
                "orders@contoso.example",
            ]);
            arguments.extend(more);
            arguments.into_iter().map(str::to_owned).chain(administrator.cloud.clone()).collect::<Vec<_>>()
        };
        let make = script(&[]);
        let make = world.ok(&make.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let line = run_bash(&world, &administrator, &make);
        assert_eq!(line.lines().count(), 1, "{line}");
        administrator.application(&world, NAME).await;
        let again = run_bash(&world, &administrator, &make);
        administrator.application(&world, NAME).await;
        if credential == "--secret" {
            let words = world.fails(2, &["setup", "import", again.trim()]).await;
            assert!(words.contains("standard input"), "{words}");
        }
        let (code, words) = import(&world, &again, &[]);
        assert_eq!(code, Some(0), "{words}");
        says_ok(&world).await;
        let undo = script(&["--undo"]);
        let undo = world.ok(&undo.iter().map(String::as_str).collect::<Vec<_>>()).await;
        run_bash(&world, &administrator, &undo);
        assert_eq!(administrator.tenant(&world).await, before);
        // What is gone there counts as taken back here.
        world.ok(&administrator.undo()).await;
    }
    let words = world.fails(1, &["setup", "import", "postroom-setup:v2:e30"]).await;
    assert!(words.contains("cannot be read"), "{words}");
    let words = world.fails(1, &["setup", "import", "postroom-setup:v1:e30"]).await;
    assert!(words.contains("version 1"), "{words}");
}

#[tokio::test]
async fn the_hand_over_page_holds_everything_and_fetches_nothing() {
    let world = World::new().await;
    let page = world
        .ok(&["setup", "handover", "--connection", CONNECTION, "--mailbox", "orders@contoso.example"])
        .await;
    for words in
        ["<!doctype html>", "New-ManagementScope", "BEGIN CERTIFICATE", "Connect-MgGraph", "az account"]
    {
        assert!(page.contains(words), "{words} is missing");
    }
    assert!(!page.contains("<script") && !page.contains("PRIVATE KEY"));
}

/// A set-up by a prepared command whose administrator signs in with a code on another screen; gives its exit code
/// and everything it said.
pub(crate) async fn by_device_code(
    world: &World,
    administrator: &Administrator,
    mut command: Command,
    more: &[&str],
) -> (Option<i32>, String) {
    command.args(["setup", "--connection", CONNECTION, "--mailbox", "orders@contoso.example", "--yes"]);
    command.args(["--limit", "none", "--device-code"]).args(&administrator.cloud).args(more);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut told = Vec::new();
    let message = loop {
        let line = lines.next().unwrap_or_else(|| panic!("no code: {told:?}"));
        told.push(line.clone());
        if line.contains("enter the code") {
            break line;
        }
    };
    let code = message.split("enter the code ").nth(1).unwrap().split(' ').next().unwrap();
    let url = format!("{}/_sandbox/approve", world.ready["graph"].as_str().unwrap());
    let admin = &world.ready["admin"];
    let body = json!({"user_code": code, "user": admin["user"], "password": admin["password"]});
    let answer = world.http.post(url).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    // On a thread of its own: what is in between may run on this one.
    let rest = tokio::task::spawn_blocking(move || lines.collect::<Vec<_>>()).await.unwrap();
    told.extend(rest);
    (child.wait().unwrap().code(), told.join("\n"))
}

#[tokio::test]
async fn an_administrator_signs_in_with_a_code_on_another_screen() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let (code, words) = by_device_code(&world, &administrator, world.command(), &[]).await;
    assert_eq!(code, Some(0), "{words}");
    says_ok(&world).await;
}
