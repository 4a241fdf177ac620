use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use postroom_ews::wire::*;
use postroom_model::failure::{Decision, Origin};
use postroom_transport::{Changes, Woken};

use super::{asked, document, exchange, fault, item, no, ok, says, source, with_id, xml};
use crate::stub::Reply;

fn synced(state: &str, last: bool, changes: Vec<Change>) -> Reply {
    let synced = Synced { state: Some(state.into()), is_last: Some(last), changes };
    says(Response::SyncFolderItems(ok(synced)))
}

fn here(id: &str) -> Here {
    Here { item: with_id(id).into() }
}

fn received(id: &str) -> Message {
    Message {
        received: "2026-11-20T08:15:00Z".parse().ok(),
        internet_message_id: Some(format!("<{id}@fabrikam.example>")),
        is_draft: Some(false),
        ..with_id(id)
    }
}

/// Every message is there but `gone`, and `draft` is a draft.
fn items(get: &GetItem) -> Reply {
    let one = |id: &ItemId| match id.id.as_str() {
        "gone" => ResponseMessage::error("ErrorItemNotFound", "gone"),
        "draft" => ResponseMessage::success(item(Message { is_draft: Some(true), ..received("draft") })),
        id => ResponseMessage::success(item(received(id))),
    };
    says(Response::GetItem(get.items.iter().map(one).collect()))
}

fn ids(changes: &Changes) -> Vec<&str> {
    changes.messages.iter().map(|message| message.provider_id.as_str()).collect()
}

#[tokio::test]
async fn a_page_tells_each_message_once_and_what_left() {
    let stub = exchange(|request, _| match request {
        Request::SyncFolderItems(sync) => {
            assert_eq!((sync.state.as_deref(), sync.max), (Some("S1"), 50));
            synced(
                "S2",
                false,
                vec![
                    Change::Create(here("A")),
                    Change::Create(here("gone")),
                    Change::Create(here("B")),
                    Change::Update(here("A")),
                    Change::Create(here("draft")),
                    Change::ReadFlag(ReadFlag { id: ItemId::of("C"), is_read: true }),
                    Change::Delete(Gone { id: ItemId::of("D") }),
                    Change::Delete(Gone { id: ItemId::of("B") }),
                ],
            )
        }
        Request::GetItem(get) => items(&get),
        other => panic!("{}", other.name()),
    })
    .await;
    let changes = source(&stub).changes(Some("S1")).await.unwrap();
    assert_eq!(ids(&changes), ["A"]);
    assert_eq!(changes.messages[0].message_id.as_deref(), Some("<A@fabrikam.example>"));
    assert_eq!(changes.messages[0].received_at, "2026-11-20T08:15:00Z".parse().unwrap());
    assert_eq!(changes.removed, ["D", "B", "gone"]);
    assert_eq!((changes.cursor.as_str(), changes.more, changes.resync), ("S2", true, false));
}

#[tokio::test]
async fn one_message_that_cannot_be_looked_up_does_not_hold_up_the_page() {
    let stub = exchange(|request, _| match request {
        Request::SyncFolderItems(_) => {
            synced("S2", true, ["A", "corrupt", "not reached", "B"].map(here).map(Change::Create).into())
        }
        Request::GetItem(get) if get.shape.include_mime_content == Some(true) => {
            says(Response::GetItem(no("ErrorItemCorrupt")))
        }
        Request::GetItem(get) => {
            let together = get.items.len() > 1;
            let one = |id: &ItemId| match id.id.as_str() {
                "corrupt" => ResponseMessage::error("ErrorInternalServerError", "An internal server error."),
                "not reached" if together => ResponseMessage::error("ErrorBatchProcessingStopped", "stopped"),
                id => ResponseMessage::success(item(received(id))),
            };
            says(Response::GetItem(get.items.iter().map(one).collect()))
        }
        other => panic!("{}", other.name()),
    })
    .await;
    let source = source(&stub);
    let changes = source.changes(Some("S1")).await.unwrap();
    assert_eq!(ids(&changes), ["A", "corrupt", "not reached", "B"]);
    assert_eq!(changes.messages[2].message_id.as_deref(), Some("<not reached@fabrikam.example>"));
    assert_eq!((changes.cursor.as_str(), changes.messages[1].message_id.as_deref()), ("S2", None));
    // What becomes of it is decided when it is fetched: no later attempt can go better.
    let failure = source.fetch("corrupt", 1_000, &mut Vec::new()).await.unwrap_err();
    assert_eq!((failure.origin, failure.decision()), (Origin::Provider, Decision::Fail), "{failure}");
    assert!(failure.code.as_deref() == Some("ErrorItemCorrupt"));
}

