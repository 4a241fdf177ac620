//! The envelope, whoever refuses.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};

use crate::bench::{Bench, message};

#[tokio::test]
async fn without_a_valid_key_nobody_comes_in() {
    let bench = Bench::new().await;
    let ask = async |authorization: Option<&str>| {
        let mut request = Request::builder().method(Method::POST).uri("/messages");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let request = request.header("content-type", "application/json");
        bench.send(request.body(Body::from(message().to_string())).unwrap()).await
    };
    let basic = format!("Basic {}", bench.erp);
    let longer = format!("Bearer {}x", bench.erp);
    for wrong in
        [None, Some("Bearer"), Some("Bearer "), Some("Bearer pr_unknown"), Some(&basic), Some(&longer)]
    {
        let answer = ask(wrong).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "unauthorized"), "{wrong:?}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        let hint = answer.body["error"]["hint"].as_str().unwrap();
        assert!(hint.contains("`postroom apikey create NAME`"), "{hint}");
        assert!(!answer.body.to_string().contains(&bench.erp), "a key is never repeated");
    }
    let keys = bench.store.api_keys().await.unwrap();
    let erp = keys.iter().find(|key| key.name == "erp").unwrap();
    bench.store.revoke_api_key(erp.id, "cli").await.unwrap();
    assert_eq!(ask(Some(&format!("Bearer {}", bench.erp))).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_in_the_envelope() {
    let bench = Bench::new().await;
    let answer = bench.get(&bench.erp, "/mesages").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "not_found"));
    assert!(answer.message().contains("/mesages"));
    let answer = bench.get(&bench.erp, "/messages/%ff").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "malformed_request"));
    let request = Request::builder().method(Method::DELETE).uri("/messages");
    let answer = bench.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    assert!(answer.header("allow").contains("POST"), "{:?}", answer.headers);
}

#[tokio::test]
async fn the_request_id_of_the_envelope_is_that_of_the_header_and_ours() {
    let bench = Bench::new().await;
    let request = Request::get("/nothing").header("x-request-id", "theirs").body(Body::empty()).unwrap();
    let answer = bench.send(request).await;
    let id = answer.header("x-request-id");
    assert_eq!(answer.body["error"]["request_id"], id);
    assert_ne!(id, "theirs");
    assert_eq!(answer.header("content-type"), "application/json");
}
