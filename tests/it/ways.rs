//! The ways in and out as the command line shows them: flags, drafts, and a connection switched between its interfaces.

use serde_json::{Value, json};

use crate::harness::{World, confirmation, eventually};

const ORDERS: &str = "orders@contoso.example";

fn mail(number: u32) -> String {
    format!(
        "From: purchasing@fabrikam.example\r\nTo: {ORDERS}\r\nSubject: Matter {number}\r\n\
         Message-ID: <{number}@fabrikam.example>\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n\r\nBody {number}\r\n"
    )
}

/// Id and subject of every message that the order desk sees, oldest first.
async fn inbox(world: &World) -> Vec<(String, String)> {
    let listed = world.ok(&["inbox", "--user", "orderdesk", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut seen: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (text(&message["id"]), text(&message["summary"]["subject"])))
        .collect();
    seen.sort_by(|one, other| one.1.cmp(&other.1));
    seen
}

async fn collected(world: &World, count: usize) -> Vec<(String, String)> {
    eventually(&format!("{count} messages are collected"), || async {
        Some(inbox(world).await).filter(|seen| seen.len() >= count)
    })
    .await
}

/// How often the tenant was asked for this by EWS.
async fn asked(world: &World, operation: &str) -> usize {
    world.requests().await.iter().filter(|request| request["operation"] == operation).count()
}

#[tokio::test]
async fn a_migrated_connection_reads_no_message_twice() {
    let world = World::new().await;
    world.connect().await;
    world.ok(&["user", "add", "orderdesk"]).await;
    world.ok(&["mailbox", "add", ORDERS, "--type", "customer-order"]).await;
    for number in 1..=3 {
        world.deliver(ORDERS, mail(number).as_bytes()).await;
    }
    let server = world.serve().await;
    let by_graph = collected(&world, 3).await;
    drop(server);

    let refused = world.fails(1, &["connection", "save", "--name", "Contoso 365", "--api", "ews"]).await;
    assert!(refused.contains("connection migrate"), "it is not switched by being saved: {refused}");
    let base = world.ready["graph"].as_str().unwrap();
    world
        .ok(&[
            "connection",
            "save",
            "--name",
            "Contoso 365",
            "--exchange",
            base,
            "--secret-file",
            "secret.txt",
        ])
        .await;
    // EWS must let the application in before anything is switched.
    let told = world.fails(1, &["connection", "migrate", "Contoso 365", "--to", "ews"]).await;
    assert!(told.contains("EWS is switched off for"), "{told}");
    world.allow_ews().await;
    world.ok(&["connection", "migrate", "Contoso 365", "--to", "ews"]).await;
    assert!(world.ok(&["connection", "list"]).await.contains("exchange-online (ews)"));
    world.deliver(ORDERS, mail(4).as_bytes()).await;
    let server = world.serve().await;
    let by_ews = collected(&world, 4).await;
    assert_eq!(by_ews[..3], by_graph[..], "by EWS the same messages have other ids, and are the same");
    assert_eq!((by_ews.len(), by_ews[3].1.as_str()), (4, "Matter 4"));
    assert!(asked(&world, "SyncFolderItems").await > 0, "it was read by EWS");
    drop(server);

    let plan = world.ok(&["connection", "migrate", "Contoso 365", "--to", "graph", "--dry-run"]).await;
    assert!(plan.contains("messages   "), "{plan}");
    assert!(world.ok(&["connection", "list"]).await.contains("(ews)"), "a dry run changes nothing");
    world.ok(&["connection", "migrate", "Contoso 365", "--to", "graph"]).await;
    let before = asked(&world, "SyncFolderItems").await;
    world.deliver(ORDERS, mail(5).as_bytes()).await;
    let server = world.serve().await;
    let after = collected(&world, 5).await;
    assert_eq!(after[..4], by_ews[..], "the same messages under the same ids, each once");
    assert_eq!((after.len(), after[4].1.as_str()), (5, "Matter 5"));
    // What is there stays as it was for further readings too.
    world.deliver(ORDERS, mail(6).as_bytes()).await;
    world.ok(&["inbox", "collect", ORDERS]).await;
    assert_eq!(collected(&world, 6).await[..5], after[..]);
    assert_eq!(asked(&world, "SyncFolderItems").await, before, "EWS is asked no more");
    drop(server);
}

#[tokio::test]
async fn a_migration_asks_the_provider_first_and_names_open_messages() {
    let mut world = World::new().await;
    world.secret = "nQ3~not.the_secret-of-this-application".to_owned();
    world.connect().await;
    let graph = world.ready["graph"].as_str().unwrap().to_owned();
    world
        .ok(&[
            "connection",
            "save",
            "--name",
            "Contoso 365",
            "--exchange",
            &graph,
            "--secret-file",
            "secret.txt",
        ])
        .await;
    world.ok(&["connection", "migrate", "Contoso 365", "--to", "ews", "--force"]).await;
    let told = world.fails(1, &["connection", "migrate", "Contoso 365", "--to", "graph"]).await;
    assert!(told.contains("secret") && told.contains("--force"), "cause and way around: {told}");
    assert!(world.ok(&["connection", "list"]).await.contains("(ews)"), "nothing is switched");
    world
        .ok(&[
            "connection",
            "save",
            "--name",
            "Relay",
            "--kind",
            "smtp",
            "--server",
            "localhost",
            "--tls",
            "plain",
        ])
        .await;
    let told = world.fails(1, &["connection", "migrate", "Relay", "--to", "graph"]).await;
    assert!(told.contains("one interface only"), "{told}");
}

#[tokio::test]
async fn by_command_line_and_api_a_draft_is_ready_for_outlook() {
    let world = World::new().await;
    let signature = world.path("signature.html");
    std::fs::write(&signature, "<p>Ann <b>Order</b></p>").unwrap();
    let file = world.path("order.pdf");
    std::fs::write(&file, "%PDF-1.7").unwrap();
    let arguments = |out: &'static str| {
        [
            "draft",
            "--from",
            ORDERS,
            "--to",
            "purchasing@fabrikam.example",
            "--bcc",
            "audit@contoso.example",
            "--subject",
            "Order 4711/2",
            "--text",
            "On its way",
            "--signature-html-file",
            "signature.html",
            "--attach",
            "order.pdf",
            "--out",
            out,
        ]
    };
    world.ok(&arguments("order.eml")).await;
    let draft = std::fs::read_to_string(world.path("order.eml")).unwrap();
    for part in
        ["X-Unsent: 1\r\n", "Bcc: <audit@contoso.example>\r\n", "<b>Order</b>", "order.pdf", "On its way"]
    {
        assert!(draft.contains(part), "{part} in {draft}");
    }
    assert!(!draft.contains("Message-ID:"), "{draft}");
    let told = world.fails(1, &arguments("order.eml")).await;
    assert!(told.contains("order.eml"), "a file that is there is kept: {told}");
    assert!(world.ok(&arguments("-")).await.starts_with("X-Unsent: 1\r\n"));

    let key = world.api_key("erp").await;
    let server = world.serve().await;
    let mut body = confirmation(4711);
    body["signature"] = json!("Ann");
    let url = format!("{}/api/v1/drafts", server.url);
    let answer = world.http.post(url).bearer_auth(&key).json(&body).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"message/rfc822".parse().unwrap())
    );
    assert!(answer.text().await.unwrap().starts_with("X-Unsent: 1\r\n"));
}

