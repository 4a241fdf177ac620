use jiff::SignedDuration;
use postroom_ews::wire::*;
use postroom_model::failure::{Decision, Failure};
use postroom_transport::{Reconciled, SendOutcome};

use super::{asked, exchange, fault, found, item, no, ok, says, sender, with_id};
use crate::stub::{Reply, Stub};
use crate::{MESSAGE_ID, Notes, job};

fn draft() -> Reply {
    says(Response::CreateItem(ok(item(with_id("D1")))))
}

fn sent() -> Reply {
    says(Response::SendItem(ok(Nothing {})))
}

fn state(id: &str, is_draft: bool, is_submitted: bool) -> Message {
    Message { is_draft: Some(is_draft), is_submitted: Some(is_submitted), ..with_id(id) }
}

/// An Exchange that makes the draft `D1` and answers the send with `reply`.
async fn answering(reply: Reply) -> Stub {
    exchange(move |request, _| match request {
        Request::CreateItem(_) => draft(),
        Request::SendItem(_) => reply.clone(),
        other => panic!("{}", other.name()),
    })
    .await
}

async fn send(stub: &Stub, provider_id: Option<&str>) -> SendOutcome {
    sender(stub).send(&job(provider_id), &Notes::default()).await
}

#[tokio::test]
async fn a_draft_is_made_written_down_and_sent() {
    let stub = answering(sent()).await;
    let notes = Notes::default();
    let outcome = sender(&stub).send(&job(None), &notes).await;
    let SendOutcome::Sent(receipt) = outcome else { panic!("{outcome:?}") };
    assert_eq!((receipt.provider_id.as_deref(), receipt.request_id.as_deref()), (Some("D1"), Some("r-1")));
    assert_eq!(*notes.written.lock().unwrap(), ["D1"]);
    assert_eq!(asked(&stub), ["CreateItem", "SendItem"]);
    let seen = stub.seen();
    let Request::CreateItem(create) = parse_request(seen[1].body.as_bytes()).unwrap().request else {
        panic!()
    };
    assert_eq!(create.disposition, Some(MessageDisposition::SaveOnly));
    assert_eq!(create.folder, Some(FolderRef::distinguished("drafts")));
    let mime = create.items[0].message.mime.clone().unwrap().content;
    let mime = String::from_utf8(mime.to_vec()).unwrap();
    assert!(mime.contains("ben@fabrikam.example") && mime.contains(MESSAGE_ID), "{mime}");
    assert!(mime.contains(&format!("X-Postroom-Id: {}\r\n", job(None).id)), "{mime}");
    let Request::SendItem(send) = parse_request(seen[2].body.as_bytes()).unwrap().request else { panic!() };
    assert_eq!((send.save, send.folder), (true, Some(FolderRef::distinguished("sentitems"))));
    assert_eq!(send.items, [ItemId { id: "D1".into(), change_key: Some("K1".into()) }]);
}

#[tokio::test]
async fn nothing_is_sent_when_the_draft_cannot_be_written_down() {
    let stub = answering(sent()).await;
    let notes = Notes { broken: true, ..Notes::default() };
    let outcome = sender(&stub).send(&job(None), &notes).await;
    assert!(matches!(outcome, SendOutcome::NotSent(failure) if failure.words == "the lease is lost"));
    assert_eq!(asked(&stub), ["CreateItem"]);
}

#[tokio::test]
async fn the_draft_of_an_earlier_attempt_is_sent_in_its_newest_version() {
    let stub = exchange(|request, _| match request {
        Request::GetItem(_) => {
            let id = ItemId { id: "D1".into(), change_key: Some("K7".into()) };
            says(Response::GetItem(ok(item(Message { id: Some(id), ..state("D1", true, false) }))))
        }
        Request::SendItem(request) => {
            assert_eq!(request.items[0].change_key.as_deref(), Some("K7"));
            sent()
        }
        other => panic!("{}", other.name()),
    })
    .await;
    assert!(matches!(send(&stub, Some("D1")).await, SendOutcome::Sent(_)));
    assert_eq!(asked(&stub), ["GetItem", "SendItem"]);
}

#[tokio::test]
async fn a_draft_of_an_earlier_attempt_that_is_gone_or_has_left_is_not_sent_again() {
    for (reply, is_sent) in [
        (Response::GetItem(ok(item(state("D1", false, false)))), true),
        (Response::GetItem(ok(item(state("D1", true, true)))), false),
        (Response::GetItem(no("ErrorItemNotFound")), false),
    ] {
        let stub = exchange(move |_, _| says(reply.clone())).await;
        let outcome = send(&stub, Some("D1")).await;
        assert_eq!(matches!(outcome, SendOutcome::Sent(_)), is_sent, "{outcome:?}");
        assert_eq!(matches!(outcome, SendOutcome::Unknown(_)), !is_sent, "{outcome:?}");
        assert_eq!(asked(&stub), ["GetItem"]);
    }
}

