//! What the engine tells about itself, and when it refuses a message because the store cannot keep up.

use std::sync::Arc;

use postroom_engine::intake::IntakeError;
use postroom_engine::signals::families::Described;
use postroom_engine::signals::{Headroom, Signals};
use postroom_engine::{Engine, EngineSettings};
use postroom_model::outbox::OutboxState;
use postroom_store::{OutboxFilter, Page};
use tokio::sync::Semaphore;

use crate::faulty::Faulty;
use crate::house::{House, draft, submitter};
use crate::provider::Door;

/// The rows of the table in the document.
fn documented() -> Vec<[String; 4]> {
    let text = include_str!("../../../../docs/metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `postroom_"));
    let cell = |text: &str| text.trim().replace('`', "");
    rows.map(|row| {
        let cells: Vec<String> = row.trim_matches('|').split('|').map(cell).collect();
        [cells[0].clone(), cells[1].clone(), cells[2].clone(), cells[3].clone()]
    })
    .collect()
}

#[tokio::test]
async fn the_document_names_every_figure_with_its_type_unit_and_labels_and_no_other() {
    let mut known: Vec<[String; 4]> = Signals::default()
        .described()
        .iter()
        .map(|Described { name, kind, unit, labels }| {
            [(*name).to_owned(), (*kind).to_owned(), (*unit).to_owned(), labels.join(", ")]
        })
        .collect();
    known.sort();
    assert_eq!(documented(), known, "docs/metrics.md, sorted by name, against signals::families");
}

#[tokio::test]
async fn the_figures_of_a_sent_message_are_there_under_documented_names_and_labels_only() {
    let house = House::new().await;
    let engine = house.engine();
    let signals = engine.signals().clone();
    signals.read(house.store.as_ref(), &house.env, 0).await.unwrap();
    let running = house.run_engine(engine.clone());
    let message = house.submit(&engine).await;
    house.becomes(message, OutboxState::Sent).await;
    running.stop().await;
    let text = house
        .until("the figures are asked for anew", async || {
            let text = signals.read(house.store.as_ref(), &house.env, 0).await.unwrap();
            if text.contains("postroom_events_total{kind=\"outbox.sent\"} 1") { Ok(text) } else { Err(text) }
        })
        .await;
    for line in [
        "postroom_outbox_messages{state=\"accepted\"} 0",
        "postroom_leases_total{work=\"outbox\",event=\"claimed\"} 1",
        "postroom_send_duration_seconds_count{outcome=\"sent\"} 1",
        "postroom_delivery_duration_seconds_count 1",
        "postroom_accept_duration_seconds_count{outcome=\"accepted\"} 1",
        "postroom_store_waiting_writers 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains('@') && !text.contains("4711"), "no address and no subject:\n{text}");
    let known = documented();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let name = name.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
        let row = known.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("undocumented: {line}"));
        for pair in rest.split_once('}').map_or("", |(labels, _)| labels).split("\",") {
            let label = pair.split('=').next().unwrap_or_default();
            let documented = row[3].split(", ").any(|known| known == label);
            assert!(
                documented
                    || label == "le"
                    || label.is_empty()
                    || rest.starts_with(|c: char| c.is_ascii_digit()),
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn of_many_budgets_the_least_is_told_and_single_mailboxes_only_as_many_as_are_asked_for() {
    let house = House::new().await;
    let engine = house.engine();
    let mailboxes: Vec<_> = (0..30).map(|_| house.env.new_id()).collect();
    let source = move || {
        let left = |index: usize| if index == 7 { 0.125 } else { 0.5 + index as f64 / 100.0 };
        let one = |(index, mailbox): (usize, &postroom_model::MailboxId)| {
            ["requests", "upload-bytes"].map(|budget| Headroom {
                mailbox: *mailbox,
                budget,
                left: left(index),
            })
        };
        mailboxes.iter().enumerate().flat_map(one).collect()
    };
    engine.signals().watch_headroom(Arc::new(source));
    let read =
        async |mailboxes| engine.signals().read(house.store.as_ref(), &house.env, mailboxes).await.unwrap();
    let text = read(0).await;
    assert!(text.contains("postroom_throttle_headroom_ratio{budget=\"requests\"} 0.125"), "{text}");
    assert!(!text.contains("mailbox="), "{text}");
    let text = read(2).await;
    let told: Vec<&str> =
        text.lines().filter(|line| line.starts_with("postroom_mailbox_throttle_headroom_ratio{")).collect();
    assert_eq!(told.len(), 4, "two mailboxes with two budgets each: {told:?}");
    assert!(told.iter().any(|line| line.ends_with(" 0.125")), "{told:?}");
}

#[tokio::test]
async fn a_store_that_cannot_keep_up_refuses_the_next_message_before_anything_of_it_is_stored() {
    let house = House::new().await;
    let slow = Arc::new(Semaphore::new(0));
    let store = Arc::new(Faulty::slow(house.store.clone(), "accept", slow.clone()));
    let mut settings = EngineSettings::default();
    settings.pressure.waiting = 2;
    let door = Arc::new(Door(house.provider.clone(), house.env.clone()));
    let engine = Engine::new(store.clone(), door, house.env.clone(), settings);
    let submit = |number: u32| {
        let intake = engine.intake();
        let mut draft = draft("orders@contoso.example");
        draft.subject = format!("Order {number}");
        async move { intake.submit_draft(draft, submitter()).await }
    };
    let inside = [tokio::spawn(submit(1)), tokio::spawn(submit(2))];
    house.until("both are inside", async || if store.held() == 2 { Ok(()) } else { Err(store.held()) }).await;
    let refused = submit(3).await;
    assert!(matches!(refused, Err(IntakeError::Busy { retry_after: 1.. })), "{refused:?}");
    let all = async || house.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap();
    assert!(all().await.is_empty(), "nobody was told yes, and nothing is there");
    slow.add_permits(100);
    for accepted in inside {
        accepted.await.unwrap().expect("those inside get what the store says");
    }
    submit(4).await.expect("and the next one is let in");
    let mut subjects: Vec<String> = all().await.into_iter().map(|message| message.subject).collect();
    subjects.sort();
    assert_eq!(subjects, ["Order 1", "Order 2", "Order 4"]);
    let text = engine.signals().read(house.store.as_ref(), &house.env, 0).await.unwrap();
    assert!(text.contains("postroom_accept_refused_total{reason=\"queue\"}"), "{text}");
}
