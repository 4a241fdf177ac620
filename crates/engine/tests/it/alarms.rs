//! What must be seen although nobody asks: failing and silent mailboxes, gaps, disk and clock.

use std::sync::Arc;

use jiff::SignedDuration;
use postroom_engine::watch::WatchSettings;
use postroom_engine::watch::mail::{MailNotifier, MailSettings};
use postroom_engine::{Engine, EngineSettings};
use postroom_model::connection::{ConnectionKind, ConnectionSettings};
use postroom_model::event::Subject;
use postroom_model::failure::Decision;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::MailboxState;
use postroom_model::{ConnectionId, MailboxId};
use postroom_store::{EventFilter, OutboxFilter, Page, SaveConnection};

use crate::house::{House, draft, raw, submitter};
use crate::provider::{Door, refusal};

const ORDERS: &str = "orders@contoso.example";

/// An engine that mails its notices.
fn engine(house: &House, watch: WatchSettings) -> Engine {
    let settings = EngineSettings {
        idle_poll_ms: 60_000,
        lease_seconds: 7 * 24 * 3_600,
        watch,
        ..EngineSettings::default()
    };
    let door = Arc::new(Door(house.provider.clone(), house.env.clone()));
    let engine = Engine::new(house.store.clone(), door, house.env.clone(), settings);
    let mail = MailSettings {
        to: "admin@contoso.example".parse().unwrap(),
        from: ORDERS.parse().unwrap(),
        connection: None,
    };
    let notifier = MailNotifier::new(engine.intake(), house.store.clone(), house.env.clone(), mail);
    engine.with_notifier(Arc::new(notifier))
}

/// A second connection that can send.
async fn other(house: &House) -> ConnectionId {
    let id = house.env.new_id();
    let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
    settings.name = "Fabrikam".into();
    settings.application_id = "5a1b2c3d-0000-4000-8000-00000000a002".into();
    settings.tenant_id = "fabrikam.example".into();
    let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
    house.store.save_connection(save).await.unwrap();
    id
}

/// Notices by mail: subject and connection, oldest first.
async fn mails(house: &House) -> Vec<(String, ConnectionId)> {
    let page = Page { limit: 100, offset: 0 };
    let mut all = house.store.outbox(&OutboxFilter::default(), page).await.unwrap();
    all.sort_by_key(|message| message.accepted_at);
    all.into_iter().map(|message| (message.subject, message.connection)).collect()
}

async fn told(house: &House, subject: Subject, kind: &str, times: usize) -> String {
    house
        .until(&format!("{times} x {kind}"), async || {
            let filter = EventFilter { subject: Some(subject), after: 0 };
            let events = house.store.events(&filter, 500).await.unwrap();
            let mut found: Vec<_> =
                events.into_iter().filter(|stored| stored.event.kind.as_str() == kind).collect();
            if found.len() == times {
                return Ok(found.pop().and_then(|stored| stored.event.words).unwrap_or_default());
            }
            Err(found.len())
        })
        .await
}

#[tokio::test]
async fn a_mailbox_that_fails_for_a_while_is_one_alert_by_another_connection_and_one_when_healed() {
    let house = House::new().await;
    let other = other(&house).await;
    let busy = refusal(503, "Server busy", Decision::Retry { after: None });
    house.provider.folder(ORDERS, |folder| folder.closed = Some(busy));
    let mailbox = house.mailbox(ORDERS).await;
    let running = house.run_engine(engine(&house, WatchSettings::default()));
    told(&house, Subject::Mailbox(mailbox), "mailbox.failing", 1).await;
    assert!(mails(&house).await.is_empty(), "a moment is nothing");
    house.pass(&running, 16 * 60);
    let words = told(&house, Subject::Mailbox(mailbox), "mailbox.down", 1).await;
    assert!(words.contains("503 Server busy"), "{words}");
    mailed(&house, 1).await;
    house.provider.folder(ORDERS, |folder| folder.closed = None);
    house.pass(&running, 3_600);
    told(&house, Subject::Mailbox(mailbox), "mailbox.up", 1).await;
    let mails = mailed(&house, 2).await;
    assert!(
        mails[0].0.contains("cannot be read since") && mails[1].0.contains("can be read again"),
        "{mails:?}"
    );
    assert!(mails.iter().all(|(_, connection)| *connection == other), "never by the one in trouble");
    running.stop().await;
}

/// Waits until there are so many notices by mail.
async fn mailed(house: &House, count: usize) -> Vec<(String, ConnectionId)> {
    house
        .until(&format!("{count} mails"), async || {
            let mails = mails(house).await;
            if mails.len() == count { Ok(mails) } else { Err(format!("{mails:?}")) }
        })
        .await
}

/// Lets the mailbox be read once, so that it counts as running.
async fn read_once(house: &House, mailbox: MailboxId) {
    house.engine().collect_now(mailbox).await.unwrap();
    assert_eq!(house.mailbox_now(mailbox).await.state, MailboxState::Running);
}

