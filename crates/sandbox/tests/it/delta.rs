//! Delta: what a client that keeps up sees.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{MAIL, World, answer, code, encoded, text};

const START: &str = "/v1.0/users/orders@contoso.example/mailFolders/inbox/messages/delta?$select=subject";

async fn page(world: &World, token: &str, url: &str) -> Value {
    let request = world
        .client
        .get(url)
        .bearer_auth(token)
        .header("Prefer", "odata.maxpagesize=2")
        .header("Prefer", "IdType=\"ImmutableId\"");
    let (status, body) = answer(request).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// All entries of a round, and the link of the next one.
async fn round(world: &World, token: &str, start: String) -> (Vec<Value>, String) {
    let mut url = start;
    let mut entries = Vec::new();
    loop {
        let body = page(world, token, &url).await;
        let value = body["value"].as_array().unwrap();
        assert!(value.len() <= 2);
        entries.extend(value.iter().cloned());
        if let Some(link) = body["@odata.deltaLink"].as_str() {
            return (entries, link.to_owned());
        }
        url = text(&body["@odata.nextLink"]);
    }
}

async fn deliver(world: &World, subject: &str) -> Value {
    let raw = format!("From: ann@fabrikam.example\r\nSubject: {subject}\r\n\r\nhello");
    world.deliver("orders@contoso.example", &raw).await
}

#[tokio::test]
async fn a_round_gives_what_was_added_changed_and_removed_since_the_last() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let mut mails = Vec::new();
    for number in 0..5 {
        mails.push(deliver(&world, &number.to_string()).await);
    }
    let (entries, link) = round(&world, &token, world.url(START)).await;
    let subjects: Vec<&str> = entries.iter().map(|entry| entry["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["0", "1", "2", "3", "4"]);
    let (entries, link) = round(&world, &token, link).await;
    assert_eq!(entries, Vec::<Value>::new());

    let base = "/v1.0/users/orders@contoso.example/messages";
    let one = |index: usize| format!("{base}/{}", encoded(&mails[index]["immutableId"]));
    assert_eq!(world.call(&token, Method::PATCH, &one(3), json!({"isRead": true})).await.0, 200);
    let archive = json!({"destinationId": "archive"});
    assert_eq!(world.call(&token, Method::POST, &format!("{}/move", one(0)), archive).await.0, 201);
    let sixth = deliver(&world, "5").await;
    let (entries, _) = round(&world, &token, link).await;
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[0]["id"], mails[3]["immutableId"]);
    assert_eq!(
        (&entries[1]["id"], &entries[1]["@removed"]["reason"]),
        (&mails[0]["immutableId"], &json!("deleted"))
    );
    assert_eq!(entries[2]["id"], sixth["immutableId"]);
}

#[tokio::test]
async fn a_changed_or_expired_token_is_gone() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let (_, link) = round(&world, &token, world.url(START)).await;
    let (status, body) = answer(world.client.get(format!("{link}x")).bearer_auth(&token)).await;
    assert_eq!((status, code(&body)), (410, "SyncStateNotFound"));
    let (_, sealed) = link.split_once('?').unwrap();
    let other =
        world.url(&format!("/v1.0/users/hr@contoso.example/mailFolders/inbox/messages/delta?{sealed}"));
    assert_eq!(answer(world.client.get(&other).bearer_auth(&token)).await.0, 410);
    assert_eq!(answer(world.client.post(world.url("/_sandbox/expire-deltas"))).await.0, 204);
    let response = world.client.get(&link).bearer_auth(&token).send().await.unwrap();
    assert_eq!(response.status(), 410);
    assert!(response.headers().contains_key("location"));
}

#[tokio::test]
async fn a_round_can_begin_at_a_date() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    deliver(&world, "old").await;
    world.clock.advance(jiff::SignedDuration::from_secs(60));
    deliver(&world, "new").await;
    let start = format!("{}&$filter=receivedDateTime%20ge%202026-11-23T10:00:30Z", world.url(START));
    let (entries, _) = round(&world, &token, start).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["subject"], "new");
}
