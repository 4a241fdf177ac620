//! The outbox: acceptance, order, leases, wishes.

use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::outbox::OutboxState;
use postroom_model::{ConnectionId, OutboxMessageId};
use postroom_store::{Acceptance, FinishAttempt, FollowUp, NewOutboxMessage, OutboxFilter, Page, StoreError};

use crate::bench::Bench;

const SALES: &str = "sales@contoso.example";
const DAY: i64 = 24 * 60 * 60;

fn nowhere(bench: &Bench) -> ConnectionId {
    bench.env.new_id()
}

async fn keyed(bench: &Bench, key: &str, request: u8) -> NewOutboxMessage {
    let new = bench.new_message(nowhere(bench), SALES).await;
    NewOutboxMessage { idempotency: Some((key.parse().unwrap(), [request; 32])), ..new }
}

pub(crate) async fn what_was_accepted_is_there_with_its_event(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let new = bench.new_message(nowhere(&bench), "Sales@Contoso.example").await;
    let (id, raw) = (new.id, new.raw.clone());
    let Acceptance::Accepted(accepted) = bench.store.accept(new).await.unwrap() else { panic!() };
    assert_eq!(bench.store.outbox_message(id).await.unwrap(), Some(accepted.clone()));
    assert_eq!(accepted.state, OutboxState::Accepted);
    assert_eq!(accepted.envelope.from.as_str(), "Sales@Contoso.example");
    assert_eq!((accepted.size, accepted.attempts), (raw.size, 0));
    assert_eq!(accepted.next_attempt_at, Some(bench.env.now()));
    assert_eq!(bench.store.outbox_raw(id).await.unwrap().len() as u64, raw.size);
    let events = bench.store.events(&Default::default(), 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event.kind, EventKind::OutboxAccepted);
    assert_eq!(events[0].event.subject, Subject::OutboxMessage(id));
    assert_eq!(events[0].event.actor.as_deref(), Some("key:erp"));
    let unknown: OutboxMessageId = bench.env.new_id();
    assert!(matches!(bench.store.outbox_raw(unknown).await, Err(StoreError::Untouched { .. })));
}

pub(crate) async fn the_same_request_under_a_key_is_accepted_once(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let first = keyed(&bench, "order 4711", 1).await;
    let key = first.idempotency.clone().unwrap().0;
    let id = first.id;
    assert_eq!(bench.store.idempotent("key:erp", &key, &[1; 32]).await.unwrap(), None);
    bench.store.accept(first).await.unwrap();
    let repeated = bench.store.accept(keyed(&bench, "order 4711", 1).await).await.unwrap();
    assert!(matches!(&repeated, Acceptance::Repeated(message) if message.id == id), "{repeated:?}");
    assert_eq!(bench.store.idempotent("key:erp", &key, &[1; 32]).await.unwrap(), Some(repeated));
    assert_eq!(bench.store.outbox_counts().await.unwrap(), [(OutboxState::Accepted, 1)]);
    assert_eq!(bench.timeline(Subject::OutboxMessage(id)).await, ["outbox.accepted"]);
}

pub(crate) async fn another_request_under_a_key_is_refused(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let first = keyed(&bench, "order 4711", 1).await;
    let conflict = Acceptance::KeyConflict { first: first.id };
    let key = first.idempotency.clone().unwrap().0;
    bench.store.accept(first).await.unwrap();
    assert_eq!(bench.store.accept(keyed(&bench, "order 4711", 2).await).await.unwrap(), conflict);
    assert_eq!(bench.store.idempotent("key:erp", &key, &[2; 32]).await.unwrap(), Some(conflict));
    assert_eq!(bench.store.outbox_counts().await.unwrap(), [(OutboxState::Accepted, 1)]);
}

pub(crate) async fn keys_are_the_submitters_own_and_forgotten_after_seven_days(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    bench.store.accept(keyed(&bench, "order 4711", 1).await).await.unwrap();
    let other = NewOutboxMessage { submitted_by: "key:crm".into(), ..keyed(&bench, "order 4711", 2).await };
    assert!(matches!(bench.store.accept(other).await.unwrap(), Acceptance::Accepted(_)));
    bench.pass(7 * DAY);
    let late = bench.store.accept(keyed(&bench, "order 4711", 1).await).await.unwrap();
    assert!(matches!(late, Acceptance::Repeated(_)), "exactly seven days are not older than seven days");
    bench.pass(1);
    let fresh = bench.store.accept(keyed(&bench, "order 4711", 9).await).await.unwrap();
    assert!(matches!(fresh, Acceptance::Accepted(_)));
}

