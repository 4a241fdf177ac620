//! A mail comes in: from the mailbox to the store.

use jiff::SignedDuration;
use postroom_model::event::Subject;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::MailboxState;

use crate::house::{House, raw};
use crate::provider::refusal;

const ORDERS: &str = "orders@contoso.example";
const QUOTES: &str = "quotes@contoso.example";

fn busy() -> Failure {
    refusal(503, "Server busy", Decision::Retry { after: None })
}

#[tokio::test]
async fn new_mail_is_collected_processed_and_told_once() {
    let house = House::new().await;
    for subject in ["a", "b", "c"] {
        house.provider.deliver(ORDERS, subject, &raw(subject));
    }
    house.provider.folder(ORDERS, |folder| folder.page_size = 2);
    let mailbox = house.mailbox(ORDERS).await;
    let running = house.run();
    let messages = house.inbox_holds(InboxState::Processed, 3).await;
    let subjects: Vec<_> = messages.iter().map(|message| message.summary.subject.as_str()).collect();
    assert_eq!(subjects, ["c", "b", "a"]);
    house
        .until("running", async || {
            let state = house.mailbox_now(mailbox).await.state;
            if state == MailboxState::Running { Ok(()) } else { Err(state.as_str()) }
        })
        .await;
    // The next reading finds nothing and fetches nothing.
    house.pass(&running, 121);
    house.asked("changes orders@contoso.example since 3", 1).await;
    assert_eq!(house.provider.called("fetch a"), 1);
    assert_eq!(house.timeline(Subject::Mailbox(mailbox)).await, ["mailbox.saved"]);
    running.stop().await;
}

#[tokio::test]
async fn a_fetch_that_fails_in_the_middle_commits_nothing_of_the_page() {
    let house = House::new().await;
    for subject in ["a", "b", "c"] {
        house.provider.deliver(ORDERS, subject, &raw(subject));
    }
    house.provider.folder(ORDERS, |folder| folder.broken.insert("b".into(), busy()));
    let mailbox = house.mailbox(ORDERS).await;
    let engine = house.engine();
    let failure = engine.collect_now(mailbox).await.unwrap_err();
    assert_eq!(failure.words, "Server busy");
    assert!(house.inbox(InboxState::Stored).await.is_empty());
    assert!(house.inbox(InboxState::Processed).await.is_empty());
    let now = house.mailbox_now(mailbox).await;
    assert_eq!((now.state, now.failures), (MailboxState::Failing, 1));
    assert_eq!(now.last_error.as_deref(), Some("503 Server busy"));

    house.provider.folder(ORDERS, |folder| folder.broken.clear());
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 3);
    assert_eq!(house.inbox(InboxState::Processed).await.len(), 3);
    assert_eq!(
        house.timeline(Subject::Mailbox(mailbox)).await,
        ["mailbox.saved", "mailbox.failing", "mailbox.recovered"]
    );
    assert_eq!(house.store.end_all_leases().await.unwrap(), 0);
}

#[tokio::test]
async fn a_failing_mailbox_is_read_more_slowly_tells_it_once_and_recovers_alone() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    house.provider.folder(ORDERS, |folder| folder.refusals.extend([busy(), busy(), busy()]));
    let mailbox = house.mailbox(ORDERS).await;
    let running = house.run();
    for (failures, minutes) in [(1, 4), (2, 8), (3, 16)] {
        house
            .until(&format!("{failures} failures"), async || {
                let known = house.mailbox_now(mailbox).await.failures;
                if known == failures { Ok(()) } else { Err(known) }
            })
            .await;
        let due = house.mailbox_now(mailbox).await.next_due_at.unwrap();
        assert_eq!(due.duration_since(house.env.now()).as_mins(), minutes);
        house.pass(&running, minutes * 60);
    }
    house.inbox_holds(InboxState::Processed, 1).await;
    house
        .until("recovered", async || {
            let timeline = house.timeline(Subject::Mailbox(mailbox)).await;
            let expected = ["mailbox.saved", "mailbox.failing", "mailbox.recovered"];
            if timeline == expected { Ok(()) } else { Err(format!("{timeline:?}")) }
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_mailbox_that_never_answers_does_not_hold_up_another() {
    let house = House::new().await;
    house.provider.deliver(QUOTES, "a", &raw("a"));
    house.mailbox(ORDERS).await;
    house.provider.folder(ORDERS, |folder| folder.hangs = true);
    house.mailbox(QUOTES).await;
    let running = house.run_engine(house.engine_with(|settings| {
        settings.collect_parallel = 2;
        settings.lease_seconds = 3_600;
    }));
    house.inbox_holds(InboxState::Processed, 1).await;
    house.provider.deliver(QUOTES, "b", &raw("b"));
    house.pass(&running, 121);
    house.inbox_holds(InboxState::Processed, 2).await;
    running.kill().await;
}

#[tokio::test]
async fn one_mail_in_two_mailboxes_is_one_message_whatever_the_servers_wrote_into_it() {
    let house = House::new().await;
    for address in [ORDERS, QUOTES] {
        let trace = format!("Received: by mx.contoso.example for <{address}>\r\n");
        house.provider.deliver(address, "a", &[trace.as_bytes(), &raw("a")].concat());
    }
    let (orders, quotes) = (house.mailbox(ORDERS).await, house.mailbox(QUOTES).await);
    let engine = house.engine();
    assert_eq!(engine.collect_now(orders).await.unwrap(), 1);
    assert_eq!(engine.collect_now(quotes).await.unwrap(), 0);
    let processed = house.inbox(InboxState::Processed).await;
    assert_eq!(processed.len(), 1);
    assert!([orders, quotes].iter().all(|mailbox| processed[0].mailboxes.contains(mailbox)));
}

#[tokio::test]
async fn mail_that_comes_back_to_the_folder_is_told_and_not_fetched_again() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    let mailbox = house.mailbox(ORDERS).await;
    let engine = house.engine();
    engine.collect_now(mailbox).await.unwrap();
    house.provider.folder(ORDERS, |folder| folder.removed.push("a".into()));
    engine.collect_now(mailbox).await.unwrap();
    house.provider.deliver(ORDERS, "a", &raw("a"));
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 0);
    let message = house.inbox(InboxState::Processed).await[0].id;
    assert_eq!(
        house.timeline(Subject::InboxMessage(message)).await,
        ["inbox.stored", "inbox.processed", "inbox.removed-at-provider", "inbox.returned"]
    );
    assert_eq!(house.provider.called("fetch a"), 1);
}

