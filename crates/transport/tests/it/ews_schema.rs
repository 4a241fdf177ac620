//! Everything that goes over the line between the transport and the sandbox, in both directions, is what Microsoft's schema
//! says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use postroom_transport::SendOutcome;
use serde_json::json;

use crate::tenant::Tenant;
use crate::xmllint::{body, check, schemas};
use crate::{Notes, job};

const AT: &str = "u1@contoso.example";

type Heard = Arc<Mutex<Vec<String>>>;

#[derive(Clone)]
struct Ear {
    to: String,
    http: reqwest::Client,
    heard: Heard,
}

/// Hands a request on and writes both sides down.
async fn listen(State(ear): State<Ear>, request: Request) -> Response {
    let (head, asked) = request.into_parts();
    let asked = to_bytes(asked, 64 << 20).await.unwrap();
    let note =
        |document: &[u8]| ear.heard.lock().unwrap().push(String::from_utf8(document.to_vec()).unwrap());
    note(&asked);
    let mut call = ear.http.request(head.method, &ear.to).body(asked);
    for (name, value) in
        head.headers.iter().filter(|(name, _)| !["host", "content-length"].contains(&name.as_str()))
    {
        call = call.header(name, value);
    }
    let answer = call.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| !name.as_str().ends_with("-length")) {
        if name != "transfer-encoding" {
            response = response.header(name, value);
        }
    }
    let told = answer.bytes().await.unwrap();
    note(&told);
    response.body(Body::from(told)).unwrap()
}

#[tokio::test]
#[ignore = "needs xmllint"]
async fn what_goes_over_the_line_is_valid_by_microsofts_schema() {
    let Some(schemas) = schemas() else {
        eprintln!(
            "SKIPPED: what_goes_over_the_line_is_valid_by_microsofts_schema: ../shared/schemas/ews is not there"
        );
        return;
    };
    let mut tenant = Tenant::by_ews().await;
    tenant.allow_ews().await;
    let heard = Heard::default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ear = Ear { to: tenant.ews_url().to_owned(), http, heard: Arc::clone(&heard) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(listen).with_state(ear);
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    tenant.reach_ews_at(url.parse().unwrap());

    for number in 0..3 {
        let mail =
            format!("Message-ID: <{number}@fabrikam.example>\r\nSubject: {number} & <more>\r\n\r\nHello\r\n");
        tenant.deliver(AT, mail).await;
    }
    let source = tenant.source(AT).await;
    source.probe().await.unwrap();
    assert_eq!(tenant.inbox(AT).await.len(), 3);
    let page = source.changes(None).await.unwrap();
    assert_eq!(source.fetch("AAMkAGnobody=", 1_000, &mut Vec::new()).await.unwrap(), None);
    tenant.dial("expire-deltas", json!({})).await;
    assert!(source.changes(Some(&page.cursor)).await.unwrap().resync);
    // A draft noted, sent, and looked up by its id and by its mark.
    let sender = tenant.sender().await;
    let mut job = job(None);
    let outcome = sender.send(&job, &Notes::default()).await;
    let SendOutcome::Sent(receipt) = outcome else { panic!("{outcome:?}") };
    job.provider_id = receipt.provider_id;
    sender.reconcile(&job).await;
    sender.send(&job, &Notes::default()).await;
    server.abort();

    let heard = heard.lock().unwrap().clone();
    let documents: Vec<(String, String)> = heard
        .iter()
        .filter(|document| document.contains("Body>"))
        .enumerate()
        .map(|(number, document)| (number.to_string(), body(document.as_bytes())))
        .collect();
    let name = |document: &str| document.split([' ', '>', '/']).next().unwrap().replace("<m:", "");
    let names: BTreeSet<String> = documents.iter().map(|(_, document)| name(document)).collect();
    for wanted in ["GetFolder", "FindItem", "GetItem", "SyncFolderItems", "CreateItem", "SendItem"] {
        assert!(
            names.contains(wanted) && names.contains(&format!("{wanted}Response")),
            "{wanted}: {names:?}"
        );
    }
    check(&documents, &schemas.join("messages.xsd"));
}
