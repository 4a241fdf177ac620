//! Reading and being called, through the tenant of the sandbox.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::post;
use jiff::SignedDuration;
use postroom_model::SecretString;
use postroom_transport::{SendOutcome, Transports};
use serde_json::{Value, json};

use crate::tenant::Tenant;

const AT: &str = "u1@contoso.example";

fn mail(number: usize) -> String {
    format!(
        "Message-ID: <{number}@fabrikam.example>\r\nFrom: ann@fabrikam.example\r\nSubject: {number}\r\n\r\nHello\r\n"
    )
}

#[tokio::test]
async fn a_lost_cursor_loses_nothing_and_names_each_message_as_before() {
    let tenant = Tenant::new().await;
    for number in 0..60 {
        tenant.deliver(AT, mail(number)).await;
    }
    let source = tenant.source(AT).await;
    // 50 in the first page; then the cursor is lost, and more has come.
    let first = source.changes(None).await.unwrap();
    assert!(first.more && first.messages.len() == 50);
    let mut known: BTreeSet<String> = first.messages.iter().map(|one| one.provider_id.clone()).collect();
    tenant.dial("expire-deltas", json!({})).await;
    for number in 60..65 {
        tenant.deliver(AT, mail(number)).await;
    }
    let mut cursor = first.cursor;
    let (mut resyncs, mut told) = (0, Vec::new());
    loop {
        let page = source.changes(Some(&cursor)).await.unwrap();
        resyncs += u32::from(page.resync);
        told.extend(page.messages.into_iter().map(|one| one.provider_id));
        cursor = page.cursor;
        if !page.more {
            break;
        }
    }
    assert_eq!((resyncs, told.len()), (1, 65), "the round begins again and tells everything once");
    let new = told.iter().filter(|id| known.insert((*id).clone())).count();
    assert_eq!((new, known.len()), (15, 65), "what was known has the id it had");
}

#[tokio::test]
async fn a_message_that_breaks_off_is_a_failure_and_no_message() {
    let tenant = Tenant::new().await;
    tenant.deliver(AT, format!("{}{}", mail(1), "x".repeat(300_000))).await;
    let source = tenant.source(AT).await;
    let id = source.changes(None).await.unwrap().messages[0].provider_id.clone();
    tenant.fault(json!({"path_contains": "$value", "half": true})).await;
    let mut half = Vec::new();
    let failure = source.fetch(&id, 10_000_000, &mut half).await.unwrap_err();
    assert_eq!(failure.origin, postroom_model::failure::Origin::Network);
    assert!(half.len() < 300_000);
    let failure = source.fetch(&id, 1_000, &mut Vec::new()).await.unwrap_err();
    assert_eq!(failure.origin, postroom_model::failure::Origin::Ourselves, "larger than allowed");
    let mut whole = Vec::new();
    assert_eq!(source.fetch(&id, 10_000_000, &mut whole).await.unwrap(), Some(whole.len() as u64));
    assert!(whole.ends_with(b"xxx"));
}

#[tokio::test]
async fn one_mailbox_sends_in_the_name_of_another_when_it_may() {
    let tenant = Tenant::new().await;
    let mut job = crate::job(None);
    job.envelope.to = vec![crate::address(AT)];
    let raw = format!(
        "Message-ID: {}\r\nFrom: u2@contoso.example\r\nSender: {}\r\nTo: {AT}\r\nSubject: x\r\n\r\nHello\r\n",
        crate::MESSAGE_ID,
        crate::FROM
    );
    job.raw = raw.into();
    let outcome = tenant.sender().await.send(&job, &crate::Notes::default()).await;
    let SendOutcome::NotSent(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.code.as_deref(), Some("ErrorSendAsDenied"));
    tenant
        .exchange(format!(
            "Connect-ExchangeOnline\nAdd-RecipientPermission -Identity u2@contoso.example -Trustee {} -AccessRights SendAs\n",
            crate::FROM
        ))
        .await;
    let outcome = tenant.sender().await.send(&job, &crate::Notes::default()).await;
    assert!(matches!(outcome, SendOutcome::Sent(_)), "{outcome:?}");
    let inbox = tenant.inbox(AT).await;
    let text = String::from_utf8_lossy(&inbox[0]).into_owned();
    assert!(text.contains("\r\nFrom: u2@contoso.example\r\nSender: orders@contoso.example\r\n"), "{text}");
}

/// An end point that says the token back and keeps what it is told.
async fn end_point() -> (String, Arc<Mutex<Vec<Value>>>, Arc<tokio::sync::Notify>) {
    type Heard = (Arc<Mutex<Vec<Value>>>, Arc<tokio::sync::Notify>);
    async fn called(
        State((heard, news)): State<Heard>,
        Query(query): Query<std::collections::HashMap<String, String>>,
        body: String,
    ) -> String {
        if let Some(token) = query.get("validationToken") {
            return token.clone();
        }
        let call: Value = serde_json::from_str(&body).unwrap();
        heard.lock().unwrap().push(call["value"][0].clone());
        news.notify_one();
        String::new()
    }
    let heard: Heard = Heard::default();
    let router = Router::new().route("/hook", post(called)).with_state(heard.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, heard.0, heard.1)
}

#[tokio::test]
async fn a_subscription_is_told_of_arrivals_lasts_as_long_as_it_is_renewed_and_ends() {
    let tenant = Tenant::new().await;
    let (address, heard, news) = end_point().await;
    let wait = async || tokio::time::timeout(Duration::from_secs(20), news.notified()).await.unwrap();
    let last = || heard.lock().unwrap().last().cloned().unwrap();
    let connection = tenant.connection();
    let subscriber = tenant.wire().subscriber(&connection, &crate::address(AT)).await.unwrap().unwrap();
    let state = SecretString::from("s3cret-state".to_owned());
    let days = |days: i64| tenant.now() + SignedDuration::from_hours(24 * days);

    let refused = subscriber.subscribe("http://127.0.0.1:9/nobody", &state, days(6)).await.unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("ValidationError"));
    assert_eq!(subscriber.subscribe(&address, &state, days(8)).await.unwrap_err().status, Some(400));
    let made = subscriber.subscribe(&address, &state, days(6)).await.unwrap();
    assert_eq!(subscriber.subscribed(&address).await.unwrap(), std::slice::from_ref(&made.id));
    assert_eq!(subscriber.subscribe(&address, &state, days(6)).await.unwrap_err().status, Some(409));

    tenant.deliver(AT, mail(1)).await;
    wait().await;
    let told = last();
    assert_eq!(
        (told["clientState"].as_str(), told["subscriptionId"].as_str()),
        (Some("s3cret-state"), Some(&*made.id))
    );
    tenant.dial("lifecycle", json!({"event": "missed"})).await;
    wait().await;
    assert_eq!(last()["lifecycleEvent"], "missed");

    tenant.advance(5).await;
    let renewed = subscriber.renew(&made.id, days(6)).await.unwrap().unwrap();
    assert!(renewed.until > made.until);
    tenant.advance(5).await;
    assert_eq!(subscriber.subscribed(&address).await.unwrap().len(), 1, "it outlives its first end");
    tenant.advance(2).await;
    assert_eq!(subscriber.renew(&made.id, days(6)).await.unwrap(), None, "it has ended");
    let again = subscriber.subscribe(&address, &state, days(6)).await.unwrap();
    subscriber.unsubscribe(&again.id).await.unwrap();
    subscriber.unsubscribe(&again.id).await.unwrap();
    assert!(subscriber.subscribed(&address).await.unwrap().is_empty());
}
