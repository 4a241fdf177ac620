//! What Microsoft Graph posts: the handshake is said back, and whatever strangers post changes nothing.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;
use tower::ServiceExt;

use crate::bench::Bench;

const PATH: &str = "/notifications/graph";

#[tokio::test]
async fn the_token_of_the_handshake_comes_back_as_plain_text() {
    let bench = Bench::new().await;
    let token = "Validation: Testing <script>alert(1)</script> a+b";
    let asked = format!(
        "{PATH}?validationToken=Validation%3A%20Testing%20%3Cscript%3Ealert(1)%3C%2Fscript%3E%20a%2Bb"
    );
    let answer =
        bench.router.clone().oneshot(Request::post(asked).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header("content-type"), header("x-content-type-options")),
        ("text/plain; charset=utf-8".into(), "nosniff".into())
    );
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
    assert_eq!(body, token);
    for token in ["x".repeat(3_000), "a%0D%0Ab".to_owned(), "a%00".to_owned()] {
        let asked = format!("{PATH}?validationToken={token}");
        let answer = bench.send(Request::post(asked).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", &token[..4]);
    }
}

#[tokio::test]
async fn a_call_that_does_not_come_is_let_go_before_the_provider_counts_it_as_late() {
    let bench = Bench::new().await;
    let body = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let begun = std::time::Instant::now();
    let answer = bench.send(Request::post(PATH).body(body).unwrap()).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert!(begun.elapsed() < std::time::Duration::from_secs(3));
}

#[tokio::test]
async fn strangers_get_the_same_answer_and_change_nothing() {
    let bench = Bench::new().await;
    let post =
        async |body: String| bench.send(Request::post(PATH).body(Body::from(body)).unwrap()).await.status;
    let entry = json!({"subscriptionId": "sub-1", "clientState": "guessed", "changeType": "created"});
    let many = vec![entry.clone(); 900];
    for (body, status) in [
        (json!({"value": [entry]}).to_string(), StatusCode::ACCEPTED),
        (json!({"value": many}).to_string(), StatusCode::ACCEPTED),
        (json!({"value": []}).to_string(), StatusCode::ACCEPTED),
        (
            json!({"value": [{"subscriptionId": "", "lifecycleEvent": "subscriptionRemoved"}]}).to_string(),
            StatusCode::ACCEPTED,
        ),
        (json!({"value": [{"subscriptionId": 7}]}).to_string(), StatusCode::BAD_REQUEST),
        ("[".repeat(100_000), StatusCode::BAD_REQUEST),
        ("<html>".to_owned(), StatusCode::BAD_REQUEST),
        (String::new(), StatusCode::BAD_REQUEST),
        (" ".repeat(300_000), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(post(body.clone()).await, status, "{}", &body[..body.len().min(60)]);
    }
    assert!(bench.store.journals("").await.unwrap().is_empty());
}
