//! Messages above the limit of one request, through the tenant of the sandbox: what arrives, and that it arrives once
//! whatever happens on the way.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use postroom_graph::Upload;
use postroom_mime::read;
use postroom_model::failure::Decision;
use postroom_transport::{Reconciled, SendJob, SendOutcome, Transports};
use serde_json::json;

use crate::stub::Reply;
use crate::tenant::Tenant;
use crate::{Notes, address, connection, graph, job, refused, settings, wire};

const TO: &str = "u1@contoso.example";
const BLIND: &str = "u2@contoso.example";

/// Header fields that must arrive as they were written.
const HEADER: &str = "Message-ID: <m1@contoso.example>\r\n\
Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
From: =?utf-8?Q?Auftr=C3=A4ge?= <orders@contoso.example>\r\n\
Sender: orders@contoso.example\r\n\
To: u1@contoso.example\r\n\
Reply-To: Desk <desk@contoso.example>,\r\n service@contoso.example\r\n\
Subject: =?utf-8?Q?Zeichnungen_f=C3=BCr_4711?=\r\n\
In-Reply-To: <a2@fabrikam.example>\r\n\
References: <a1@fabrikam.example>\r\n <a2@fabrikam.example>\r\n\
Importance: high\r\n\
X-Priority: 1\r\n\
Disposition-Notification-To: orders@contoso.example\r\n\
X-Order: 4711\r\n\
X-Order-Line: 1; 2\r\n\
X-Third: 3\r\nX-Fourth: 4\r\nX-Fifth: 5\r\nX-Sixth: 6\r\n\
MIME-Version: 1.0\r\n";

