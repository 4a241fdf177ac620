//! *System settings - E-mail* and *Check e-mail settings*.

use axum::http::StatusCode;
use postroom_model::ExposeSecret;
use postroom_model::connection::{EmailMethod, WhenUnknown};
use postroom_model::event::{EventKind, Subject};
use postroom_store::EventFilter;

use crate::browser::{empty, filled};
use crate::sample::SECRET;

const APPLICATION: &str = "5a1b2c3d-0000-4000-8000-00000000a001";
const TENANT: &str = "5a1b2c3d-0000-4000-8000-00000000b001";
const DRAFT: &str = "/settings/email/draft";

#[tokio::test]
async fn rows_13_to_23_are_there_under_their_numbers_and_labels() {
    let (_sample, browser) = empty().await;
    let page = browser.log_on("admin").await.get("/settings/email").await;
    for (number, label) in [
        (13, "E-mail method"),
        (14, "Server address (Exchange/SMTP)"),
        (15, "Port (Exchange/SMTP)"),
        (16, "User name (SMTP)"),
        (17, "Password (SMTP)"),
        (18, "Use SSL"),
        (19, "Maximum size for files in e-mail"),
        (20, "Application (client) ID"),
        (21, "Directory (tenant) ID"),
        (22, "Authentication flow"),
        (23, "Client secret"),
    ] {
        let text = page.text();
        let row = text.split(&format!("<span class=\"number\">{number}.</span>")).nth(1).unwrap();
        assert!(row[..300].contains(label), "{number} {label}");
    }
}

/// The part of a page that stands between the numbers of two rows.
fn row(page: &crate::browser::Page, number: u32) -> String {
    let text = page.text();
    let (before, rest) = text.split_once(&format!("<span class=\"number\">{number}.</span>")).unwrap();
    let begin = before.rfind('<').unwrap();
    let end = rest.find("<span class=\"number\">").unwrap_or(rest.len());
    // Each row begins on a line of its own.
    let end = rest[..end].rfind('\n').unwrap();
    format!("{}{}", &before[begin..], &rest[..end])
}

#[tokio::test]
async fn the_method_decides_which_rows_are_on() {
    let (_sample, browser) = empty().await;
    let mut browser = browser.log_on("admin").await;
    // Method, flow, the rows that are off, and what port 0 stands for.
    for (method, flow, off, port) in [
        ("exchange-online", "password", vec![18, 23], 443),
        ("exchange-online", "client-secret", vec![16, 17, 18], 443),
        ("exchange", "password", vec![20, 21, 22, 23], 443),
        ("smtp", "password", vec![20, 21, 23], 465),
        ("smtp", "client-secret", vec![17], 465),
    ] {
        let page =
            browser.post_part(DRAFT, &[("method", method), ("shown_method", method), ("flow", flow)]).await;
        let found: Vec<u32> = (14..=23).filter(|number| row(&page, *number).contains("disabled")).collect();
        assert_eq!(found, off, "{method} by {flow}");
        assert!(page.has(&format!("0 means the standard port ({port})")), "{method}");
    }
    let page = browser.post_part(DRAFT, &[("method", "outlook"), ("shown_method", "smtp")]).await;
    assert!(page.has("ready draft (.eml)") && page.has("href=\"/draft\"") && !page.has("name=\"server\""));
}

#[tokio::test]
async fn the_line_is_chosen_in_clear_words_and_a_readable_one_must_be_accepted() {
    let (sample, browser) = empty().await;
    let mut browser = browser.log_on("admin").await;
    let mut fields = vec![
        ("method", "smtp"),
        ("shown_method", "smtp"),
        ("server", "relay.fabrikam.example"),
        ("port", "0"),
        ("tls", "starttls"),
        ("max_size_mb", "10"),
    ];
    let page = browser.post_part(DRAFT, &fields).await;
    let modes = ["TLS from the first byte", "STARTTLS (required)", "No TLS", "STARTTLS if offered"];
    assert!(modes.iter().all(|mode| page.has(mode)) && page.has("0 means the standard port (587)"));
    assert!(page.has("room for about 7.3 MB of files") && !page.has("accept_plain"));
    fields[4].1 = "plain";
    let page = browser.post_part(DRAFT, &fields).await;
    assert!(page.has("Without TLS only this machine can be reached") && page.has("name=\"accept_plain\""));
    fields.extend([("accept_plain_asked", "1"), ("accept_plain", "1"), ("when_unknown", "at-least-once")]);
    let page = browser.post("/settings/email", &fields).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let saved = sample.store.connections().await.unwrap().remove(0).settings;
    assert!(saved.accept_plain && saved.when_unknown == WhenUnknown::AtLeastOnce);
    // The box is there and not ticked: taken back.
    fields.retain(|(name, _)| *name != "accept_plain");
    let page = browser.post("/settings/email", &fields).await;
    assert!(page.has("Without TLS only this machine can be reached"));
}

