//! Health, drain, back-pressure, figures, traces and the log of a running server.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use prost::Message as _;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{World, confirmation, eventually};

#[tokio::test]
async fn after_the_first_signal_readyz_says_no_while_requests_are_still_answered() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    let mut command = world.command();
    command.env("POSTROOM_STOP_DRAIN_SECONDS", "4");
    let mut server = world.serve_with(command).await;
    let status = async |path: &str| -> Option<u16> {
        let answer = world.http.get(format!("{}{path}", server.url)).send().await.ok()?;
        Some(answer.status().as_u16())
    };
    assert_eq!((status("/healthz").await, status("/readyz").await), (Some(200), Some(200)));
    server.process.ask_to_stop();
    eventually("not ready any more", async || (status("/readyz").await == Some(503)).then_some(())).await;
    assert_eq!(status("/healthz").await, Some(200));
    let (accepted, message) = server.submit(&key, None, &confirmation(1)).await;
    assert_eq!(accepted, 202, "{message}");
    assert_eq!(server.process.ended(), Some(0));
    // What was accepted while draining is sent after the next start.
    let server = world.serve().await;
    server.reaches(&key, message["id"].as_str().unwrap(), "sent").await;
}

#[tokio::test]
async fn while_another_process_keeps_the_store_locked_messages_are_refused_and_never_told_yes_first() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    let mut command = world.command();
    command.env("POSTROOM_LIMITS_MAX_WAITING", "2");
    let server = world.serve_with(command).await;
    let lock = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\nc.execute('BEGIN IMMEDIATE')\nprint('locked',flush=True)\nsys.stdin.readline()\nc.execute('ROLLBACK')";
    let mut locker = Command::new("python3")
        .args(["-c", lock])
        .arg(world.path("data").join("postroom.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(locker.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said.trim(), "locked");
    let bodies: Vec<Value> = (0..6).map(confirmation).collect();
    let submit = |number: usize| {
        let request = world.http.post(format!("{}/api/v1/messages", server.url)).bearer_auth(&key);
        let request = request.json(&bodies[number]);
        async move {
            let answer = request.send().await.unwrap();
            let wait = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), wait, answer.json::<Value>().await.unwrap())
        }
    };
    let mut answers = JoinSet::new();
    for number in 0..6 {
        answers.spawn(submit(number));
    }
    // Those that are inside wait for the lock; so the first answer is that of one that was not let in.
    let (status, wait, body) = answers.join_next().await.unwrap().unwrap();
    assert_eq!((status, wait.as_deref()), (503, Some("5")), "{body}");
    assert_eq!(body["error"]["code"], "busy", "{body}");
    drop(locker.stdin.take());
    assert!(locker.wait().unwrap().success());
    // Whoever was told yes is there, and nobody else is.
    let mut told: BTreeSet<String> = BTreeSet::new();
    for (status, _, body) in answers.join_all().await {
        match status {
            202 => assert!(told.insert(body["id"].as_str().unwrap().to_owned())),
            503 => {}
            other => panic!("{other}: {body}"),
        }
    }
    assert!(!told.is_empty());
    let list = world.http.get(format!("{}/api/v1/messages?limit=100", server.url)).bearer_auth(&key);
    let list: Value = list.send().await.unwrap().json().await.unwrap();
    let kept: BTreeSet<String> = list["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kept, told);
}

#[tokio::test]
async fn the_figures_are_for_this_machine_alone_and_not_through_a_proxy_or_for_whoever_has_the_bearer() {
    let world = World::new().await;
    let server = world.serve().await;
    let url = format!("{}/metrics", server.url);
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    let text = world.http.get(&url).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("postroom_build_info{version=") && text.ends_with("# EOF\n"), "{text}");
    assert_eq!(status(world.http.get(&url).header("x-forwarded-for", "192.0.2.1")).await, 403);
    let text = world.http.get(&url).send().await.unwrap().text().await.unwrap();
    let line = "postroom_http_requests_total{method=\"GET\",route=\"/metrics\",status=\"403\"} 1";
    assert!(text.contains(line), "{text}");
    drop(server);
    let bearer = world.path("metrics.bearer");
    std::fs::write(&bearer, "a-bearer-of-the-tests\n").unwrap();
    let mut command = world.command();
    command.env("POSTROOM_METRICS_READ", "bearer").env("POSTROOM_METRICS_BEARER_FILE", &bearer);
    let server = world.serve_with(command).await;
    let url = format!("{}/metrics", server.url);
    assert_eq!(status(world.http.get(&url)).await, 401);
    assert_eq!(status(world.http.get(&url).bearer_auth("a-bearer-of-the-testz")).await, 401);
    assert_eq!(status(world.http.get(&url).bearer_auth("a-bearer-of-the-tests")).await, 200);
}

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// Something that takes traces as a collector does.
async fn collector() -> (String, Received) {
    let received = Received::default();
    let take = async |State(received): State<Received>, headers: HeaderMap, body: Bytes| {
        received.lock().unwrap().push((headers, body));
    };
    let router = Router::new().route("/v1/traces", axum::routing::post(take)).with_state(received.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, received)
}

// The collector must answer while the test waits for the process to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_receives_one_trace_of_a_message_with_its_id_and_never_an_address_or_a_subject() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    let (url, received) = collector().await;
    let mut command = world.command();
    command.env("POSTROOM_TRACES_ENDPOINT", &url).args(["--log-format", "json"]);
    let mut server = world.serve_with(command).await;
    let request = world.http.post(format!("{}/api/v1/messages", server.url)).bearer_auth(&key);
    let answer = request.json(&confirmation(4711)).send().await.unwrap();
    let request_id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let id = answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    server.reaches(&key, &id, "sent").await;
    assert_eq!(server.process.terminate(), Some(0), "{}", server.process.log());

    let bodies = received.lock().unwrap().clone();
    let mut steps = Vec::new();
    let log = server.process.log();
    for (headers, body) in &bodies {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        for word in ["contoso", "fabrikam", "4711", "Order", "@"] {
            let found = body.windows(word.len()).any(|part| part == word.as_bytes());
            assert!(!found, "{word} is in a trace");
        }
        let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
        let spans = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in spans.flat_map(|scope| scope.spans) {
            let trace: String = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(trace, id.replace('-', ""), "the trace has the id of the message");
            let named = span.attributes.iter().any(|attribute| {
                let value = attribute.value.as_ref().and_then(|value| value.value.clone());
                attribute.key == "messaging.message.id" && value == Some(Attribute::StringValue(id.clone()))
            });
            assert!(named, "{span:?}");
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
            steps.push((span.end_time_unix_nano, span.name));
        }
    }
    steps.sort_by_key(|(end, _)| *end);
    let mut steps: Vec<String> = steps.into_iter().map(|(_, name)| name).collect();
    steps.sort();
    assert_eq!(steps, ["accept", "claim", "outcome", "send"], "{log}");

    // The log is one object per line, and the line about this message names its request.
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let accepted = lines.iter().find(|line| {
        line["fields"]["message"] == "accepted" || line["span"]["request_id"] == request_id.as_str()
    });
    assert!(
        accepted.is_some_and(|line| line["span"]["request_id"] == request_id.as_str()),
        "{request_id}\n{log}"
    );
}