#[tokio::test]
async fn a_busy_exchange_ends_the_page_also_when_only_one_message_is_refused() {
    let stub = exchange(|request, _| match request {
        Request::SyncFolderItems(_) => synced("S2", true, ["A", "B"].map(here).map(Change::Create).into()),
        Request::GetItem(_) => says(Response::GetItem(vec![
            ResponseMessage::success(item(received("A"))),
            ResponseMessage::error("ErrorServerBusy", "The server cannot service this request right now."),
        ])),
        other => panic!("{}", other.name()),
    })
    .await;
    let failure = source(&stub).changes(Some("S1")).await.unwrap_err();
    assert_eq!(failure.decision(), Decision::Retry { after: None });
}

#[tokio::test]
async fn a_lost_sync_state_begins_from_the_beginning() {
    let stub = exchange(|request, _| match request {
        Request::SyncFolderItems(sync) if sync.state.is_some() => {
            says(Response::SyncFolderItems(no("ErrorInvalidSyncStateData")))
        }
        Request::SyncFolderItems(_) => synced("S1", true, vec![Change::Create(here("A"))]),
        Request::GetItem(get) => items(&get),
        other => panic!("{}", other.name()),
    })
    .await;
    let changes = source(&stub).changes(Some("old")).await.unwrap();
    assert_eq!((ids(&changes), changes.resync, changes.more), (vec!["A"], true, false));
    assert_eq!(asked(&stub), ["SyncFolderItems", "SyncFolderItems", "GetItem"]);
}

#[tokio::test]
async fn throttling_in_disguise_is_waited_out() {
    let stub = exchange(|_, _| {
        let mut message =
            ResponseMessage::error("ErrorInternalServerError", "An internal server error occurred.");
        let value = |name: &str, value: &str| XmlValue { name: name.into(), value: value.into() };
        let values = vec![
            value("InnerErrorMessageText", "The server cannot service this request right now."),
            value("InnerErrorResponseCode", "ErrorServerBusy"),
            value("BackOffMilliseconds", "30000"),
        ];
        message.values = Some(MessageXml { values, ..MessageXml::default() });
        says(Response::SyncFolderItems(vec![message]))
    })
    .await;
    let failure = source(&stub).changes(None).await.unwrap_err();
    assert_eq!(failure.decision(), Decision::Retry { after: Some("30s".parse().unwrap()) });
    assert!(failure.words.contains("cannot service"), "{failure}");
    assert!(failure.advice.unwrap().contains("when it allows"));
}

fn mime(content: &'static [u8]) -> Vec<ResponseMessage<Items>> {
    let mime =
        Some(MimeContent { character_set: Some("UTF-8".into()), content: Bytes::from_static(content) });
    ok(item(Message { mime, ..with_id("A") }))
}

#[tokio::test]
async fn a_message_is_written_as_it_comes() {
    static LARGE: [u8; 300_000] = [b'x'; 300_000];
    let stub = exchange(|request, _| match request {
        Request::GetItem(get) => {
            assert_eq!(get.shape.include_mime_content, Some(true));
            match get.items[0].id.as_str() {
                "A" => says(Response::GetItem(mime(&LARGE))),
                "empty" => says(Response::GetItem(ok(item(with_id("empty"))))),
                "half" => {
                    let whole = document(Answer::Response(Response::GetItem(mime(&LARGE))));
                    xml(200, whole[..200_000].to_vec())
                }
                _ => says(Response::GetItem(no("ErrorItemNotFound"))),
            }
        }
        other => panic!("{}", other.name()),
    })
    .await;
    let source = source(&stub);
    let mut sink: Vec<u8> = Vec::new();
    assert_eq!(source.fetch("A", 300_000, &mut sink).await, Ok(Some(300_000)));
    assert!(sink == LARGE);

    let mut sink: Vec<u8> = Vec::new();
    assert_eq!(source.fetch("gone", 300_000, &mut sink).await, Ok(None));
    assert!(sink.is_empty());
    for (id, limit, origin, words) in [
        ("A", 299_999, Origin::Ourselves, "larger than 299999"),
        ("empty", 300_000, Origin::Network, "without MimeContent"),
        ("half", 300_000, Origin::Network, "not complete"),
    ] {
        let failure = source.fetch(id, limit, &mut Vec::new()).await.unwrap_err();
        assert_eq!(failure.origin, origin, "{failure}");
        assert!(failure.words.contains(words), "{failure}");
    }
}

