use postroom_model::failure::{Decision, Origin};
use postroom_transport::{Source, Transports};
use serde_json::json;

use crate::stub::{Reply, Stub};
use crate::{FROM, connection, graph, mailbox, page, refused, settings, wire};

async fn source(stub: &Stub) -> Box<dyn Source> {
    wire().source(&connection(settings(&stub.url)), &mailbox(FROM)).await.unwrap()
}

#[tokio::test]
async fn a_page_tells_each_message_once_and_completes_it() {
    let stub = graph(|seen| {
        let host = seen.header("host");
        match seen.line().as_str() {
            "POST /v1.0/$batch" => Reply::json(200, &json!({"responses":[
                {"id":"1","status":404,"headers":{},"body":{"error":{"code":"ErrorItemNotFound","message":"no"}}},
                {"id":"0","status":200,"headers":{},"body":
                    {"id":"B","internetMessageId":"<b@x.example>","receivedDateTime":"2026-11-23T09:00:00Z"}}]})),
            _ => Reply::json(
                200,
                &json!({"value":[
                    {"id":"A","internetMessageId":"<a@x.example>","receivedDateTime":"2026-11-23T08:00:00Z","isDraft":false},
                    {"id":"B","isRead":true},
                    {"id":"C","isRead":true},
                    {"id":"D","isDraft":true,"receivedDateTime":"2026-11-23T08:00:00Z"},
                    {"id":"A","isRead":true},
                    {"id":"E","@removed":{"reason":"deleted"}}],
                    "@odata.nextLink":format!("http://{host}/v1.0/next?$skiptoken=1")}),
            ),
        }
    })
    .await;
    let changes = source(&stub).await.changes(None).await.unwrap();
    let told: Vec<_> = changes
        .messages
        .iter()
        .map(|message| (message.provider_id.as_str(), message.message_id.as_deref()))
        .collect();
    assert_eq!(told, [("A", Some("<a@x.example>")), ("B", Some("<b@x.example>"))]);
    assert_eq!(changes.removed, ["E", "C"]);
    assert!(changes.more && !changes.resync);
    assert!(changes.cursor.ends_with("/v1.0/next?$skiptoken=1"));
    let first = &stub.seen()[1];
    assert!(first.target.starts_with("/v1.0/users/orders@contoso.example/mailFolders/inbox/messages/delta?"));
    assert!(first.header("prefer").contains("odata.maxpagesize=50"));
    let asked: serde_json::Value = serde_json::from_str(&stub.seen()[2].body).unwrap();
    let one = &asked["requests"][1];
    assert!(one["url"].as_str().unwrap().starts_with("/users/orders@contoso.example/messages/C?"), "{one}");
    assert_eq!(one["headers"]["Prefer"], "IdType=\"ImmutableId\"");
}

#[tokio::test]
async fn forty_five_look_ups_take_three_requests_and_one_that_is_refused_is_asked_alone() {
    let seen_alone = "GET /v1.0/users/orders@contoso.example/messages/M7";
    for (status, headers, done) in
        [(503, json!({}), true), (429, json!({"Retry-After": "17"}), false), (200, json!({}), true)]
    {
        let stub = graph(move |seen| {
            let found = |id: &str| json!({"id": id, "receivedDateTime": "2026-11-23T09:00:00Z"});
            if seen.line() == seen_alone {
                return Reply::json(200, &found("M7"));
            }
            if seen.line() == "POST /v1.0/$batch" {
                let asked: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
                let answers = asked["requests"].as_array().unwrap().iter().map(|one| {
                    let id = one["url"].as_str().unwrap().split(['/', '?']).nth(4).unwrap();
                    match id {
                        "M7" if status != 200 => {
                            json!({"id": one["id"], "status": status, "headers": headers,
                            "body": {"error": {"code": "ApplicationThrottled", "message": "no"}}})
                        }
                        _ => json!({"id": one["id"], "status": 200, "headers": {}, "body": found(id)}),
                    }
                });
                return Reply::json(200, &json!({"responses": answers.collect::<Vec<_>>()}));
            }
            let entries: Vec<_> = (0..45).map(|n| json!({"id": format!("M{n}"), "isRead": true})).collect();
            let link = format!("http://{}/new", seen.header("host"));
            Reply::json(200, &json!({"value": entries, "@odata.deltaLink": link}))
        })
        .await;
        match source(&stub).await.changes(None).await {
            Ok(changes) => {
                let ids: Vec<_> = changes.messages.iter().map(|one| one.provider_id.clone()).collect();
                assert_eq!(ids, (0..45).map(|n| format!("M{n}")).collect::<Vec<_>>());
                assert!(done);
            }
            Err(failure) => {
                let after = Some(jiff::SignedDuration::from_secs(17));
                assert_eq!(failure.decision(), postroom_model::failure::Decision::Retry { after });
                assert!(!done);
            }
        }
        let lines = stub.lines();
        assert_eq!(lines.iter().filter(|line| *line == "POST /v1.0/$batch").count(), 3);
        assert_eq!(lines.iter().any(|line| line == seen_alone), status == 503);
    }
}

