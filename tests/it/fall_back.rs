//! The way back of a renewal: the new secret is revoked at the tenant right after the switch, while mail leaves.

use std::cell::RefCell;

use postroom_model::Timestamp;
use serde_json::{Value, json};

use crate::credential::{RENEWED_WITHIN, administrator, credentials, grant, graph, object_id};
use crate::harness::{World, confirmation, within};

#[tokio::test]
async fn a_renewed_secret_that_is_revoked_after_the_switch_is_put_out_of_use_and_no_message_fails() {
    let world = World::new().await;
    let token = administrator(&world).await;
    let object = object_id(&world, &token).await;
    grant(&world, &token, "Application.ReadWrite.OwnedBy").await;
    let path = format!("applications/{object}/addPassword");
    let any = graph(&world, &token, &path, Some(json!({"passwordCredential": {}}))).await;
    let now: Timestamp = any["startDateTime"].as_str().unwrap().parse().unwrap();
    let end = Timestamp::from_second(now.as_second() + 20 * 86_400).unwrap().to_string();
    let short = json!({"passwordCredential": {"displayName": "short", "endDateTime": end}});
    let short = graph(&world, &token, &path, Some(short)).await;
    let file = world.path("short.txt");
    std::fs::write(&file, short["secretText"].as_str().unwrap()).unwrap();
    world.connect().await;
    let save = ["connection", "save", "--name", "Contoso 365", "--secret-file", file.to_str().unwrap()];
    world.ok(&[&save[..], &["--secret-expires", &end]].concat()).await;
    let old = credentials(&world).await[0]["id"].clone();
    let server = world.serve().await;
    let key = world.api_key("erp").await;
    let messages = RefCell::new(Vec::new());
    let send = async || {
        let number = u32::try_from(messages.borrow().len()).unwrap();
        let (status, message) = server.submit(&key, None, &confirmation(number)).await;
        assert_eq!(status, 202, "{message}");
        messages.borrow_mut().push(message["id"].as_str().unwrap().to_owned());
    };

    let new = within(RENEWED_WITHIN, "the secret is renewed", || async {
        send().await;
        let now = credentials(&world).await;
        let current = now.into_iter().find(|one| one["state"] == "current").unwrap();
        (current["id"] != old).then_some(current)
    })
    .await;
    let path = format!("applications/{object}/removePassword");
    graph(&world, &token, &path, Some(json!({"keyId": new["key_id"]}))).await;
    // Tokens that were given out before end too.
    let clock = format!("{}/_sandbox/clock", world.ready["graph"].as_str().unwrap());
    let moved = world.http.post(clock).json(&json!({"advance_seconds": 7_200})).send().await.unwrap();
    assert!(moved.status().is_success());
    let state = |list: &[Value], id: &Value| {
        list.iter().find(|one| one["id"] == *id).map(|one| one["state"].as_str().unwrap().to_owned())
    };
    within(RENEWED_WITHIN, "the old secret is in use again", || async {
        send().await;
        (state(&credentials(&world).await, &old).as_deref() == Some("current")).then_some(())
    })
    .await;
    for _ in 0..5 {
        send().await;
    }
    for id in &messages.take() {
        let sent = server.reaches(&key, id, "sent").await;
        assert_eq!(sent["attempts"], 1, "{sent}\n{}", server.process.log());
    }
    // What is refused is taken away, and it is told once.
    within(RENEWED_WITHIN, "the refused one is retired", || async {
        (state(&credentials(&world).await, &new["id"]).as_deref() == Some("retired")).then_some(())
    })
    .await;
    let log = server.process.log();
    assert_eq!(log.matches("credential.renewal-failed").count(), 1, "{log}");
    assert!(log.contains("is in use again") && log.contains("AADSTS7000215"), "{log}");
    assert!(!log.contains(short["secretText"].as_str().unwrap()));
}
