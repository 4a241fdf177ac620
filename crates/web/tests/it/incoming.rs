//! *Settings for incoming e-mail*.

use axum::http::StatusCode;
use postroom_model::ExposeSecret;
use postroom_model::connection::ExchangeApi;
use postroom_model::mailbox::{Availability, MailType};

use crate::browser::{empty, filled};
use crate::sample::SECRET;

#[tokio::test]
async fn the_page_helps_when_it_is_empty_and_adds_a_connection() {
    let (sample, browser) = empty().await;
    let mut browser = browser.log_on("admin").await;
    assert!(browser.get("/settings/incoming").await.has("No connection receives mail yet"));
    assert!(browser.get("/").await.has("There is no connection yet."));
    let page = browser.get("/settings/incoming?new=1").await;
    assert_eq!(page.errors(), 2);
    let draft = "/settings/incoming/connections/new/draft";
    let page = browser.post_part(draft, &[("kind", "imap"), ("shown_kind", "exchange-online")]).await;
    assert!(page.has("Server address is missing") && page.has("0 = standard (993)"));
    let fields = [
        ("kind", "imap"),
        ("shown_kind", "imap"),
        ("server", "imap.fabrikam.example"),
        ("polling_interval", "60,00"),
        ("user_name", "orders"),
        ("password", "invented"),
    ];
    let page = browser.post("/settings/incoming/connections/new", &fields).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let connections = sample.store.connections().await.unwrap();
    assert_eq!(connections[0].settings.polling_interval, "60,00".parse().unwrap());
    assert!(browser.get("/settings/incoming").await.has("value=\"60,00\""));
    assert!(browser.get("/").await.has("No mailbox is read yet."));
}

#[tokio::test]
async fn a_mailbox_signs_in_by_itself_where_the_service_lets_it() {
    let (sample, browser) = empty().await;
    let mut browser = browser.log_on("admin").await;
    let fields =
        [("kind", "imap"), ("shown_kind", "imap"), ("server", "imap.fabrikam.example"), ("tls", "starttls")];
    let page = browser.post("/settings/incoming/connections/new", &fields).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let connection = sample.store.connections().await.unwrap()[0].id;
    let add = format!("/settings/incoming/connections/{connection}/mailboxes");
    assert!(browser.part(&format!("{add}/new")).await.has("name=\"password\""));
    let fields = [
        ("address", "info@fabrikam.example"),
        ("user_name", "info"),
        ("password", SECRET),
        ("type", "crm"),
        ("available_to_all", "1"),
        ("old_mail", "all"),
    ];
    let page = browser.post_part(&add, &fields).await;
    assert!(page.has(">stored</td>") && page.has(">info</td>"), "{}", page.text());
    let id = sample.store.mailboxes().await.unwrap()[0].id;
    let path = format!("/settings/incoming/mailboxes/{id}");
    assert!(browser.part(&path).await.has("placeholder=\"stored\""), "only that there is one is shown");
    let fields =
        [("address", "info@fabrikam.example"), ("type", "crm"), ("password", ""), ("available_to_all", "1")];
    assert!(browser.post_part(&path, &fields).await.has(">stored</td>"), "blank keeps it");
    let kept = sample.store.mailbox_password(id).await.unwrap().unwrap();
    assert_eq!(kept.expose_secret(), SECRET);
}

#[tokio::test]
async fn imap_with_a_token_asks_for_the_ids_and_hides_the_password() {
    let (_sample, browser) = empty().await;
    let mut browser = browser.log_on("admin").await;
    let draft = "/settings/incoming/connections/new/draft";
    let mut fields = vec![("kind", "imap"), ("shown_kind", "imap"), ("server", "outlook.office365.com")];
    let page = browser.post_part(draft, &fields).await;
    assert!(!page.has("Application (client) ID") && page.has("has taken no passwords over IMAP"));
    fields.push(("flow", "client-secret"));
    let page = browser.post_part(draft, &fields).await;
    assert!(page.has("Application (client) ID is missing") && page.has("Client secret is missing"));
    assert!(!page.has("name=\"password\""));
    fields[2].1 = "imap.fabrikam.example";
    assert!(
        browser.post_part(draft, &fields).await.has("imap.fabrikam.example is no server of Exchange Online")
    );
}

