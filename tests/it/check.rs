//! The ladder of checks through the real binary: all rungs well, and each common mistake named.

use serde_json::{Value, json};

use crate::harness::{World, answer};

const ORDERS: &str = "orders@contoso.example";

/// A world with a connection and a mailbox.
async fn ready() -> World {
    let world = World::new().await;
    world.connect().await;
    world.ok(&["mailbox", "add", ORDERS, "--type", "customer-order"]).await;
    world
}

/// Exit code and rungs of `postroom check --json` with further arguments.
async fn check(world: &World, further: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = world.run(&[&["check", "--json"], further].concat()).await;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {words}"));
    (output.status.code(), report["rungs"].as_array().unwrap().clone())
}

fn rung<'a>(rungs: &'a [Value], name: &str) -> &'a Value {
    rungs.iter().find(|rung| rung["name"] == name).unwrap_or_else(|| panic!("no rung {name} in {rungs:#?}"))
}

/// Verdict and cause of a rung.
fn said<'a>(rungs: &'a [Value], name: &str) -> (&'a str, &'a str) {
    let rung = rung(rungs, name);
    (rung["verdict"].as_str().unwrap(), rung["cause"].as_str().unwrap_or_default())
}

/// Changes saved settings of the connection.
async fn change(world: &World, arguments: &[&str]) {
    let fixed = &["connection", "save", "--name", "Contoso 365"];
    world.ok(&[&fixed[..], arguments].concat()).await;
}

async fn new_secret(world: &World, secret: &str) {
    let path = world.path("other.txt");
    std::fs::write(&path, secret).unwrap();
    change(world, &["--secret-file", path.to_str().unwrap()]).await;
}

#[tokio::test]
async fn the_full_ladder_stands_and_leaves_nothing_behind() {
    let world = ready().await;
    change(
        &world,
        &[
            "--secret-file",
            world.path("secret.txt").to_str().unwrap(),
            "--secret-expires",
            "2099-01-01T00:00:00Z",
        ],
    )
    .await;
    let report = world.path("report.md");
    // A fault for that mailbox alone: it is refused, as one outside the scope is.
    world.fault(json!({"path_contains": "hr@contoso.example", "status": 403, "count": 5})).await;
    let (code, rungs) = check(
        &world,
        &["--full", "--must-not-open", "hr@contoso.example", "--report", report.to_str().unwrap()],
    )
    .await;
    let verdicts: Vec<_> = rungs
        .iter()
        .map(|rung| (rung["name"].as_str().unwrap(), rung["verdict"].as_str().unwrap()))
        .collect();
    let names = [
        "shapes",
        "clock",
        "network:sign-in",
        "network:mail",
        "tenant",
        "token",
        "roles",
        "credential",
        "mailbox:orders@contoso.example",
        "read:orders@contoso.example",
        "file:orders@contoso.example",
        "refusal:hr@contoso.example",
        "send",
        "send-large",
        "round-trip",
        "reply",
        "notice",
    ];
    assert_eq!(verdicts, names.map(|name| (name, "pass")), "{rungs:#?}");
    assert_eq!(code, Some(0));
    assert!(rung(&rungs, "refusal:hr@contoso.example")["got"].as_str().unwrap().contains("as it should be"));
    assert!(rung(&rungs, "round-trip")["got"].as_str().unwrap().contains("our headers came through"));

    let page = std::fs::read_to_string(report).unwrap();
    assert!(page.contains(ORDERS) && !page.contains(&world.secret), "{page}");
    // Again: what an earlier check made is not in the way.
    let (code, rungs) = check(&world, &["--full"]).await;
    assert_eq!(code, Some(0), "{rungs:#?}");
    assert_eq!(said(&rungs, "refusal").0, "warn");
    let inbox = rung(&rungs, "read:orders@contoso.example")["got"].as_str().unwrap();
    assert!(inbox.contains("0 messages"), "{inbox}");
}

#[tokio::test]
async fn a_wrong_secret_is_named_and_never_shown() {
    let world = ready().await;
    let wrong = "nQ3~a-wrong.value_of-a-secret";
    new_secret(&world, wrong).await;
    let report = world.path("report.md");
    let (code, rungs) = check(&world, &["--report", report.to_str().unwrap(), "--anonymous"]).await;
    assert_eq!(code, Some(1));
    let (verdict, cause) = said(&rungs, "token");
    assert_eq!(verdict, "fail");
    assert!(cause.contains("The client secret is wrong"), "{cause}");
    assert_eq!(said(&rungs, "roles").0, "skipped");
    assert_eq!(said(&rungs, "reply").0, "pass");
    let page = std::fs::read_to_string(report).unwrap();
    for hidden in [wrong, &world.secret, ORDERS, &world.application_id] {
        assert!(!page.contains(hidden) && !json!(rungs).to_string().contains(hidden), "{hidden}: {page}");
    }
}

