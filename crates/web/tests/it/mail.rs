//! Inbox, reading pane, outbox.

use axum::http::StatusCode;
use postroom_model::Timestamp;
use postroom_store::{InboxFilter, OutboxFilter, Page};

use crate::browser::filled;
use crate::sample::Sample;

/// The id of the collected message with this subject, as the administrator sees it.
pub(crate) async fn message(sample: &Sample, subject: &str) -> String {
    let (admin, _) = sample.store.user_by_name("admin").await.unwrap().unwrap();
    let list = sample.store.inbox(&admin.viewer(), &InboxFilter::default(), Page::default()).await.unwrap();
    list.iter().find(|known| known.summary.subject.starts_with(subject)).unwrap().id.to_string()
}

async fn outgoing(sample: &Sample, subject: &str) -> String {
    let list = sample.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap();
    list.iter().find(|known| known.subject == subject).unwrap().id.to_string()
}

#[tokio::test]
async fn everybody_sees_what_is_available_and_nothing_else() {
    let (sample, _clock, browser) = filled().await;
    let mut admin = browser.another().log_on("admin").await;
    let mut ann = browser.another().log_on("ann").await;
    let page = admin.get("/inbox").await;
    assert!(page.has("Sick note") && page.has("Order 4711") && page.has("3 messages"));
    let page = ann.get("/inbox").await;
    assert!(!page.has("Sick note") && !page.has("hr@") && page.has("Order 4711") && page.has("2 messages"));
    let note = message(&sample, "Sick note").await;
    for path in ["", "/attachments/0", "/body"] {
        assert_eq!(ann.get(&format!("/inbox/{note}{path}")).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let page = ann.post(&format!("/inbox/{note}/file"), &[("record", "case 1")]).await;
    assert!(page.status.is_client_error(), "{}", page.status);
    assert_eq!(admin.get(&format!("/inbox/{note}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_list_is_searched_and_filtered() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("admin").await;
    let page = browser.get("/inbox?search=4711&type=&mailbox=").await;
    assert!(page.has("1 message<") && page.has("Order 4711") && !page.has("Sick note"));
    assert!(browser.get("/inbox?search=nothinglikeit").await.has("No message fits this filter."));
    assert!(browser.get("/inbox?type=personnel").await.has("Sick note"));
    assert!(!browser.get("/inbox?type=case").await.has("Sick note"));
    assert!(browser.get(&format!("/inbox?mailbox={}", sample.orders)).await.has("2 messages"));
    let page = browser.get("/inbox?state=quarantined&page=x").await;
    assert!(page.has("1 message<") && page.has("quarantine"));
}

#[tokio::test]
async fn html_is_shown_in_a_frame_without_rights_and_its_pictures_within() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("ann").await;
    let path = format!("/inbox/{}", message(&sample, "Order 4711").await);
    let page = browser.get(&path).await;
    assert!(page.has("<iframe class=\"body\" sandbox=\"\"") && page.has("1 remote picture not loaded."));
    assert!(page.has("order 4711.pdf") && page.has("Collected and stored") && !page.has("alert(1)"));
    let frame = browser.get(&format!("{path}/body")).await;
    let policy = frame.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; img-src data:; style-src 'unsafe-inline'"), "{policy}");
    assert!(!frame.has("<script") && !frame.has("tracker.example.net"));
    assert!(frame.has("src=\"data:image/png;base64,iVBOR"), "{}", frame.text());
}

#[tokio::test]
async fn files_are_only_ever_downloaded() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("ann").await;
    let path = format!("/inbox/{}", message(&sample, "Order 4711").await);
    let page = browser.get(&path).await.text();
    let link = page.split("href=\"").find(|part| part.contains("/attachments/")).unwrap();
    let file = browser.get(link.split('"').next().unwrap()).await;
    assert_eq!(file.status, StatusCode::OK);
    assert!(file.header("content-disposition").starts_with("attachment; filename=\"order 4711.pdf\""));
    assert_eq!(file.header("content-type"), "application/octet-stream");
    assert_eq!(file.header("x-content-type-options"), "nosniff");
    assert_eq!(browser.get(&format!("{path}/attachments/99")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_mail_is_filed_on_a_record() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("ann").await;
    let path = format!("/inbox/{}", message(&sample, "Order 4711").await);
    let page = browser.post_part(&format!("{path}/file"), &[("record", "Order 4711")]).await;
    assert!(page.has("does not name a record") && page.has("value=\"Order 4711\""));
    let page = browser.post_part(&format!("{path}/file"), &[("record", "Customer order 4711")]).await;
    assert!(page.has(">Customer order 4711</span>") && page.has("Filed on a record"), "{}", page.text());
    let page = browser.post(&format!("{path}/file"), &[("record", "case:118")]).await;
    assert_eq!(page.header("location"), path);
    assert!(browser.get(&path).await.has("Case 118"));
}

#[tokio::test]
async fn quarantine_tells_why_and_can_be_run_again() {
    let (_sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("ann").await;
    let list = browser.get("/inbox?state=quarantined").await.text();
    let link = list.split("href=\"").find(|part| part.starts_with("/inbox/")).unwrap();
    let link = link.split('"').next().unwrap().to_owned();
    let page = browser.part(&link).await;
    assert!(page.has("In quarantine.") && page.has("could not be taken apart") && page.has("Run again"));
    let page = browser.post(&format!("{link}/reprocess"), &[]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert!(browser.get("/inbox?state=quarantined").await.has("No message fits this filter."));
}

#[tokio::test]
async fn the_outbox_shows_ones_own_and_administrators_all() {
    let (sample, _clock, browser) = filled().await;
    let mut admin = browser.another().log_on("admin").await;
    let mut ann = browser.another().log_on("ann").await;
    let page = admin.get("/outbox").await;
    assert!(page.has("Invoice 2207") && page.has("550 5.7.60") && page.has("Order confirmation 4711"));
    let page = ann.get("/outbox").await;
    assert!(page.has("Order confirmation 4711") && !page.has("Invoice 2207") && !page.has("Quote 88"));
    assert!(admin.get("/outbox?state=failed").await.has("Invoice 2207"));
    assert!(ann.get("/outbox?state=failed").await.has("No message is in this state."));
    let path = format!("/outbox/{}", outgoing(&sample, "Quote 88").await);
    assert_eq!(ann.get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ann.post(&format!("{path}/send"), &[]).await.status, StatusCode::NOT_FOUND);
    assert!(admin.get("/").await.has("1 message not sent.") && admin.get("/").await.has("cannot be read."));
}

#[tokio::test]
async fn a_message_is_released_held_and_taken_back() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("admin").await;
    let path = format!("/outbox/{}", outgoing(&sample, "Quote 88").await);
    assert!(browser.get(&path).await.has("Send now"));
    for (action, state) in [("send", "Accepted"), ("hold", "Held"), ("cancel", "Cancelled")] {
        let page = browser.post(&format!("{path}/{action}"), &[]).await;
        assert_eq!(page.header("location"), path, "{action}");
        assert!(browser.get(&path).await.has(&format!(">{state}</span>")), "{action}");
    }
    let page = browser.post(&format!("{path}/send"), &[]).await;
    assert_eq!(page.status, StatusCode::CONFLICT, "what was taken back stays so");
    assert_eq!(browser.post(&format!("{path}/burn"), &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_timeline_tells_nothing_of_mailboxes_that_are_not_the_viewers() {
    let (sample, _clock, browser) = filled().await;
    let id = message(&sample, "Order 4711").await;
    // The same mail came to the personnel mailbox too, which only administrators may see.
    sample.collect_letter_again(sample.hr).await;
    let path = format!("/inbox/{id}");
    let page = browser.another().log_on("ann").await.get(&path).await;
    assert!(page.has("Collected and stored") && page.has("orders@contoso.example"));
    assert!(!page.has("Also delivered") && !page.has("hr@contoso.example"));
    for hidden in [sample.hr, sample.orders] {
        assert!(!page.has(&format!("mailbox {hidden}")), "an id says nothing to a reader");
    }
    let page = browser.another().log_on("admin").await.get(&path).await;
    assert!(
        page.has("Also delivered to another mailbox") && page.has("<q>hr@contoso.example</q>"),
        "{}",
        page.text()
    );
}

#[tokio::test]
async fn the_mail_of_a_removed_mailbox_stays_where_it_was() {
    let (sample, _clock, browser) = filled().await;
    let path = format!("/inbox/{}", message(&sample, "Order 4711").await);
    let mut manager = browser.another().log_on("manager").await;
    let row = manager.part(&format!("/settings/incoming/mailboxes/{}/row", sample.orders)).await;
    assert!(row.has("collected mail stays with those who can see it now"));
    let page = manager.post(&format!("/settings/incoming/mailboxes/{}/remove", sample.orders), &[]).await;
    let page = manager.get(page.header("location")).await;
    assert!(
        page.has("Collected mail stays with those who could see it.") && !page.has("orders@contoso.example")
    );
    let mut ann = browser.another().log_on("ann").await;
    assert!(ann.get(&path).await.has("orders@contoso.example (removed)"));
    let add = format!("/settings/incoming/connections/{}/mailboxes", sample.connection);
    let fields = [
        ("address", "orders@contoso.example"),
        ("type", "customer-order"),
        ("available_to_all", "1"),
        ("old_mail", "all"),
    ];
    let page = manager.post_part(&add, &fields).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    assert!(page.has(&format!("mailbox-{}", sample.orders)), "it came back under its own id");
}

#[tokio::test]
async fn the_start_page_counts_the_days_of_a_credential() {
    let (sample, _clock, browser) = filled().await;
    let mut admin = browser.another().log_on("admin").await;
    let mut ann = browser.another().log_on("ann").await;
    assert!(!admin.get("/").await.has("The credential of"));
    let credential = sample.store.credentials(sample.connection).await.unwrap().remove(0);
    for (days, sentence) in
        [(31, None), (20, Some("Exchange Online ends in 20 days")), (-2, Some("Exchange Online ended on"))]
    {
        let end = Timestamp::from_second(sample.env.now().as_second() + 86_400 * days).unwrap();
        sample.store.learn_credential(credential.id, Some(end), None).await.unwrap();
        let page = admin.get("/").await;
        match sentence {
            Some(sentence) => assert!(page.has(&format!("The credential of {sentence}")), "{days}"),
            None => assert!(!page.has("The credential of"), "{days}"),
        }
        assert!(!ann.get("/").await.has("The credential of"), "{days}");
    }
}