/// Bytes that hold no pattern a compression or a wrong order would survive.
fn bytes(size: usize, seed: u32) -> Vec<u8> {
    (0..size as u32).map(|index| ((index ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn base64_lines(content: &[u8]) -> String {
    let text = STANDARD.encode(content);
    let lines: Vec<&str> =
        text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\r\n")
}

/// A message with a text in two forms, a picture within it, and two files.
fn message(first: &[u8], second: &[u8], picture: &[u8]) -> Bytes {
    let raw = format!(
        "{HEADER}Content-Type: multipart/mixed; boundary=mixed\r\n\r\n\
         --mixed\r\nContent-Type: multipart/related; boundary=related\r\n\r\n\
         --related\r\nContent-Type: multipart/alternative; boundary=other\r\n\r\n\
         --other\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n\
         --other\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Grüße <img src=\"cid:logo@contoso\"></p>\r\n\
         --other--\r\n\
         --related\r\nContent-Type: image/png; name=\"logo.png\"\r\nContent-ID: <logo@contoso>\r\n\
         Content-Disposition: inline; filename=\"logo.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n\
         --related--\r\n\
         --mixed\r\nContent-Type: application/pdf\r\n\
         Content-Disposition: attachment; filename*=utf-8''Auftr%C3%A4ge.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n\
         --mixed\r\nContent-Type: application/zip; name=\"drawings.zip\"\r\n\
         Content-Disposition: attachment; filename=\"drawings.zip\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n\
         --mixed--\r\n",
        base64_lines(picture),
        base64_lines(first),
        base64_lines(second),
    );
    raw.into_bytes().into()
}

fn send_job(raw: Bytes, provider_id: Option<&str>) -> SendJob {
    let mut job = job(provider_id);
    job.envelope.to = vec![address(TO), address(BLIND)];
    job.raw = raw;
    job
}

/// A message of about 9 MB whose two files need two pieces and one.
fn nine() -> (Bytes, [Vec<u8>; 3]) {
    let files = [bytes(5_000_000, 1), bytes(3_100_000, 2), bytes(20_000, 3)];
    (message(&files[0], &files[1], &files[2]), files)
}

/// A message with one file of two pieces.
fn four() -> (Bytes, [Vec<u8>; 3]) {
    let files = [bytes(4_000_000, 1), bytes(3_000, 2), bytes(2_000, 3)];
    (message(&files[0], &files[1], &files[2]), files)
}

/// A header field of a message on one line.
fn field(raw: &[u8], name: &str) -> Option<String> {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&raw[..end]).replace("\r\n ", " ");
    let mut values = head.lines().filter_map(|line| line.split_once(": "));
    values.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

/// That this mailbox has this message once, and all of it.
async fn has_all(tenant: &Tenant, at: &str, files: &[Vec<u8>; 3]) {
    let inbox = tenant.inbox(at).await;
    assert_eq!(inbox.len(), 1, "{at}");
    let raw = &inbox[0];
    let names: Vec<&str> = HEADER.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    for name in names.into_iter().filter(|name| !name.starts_with(' ')) {
        assert_eq!(field(raw, name), field(format!("{HEADER}\r\n").as_bytes(), name), "{name}");
    }
    assert_eq!(field(raw, "Bcc"), None);
    let view = read::view(raw).unwrap();
    assert_eq!(view.text.trim(), "Grüße");
    assert!(view.html.unwrap().html.contains("Grüße"));
    let mut found: Vec<_> = (0..view.attachments.len())
        .map(|index| {
            let info = &view.attachments[index];
            let content = read::attachment(raw, index).unwrap().unwrap().content;
            (info.name.clone(), info.content_id.clone(), content)
        })
        .collect();
    found.sort();
    let expected = [
        ("Aufträge.pdf".to_owned(), None, files[0].clone()),
        ("drawings.zip".to_owned(), None, files[1].clone()),
        ("logo.png".to_owned(), Some("logo@contoso".to_owned()), files[2].clone()),
    ];
    assert!(
        found == expected,
        "{:?}",
        found.iter().map(|(name, id, content)| (name, id, content.len())).collect::<Vec<_>>()
    );
}

async fn both_have_all(tenant: &Tenant, files: &[Vec<u8>; 3]) {
    has_all(tenant, TO, files).await;
    has_all(tenant, BLIND, files).await;
}

fn sent(outcome: &SendOutcome) -> bool {
    matches!(outcome, SendOutcome::Sent(_))
}

#[tokio::test]
async fn nine_megabytes_arrive_with_every_header_field_and_every_file() {
    let tenant = Tenant::new().await;
    let (raw, files) = nine();
    let notes = Notes::default();
    let outcome = tenant.sender().await.send(&send_job(raw, None), &notes).await;
    assert!(sent(&outcome), "{outcome:?}");
    assert_eq!(notes.written.lock().unwrap().len(), 1);
    assert_eq!(tenant.count("PUT", "_upload").await, 3);
    both_have_all(&tenant, &files).await;
}

#[tokio::test]
async fn forty_megabytes_arrive_also_when_the_picture_in_the_text_is_large() {
    let tenant = Tenant::new().await;
    let files = [bytes(14_000_000, 1), bytes(11_000_000, 2), bytes(4_500_000, 3)];
    let outcome = tenant
        .sender()
        .await
        .send(&send_job(message(&files[0], &files[1], &files[2]), None), &Notes::default())
        .await;
    assert!(sent(&outcome), "{outcome:?}");
    both_have_all(&tenant, &files).await;
}

#[tokio::test]
async fn many_small_files_go_in_requests_of_their_own() {
    let tenant = Tenant::new().await;
    let files = [bytes(2_400_000, 1), bytes(900_000, 2), bytes(1_000, 3)];
    let outcome = tenant
        .sender()
        .await
        .send(&send_job(message(&files[0], &files[1], &files[2]), None), &Notes::default())
        .await;
    assert!(sent(&outcome), "{outcome:?}");
    assert_eq!((tenant.count("PUT", "_upload").await, tenant.count("POST", "/attachments").await), (0, 1));
    both_have_all(&tenant, &files).await;
}

#[tokio::test]
async fn an_upload_goes_on_after_a_break() {
    for (fault, sessions) in [
        (json!({"path_contains": "_upload", "method": "PUT", "skip": 1, "cut": true}), 1),
        (json!({"path_contains": "_upload", "method": "PUT", "skip": 0, "cut": true, "after": true}), 1),
        (json!({"path_contains": "_upload", "method": "PUT", "skip": 1, "status": 503}), 1),
        (json!({"path_contains": "_upload", "method": "PUT", "skip": 0, "status": 504, "after": true}), 1),
        // The last piece was taken, and nobody heard of it.
        (json!({"path_contains": "_upload", "method": "PUT", "skip": 1, "cut": true, "after": true}), 1),
        // The session expired.
        (json!({"path_contains": "_upload", "method": "PUT", "skip": 1, "status": 404}), 2),
    ] {
        let tenant = Tenant::new().await;
        let (raw, files) = four();
        tenant.fault(fault.clone()).await;
        let outcome = tenant.sender().await.send(&send_job(raw, None), &Notes::default()).await;
        assert!(sent(&outcome), "{fault}: {outcome:?}");
        assert_eq!(tenant.count("POST", "createUploadSession").await, sessions, "{fault}");
        both_have_all(&tenant, &files).await;
    }
}

#[tokio::test]
async fn what_was_cut_off_is_completed_by_the_next_and_sent_once() {
    for fault in [
        // After the draft, before any file.
        json!({"path_contains": "createUploadSession", "status": 403}),
        // After the first file.
        json!({"path_contains": "createUploadSession", "skip": 1, "status": 403}),
        // In the middle of a file.
        json!({"path_contains": "_upload", "method": "PUT", "skip": 1, "status": 403}),
        // The last piece of all was taken, and then the service is away.
        json!({"path_contains": "_upload", "method": "PUT", "skip": 2, "cut": true, "after": true}),
    ] {
        let tenant = Tenant::new().await;
        let (raw, files) = nine();
        let notes = Notes::default();
        tenant.fault(fault.clone()).await;
        tenant.fault(json!({"path_contains": "/attachments", "method": "GET", "status": 503})).await;
        let outcome = tenant.sender().await.send(&send_job(raw.clone(), None), &notes).await;
        assert!(matches!(outcome, SendOutcome::NotSent(_)), "{fault}: {outcome:?}");
        assert!(tenant.inbox(TO).await.is_empty(), "a draft that is not whole is not sent");
        tenant.dial("clock", json!({"advance_seconds": 7_200})).await;

        let draft = notes.written.lock().unwrap()[0].clone();
        let again = send_job(raw, Some(&draft));
        let sender = tenant.sender().await;
        // The fault for the look at the files may still wait.
        let mut found = sender.reconcile(&again).await;
        if !matches!(found, Reconciled::NotSent { .. }) {
            found = sender.reconcile(&again).await;
        }
        assert_eq!(found, Reconciled::NotSent { draft: Some(draft) }, "{fault}");
        let later = Notes::default();
        let mut outcome = sender.send(&again, &later).await;
        if matches!(outcome, SendOutcome::NotSent(_)) {
            outcome = sender.send(&again, &later).await;
        }
        assert!(sent(&outcome), "{fault}: {outcome:?}");
        assert!(later.written.lock().unwrap().is_empty(), "no second draft");
        both_have_all(&tenant, &files).await;
        // Asked once more, it has left, and does not leave again.
        assert!(matches!(sender.reconcile(&again).await, Reconciled::Sent(_)));
        assert!(sent(&sender.send(&again, &later).await));
        both_have_all(&tenant, &files).await;
    }
}

#[tokio::test]
async fn cut_at_every_piece_the_next_attempt_adds_what_is_missing_and_no_file_twice() {
    // A file of three pieces and one of one: the sender dies at each of them, before it was taken and after it.
    let files = [bytes(8_200_000, 1), bytes(3_100_000, 2), bytes(2_000, 3)];
    let raw = message(&files[0], &files[1], &files[2]);
    for piece in 0..4 {
        for after in [false, true] {
            let tenant = Tenant::new().await;
            let case = format!("piece {piece}, taken: {after}");
            let fault = json!({"path_contains": "_upload", "method": "PUT", "skip": piece, "status": 403,
                "after": after});
            tenant.fault(fault).await;
            let notes = Notes::default();
            let outcome = tenant.sender().await.send(&send_job(raw.clone(), None), &notes).await;
            assert!(matches!(outcome, SendOutcome::NotSent(_)), "{case}: {outcome:?}");
            assert!(tenant.inbox(TO).await.is_empty(), "{case}");
            let draft = notes.written.lock().unwrap()[0].clone();
            let later = Notes::default();
            // Another sender: nothing is remembered but the draft's id.
            let outcome = tenant.sender().await.send(&send_job(raw.clone(), Some(&draft)), &later).await;
            assert!(sent(&outcome), "{case}: {outcome:?}");
            assert!(later.written.lock().unwrap().is_empty(), "{case}: no second draft");
            both_have_all(&tenant, &files).await;
        }
    }
}

#[tokio::test]
async fn a_small_file_that_was_taken_without_an_answer_is_not_added_twice() {
    for fault in [
        json!({"path_contains": "/attachments", "method": "POST", "cut": true, "after": true}),
        json!({"path_contains": "/attachments", "method": "POST", "status": 504, "after": true}),
        json!({"path_contains": "/attachments", "method": "POST", "cut": true}),
    ] {
        let tenant = Tenant::new().await;
        let files = [bytes(2_400_000, 1), bytes(900_000, 2), bytes(1_000, 3)];
        tenant.fault(fault.clone()).await;
        let raw = message(&files[0], &files[1], &files[2]);
        let outcome = tenant.sender().await.send(&send_job(raw, None), &Notes::default()).await;
        assert!(sent(&outcome), "{fault}: {outcome:?}");
        both_have_all(&tenant, &files).await;
    }
}

#[tokio::test]
async fn what_is_not_surely_a_draft_of_this_job_is_never_removed() {
    let ours = send_job(nine().0, Some("D1")).id.to_string();
    let marks = |mark: &str| json!([{"name": "X-Postroom-Parts", "value": "99"}, {"name": "X-Postroom-Id", "value": mark}]);
    // How often the message is asked for before it changes, what it is then, and whether it may be removed.
    for (asked, then, removed) in [
        (0, json!({"id": "D1", "internetMessageHeaders": marks(&ours)}), false),
        (1, json!({"id": "D1", "internetMessageHeaders": marks(&ours)}), false),
        (1, json!({"id": "D1", "isDraft": false, "internetMessageHeaders": marks(&ours)}), false),
        (0, json!({"id": "D1", "isDraft": true, "internetMessageHeaders": marks("another")}), false),
        (9, json!({}), true),
    ] {
        let before = json!({"id": "D1", "isDraft": true, "internetMessageHeaders": marks(&ours)});
        let (shown, count) = (then.clone(), std::sync::atomic::AtomicUsize::new(0));
        let stub = graph(move |seen| match seen.line().as_str() {
            "GET /v1.0/users/orders@contoso.example/messages/D1" => {
                let earlier = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Reply::json(200, if earlier < asked { &before } else { &shown })
            }
            "POST /v1.0/users/orders@contoso.example/messages/D1/permanentDelete" => Reply::empty(204),
            _ => refused(403, "ErrorAccessDenied"),
        })
        .await;
        let sender = wire().sender(&connection(settings(&stub.url))).await.unwrap();
        let outcome = sender.send(&send_job(nine().0, Some("D1")), &Notes::default()).await;
        let purges = stub.lines().iter().filter(|line| line.contains("permanentDelete")).count();
        assert_eq!(purges, usize::from(removed), "{asked} {then}: {outcome:?}");
        assert_eq!(matches!(outcome, SendOutcome::NotSent(_)), removed, "{asked} {then}: {outcome:?}");
        let has_left = then["isDraft"] == false;
        assert_eq!(sent(&outcome), has_left, "{asked} {then}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_draft_with_strange_files_is_begun_anew() {
    let tenant = Tenant::new().await;
    let (raw, files) = nine();
    let notes = Notes::default();
    tenant.fault(json!({"path_contains": "createUploadSession", "skip": 1, "status": 403})).await;
    let outcome = tenant.sender().await.send(&send_job(raw.clone(), None), &notes).await;
    assert!(matches!(outcome, SendOutcome::NotSent(_)), "{outcome:?}");
    let draft = notes.written.lock().unwrap()[0].clone();
    // The first file is there a second time, under another name.
    let content = Bytes::from(files[0].clone());
    let strange = Upload {
        name: "renamed.pdf",
        content_type: "a/b",
        content_id: None,
        inline: false,
        content: &content,
    };
    tenant.graph().attach(crate::FROM, &draft, &strange).await.unwrap();
    let later = Notes::default();
    let outcome = tenant.sender().await.send(&send_job(raw, Some(&draft)), &later).await;
    assert!(sent(&outcome), "{outcome:?}");
    assert_eq!(later.written.lock().unwrap().len(), 1, "the new draft is written down");
    both_have_all(&tenant, &files).await;
    let gone = tenant.graph().get_message(crate::FROM, &draft, "id").await.unwrap_err();
    assert!(gone.is_item_not_found());
}

#[tokio::test]
async fn the_budget_for_uploads_is_waited_for_and_what_is_there_stays() {
    let tenant = Tenant::with(|options| options.limits.upload_per_five_minutes = 8_000_000).await;
    let (raw, files) = nine();
    let notes = Notes::default();
    let outcome = tenant.sender().await.send(&send_job(raw.clone(), None), &notes).await;
    let SendOutcome::NotSent(failure) = outcome else { panic!("{outcome:?}") };
    let Decision::Retry { after: Some(after) } = failure.decision() else { panic!("{failure:?}") };
    assert!((1..=300).contains(&after.as_secs()), "{after}");
    tenant.dial("clock", json!({"advance_seconds": after.as_secs()})).await;
    let draft = notes.written.lock().unwrap()[0].clone();
    let before = tenant.count("POST", "createUploadSession").await;
    let outcome = tenant.sender().await.send(&send_job(raw, Some(&draft)), &notes).await;
    assert!(sent(&outcome), "{outcome:?}");
    assert_eq!(
        tenant.count("POST", "createUploadSession").await - before,
        1,
        "only the file that was missing"
    );
    both_have_all(&tenant, &files).await;
}

#[tokio::test]
async fn what_graph_could_not_take_is_held() {
    let tenant = Tenant::new().await;
    let text = format!("{HEADER}\r\n{}", "x\r\n".repeat(1_100_000));
    let signed = String::from_utf8(nine().0.to_vec()).unwrap().replace("multipart/mixed", "multipart/signed");
    for raw in [text, signed] {
        let outcome = tenant.sender().await.send(&send_job(raw.into(), None), &Notes::default()).await;
        let SendOutcome::NotSent(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.decision(), Decision::Hold);
        assert!(failure.words.contains("at most 3000000"), "{failure}");
    }
    assert_eq!(tenant.count("POST", "/messages").await, 0);
}