pub(crate) async fn a_claim_counts_the_attempt_and_writes_its_event(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let id = bench.accept(nowhere(&bench), SALES).await;
    let claimed = bench.claim().await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].previous, OutboxState::Accepted);
    assert_eq!((claimed[0].message.id, claimed[0].message.attempts), (id, 1));
    assert_eq!(claimed[0].message.state, OutboxState::Sending);
    assert_eq!(claimed[0].lease.until, bench.after(60));
    assert_eq!(bench.store.blob(&claimed[0].raw).await.unwrap(), bench.store.outbox_raw(id).await.unwrap());
    assert!(bench.claim().await.is_empty(), "held");
    let sent = Event::new(
        bench.env.new_id(),
        bench.env.now(),
        Subject::OutboxMessage(id),
        EventKind::OutboxDraftCreated,
    );
    bench.store.note_provider_draft(id, &claimed[0].lease, "AAMk=", sent).await.unwrap();
    bench.finish(&claimed[0], OutboxState::Sent, None).await.unwrap();
    let message = bench.store.outbox_message(id).await.unwrap().unwrap();
    assert_eq!(message.provider_id.as_deref(), Some("AAMk="));
    assert_eq!(message.last_words.as_deref(), Some("202 Accepted"));
    assert_eq!((message.state, message.next_attempt_at), (OutboxState::Sent, None));
    let events = bench.store.events(&Default::default(), 10).await.unwrap();
    assert_eq!(events[1].event.kind, EventKind::OutboxAttempt);
    assert_eq!(events[1].event.attempt, Some(1));
    assert_eq!(
        bench.timeline(Subject::OutboxMessage(id)).await,
        ["outbox.accepted", "outbox.attempt", "outbox.draft-created"]
    );
}

pub(crate) async fn a_sender_is_served_in_order_and_one_at_a_time(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let (one, two) = (nowhere(&bench), nowhere(&bench));
    let first = bench.accept(one, SALES).await;
    let second = bench.accept(one, "SALES@contoso.example").await;
    let elsewhere = bench.accept(two, SALES).await;
    let other = bench.accept(one, "service@contoso.example").await;
    let claimed = bench.claim().await;
    let ids: Vec<_> = claimed.iter().map(|claimed| claimed.message.id).collect();
    assert_eq!(ids, [first, elsewhere, other]);
    assert!(bench.claim().await.is_empty());
    bench.finish(&claimed[0], OutboxState::Sent, None).await.unwrap();
    let next = bench.claim().await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].message.id, second);
}

pub(crate) async fn a_deferred_message_holds_up_nothing(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let connection = nowhere(&bench);
    let first = bench.accept(connection, SALES).await;
    let second = bench.accept(connection, SALES).await;
    let claimed = bench.claim().await;
    bench.finish(&claimed[0], OutboxState::Deferred, Some(bench.after(300))).await.unwrap();
    let newer = bench.claim().await;
    assert_eq!(newer[0].message.id, second);
    bench.pass(301); // the newer one's lease ends too
    let ids: Vec<_> = bench.claim().await.iter().map(|claimed| claimed.message.id).collect();
    assert_eq!(ids, [second], "one of a sender at a time, the longest due first");
    bench.pass(61);
    bench.store.end_all_leases().await.unwrap();
    let again = bench.claim().await;
    assert_eq!((again.len(), again[0].message.id), (1, first));
    assert_eq!(again[0].previous, OutboxState::Deferred);
}

pub(crate) async fn a_follow_up_is_made_once_with_the_end_of_the_attempt(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let id = bench.accept(nowhere(&bench), SALES).await;
    let claimed = bench.claim().await.remove(0);
    bench.pass(30);
    let follow_up = FollowUp {
        id: bench.env.new_id(),
        to: vec!["late@fabrikam.example".parse().unwrap()],
        next_attempt_at: bench.after(300),
        words: "late@fabrikam.example: 450 4.2.0 Greylisted".into(),
    };
    let finish = |lease| FinishAttempt {
        id,
        lease,
        state: OutboxState::Sent,
        next_attempt_at: None,
        provider_id: Some("AAMk=".into()),
        words: Some("250 Ok".into()),
        events: vec![],
        follow_up: Some(follow_up.clone()),
    };
    let mut forged = claimed.lease.clone();
    forged.fence += 1;
    let lost = |result| matches!(result, Err(StoreError::LeaseLost { .. }));
    assert!(lost(bench.store.finish_attempt(finish(forged)).await));
    assert_eq!(bench.store.outbox_message(follow_up.id).await.unwrap(), None, "nothing without the lease");

    bench.store.finish_attempt(finish(claimed.lease.clone())).await.unwrap();
    // An answer that was lost: the same end is written again.
    assert!(lost(bench.store.finish_attempt(finish(claimed.lease.clone())).await));
    let parent = bench.store.outbox_message(id).await.unwrap().unwrap();
    let made = bench.store.outbox_message(follow_up.id).await.unwrap().unwrap();
    assert_eq!((parent.state, parent.follow_up_of), (OutboxState::Sent, None));
    let expected = postroom_model::outbox::OutboxMessage {
        id: follow_up.id,
        state: OutboxState::Deferred,
        envelope: postroom_model::outbox::Envelope { to: follow_up.to.clone(), ..parent.envelope.clone() },
        next_attempt_at: Some(follow_up.next_attempt_at),
        attempts: 0,
        provider_id: None,
        last_words: Some(follow_up.words.clone()),
        follow_up_of: Some(id),
        ..parent.clone()
    };
    assert_eq!(made, expected);
    assert_eq!(bench.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap(), [made, parent]);
    assert_eq!(bench.timeline(Subject::OutboxMessage(follow_up.id)).await, ["outbox.follow-up"]);

    assert!(bench.claim().await.is_empty());
    bench.pass(300);
    let again = bench.claim().await.remove(0);
    assert_eq!((again.message.id, &again.raw), (follow_up.id, &claimed.raw));
}

