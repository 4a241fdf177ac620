use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use postroom_model::credential::CredentialKind;
use postroom_model::failure::{Decision, Failure};
use postroom_transport::{Reconciled, SendJob, SendOutcome, Sender, Transports};
use serde_json::json;

use crate::stub::{Reply, Stub};
use crate::{
    MESSAGE_ID, Notes, Vault, address, connection, graph, job, page, refused, settings, wire, wire_with,
};

const DRAFT: &str = "POST /v1.0/users/orders@contoso.example/messages";
const SEND: &str = "POST /v1.0/users/orders@contoso.example/messages/D1/send";
const GET: &str = "GET /v1.0/users/orders@contoso.example/messages/D1";
const SENT_ITEMS: &str = "GET /v1.0/users/orders@contoso.example/mailFolders/sentitems/messages";
const ALL: &str = "GET /v1.0/users/orders@contoso.example/messages";

async fn sender(stub: &Stub) -> Box<dyn Sender> {
    wire().sender(&connection(settings(&stub.url))).await.unwrap()
}

/// A Graph that makes the draft `D1` and answers the send with `reply`.
async fn answering(reply: Reply) -> Stub {
    graph(move |seen| match seen.line().as_str() {
        DRAFT => Reply::json(201, &json!({"id":"D1","isDraft":true})),
        SEND => reply.clone(),
        line => panic!("{line}"),
    })
    .await
}

async fn send(stub: &Stub, job: &SendJob) -> SendOutcome {
    sender(stub).await.send(job, &Notes::default()).await
}