fn streamed(notifications: Vec<Notification>, status: ConnectionStatus) -> Vec<u8> {
    let status = Some(status);
    let streamed = Streamed { notifications, bad_subscriptions: Vec::new(), status };
    document(Answer::Response(Response::GetStreamingEvents(ok(streamed))))
}

fn notification(kind: Option<EventType>) -> Vec<Notification> {
    vec![Notification {
        subscription: "N1".into(),
        previous_watermark: None,
        more: None,
        events: vec![StreamEvent { kind, details: EventDetails::default() }],
    }]
}

#[tokio::test]
async fn mail_wakes_and_signs_of_life_do_not() {
    let stub = exchange(|request, _| match request {
        Request::Subscribe(_) => says(Response::Subscribe(ok(Subscribed { id: Some("N1".into()) }))),
        Request::GetStreamingEvents(get) => {
            assert_eq!((get.ids.as_slice(), get.minutes), (["N1".to_owned()].as_slice(), 20));
            let envelopes = [
                streamed(Vec::new(), ConnectionStatus::OK),
                streamed(notification(None), ConnectionStatus::OK),
                streamed(notification(Some(EventType::NewMailEvent)), ConnectionStatus::OK),
            ];
            xml(200, envelopes.concat())
        }
        other => panic!("{}", other.name()),
    })
    .await;
    let source = source(&stub);
    assert_eq!(source.wait(Duration::from_secs(1_200)).await, Ok(Woken::News));
    // The subscription lasts from one wait to the next.
    assert_eq!(source.wait(Duration::from_secs(1_200)).await, Ok(Woken::News));
    assert_eq!(asked(&stub), ["Subscribe", "GetStreamingEvents", "GetStreamingEvents"]);
}

#[tokio::test]
async fn a_lost_subscription_is_made_anew_and_what_was_missed_is_looked_for() {
    let streams = AtomicUsize::new(0);
    let stub = exchange(move |request, _| match request {
        Request::Subscribe(_) => says(Response::Subscribe(ok(Subscribed { id: Some("N1".into()) }))),
        Request::GetStreamingEvents(_) if streams.fetch_add(1, Ordering::Relaxed) == 0 => {
            xml(200, streamed(Vec::new(), ConnectionStatus::Closed))
        }
        Request::GetStreamingEvents(_) => says(Response::GetStreamingEvents(no("ErrorSubscriptionNotFound"))),
        other => panic!("{}", other.name()),
    })
    .await;
    assert_eq!(source(&stub).wait(Duration::from_secs(60)).await, Ok(Woken::News));
    assert_eq!(asked(&stub), ["Subscribe", "GetStreamingEvents", "GetStreamingEvents", "Subscribe"]);
}

#[tokio::test]
async fn a_quiet_inbox_is_quiet_a_cut_line_is_said_and_an_old_server_cannot_tell() {
    let old = exchange(|_, _| fault("ErrorSchemaValidation", None)).await;
    assert_eq!(source(&old).wait(Duration::from_secs(60)).await, Ok(Woken::NotOffered));
    let quiet = exchange(|request, _| match request {
        Request::Subscribe(_) => says(Response::Subscribe(ok(Subscribed { id: Some("N1".into()) }))),
        _ => Reply::Silence,
    })
    .await;
    assert_eq!(source(&quiet).wait(Duration::from_millis(300)).await, Ok(Woken::Quiet));
    let cut = exchange(|request, _| match request {
        Request::Subscribe(_) => says(Response::Subscribe(ok(Subscribed { id: Some("N1".into()) }))),
        _ => Reply::Cut,
    })
    .await;
    let failure = source(&cut).wait(Duration::from_secs(60)).await.unwrap_err();
    assert_eq!((failure.origin, failure.decision()), (Origin::Network, Decision::Retry { after: None }));
}
