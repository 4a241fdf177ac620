//! The real binary on PostgreSQL: an installation moved there, and two nodes that work on it.

use std::process::Command;

use serde_json::json;

use crate::harness::{World, eventually};
use crate::server::Postgres;

/// `postroom` of this world, on this database.
fn on_postgres(world: &World, url: &str) -> Command {
    let mut command = world.command();
    command.env("POSTROOM_STORE_URL", url);
    command
}

/// Runs a command to its end; it must succeed. Gives its stdout.
async fn ok(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn an_installation_is_moved_and_two_nodes_go_on_with_it() {
    let (server, world) = (Postgres::start(), World::new().await);
    let url = server.database();
    world.connect().await;
    world.ok(&["mailbox", "add", "orders@contoso.example", "--type", "customer-order"]).await;
    let key = world.api_key("erp").await;
    let body = |subject: &str| json!({"from": "orders@contoso.example", "to": ["buyer@fabrikam.example"], "subject": subject, "text": "On its way"});
    let first = {
        let mut alone = world.serve().await;
        let (status, first) = alone.submit(&key, None, &body("before the move")).await;
        assert_eq!(status, 202, "{first}");
        let first = alone.reaches(&key, first["id"].as_str().unwrap(), "sent").await;
        let refused = world.fails(1, &["store", "migrate", "--to", &url]).await;
        assert!(refused.contains("runs on") && refused.contains("stop it first"), "{refused}");
        assert_eq!(alone.process.terminate(), Some(0));
        first
    };
    let told = world.ok(&["store", "migrate", "--to", &url]).await;
    for table in ["connections", "mailboxes", "outbox", "events", "users", "api_keys"] {
        assert!(told.lines().any(|line| line.trim_start().starts_with(table)), "{table} is missing:\n{told}");
    }
    let again = world.fails(1, &["store", "migrate", "--to", &url]).await;
    assert!(again.contains("the target is not empty"), "{again}");

    let one = world.serve_with(on_postgres(&world, &url)).await;
    let mut other = world.serve_with(on_postgres(&world, &url)).await;
    let (status, known) = other.message(&key, first["id"].as_str().unwrap()).await;
    assert_eq!((status, &known["state"]), (200, &json!("sent")));
    let mut accepted = Vec::new();
    for number in 0..10 {
        let node = if number % 2 == 0 { &one } else { &other };
        let (status, message) = node.submit(&key, None, &body(&format!("number {number}"))).await;
        assert_eq!(status, 202, "{message}");
        accepted.push(message);
    }
    // One goes without a word; the other does what is left, that of the first after its leases have ended.
    other.process.terminate();
    for message in &accepted {
        let sent = one.reaches(&key, message["id"].as_str().unwrap(), "sent").await;
        let message_id = sent["message_id"].as_str().unwrap().to_owned();
        eventually("it left the tenant once", || async {
            (world.left(&message_id).await == 1).then_some(())
        })
        .await;
    }
    let mut list = on_postgres(&world, &url);
    list.args(["outbox", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&ok(list).await).unwrap();
    assert_eq!(listed.as_array().map(Vec::len), Some(11), "{listed}");
}
