//! Sending and reading by EWS, through the tenant of the sandbox.

use std::collections::BTreeSet;
use std::time::Duration;

use postroom_model::failure::Decision;
use postroom_transport::{Reconciled, SendOutcome, Woken};
use serde_json::json;

use crate::tenant::Tenant;
use crate::{FROM, MESSAGE_ID, Notes, job};

const AT: &str = "u1@contoso.example";

fn mail(number: usize) -> String {
    format!(
        "Message-ID: <{number}@fabrikam.example>\r\nFrom: ann@fabrikam.example\r\nSubject: {number}\r\n\r\nHello\r\n"
    )
}

async fn tenant() -> Tenant {
    let tenant = Tenant::by_ews().await;
    tenant.allow_ews().await;
    tenant
}

#[tokio::test]
async fn a_message_is_noted_as_a_draft_and_sent_once_with_its_mark() {
    let tenant = tenant().await;
    let (job, notes) = (job(None), Notes::default());
    let outcome = tenant.sender().await.send(&job, &notes).await;
    let SendOutcome::Sent(receipt) = outcome else { panic!("{outcome:?}") };
    let draft = notes.written.lock().unwrap().first().cloned();
    assert_eq!((receipt.provider_id.clone(), notes.written.lock().unwrap().len()), (draft, 1));

    let outside = tenant.outside().await;
    assert_eq!(outside.len(), 1);
    assert_eq!(
        outside[0]["to"],
        json!(["ann@fabrikam.example", "ben@fabrikam.example"]),
        "the blind copy too"
    );
    let raw = outside[0]["raw"].as_str().unwrap();
    assert!(!raw.contains("ben@"), "{raw}");
    assert!(raw.contains(&format!("X-Postroom-Id: {}", job.id)), "{raw}");

    // Its id went with it: the copy is found by Message-ID and mark.
    let mut again = job;
    again.provider_id = receipt.provider_id;
    let found = tenant.sender().await.reconcile(&again).await;
    assert!(matches!(found, Reconciled::Sent(_)), "{found:?}");
    let outcome = tenant.sender().await.send(&again, &Notes::default()).await;
    assert!(matches!(outcome, SendOutcome::Unknown(_)), "never again unseen: {outcome:?}");
    assert_eq!(tenant.outside().await.len(), 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_found_out_and_nothing_leaves_twice() {
    let tenant = tenant().await;
    let mut job = job(None);
    // The draft is made, and the line breaks before that is said.
    let cut = |operation: &str| json!({"path_contains": "Exchange.asmx", "operation": operation, "after": true, "cut": true});
    tenant.fault(cut("CreateItem")).await;
    let outcome = tenant.sender().await.send(&job, &Notes::default()).await;
    assert!(matches!(outcome, SendOutcome::Unknown(_)), "{outcome:?}");
    let Reconciled::NotSent { draft: Some(draft) } = tenant.sender().await.reconcile(&job).await else {
        panic!("the draft is not found");
    };
    job.provider_id = Some(draft);
    // The draft is sent, and the line breaks before that is said.
    tenant.fault(cut("SendItem")).await;
    let outcome = tenant.sender().await.send(&job, &Notes::default()).await;
    assert!(matches!(outcome, SendOutcome::Unknown(_)), "{outcome:?}");
    let found = tenant.sender().await.reconcile(&job).await;
    assert!(matches!(found, Reconciled::Sent(_)), "{found:?}");
    assert_eq!(tenant.outside().await.len(), 1);

    // Never sent: the answer says so, and it is tried again.
    let other = crate::job(None);
    let busy = json!({"path_contains": "Exchange.asmx", "operation": "SendItem", "status": 500,
        "code": "ErrorServerBusy", "back_off_ms": 90_000});
    tenant.fault(busy).await;
    let notes = Notes::default();
    let outcome = tenant.sender().await.send(&other, &notes).await;
    let SendOutcome::NotSent(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.decision(), Decision::Retry { after: Some(jiff::SignedDuration::from_secs(90)) });
}

#[tokio::test]
async fn a_noted_draft_that_was_removed_before_it_left_is_known_not_to_have_been_sent() {
    let tenant = tenant().await;
    let mut job = job(None);
    let busy = json!({"path_contains": "Exchange.asmx", "operation": "SendItem", "status": 500,
        "code": "ErrorServerBusy"});
    tenant.fault(busy).await;
    let notes = Notes::default();
    let outcome = tenant.sender().await.send(&job, &notes).await;
    assert!(matches!(outcome, SendOutcome::NotSent(_)), "{outcome:?}");
    job.provider_id = notes.written.lock().unwrap().first().cloned();
    let graph = tenant.graph();
    let draft = graph.find_by_internet_message_id(FROM, None, MESSAGE_ID).await.unwrap().remove(0);
    graph.delete_message(FROM, &draft.id).await.unwrap();
    let found = tenant.sender().await.reconcile(&job).await;
    let Reconciled::NotSent { draft: Some(_) } = found else { panic!("in Deleted Items: {found:?}") };
    graph.move_to(FROM, &draft.id, "recoverableitemsdeletions").await.unwrap();
    let found = tenant.sender().await.reconcile(&job).await;
    assert_eq!(found, Reconciled::NotSent { draft: None }, "removed for good, as a draft");
    assert!(tenant.outside().await.is_empty());
}

#[tokio::test]
async fn a_backlog_is_read_once_and_a_lost_state_loses_nothing() {
    let tenant = tenant().await;
    for number in 0..60 {
        tenant.deliver(AT, mail(number)).await;
    }
    let source = tenant.source(AT).await;
    assert!(source.probe().await.unwrap().contains("60 messages, 60 unread"));
    let first = source.changes(None).await.unwrap();
    assert!(first.more && first.messages.len() == 50);
    assert_eq!(first.messages[0].message_id.as_deref(), Some("<0@fabrikam.example>"));
    let mut known: BTreeSet<String> = first.messages.iter().map(|one| one.provider_id.clone()).collect();
    tenant.dial("expire-deltas", json!({})).await;
    tenant.deliver(AT, mail(60)).await;
    let (mut cursor, mut resyncs, mut told) = (first.cursor, 0, Vec::new());
    loop {
        let page = source.changes(Some(&cursor)).await.unwrap();
        resyncs += u32::from(page.resync);
        told.extend(page.messages.into_iter().map(|one| one.provider_id));
        cursor = page.cursor;
        if !page.more {
            break;
        }
    }
    assert_eq!((resyncs, told.len()), (1, 61), "the round begins again and tells everything once");
    known.extend(told);
    assert_eq!(known.len(), 61, "what was known has the id it had");
    assert_eq!(tenant.inbox(AT).await.len(), 61);
    assert_eq!(source.fetch("AAMkAGnobody=", 1000, &mut Vec::new()).await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_wakes_when_mail_comes() {
    let tenant = tenant().await;
    let source = tenant.source(AT).await;
    let waits = source.wait(Duration::from_secs(30));
    let comes = async {
        // Not before it listens.
        while !tenant.operations().await.iter().any(|one| one == "GetStreamingEvents") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tenant.deliver(AT, mail(1)).await;
    };
    let (woken, ()) = tokio::join!(waits, comes);
    assert_eq!(woken.unwrap(), Woken::News);
}

#[tokio::test]
async fn a_tenant_that_blocks_ews_is_answered_with_a_migration() {
    let tenant = Tenant::by_ews().await;
    let failure = tenant.source(FROM).await.probe().await.unwrap_err();
    assert_eq!(failure.words, "EWS is disabled for this user or tenant");
    assert_eq!((failure.status, failure.decision()), (Some(403), Decision::Hold));
    assert!(failure.advice.unwrap().contains("connection migrate"));
    let outcome = tenant.sender().await.send(&job(None), &Notes::default()).await;
    assert!(matches!(outcome, SendOutcome::NotSent(_)), "{outcome:?}");
    tenant.allow_ews().await;
    tenant.source(FROM).await.probe().await.unwrap();
}
