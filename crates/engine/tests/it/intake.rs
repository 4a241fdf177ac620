//! A message is accepted, or refused with the reason and nothing kept.

use bytes::Bytes;
use postroom_engine::intake::{IntakeError, Submitter};
use postroom_mime::lighten::TooHeavy;
use postroom_model::EmailAddress;
use postroom_model::connection::{ConnectionKind, ConnectionSettings, EmailMethod, OutgoingSettings};
use postroom_model::draft::Attachment;
use postroom_model::outbox::Envelope;
use postroom_store::{Acceptance, OutboxFilter, Page, SaveConnection};

use crate::house::{House, draft, raw, submitter};

const ORDERS: &str = "orders@contoso.example";

fn address(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

fn envelope(to: &[&str]) -> Envelope {
    Envelope { from: address(ORDERS), to: to.iter().map(|text| address(text)).collect() }
}

fn keyed(key: &str, request: u8) -> Submitter {
    Submitter { name: "key:erp".into(), idempotency: Some((key.parse().unwrap(), [request; 32])) }
}

/// A raw message of the envelope's sender.
fn from_orders(subject: &str) -> Bytes {
    let text = String::from_utf8(raw(subject)).unwrap();
    text.replace("From: ann@fabrikam.example", "From: Orders <Orders@contoso.example>").into()
}

async fn is_empty(house: &House) -> bool {
    house.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap().is_empty()
}

#[tokio::test]
async fn an_accepted_draft_names_everyone_in_its_envelope_and_hides_the_blind() {
    let house = House::new().await;
    let mut draft = draft("Orders <orders@contoso.example>");
    draft.bcc = vec!["audit@contoso.example".into()];
    let accepted = house.engine().intake().submit_draft(draft, submitter()).await.unwrap();
    let Acceptance::Accepted(message) = accepted else { panic!("{accepted:?}") };
    assert_eq!(message.envelope.from, address(ORDERS));
    assert_eq!(message.envelope.to, [address("ann@fabrikam.example"), address("audit@contoso.example")]);
    assert!(message.message_id.ends_with("@contoso.example>"), "{}", message.message_id);
    let raw = house.store.outbox_raw(message.id).await.unwrap();
    let text = String::from_utf8_lossy(&raw);
    assert!(text.contains(&message.message_id), "{text}");
    assert!(!text.contains("audit@"), "{text}");
}

#[tokio::test]
async fn the_same_key_is_answered_before_anything_is_looked_at() {
    let house = House::new().await;
    let intake = house.engine().intake();
    let first = intake.submit_draft(draft(ORDERS), keyed("order-4711", 1)).await.unwrap();
    let Acceptance::Accepted(first) = first else { panic!("{first:?}") };
    // Even a draft that would be refused now: the key says that it is the request from before.
    let again = intake.submit_draft(draft("nonsense"), keyed("order-4711", 1)).await.unwrap();
    assert_eq!(again, Acceptance::Repeated(first.clone()));
    let other = intake.submit_draft(draft(ORDERS), keyed("order-4711", 2)).await.unwrap();
    assert_eq!(other, Acceptance::KeyConflict { first: first.id });
}

#[tokio::test]
async fn wrong_fields_are_named_and_nothing_is_kept() {
    let house = House::new().await;
    let mut wrong = draft("orders");
    wrong.to = vec!["ann@@fabrikam.example".into()];
    let error = house.engine().intake().submit_draft(wrong, submitter()).await.unwrap_err();
    let IntakeError::Invalid(problems) = error else { panic!("{error}") };
    assert!(problems.at("from").is_some() && problems.at("to[0]").is_some());
    assert!(is_empty(&house).await);
}

#[tokio::test]
async fn what_graph_cannot_take_is_refused_at_the_door() {
    let house = House::new().await;
    let file = |size| Attachment {
        name: "drawing.pdf".into(),
        content_type: "application/pdf".into(),
        content: vec![7; size],
        content_id: None,
    };
    let mut text = draft(ORDERS);
    text.text = Some("x ".repeat(1_600_000));
    text.attachments.push(file(1_000));
    let error = house.engine().intake().submit_draft(text, submitter()).await.unwrap_err();
    let IntakeError::TooHeavy(TooHeavy::Text { size, limit: 3_000_000 }) = error else { panic!("{error}") };
    assert!(size > 3_200_000, "{size}");
    let mut large = draft(ORDERS);
    large.attachments.push(file(7_500_000)); // larger than 10 MB only once it is encoded
    let error = house.engine().intake().submit_draft(large, submitter()).await.unwrap_err();
    let IntakeError::TooLarge { size, limit } = error else { panic!("{error}") };
    assert!(size > 10_200_000 && limit == 10_000_000, "{size} {limit}");
    assert!(is_empty(&house).await);
    let mut allowed = draft(ORDERS);
    allowed.attachments.push(file(6_000_000));
    let accepted = house.engine().intake().submit_draft(allowed, submitter()).await.unwrap();
    assert!(matches!(accepted, Acceptance::Accepted(_)));
}

#[tokio::test]
async fn the_size_that_is_limited_is_the_encoded_one_and_both_figures_are_told() {
    let house = House::new().await;
    let id = house.env.new_id();
    let settings =
        ConnectionSettings { max_size_mb: 1, ..ConnectionSettings::new(ConnectionKind::ExchangeOnline) };
    let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
    house.store.save_connection(save).await.unwrap();
    let outgoing = OutgoingSettings { method: EmailMethod::ExchangeOnline, connection: Some(id) };
    house.store.save_outgoing_settings(&outgoing, "cli").await.unwrap();
    let intake = house.engine().intake();
    let with_file = |bytes: usize| {
        let mut draft = draft(ORDERS);
        draft.attachments.push(Attachment {
            name: "drawing.pdf".into(),
            content_type: "application/pdf".into(),
            content: vec![7; bytes],
            content_id: None,
        });
        draft
    };
    intake.submit_draft(with_file(700_000), submitter()).await.unwrap();
    for error in [
        intake.submit_draft(with_file(800_000), submitter()).await.unwrap_err(),
        intake.make_draft(with_file(800_000)).await.unwrap_err(),
    ] {
        let told = error.to_string();
        let figures = "the message has 1.1 MB (1094740 bytes) encoded; the limit is 1.0 MB (1000000 bytes)";
        assert_eq!(told, figures, "800 kB of file are more than 1 MB on the way");
        assert!(error.hint().unwrap().contains("Maximum size for files in e-mail"));
    }
}

#[tokio::test]
async fn a_draft_needs_no_connection_and_leaves_nothing_behind() {
    let house = House::new().await;
    let outlook = OutgoingSettings { method: EmailMethod::Outlook, connection: None };
    house.store.save_outgoing_settings(&outlook, "cli").await.unwrap();
    let intake = house.engine().intake();
    let mut given = draft(ORDERS);
    given.bcc = vec!["audit@contoso.example".into()];
    let ready = intake.make_draft(given).await.unwrap();
    let text = String::from_utf8_lossy(&ready.raw);
    assert!(text.starts_with("X-Unsent: 1\r\n"), "{text}");
    assert!(text.contains("Bcc: <audit@contoso.example>"), "{text}");
    assert!(!text.contains("Message-ID:") && !text.contains("\nDate:"), "{text}");
    assert!(ready.file_name.ends_with(".eml"));
    let error = intake.make_draft(draft("orders")).await.unwrap_err();
    let IntakeError::Invalid(problems) = error else { panic!("{error}") };
    assert!(problems.at("from").is_some(), "the same rules as for sending");
    let mut large = draft(ORDERS);
    large.attachments.push(Attachment {
        name: "film.mp4".into(),
        content_type: "video/mp4".into(),
        content: vec![7; 8_000_000],
        content_id: None,
    });
    let error = intake.make_draft(large).await.unwrap_err();
    assert!(matches!(error, IntakeError::TooLarge { limit: 10_000_000, .. }), "{error}");
    assert!(is_empty(&house).await);
}

#[tokio::test]
async fn a_raw_message_keeps_its_id_and_its_bytes() {
    let house = House::new().await;
    let to = envelope(&["orders@contoso.example", "audit@contoso.example", "AUDIT@contoso.example"]);
    let accepted = house.engine().intake().submit_raw(from_orders("a"), to, submitter()).await.unwrap();
    let Acceptance::Accepted(message) = accepted else { panic!("{accepted:?}") };
    assert_eq!(message.message_id, "<a@fabrikam.example>");
    assert_eq!(message.subject, "a");
    assert_eq!(message.envelope.to.len(), 2, "each recipient once");
    let stored = house.store.outbox_raw(message.id).await.unwrap();
    assert!(String::from_utf8_lossy(&stored).ends_with("\r\n\r\nHello\r\n"));
}

#[tokio::test]
async fn an_envelope_must_name_whom_graph_would_send_to() {
    let house = House::new().await;
    let intake = house.engine().intake();
    for (to, words) in [
        (
            envelope(&["ann@fabrikam.example"]),
            "orders@contoso.example is in a header and not in the envelope",
        ),
        (envelope(&[]), "a message needs at least one recipient in its envelope"),
    ] {
        let error = intake.submit_raw(from_orders("a"), to, submitter()).await.unwrap_err();
        let IntakeError::Invalid(problems) = error else { panic!("{error}") };
        assert_eq!(problems.at("envelope").unwrap().message, words);
    }
    let many: Vec<_> = (0..501).map(|number| address(&format!("r{number}@fabrikam.example"))).collect();
    let many = Envelope { from: address(ORDERS), to: many };
    let error = intake.submit_raw(from_orders("a"), many, submitter()).await.unwrap_err();
    assert!(error.to_string().contains("501 recipients are too many"), "{error}");
    assert!(is_empty(&house).await);
}

#[tokio::test]
async fn without_a_connection_the_next_step_is_named() {
    let house = House::new().await;
    let outlook = OutgoingSettings { method: EmailMethod::Outlook, connection: None };
    house.store.save_outgoing_settings(&outlook, "cli").await.unwrap();
    let intake = house.engine().intake();
    let error = intake.submit_draft(draft(ORDERS), submitter()).await.unwrap_err();
    assert!(matches!(error, IntakeError::DraftsOnly), "{error:?}");
    assert!(error.to_string().contains("Client based, via Microsoft Outlook"), "{error}");
    // A mailbox of the sender brings its own connection.
    house.mailbox(ORDERS).await;
    intake.submit_draft(draft("ORDERS@contoso.example"), submitter()).await.unwrap();
}

#[tokio::test]
async fn a_raw_message_must_be_from_whom_graph_sends_as() {
    let house = House::new().await;
    let to = envelope(&["orders@contoso.example"]);
    let error = house.engine().intake().submit_raw(raw("a").into(), to, submitter()).await.unwrap_err();
    let IntakeError::Invalid(problems) = error else { panic!("{error}") };
    let told = &problems.at("from").unwrap().message;
    assert!(told.contains("ann@fabrikam.example") && told.contains(ORDERS), "{told}");
    assert!(is_empty(&house).await);
    // In the name of another: Exchange decides whether the mailbox may.
    let in_name = [&b"Sender: orders@contoso.example\r\n"[..], &raw("a")].concat();
    let to = envelope(&["orders@contoso.example"]);
    let accepted = house.engine().intake().submit_raw(in_name.into(), to, submitter()).await.unwrap();
    assert!(matches!(accepted, Acceptance::Accepted(_)));
}

#[tokio::test]
async fn what_this_version_cannot_send_is_refused_at_the_door() {
    let house = House::new().await;
    let id = house.env.new_id();
    let settings = ConnectionSettings::new(ConnectionKind::Smtp);
    let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
    house.store.save_connection(save).await.unwrap();
    let outgoing = OutgoingSettings { method: EmailMethod::Smtp, connection: Some(id) };
    house.store.save_outgoing_settings(&outgoing, "cli").await.unwrap();
    let error = house.engine().intake().submit_draft(draft(ORDERS), submitter()).await.unwrap_err();
    assert!(matches!(error, IntakeError::NoConnection(_)));
    assert!(error.to_string().contains("is not available yet in this version"), "{error}");
    assert!(is_empty(&house).await);
}
