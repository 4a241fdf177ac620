//! What is over goes, what has no final state stays, and no raw message goes that something names.

use std::time::SystemTime;

use bytes::Bytes;
use postroom_model::OutboxMessageId;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::MailType;
use postroom_model::outbox::{Envelope, OutboxState};
use postroom_store::janitor::Kind;
use postroom_store::{
    FinishAttempt, NewOutboxMessage, NodeId, OutboxFilter, Page, Retention, Store, Waiting,
};

use crate::bench::Bench;

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// Accepts a message of a sender of its own.
async fn accept(bench: &Bench, number: u32) -> OutboxMessageId {
    let store = &bench.store;
    let raw = store.put_blob(Bytes::from(format!("Subject: {number}\r\n\r\n"))).await.unwrap();
    let id = bench.env.new_id();
    let message = NewOutboxMessage {
        id,
        connection: bench.env.new_id(),
        envelope: Envelope {
            from: format!("sender{number}@contoso.example").parse().unwrap(),
            to: vec!["ann@fabrikam.example".parse().unwrap()],
        },
        message_id: format!("<{number}@contoso.example>"),
        subject: format!("Order {number}"),
        raw,
        submitted_by: "key:erp".into(),
        idempotency: Some((format!("order-{number}").parse().unwrap(), [1; 32])),
    };
    store.accept(message).await.unwrap();
    id
}

/// Claims everything and ends each in the state of its place.
async fn finish(bench: &Bench, states: &[(OutboxMessageId, OutboxState)]) {
    let until = bench.after(300);
    for claimed in bench.store.claim_outbox(&NodeId::new(bench.env.new_uuid()), until, 100).await.unwrap() {
        let Some((id, state)) = states.iter().find(|(id, _)| *id == claimed.message.id) else { continue };
        let finish = FinishAttempt {
            id: *id,
            lease: claimed.lease,
            state: *state,
            next_attempt_at: matches!(state, OutboxState::Deferred | OutboxState::Unknown)
                .then(|| bench.after(400 * DAY)),
            provider_id: None,
            words: None,
            events: Vec::new(),
            follow_up: None,
        };
        bench.store.finish_attempt(finish).await.unwrap();
    }
}

async fn expired(store: &dyn Store, kind: Kind, retention: &Retention) -> usize {
    store.expired(kind, retention, None, 100).await.unwrap().ids.len()
}

pub(crate) async fn only_what_is_finished_and_old_enough_is_over(bench: impl AsyncFn() -> Bench) {
    let bench = bench().await;
    let states = [
        OutboxState::Sent,
        OutboxState::Failed,
        OutboxState::Deferred,
        OutboxState::Unknown,
        OutboxState::Held,
    ];
    let mut messages = Vec::new();
    for (number, state) in (0..).zip(states) {
        messages.push((accept(&bench, number).await, state));
    }
    finish(&bench, &messages).await;
    let cancelled = accept(&bench, 10).await;
    bench.store.change_outbox(cancelled, OutboxState::Cancelled, "cli").await.unwrap();
    let waiting = accept(&bench, 11).await;
    let store = bench.store.as_ref();
    let retention = Retention { sent_days: Some(30), failed_days: Some(60), ..Retention::default() };
    bench.pass(31 * DAY);
    let young = accept(&bench, 12).await;
    finish(&bench, &[(young, OutboxState::Sent)]).await;
    assert_eq!(expired(store, Kind::Sent, &Retention::default()).await, 0, "the default keeps everything");
    assert_eq!(expired(store, Kind::Failed, &retention).await, 0, "failed ones are kept for longer");
    bench.pass(30 * DAY);
    let retention = Retention { sent_days: Some(50), ..retention };
    for (kind, count) in [(Kind::Sent, 1), (Kind::Cancelled, 1), (Kind::Failed, 1), (Kind::Received, 0)] {
        let page = store.expired(kind, &retention, None, 100).await.unwrap();
        assert_eq!(page.ids.len(), count, "{kind:?}");
        // Whoever asks for the removal of something else gets nothing removed.
        let everything: Vec<_> =
            messages.iter().map(|(id, _)| id.as_uuid()).chain([waiting.as_uuid(), young.as_uuid()]).collect();
        if kind == Kind::Received {
            assert_eq!(store.remove_expired(kind, &everything).await.unwrap(), 0);
        }
        assert_eq!(store.remove_expired(kind, &page.ids).await.unwrap(), count as u64);
        assert_eq!(store.remove_expired(kind, &page.ids).await.unwrap(), 0);
    }
    let mut left = Vec::new();
    for (id, _) in messages {
        left.extend(store.outbox_message(id).await.unwrap().map(|message| message.state));
    }
    assert_eq!(left, [OutboxState::Deferred, OutboxState::Unknown, OutboxState::Held]);
    assert!(store.outbox_message(waiting).await.unwrap().is_some());
    assert!(store.outbox_message(young).await.unwrap().is_some());
}