#[tokio::test]
async fn a_mailbox_that_is_silent_when_mail_usually_comes_is_told_once_and_once_when_mail_comes_again() {
    let house = House::new().await;
    // It is Monday, 10:00. Mail came at every hour of the last four weeks until ten hours ago.
    for hour in 10..24 * 28 {
        let at = house.env.now().saturating_sub(SignedDuration::from_hours(hour)).unwrap();
        house.provider.deliver_at(ORDERS, &format!("m{hour}"), &raw(&format!("m{hour}")), at);
    }
    house.provider.folder(ORDERS, |folder| folder.page_size = 1_000);
    let mailbox = house.mailbox(ORDERS).await;
    read_once(&house, mailbox).await;
    let running = house.run_engine(engine(&house, WatchSettings::default()));
    let words = told(&house, Subject::Mailbox(mailbox), "mailbox.silent", 1).await;
    assert!(words.contains("has received nothing since 2026-11-23T01:00:00Z"), "{words}");
    house.pass(&running, 3_700);
    house.provider.deliver_at(ORDERS, "back", &raw("back"), house.env.now());
    house.pass(&running, 3_700);
    house.inbox_holds(InboxState::Processed, 500).await; // the list ends at 500
    house
        .until("heard", async || {
            house.pass(&running, 3_601);
            let timeline = house.timeline(Subject::Mailbox(mailbox)).await;
            if timeline.contains(&"mailbox.heard") { Ok(()) } else { Err(format!("{timeline:?}")) }
        })
        .await;
    told(&house, Subject::Mailbox(mailbox), "mailbox.heard", 1).await;
    running.stop().await;
}

#[tokio::test]
async fn what_reading_did_not_find_is_found_at_night_fetched_and_counted() {
    let house = House::new().await;
    for id in ["a", "lost", "b"] {
        house.provider.deliver(ORDERS, id, &raw(id));
    }
    house.provider.folder(ORDERS, |folder| folder.hidden.push("lost".into()));
    let mailbox = house.mailbox(ORDERS).await;
    read_once(&house, mailbox).await;
    assert_eq!(house.inbox(InboxState::Processed).await.len(), 2);
    let running =
        house.run_engine(engine(&house, WatchSettings { silence_hours: 0, ..WatchSettings::default() }));
    // It is 10:00; at 02:00 the next night it is due.
    house.pass(&running, 17 * 3_600);
    let words = told(&house, Subject::Mailbox(mailbox), "mailbox.reconciled", 1).await;
    assert!(
        words.starts_with("3 messages since ")
            && words.ends_with("1 was missing and 1 fetched: <lost@fabrikam.example>"),
        "{words}"
    );
    house.inbox_holds(InboxState::Processed, 3).await;
    house.pass(&running, 24 * 3_600);
    let words = told(&house, Subject::Mailbox(mailbox), "mailbox.reconciled", 2).await;
    assert!(words.ends_with("none is missing"), "{words}");
    let standing = running.engine.standings().await.unwrap().remove(&mailbox).unwrap();
    assert_eq!(standing.reconciliation.map(|report| (report.at_provider, report.missing)), Some((3, 0)));
    running.stop().await;
}

#[tokio::test]
async fn without_room_nothing_is_taken_in_and_mail_waits_at_its_provider() {
    let house = House::new().await;
    let folder = tempfile::tempdir().unwrap();
    let full = WatchSettings {
        data_folder: Some(folder.path().to_owned()),
        disk_warn_bytes: u64::MAX,
        disk_refuse_bytes: u64::MAX,
        ..WatchSettings::default()
    };
    let running = house.run_engine(engine(&house, full.clone()));
    let words = told(&house, Subject::Installation, "disk.low", 1).await;
    assert!(words.contains("nothing more is taken in"), "{words}");
    let refused = running.engine.intake().submit_draft(draft(ORDERS), submitter()).await.unwrap_err();
    assert!(refused.to_string().contains("could not be stored"), "{refused}");
    house.provider.deliver(ORDERS, "a", &raw("a"));
    house.mailbox(ORDERS).await;
    house.pass(&running, 600);
    running.stop().await;
    assert_eq!(house.provider.called("fetch a"), 0);
    let room = WatchSettings { disk_warn_bytes: 1, disk_refuse_bytes: 1, ..full };
    let running = house.run_engine(engine(&house, room));
    told(&house, Subject::Installation, "disk.fine", 1).await;
    house.inbox_holds(InboxState::Processed, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_more_than_two_minutes_off_is_told_once_and_once_when_it_is_right() {
    let house = House::new().await;
    house.provider.state().ahead = Some(119);
    let running = house.run_engine(engine(&house, WatchSettings::default()));
    let connection = Subject::Connection(house.connection);
    house
        .until("asked", async || {
            let known = house.store.journal(&format!("clock/{}", house.connection)).await.unwrap();
            if known.is_some() { Ok(()) } else { Err("not yet") }
        })
        .await;
    told(&house, connection, "clock.wrong", 0).await;
    house.provider.state().ahead = Some(121);
    house.pass(&running, 3_601);
    let words = told(&house, connection, "clock.wrong", 1).await;
    assert!(words.contains("121 seconds slow"), "{words}");
    house.provider.state().ahead = Some(1);
    house.pass(&running, 3_601);
    told(&house, connection, "clock.right", 1).await;
    running.stop().await;
}
