//! A mail goes out.

use jiff::SignedDuration;
use postroom_model::connection::{ConnectionSettings, WhenUnknown};
use postroom_model::event::{EventKind, Subject};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::outbox::OutboxState;
use postroom_store::{EventFilter, SaveConnection};
use postroom_transport::Reconciled;

use crate::house::House;
use crate::provider::{Step, refusal, time_out};

const HOUR: i64 = 3_600;

#[tokio::test]
async fn an_accepted_message_is_sent_once_and_its_timeline_tells_it() {
    let house = House::new().await;
    let running = house.run();
    let id = house.submit(&running.engine).await;
    let message = house.becomes(id, OutboxState::Sent).await;
    assert_eq!(message.last_words.as_deref(), Some("202 Accepted"));
    assert_eq!(message.provider_id.as_deref(), Some("draft-1"));
    assert_eq!(house.provider.state().sent, [message.message_id]);
    assert_eq!(
        house.outbox_timeline(id).await,
        ["outbox.accepted", "outbox.attempt", "outbox.draft-created", "outbox.sent"]
    );
    let events = house.events(Subject::OutboxMessage(id)).await;
    let sent = &events.last().unwrap().event;
    assert_eq!(sent.attempt, Some(1));
    assert_eq!(sent.request_id.as_deref(), Some("request-2"));
    running.stop().await;
}

#[tokio::test]
async fn what_was_accepted_while_nothing_ran_is_sent_at_the_next_start() {
    let house = House::new().await;
    let id = house.submit(&house.engine()).await;
    let running = house.run();
    house.becomes(id, OutboxState::Sent).await;
    running.stop().await;
}

#[tokio::test]
async fn a_time_out_after_delivery_is_looked_up_and_never_sent_again() {
    let house = House::new().await;
    house.provider.script([Step::DeliverAndTimeOut]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, 12);
    house.becomes(id, OutboxState::Sent).await;
    assert_eq!(house.provider.state().sent.len(), 1);
    assert_eq!(house.provider.called("send"), 1);
    let timeline = house.outbox_timeline(id).await;
    assert_eq!(
        timeline[3..],
        ["outbox.unknown", "outbox.attempt", "outbox.reconciled", "outbox.sent"],
        "{timeline:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_time_out_before_delivery_sends_the_very_draft_that_waits() {
    let house = House::new().await;
    house.provider.script([Step::DropAndTimeOut]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, 12);
    house.becomes(id, OutboxState::Sent).await;
    running.stop().await;
    let state = house.provider.state();
    assert_eq!((state.sent.len(), state.drafts_made, state.drafts.len()), (1, 1, 0));
}

#[tokio::test]
async fn found_nowhere_once_proves_nothing() {
    let house = House::new().await;
    house.provider.script([Step::DropAndTimeOut]);
    let absent = || Reconciled::NotSent { draft: None };
    house.provider.state().lookups.extend([absent(), absent()]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, 12);
    house.asked("reconcile", 1).await;
    house
        .until("the absence is written down", async || {
            let words = house.message(id).await.last_words.unwrap();
            if words.contains("looked up once more") { Ok(()) } else { Err(words) }
        })
        .await;
    assert_eq!(house.provider.called("send"), 1);
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, 40);
    house.becomes(id, OutboxState::Sent).await;
    assert_eq!((house.provider.called("reconcile"), house.provider.called("send")), (2, 2));
    running.stop().await;
}

#[tokio::test]
async fn a_draft_that_was_found_is_written_down_before_it_is_sent() {
    let house = House::new().await;
    house.provider.script([Step::HangBeforeNote, Step::HangAfterSend]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.asked("hang before note", 1).await;
    running.kill().await;
    assert_eq!(house.message(id).await.provider_id, None);
    // The draft is found, sent, and the process dies again.
    house.store.end_all_leases().await.unwrap();
    let running = house.run();
    house.asked("hang after send", 1).await;
    assert_eq!(house.message(id).await.provider_id.as_deref(), Some("draft-1"));
    running.kill().await;
    // What was sent is not shown yet: with an id written down, being absent once proves nothing.
    house.provider.state().lookups.push_back(Reconciled::NotSent { draft: None });
    house.store.end_all_leases().await.unwrap();
    let running = house.run();
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, HOUR);
    house.becomes(id, OutboxState::Sent).await;
    running.stop().await;
    assert_eq!(house.provider.state().sent.len(), 1);
    assert_eq!(house.provider.called("send"), 2);
}