#[tokio::test]
async fn a_lost_cursor_makes_no_doubles_and_is_told() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    house.provider.deliver(ORDERS, "b", &raw("b"));
    let mailbox = house.mailbox(ORDERS).await;
    let engine = house.engine();
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 2);
    house.provider.deliver(ORDERS, "c", &raw("c"));
    house.provider.folder(ORDERS, |folder| folder.cursor_lost = true);
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 1);
    assert_eq!(house.inbox(InboxState::Processed).await.len(), 3);
    assert_eq!(house.provider.called("fetch a"), 1, "what is known is not fetched again");
    assert_eq!(house.timeline(Subject::Mailbox(mailbox)).await, ["mailbox.saved", "mailbox.resync"]);
}

#[tokio::test]
async fn a_message_that_is_gone_or_cannot_be_had_does_not_block_the_next() {
    let house = House::new().await;
    for id in ["gone", "large", "refused", "good"] {
        let body = if id == "large" { [raw(id), vec![b'x'; 2_000]].concat() } else { raw(id) };
        house.provider.deliver(ORDERS, id, &body);
    }
    house.provider.folder(ORDERS, |folder| {
        folder.gone.push("gone".into());
        folder.broken.insert("refused".into(), refusal(400, "Conversion failed", Decision::Fail));
    });
    let mailbox = house.mailbox(ORDERS).await;
    let engine = house.engine_with(|settings| settings.max_collect_bytes = 1_000);
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 3);
    let good = house.inbox(InboxState::Processed).await;
    assert_eq!(good.len(), 1);
    assert_eq!(good[0].summary.subject, "good");
    let reasons: Vec<_> = house
        .inbox(InboxState::Quarantined)
        .await
        .into_iter()
        .map(|message| message.reason.unwrap())
        .collect();
    assert_eq!(
        reasons,
        [
            "it could not be fetched: 400 Conversion failed",
            "it could not be fetched: the message has more than 1000 bytes"
        ]
    );
    assert_eq!(house.mailbox_now(mailbox).await.state, MailboxState::Running);
}

#[tokio::test]
async fn a_placeholder_that_is_run_again_is_fetched_and_takes_its_own_place() {
    let house = House::new().await;
    let large = [raw("large"), vec![b'x'; 2_000]].concat();
    house.provider.deliver(ORDERS, "large", &large);
    let mailbox = house.mailbox(ORDERS).await;
    let narrow = || house.engine_with(|settings| settings.max_collect_bytes = 1_000);
    narrow().collect_now(mailbox).await.unwrap();
    let set_apart = house.inbox(InboxState::Quarantined).await[0].id;
    let viewer = || house.viewer();
    let run_again = async || house.store.reprocess(&viewer(), set_apart, "user:admin").await.unwrap();
    // Still too large: it is told again, and the reading goes on.
    run_again().await;
    house.provider.deliver(ORDERS, "next", &raw("next"));
    assert_eq!(narrow().collect_now(mailbox).await.unwrap(), 2);
    assert_eq!(house.inbox(InboxState::Processed).await.len(), 1);
    let reason = house.inbox(InboxState::Quarantined).await[0].reason.clone().unwrap();
    assert!(reason.contains("more than 1000 bytes"), "{reason}");
    // The mailbox is in trouble with it: the wish waits, and nothing else does.
    run_again().await;
    house.provider.folder(ORDERS, |folder| {
        folder.broken.insert("large".into(), refusal(403, "Access is denied", Decision::Hold));
    });
    assert_eq!(narrow().collect_now(mailbox).await.unwrap(), 0);
    assert_eq!(house.mailbox_now(mailbox).await.state, MailboxState::Running);
    house.provider.folder(ORDERS, |folder| folder.broken.clear());
    // Now it may be that large: read by the timer, as it was made due.
    let running = house.run();
    house.pass(&running, 121);
    house.inbox_holds(InboxState::Processed, 2).await;
    running.stop().await;
    assert!(house.inbox(InboxState::Quarantined).await.is_empty());
    let whole = house.store.inbox_raw(&viewer(), set_apart).await.unwrap().unwrap();
    assert_eq!(whole, large);
    assert_eq!(house.inbox(InboxState::Processed).await.len(), 2);
}

