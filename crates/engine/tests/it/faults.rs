//! Each call of the store fails in turn, before and after it was done, or is slow: nothing is lost, nothing is doubled,
//! nothing becomes `failed`, and everything recovers without help.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::SignedDuration;
use postroom_engine::intake::Submitter;
use postroom_engine::{Engine, EngineSettings};
use postroom_model::OutboxMessageId;
use postroom_model::inbox::InboxState;
use postroom_model::outbox::OutboxState;
use postroom_store::Acceptance;

use crate::faulty::{Faulty, When, Which};
use crate::house::{House, draft, raw};
use crate::provider::{Door, Step};

const ORDERS: &str = "orders@contoso.example";

/// Every method that the workers call.
const METHODS: [&str; 21] = [
    "append_events",
    "blob",
    "blob_beginning",
    "blob_finish",
    "blob_write",
    "claim_mailboxes",
    "claim_outbox",
    "commit_batch",
    "connection",
    "extend_outbox_lease",
    "finish_attempt",
    "finish_poll",
    "finish_processing",
    "known_provider_ids",
    "next_mailbox_due",
    "next_outbox_due",
    "note_provider_draft",
    "put_blobs",
    "to_refetch",
    "unprocessed",
    "write_blob",
];

/// The same for the calls of one method, which must be called at all.
async fn journeys(method: &'static str, when: When, times: u32) {
    let store = journey(Which::Of(method, times), when, Duration::from_millis(700 * u64::from(times))).await;
    assert!(store.was_called(method), "{method} {when:?} x {times}: never called");
}

/// Hands a message in until it is answered, as a client does that keeps its key.
async fn hand_in(engine: &Engine, from: &str) -> OutboxMessageId {
    let submitter =
        || Submitter { name: "key:erp".into(), idempotency: Some((from.parse().unwrap(), [7; 32])) };
    for _ in 0..3 {
        match engine.intake().submit_draft(draft(from), submitter()).await {
            Ok(Acceptance::Accepted(message) | Acceptance::Repeated(message)) => return message.id,
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    }
    panic!("one failing call refused the message of {from} three times");
}

/// A mail that comes in, one that goes out, and one whose outcome must be looked up, while a call fails whose end is
/// waited out for `patience`. Gives the store, which has counted.
async fn journey(which: Which, when: When, patience: Duration) -> Arc<Faulty> {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    // Larger than what is read whole, and than what is kept in memory.
    house.provider.deliver(ORDERS, "b", &[raw("b"), vec![b'x'; 300_000]].concat());
    house.provider.script([Step::DropAndTimeOut]);
    house.mailbox(ORDERS).await;
    let store = Arc::new(Faulty::failing(house.store.clone(), which, when));
    let settings = EngineSettings { idle_poll_ms: 20, read_whole_bytes: 10_000, ..EngineSettings::default() };
    let door = Arc::new(Door(house.provider.clone(), house.env.clone()));
    let engine = Engine::new(store.clone(), door, house.env.clone(), settings);
    let one = hand_in(&engine, ORDERS).await;
    let two = hand_in(&engine, "quotes@contoso.example").await;
    let running = house.run_engine(engine);

    let mut begun = tokio::time::Instant::now();
    let what = format!("{which:?} {when:?}");
    let all = async || {
        let states = [house.message(one).await.state, house.message(two).await.state];
        let processed = house.inbox(InboxState::Processed).await.len();
        assert!(!states.contains(&OutboxState::Failed), "{what}: {states:?}");
        let done = states == [OutboxState::Sent; 2] && processed == 2;
        if done { Ok(()) } else { Err(format!("{states:?}, {processed} processed")) }
    };
    for round in 0.. {
        match all().await {
            Ok(()) => break,
            Err(last) => assert!(round < 4_000, "{what}: {last}"),
        }
        // Time passes only while nobody is at work, for longer than the longest wait of a finish.
        let quiet = begun.elapsed() > Duration::from_millis(100) + patience;
        if quiet {
            house.clock.advance(SignedDuration::from_secs(700));
            running.engine.nudge();
            begun = tokio::time::Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
    let timelines = [house.outbox_timeline(one).await, house.outbox_timeline(two).await];
    assert_eq!(house.provider.state().sent.len(), 2, "{what}: {timelines:?}");
    assert!(house.inbox(InboxState::Quarantined).await.is_empty(), "{what}");
    for id in [one, two] {
        let told = house.outbox_timeline(id).await;
        assert_eq!(told.iter().filter(|kind| **kind == "outbox.sent").count(), 1, "{what}: {told:?}");
    }
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_of_all_fails_it_recovers_and_ends_in_once() {
    let patience = Duration::from_millis(700);
    // Workers look at the store as long as they run: what comes after the last step of the journeys is the same again.
    let calls = journey(Which::Nth(0), When::Before, patience).await.calls();
    let ways = [When::Before, When::After, When::Slow];
    let cases = (1..=calls).flat_map(|nth| ways.map(|when| (nth, when)));
    futures_util::stream::iter(cases)
        .for_each_concurrent(8, async |(nth, when)| {
            let made = journey(Which::Nth(nth), when, patience).await.calls();
            assert!(made >= nth.min(calls / 2), "call {nth} was never made");
        })
        .await;
    println!(
        "{calls} calls of one journey, each failed before and after it was done, and slow: once in the end"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_of_the_store_fails_in_turn() {
    let cases = [When::Before, When::After].into_iter().flat_map(|when| METHODS.map(|method| (method, when)));
    futures_util::stream::iter(cases)
        .for_each_concurrent(6, async |(method, when)| journeys(method, when, 1).await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_cannot_be_recorded_is_left_to_the_lease_and_looked_up() {
    journeys("finish_attempt", When::Before, 4).await;
}

#[tokio::test]
async fn a_disk_that_is_full_while_a_message_comes_is_not_the_messages_fault() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &[raw("a"), vec![b'x'; 300_000]].concat());
    let mailbox = house.mailbox(ORDERS).await;
    let store = Arc::new(Faulty::new(house.store.clone(), "blob_write", When::Before, 1));
    let door = Arc::new(Door(house.provider.clone(), house.env.clone()));
    let engine = Engine::new(store, door, house.env.clone(), EngineSettings::default());
    let failure = engine.collect_now(mailbox).await.unwrap_err();
    assert!(failure.words.contains("no space is left"), "{failure}");
    assert!(failure.advice.is_some_and(|advice| advice.contains("free some space")));
    assert_eq!(house.provider.called("probe orders@contoso.example"), 0, "nobody asks whose fault it was");
    assert!(house.inbox(InboxState::Quarantined).await.is_empty());
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 1);
    assert_eq!(house.inbox(InboxState::Processed).await.len(), 1);
}
