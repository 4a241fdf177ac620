//! Providers that tell of news: mailboxes are read early, and nothing depends on it. The clock stands still, so
//! whatever is read a second time was woken.

use postroom_model::connection::ConnectionSettings;
use postroom_model::failure::Decision;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::{MailType, MailboxSettings, MailboxState};
use postroom_model::{MailboxId, SecretString};
use postroom_store::{SaveConnection, SaveMailbox};

use crate::house::{House, raw};
use crate::provider::refusal;

const ORDERS: &str = "orders@contoso.example";
const QUOTES: &str = "quotes@contoso.example";

/// Saves the mailbox with another password.
async fn save(house: &House, id: MailboxId, polling: &str, password: Option<&str>) {
    let settings = MailboxSettings {
        polling_interval: polling.parse().unwrap(),
        ..MailboxSettings::new(ORDERS, [MailType::CustomerOrder])
    };
    let password = password.map(SecretString::from);
    let save = SaveMailbox { id, connection: house.connection, settings, password, actor: "cli".into() };
    house.store.save_mailbox(save).await.unwrap();
}

#[tokio::test]
async fn news_is_collected_without_waiting_for_the_next_poll() {
    let house = House::new().await;
    let bell = house.provider.bell(ORDERS);
    house.mailbox(ORDERS).await;
    let running = house.run();
    house.asked("wait orders@contoso.example", 1).await;
    house.asked("changes orders@contoso.example since 0", 1).await;
    for (count, subject) in ["a", "b"].into_iter().enumerate() {
        house.provider.deliver(ORDERS, subject, &raw(subject));
        bell.add_permits(1);
        house.inbox_holds(InboxState::Processed, count + 1).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_wake_from_outside_reads_the_mailbox_at_once() {
    let house = House::new().await;
    let mailbox = house.mailbox(ORDERS).await;
    let running = house.run();
    house.asked("changes orders@contoso.example since 0", 1).await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    running.engine.wake(mailbox).await.unwrap();
    house.inbox_holds(InboxState::Processed, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_provider_that_cannot_tell_is_asked_again_only_after_its_connection_changed() {
    let house = House::new().await;
    house.mailbox(ORDERS).await;
    let running = house.run();
    house.asked("wait orders@contoso.example", 1).await;
    // A mailbox that can be listened to shows that the looks went on.
    let mut settings = house.store.connection(house.connection).await.unwrap().unwrap().settings;
    let id = house.env.new_id();
    let save = |id, settings: ConnectionSettings| SaveConnection {
        id,
        settings,
        credential: None,
        actor: "cli".into(),
    };
    house.store.save_connection(save(id, settings.clone())).await.unwrap();
    house.provider.bell(QUOTES);
    let quotes = MailboxSettings::new(QUOTES, [MailType::Quote]);
    let mailbox = house.env.new_id();
    let other =
        SaveMailbox { id: mailbox, connection: id, settings: quotes, password: None, actor: "cli".into() };
    house.store.save_mailbox(other).await.unwrap();
    running.engine.nudge();
    house.asked("wait quotes@contoso.example", 1).await;
    assert_eq!(house.provider.called("wait orders@contoso.example"), 1);
    settings.name = "Office".into();
    house.store.save_connection(save(house.connection, settings)).await.unwrap();
    running.engine.nudge();
    house.asked("wait orders@contoso.example", 2).await;
    running.stop().await;
    assert_eq!(house.provider.called("wait quotes@contoso.example"), 1, "it listened all the time");
}

#[tokio::test]
async fn a_mailbox_that_cannot_be_listened_to_is_not_failing_and_is_listened_to_again() {
    let house = House::new().await;
    let bell = house.provider.bell(ORDERS);
    let busy = refusal(503, "Too many connections", Decision::Retry { after: None });
    house.provider.folder(ORDERS, |folder| folder.deaf.push_back(busy));
    let mailbox = house.mailbox(ORDERS).await;
    let running = house.run();
    house.asked("wait orders@contoso.example", 2).await;
    house
        .until("running", async || {
            let state = house.mailbox_now(mailbox).await.state;
            if state == MailboxState::Running { Ok(()) } else { Err(state.as_str()) }
        })
        .await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    bell.add_permits(1);
    house.inbox_holds(InboxState::Processed, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_listener_begins_anew_with_new_settings_and_ends_with_polling() {
    let house = House::new().await;
    house.provider.bell(ORDERS);
    let mailbox = house.mailbox(ORDERS).await;
    let running = house.run();
    house.asked("wait orders@contoso.example", 1).await;
    save(&house, mailbox, "", Some("another password")).await;
    running.engine.nudge();
    house.asked("wait ended orders@contoso.example", 1).await;
    house.asked("wait orders@contoso.example", 2).await;
    save(&house, mailbox, "0", None).await;
    running.engine.nudge();
    house.asked("wait ended orders@contoso.example", 2).await;
    save(&house, mailbox, "2", None).await;
    running.engine.nudge();
    house.asked("wait orders@contoso.example", 3).await;
    house.store.remove_mailbox(mailbox, "cli").await.unwrap();
    running.engine.nudge();
    house.asked("wait ended orders@contoso.example", 3).await;
    running.stop().await;
}

#[tokio::test]
async fn no_more_are_listened_to_than_allowed_and_all_are_read() {
    let house = House::new().await;
    for address in [ORDERS, QUOTES] {
        house.provider.bell(address);
        house.provider.deliver(address, address, &raw(address));
        house.mailbox(address).await;
    }
    let running = house.run_engine(house.engine_with(|settings| {
        settings.listen_parallel = 1;
        settings.lease_seconds = 7 * 24 * 3_600;
    }));
    house.asked("wait orders@contoso.example", 1).await;
    house.inbox_holds(InboxState::Processed, 2).await;
    running.engine.nudge();
    running.stop().await;
    assert_eq!(house.provider.called("wait quotes@contoso.example"), 0);
}

#[tokio::test]
async fn a_mailbox_that_cannot_be_listened_to_leaves_its_place_to_another_while_it_rests() {
    let house = House::new().await;
    // Waits for a person: it would be tried again in a quarter of an hour.
    let barred = refusal(403, "Access is denied.", Decision::Hold);
    house.provider.folder(ORDERS, |folder| folder.deaf.push_back(barred));
    for address in [ORDERS, QUOTES] {
        house.provider.bell(address);
        house.mailbox(address).await;
    }
    let running = house.run_engine(house.engine_with(|settings| {
        settings.listen_parallel = 1;
        settings.lease_seconds = 7 * 24 * 3_600;
    }));
    house.asked("wait orders@contoso.example", 1).await;
    house.asked("wait quotes@contoso.example", 1).await;
    running.stop().await;
    assert_eq!(house.provider.called("wait orders@contoso.example"), 1, "it rests");
}