#[tokio::test]
async fn a_placeholder_whose_mail_is_gone_says_so() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "poison", &raw("poison"));
    house.provider.folder(ORDERS, |folder| {
        folder.broken.insert("poison".into(), refusal(400, "Conversion failed", Decision::Fail));
    });
    let mailbox = house.mailbox(ORDERS).await;
    let engine = house.engine();
    engine.collect_now(mailbox).await.unwrap();
    let id = house.inbox(InboxState::Quarantined).await[0].id;
    house.provider.folder(ORDERS, |folder| {
        folder.broken.clear();
        folder.gone.push("poison".into());
    });
    house.store.reprocess(&house.viewer(), id, "user:admin").await.unwrap();
    engine.collect_now(mailbox).await.unwrap();
    let reason = house.inbox(InboxState::Quarantined).await[0].reason.clone();
    assert_eq!(reason.as_deref(), Some("it is no longer at the provider"));
}

#[tokio::test]
async fn a_refusal_for_the_whole_mailbox_sets_no_message_apart() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    let denied = || refusal(404, "The mailbox is gone", Decision::Fail);
    house.provider.folder(ORDERS, |folder| folder.broken.insert("a".into(), denied()));
    let mailbox = house.mailbox(ORDERS).await;
    let engine = house.engine();
    // The list still comes from a cache; the mailbox itself does not open any more.
    house.provider.folder(ORDERS, |folder| folder.probe_refusal = Some(denied()));
    assert_eq!(engine.collect_now(mailbox).await.unwrap_err().words, "The mailbox is gone");
    house.provider.folder(ORDERS, |folder| {
        folder.broken.clear();
        folder.probe_refusal = None;
    });
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 1);
    assert_eq!(house.inbox(InboxState::Processed).await.len(), 1);
}

#[tokio::test]
async fn trouble_with_one_message_is_borne_for_a_while_and_then_set_apart() {
    let house = House::new().await;
    let mailbox = house.mailbox(ORDERS).await;
    let engine = house.engine();
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 0);
    house.provider.deliver(ORDERS, "poison", &raw("poison"));
    house.provider.deliver(ORDERS, "good", &raw("good"));
    house.provider.folder(ORDERS, |folder| folder.broken.insert("poison".into(), busy()));
    // However often it is read within the hour: at an interval of seconds the fifth failure comes soon.
    for _ in 0..8 {
        engine.collect_now(mailbox).await.unwrap_err();
    }
    house.clock.advance(SignedDuration::from_hours(1));
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 2);
    assert_eq!(house.inbox(InboxState::Processed).await[0].summary.subject, "good");
    assert_eq!(house.inbox(InboxState::Quarantined).await.len(), 1);
}

#[tokio::test]
async fn a_killed_reading_is_taken_up_when_its_lease_ends() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    house.mailbox(ORDERS).await;
    house.provider.folder(ORDERS, |folder| folder.hangs = true);
    let running = house.run_engine(house.engine_with(|_| {}));
    house.asked("changes orders@contoso.example since 0", 1).await;
    running.kill().await;
    house.provider.folder(ORDERS, |folder| folder.hangs = false);
    house.clock.advance(SignedDuration::from_secs(601));
    let running = house.run();
    house.inbox_holds(InboxState::Processed, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn validation_is_a_result_and_is_remembered() {
    let house = House::new().await;
    let mailbox = house.mailbox(ORDERS).await;
    let engine = house.engine();
    let good = engine.validate_mailbox(mailbox, "user:admin").await.unwrap();
    assert!(good.ok);
    let mut denied = Failure::new("read", Origin::Provider, "Access is denied", Decision::Hold);
    denied.advice = Some("Add the mailbox to the application's scope".into());
    house.provider.folder(ORDERS, |folder| folder.closed = Some(denied));
    let bad = engine.validate_mailbox(mailbox, "user:admin").await.unwrap();
    assert!(!bad.ok);
    assert_eq!(bad.words, "Access is denied - Add the mailbox to the application's scope");
    assert_eq!(house.mailbox_now(mailbox).await.validation, Some(bad));
    engine.validate_mailbox(house.env.new_id(), "user:admin").await.unwrap_err();
}

#[tokio::test]
async fn check_now_names_a_mailbox_that_is_not_there() {
    let house = House::new().await;
    let failure = house.engine().collect_now(house.env.new_id()).await.unwrap_err();
    assert_eq!(failure.origin, Origin::Ourselves);
}