pub(crate) async fn an_interrupted_attempt_is_claimed_as_such(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let id = bench.accept(nowhere(&bench), SALES).await;
    let first = bench.claim().await;
    bench.pass(59);
    assert!(bench.claim().await.is_empty());
    bench.pass(1);
    let second = bench.claim().await;
    assert_eq!(second[0].previous, OutboxState::Sending);
    assert_eq!(second[0].message.attempts, 2);
    assert!(second[0].lease.fence > first[0].lease.fence);
    let filter = postroom_store::EventFilter { subject: Some(Subject::OutboxMessage(id)), after: 0 };
    let events = bench.store.events(&filter, 10).await.unwrap();
    let told: Vec<_> =
        events.iter().map(|stored| (stored.event.kind.as_str(), stored.event.attempt)).collect();
    assert_eq!(
        told,
        [
            ("outbox.accepted", None),
            ("outbox.attempt", Some(1)),
            ("outbox.interrupted", Some(1)),
            ("outbox.attempt", Some(2))
        ]
    );
}

pub(crate) async fn a_released_message_and_an_interrupted_one_do_not_wait_for_each_other(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let connection = nowhere(&bench);
    let older = bench.accept(connection, SALES).await;
    bench.store.change_outbox(older, OutboxState::Held, "user:admin").await.unwrap();
    let newer = bench.accept(connection, SALES).await;
    assert_eq!(bench.claim().await[0].message.id, newer);
    bench.store.change_outbox(older, OutboxState::Accepted, "user:admin").await.unwrap();
    assert!(bench.claim().await.is_empty(), "one of a sender at a time");
    assert_eq!(bench.store.next_outbox_due().await.unwrap(), Some(bench.after(60)));
    bench.pass(60);
    let claimed = bench.claim().await;
    assert_eq!((claimed.len(), claimed[0].message.id), (1, older));
    assert_eq!(bench.store.next_outbox_due().await.unwrap(), Some(bench.after(60)));
    bench.finish(&claimed[0], OutboxState::Sent, None).await.unwrap();
    assert_eq!(bench.claim().await[0].message.id, newer);
}

pub(crate) async fn whoever_was_taken_over_can_record_nothing(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let id = bench.accept(nowhere(&bench), SALES).await;
    let old = bench.claim().await.remove(0);
    bench.pass(60);
    let new = bench.claim().await.remove(0);
    let event = bench.env.new_id();
    let event = Event::new(event, bench.env.now(), Subject::OutboxMessage(id), EventKind::OutboxDraftCreated);
    let lost = |result| matches!(result, Err(StoreError::LeaseLost { .. }));
    assert!(lost(bench.finish(&old, OutboxState::Sent, None).await));
    assert!(lost(bench.store.note_provider_draft(id, &old.lease, "AAMk=", event.clone()).await));
    assert!(lost(bench.store.extend_outbox_lease(id, &old.lease, bench.after(600)).await));
    assert_eq!(bench.state(id).await, OutboxState::Sending);
    assert!(!bench.timeline(Subject::OutboxMessage(id)).await.contains(&"outbox.draft-created"));
    // The same owner with another claim's fence is not the holder either.
    let mut forged = new.clone();
    forged.lease.fence += 1;
    assert!(lost(bench.finish(&forged, OutboxState::Sent, None).await));
    bench.finish(&new, OutboxState::Sent, None).await.unwrap();
    assert!(lost(bench.finish(&new, OutboxState::Deferred, Some(bench.after(1))).await), "ended");
    assert_eq!(bench.state(id).await, OutboxState::Sent);
}