#[tokio::test]
async fn a_connection_by_ews_tells_its_end_and_is_switched_to_graph_by_a_button() {
    let (sample, _clock, browser) = filled().await;
    sample.store.switch_interface(sample.connection, ExchangeApi::Ews, "test").await.unwrap();
    let mut browser = browser.log_on("admin").await;
    let page = browser.get("/settings/incoming").await;
    assert!(page.has("2027-04-01") && page.has("Switch to Microsoft Graph"));
    assert!(browser.get("/settings/email").await.has("Switch to Microsoft Graph"));
    let path = format!("/settings/incoming/connections/{}/migrate", sample.connection);
    let page = browser.another().log_on("ann").await.post(&path, &[]).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let held = sample.store.connection(sample.connection).await.unwrap().unwrap().settings;
    let page = browser.post(&path, &[]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let settings = sample.store.connection(sample.connection).await.unwrap().unwrap().settings;
    assert_eq!((held.api, settings.api), (ExchangeApi::Ews, ExchangeApi::Graph));
    assert_eq!(
        browser.post(&path, &[]).await.status,
        StatusCode::NOT_FOUND,
        "there is nothing more to switch"
    );
}

#[tokio::test]
async fn one_record_serves_both_settings() {
    let (_sample, _clock, browser) = filled().await;
    let page = browser.log_on("admin").await.get("/settings/incoming").await;
    assert!(
        page.has("also sends")
            && page.has("orders@contoso.example")
            && page.has("Add new row at the end (F5)")
    );
    assert!(page.has("403 ErrorAccessDenied") && page.has("3 failed readings in a row"));
}

#[tokio::test]
async fn a_row_is_added_changed_and_removed_and_no_other_is_touched() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("manager").await;
    let before = sample.store.mailbox(sample.hr).await.unwrap();
    let editor = format!("/settings/incoming/connections/{}/mailboxes/new", sample.connection);
    let page = browser.part(&editor).await;
    for kind in MailType::ALL {
        assert!(page.has(&format!(">{}</label>", kind.label())), "{kind}");
    }
    assert!(page.has("Available to all") && page.has("Order desk"));
    assert!(browser.get(&editor).await.has("<!doctype html>"), "also without scripts");

    let add = format!("/settings/incoming/connections/{}/mailboxes", sample.connection);
    let page = browser.post_part(&add, &[("address", "quotes@contoso")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.has("Type is missing"));
    assert!(page.has("Old mail: choose how much of it is taken"), "a person is asked, nothing is assumed");
    let group = sample.group.to_string();
    let fields = [
        ("address", "quotes@contoso.example"),
        ("type", "quote"),
        ("type", "inquiry"),
        ("group", &group),
        ("old_mail", "since"),
        ("old_mail_since", "2026-11-01"),
        ("after_processing", "move"),
        ("move_to", "Processed"),
    ];
    let page = browser.post_part(&add, &fields).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    assert!(page.has("<tr id=\"mailbox-") && page.has("Quote, Inquiry") && page.has("Order desk"));
    let page = browser.post_part(&add, &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.has("is already there"));

    let all = sample.store.mailboxes().await.unwrap();
    let id = all.iter().find(|known| known.address.as_str() == "quotes@contoso.example").unwrap().id;
    let path = format!("/settings/incoming/mailboxes/{id}");
    let page = browser.part(&path).await;
    assert!(page.has("value=\"quotes@contoso.example\""));
    assert!(page.has("value=\"since\" checked") && page.has("value=\"2026-11-01\""), "{}", page.text());
    assert!(page.has("value=\"move\" checked") && page.has("value=\"Processed\""));
    let count = format!("{add}/count");
    let page = browser.post_part(&count, &[("address", "quotes")]).await;
    assert!(page.status == StatusCode::OK && page.has("class=\"error\""), "why it was not counted is said");
    let fields = [("address", "quotes@contoso.example"), ("type", "quote"), ("available_to_all", "1")];
    assert!(browser.post_part(&path, &fields).await.has("All</td>"));
    let changed = sample.store.mailbox(id).await.unwrap().unwrap();
    assert_eq!(changed.settings.availability, Availability::All);
    assert!(browser.part(&format!("{path}/row")).await.has("quotes@contoso.example"));

    let page = browser.post_part(&format!("{path}/remove"), &[]).await;
    assert_eq!((page.status, page.body.len()), (StatusCode::OK, 0));
    assert!(sample.store.mailbox(id).await.unwrap().is_none());
    assert_eq!(sample.store.mailbox(sample.hr).await.unwrap(), before);
}

#[tokio::test]
async fn a_personnel_mailbox_is_not_made_available_to_all() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("manager").await;
    let path = format!("/settings/incoming/mailboxes/{}", sample.hr);
    let fields = [("address", "hr@contoso.example"), ("type", "personnel"), ("available_to_all", "1")];
    let page = browser.post_part(&path, &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.has("A Personnel mailbox cannot be available to all"));
}

#[tokio::test]
async fn validating_remembers_and_shows_the_reason() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("manager").await;
    let path = format!("/settings/incoming/mailboxes/{}", sample.orders);
    let page = browser.post_part(&format!("{path}/validate"), &[]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.has("no transport in this sample") && page.has("val fail"), "{}", page.text());
    assert!(!sample.store.mailbox(sample.orders).await.unwrap().unwrap().validation.unwrap().ok);
    assert_eq!(browser.post_part(&format!("{path}/read"), &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_used_connection_is_not_removed() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("admin").await;
    let path = format!("/settings/incoming/connections/{}", sample.connection);
    let page = browser.post(&format!("{path}/remove"), &[]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.has("This connection is still used."));
    // The service of a saved connection stays, whatever a form says.
    let page = browser.post(&path, &[("kind", "imap"), ("polling_interval", "0,5")]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let saved = sample.store.connection(sample.connection).await.unwrap().unwrap();
    assert_eq!(saved.settings.kind.as_str(), "exchange-online");
    let page = browser.post(&path, &[("polling_interval", "hourly")]).await;
    assert_eq!((page.status, page.errors()), (StatusCode::UNPROCESSABLE_ENTITY, 1));
}

#[tokio::test]
async fn a_mailbox_with_mail_stays_the_account_it_is_and_the_field_says_so() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("manager").await;
    let path = format!("/settings/incoming/mailboxes/{}", sample.hr);
    let fields = [("address", "quotes@contoso.example"), ("type", "quote"), ("available_to_all", "1")];
    let page = browser.post_part(&path, &fields).await;
    assert_eq!((page.status, page.errors()), (StatusCode::UNPROCESSABLE_ENTITY, 1), "{}", page.text());
    assert!(page.has("cannot be changed: it has collected mail") && page.has("Remove it and add another."));
    let kept = sample.store.mailbox(sample.hr).await.unwrap().unwrap();
    assert_eq!(kept.address.as_str(), "hr@contoso.example");
}