#[tokio::test]
async fn the_table_of_outcomes() {
    let code = |code: &str| says(Response::SendItem(no(code)));
    let after = |after: i64| Decision::Retry { after: Some(SignedDuration::from_secs(after)) };
    for (reply, decision) in [
        (code("ErrorInvalidRecipients"), Decision::Fail),
        (code("ErrorMessageSizeExceeded"), Decision::Fail),
        (code("ErrorSendAsDenied"), Decision::Hold),
        (code("ErrorSubmissionQuotaExceeded"), after(3_600)),
        (code("ErrorServerBusy"), Decision::Retry { after: None }),
        (fault("ErrorServerBusy", Some("12000")), after(12)),
        (fault("ErrorImpersonateUserDenied", None), Decision::Hold),
        (
            Reply::empty(403).with("x-ews-policy-reason", "EWS is disabled for this user or tenant"),
            Decision::Hold,
        ),
    ] {
        let shown = format!("{reply:?}");
        match send(&answering(reply).await, None).await {
            SendOutcome::NotSent(failure) => assert_eq!(failure.decision(), decision, "{shown}"),
            other => panic!("{other:?}"),
        }
    }
    for reply in [
        Reply::Cut,
        Reply::HalfBody,
        code("ErrorItemNotFound"),
        code("ErrorStaleObject"),
        code("ErrorInternalServerError"),
        code("ErrorTimeoutExpired"),
        fault("ErrorInternalServerTransientError", None),
        Reply::empty(503),
        Reply::text(200, "<html>captive portal</html>"),
        says(Response::DeleteItem(ok(Nothing {}))),
    ] {
        let shown = format!("{reply:?}");
        match send(&answering(reply).await, None).await {
            SendOutcome::Unknown(failure) => assert_eq!(failure.decision(), Decision::Reconcile, "{shown}"),
            other => panic!("{shown} {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_draft_that_may_have_been_made_is_looked_up_before_another_is() {
    let stub = exchange(|_, _| Reply::Cut).await;
    assert!(matches!(send(&stub, None).await, SendOutcome::Unknown(_)));
}

/// A mailbox that holds these messages, each in a folder.
async fn holding(messages: Vec<(&'static str, Message)>) -> Stub {
    exchange(move |request, _| match request {
        Request::FindItem(find) => {
            let Some(FolderRef::Distinguished(folder)) = find.parents.into_iter().next() else { panic!() };
            let here = messages.iter().filter(|(at, _)| *at == folder.id);
            let ids: Vec<&str> = here.map(|(_, message)| message.id.as_ref().unwrap().id.as_str()).collect();
            found(&ids)
        }
        Request::GetItem(get) => says(Response::GetItem(
            get.items
                .iter()
                .map(|id| {
                    let known = |(_, message): &&(&str, Message)| message.id.as_ref().unwrap().id == id.id;
                    match messages.iter().find(known) {
                        Some((_, message)) => ResponseMessage::success(item(message.clone())),
                        None => ResponseMessage::error("ErrorItemNotFound", "gone"),
                    }
                })
                .collect(),
        )),
        other => panic!("{}", other.name()),
    })
    .await
}

fn marked(mut message: Message, mark: Option<&str>) -> Message {
    message.internet_message_id = Some(MESSAGE_ID.into());
    message.extended = mark
        .map(|mark| ExtendedProperty {
            uri: ExtendedFieldUri::header("X-Postroom-Id"),
            value: Some(mark.to_owned()),
            values: Vec::new(),
        })
        .into_iter()
        .collect();
    message
}

fn still_unknown(found: Reconciled) -> Failure {
    match found {
        Reconciled::StillUnknown(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_became_of_a_message_is_found_by_the_draft_or_by_the_mark() {
    let ours = job(None).id.to_string();
    let mine = |message: Message| marked(message, Some(&ours));
    let draft = |id: &str| Reconciled::NotSent { draft: Some(id.to_owned()) };
    let draft_waits = mine(state("D1", true, false));
    for (known, messages, expected) in [
        (Some("D1"), vec![("drafts", draft_waits.clone())], draft("D1")),
        (Some("D0"), vec![("drafts", draft_waits.clone())], draft("D1")),
        (None, vec![("drafts", draft_waits.clone())], draft("D1")),
        (None, vec![("deleteditems", draft_waits)], draft("D1")),
        (None, vec![], Reconciled::NotSent { draft: None }),
        (
            None,
            vec![("drafts", marked(state("X", true, false), Some("other")))],
            Reconciled::NotSent { draft: None },
        ),
        (
            None,
            vec![("sentitems", marked(state("X", false, false), Some("other")))],
            Reconciled::NotSent { draft: None },
        ),
    ] {
        let stub = holding(messages).await;
        assert_eq!(sender(&stub).reconcile(&job(known)).await, expected, "{known:?}");
    }
    for (known, id) in [(Some("D1"), "S1"), (None, "S1")] {
        let stub = holding(vec![
            ("drafts", mine(state("D2", true, false))),
            ("sentitems", mine(state("S1", false, false))),
        ])
        .await;
        let found = sender(&stub).reconcile(&job(known)).await;
        let Reconciled::Sent(receipt) = found else { panic!("{found:?}") };
        assert_eq!(
            (receipt.provider_id.as_deref(), receipt.words.as_str()),
            (Some(id), "found in sentitems")
        );
    }
}

#[tokio::test]
async fn a_draft_that_is_gone_is_judged_by_what_was_removed_for_good_and_by_nothing_less() {
    let ours = job(None).id.to_string();
    let of = |is_draft, mark: &str| marked(state("R1", is_draft, false), Some(mark));
    for folder in ["recoverableitemsdeletions", "recoverableitemspurges"] {
        let stub = holding(vec![(folder, of(false, &ours))]).await;
        let found = sender(&stub).reconcile(&job(Some("D1"))).await;
        assert!(matches!(found, Reconciled::Sent(_)), "{folder} {found:?}");
        // Removed while it was a draft: it never left.
        let stub = holding(vec![(folder, of(true, &ours))]).await;
        let found = sender(&stub).reconcile(&job(Some("D1"))).await;
        assert_eq!(found, Reconciled::NotSent { draft: None }, "{folder}");
        let stub = holding(vec![(folder, of(true, "another")), (folder, of(false, "another"))]).await;
        let failure = still_unknown(sender(&stub).reconcile(&job(Some("D1"))).await);
        assert_eq!(failure.decision(), Decision::Hold, "{folder}");
    }
    // An account that may not look there proves nothing by it.
    let stub = exchange(|request, _| match request {
        Request::GetItem(_) => says(Response::GetItem(no("ErrorItemNotFound"))),
        Request::FindItem(find) => match &find.parents[0] {
            FolderRef::Distinguished(folder) if folder.id.starts_with("recoverable") => {
                says(Response::FindItem(no("ErrorAccessDenied")))
            }
            _ => found(&[]),
        },
        other => panic!("{}", other.name()),
    })
    .await;
    let failure = still_unknown(sender(&stub).reconcile(&job(Some("D1"))).await);
    assert_eq!(failure.decision(), Decision::Hold);
    assert_eq!(asked(&stub).iter().filter(|name| **name == "FindItem").count(), 6);
}

#[tokio::test]
async fn a_message_that_cannot_be_looked_at_hides_no_proof_and_is_none() {
    let ours = job(None).id.to_string();
    for (sent, expected) in [(true, true), (false, false)] {
        let mark = if sent { ours.clone() } else { "another".to_owned() };
        let copy = marked(state("S1", false, false), Some(&mark));
        let stub = exchange(move |request, _| match request {
            Request::FindItem(find) => match &find.parents[0] {
                FolderRef::Distinguished(folder) if folder.id == "sentitems" => found(&["corrupt", "S1"]),
                _ => found(&[]),
            },
            Request::GetItem(get) => {
                let one = |id: &ItemId| match id.id.as_str() {
                    "corrupt" => ResponseMessage::error("ErrorItemCorrupt", "corrupt"),
                    _ => ResponseMessage::success(item(copy.clone())),
                };
                says(Response::GetItem(get.items.iter().map(one).collect()))
            }
            other => panic!("{}", other.name()),
        })
        .await;
        let found = sender(&stub).reconcile(&job(None)).await;
        assert_eq!(matches!(found, Reconciled::Sent(_)), expected, "{found:?}");
        assert_eq!(matches!(found, Reconciled::StillUnknown(_)), !expected, "{found:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_known_stays_unknown() {
    let ours = job(None).id.to_string();
    let submitted = marked(state("D1", true, true), Some(&ours));
    let failure =
        still_unknown(sender(&holding(vec![("outbox", submitted)]).await).reconcile(&job(None)).await);
    assert_eq!(failure.decision(), Decision::Retry { after: None });

    // The draft was written down and is gone: without a trace it may have been sent and removed since.
    let failure = still_unknown(sender(&holding(vec![]).await).reconcile(&job(Some("D1"))).await);
    assert_eq!(failure.decision(), Decision::Hold);
    let unmarked = marked(state("S1", false, false), None);
    let stub = holding(vec![("sentitems", unmarked)]).await;
    let failure = still_unknown(sender(&stub).reconcile(&job(Some("D1"))).await);
    assert!(failure.words.contains("without a sign"), "{failure}");

    let stub = exchange(|_, _| fault("ErrorServerBusy", Some("5000"))).await;
    let failure = still_unknown(sender(&stub).reconcile(&job(Some("D1"))).await);
    assert_eq!(failure.decision(), Decision::Retry { after: Some(SignedDuration::from_secs(5)) });
}