#[tokio::test]
async fn errors_come_and_go_in_the_order_of_the_guide() {
    let (_sample, browser) = empty().await;
    let mut browser = browser.log_on("admin").await;
    let base = [
        ("method", "exchange-online"),
        ("shown_method", "exchange-online"),
        ("server", "outlook.office365.com"),
    ];
    let mut fields = base.to_vec();
    let page = browser.post_part(DRAFT, &fields).await;
    assert_eq!(page.errors(), 2);
    assert!(page.has("Application (client) ID is missing") && page.has("Directory (tenant) ID is missing"));
    assert!(page.text().find("2 errors").is_some());
    fields.push(("application_id", APPLICATION));
    assert_eq!(browser.post_part(DRAFT, &fields).await.errors(), 1);
    fields.push(("tenant_id", TENANT));
    let page = browser.post_part(DRAFT, &fields).await;
    assert_eq!(page.errors(), 0);
    assert!(page.has("1 warning"), "the password flow is discouraged");
    fields.push(("flow", "client-secret"));
    let page = browser.post_part(DRAFT, &fields).await;
    assert_eq!(page.errors(), 1);
    assert!(page.has("Client secret is missing") && page.has("data-focus=\"client_secret\""));
    fields.push(("client_secret", SECRET));
    let page = browser.post_part(DRAFT, &fields).await;
    assert_eq!(page.errors(), 0);
    assert!(!page.has("<!doctype"), "a fragment for htmx");
}

#[tokio::test]
async fn errors_block_saving_and_what_is_right_is_saved_with_its_secret() {
    let (sample, browser) = empty().await;
    let mut browser = browser.log_on("admin").await;
    let mut fields = vec![
        ("method", "exchange-online"),
        ("shown_method", "exchange-online"),
        ("server", "https://outlook.office365.com/"),
        ("port", "443"),
        ("max_size_mb", "10"),
        ("application_id", APPLICATION),
        ("flow", "client-secret"),
        ("client_secret", SECRET),
    ];
    let page = browser.post("/settings/email", &fields).await;
    assert_eq!((page.status, page.errors()), (StatusCode::UNPROCESSABLE_ENTITY, 1));
    assert!(sample.store.connections().await.unwrap().is_empty());
    fields.push(("tenant_id", " 5A1B2C3D-0000-4000-8000-00000000B001\n"));
    let page = browser.post("/settings/email", &fields).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let outgoing = sample.store.outgoing_settings().await.unwrap().unwrap();
    assert_eq!(outgoing.method, EmailMethod::ExchangeOnline);
    let connection = sample.store.connection(outgoing.connection.unwrap()).await.unwrap().unwrap();
    assert_eq!((connection.settings.tenant_id.as_str(), connection.settings.port), (TENANT, 443));
    let (_, secret) = sample.store.credential_secret(connection.id).await.unwrap().unwrap();
    assert_eq!(secret.expose_secret(), SECRET);
    let page = browser.get("/settings/email?saved=1").await;
    assert!(page.has("placeholder=\"stored\"") && page.has("Saved."));

    // Saved again with the secret left blank: it stays, and there is still one connection. Its end is learned.
    let end = async || sample.store.credentials(connection.id).await.unwrap()[0].expires_at;
    assert_eq!(end().await, None);
    fields.retain(|(name, _)| *name != "client_secret");
    fields.push(("secret_expires", "22 May"));
    let page = browser.post("/settings/email", &fields).await;
    assert!(page.status == StatusCode::UNPROCESSABLE_ENTITY && page.has("write a day such as 2027-05-22"));
    fields.retain(|(name, _)| *name != "secret_expires");
    fields.push(("secret_expires", "2027-05-22"));
    assert_eq!(browser.post("/settings/email", &fields).await.status, StatusCode::SEE_OTHER);
    assert_eq!(end().await.map(|end| end.to_string()).as_deref(), Some("2027-05-22T00:00:00Z"));
    assert!(browser.get("/settings/email").await.has("value=\"2027-05-22\""));
    // What is known to the second is not made coarser by being shown as a day.
    let exact = "2027-05-22T15:04:58Z".parse().unwrap();
    let current = sample.store.credentials(connection.id).await.unwrap()[0].id;
    sample.store.learn_credential(current, Some(exact), None).await.unwrap();
    assert_eq!(browser.post("/settings/email", &fields).await.status, StatusCode::SEE_OTHER);
    assert_eq!(end().await, Some(exact));
    assert_eq!(browser.post("/settings/email", &fields).await.status, StatusCode::SEE_OTHER);
    assert_eq!(sample.store.connections().await.unwrap().len(), 1);
    assert!(sample.store.credential_secret(connection.id).await.unwrap().is_some());
}

