//! SIGKILL at the worst moments: every accepted message is sent exactly once, every delivered mail stored once.

use serde_json::{Value, json};

use crate::harness::{Server, World, confirmation, eventually};

async fn accept(server: &Server, key: &str, number: u32) -> (String, String) {
    let (status, accepted) =
        server.submit(key, Some(&format!("order-{number}")), &confirmation(number)).await;
    assert_eq!(status, 202, "{accepted}");
    let text = |name: &str| accepted[name].as_str().unwrap().to_owned();
    (text("id"), text("message_id"))
}

/// Restarts and waits until the message is sent; it left the tenant exactly once.
async fn sent_once_after_restart(world: &World, key: &str, id: &str, message_id: &str) -> Value {
    let server = world.serve().await;
    let message = server.reaches(key, id, "sent").await;
    assert_eq!(world.left(message_id).await, 1, "{message:#}");
    message
}

#[tokio::test]
async fn killed_right_after_the_yes_the_message_is_sent_exactly_once() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    for number in 0..5 {
        let mut server = world.serve().await;
        let (id, message_id) = accept(&server, &key, number).await;
        server.process.kill();
        drop(server);
        sent_once_after_restart(&world, &key, &id, &message_id).await;
    }
}

#[tokio::test]
async fn killed_while_the_send_hangs_it_is_looked_up_before_anything_is_sent_again() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    let mut server = world.serve().await;
    // The tenant does the work and then keeps the answer back: the process dies not knowing.
    world
        .fault(
            json!({"path_contains": "/send", "status": 202, "count": 1, "after": true, "delay_ms": 60_000}),
        )
        .await;
    let (id, message_id) = accept(&server, &key, 1).await;
    eventually("the message has left", || async { (world.left(&message_id).await == 1).then_some(()) }).await;
    server.process.kill();
    drop(server);
    let message = sent_once_after_restart(&world, &key, &id, &message_id).await;
    let kinds: Vec<&str> =
        message["timeline"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"outbox.interrupted") && kinds.contains(&"outbox.reconciled"), "{kinds:?}");
}

#[tokio::test]
async fn a_gateway_error_after_delivery_is_unknown_first_and_sent_once_in_the_end() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    let server = world.serve().await;
    world.fault(json!({"path_contains": "/send", "status": 504, "count": 1, "after": true})).await;
    let (id, message_id) = accept(&server, &key, 1).await;
    let message = server.reaches(&key, &id, "sent").await;
    let kinds: Vec<&str> =
        message["timeline"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    let place = |kind| kinds.iter().position(|known| *known == kind);
    assert!(place("outbox.unknown") < place("outbox.reconciled"), "{kinds:?}");
    assert!(place("outbox.unknown").is_some(), "{kinds:?}");
    assert_eq!(world.left(&message_id).await, 1);
}

#[tokio::test]
async fn killed_while_mail_is_collected_every_mail_is_stored_once() {
    let world = World::new().await;
    world.connect().await;
    world.ok(&["user", "add", "orderdesk"]).await;
    for number in 0..30 {
        let mail = format!(
            "From: purchasing@fabrikam.example\r\nTo: orders@contoso.example\r\nSubject: Matter {number}\r\n\
             Message-ID: <{number}@fabrikam.example>\r\n\r\nBody {number}\r\n"
        );
        world.deliver("orders@contoso.example", mail.as_bytes()).await;
    }
    // The tenth message is never handed out: the process dies in the middle of a page.
    let fault = json!({"path_contains": "$value", "count": 1, "skip": 9, "delay_ms": 60_000});
    world.fault(fault).await;
    let mut server = world.serve().await;
    world.ok(&["mailbox", "add", "orders@contoso.example", "--type", "customer-order"]).await;
    eventually("nine messages were fetched", || async {
        let requests = world.requests().await;
        let fetched = requests
            .iter()
            .filter(|request| request["path"].as_str().unwrap_or_default().ends_with("$value"));
        (fetched.count() >= 9).then_some(())
    })
    .await;
    server.process.kill();
    drop(server);
    world.no_faults().await;
    let server = world.serve().await;
    let subjects = async || -> Vec<String> {
        let listed = world.ok(&["inbox", "--user", "orderdesk", "--json", "--limit", "500"]).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let subject = |message: &Value| message["summary"]["subject"].as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(subject).collect()
    };
    let mut found = eventually("all thirty are there", || async {
        let found = subjects().await;
        (found.len() >= 30).then_some(found)
    })
    .await;
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 30);
    world.ok(&["inbox", "collect", "orders@contoso.example"]).await;
    assert_eq!(subjects().await.len(), 30);
    drop(server);
}