#[tokio::test]
async fn a_look_up_without_an_answer_is_made_again_and_nothing_is_sent_meanwhile() {
    let house = House::new().await;
    house.provider.script([Step::DeliverAndTimeOut]);
    house.provider.state().lookups.push_back(Reconciled::StillUnknown(time_out()));
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, 12);
    house.asked("reconcile", 1).await;
    house
        .until("the second attempt ended", async || {
            let timeline = house.outbox_timeline(id).await;
            if timeline.last() == Some(&"outbox.reconciled") { Ok(()) } else { Err(format!("{timeline:?}")) }
        })
        .await;
    house.pass(&running, 40);
    house.becomes(id, OutboxState::Sent).await;
    assert_eq!(house.provider.state().sent.len(), 1);
    running.stop().await;
}

/// Kills an engine at a step and lets another one take over.
async fn killed_at(step: Step, mark: &str) -> (House, postroom_model::OutboxMessageId) {
    let house = House::new().await;
    house.provider.script([step]);
    let running = house.run_engine(house.engine_with(|_| {}));
    let id = house.submit(&running.engine).await;
    house.asked(mark, 1).await;
    running.kill().await;
    assert_eq!(house.message(id).await.state, OutboxState::Sending);
    house.clock.advance(SignedDuration::from_secs(121));
    let running = house.run();
    house.becomes(id, OutboxState::Sent).await;
    running.stop().await;
    let timeline = house.outbox_timeline(id).await;
    assert!(timeline.contains(&"outbox.interrupted"), "{timeline:?}");
    assert!(timeline.contains(&"outbox.reconciled"), "{timeline:?}");
    assert_eq!(house.provider.state().sent.len(), 1);
    assert_eq!(house.provider.called("reconcile"), 1);
    (house, id)
}

#[tokio::test]
async fn killed_before_there_was_a_draft() {
    let (house, _) = killed_at(Step::HangBeforeDraft, "send").await;
    assert_eq!(house.provider.state().drafts_made, 1);
}

#[tokio::test]
async fn killed_before_the_draft_was_noted() {
    let (house, _) = killed_at(Step::HangBeforeNote, "hang before note").await;
    let state = house.provider.state();
    assert_eq!(
        (state.drafts_made, state.drafts.len()),
        (1, 0),
        "the draft that was there is the one that left"
    );
}

