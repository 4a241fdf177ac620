//! `POST /drafts`.

use axum::http::StatusCode;
use postroom_model::connection::{EmailMethod, OutgoingSettings};
use postroom_store::{OutboxFilter, Page};
use serde_json::json;

use crate::bench::{Bench, message};

#[tokio::test]
async fn a_message_becomes_a_draft_that_is_stored_nowhere() {
    let bench = Bench::without_connection().await;
    let outlook = OutgoingSettings { method: EmailMethod::Outlook, connection: None };
    bench.store.save_outgoing_settings(&outlook, "test").await.unwrap();
    let refused = bench.post(&[], message().to_string()).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::UNPROCESSABLE_ENTITY, "drafts_only"));
    let hint = refused.body["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("POST /api/v1/drafts"), "it says how to get the draft: {hint}");

    let mut body = message();
    body["subject"] = json!("Größe 4711");
    body["bcc"] = json!("audit@contoso.example");
    body["signature"] = json!({ "html": "<b>Ann Order</b>" });
    body["attachments"] = json!([{ "name": "order.txt", "content_base64": "aGVsbG8=" }]);
    let made = bench.post_to("/drafts", &[], body.to_string()).await;
    assert_eq!(
        (made.status, made.header("content-type")),
        (StatusCode::OK, "message/rfc822"),
        "{}",
        made.text
    );
    assert_eq!(
        made.header("content-disposition"),
        "attachment; filename=\"Gr__e 4711.eml\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%204711.eml"
    );
    for part in ["X-Unsent: 1\r\n", "Bcc: <audit@contoso.example>", "<b>Ann Order</b>", "order.txt"] {
        assert!(made.text.contains(part), "{part} in {}", made.text);
    }
    assert!(bench.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_draft_keeps_the_rules_and_limits_of_sending() {
    let bench = Bench::new().await;
    let mut wrong = message();
    wrong["to"] = json!(["ann@@fabrikam.example"]);
    let refused = bench.post_to("/drafts", &[], wrong.to_string()).await;
    assert_eq!((refused.code(), refused.fields()), ("invalid_fields", vec!["to[0]"]));
    let raw =
        bench.post_to("/drafts", &[("content-type", "message/rfc822")], "From: a@b.example\r\n\r\n").await;
    assert_eq!(raw.code(), "unsupported_media_type");
    let large = bench.post_to("/drafts", &[], "x".repeat(30_000)).await;
    assert_eq!(large.code(), "too_large");
    let mut unread = message();
    unread["signature"] = json!({ "rtf": "x" });
    assert_eq!(bench.post_to("/drafts", &[], unread.to_string()).await.code(), "malformed_json");
}

#[tokio::test]
async fn a_signature_is_sent_below_the_body_too() {
    let bench = Bench::new().await;
    let mut body = message();
    body["signature"] = json!("Ann Order");
    assert_eq!(bench.post(&[], body.to_string()).await.status, StatusCode::ACCEPTED);
    let stored = bench.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap();
    let raw = bench.store.outbox_raw(stored[0].id).await.unwrap();
    assert!(String::from_utf8_lossy(&raw).contains("On its way\r\n\r\nAnn Order"));
}
