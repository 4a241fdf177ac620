//! From the store to the inbox, or to quarantine.

use postroom_model::event::Subject;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::MailType;
use postroom_model::record::RecordRef;
use postroom_store::{EventFilter, InboxFilter, Page, StoredEvent};

use crate::house::{House, raw};

const ORDERS: &str = "orders@contoso.example";
const QUOTES: &str = "quotes@contoso.example";

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

/// As a check sends it.
fn check_message() -> Vec<u8> {
    use postroom_mime::check_message::{AUTO, AUTO_FIELD, FIELD, TEXT, message_id, subject};

    let token = "probe23456723456";
    let (id, subject) = (message_id(token, "contoso.example"), subject(token));
    format!(
        "From: {ORDERS}\r\nTo: {ORDERS}\r\nSubject: {subject}\r\nMessage-ID: {id}\r\n{FIELD}: {token}\r\n\
         {AUTO_FIELD}: {AUTO}\r\n\r\n{TEXT}"
    )
    .into_bytes()
}

#[tokio::test]
async fn the_mark_of_a_check_hides_nothing_of_a_stranger() {
    let house = House::new().await;
    house.provider.deliver(ORDERS, "a", &[b"X-Postroom-Check: 1\r\n", &raw("a")[..]].concat());
    let orders = house.mailbox(ORDERS).await;
    house.engine().collect_now(orders).await.unwrap();
    assert_eq!(house.store.inbox_count(&house.viewer(), &InboxFilter::default()).await.unwrap(), 1);
}

#[tokio::test]
async fn the_test_message_of_a_check_is_done_with_and_seen_by_nobody() {
    let house = House::new().await;
    let probe = check_message();
    house.provider.deliver(ORDERS, "probe", &probe);
    house.provider.deliver(ORDERS, "a", &raw("a"));
    house.provider.deliver(QUOTES, "probe", &probe);
    let (orders, quotes) = (house.mailbox(ORDERS).await, house.mailbox(QUOTES).await);
    let engine = house.engine();
    engine.collect_now(orders).await.unwrap();
    // Its copy in another mailbox brings it back to nobody.
    engine.collect_now(quotes).await.unwrap();
    assert!(house.store.unprocessed(10).await.unwrap().is_empty());
    let all = InboxFilter::default();
    let shown = house.store.inbox(&house.viewer(), &all, Page::default()).await.unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].summary.subject, "a");
    assert_eq!(house.store.inbox_count(&house.viewer(), &all).await.unwrap(), 1);
    let search = InboxFilter { search: Some("probe".into()), ..InboxFilter::default() };
    assert_eq!(house.store.inbox_count(&house.viewer(), &search).await.unwrap(), 0);
    let events = house.store.events(&EventFilter::default(), 500).await.unwrap();
    let of = |event: &StoredEvent| match event.event.subject {
        Subject::InboxMessage(id)
            if event.event.words.as_deref().is_some_and(|words| words.contains("of a check")) =>
        {
            Some(id)
        }
        _ => None,
    };
    let id = events.iter().find_map(of).unwrap();
    assert_eq!(
        house.timeline(Subject::InboxMessage(id)).await,
        ["inbox.stored", "inbox.processed", "inbox.delivered"]
    );
    let record = RecordRef { kind: MailType::CustomerOrder, number: "4711".into() };
    house.store.file_on_record(&house.viewer(), id, &record, "cli").await.unwrap_err();
    assert_eq!(house.store.inbox_raw(&house.viewer(), id).await.unwrap(), None);
}
