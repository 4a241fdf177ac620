//! The dials: faults, the log of requests, data that lasts.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{MAIL, World, answer, code};

const SEND: &str = "/v1.0/users/orders@contoso.example/sendMail";

fn mail() -> Value {
    json!({"message": {"subject": "s", "toRecipients": [{"emailAddress": {"address": "ann@fabrikam.example"}}]}})
}

#[tokio::test]
async fn a_late_fault_does_the_work_and_an_early_one_does_not() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    world.fault(json!({"path_contains": "/sendMail", "status": 504, "after": true})).await;
    let (status, body) = world.call(&token, Method::POST, SEND, mail()).await;
    assert_eq!((status, code(&body)), (504, "GatewayTimeout"));
    assert_eq!(world.outside().await.as_array().unwrap().len(), 1);
    world.fault(json!({"path_contains": "/sendMail", "status": 429, "retry_after": 7})).await;
    let response = world.request(&token, Method::POST, SEND).json(&mail()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (429, "7"));
    assert_eq!(world.outside().await.as_array().unwrap().len(), 1);
    assert_eq!(world.call(&token, Method::POST, SEND, mail()).await.0, 202);
}

#[tokio::test]
async fn a_cut_line_gives_no_answer_whether_the_work_was_done_or_not() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    for (after, delivered) in [(false, 0), (true, 1)] {
        world.fault(json!({"path_contains": "/sendMail", "cut": true, "after": after})).await;
        let failed = world.request(&token, Method::POST, SEND).json(&mail()).send().await;
        assert!(failed.is_err());
        assert_eq!(world.outside().await.as_array().unwrap().len(), delivered);
    }
}

#[tokio::test]
async fn requests_are_remembered_without_query_or_secrets() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    world.get(&token, "/v1.0/users/u1%40contoso.example/messages?$top=1").await;
    let (_, log) = answer(world.client.get(world.url("/_sandbox/requests"))).await;
    let last = log.as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        last,
        json!({"method": "GET", "path": "/v1.0/users/u1@contoso.example/messages", "status": 200})
    );
}

#[tokio::test]
async fn mail_for_an_unknown_mailbox_cannot_be_dropped_in() {
    let world = World::new().await;
    let request =
        world.client.post(world.url("/_sandbox/deliver?to=nobody@contoso.example")).body("a: b\r\n\r\nc");
    assert_eq!(answer(request).await.0, 404);
}

#[tokio::test]
async fn state_outlives_the_process_and_outside_mail_is_written_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = Some(folder.path().to_owned());
    let world = World::at(data.clone()).await;
    let app = world.app(MAIL).await;
    let token = world.app_token(&app).await;
    assert_eq!(world.call(&token, Method::POST, SEND, mail()).await.0, 202);
    let tenant = world.tenant().to_owned();
    world.sandbox.stop().await;

    let world = World::at(data).await;
    assert_eq!(world.tenant(), tenant);
    // The signing key is the same too: the old token still opens the mailbox.
    let sent = world.get(&token, "/v1.0/users/orders@contoso.example/mailFolders/sentitems/messages").await;
    assert_eq!(sent["value"].as_array().unwrap().len(), 1);
    let outside = world.outside().await;
    let file = folder.path().join("outside").join(outside[0]["file"].as_str().unwrap());
    let written = std::fs::read_to_string(file).unwrap();
    assert!(written.starts_with("X-Sandbox-Envelope-To: ann@fabrikam.example\r\n"), "{written}");
}

#[tokio::test]
async fn what_is_printed_of_the_start_hides_the_passwords() {
    let world = World::new().await;
    let ready = world.sandbox.ready();
    assert_eq!(ready.users.len(), 6);
    let shown = format!("{ready:?}");
    assert!(!shown.contains(&ready.admin.password) && !shown.contains(&ready.users[0].password), "{shown}");
}
