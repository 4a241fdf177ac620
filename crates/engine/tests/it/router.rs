//! From the store to the inbox, or to quarantine.

use postroom_model::event::Subject;
use postroom_model::inbox::InboxState;

use crate::house::{House, raw};

const ORDERS: &str = "orders@contoso.example";

/// Messages within messages, deeper than is taken apart.
fn poison() -> Vec<u8> {
    let mut text = String::from("From: ann@fabrikam.example\r\nSubject: nested\r\n");
    for _ in 0..2_000 {
        text.push_str("Content-Type: message/rfc822\r\n\r\n");
    }
    text.push_str("Subject: core\r\n\r\nx\r\n");
    text.into_bytes()
}

#[tokio::test]
async fn a_poison_message_goes_to_quarantine_and_the_next_is_processed() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "poison", &poison());
    house.provider.deliver(ORDERS, "good", &raw("good"));
    house.mailbox(ORDERS).await;
    let running = house.run();
    house.inbox_holds(InboxState::Processed, 1).await;
    let quarantined = house.inbox_holds(InboxState::Quarantined, 1).await;
    let reason = quarantined[0].reason.clone().unwrap();
    assert!(reason.contains("messages within messages"), "{reason}");
    assert_eq!(
        house.timeline(Subject::InboxMessage(quarantined[0].id)).await,
        ["inbox.stored", "inbox.quarantined"]
    );
    running.stop().await;
}

#[tokio::test]
async fn more_than_one_batch_is_processed_in_one_go() {
    let house = House::new().await;
    for number in 0..70 {
        house.provider.deliver(ORDERS, &format!("m{number}"), &raw(&format!("m{number}")));
    }
    let mailbox = house.mailbox(ORDERS).await;
    assert_eq!(house.engine().collect_now(mailbox).await.unwrap(), 70);
    assert_eq!(house.inbox(InboxState::Processed).await.len(), 70);
}

#[tokio::test]
async fn a_message_of_a_check_is_processed_like_any_other() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &raw("a"));
    house.provider.deliver(ORDERS, "probe", &[b"X-Postroom-Check: 1\r\n", &raw("probe")[..]].concat());
    house.mailbox(ORDERS).await;
    let running = house.run();
    house.inbox_holds(InboxState::Processed, 2).await;
    running.stop().await;
}
