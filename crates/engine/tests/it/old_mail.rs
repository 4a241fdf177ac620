//! How much old mail is taken, in which order a backlog comes, and what becomes of processed mail at the provider.

use jiff::SignedDuration;
use postroom_model::event::Subject;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::{MailType, MailboxSettings};
use postroom_model::{MailboxId, Timestamp};
use postroom_store::SaveMailbox;

use crate::house::{House, raw};
use crate::provider::refusal;

const ORDERS: &str = "orders@contoso.example";

/// Saves the mailbox with these answers; a fresh id adds it.
async fn save(house: &House, id: MailboxId, old_mail: &str, after: &str) {
    let settings = MailboxSettings {
        old_mail: old_mail.parse().unwrap(),
        after_processing: after.parse().unwrap(),
        ..MailboxSettings::new(ORDERS, [MailType::CustomerOrder])
    };
    assert!(!settings.validate().blocks());
    let save =
        SaveMailbox { id, connection: house.connection, settings, password: None, actor: "cli".into() };
    house.store.save_mailbox(save).await.unwrap();
    house.provider.folder(ORDERS, |_| {});
}

async fn added(house: &House, old_mail: &str, after: &str) -> MailboxId {
    let id = house.env.new_id();
    save(house, id, old_mail, after).await;
    id
}

fn days_ago(house: &House, days: i64) -> Timestamp {
    house.env.now().saturating_sub(SignedDuration::from_hours(24 * days)).unwrap()
}

/// Subject and whether it is old, in the order of arrival.
async fn kept(house: &House) -> Vec<(String, bool)> {
    let mut all = house.inbox(InboxState::Processed).await;
    all.sort_by_key(|message| message.received_at);
    all.into_iter().map(|message| (message.summary.subject, message.is_old)).collect()
}

#[tokio::test]
async fn as_much_old_mail_is_taken_as_was_said_and_it_is_marked_as_old() {
    for (old_mail, expected) in [
        ("none", vec![("new", false)]),
        ("2026-11-20", vec![("young", true), ("new", false)]),
        ("all", vec![("ancient", true), ("young", true), ("new", false)]),
    ] {
        let house = House::new().await;
        for (id, days) in [("young", 2), ("ancient", 400)] {
            house.provider.deliver_at(ORDERS, id, &raw(id), days_ago(&house, days));
        }
        let mailbox = added(&house, old_mail, "leave").await;
        house.clock.advance(SignedDuration::from_secs(60));
        house.provider.deliver_at(ORDERS, "new", &raw("new"), house.env.now());
        house.engine().collect_now(mailbox).await.unwrap();
        let expected: Vec<_> = expected.into_iter().map(|(id, old)| (id.to_owned(), old)).collect();
        assert_eq!(kept(&house).await, expected, "{old_mail}");
        if old_mail == "none" {
            assert_eq!(house.provider.called("fetch ancient"), 0, "what is passed over is not fetched");
        }
    }
}

#[tokio::test]
async fn another_answer_later_begins_anew_and_doubles_nothing() {
    let house = House::new().await;
    house.provider.deliver_at(ORDERS, "ancient", &raw("ancient"), days_ago(&house, 400));
    let mailbox = added(&house, "none", "leave").await;
    house.provider.deliver_at(ORDERS, "new", &raw("new"), house.env.now());
    let engine = house.engine();
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 1);
    save(&house, mailbox, "all", "leave").await;
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 1);
    assert_eq!(kept(&house).await, [("ancient".to_owned(), true), ("new".into(), false)]);
    assert_eq!(house.provider.called("fetch new"), 1);
    let connection = house.store.connection(house.connection).await.unwrap().unwrap();
    let waiting = engine.old_mail(&connection, &house.mailbox_now(mailbox).await).await.unwrap();
    assert_eq!((waiting.count, waiting.oldest), (2, Some(days_ago(&house, 400))));
}

#[tokio::test]
async fn a_backlog_is_taken_oldest_first_although_it_is_named_newest_first() {
    let house = House::new().await;
    house.provider.folder(ORDERS, |folder| folder.page_size = 40);
    for number in (0..150).rev() {
        let at = days_ago(&house, 2).saturating_add(SignedDuration::from_secs(number)).unwrap();
        house.provider.deliver_at(ORDERS, &format!("{number:03}"), &raw(&format!("{number:03}")), at);
    }
    let mailbox = added(&house, "all", "leave").await;
    // Cut off in the middle, what was stored stays, and the next reading goes on with the oldest that is missing.
    let busy = || refusal(503, "Server busy", Decision::Retry { after: None });
    house.provider.folder(ORDERS, |folder| folder.broken.insert("120".into(), busy()));
    let engine = house.engine();
    engine.collect_now(mailbox).await.unwrap_err();
    let standing = engine.standings().await.unwrap().remove(&mailbox).unwrap();
    assert_eq!(standing.backlog.unwrap().waiting, 50, "two batches of three were committed");
    house.provider.folder(ORDERS, |folder| folder.broken.clear());
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 50);
    let fetched: Vec<String> = {
        let state = house.provider.state();
        state.calls.iter().filter_map(|call| call.strip_prefix("fetch ").map(str::to_owned)).collect()
    };
    let expected: Vec<String> = (0..=120).chain(100..150).map(|number| format!("{number:03}")).collect();
    assert_eq!(fetched, expected);
    assert_eq!(house.inbox(InboxState::Processed).await.len(), 150);
    let standing = engine.standings().await.unwrap().remove(&mailbox).unwrap_or_default();
    assert_eq!(standing.backlog, None, "nothing waits any more");
}

