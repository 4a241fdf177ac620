//! What surrounds every page.

use axum::http::StatusCode;

use crate::browser::filled;

#[tokio::test]
async fn every_answer_has_the_policy_and_its_headers() {
    let (_sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("admin").await;
    for path in ["/", "/nothing", "/assets/app.css", "/settings/email"] {
        let page = browser.get(path).await;
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(page.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert!(!page.header("x-request-id").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn no_page_names_another_host_or_holds_a_script() {
    let (_sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("admin").await;
    for path in ["/", "/inbox", "/outbox", "/settings/email", "/settings/email/check", "/settings/incoming"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for forbidden in ["src=\"http", "href=\"http", "<script>", "style=\"", " onclick", "hx-on"] {
            assert!(!page.has(forbidden), "{path} holds {forbidden}");
        }
    }
}

#[tokio::test]
async fn changes_from_elsewhere_are_refused() {
    let (_sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("admin").await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example"), ("host", "postroom.example")],
        &[("origin", "null"), ("host", "postroom.example")],
        &[],
    ] {
        let page = browser.post_with("/logout", &[], headers).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{headers:?}");
        assert!(
            page.has("did not come from one of our own pages") && page.has("Request id")
                || page.has("request id")
        );
    }
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "still logged on");
    let own = [("origin", "https://postroom.example"), ("host", "postroom.example")];
    assert_eq!(browser.post_with("/logout", &[], &own).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_error_is_a_page_and_for_htmx_a_fragment_aimed_at_the_notice() {
    let (_sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("ann").await;
    let page = browser.get("/nothing").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.has("<!doctype html>") && page.has(page.header("x-request-id")));
    let part = browser.part("/inbox/0198c5b0-7a52-7c3e-8a44-3f0f3c1f2a10").await;
    assert_eq!((part.status, part.header("hx-retarget")), (StatusCode::NOT_FOUND, "#notice"));
    assert!(!part.has("<!doctype html>") && part.has("role=\"alert\""));
    for path in ["/inbox/4711", "/assets/../Cargo.toml", "/assets/vendor/htmx/LICENSE", "/inbox/%ff"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.has("There is nothing here."), "{path}");
    }
}

#[tokio::test]
async fn roles_open_what_they_are_for() {
    let (_sample, _clock, browser) = filled().await;
    for (name, email, incoming) in [
        ("admin", StatusCode::OK, StatusCode::OK),
        ("manager", StatusCode::FORBIDDEN, StatusCode::OK),
        ("ann", StatusCode::FORBIDDEN, StatusCode::FORBIDDEN),
    ] {
        let mut browser = browser.another().log_on(name).await;
        assert_eq!(browser.get("/settings/email").await.status, email, "{name}");
        assert_eq!(browser.get("/settings/email/check").await.status, email, "{name}");
        assert_eq!(browser.get("/settings/incoming").await.status, incoming, "{name}");
        assert_eq!(
            browser.post("/settings/email", &[("method", "outlook")]).await.status.is_redirection(),
            name == "admin"
        );
    }
}

#[tokio::test]
async fn a_fragment_without_a_session_sends_the_browser_to_the_log_on_page() {
    let (_sample, _clock, mut browser) = filled().await;
    let page = browser.part("/inbox").await;
    assert_eq!((page.status, page.header("hx-redirect")), (StatusCode::UNAUTHORIZED, "/login"));
}

#[tokio::test]
async fn assets_are_revalidated() {
    let (_sample, _clock, mut browser) = filled().await;
    let first = browser.get("/assets/app.js").await;
    assert_eq!(first.header("content-type"), "text/javascript; charset=utf-8");
    let request = axum::http::Request::get("/assets/app.js").header("if-none-match", first.header("etag"));
    let again = browser.ask(request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn nothing_but_our_own_files_is_kept_by_the_browser() {
    let (sample, _clock, browser) = filled().await;
    let mut browser = browser.log_on("ann").await;
    let path = format!("/inbox/{}", crate::mail::message(&sample, "Order 4711").await);
    let pane = browser.get(&path).await.text();
    let file = pane.split("href=\"").find(|part| part.contains("/attachments/")).unwrap();
    let file = file.split('"').next().unwrap().to_owned();
    for path in ["/", "/login", "/nothing", &path, &format!("{path}/body"), &file] {
        assert_eq!(browser.get(path).await.header("cache-control"), "no-store", "{path}");
    }
    assert_ne!(browser.get("/assets/app.css").await.header("cache-control"), "no-store");
}