#[tokio::test]
async fn fields_follow_the_method() {
    let (_sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("admin").await;
    let page = browser.post_part(DRAFT, &[("method", "outlook"), ("shown_method", "exchange-online")]).await;
    assert!(!page.has("Server address") && page.has(".eml"));
    let page = browser
        .post_part(DRAFT, &[("method", "smtp"), ("shown_method", "exchange-online"), ("server", "x")])
        .await;
    assert!(page.has("Server address is missing"), "the server of another method is not taken along");
    let page = browser.post_part(DRAFT, &[("method", "exchange-online"), ("shown_method", "smtp")]).await;
    assert!(page.has(APPLICATION), "and comes back with its own method");
    let fields = [("method", "exchange-online"), ("shown_method", "exchange-online"), ("cloud", "custom")];
    let page = browser.post_part(DRAFT, &fields).await;
    assert!(page.has("Sign-in address is not an address") && page.has("name=\"graph\""));
    for (port, size) in [("70000", "10"), ("x", "10"), ("0", "x"), ("0", "151")] {
        let fields = [
            ("method", "exchange-online"),
            ("shown_method", "exchange-online"),
            ("port", port),
            ("max_size_mb", size),
        ];
        assert_eq!(browser.post_part(DRAFT, &fields).await.errors(), 1, "{port} {size}");
    }
}

#[tokio::test]
async fn a_stored_secret_is_not_used_for_another_cloud() {
    let (_sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("admin").await;
    let fields = [
        ("method", "exchange-online"),
        ("shown_method", "exchange-online"),
        ("check_method", "exchange-online"),
        ("cloud", "custom"),
        ("authority", "https://login.evil.example"),
        ("graph", "https://graph.evil.example"),
        ("recipient", "ann@fabrikam.example"),
        ("sender", "orders@contoso.example"),
    ];
    let page = browser.post_part("/settings/email/check", &fields).await;
    assert!(page.has("Client secret is missing") && !page.has("with a secret"), "{}", page.text());
    let page = browser.post("/settings/email", &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.has("type it again"));
}

#[tokio::test]
async fn the_check_tests_unsaved_values_with_the_stored_secret() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("admin").await;
    let dialog = browser.part("/settings/email/check?method=exchange-online").await;
    assert!(dialog.has("<dialog") && dialog.has("Recipient") && dialog.has("Cancel"));
    let people = [("recipient", "ann@fabrikam.example"), ("sender", "orders@contoso.example")];
    let form = [
        ("check_method", "exchange-online"),
        ("method", "exchange-online"),
        ("shown_method", "exchange-online"),
        ("server", "mail.contoso.example"),
    ];
    let page = browser.post_part("/settings/email/check", &[&form[..], &people].concat()).await;
    assert!(
        page.has("OK!") && page.has("mail.contoso.example") && page.has("with a secret"),
        "{}",
        page.text()
    );
    let refused = [&form[..3], &[("server", "refuse.contoso.example")], &people].concat();
    let page = browser.post_part("/settings/email/check", &refused).await;
    assert!(
        page.has("Cause:") && page.has("Next step:") && page.has("ErrorSendAsDenied") && !page.has("OK!")
    );
    let page = browser.post("/settings/email/check", &[&form[..1], &[("recipient", "ann")]].concat()).await;
    assert!(page.has("Recipient: ") && page.has("<!doctype html>"));
    let saved = [("check_method", "exchange-online"), people[0], people[1]];
    browser.post_part("/settings/email/check", &saved).await;
    let filter = EventFilter { subject: Some(Subject::Connection(sample.connection)), after: 0 };
    let events = sample.store.events(&filter, 50).await.unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|stored| &stored.event)
        .filter(|event| event.kind == EventKind::ConnectionChecked)
        .map(|event| (event.words.as_deref().unwrap(), event.actor.as_deref().unwrap()))
        .collect();
    assert_eq!((told.len(), told[0]), (3, ("with unsaved settings: OK!", "user:admin")));
    assert!(told[1].0.contains("ErrorSendAsDenied") || told[1].0.contains("Application Mail.Send"));
    assert_eq!(told[2].0, "OK!");
}