fn not_sent(outcome: SendOutcome) -> Failure {
    match outcome {
        SendOutcome::NotSent(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn unknown(outcome: SendOutcome) -> Failure {
    match outcome {
        SendOutcome::Unknown(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_draft_is_made_written_down_and_sent() {
    let stub = answering(Reply::empty(202).with("request-id", "r-9")).await;
    let notes = Notes::default();
    let outcome = sender(&stub).await.send(&job(None), &notes).await;
    let SendOutcome::Sent(receipt) = outcome else { panic!("{outcome:?}") };
    assert_eq!((receipt.provider_id.as_deref(), receipt.request_id.as_deref()), (Some("D1"), Some("r-9")));
    assert_eq!(receipt.words, "202 Accepted");
    assert_eq!(*notes.written.lock().unwrap(), ["D1"]);
    let seen = stub.seen();
    assert_eq!(stub.lines()[1..], [DRAFT, SEND]);
    let mime = String::from_utf8(STANDARD.decode(&seen[1].body).unwrap()).unwrap();
    let bcc: Vec<&str> = mime.lines().filter(|line| line.to_ascii_lowercase().starts_with("bcc:")).collect();
    assert_eq!(bcc.len(), 1, "{mime}");
    assert!(bcc[0].contains("ben@fabrikam.example") && !bcc[0].to_lowercase().contains("ann@"), "{mime}");
    assert!(mime.contains(MESSAGE_ID));
    assert!(mime.contains(&format!("X-Postroom-Id: {}\r\n", job(None).id)), "{mime}");
}

#[tokio::test]
async fn the_draft_of_an_earlier_attempt_is_sent_and_no_second_one_made() {
    let stub = answering(Reply::empty(202)).await;
    let outcome = send(&stub, &job(Some("D1"))).await;
    assert!(matches!(outcome, SendOutcome::Sent(_)), "{outcome:?}");
    assert_eq!(stub.lines()[1..], [SEND]);
}

#[tokio::test]
async fn a_draft_that_had_left_already_is_sent() {
    for (draft, sent) in [(false, true), (true, false)] {
        let stub = graph(move |seen| match seen.line().as_str() {
            SEND => refused(400, "ErrorInvalidRequest"),
            GET => Reply::json(200, &json!({"id":"D1","isDraft":draft})),
            line => panic!("{line}"),
        })
        .await;
        let outcome = send(&stub, &job(Some("D1"))).await;
        assert_eq!(matches!(outcome, SendOutcome::Sent(_)), sent, "{outcome:?}");
        assert_eq!(matches!(outcome, SendOutcome::NotSent(_)), !sent, "{outcome:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_when_the_draft_cannot_be_written_down() {
    let stub = answering(Reply::empty(202)).await;
    let notes = Notes { broken: true, ..Notes::default() };
    let failure = not_sent(sender(&stub).await.send(&job(None), &notes).await);
    assert_eq!(failure.words, "the lease is lost");
    assert_eq!(stub.lines()[1..], [DRAFT]);
}

#[tokio::test]
async fn the_table_of_outcomes() {
    let retry = |seconds| Decision::Retry { after: Some(SignedDuration::from_secs(seconds)) };
    for (reply, decision) in [
        (refused(400, "ErrorInvalidRecipients"), Decision::Fail),
        (refused(400, "RequestBodyRead"), Decision::Hold),
        (refused(401, "InvalidAuthenticationToken"), Decision::Hold),
        (refused(403, "ErrorAccessDenied"), Decision::Hold),
        (refused(403, "ErrorSendAsDenied"), Decision::Hold),
        (refused(413, "ErrorMessageSizeExceeded"), Decision::Fail),
        (refused(429, "ApplicationThrottled").with("retry-after", "12"), retry(12)),
        (refused(429, "ErrorExceededMessageLimit"), retry(3_600)),
    ] {
        let shown = format!("{reply:?}");
        let failure = not_sent(send(&answering(reply).await, &job(None)).await);
        assert_eq!(failure.decision(), decision, "{shown}");
        assert_eq!(failure.request_id.as_deref(), Some("r-1"));
    }
    for reply in [
        refused(404, "ErrorItemNotFound"),
        refused(409, "ErrorIrresolvableConflict"),
        refused(408, ""),
        refused(500, "ErrorInternalServerError"),
        refused(503, "ServiceNotAvailable"),
        Reply::text(504, "<html>Gateway Timeout</html>"),
        Reply::text(200, "<html>captive portal</html>"),
        Reply::Cut,
    ] {
        let shown = format!("{reply:?}");
        let failure = unknown(send(&answering(reply).await, &job(None)).await);
        assert_eq!(failure.decision(), Decision::Reconcile, "{shown}");
        assert!(!format!("{failure:?}").contains(crate::SECRET));
    }
}

#[tokio::test]
async fn silence_after_the_request_is_unknown() {
    let stub = answering(Reply::Silence).await;
    let wire = wire_with(Vault(Some(CredentialKind::ClientSecret)), Duration::from_millis(300));
    let sender = wire.sender(&connection(settings(&stub.url))).await.unwrap();
    let failure = unknown(sender.send(&job(None), &Notes::default()).await);
    assert_eq!(failure.decision(), Decision::Reconcile);
}

#[tokio::test]
async fn a_draft_that_may_exist_is_unknown_and_one_that_was_refused_is_not() {
    for (reply, exists) in [
        (Reply::Cut, true),
        (refused(504, "GatewayTimeout"), true),
        (Reply::text(200, "<html>"), true),
        (Reply::json(201, &json!({})), true),
        (refused(403, "ErrorAccessDenied"), false),
        (refused(429, "ApplicationThrottled"), false),
        (refused(404, "ErrorInvalidUser"), false),
    ] {
        let stub = graph(move |_| reply.clone()).await;
        let outcome = send(&stub, &job(None)).await;
        assert_eq!(matches!(outcome, SendOutcome::Unknown(_)), exists, "{outcome:?}");
        assert_eq!(matches!(outcome, SendOutcome::NotSent(_)), !exists, "{outcome:?}");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let stub = Stub::start(|_| {
        Reply::json(401, &json!({"error":"invalid_client","error_codes":[7000222],"error_description":"AADSTS7000222: expired"}))
    })
    .await;
    let failure = not_sent(send(&stub, &job(None)).await);
    assert_eq!((failure.decision(), failure.code.as_deref()), (Decision::Hold, Some("AADSTS7000222")));
    assert!(failure.advice.unwrap().contains("new secret"));
    assert!(failure.operation.contains("orders@contoso.example"));
}

#[tokio::test]
async fn with_strangers_in_the_headers_it_is_held() {
    let stub = graph(|seen| panic!("{}", seen.target)).await;
    let mut narrow = job(None);
    narrow.envelope.to = vec![address("ben@fabrikam.example")];
    let failure = not_sent(send(&stub, &narrow).await);
    assert_eq!(failure.decision(), Decision::Hold);
    assert!(failure.words.contains("ann@fabrikam.example"), "{failure}");
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn what_became_of_it() {
    let message = |id: &str, draft: bool| {
        json!({"id":id,"isDraft":draft,"internetMessageId":MESSAGE_ID,"parentFolderId":"f",
               "internetMessageHeaders":[{"name":"x-postroom-id","value":job(None).id.to_string()}]})
    };
    let of = move |by_id: Option<Reply>, sent: Vec<serde_json::Value>, all: Vec<serde_json::Value>| {
        graph(move |seen| match seen.line().as_str() {
            GET => by_id.clone().unwrap(),
            SENT_ITEMS => page(&sent),
            ALL => page(&all),
            line => panic!("{line}"),
        })
    };
    let by_id = |draft: bool| Some(Reply::json(200, &message("D1", draft)));
    let gone = || Some(refused(404, "ErrorItemNotFound"));
    let malformed = Some(refused(400, "ErrorInvalidIdMalformed"));
    let lookup = async |stub: Stub, id: Option<&str>| sender(&stub).await.reconcile(&job(id)).await;
    let waiting = |id: Option<&str>| Reconciled::NotSent { draft: id.map(str::to_owned) };

    // By id: it answers for itself.
    assert_eq!(lookup(of(by_id(true), vec![], vec![]).await, Some("D1")).await, waiting(Some("D1")));
    let sent = lookup(of(by_id(false), vec![], vec![]).await, Some("D1")).await;
    assert!(
        matches!(&sent, Reconciled::Sent(receipt) if receipt.provider_id.as_deref() == Some("D1")),
        "{sent:?}"
    );
    // The id is gone, or there never was one: by Message-ID.
    for (reply, id) in [(gone(), Some("D1")), (malformed, Some("D1")), (None, None)] {
        let sent = lookup(of(reply.clone(), vec![message("S1", false)], vec![]).await, id).await;
        assert!(
            matches!(&sent, Reconciled::Sent(receipt) if receipt.provider_id.as_deref() == Some("S1")),
            "{sent:?}"
        );
        let draft = of(reply.clone(), vec![], vec![message("D2", true)]).await;
        assert_eq!(lookup(draft, id).await, waiting(Some("D2")));
        assert_eq!(lookup(of(reply, vec![], vec![]).await, id).await, waiting(None));
    }
    // What bears the mark and is no draft has left, wherever it lies now.
    let moved = lookup(of(None, vec![], vec![message("I1", false)]).await, None).await;
    assert!(matches!(&moved, Reconciled::Sent(_)), "{moved:?}");
    // Another case of letters is another Message-ID.
    let mut other = message("S1", false);
    other["internetMessageId"] = json!(MESSAGE_ID.to_uppercase());
    assert_eq!(lookup(of(None, vec![other], vec![]).await, None).await, waiting(None));
}

#[tokio::test]
async fn the_message_id_alone_is_no_proof() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Expected {
        Waiting,
        Unknown,
        Person,
    }
    use Expected::{Person, Unknown, Waiting};
    let mark = |id: &str| json!([{"name":"Received","value":"x"},{"name":"X-Postroom-Id","value":id}]);
    let other = "0198f0a0-0000-7000-8000-000000000001";
    // headers, whether it is a draft, whether an id was written down
    for (headers, draft, noted, expected) in [
        (Some(mark(other)), false, false, Waiting), // the same message, handed in once more
        (Some(mark(other)), false, true, Waiting),
        (Some(mark(other)), true, false, Waiting), // the draft of another job
        (Some(json!([])), false, false, Waiting),  // this send was never asked for
        (Some(json!([])), true, false, Waiting),   // a draft of somebody's own
        (Some(json!([])), false, true, Person),
        (None, false, false, Unknown),
        (None, true, true, Unknown),
    ] {
        let mut found = json!({"id":"X1","isDraft":draft,"internetMessageId":MESSAGE_ID});
        if let Some(headers) = headers.clone() {
            found["internetMessageHeaders"] = headers;
        }
        let stub = graph(move |seen| match seen.line().as_str() {
            GET => refused(404, "ErrorItemNotFound"),
            SENT_ITEMS if draft => page(&[]),
            SENT_ITEMS | ALL => page(std::slice::from_ref(&found)),
            line => panic!("{line}"),
        })
        .await;
        let answer = sender(&stub).await.reconcile(&job(noted.then_some("D1"))).await;
        let got = match &answer {
            Reconciled::NotSent { draft: None } => Waiting,
            Reconciled::StillUnknown(failure) if failure.decision() == Decision::Hold => Person,
            Reconciled::StillUnknown(_) => Unknown,
            other => panic!("{other:?} for {headers:?}, draft {draft}, noted {noted}"),
        };
        assert_eq!(got, expected, "{headers:?}, draft {draft}, noted {noted}");
    }
}

#[tokio::test]
async fn a_look_up_that_fails_leaves_it_unknown() {
    for reply in
        [refused(503, "x"), refused(403, "ErrorAccessDenied"), refused(404, "ErrorInvalidUser"), Reply::Cut]
    {
        for id in [Some("D1"), None] {
            let reply = reply.clone();
            let stub = graph(move |_| reply.clone()).await;
            let found = sender(&stub).await.reconcile(&job(id)).await;
            assert!(matches!(found, Reconciled::StillUnknown(_)), "{found:?}");
        }
    }
}
