//! The Graph client against a server on loopback.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

#[path = "../../../entra/tests/it/stub.rs"]
mod stub;

use std::sync::Arc;
use std::time::Duration;

use postroom_entra::http::{HttpSettings, ProxySettings, client};
use postroom_entra::{TokenClient, TokenCredential, TokenRequest};
use postroom_graph::{GraphClient, GraphError, Upload};
use postroom_model::Env;
use serde_json::json;
use stub::{Reply, Seen, Stub};

const USER: &str = "orders@contoso.example";

fn graph_client(stub: &Stub, total: Duration) -> GraphClient {
    let settings = HttpSettings { total, proxy: ProxySettings::default(), ..HttpSettings::default() };
    let http = client(&settings).unwrap();
    let (env, _clock) = Env::for_test(1);
    let tokens = Arc::new(TokenClient::new(http.clone(), env.clone()));
    let request = TokenRequest {
        authority: stub.url.clone(),
        tenant: "contoso.example".into(),
        application: "5a1b2c3d-0000-4000-8000-00000000a001".into(),
        scope: "https://graph.microsoft.com/.default".into(),
        credential: TokenCredential::ClientSecret("HIDDENSECRET".to_owned().into()),
    };
    GraphClient::new(http, tokens, request, stub.url.clone(), env)
}

/// A server whose token endpoint hands out `T1`, `T2`, ... and whose Graph answers by `graph`, and a client for it.
async fn with(graph: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Stub, GraphClient) {
    let issued = std::sync::atomic::AtomicUsize::new(1);
    let stub = Stub::start(move |seen| {
        if seen.target.ends_with("/token") {
            let number = issued.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return Reply::json(200, &json!({"expires_in":3600,"access_token":format!("T{number}")}));
        }
        graph(seen)
    })
    .await;
    let client = graph_client(&stub, Duration::from_secs(20));
    (stub, client)
}

fn refused(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({"error":{"code":code,"message":"no"}})).with("request-id", "r-1")
}

