use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postroom_entra::{TokenClient, TokenCredential, TokenError, TokenRequest};
use postroom_model::Env;
use postroom_model::env::ManualClock;
use postroom_model::failure::Decision;
use serde_json::json;
use tokio::task::JoinSet;
use url::Url;

use crate::stub::{Reply, Seen, Stub};
use crate::{hasty, http};

const SECRET: &str = "nQ3~inv+ented.value&for=tests%";

fn request(authority: &Url) -> TokenRequest {
    TokenRequest {
        authority: authority.clone(),
        tenant: "contoso.example".into(),
        application: "5a1b2c3d-0000-4000-8000-00000000a001".into(),
        scope: "https://graph.microsoft.com/.default".into(),
        credential: TokenCredential::ClientSecret(SECRET.to_owned().into()),
    }
}

fn granted(value: &str) -> Reply {
    Reply::json(200, &json!({"token_type":"Bearer","expires_in":3600,"access_token":value}))
}

/// A server that runs through `replies`, then repeats the last, and a client with a clock for it.
async fn scripted(replies: Vec<Reply>) -> (Stub, Arc<TokenClient>, Arc<ManualClock>) {
    let next = AtomicUsize::new(0);
    let stub = Stub::start(move |_: &Seen| {
        let place = next.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1);
        replies[place].clone()
    })
    .await;
    let (env, clock) = Env::for_test(1);
    (stub, Arc::new(TokenClient::new(http(), env)), clock)
}

fn advance(clock: &ManualClock, seconds: i64) {
    clock.advance(jiff::SignedDuration::from_secs(seconds));
}

#[tokio::test]
async fn the_form_is_the_documented_one() {
    let (stub, client, _clock) = scripted(vec![granted("t1")]).await;
    assert_eq!(client.token(&request(&stub.url)).await.unwrap().expose(), "t1");
    let mut other = request(&stub.url);
    other.credential =
        TokenCredential::Password { user: "ann@contoso.example".into(), password: "p w".to_owned().into() };
    client.token(&other).await.unwrap();
    let seen = stub.seen();
    assert_eq!(seen[0].line(), "POST /contoso.example/oauth2/v2.0/token");
    let fields = |body: &str| -> Vec<(String, String)> {
        Url::parse(&format!("http://x/?{body}")).unwrap().query_pairs().into_owned().collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        fields(&seen[0].body),
        [
            pair("grant_type", "client_credentials"),
            pair("client_secret", SECRET),
            pair("client_id", "5a1b2c3d-0000-4000-8000-00000000a001"),
            pair("scope", "https://graph.microsoft.com/.default"),
        ]
    );
    assert!(fields(&seen[1].body).contains(&pair("password", "p w")));
    assert!(!seen[1].body.contains("client_secret"));
    assert_eq!(seen[0].header("client-request-id").len(), 36);
}

#[tokio::test]
async fn many_ask_and_one_request_goes_out() {
    for (reply, good) in [(granted("t1"), true), (Reply::text(500, "oops"), false)] {
        let (stub, client, _clock) = scripted(vec![reply]).await;
        let mut all = JoinSet::new();
        for _ in 0..50 {
            let (client, request) = (client.clone(), request(&stub.url));
            all.spawn(async move { client.token(&request).await.is_ok() });
        }
        assert_eq!(all.join_all().await, [good; 50]);
        assert_eq!(stub.seen().len(), 1);
    }
}

#[tokio::test]
async fn another_key_is_not_held_up() {
    let stub =
        Stub::start(|seen| if seen.target.contains("slow") { Reply::Silence } else { granted("t1") }).await;
    let (env, _clock) = Env::for_test(1);
    let client = Arc::new(TokenClient::new(http(), env));
    let mut slow = request(&stub.url);
    slow.tenant = "slow.example".into();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.token(&slow).await.map(drop) }
    });
    while stub.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    client.token(&request(&stub.url)).await.unwrap();
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn a_token_is_renewed_five_minutes_before_its_end() {
    let (stub, client, clock) = scripted(vec![granted("t1"), granted("t2")]).await;
    let request = request(&stub.url);
    assert_eq!(client.token(&request).await.unwrap().expose(), "t1");
    advance(&clock, 3_299);
    assert_eq!(client.token(&request).await.unwrap().expose(), "t1");
    assert_eq!(stub.seen().len(), 1);
    advance(&clock, 1);
    assert_eq!(client.token(&request).await.unwrap().expose(), "t2");
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn the_old_token_is_used_while_renewal_fails() {
    for trouble in [Reply::text(500, "oops"), Reply::text(200, "<html>"), Reply::Cut] {
        let (stub, client, clock) =
            scripted(vec![granted("t1"), trouble.clone(), trouble, granted("t2")]).await;
        let request = request(&stub.url);
        client.token(&request).await.unwrap();
        advance(&clock, 3_400);
        for _ in 0..3 {
            assert_eq!(client.token(&request).await.unwrap().expose(), "t1");
        }
        assert_eq!(stub.seen().len(), 2, "a failed renewal is left alone for a while");
        advance(&clock, 200);
        assert!(client.token(&request).await.is_err(), "an expired token is never given out");
        assert_eq!(client.token(&request).await.unwrap().expose(), "t2");
    }
}

#[tokio::test]
async fn a_pause_that_was_asked_for_is_kept() {
    let throttled = Reply::empty(429).with("retry-after", "17");
    let (stub, client, clock) = scripted(vec![throttled, granted("t1")]).await;
    let request = request(&stub.url);
    client.token(&request).await.unwrap_err();
    advance(&clock, 10);
    let error = client.token(&request).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(jiff::SignedDuration::from_secs(7)));
    assert_eq!(stub.seen().len(), 1);
    advance(&clock, 7);
    assert_eq!(client.token(&request).await.unwrap().expose(), "t1");
}

