//! `GET /messages` and `GET /messages/{id}`.

use axum::http::StatusCode;
use postroom_model::Timestamp;
use postroom_model::outbox::OutboxState;
use postroom_store::{FinishAttempt, FollowUp, NodeId};
use serde_json::json;

use crate::bench::{Bench, message};

#[tokio::test]
async fn a_message_is_told_with_its_timeline() {
    let bench = Bench::new().await;
    let sent = bench.post(&[], message().to_string()).await;
    let id = sent.body["id"].as_str().unwrap();
    bench.store.change_outbox(id.parse().unwrap(), OutboxState::Held, "user:admin").await.unwrap();
    let answer = bench.get(&bench.erp, &format!("/messages/{id}")).await;
    assert_eq!((answer.status, &answer.body["state"]), (StatusCode::OK, &json!("held")));
    let timeline = answer.body["timeline"].as_array().unwrap();
    let kinds: Vec<_> = timeline.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["outbox.accepted", "outbox.held"]);
    assert_eq!(timeline[0]["sentence"], "Accepted and stored");
    assert!(timeline[0]["sequence"].as_i64() < timeline[1]["sequence"].as_i64());
    assert!(timeline[0]["at"].is_string());
}

#[tokio::test]
async fn the_message_for_recipients_that_were_refused_for_now_names_the_one_it_follows() {
    let bench = Bench::new().await;
    let sent = bench.post(&[], message().to_string()).await;
    let until = Timestamp::from_second(bench.env.now().as_second() + 60).unwrap();
    let owner = NodeId::new(bench.env.new_uuid());
    let claimed = bench.store.claim_outbox(&owner, until, 1).await.unwrap().remove(0);
    let follow_up = FollowUp {
        id: bench.env.new_id(),
        to: claimed.message.envelope.to.clone(),
        next_attempt_at: until,
        words: "450 4.2.0 Greylisted".into(),
    };
    let id = follow_up.id;
    let finish = FinishAttempt {
        id: claimed.message.id,
        lease: claimed.lease,
        state: OutboxState::Sent,
        next_attempt_at: None,
        provider_id: None,
        words: None,
        events: vec![],
        follow_up: Some(follow_up),
    };
    bench.store.finish_attempt(finish).await.unwrap();
    let answer = bench.get(&bench.erp, &format!("/messages/{id}")).await;
    assert_eq!((&answer.body["state"], &answer.body["follow_up_of"]), (&json!("deferred"), &sent.body["id"]));
    assert_eq!(answer.body["timeline"][0]["kind"], "outbox.follow-up");
    let list = bench.get(&bench.erp, "/messages").await;
    assert_eq!(list.body["messages"].as_array().unwrap().len(), 2);
    assert_eq!(list.body["messages"][1].get("follow_up_of"), None);
}

#[tokio::test]
async fn what_another_key_handed_in_is_not_told_of() {
    let bench = Bench::new().await;
    let sent = bench.post(&[], message().to_string()).await;
    let path = format!("/messages/{}", sent.body["id"].as_str().unwrap());
    let foreign = bench.get(&bench.shop, &path).await;
    let missing = bench.get(&bench.shop, "/messages/0198c5b0-7a52-7c3e-8a44-3f0f3c1f2a10").await;
    let no_id = bench.get(&bench.shop, "/messages/4711").await;
    for answer in [&foreign, &missing, &no_id] {
        assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "not_found"));
        assert_eq!(answer.message(), foreign.message(), "the three cannot be told apart");
    }
    let list = bench.get(&bench.shop, "/messages").await;
    assert_eq!(list.body["messages"], json!([]));
}

#[tokio::test]
async fn the_list_is_newest_first_filtered_and_in_pages() {
    let bench = Bench::new().await;
    for number in 1..=3 {
        let mut body = message();
        body["subject"] = json!(format!("Order {number}"));
        bench.post(&[], body.to_string()).await;
    }
    let subjects = async |query: &str| -> Vec<String> {
        let answer = bench.get(&bench.erp, &format!("/messages{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let list = answer.body["messages"].as_array().unwrap();
        list.iter().map(|message| message["subject"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(subjects("").await, ["Order 3", "Order 2", "Order 1"]);
    assert_eq!(subjects("?limit=1&offset=1").await, ["Order 2"]);
    assert_eq!(subjects("?state=accepted&limit=2").await, ["Order 3", "Order 2"]);
    assert!(subjects("?state=sent").await.is_empty());
    for wrong in ["?limit=0", "?limit=201", "?limit=x", "?state=gone", "?color=red"] {
        let answer = bench.get(&bench.erp, &format!("/messages{wrong}")).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "malformed_request"), "{wrong}");
    }
}