#[tokio::test]
async fn killed_after_it_left() {
    let (house, id) = killed_at(Step::HangAfterSend, "hang after send").await;
    assert_eq!(house.provider.called("send"), 1);
    assert_eq!(house.message(id).await.attempts, 2);
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let house = House::new().await;
    let after = Some(SignedDuration::from_secs(120));
    house.provider.script([Step::Refuse(refusal(429, "Too many requests", Decision::Retry { after }))]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    let message = house.becomes(id, OutboxState::Deferred).await;
    let wait = message.next_attempt_at.unwrap().duration_since(message.accepted_at);
    assert!(wait >= SignedDuration::from_secs(120) && wait < SignedDuration::from_secs(132), "{wait:?}");
    house.pass(&running, 119);
    // Another message shows that the outbox was looked at.
    let other = house.submit_from(&running.engine, "quotes@contoso.example").await;
    house.becomes(other, OutboxState::Sent).await;
    assert_eq!(house.message(id).await.state, OutboxState::Deferred);
    house.pass(&running, 13);
    house.becomes(id, OutboxState::Sent).await;
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_for_good_fails_with_the_literal_words() {
    let house = House::new().await;
    let words = "The recipient 'nobody' is not valid";
    house.provider.script([Step::Refuse(refusal(400, words, Decision::Fail))]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    let message = house.becomes(id, OutboxState::Failed).await;
    assert_eq!(message.last_words.as_deref(), Some("400 The recipient 'nobody' is not valid"));
    let events = house.events(Subject::OutboxMessage(id)).await;
    let failed = &events.last().unwrap().event;
    assert_eq!(failed.words, message.last_words);
    assert_eq!(failed.request_id.as_deref(), Some("request-1"));
    running.stop().await;
}

#[tokio::test]
async fn a_missing_right_defers_and_goes_on_by_itself() {
    let house = House::new().await;
    let mut failure = refusal(403, "Access is denied", Decision::Hold);
    failure.advice = Some("Grant Mail.Send to the application".into());
    house.provider.script([Step::Refuse(failure)]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    let message = house.becomes(id, OutboxState::Deferred).await;
    assert_eq!(
        message.last_words.as_deref(),
        Some("403 Access is denied - Grant Mail.Send to the application")
    );
    house.pass(&running, 17 * 60);
    house.becomes(id, OutboxState::Sent).await;
    running.stop().await;
}

#[tokio::test]
async fn at_the_end_of_the_window_a_refusal_fails_and_our_own_failure_is_held() {
    let house = House::new().await;
    let unavailable = || Step::Refuse(refusal(503, "Try later", Decision::Retry { after: None }));
    house.provider.script([unavailable(), unavailable()]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Deferred).await;
    house.pass(&running, 121 * HOUR);
    let message = house.becomes(id, OutboxState::Failed).await;
    assert_eq!(message.last_words.as_deref(), Some("not sent within 120 hours: 503 Try later"));

    let missing = Failure::new("sign in", Origin::Ourselves, "there is no client secret", Decision::Hold);
    house.provider.state().no_sender = Some(missing);
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Deferred).await;
    house.pass(&running, 121 * HOUR);
    let message = house.becomes(id, OutboxState::Held).await;
    assert_eq!(message.last_words.as_deref(), Some("not sent within 120 hours: there is no client secret"));
    running.stop().await;
}

#[tokio::test]
async fn an_unknown_outcome_outlives_the_window_until_it_was_looked_up() {
    let house = House::new().await;
    house.provider.script([Step::DeliverAndTimeOut, Step::DropAndTimeOut]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, 121 * HOUR);
    house.becomes(id, OutboxState::Sent).await;

    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Unknown).await;
    house.provider.state().lookups.push_back(Reconciled::StillUnknown(time_out()));
    house.pass(&running, 121 * HOUR);
    let message = house.becomes(id, OutboxState::Failed).await;
    let words = message.last_words.unwrap();
    assert!(
        words.starts_with("it may or may not have been sent; this could not be found out within 120 hours"),
        "{words}"
    );
    running.stop().await;
}

#[tokio::test]
async fn our_own_failure_before_a_look_up_leaves_the_outcome_unknown() {
    let house = House::new().await;
    house.provider.script([Step::DeliverAndTimeOut]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Unknown).await;
    let missing = Failure::new("sign in", Origin::Ourselves, "there is no client secret", Decision::Hold);
    house.provider.state().no_sender = Some(missing);
    house.pass(&running, 12);
    house
        .until("the second attempt ended", async || {
            let message = house.message(id).await;
            let ended = message.attempts == 2 && message.state == OutboxState::Unknown;
            if ended { Ok(()) } else { Err(format!("{message:?}")) }
        })
        .await;
    house.provider.state().no_sender = None;
    house.pass(&running, 17 * 60);
    house.becomes(id, OutboxState::Sent).await;
    assert_eq!(house.provider.state().sent.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_fault_in_a_transport_stops_neither_the_worker_nor_the_message() {
    let house = House::new().await;
    house.provider.script([Step::Panic]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    // Where the fault struck is not known, so the outcome is not either.
    house.becomes(id, OutboxState::Unknown).await;
    let other = house.submit_from(&running.engine, "quotes@contoso.example").await;
    house.becomes(other, OutboxState::Sent).await;
    house.pass(&running, 12); // found nowhere, once
    house.asked("reconcile", 1).await;
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, 40);
    house.becomes(id, OutboxState::Sent).await;
    assert_eq!(house.provider.state().sent.len(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_on_one_store_send_each_message_once() {
    let house = House::new().await;
    let submitting = house.engine();
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(house.submit_from(&submitting, &format!("sender{}@contoso.example", number % 8)).await);
    }
    let (one, two) = (house.run(), house.run());
    for id in &ids {
        house.becomes(*id, OutboxState::Sent).await;
    }
    let mut sent = house.provider.state().sent.clone();
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), 40);
    assert_eq!(house.provider.called("send"), 40);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_stop_finishes_the_work_in_hand_and_leaves_no_lease() {
    let house = House::new().await;
    house.provider.script([Step::WaitAtGate]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.asked("send", 1).await;
    running.ask_to_stop();
    let later = house.submit_from(&running.engine, "quotes@contoso.example").await;
    house.provider.gate.add_permits(1);
    running.stop().await;
    assert_eq!(house.message(id).await.state, OutboxState::Sent);
    assert_eq!(house.message(later).await.state, OutboxState::Accepted);
    assert_eq!(house.store.end_all_leases().await.unwrap(), 0);
}

#[tokio::test]
async fn a_long_attempt_keeps_its_lease() {
    let house = House::new().await;
    house.provider.script([Step::WaitAtGate]);
    let running = house.run_engine(house.engine_with(|settings| settings.lease_seconds = 3));
    let id = house.submit(&running.engine).await;
    house.asked("send", 1).await;
    house.clock.advance(SignedDuration::from_secs(2));
    let end = house.env.now() + SignedDuration::from_secs(3);
    house
        .until("the end of the lease moves", async || {
            let due = house.store.next_outbox_due().await.unwrap();
            if due == Some(end) { Ok(()) } else { Err(format!("{due:?}")) }
        })
        .await;
    house.provider.gate.add_permits(1);
    house.becomes(id, OutboxState::Sent).await;
    assert_eq!(house.message(id).await.attempts, 1);
    running.stop().await;
}

#[tokio::test]
async fn who_lost_the_lease_records_nothing_and_whoever_took_over_looks_first() {
    let house = House::new().await;
    house.provider.script([Step::HangAfterSend]);
    let running = house.run_engine(house.engine_with(|settings| settings.lease_seconds = 3));
    let id = house.submit(&running.engine).await;
    house.asked("hang after send", 1).await;
    house.store.end_all_leases().await.unwrap();
    house.becomes(id, OutboxState::Sent).await;
    assert_eq!((house.provider.called("send"), house.provider.called("reconcile")), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn the_outbox_alone_sends_without_collecting() {
    let house = House::new().await;
    house.mailbox("orders@contoso.example").await;
    let engine = house.engine();
    let id = house.submit(&engine).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        async move { engine.run_outbox(stop).await }
    });
    house.becomes(id, OutboxState::Sent).await;
    stop.cancel();
    task.await.unwrap();
    assert_eq!(house.provider.called("changes orders@contoso.example since 0"), 0);
}

/// What a sender says that has no way to look anything up.
fn cannot_tell() -> Reconciled {
    let words = "SMTP has no look-up";
    Reconciled::CannotTell(Failure::new("look up", Origin::Provider, words, Decision::Reconcile))
}

async fn set_policy(house: &House, when_unknown: WhenUnknown) {
    let before = house.store.connection(house.connection).await.unwrap().unwrap();
    let settings = ConnectionSettings { when_unknown, ..before.settings };
    let save = SaveConnection { id: house.connection, settings, credential: None, actor: "cli".into() };
    house.store.save_connection(save).await.unwrap();
}

#[tokio::test]
async fn what_nobody_can_tell_is_not_sent_again_and_its_sender_is_told() {
    let house = House::new().await;
    house.provider.script([Step::DeliverAndTimeOut]);
    house.provider.state().lookups.push_back(cannot_tell());
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, 12);
    let message = house.becomes(id, OutboxState::Failed).await;
    assert_eq!(
        message.last_words.as_deref(),
        Some(
            "it may or may not have been sent, and is not sent again: no answer within 60 seconds; SMTP has no look-up"
        )
    );
    let timeline = house.outbox_timeline(id).await;
    assert_eq!(timeline[3..], ["outbox.unknown", "outbox.attempt", "outbox.unknown", "outbox.failed"]);
    house.pass(&running, 200 * HOUR);
    assert_eq!(house.provider.called("send"), 1);
    // A person releases it: the event says what they released, and the end says what nobody knows.
    house.provider.state().lookups.push_back(cannot_tell());
    house.store.change_outbox(id, OutboxState::Accepted, "user:admin").await.unwrap();
    running.engine.nudge();
    let message = house.becomes(id, OutboxState::Sent).await;
    assert!(message.last_words.unwrap().ends_with("; an earlier attempt may have sent it as well"));
    let filter = EventFilter { subject: Some(Subject::OutboxMessage(id)), after: 0 };
    let events = house.store.events(&filter, 100).await.unwrap();
    let released = events.iter().find(|stored| stored.event.kind == EventKind::OutboxReleased).unwrap();
    assert!(released.event.words.as_ref().unwrap().starts_with("although it may or may not have been sent"));
    running.stop().await;
    assert_eq!(house.provider.called("send"), 2);
}

#[tokio::test]
async fn an_interrupted_attempt_that_nobody_can_tell_of_is_the_same_question() {
    let house = House::new().await;
    house.provider.script([Step::HangAfterSend]);
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.asked("hang after send", 1).await;
    running.kill().await;
    house.provider.state().lookups.push_back(cannot_tell());
    house.store.end_all_leases().await.unwrap();
    let running = house.run();
    let message = house.becomes(id, OutboxState::Failed).await;
    assert!(
        message.last_words.unwrap().starts_with("it may or may not have been sent, and is not sent again")
    );
    running.stop().await;
    assert_eq!(house.provider.called("send"), 1);
}

#[tokio::test]
async fn where_at_least_once_is_asked_for_it_is_sent_again_and_told_each_time() {
    let house = House::new().await;
    set_policy(&house, WhenUnknown::AtLeastOnce).await;
    house.provider.script([Step::DropAndTimeOut]);
    house.provider.state().lookups.push_back(cannot_tell());
    let running = house.run();
    let id = house.submit(&running.engine).await;
    house.becomes(id, OutboxState::Unknown).await;
    house.pass(&running, 12);
    let message = house.becomes(id, OutboxState::Deferred).await;
    assert!(message.last_words.unwrap().contains("it is sent again and may arrive twice"));
    house.pass(&running, 40);
    house.becomes(id, OutboxState::Sent).await;
    running.stop().await;
    assert_eq!(house.provider.called("send"), 2);
    let timeline = house.outbox_timeline(id).await;
    assert!(timeline.windows(2).any(|pair| pair == ["outbox.unknown", "outbox.deferred"]), "{timeline:?}");
}