/// Waits until so many messages were settled.
async fn settled(house: &House, count: usize) -> Vec<String> {
    house
        .until("settled", async || {
            let settled = house.provider.folder(ORDERS, |folder| folder.settled.clone());
            if settled.len() >= count { Ok(settled) } else { Err(format!("{settled:?}")) }
        })
        .await
}

#[tokio::test]
async fn processed_mail_is_marked_or_moved_once_and_mail_in_quarantine_is_not() {
    for (after, event) in [("mark-read", "inbox.marked-read"), ("move:Processed", "inbox.moved")] {
        let house = House::new().await;
        house.provider.deliver(ORDERS, "a", &raw("a"));
        house.provider.deliver(ORDERS, "poison", &raw("poison"));
        let failure = refusal(400, "Conversion failed", Decision::Fail);
        house.provider.folder(ORDERS, |folder| folder.broken.insert("poison".into(), failure));
        let mailbox = added(&house, "all", after).await;
        let running = house.run();
        let id = house.inbox_holds(InboxState::Processed, 1).await[0].id;
        assert_eq!(settled(&house, 1).await, [format!("{after} a")]);
        house
            .until("told", async || {
                let told = house.timeline(Subject::InboxMessage(id)).await;
                if told == ["inbox.stored", "inbox.processed", event] {
                    Ok(())
                } else {
                    Err(format!("{told:?}"))
                }
            })
            .await;
        // That it left the inbox by our own hand is no removal.
        house.provider.folder(ORDERS, |folder| folder.removed.push("a".into()));
        house.pass(&running, 3_700);
        house
            .until("read again", async || {
                let known = house.mailbox_now(mailbox).await.last_success_at;
                if known.is_some_and(|at| at >= days_ago(&house, 0)) { Ok(()) } else { Err("not yet") }
            })
            .await;
        running.stop().await;
        assert_eq!(settled(&house, 1).await.len(), 1);
        if event == "inbox.moved" {
            assert_eq!(house.timeline(Subject::InboxMessage(id)).await.len(), 3);
        }
    }
}

#[tokio::test]
async fn a_kill_between_commit_and_mark_repeats_the_mark() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    let mailbox = added(&house, "all", "mark-read").await;
    // Processed and committed; nobody marks, because only reading runs here.
    house.engine().collect_now(mailbox).await.unwrap();
    assert_eq!(house.provider.called("settle a"), 0);
    // Claimed by a process that dies: due again when its claim ends.
    let until = house.env.now().saturating_add(SignedDuration::from_mins(30)).unwrap();
    assert_eq!(house.store.claim_settling(until, 10).await.unwrap().len(), 1);
    assert_eq!(house.store.claim_settling(until, 10).await.unwrap().len(), 0);
    house.clock.advance(SignedDuration::from_mins(31));
    let running = house.run();
    assert_eq!(settled(&house, 1).await, ["mark-read a"]);
    running.stop().await;
    assert_eq!(house.store.next_settling().await.unwrap(), None);
}

#[tokio::test]
async fn a_refused_mark_is_a_warning_at_the_mailbox_and_the_mail_stays() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    let mut denied = Failure::new("settle", Origin::Provider, "Access is denied", Decision::Hold);
    denied.advice = Some("Grant Mail.ReadWrite".into());
    house.provider.folder(ORDERS, |folder| folder.unsettled.push_back(denied));
    let mailbox = added(&house, "all", "mark-read").await;
    let running = house.run();
    let unsettled = house
        .until("the warning", async || {
            let standing = house.engine().standings().await.unwrap().remove(&mailbox);
            standing.and_then(|standing| standing.unsettled).ok_or("none")
        })
        .await;
    assert_eq!(unsettled.words, "Access is denied - Grant Mail.ReadWrite");
    house.inbox_holds(InboxState::Processed, 1).await;
    assert!(house.provider.folder(ORDERS, |folder| folder.settled.is_empty()));
    // The permission is given: within the hour it is made up for, and the warning is gone.
    house.pass(&running, 3_601);
    settled(&house, 1).await;
    house
        .until("the end of the warning", async || {
            let told = house.timeline(Subject::Mailbox(mailbox)).await;
            let expected = ["mailbox.saved", "mailbox.settling-refused", "mailbox.settling-works"];
            if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    assert!(
        house
            .engine()
            .standings()
            .await
            .unwrap()
            .remove(&mailbox)
            .is_none_or(|known| known.unsettled.is_none())
    );
    running.stop().await;
}