#[tokio::test]
async fn one_message_that_cannot_be_looked_up_does_not_hold_up_the_page() {
    for refusal in [
        json!({"status": 500, "body": {"error": {"code": "ErrorInternalServerError", "message": "no"}}}),
        json!({"status": 400, "body": {"error": {"code": "ErrorCorruptData", "message": "no"}}}),
        json!({"status": 200, "body": "nonsense"}),
    ] {
        let stub = graph(move |seen| match seen.line().as_str() {
            "POST /v1.0/$batch" => {
                let good = json!({"id": "B", "internetMessageId": "<b@x.example>",
                    "receivedDateTime": "2026-11-23T09:00:00Z"});
                let draft = json!({"id": "D", "isDraft": true, "receivedDateTime": "2026-11-23T09:00:00Z"});
                Reply::json(
                    200,
                    &json!({"responses": [
                        {"id": "0", "status": refusal["status"], "headers": {}, "body": refusal["body"]},
                        {"id": "1", "status": 200, "headers": {}, "body": good},
                        {"id": "2", "status": 200, "headers": {}, "body": draft}]}),
                )
            }
            "GET /v1.0/users/orders@contoso.example/messages/A/$value" => refused(400, "ErrorCorruptData"),
            "GET /v1.0/users/orders@contoso.example/messages/A" => refused(500, "ErrorInternalServerError"),
            _ => {
                let link = format!("http://{}/new", seen.header("host"));
                let entries = ["A", "B", "D"].map(|id| json!({"id": id, "isRead": true}));
                Reply::json(200, &json!({"value": entries, "@odata.deltaLink": link}))
            }
        })
        .await;
        let source = source(&stub).await;
        let changes = source.changes(None).await.unwrap();
        let told: Vec<_> = changes
            .messages
            .iter()
            .map(|message| (message.provider_id.as_str(), message.message_id.as_deref()))
            .collect();
        assert_eq!(told, [("A", None), ("B", Some("<b@x.example>"))], "what is a draft was not received");
        assert!(changes.removed.is_empty() && changes.cursor.ends_with("/new"));
        // What becomes of it is decided when it is fetched.
        let failure = source.fetch("A", 1_000, &mut Vec::new()).await.unwrap_err();
        assert_eq!((failure.origin, failure.status), (Origin::Provider, Some(400)), "{failure}");
    }
}

#[tokio::test]
async fn a_lost_cursor_starts_over() {
    for (status, code) in
        [(410, "SyncStateNotFound"), (410, ""), (400, "syncStateNotFound"), (404, "ResyncRequired")]
    {
        let stub = graph(move |seen| match seen.target.starts_with("/old") {
            true => refused(status, code),
            false => Reply::json(
                200,
                &json!({"value":[],"@odata.deltaLink":format!("http://{}/new", seen.header("host"))}),
            ),
        })
        .await;
        let cursor = stub.url.join("old").unwrap();
        let changes = source(&stub).await.changes(Some(cursor.as_str())).await.unwrap();
        assert!(changes.resync && changes.cursor.ends_with("/new"), "{status} {code}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_graph_starts_over_without_asking_it() {
    let stub = graph(|seen| {
        Reply::json(
            200,
            &json!({"value":[],"@odata.deltaLink":format!("http://{}/new", seen.header("host"))}),
        )
    })
    .await;
    let changes = source(&stub).await.changes(Some("https://elsewhere.example/delta")).await.unwrap();
    assert!(changes.resync);

    let stub =
        graph(|_| Reply::json(200, &json!({"value":[],"@odata.deltaLink":"https://elsewhere.example/d"})))
            .await;
    let failure = source(&stub).await.changes(None).await.unwrap_err();
    assert_eq!((failure.origin, failure.decision()), (Origin::Ourselves, Decision::Hold));
}

#[tokio::test]
async fn refusals_carry_their_decision_and_advice() {
    for (reply, decision, advised) in [
        (refused(403, "ErrorAccessDenied"), Decision::Hold, true),
        (refused(404, "ErrorInvalidUser"), Decision::Hold, true),
        (refused(410, ""), Decision::Retry { after: None }, false),
        (refused(503, "ServiceNotAvailable"), Decision::Retry { after: None }, true),
        (Reply::Cut, Decision::Retry { after: None }, false),
    ] {
        let shown = format!("{reply:?}");
        let stub = graph(move |_| reply.clone()).await;
        let failure = source(&stub).await.changes(None).await.unwrap_err();
        assert_eq!((failure.decision(), failure.advice.is_some()), (decision, advised), "{shown}");
        assert_eq!(failure.operation, "read orders@contoso.example");
    }
}

#[tokio::test]
async fn a_message_is_fetched_within_its_limit_or_gone() {
    let stub = graph(|seen| match seen.line().as_str() {
        "GET /v1.0/users/orders@contoso.example/messages/A/$value" => Reply::text(200, "Subject: x\r\n\r\n"),
        _ => refused(404, "ErrorItemNotFound"),
    })
    .await;
    let source = source(&stub).await;
    let mut raw = Vec::new();
    assert_eq!(source.fetch("A", 14, &mut raw).await.unwrap(), Some(14));
    assert_eq!(raw, b"Subject: x\r\n\r\n");
    assert_eq!(source.fetch("A", 13, &mut raw).await.unwrap_err().origin, Origin::Ourselves);
    assert_eq!(source.fetch("B", 100, &mut raw).await.unwrap(), None);
}

#[tokio::test]
async fn a_probe_gives_one_sentence() {
    let stub = graph(|seen| match seen.line().as_str() {
        "GET /v1.0/users/orders@contoso.example/mailFolders/inbox" => {
            Reply::json(200, &json!({"id":"f","totalItemCount":12,"unreadItemCount":3}))
        }
        _ => page(&[json!({"id":"A","receivedDateTime":"2026-11-23T09:59:59Z"})]),
    })
    .await;
    assert_eq!(
        source(&stub).await.probe().await.unwrap(),
        "Inbox of orders@contoso.example opened: 12 messages, 3 unread; the newest was received at 2026-11-23T09:59:59Z."
    );
    let stub = graph(|_| refused(404, "MailboxNotEnabledForRESTAPI")).await;
    assert!(source(&stub).await.probe().await.unwrap_err().advice.unwrap().contains("licence"));
}
