//! A connection switched between EWS and Microsoft Graph in the middle of its work: mail half read, messages waiting to
//! be sent.

use serde_json::{Value, json};

use crate::harness::{Server, World, confirmation, eventually};

const ORDERS: &str = "orders@contoso.example";

fn mail(number: usize) -> String {
    format!(
        "From: purchasing@fabrikam.example\r\nTo: {ORDERS}\r\nSubject: Matter {number:03}\r\n\
         Message-ID: <{number}@fabrikam.example>\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n\r\nBody {number}\r\n"
    )
}

/// Subjects of all that the order desk sees, in order.
async fn subjects(world: &World) -> Vec<String> {
    let listed = world.ok(&["inbox", "--user", "orderdesk", "--json", "--limit", "500"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let subject = |message: &Value| message["summary"]["subject"].as_str().unwrap().to_owned();
    let mut found: Vec<String> = listed.as_array().unwrap().iter().map(subject).collect();
    found.sort();
    found
}

async fn collected(world: &World, count: usize) -> Vec<String> {
    eventually(&format!("{count} messages are collected"), || async {
        Some(subjects(world).await).filter(|found| found.len() >= count)
    })
    .await
}

fn all(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("Matter {number:03}")).collect()
}

/// Accepts a message that its provider is too busy for now, and gives its id and `Message-ID`.
async fn deferred(server: &Server, key: &str, number: u32) -> (String, String) {
    let (status, accepted) = server.submit(key, None, &confirmation(number)).await;
    assert_eq!(status, 202, "{accepted}");
    let text = |name: &str| accepted[name].as_str().unwrap().to_owned();
    server.reaches(key, &text("id"), "deferred").await;
    (text("id"), text("message_id"))
}

#[tokio::test]
async fn switched_with_half_a_backlog_read_and_mail_waiting_nothing_is_lost_and_nothing_comes_twice() {
    let world = World::new().await;
    world.connect().await;
    let base = world.ready["graph"].as_str().unwrap();
    let save = ["connection", "save", "--name", "Contoso 365", "--exchange", base];
    world.ok(&[&save[..], &["--secret-file", "secret.txt"]].concat()).await;
    world.allow_ews().await;
    world.ok(&["user", "add", "orderdesk"]).await;
    world.ok(&["mailbox", "add", ORDERS, "--type", "customer-order"]).await;
    let key = world.api_key("erp").await;
    for number in 1..=60 {
        world.deliver(ORDERS, mail(number).as_bytes()).await;
    }

    // By Graph: the first page is stored, the second is being read, and Graph is too busy to send.
    world.fault(json!({"path_contains": "$value", "count": 1, "skip": 55, "delay_ms": 60_000})).await;
    world.fault(json!({"path_contains": "/messages", "method": "POST", "status": 429, "count": 20})).await;
    let mut server = world.serve().await;
    let (by_ews, by_ews_id) = deferred(&server, &key, 1).await;
    assert_eq!(collected(&world, 50).await, all(50), "oldest first, and a page at a time");
    server.process.kill();
    drop(server);
    world.no_faults().await;
    world.ok(&["connection", "migrate", "Contoso 365", "--to", "ews"]).await;
    let server = world.serve().await;
    assert_eq!(collected(&world, 60).await, all(60), "by EWS the rest, and none of the first again");
    server.reaches(&key, &by_ews, "sent").await;
    drop(server);

    // The same by EWS.
    for number in 61..=120 {
        world.deliver(ORDERS, mail(number).as_bytes()).await;
    }
    let busy = json!({"operation": "CreateItem", "status": 500, "code": "ErrorServerBusy", "count": 20});
    world.fault(busy).await;
    // The look at the messages of each page is one, too.
    world.fault(json!({"operation": "GetItem", "count": 1, "skip": 57, "delay_ms": 60_000})).await;
    let mut server = world.serve().await;
    let (by_graph, by_graph_id) = deferred(&server, &key, 2).await;
    // Read at once, and not when the clock says so.
    let mut reading = world.command().args(["inbox", "collect", ORDERS]).spawn().unwrap();
    let half = collected(&world, 110).await;
    reading.kill().unwrap();
    reading.wait().unwrap();
    server.process.kill();
    drop(server);
    assert_eq!(half, all(110));
    world.no_faults().await;
    world.ok(&["connection", "migrate", "Contoso 365", "--to", "graph"]).await;
    let server = world.serve().await;
    assert_eq!(collected(&world, 120).await, all(120));
    server.reaches(&key, &by_graph, "sent").await;
    world.ok(&["inbox", "collect", ORDERS]).await;
    assert_eq!(subjects(&world).await, all(120), "a further reading finds nothing new");
    for message_id in [by_ews_id, by_graph_id] {
        assert_eq!(world.left(&message_id).await, 1, "{message_id}");
    }
    drop(server);
}