pub(crate) async fn a_raw_message_goes_when_nothing_names_it_for_a_day(bench: impl AsyncFn() -> Bench) {
    let bench = bench().await;
    let store = bench.store.as_ref();
    accept(&bench, 1).await;
    let orphan = store.put_blob(Bytes::from_static(b"nothing names it")).await.unwrap();
    let again = store.put_blob(Bytes::from_static(b"stored again")).await.unwrap();
    let old = SystemTime::from(bench.after(-2 * DAY));
    for shelf in std::fs::read_dir(bench.data.join("blobs")).unwrap().map(|shelf| shelf.unwrap().path()) {
        for file in std::fs::read_dir(shelf).unwrap().map(|file| file.unwrap().path()) {
            std::fs::File::open(file).unwrap().set_modified(old).unwrap();
        }
    }
    // Stored again, it is needed again, although no row names it yet.
    store.put_blob(Bytes::from_static(b"stored again")).await.unwrap();
    let lock = store.upkeep_lock().await.unwrap();
    assert!(lock.is_some() && store.upkeep_lock().await.unwrap().is_none(), "one at a time");
    let counted = store.orphans(false).await.unwrap();
    assert_eq!((counted.blobs, counted.bytes), (1, orphan.size));
    assert!(store.blob(&orphan).await.is_ok(), "counting removes nothing");
    assert_eq!(store.orphans(true).await.unwrap(), counted);
    assert!(store.blob(&orphan).await.is_err());
    assert!(store.blob(&again).await.is_ok());
    for message in store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap() {
        store.outbox_raw(message.id).await.unwrap();
    }
}

pub(crate) async fn collected_mail_is_kept_for_its_type_and_what_is_filed_for_ever(
    bench: impl AsyncFn() -> Bench,
) {
    let bench = bench().await;
    let store = bench.store.as_ref();
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let filed = bench.received(mailbox, "filed").await;
    let processed = bench.received(mailbox, "processed").await;
    let viewer = bench.somebody();
    store.file_on_record(&viewer, filed, &"case:1".parse().unwrap(), "cli").await.unwrap();
    let waits = bench.mail("waits", "waits").await;
    bench.collect(mailbox, waits).await;
    bench.pass(100 * DAY);
    let of_type = |days| Retention {
        received_days: Some(10),
        types: [(MailType::CustomerOrder, days)].into(),
        ..Retention::default()
    };
    assert_eq!(expired(store, Kind::Received, &of_type(None)).await, 0);
    assert_eq!(expired(store, Kind::Received, &of_type(Some(200))).await, 0);
    let page = store.expired(Kind::Received, &of_type(Some(99)), None, 100).await.unwrap();
    assert_eq!(page.ids, [processed.as_uuid()], "neither what is filed nor what waits");
    let all = [processed.as_uuid(), filed.as_uuid()];
    assert_eq!(store.remove_expired(Kind::Received, &all).await.unwrap(), 1);
    assert!(store.inbox_message(&viewer, processed).await.unwrap().is_none());
    assert!(store.inbox_message(&viewer, filed).await.unwrap().is_some());
    assert_eq!(store.unprocessed(10).await.unwrap().len(), 1);
}

pub(crate) async fn the_figures_say_what_waits_and_since_when(bench: impl AsyncFn() -> Bench) {
    let bench = bench().await;
    let store = bench.store.as_ref();
    store.prove_writable().await.unwrap();
    let before = store.event_counts(None).await.unwrap();
    let first = bench.env.now();
    accept(&bench, 1).await;
    bench.pass(60);
    accept(&bench, 2).await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let mail = bench.mail("one", "one").await;
    bench.collect(mailbox, mail).await;
    let queues = store.queues().await.unwrap();
    let accepted = Waiting { state: OutboxState::Accepted, messages: 2, oldest: Some(first) };
    assert!(queues.outbox.contains(&accepted), "{queues:?}");
    let stored = Waiting { state: InboxState::Stored, messages: 1, oldest: Some(bench.env.now()) };
    assert!(queues.inbox.contains(&stored), "{queues:?}");
    assert_eq!(queues.mailboxes.iter().map(|(_, count)| count).sum::<u64>(), 1);
    assert_eq!(queues.overdue_since, None);
    bench.pass(300);
    assert!(store.queues().await.unwrap().overdue_since.is_some());
    let counted = store.event_counts(Some(before.last)).await.unwrap();
    let of =
        |name| counted.counts.iter().find(|(kind, _)| kind.as_str() == name).map_or(0, |(_, count)| *count);
    assert_eq!((of("outbox.accepted"), of("inbox.stored")), (2, 1), "{counted:?}");
    assert!(store.event_counts(Some(counted.last)).await.unwrap().counts.is_empty());
    assert_eq!(store.waiting_writers(), 0);
}