#[tokio::test]
async fn a_refused_token_is_forgotten_once() {
    let (stub, client, _clock) = scripted(vec![granted("t1"), granted("t2")]).await;
    let request = request(&stub.url);
    let first = client.token(&request).await.unwrap();
    client.invalidate(&first);
    assert_eq!(client.token(&request).await.unwrap().expose(), "t2");
    // Another call that also held the first token comes late: the second stays.
    client.invalidate(&first);
    assert_eq!(client.token(&request).await.unwrap().expose(), "t2");
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn a_wrong_secret_waits_for_a_person() {
    let body = json!({"error":"invalid_client","error_codes":[7000215],"trace_id":"trace-1",
        "error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: trace-1"});
    let (stub, client, _clock) = scripted(vec![Reply::json(401, &body)]).await;
    let error = client.token(&request(&stub.url)).await.unwrap_err();
    let failure = error.failure("connect Exchange Online");
    assert_eq!(failure.decision(), Decision::Hold);
    assert_eq!(failure.code.as_deref(), Some("AADSTS7000215"));
    assert_eq!((failure.status, failure.request_id.as_deref()), (Some(401), Some("trace-1")));
    assert!(failure.words.contains("contoso.example") && failure.words.contains("127.0.0.1"));
    assert!(failure.advice.unwrap().contains("Value"));
}

#[tokio::test]
async fn what_is_not_the_endpoint_is_told_apart() {
    let huge = "x".repeat(300 * 1024);
    for (reply, name) in [
        (Reply::text(200, "<html>captive portal</html>"), "Garbage"),
        (Reply::text(302, "").with("location", "http://elsewhere.example/"), "Garbage"),
        (Reply::text(200, &huge), "Garbage"),
        (Reply::json(200, &json!({"access_token":" ","expires_in":1})), "Garbage"),
        (Reply::text(403, "<html>blocked</html>"), "Garbage"),
        (Reply::text(503, ""), "Unavailable"),
        (Reply::Cut, "Network"),
    ] {
        let (stub, client, _clock) = scripted(vec![reply]).await;
        let error = client.token(&request(&stub.url)).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(name), "{error:?}");
        assert!(matches!(error.failure("sign in").decision(), Decision::Retry { .. }));
        let text = error.to_string();
        assert!(text.contains("127.0.0.1") && text.contains("contoso.example"), "{text}");
    }
}

#[tokio::test]
async fn a_secret_never_leaves_in_the_clear_or_in_words() {
    let echo = json!({"error": SECRET, "error_codes": [], "trace_id": SECRET,
        "error_description": format!("AADSTS900144: {SECRET}\r\nTrace ID: {SECRET} Correlation ID: {SECRET}")});
    let mut shown = Vec::new();
    for reply in [Reply::json(400, &echo), Reply::text(500, SECRET), Reply::text(200, SECRET), Reply::Cut] {
        let (stub, client, _clock) = scripted(vec![reply]).await;
        let request = request(&stub.url);
        let error = client.token(&request).await.unwrap_err();
        shown.push(format!("{error} {error:?} {error:#?} {client:?} {request:?} {:#?}", request.credential));
        let failure = error.failure("sign in");
        shown.push(format!("{failure} {failure:?} {:?}", error.advice()));
    }
    let (stub, client, _clock) = scripted(vec![granted("header.TOKENVALUE.signature")]).await;
    let token = client.token(&request(&stub.url)).await.unwrap();
    shown.push(format!("{token:?} {token:#?} {client:?}"));
    for text in shown {
        assert!(!text.contains(SECRET) && !text.contains("TOKENVALUE"), "{text}");
    }
    // Not over an unprotected line to another machine, and not to a place that is none.
    let (env, _clock) = Env::for_test(1);
    let client = TokenClient::new(http(), env);
    for authority in ["http://login.example", "mailto:ann@contoso.example"] {
        let error = client.token(&request(&Url::parse(authority).unwrap())).await.unwrap_err();
        assert!(matches!(error, TokenError::Address { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn silence_ends() {
    let stub = Stub::start(|_| Reply::Silence).await;
    let (env, _clock) = Env::for_test(1);
    let client = TokenClient::new(hasty(Duration::from_millis(200)), env);
    let error = client.token(&request(&stub.url)).await.unwrap_err();
    assert!(matches!(error, TokenError::Network { .. }), "{error:?}");
}
