//! Where the provider can reach Postroom, it calls: mail is read at once, whatever the polling interval.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::{World, eventually};

const ORDERS: &str = "orders@contoso.example";

/// The public address: leads to the server once that is known, and can be closed.
struct Door {
    url: String,
    to: watch::Sender<Option<String>>,
    closed: watch::Sender<bool>,
    /// Calls that came while it was closed.
    turned_away: Arc<AtomicUsize>,
}

impl Door {
    async fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (to, address) = watch::channel(None::<String>);
        let (closed, is_closed) = watch::channel(false);
        let turned_away = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&turned_away);
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                if *is_closed.borrow() {
                    count.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let (mut address, mut is_closed) = (address.clone(), is_closed.clone());
                tokio::spawn(async move {
                    let Ok(known) = address.wait_for(Option::is_some).await.map(|known| known.clone()) else {
                        return;
                    };
                    let mut server = TcpStream::connect(known.unwrap()).await.unwrap();
                    // Closing it ends the connections that are kept, too.
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut caller, &mut server) => {}
                        _ = is_closed.wait_for(|closed| *closed) => {}
                    }
                });
            }
        });
        Self { url, to, closed, turned_away }
    }
}

/// How often the tenant answered well to such a request.
async fn answered(world: &World, method: &str, path: &str) -> usize {
    let requests = world.requests().await;
    let wanted = |request: &&Value| {
        request["method"] == method
            && request["path"].as_str().unwrap_or_default().contains(path)
            && request["status"].as_u64().is_some_and(|status| status < 300)
    };
    requests.iter().filter(wanted).count()
}

async fn happens(world: &World, method: &str, path: &str, times: usize) {
    eventually(&format!("{times} times {method} {path}"), || async {
        (answered(world, method, path).await >= times).then_some(())
    })
    .await;
}

async fn deliver(world: &World, number: usize) {
    let mail = format!(
        "From: purchasing@fabrikam.example\r\nTo: {ORDERS}\r\nSubject: Matter {number}\r\n\
         Message-ID: <{number}@fabrikam.example>\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n\r\nBody\r\n"
    );
    world.deliver(ORDERS, mail.as_bytes()).await;
}

async fn collected(world: &World) -> usize {
    let listed = world.ok(&["inbox", "--user", "orderdesk", "--json"]).await;
    serde_json::from_str::<Value>(&listed).unwrap().as_array().unwrap().len()
}

async fn holds(world: &World, count: usize) {
    eventually(&format!("{count} messages are collected"), || async {
        (collected(world).await == count).then_some(())
    })
    .await;
}

async fn lifecycle(world: &World, event: &str) {
    let url = format!("{}/_sandbox/lifecycle", world.ready["graph"].as_str().unwrap());
    let answer = world.http.post(url).json(&json!({ "event": event })).send().await.unwrap();
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["told"], 1, "{event}");
}

#[tokio::test]
async fn a_call_of_the_provider_has_the_mailbox_read_at_once_and_events_of_its_subscription_are_followed() {
    let world = World::new().await;
    world.connect().await;
    world.ok(&["user", "add", "orderdesk"]).await;
    // Once a day: whatever is read within this test was not read by the clock.
    let add = ["mailbox", "add", ORDERS, "--type", "customer-order", "--polling-interval", "1440"];
    world.ok(&add).await;
    let door = Door::open().await;
    let mut command = world.command();
    command.env("POSTROOM_PUBLIC_URL", &door.url);
    let server = world.serve_with(command).await;
    door.to.send(Some(server.url.strip_prefix("http://").unwrap().to_owned())).unwrap();
    happens(&world, "POST", "/subscriptions", 1).await;
    happens(&world, "GET", "/messages/delta", 1).await;

    for count in 1..=3 {
        deliver(&world, count).await;
        holds(&world, count).await;
    }

    // What was not told is found when the provider says that it missed something.
    door.closed.send(true).unwrap();
    deliver(&world, 4).await;
    eventually("the provider has given up", || async {
        (door.turned_away.load(Ordering::SeqCst) >= 3).then_some(())
    })
    .await;
    assert_eq!(collected(&world).await, 3, "nobody told of it");
    door.closed.send(false).unwrap();
    lifecycle(&world, "missed").await;
    holds(&world, 4).await;

    lifecycle(&world, "reauthorizationRequired").await;
    happens(&world, "PATCH", "/subscriptions/", 1).await;

    lifecycle(&world, "subscriptionRemoved").await;
    happens(&world, "POST", "/subscriptions", 2).await;
    // The new one is written down a moment after it was made; from then on it tells.
    deliver(&world, 5).await;
    holds(&world, 5).await;
    let log = server.process.log();
    assert!(!log.contains("do not prove where they come from"), "{log}");
}
