//! *New draft*: a message for the user's own mail program.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postroom_store::{OutboxFilter, Page};

use crate::browser::{Browser, empty};

const BOUNDARY: &str = "----boundary-of-the-browser";

/// Posts the form as a browser does that takes files along.
async fn post(
    browser: &mut Browser,
    fields: &[(&str, &str)],
    file: Option<(&str, usize)>,
) -> crate::browser::Page {
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    let (file, size) = file.unwrap_or_default();
    body += &format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"{file}\"\r\n\
         Content-Type: application/pdf\r\n\r\n{}\r\n--{BOUNDARY}--\r\n",
        "x".repeat(size)
    );
    let request = Request::post("/draft")
        .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
        .header("sec-fetch-site", "same-origin");
    browser.ask(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn a_message_is_composed_and_downloaded_with_its_files_and_signature() {
    let (sample, browser) = empty().await;
    let mut browser = browser.log_on("ann").await;
    let page = browser.get("/draft").await;
    assert!(page.has("value=\"ann@contoso.example\""), "one's own address stands there already");
    let fields = [
        ("from", "ann@contoso.example"),
        ("to", "\"Buyer, Fabrikam\" <buyer@fabrikam.example>; copy@fabrikam.example"),
        ("bcc", "audit@contoso.example"),
        ("subject", "Order 4711"),
        ("text", "On its way"),
        ("signature", "Ann Order"),
    ];
    let made = post(&mut browser, &fields, Some(("order.pdf", 100))).await;
    assert_eq!(
        (made.status, made.header("content-type")),
        (StatusCode::OK, "message/rfc822"),
        "{}",
        made.text()
    );
    assert!(made.header("content-disposition").starts_with("attachment; filename=\"Order 4711.eml\""));
    for part in
        ["X-Unsent: 1\r\n", "copy@fabrikam.example", "Bcc: ", "On its way\r\n\r\nAnn Order", "order.pdf"]
    {
        assert!(made.has(part), "{part} in {}", made.text());
    }
    assert!(sample.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_wrong_stands_at_its_field_and_the_rest_is_kept() {
    let (_sample, browser) = empty().await;
    let mut browser = browser.log_on("ann").await;
    let fields =
        [("from", "ann@contoso.example"), ("to", "buyer@@fabrikam.example"), ("text", "kept <b>words</b>")];
    let page = post(&mut browser, &fields, None).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.has("data-focus=\"to\"") && page.has("kept &lt;b&gt;words"), "{}", page.text());
    let fields = [("from", "ann@contoso.example"), ("to", "buyer@fabrikam.example"), ("text", "x")];
    let page = post(&mut browser, &fields, Some(("film.mp4", 8_000_000))).await;
    assert!(
        page.has("data-focus=\"attachments\"") && page.has("11.0 MB") && page.has("10.0 MB"),
        "{}",
        page.text()
    );
    let page = post(&mut browser, &fields, Some(("film.mp4", 45_000_000))).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(page.has("which is 40 MB") && page.has("postroom draft"));
}