#[tokio::test]
async fn passwords_and_lines_are_set_by_command_line_and_stay_where_they_were_entered() {
    let world = World::new().await;
    std::fs::write(world.path("password"), "of the mailbox\n").unwrap();
    let save = |more: &[&'static str]| {
        let mut all = vec![
            "connection",
            "save",
            "--name",
            "Hoster",
            "--kind",
            "imap",
            "--server",
            "imap.fabrikam.example",
        ];
        all.extend(more);
        all
    };
    let told = world.fails(1, &save(&["--tls", "plain"])).await;
    assert!(told.contains("Without TLS only this machine"), "{told}");
    world.ok(&save(&["--tls", "starttls"])).await;
    let add = ["mailbox", "save", "info@fabrikam.example", "--connection", "Hoster", "--type", "crm"];
    world.ok(&[&add[..], &["--user-name", "info", "--password-file", "password"]].concat()).await;
    let listed =
        async || -> Value { serde_json::from_str(&world.ok(&["mailbox", "list", "--json"]).await).unwrap() };
    assert_eq!(
        (&listed().await[0]["has_password"], &listed().await[0]["settings"]["user_name"]),
        (&json!(true), &json!("info"))
    );
    let output = world.run(&save(&["--tls", "plain", "--accept-plain"])).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("readable") && told.contains("forgotten"), "{told}");
    assert_eq!(
        listed().await[0]["has_password"],
        json!(false),
        "no stored password goes over a readable line"
    );
    let when =
        ["connection", "save", "--name", "Relay", "--kind", "smtp", "--server", "relay.fabrikam.example"];
    world
        .ok(&[&when[..], &["--tls", "starttls-if-offered", "--when-unknown", "at-least-once"]].concat())
        .await;
    let connections: Value =
        serde_json::from_str(&world.ok(&["connection", "list", "--json"]).await).unwrap();
    let relay = &connections[1]["settings"];
    assert_eq!(
        (&relay["tls"], &relay["when_unknown"]),
        (&json!("starttls-if-offered"), &json!("at-least-once"))
    );
}