pub(crate) async fn an_extended_lease_is_not_taken_over(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let id = bench.accept(nowhere(&bench), SALES).await;
    let claimed = bench.claim().await.remove(0);
    bench.store.extend_outbox_lease(id, &claimed.lease, bench.after(120)).await.unwrap();
    bench.pass(90);
    assert!(bench.claim().await.is_empty());
    bench.finish(&claimed, OutboxState::Unknown, Some(bench.after(5))).await.unwrap();
    bench.pass(5);
    assert_eq!(bench.claim().await[0].previous, OutboxState::Unknown);
}

pub(crate) async fn the_next_due_is_that_of_what_can_be_claimed(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    assert_eq!(bench.store.next_outbox_due().await.unwrap(), None);
    let connection = nowhere(&bench);
    bench.accept(connection, SALES).await;
    bench.accept(connection, SALES).await;
    assert_eq!(bench.store.next_outbox_due().await.unwrap(), Some(bench.env.now()));
    let claimed = bench.claim().await.remove(0);
    assert_eq!(
        bench.store.next_outbox_due().await.unwrap(),
        Some(bench.after(60)),
        "the second waits for the first, whose lease ends then"
    );
    bench.finish(&claimed, OutboxState::Deferred, Some(bench.after(300))).await.unwrap();
    assert_eq!(bench.store.next_outbox_due().await.unwrap(), Some(bench.env.now()));
    let second = bench.claim().await.remove(0);
    bench.finish(&second, OutboxState::Failed, None).await.unwrap();
    assert_eq!(bench.store.next_outbox_due().await.unwrap(), Some(bench.after(300)));
}

pub(crate) async fn people_change_what_may_be_changed(make: impl AsyncFn() -> Bench) {
    use OutboxState::{Accepted, Cancelled, Deferred, Failed, Held, Scheduled, Sending, Sent, Unknown};
    let bench = make().await;
    for from in [Accepted, Held, Scheduled, Sending, Sent, Deferred, Unknown, Failed, Cancelled] {
        for to in OutboxState::ALL {
            let id = bench.accept(nowhere(&bench), SALES).await;
            let claimed = bench.claim().await.into_iter().find(|claimed| claimed.message.id == id).unwrap();
            let due = matches!(from, Scheduled | Deferred | Unknown).then(|| bench.after(3_600));
            if from != Sending {
                bench.finish(&claimed, from, due).await.unwrap();
            }
            let possible = match to {
                Held => matches!(from, Accepted | Scheduled | Deferred),
                Accepted => matches!(from, Held | Deferred | Failed),
                Cancelled => matches!(from, Accepted | Held | Scheduled | Deferred),
                _ => false,
            };
            let changed = bench.store.change_outbox(id, to, "user:admin").await;
            assert_eq!(changed.is_ok(), possible, "{from} to {to}: {changed:?}");
            assert_eq!(bench.state(id).await, if possible { to } else { from });
            if let Ok(changed) = changed {
                assert_eq!(changed.next_attempt_at, (to == Accepted).then(|| bench.env.now()));
            }
            let told = bench.timeline(Subject::OutboxMessage(id)).await.len();
            assert_eq!(told, if possible { 3 } else { 2 });
            // Out of the way of the next round.
            let _ = bench.store.change_outbox(id, Cancelled, "user:admin").await;
        }
    }
}

pub(crate) async fn ended_leases_are_claimable_at_once(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let id = bench.accept(nowhere(&bench), SALES).await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let message = bench.claim().await.remove(0);
    let reading = bench.claim_mailbox(mailbox).await;
    assert_eq!(bench.store.end_all_leases().await.unwrap(), 2);
    assert_eq!(bench.store.end_all_leases().await.unwrap(), 0);
    assert!(bench.finish(&message, OutboxState::Sent, None).await.is_err());
    assert_eq!(bench.claim().await[0].message.id, id);
    assert!(bench.claim_mailbox(mailbox).await.lease.fence > reading.lease.fence);
}

pub(crate) async fn lists_and_counts_follow_the_states(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let connection = nowhere(&bench);
    let mut ids = vec![];
    for _ in 0..3 {
        ids.push(bench.accept(connection, SALES).await);
    }
    bench.store.change_outbox(ids[1], OutboxState::Held, "user:admin").await.unwrap();
    let list = |state, page| {
        let store = bench.store.clone();
        async move {
            let messages = store.outbox(&OutboxFilter { state, submitted_by: None }, page).await.unwrap();
            messages.iter().map(|message| message.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(list(None, Page::default()).await, [ids[2], ids[1], ids[0]]);
    assert_eq!(list(None, Page { limit: 1, offset: 1 }).await, [ids[1]]);
    assert_eq!(list(Some(OutboxState::Accepted), Page::default()).await, [ids[2], ids[0]]);
    let mut counts = bench.store.outbox_counts().await.unwrap();
    counts.sort_by_key(|(state, _)| state.as_str());
    assert_eq!(counts, [(OutboxState::Accepted, 2), (OutboxState::Held, 1)]);
}
