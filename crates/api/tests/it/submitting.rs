//! `POST /messages`.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use postroom_model::outbox::OutboxState;
use postroom_store::{OutboxFilter, Page};
use serde_json::json;

use crate::bench::{Bench, LIMIT, message};

#[tokio::test]
async fn a_message_is_accepted_and_is_on_disk_with_its_envelope() {
    let bench = Bench::new().await;
    let answer = bench.post(&[], message().to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    assert_eq!(answer.body["state"], "accepted");
    let stored = bench.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(answer.body["id"], stored[0].id.to_string());
    assert_eq!(answer.body["message_id"], stored[0].message_id);
    assert_eq!(stored[0].state, OutboxState::Accepted);
    assert_eq!(stored[0].submitted_by, "key:erp");
    assert_eq!(stored[0].envelope.to[0].as_str(), "ann@fabrikam.example");
    let raw = bench.store.outbox_raw(stored[0].id).await.unwrap();
    assert!(String::from_utf8_lossy(&raw).contains("On its way"));
}

#[tokio::test]
async fn lists_of_addresses_and_files_are_taken() {
    let bench = Bench::new().await;
    let mut body = message();
    body["to"] = json!(["ann@fabrikam.example", "bob@fabrikam.example"]);
    body["reply_to"] = json!(["sales@contoso.example"]);
    body["bcc"] = json!("audit@contoso.example");
    body["cc"] = json!(null);
    body["headers"] = json!({ "X-Order": "4711" });
    body["attachments"] =
        json!([{ "name": "order.txt", "content_type": "text/plain", "content_base64": "aGVsbG8=" }]);
    let answer = bench.post(&[], body.to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    let stored = bench.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap();
    assert_eq!(stored[0].envelope.to.len(), 3);
    let raw = bench.store.outbox_raw(stored[0].id).await.unwrap();
    let raw = String::from_utf8_lossy(&raw);
    assert!(raw.contains("order.txt") && raw.contains("X-Order: 4711") && !raw.contains("audit@"), "{raw}");
}

#[tokio::test]
async fn a_raw_message_is_taken_with_its_envelope() {
    let bench = Bench::new().await;
    let raw = "From: orders@contoso.example\r\nTo: ann@fabrikam.example\r\nSubject: Raw\r\n\r\nHello\r\n";
    let headers = [
        ("content-type", "message/rfc822"),
        ("x-postroom-from", "orders@contoso.example"),
        ("x-postroom-to", "ann@fabrikam.example, bob@fabrikam.example"),
        ("x-postroom-to", "cid@fabrikam.example"),
    ];
    let answer = bench.post(&headers, raw).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    let stored = bench.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap();
    assert_eq!((stored[0].envelope.to.len(), stored[0].subject.as_str()), (3, "Raw"));
}

#[tokio::test]
async fn a_raw_message_without_envelope_names_both_headers() {
    let bench = Bench::new().await;
    let answer = bench.post(&[("content-type", "message/rfc822")], "From: a@b.example\r\n\r\nx").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields"));
    assert_eq!(answer.fields(), ["x-postroom-from", "x-postroom-to"]);
}

#[tokio::test]
async fn a_repeat_gives_the_first_message_and_another_request_under_its_key_is_refused() {
    let bench = Bench::new().await;
    let key = [("idempotency-key", "order-4711")];
    let first = bench.post(&key, message().to_string()).await;
    let again = bench.post(&key, message().to_string()).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (StatusCode::ACCEPTED, ""));
    assert_eq!((again.status, again.header("idempotent-replayed")), (StatusCode::ACCEPTED, "true"));
    assert_eq!(first.body, again.body);

    let mut other = message();
    other["subject"] = json!("Order 4712");
    let conflict = bench.post(&key, other.to_string()).await;
    assert_eq!((conflict.status, conflict.code()), (StatusCode::CONFLICT, "idempotency_conflict"));
    assert!(conflict.message().contains(first.body["id"].as_str().unwrap()), "{}", conflict.message());

    let typed = [("idempotency-key", "order-4711"), ("content-type", "application/json; charset=utf-8")];
    let conflict = bench.post(&typed, message().to_string()).await;
    assert_eq!(conflict.status, StatusCode::CONFLICT, "the content type belongs to the request");
    let stored = bench.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap();
    assert_eq!(stored.len(), 1);
}

#[tokio::test]
async fn a_repeat_is_answered_after_the_way_out_was_taken_away() {
    let bench = Bench::new().await;
    let key = [("idempotency-key", "order-4711")];
    let first = bench.post(&key, message().to_string()).await;
    let outgoing = postroom_model::connection::OutgoingSettings {
        method: postroom_model::connection::EmailMethod::Outlook,
        connection: None,
    };
    bench.store.save_outgoing_settings(&outgoing, "test").await.unwrap();
    assert_eq!(bench.post(&key, message().to_string()).await.body, first.body);
}

#[tokio::test]
async fn a_bad_idempotency_key_is_refused() {
    let bench = Bench::new().await;
    let answer = bench.post(&[("idempotency-key", "")], message().to_string()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "malformed_request"));
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let bench = Bench::new().await;
    let mut body = message();
    body["to"] = json!(["ann@fabrikam.example", "bob"]);
    body["subject"] = json!("a\r\nBcc: eve@example.org");
    let answer = bench.post(&[], body.to_string()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields"));
    assert_eq!(answer.fields(), ["to[1]", "subject"]);

    let mut body = message();
    body["attachments"] = json!([{ "name": "a.pdf", "content_base64": "***" }]);
    let answer = bench.post(&[], body.to_string()).await;
    assert_eq!(answer.fields(), ["attachments[0].content_base64"]);
    assert!(
        answer.message().starts_with("attachments[0].content_base64: is not base64"),
        "{}",
        answer.message()
    );
}

#[tokio::test]
async fn malformed_json_is_named_by_line_column_and_path() {
    let bench = Bench::new().await;
    let answer = bench.post(&[], "{\n  \"from\": \"a@b.example\",\n  \"subject\": 7\n}").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "malformed_json"));
    assert!(answer.message().contains("line 3, column 14, at `subject`"), "{}", answer.message());
    let unknown = bench.post(&[], "{\"fromm\": \"a@b.example\"}").await;
    assert!(unknown.message().contains("unknown field `fromm`"), "{}", unknown.message());
    for broken in ["", "{", "[]", "{} {}", "\"text\"", "{\"to\": [1]}"] {
        let answer = bench.post(&[], broken).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "malformed_json"), "{broken}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whatever_its_length_says() {
    let bench = Bench::new().await;
    let long = "x".repeat(usize::try_from(LIMIT).unwrap() + 1);
    let answer = bench.post(&[("content-length", "10")], long).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"));
    assert_eq!(answer.body["error"]["limit"], LIMIT);
    assert!(answer.message().contains(&LIMIT.to_string()), "{}", answer.message());

    // Without any length, in pieces, and without end: reading must stop by itself.
    let endless = std::iter::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1000])));
    let answer = bench.post(&[], Body::from_stream(pieces(endless))).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"));
}

/// A stream of what an iterator gives.
fn pieces<I: Iterator + Send + Unpin + 'static>(
    iterator: I,
) -> impl futures_util::Stream<Item = I::Item> + Send + 'static {
    futures_util::stream::iter(iterator)
}

#[tokio::test]
async fn another_content_type_is_not_taken() {
    let bench = Bench::new().await;
    for kind in ["text/plain", "multipart/form-data", "application/jsonx"] {
        let answer = bench.post(&[("content-type", kind)], message().to_string()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            "{kind}"
        );
    }
    let answer = bench.post(&[("content-encoding", "gzip")], message().to_string()).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn without_a_way_out_the_administrator_is_named() {
    let bench = Bench::without_connection().await;
    let answer = bench.post(&[], message().to_string()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNPROCESSABLE_ENTITY, "no_connection"));
    assert!(answer.body["error"]["hint"].as_str().unwrap().contains("administrator"));
}
