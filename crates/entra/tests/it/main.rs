//! Tokens, discovery and registration against a server on loopback.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod certificate;
mod clock;
mod credentials;
mod discovery;
mod register;
mod sign_in;
mod stub;
mod token;

use std::time::Duration;

use postroom_entra::http::{HttpSettings, ProxySettings, client};

/// A client as in production, with shorter limits.
fn http() -> reqwest::Client {
    let settings = HttpSettings {
        connect: Duration::from_secs(5),
        read: Duration::from_secs(20),
        total: Duration::from_secs(20),
        proxy: ProxySettings::default(),
    };
    client(&settings).unwrap()
}

/// A client that waits only this long.
fn hasty(total: Duration) -> reqwest::Client {
    client(&HttpSettings { total, proxy: ProxySettings::default(), ..HttpSettings::default() }).unwrap()
}

#[tokio::test]
async fn this_machine_is_never_reached_through_a_proxy() {
    let stub = stub::Stub::start(|_| stub::Reply::text(200, "here")).await;
    // Nobody listens on this proxy.
    let proxy = ProxySettings { http: Some("http://127.0.0.1:9".to_owned().into()), ..Default::default() };
    let client = client(&HttpSettings { proxy, ..HttpSettings::default() }).unwrap();
    let response = client.get(stub.url.clone()).send().await.unwrap();
    let body = postroom_entra::http::read_bounded(response, 100).await.unwrap();
    assert_eq!(body, b"here");
    assert!(stub.seen()[0].header("user-agent").starts_with("Postroom/"));
}

#[tokio::test]
async fn redirects_are_not_followed_and_bodies_are_bounded() {
    let stub = stub::Stub::start(|seen| match seen.target.as_str() {
        "/there" => stub::Reply::text(200, "followed"),
        _ => stub::Reply::text(302, &"x".repeat(1_000)).with("location", "/there"),
    })
    .await;
    let response = http().get(stub.url.clone()).send().await.unwrap();
    assert_eq!(response.status(), 302);
    let error = postroom_entra::http::read_bounded(response, 999).await.unwrap_err();
    assert_eq!(error.to_string(), "the answer is larger than 999 bytes");
    assert_eq!(stub.seen().len(), 1);
}
