//! Streaming notifications of EWS, its faults and limits, and Autodiscover.

use postroom_ews::wire::*;
use reqwest::Method;
use serde_json::{Value, json};

use crate::doors::ORDERS;
use crate::ews::{DRAFT, Ews, allowed, inbox, only, save, send_item};
use crate::support::{World, answer, encoded};

/// A stream, read envelope by envelope.
struct Stream(reqwest::Response, EnvelopeCutter, Vec<Vec<u8>>);

impl Stream {
    async fn open(ews: &Ews<'_>, id: &str) -> Self {
        let request = GetStreamingEvents { ids: vec![id.to_owned()], minutes: 1 };
        Self(ews.send(Request::GetStreamingEvents(request)).await, EnvelopeCutter::new(100_000), Vec::new())
    }

    async fn next(&mut self) -> Option<ResponseMessage<Streamed>> {
        while self.2.is_empty() {
            let chunk = self.0.chunk().await.unwrap()?;
            self.2 = self.1.push(&chunk).unwrap();
        }
        let envelope = self.2.remove(0);
        let Answer::Response(Response::GetStreamingEvents(mut all)) =
            parse_response(&envelope).unwrap().answer
        else {
            panic!("another answer");
        };
        Some(all.remove(0))
    }

    async fn kinds(&mut self) -> Vec<EventType> {
        let streamed = self.next().await.unwrap().payload;
        streamed
            .notifications
            .iter()
            .flat_map(|one| one.events.iter().filter_map(|event| event.kind))
            .collect()
    }
}

#[tokio::test]
async fn a_stream_tells_what_happens_and_ends_when_its_time_is_over() {
    let world = World::new().await;
    let app = allowed(&world, &["full_access_as_app"]).await;
    let ews = Ews::new(&world, &app, ORDERS).await;
    let subscribe = Subscribe {
        streaming: StreamingSubscription {
            all_folders: None,
            folders: vec![FolderRef::distinguished("inbox")],
            events: vec![EventType::NewMailEvent, EventType::MovedEvent, EventType::ModifiedEvent],
        },
    };
    let id = only!(Subscribe, ews, subscribe).payload.id.unwrap();
    // What happens before the stream is open is told too.
    let before = world.deliver(ORDERS, "Subject: before\r\n\r\nx\r\n").await;
    let mut stream = Stream::open(&ews, &id).await;
    assert_eq!(stream.next().await.unwrap().payload.status, Some(ConnectionStatus::OK));
    assert_eq!(stream.kinds().await, [EventType::NewMailEvent]);
    let graph = world.app_token(&app).await;
    let path = format!("/v1.0/users/{ORDERS}/messages/{}", encoded(&before["id"]));
    world.call(&graph, Method::PATCH, &path, json!({"isRead": true})).await;
    assert_eq!(stream.kinds().await, [EventType::ModifiedEvent]);
    world.call(&graph, Method::POST, &format!("{path}/move"), json!({"destinationId": "archive"})).await;
    let moved = stream.next().await.unwrap().payload;
    let event = &moved.notifications[0].events[0];
    assert_eq!(event.kind, Some(EventType::MovedEvent));
    assert_eq!(event.details.old_item.as_ref().unwrap().id, before["id"].as_str().unwrap());

    let mut newer = Stream::open(&ews, &id).await;
    let taken = stream.next().await.unwrap();
    assert_eq!(taken.code, "ErrorNewEventStreamConnectionOpened");
    assert!(stream.next().await.is_none());
    assert_eq!(newer.next().await.unwrap().payload.status, Some(ConnectionStatus::OK));
    world.dial("clock", json!({"advance_seconds": 61})).await;
    assert_eq!(newer.next().await.unwrap().payload.status, Some(ConnectionStatus::Closed));
    assert!(newer.next().await.is_none());

    assert_eq!(only!(Unsubscribe, ews, Unsubscribe { id: id.clone() }).code, "NoError");
    let gone = Stream::open(&ews, &id).await.next().await.unwrap();
    assert_eq!(
        (gone.code.as_str(), &gone.payload.bad_subscriptions),
        ("ErrorSubscriptionNotFound", &vec![id])
    );
}

#[tokio::test]
async fn faults_and_limits_reach_this_door_too() {
    let world = World::with(|options| options.limits.requests_per_ten_minutes = 4).await;
    let app = allowed(&world, &["full_access_as_app"]).await;
    let ews = Ews::new(&world, &app, ORDERS).await;
    let at = |more: Value| {
        let mut fault = json!({"path_contains": "Exchange.asmx"});
        fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fault
    };
    world.fault(at(json!({"operation": "SendItem", "status": 503, "retry_after": 7}))).await;
    assert_eq!(ews.inbox().await, 200, "another operation");
    let response = ews.send(Request::SendItem(send_item(&ItemId::of("AAMkAGxxxx=")))).await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "7"));
    world.fault(at(json!({"status": 500, "code": "ErrorServerBusy", "back_off_ms": 297_749}))).await;
    let fault = ews.fault(inbox()).await;
    assert_eq!(fault.values.unwrap().value("BackOffMilliseconds"), Some("297749"));
    world
        .fault(at(json!({"status": 200, "code": "ErrorInternalServerError", "inner": "ErrorServerBusy"})))
        .await;
    let Response::GetFolder(messages) = ews.answer(inbox()).await else { panic!() };
    assert_eq!(messages[0].values.as_ref().unwrap().value("InnerErrorResponseCode"), Some("ErrorServerBusy"));
    world
        .fault(at(
            json!({"operation": "CreateItem", "after": true, "status": 500, "code": "ErrorTimeoutExpired"}),
        ))
        .await;
    let fault = ews.fault(Request::CreateItem(save(DRAFT))).await;
    assert_eq!(fault.code, "ErrorTimeoutExpired");
    let graph = world.app_token(&app).await;
    let drafts = world.get(&graph, &format!("/v1.0/users/{ORDERS}/mailFolders/drafts/messages")).await;
    assert_eq!(drafts["value"].as_array().unwrap().len(), 1, "done, and then refused");

    assert_eq!((ews.inbox().await, ews.inbox().await), (200, 200));
    let full = ews.fault(inbox()).await;
    assert_eq!(full.code, "ErrorServerBusy");
    assert!(full.values.unwrap().value("BackOffMilliseconds").is_some());
}

#[tokio::test]
async fn autodiscover_names_this_address_in_both_forms() {
    let world = World::new().await;
    for path in [
        format!("/autodiscover/autodiscover.json/v1.0/{ORDERS}?Protocol=EWS"),
        format!("/autodiscover/autodiscover.json?Email={ORDERS}&Protocol=EWS&RedirectCount=1"),
    ] {
        let (status, body) = answer(world.client.get(world.url(&path))).await;
        assert_eq!((status, &body), (200, &json!({"Protocol": "EWS", "Url": world.sandbox.ready().ews})));
    }
    let (status, body) =
        answer(world.client.get(world.url("/autodiscover/autodiscover.json?Protocol=EWS"))).await;
    assert_eq!((status, &body["ErrorCode"]), (400, &json!("MandatoryParameterMissing")));
}