#[tokio::test]
async fn an_expired_secret_and_an_unknown_tenant_are_told_apart() {
    let world = ready().await;
    let expired = json!({"path_contains": "oauth2/v2.0/token", "status": 401, "code": "AADSTS7000222",
        "message": "The provided client secret keys are expired."});
    world.fault(expired).await;
    let (code, rungs) = check(&world, &[]).await;
    assert_eq!(code, Some(1));
    assert_eq!(said(&rungs, "token"), ("fail", "The client secret has expired."));

    change(
        &world,
        &[
            "--tenant-id",
            "5a1b2c3d-0000-4000-8000-00000000b001",
            "--secret-file",
            world.path("secret.txt").to_str().unwrap(),
        ],
    )
    .await;
    let (code, rungs) = check(&world, &[]).await;
    assert_eq!(code, Some(1));
    let (verdict, cause) = said(&rungs, "tenant");
    assert_eq!((verdict, cause.contains("was not found")), ("fail", true), "{cause}");
    assert_eq!(said(&rungs, "token").0, "skipped");
}

#[tokio::test]
async fn a_mailbox_that_is_not_there_is_named_and_does_not_stop_the_others() {
    let world = ready().await;
    world.ok(&["mailbox", "add", "nobody@contoso.example", "--type", "case"]).await;
    let (code, rungs) = check(&world, &[]).await;
    assert_eq!(code, Some(1));
    let (verdict, cause) = said(&rungs, "mailbox:nobody@contoso.example");
    assert_eq!(
        (verdict, cause.starts_with("There is no mailbox nobody@contoso.example")),
        ("fail", true),
        "{cause}"
    );
    assert_eq!(said(&rungs, "read:nobody@contoso.example").0, "skipped");
    assert_eq!(said(&rungs, "read:orders@contoso.example").0, "pass");
}

#[tokio::test]
async fn a_mailbox_that_must_not_open_and_opens_fails_with_the_limit_command() {
    let world = ready().await;
    let (code, rungs) = check(&world, &["--must-not-open", "hr@contoso.example"]).await;
    assert_eq!(code, Some(1));
    let (verdict, cause) = said(&rungs, "refusal:hr@contoso.example");
    assert_eq!(verdict, "fail");
    assert!(cause.contains("Mail.ReadWrite and Mail.Send in the token is a grant"), "{cause}");
    let next = rung(&rungs, "refusal:hr@contoso.example")["next_step"].as_str().unwrap();
    let command = "`postroom setup scope-script --connection \"Contoso 365\"`";
    assert!(next.contains(command) && next.contains(&world.application_id), "{next}");
}

#[tokio::test]
async fn a_right_that_is_on_its_way_is_waited_for() {
    let world = ready().await;
    world.fault(json!({"path_contains": "mailFolders/inbox", "status": 403, "count": 1})).await;
    let (code, rungs) = check(&world, &[]).await;
    assert_eq!(code, Some(3), "{rungs:#?}");
    assert_eq!(said(&rungs, "mailbox:orders@contoso.example").0, "waiting");

    world.fault(json!({"path_contains": "mailFolders/inbox", "status": 403, "count": 1})).await;
    let output = world.run(&["check", "--wait", "1"]).await;
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains("trying again in 5 s, for at most 1 min"), "{words}");
}

#[tokio::test]
async fn missing_consent_shows_in_the_token_and_at_the_mailbox() {
    let world = World::without_consent().await;
    world.connect().await;
    world.ok(&["mailbox", "add", ORDERS, "--type", "customer-order"]).await;
    let (code, rungs) = check(&world, &[]).await;
    assert_eq!(code, Some(3), "{rungs:#?}");
    let roles = rung(&rungs, "roles");
    assert_eq!((&roles["verdict"], &roles["next_step"]), (&json!("pass"), &Value::Null));
    assert!(roles["got"].as_str().unwrap().contains("No mail rights in the token"), "{roles}");
    let next = rung(&rungs, "mailbox:orders@contoso.example")["next_step"].as_str().unwrap();
    assert!(next.contains("postroom setup scope-script") && next.contains("up to 2 hours"), "{next}");
    assert!(!next.contains("consent"), "{next}");
}

/// Object id of the service principal of the world's application.
async fn principal_id(world: &World) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let authority = text(&world.ready["authority"]);
    let form = [
        ("grant_type", "password".to_owned()),
        ("client_id", "14d82eec-204b-4c2f-b7e8-296a70dab67e".to_owned()),
        ("scope", "https://graph.microsoft.com/.default".to_owned()),
        ("username", text(&world.ready["admin"]["user"])),
        ("password", text(&world.ready["admin"]["password"])),
    ];
    let url = format!("{authority}/{}/oauth2/v2.0/token", text(&world.ready["tenant_id"]));
    let (_, token) = answer(world.http.post(url).form(&form)).await;
    let url = format!("{}/v1.0/servicePrincipals", text(&world.ready["graph"]));
    let filter = format!("appId eq '{}'", world.application_id);
    let request = world.http.get(url).query(&[("$filter", filter)]).bearer_auth(text(&token["access_token"]));
    let (_, found) = answer(request).await;
    text(&found["value"][0]["id"])
}

