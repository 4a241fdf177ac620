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
    let told = serde_json::to_value(ready).unwrap();
    assert_eq!(told["ews"], json!(world.url("/EWS/Exchange.asmx")));
    for door in ["imap", "smtp"] {
        let address: std::net::SocketAddr = told[door].as_str().unwrap().parse().unwrap();
        assert!(address.ip().is_loopback() && address.port() != world.sandbox.address().port());
    }
    let shown = format!("{ready:?}");
    assert!(!shown.contains(&ready.admin.password) && !shown.contains(&ready.users[0].password), "{shown}");
}

#[tokio::test]
async fn a_fifth_request_at_the_same_mailbox_is_throttled() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let path = "/v1.0/users/u1@contoso.example/mailFolders/inbox";
    world.fault(json!({"path_contains": "/mailFolders/inbox", "count": 5, "delay_ms": 300})).await;
    let five = std::array::from_fn::<_, 5, _>(|_| world.call(&token, Method::GET, path, Value::Null));
    let [a, b, c, d, e] = five;
    let (a, b, c, d, e) = tokio::join!(a, b, c, d, e);
    let mut statuses = [a.0, b.0, c.0, d.0, e.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 429]);
    assert_eq!(world.call(&token, Method::GET, path, Value::Null).await.0, 200);
}

#[tokio::test]
async fn a_fault_at_the_token_endpoint_has_the_shape_of_entra() {
    let world = World::new().await;
    world.fault(json!({"path_contains": "/oauth2/v2.0/token", "status": 503, "retry_after": 3})).await;
    let (status, body) = world.ask("contoso.example", &[("grant_type", "client_credentials")]).await;
    assert_eq!((status.as_u16(), body["error"].as_str()), (503, Some("temporarily_unavailable")));
}

#[tokio::test]
async fn a_chunked_body_is_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    let mut line = tokio::net::TcpStream::connect(world.sandbox.address()).await.unwrap();
    let head = "POST /_sandbox/deliver?to=u1%40contoso.example HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n";
    let body = "8\r\nFrom: a@\r\n12\r\nb.example\r\n\r\nhello\r\n0\r\n\r\n";
    line.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn a_fault_can_name_its_error_or_break_off_in_the_middle() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let path = "/v1.0/users/u1@contoso.example/mailFolders/inbox";
    world.fault(json!({"path_contains": "/token", "status": 400, "code": "AADSTS53003", "error": "invalid_grant"})).await;
    let (_, body) = world.ask("contoso.example", &[("grant_type", "client_credentials")]).await;
    assert_eq!((&body["error"], &body["error_codes"][0]), (&json!("invalid_grant"), &json!(53_003)));
    world
        .fault(json!({"path_contains": "/inbox", "status": 404, "code": "MailboxNotEnabledForRESTAPI"}))
        .await;
    assert_eq!(
        code(&world.call(&token, Method::GET, path, Value::Null).await.1),
        "MailboxNotEnabledForRESTAPI"
    );
    world.fault(json!({"path_contains": "/inbox", "half": true})).await;
    let response = world.request(&token, Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err());
}
