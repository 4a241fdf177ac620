//! The whole way, by demonstration, by command line and by API.

use std::process::Command;

use serde_json::json;

use crate::harness::{World, confirmation, eventually};

#[tokio::test]
async fn the_demonstration_performs_every_step_of_the_guide_and_verifies_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    command.args(["demo", "--once"]).current_dir(folder.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for (letter, last) in [('A', 23), ('E', 14), ('I', 14)] {
        for number in 1..=last {
            let step = format!("\n  {letter}{number} ");
            assert!(told.contains(&step), "step {letter}{number} is missing:\n{told}");
        }
    }
    let order = [
        "2 errors",
        "1 error: Directory",
        "no errors",
        "1 error: Client secret",
        "no errors",
        "nothing wrong",
    ];
    let mut rest = told.as_str();
    for words in order {
        let at = rest.find(words).unwrap_or_else(|| panic!("`{words}` is missing or out of order:\n{told}"));
        rest = &rest[at + words.len()..];
    }
    assert!(told.contains("OK!"));
}

#[tokio::test]
async fn by_command_line_a_connection_is_checked_and_a_message_is_sent_without_a_server() {
    let world = World::new().await;
    world.connect().await;
    world.ok(&["mailbox", "add", "orders@contoso.example", "--type", "customer-order"]).await;
    let told = world
        .ok(&["check", "--sender", "orders@contoso.example", "--recipient", "orders@contoso.example"])
        .await;
    assert!(told.trim_end().ends_with("OK!"), "{told}");
    let sent = world
        .ok(&[
            "send",
            "--json",
            "--from",
            "orders@contoso.example",
            "--to",
            "purchasing@fabrikam.example",
            "--subject",
            "Order 4711",
            "--text",
            "On its way",
            "--idempotency-key",
            "order-4711",
        ])
        .await;
    let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(sent["state"], "sent");
    assert_eq!(world.left(sent["message_id"].as_str().unwrap()).await, 1);
    let shown = world.ok(&["outbox", "show", sent["id"].as_str().unwrap()]).await;
    for words in [
        "Accepted and stored",
        "Attempt begun (attempt 1)",
        "Draft created at the provider",
        "Sent (attempt 1): 202",
    ] {
        assert!(shown.contains(words), "`{words}` is missing:\n{shown}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_named_with_its_cause_and_the_next_step() {
    let mut world = World::new().await;
    world.secret = "nQ3~not.the_secret-of-this-application".to_owned();
    world.connect().await;
    let output = world.run(&["check", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rungs = report["rungs"].as_array().unwrap();
    let token = rungs.iter().find(|rung| rung["name"] == "token").unwrap();
    assert_eq!(token["verdict"], "fail");
    assert!(token["got"].as_str().unwrap().contains("7000215"), "{token}");
    assert!(token["cause"].as_str().unwrap().contains("secret"), "{token}");
    assert!(!token["next_step"].as_str().unwrap().is_empty());
    assert!(!String::from_utf8(output.stdout).unwrap().contains(&world.secret));
}

#[tokio::test]
async fn collected_mail_is_seen_only_by_those_it_is_available_to_and_filed_on_a_record() {
    let world = World::new().await;
    world.connect().await;
    world.ok(&["user", "add", "orderdesk"]).await;
    world.ok(&["user", "add", "servicedesk"]).await;
    world.ok(&["mailbox", "add", "orders@contoso.example", "--type", "customer-order"]).await;
    world.ok(&["mailbox", "add", "service@contoso.example", "--type", "case", "--user", "servicedesk"]).await;
    let mail = |number: u32, to: &str| {
        format!(
            "From: purchasing@fabrikam.example\r\nTo: {to}\r\nSubject: Matter {number}\r\n\
             Message-ID: <{number}@fabrikam.example>\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n\r\nBody {number}\r\n"
        )
    };
    world.deliver("orders@contoso.example", mail(4711, "orders@contoso.example").as_bytes()).await;
    world.deliver("service@contoso.example", mail(118, "service@contoso.example").as_bytes()).await;
    let server = world.serve().await;
    let subjects = async |user: &str| -> Vec<String> {
        let listed = world.ok(&["inbox", "--user", user, "--json"]).await;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let subject =
            |message: &serde_json::Value| message["summary"]["subject"].as_str().unwrap().to_owned();
        let mut subjects: Vec<String> = listed.as_array().unwrap().iter().map(subject).collect();
        subjects.sort();
        subjects
    };
    eventually("both messages are collected", || async {
        (subjects("servicedesk").await.len() == 2).then_some(())
    })
    .await;
    assert_eq!(subjects("orderdesk").await, ["Matter 4711"]);
    let listed = world.ok(&["inbox", "--user", "orderdesk", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    world.ok(&["inbox", "file", id, "Customer order 4711", "--user", "orderdesk"]).await;
    let log = world.ok(&["inbox", "log", "customer-order:4711", "--user", "servicedesk"]).await;
    assert!(log.contains("Matter 4711"), "{log}");
    // The mailbox at the provider is not changed by being read.
    let changes = world.requests().await;
    let changed = changes.iter().filter(|request| request["method"] == "PATCH").count();
    assert_eq!(changed, 0, "{changes:?}");
    drop(server);
}

#[tokio::test]
async fn by_api_a_message_is_accepted_sent_and_its_timeline_told() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    let mut server = world.serve().await;
    let (status, accepted) = server.submit(&key, Some("order-1"), &confirmation(1)).await;
    assert_eq!((status, &accepted["state"]), (202, &json!("accepted")), "{accepted}");
    let id = accepted["id"].as_str().unwrap();
    let message = server.reaches(&key, id, "sent").await;
    let kinds: Vec<&str> =
        message["timeline"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["outbox.accepted", "outbox.attempt", "outbox.draft-created", "outbox.sent"]);
    let (status, again) = server.submit(&key, Some("order-1"), &confirmation(1)).await;
    assert_eq!((status, &again["id"]), (202, &accepted["id"]));
    assert_eq!(world.left(accepted["message_id"].as_str().unwrap()).await, 1);
    let raw =
        "From: orders@contoso.example\r\nTo: purchasing@fabrikam.example\r\nSubject: Raw\r\n\r\nBody\r\n";
    let request = world
        .http
        .post(format!("{}/api/v1/messages", server.url))
        .bearer_auth(&key)
        .header("content-type", "message/rfc822")
        .header("x-postroom-from", "orders@contoso.example")
        .header("x-postroom-to", "purchasing@fabrikam.example")
        .body(raw);
    let (status, accepted) = crate::harness::answer(request).await;
    assert_eq!(status, 202, "{accepted}");
    server.reaches(&key, accepted["id"].as_str().unwrap(), "sent").await;
    assert_eq!(server.process.terminate(), Some(0), "{}", server.process.log());
}