#[tokio::test]
async fn every_call_asks_for_immutable_ids_and_names_itself() {
    let (stub, client) = with(|seen| match seen.method.as_str() {
        "DELETE" => Reply::empty(204),
        _ if seen.target.contains("/send") => Reply::empty(202),
        _ if seen.target.ends_with("$batch") => Reply::json(
            200,
            &json!({"responses":[
            {"id":"0","status":200,"body":{"id":"A"}}, {"id":"1","status":200,"body":{"id":"B"}}]}),
        ),
        _ if seen.target.ends_with("$value") => Reply::text(200, "Subject: x\r\n\r\n"),
        _ => Reply::json(
            200,
            &json!({"id":"A","value":[],"@odata.deltaLink":format!("http://{}/d", seen.header("host"))}),
        ),
    })
    .await;
    client.folder(USER, "inbox").await.unwrap();
    client.newest(USER, "inbox", 1).await.unwrap();
    client.delta(USER, "inbox", None, 50).await.unwrap();
    client.message_mime(USER, "A", 1_000).await.unwrap();
    client.create_draft_mime(USER, b"Subject: x\r\n\r\n").await.unwrap();
    client.send_draft(USER, "A/b=").await.unwrap();
    client.get_message(USER, "A", "id").await.unwrap();
    client.find_by_internet_message_id(USER, None, "<a+1'@contoso.example>").await.unwrap();
    client.patch_is_read(USER, "A", true).await.unwrap();
    client.move_to(USER, "A", "archive").await.unwrap();
    client.delete_message(USER, "A").await.unwrap();
    client.get_messages(USER, &["A".to_owned(), "B".to_owned()], "id").await.unwrap();
    client.attachments(USER, "A").await.unwrap();
    let content = bytes::Bytes::from_static(b"x");
    let file = Upload { name: "x", content_type: "a/b", content_id: None, inline: false, content: &content };
    client.attach(USER, "A", &file).await.unwrap();
    let hook = "https://mail.contoso.example/hook".parse().unwrap();
    client.subscribe(USER, &hook, "state", jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    client.renew_subscription(USER, "S", jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    client.unsubscribe(USER, "S").await.unwrap();
    client.subscriptions(USER).await.unwrap();
    let calls: Vec<Seen> = stub.seen().into_iter().filter(|seen| !seen.target.ends_with("/token")).collect();
    assert_eq!(calls.len(), 18);
    for call in &calls {
        assert!(call.header("prefer").starts_with("IdType=\"ImmutableId\""), "{}", call.target);
        assert_eq!(call.header("client-request-id").len(), 36);
        assert_eq!(call.header("authorization"), "Bearer T1");
    }
    assert!(calls[2].header("prefer").ends_with("odata.maxpagesize=50"));
    assert_eq!(calls[4].header("content-type"), "text/plain");
    assert_eq!(calls[4].body, "U3ViamVjdDogeA0KDQo=");
    assert_eq!(calls[5].target, "/v1.0/users/orders@contoso.example/messages/A%2Fb=/send");
    assert_eq!(calls[5].header("content-length"), "0");
    assert!(calls[7].target.contains("%3Ca%2B1%27%27%40contoso.example%3E"), "{}", calls[7].target);
}

#[tokio::test]
async fn a_401_renews_the_token_once() {
    let (stub, client) = with(|seen| match seen.header("authorization") {
        "Bearer T1" => refused(401, "InvalidAuthenticationToken"),
        _ => Reply::json(200, &json!({"id":"inbox-id"})),
    })
    .await;
    assert_eq!(client.folder(USER, "inbox").await.unwrap().id, "inbox-id");
    assert_eq!(stub.seen().len(), 4);

    let (stub, client) = with(|_| refused(401, "InvalidAuthenticationToken")).await;
    let error = client.folder(USER, "inbox").await.unwrap_err();
    assert_eq!((error.status(), stub.seen().len()), (Some(401), 4));
    assert!(error.advice().is_some());
}

#[tokio::test]
async fn the_token_stays_on_the_configured_graph() {
    let (stub, client) =
        with(|_| Reply::json(200, &json!({"value":[],"@odata.nextLink":"https://elsewhere.example/v1.0/x"})))
            .await;
    let error = client.delta(USER, "inbox", None, 50).await.unwrap_err();
    assert!(matches!(error, GraphError::Address { .. }), "a foreign link is refused when it arrives");
    let asked = stub.seen().len();
    let port = stub.url.port().unwrap();
    for cursor in [
        "https://elsewhere.example/v1.0/users/x".to_owned(),
        format!("https://127.0.0.1:{port}/other-scheme"),
        format!("http://127.0.0.1:{}/other-port", port.wrapping_add(1)),
        format!("http://user@127.0.0.1:{port}/with-user"),
        format!("http://127.0.0.1:{port}@elsewhere.example/"),
        "nonsense".to_owned(),
        format!("{}{}", stub.url, "x".repeat(20_000)),
    ] {
        let error = client.delta(USER, "inbox", Some(&cursor), 50).await.unwrap_err();
        assert!(matches!(error, GraphError::Address { .. }), "{cursor}");
    }
    for id in ["", ".", ".."] {
        let error = client.delete_message(USER, id).await.unwrap_err();
        assert!(matches!(error, GraphError::Address { .. }), "{id}");
    }
    assert_eq!(stub.seen().len(), asked, "nothing was sent");
}

#[tokio::test]
async fn pages_lead_on_and_one_without_a_link_is_refused() {
    let (_stub, client) = with(|seen| {
        let host = seen.header("host");
        match seen.target.as_str() {
            "/next?$skiptoken=a%2Fb" => {
                Reply::json(200, &json!({"value":[],"@odata.deltaLink":format!("http://{host}/delta")}))
            }
            "/delta" => Reply::json(200, &json!({"value":[]})),
            _ => Reply::json(
                200,
                &json!({"value":[{"id":"A"}],"@odata.nextLink":format!("http://{host}/next?$skiptoken=a%2Fb")}),
            ),
        }
    })
    .await;
    let first = client.delta(USER, "inbox", None, 50).await.unwrap();
    assert!(first.more && first.entries.len() == 1);
    let last = client.delta(USER, "inbox", Some(&first.cursor), 50).await.unwrap();
    assert!(!last.more && last.entries.is_empty());
    let error = client.delta(USER, "inbox", Some(&last.cursor), 50).await.unwrap_err();
    assert!(matches!(error, GraphError::Garbage { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_keeps_graphs_words_and_wait() {
    let (_stub, client) = with(|_| refused(429, "ApplicationThrottled").with("retry-after", "12")).await;
    let error = client.folder(USER, "inbox").await.unwrap_err();
    let GraphError::Refused(refused) = &error else { panic!("{error:?}") };
    assert_eq!((refused.status, refused.request_id.as_deref()), (429, Some("r-1")));
    assert_eq!(refused.retry_after.unwrap().as_secs(), 12);
    let failure = error.failure("read orders");
    assert_eq!(failure.code.as_deref(), Some("ApplicationThrottled"));
    let shown = format!("{error} {error:?} {failure:?} {client:?}");
    assert!(!shown.contains("HIDDENSECRET") && !shown.contains("T1"), "{shown}");
}

#[tokio::test]
async fn bodies_are_bounded_and_breaks_are_told() {
    let (_stub, client) = with(|seen| match seen.target.as_str() {
        target if target.ends_with("$value") => Reply::text(200, &"x".repeat(5_000)),
        target if target.contains("/send") => Reply::Cut,
        _ => Reply::HalfBody,
    })
    .await;
    assert_eq!(client.message_mime(USER, "A", 5_000).await.unwrap().len(), 5_000);
    let error = client.message_mime(USER, "A", 4_999).await.unwrap_err();
    assert!(matches!(error, GraphError::TooLarge { limit: 4_999, .. }), "{error:?}");
    assert!(client.send_draft(USER, "A").await.unwrap_err().may_be_done());
    assert!(client.folder(USER, "inbox").await.is_err());
}

#[tokio::test]
async fn a_connection_that_was_never_made_did_nothing() {
    let tokens = Stub::start(|_| Reply::json(200, &json!({"expires_in":3600,"access_token":"T1"}))).await;
    let (env, _clock) = Env::for_test(1);
    let http = client(&HttpSettings { proxy: ProxySettings::default(), ..HttpSettings::default() }).unwrap();
    let request = TokenRequest {
        authority: tokens.url.clone(),
        tenant: "contoso.example".into(),
        application: "a".into(),
        scope: "s".into(),
        credential: TokenCredential::ClientSecret("HIDDENSECRET".to_owned().into()),
    };
    // A port that was free a moment ago: nobody listens.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let graph = format!("http://{free}").parse().unwrap();
    let source = Arc::new(TokenClient::new(http.clone(), env.clone()));
    let client = GraphClient::new(http, source, request, graph, env);
    let error = client.send_draft(USER, "A").await.unwrap_err();
    assert!(!error.may_be_done(), "{error:?}");
}