#[tokio::test]
async fn rights_from_exchange_are_all_well_without_a_warning() {
    let world = World::without_consent().await;
    world.connect().await;
    world.ok(&["mailbox", "add", ORDERS, "--type", "customer-order"]).await;
    let secret = world.path("secret.txt");
    let end = "2099-01-01T00:00:00Z";
    change(&world, &["--secret-file", secret.to_str().unwrap(), "--secret-expires", end]).await;
    let principal = principal_id(&world).await;
    let lines = world
        .ok(&[
            "setup",
            "scope-script",
            "--connection",
            "Contoso 365",
            "--application-id",
            &world.application_id,
            "--principal-id",
            &principal,
            "--mailbox",
            ORDERS,
        ])
        .await;
    let url = format!("{}/_sandbox/exchange", world.ready["graph"].as_str().unwrap());
    let (status, said) = answer(world.http.post(url).body(lines.clone())).await;
    assert_eq!(status, 200, "{lines}\n{said}");
    let arguments = ["check", "--full", "--must-not-open", "hr@contoso.example"];
    let output = world.run(&arguments).await;
    let page = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{page}");
    assert!(page.trim_end().ends_with("OK!") && !page.contains("warn  "), "{page}");
    assert!(page.contains("No mail rights in the token"), "{page}");
}

/// The back-quoted commands of Postroom in an advice.
fn commands(advice: &str) -> Vec<String> {
    let quoted = advice.split('`').skip(1).step_by(2);
    quoted.filter(|command| command.starts_with("postroom ")).map(str::to_owned).collect()
}

/// A named command is there, and so is each of its arguments.
async fn exists(world: &World, command: &str) {
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let path: Vec<&str> = words.iter().copied().take_while(|word| !word.starts_with("--")).collect();
    let help = world.ok(&[&path[..], &["--help"]].concat()).await;
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        let known = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == *flag);
        assert!(known, "{command}: there is no {flag} in\n{help}");
    }
    let usage = format!("Usage: postroom {}", path.join(" "));
    assert!(help.contains(&usage), "{command}: {help}");
}

#[tokio::test]
async fn every_command_that_is_advised_is_there() {
    let world = ready().await;
    let mut named: Vec<String> =
        postroom_entra::cause::rows().flat_map(|row| commands(row.next_step)).collect();
    assert!(named.iter().any(|command| command.starts_with("postroom credential switch")), "{named:?}");
    // What the rungs advise when they are not content.
    change(&world, &["--polling-interval", "0"]).await;
    let (_, rungs) = check(&world, &["--must-not-open", "hr@contoso.example"]).await;
    let steps = rungs.iter().filter_map(|rung| rung["next_step"].as_str());
    let advised: Vec<String> = steps.flat_map(commands).collect();
    for command in
        ["connection save --name \"Contoso 365\" --secret-file", "connection save", "setup scope-script"]
    {
        assert!(advised.iter().any(|advice| advice.contains(command)), "{command}: {advised:?}");
    }
    named.extend(advised);
    named.sort();
    named.dedup();
    for command in named {
        exists(&world, &command).await;
    }
}

#[tokio::test]
async fn a_connection_names_the_cloud_of_its_tenant() {
    let world = World::new().await;
    let save = |more: &[&'static str]| {
        let fixed =
            ["connection", "save", "--name", "GCC", "--kind", "exchange-online", "--flow", "client-secret"];
        let ids = [
            "--tenant-id",
            "5a1b2c3d-0000-4000-8000-00000000b001",
            "--application-id",
            "5a1b2c3d-0000-4000-8000-00000000b002",
            "--secret-file",
            "secret.txt",
        ];
        [&fixed[..], &ids[..], more].concat()
    };
    std::fs::write(world.path("secret.txt"), &world.secret).unwrap();
    world.ok(&save(&["--cloud", "us-government-dod"])).await;
    let list = world.ok(&["connection", "list"]).await;
    assert!(list.contains("us-government-dod") && list.contains("outlook-dod.office365.us"), "{list}");
    world.ok(&save(&["--cloud", "worldwide"])).await;
    let list = world.ok(&["connection", "list"]).await;
    assert!(!list.contains("us-gov") && !list.contains("worldwide"), "{list}");
    let words = world.fails(2, &save(&["--cloud", "moon"])).await;
    assert!(words.contains("china"), "{words}");
    let both = ["--cloud", "china", "--authority", "https://a.example", "--graph", "https://g.example"];
    world.fails(2, &save(&both)).await;
}
