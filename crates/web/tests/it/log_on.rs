//! Log-on, log-off, wrong passwords, sessions.

use axum::http::StatusCode;
use postroom_model::event::Subject;
use postroom_store::EventFilter;

use crate::browser::{empty, filled};
use crate::sample::PASSWORD;

#[tokio::test]
async fn log_on_leads_back_to_the_page_that_was_asked_for_and_log_off_ends_the_session() {
    let (sample, mut browser) = empty().await;
    let page = browser.get("/inbox?search=a").await;
    assert_eq!(
        (page.status, page.header("location")),
        (StatusCode::SEE_OTHER, "/login?next=%2Finbox%3Fsearch%3Da")
    );
    let page = browser.get("/login?next=%2Finbox%3Fsearch%3Da").await;
    assert!(
        page.has("value=\"/inbox?search=a\"") || page.has("value=\"&#x2f;inbox?search=a\""),
        "{}",
        page.text()
    );
    let fields = [("name", " Ann "), ("password", PASSWORD), ("next", "/inbox?search=a")];
    let page = browser.post("/login", &fields).await;
    assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/inbox?search=a"));
    let cookie = page.header("set-cookie").to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Max-Age=43200"),
        "{cookie}"
    );
    assert_eq!(browser.get("/inbox").await.status, StatusCode::OK);

    let kept = browser.cookie().map(str::to_owned);
    let page = browser.post("/logout", &[]).await;
    assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/login"));
    browser.set_cookie(kept);
    assert_eq!(browser.get("/inbox").await.status, StatusCode::SEE_OTHER, "the old cookie is worth nothing");
    let filter = EventFilter { subject: Some(Subject::User(sample.ann)), after: 0 };
    let events = sample.store.events(&filter, 10).await.unwrap();
    assert!(events.iter().any(|stored| stored.event.kind.as_str() == "user.signed-in"));
}

#[tokio::test]
async fn with_https_the_cookie_is_bound_to_the_host() {
    let (mut sample, _) = empty().await;
    sample.state.secure_cookies = true;
    let mut browser = crate::browser::Browser::of(&sample);
    let page = browser.post("/login", &[("name", "ann"), ("password", PASSWORD)]).await;
    let cookie = page.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-postroom=") && cookie.ends_with("; Secure") && cookie.contains("Path=/;"),
        "{cookie}"
    );
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_the_same_answer() {
    let (_sample, mut browser) = empty().await;
    let wrong = browser.post("/login", &[("name", "ann"), ("password", "wrong")]).await;
    let unknown = browser.post("/login", &[("name", "bob"), ("password", "wrong")]).await;
    assert_eq!((wrong.status, unknown.status), (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED));
    assert_eq!(wrong.text().replace("ann", "x"), unknown.text().replace("bob", "x"));
    assert!(!wrong.headers.contains_key("set-cookie"));
    assert!(!wrong.has("value=\"wrong\""), "a password is not shown again");
}

#[tokio::test]
async fn five_wrong_passwords_make_the_name_wait_and_no_other() {
    let (_sample, clock, mut browser) = filled().await;
    for _ in 0..5 {
        let page = browser.post("/login", &[("name", "ann"), ("password", "wrong")]).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    }
    let page = browser.post("/login", &[("name", "Ann"), ("password", PASSWORD)]).await;
    assert_eq!((page.status, page.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    browser.another().log_on("manager").await;
    clock.advance(std::time::Duration::from_secs(1).try_into().unwrap());
    browser.log_on("ann").await;
}

#[tokio::test]
async fn a_session_ends_after_twelve_hours_whatever_happens() {
    let (_sample, clock, browser) = filled().await;
    let mut browser = browser.log_on("ann").await;
    clock.advance(std::time::Duration::from_secs(12 * 3600 - 1).try_into().unwrap());
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    clock.advance(std::time::Duration::from_secs(1).try_into().unwrap());
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_new_log_on_is_a_new_session_and_ends_the_one_before() {
    let (_sample, browser) = empty().await;
    let browser = browser.log_on("ann").await;
    let first = browser.cookie().map(str::to_owned);
    let mut browser = browser.log_on("ann").await;
    assert_ne!(first.as_deref(), browser.cookie());
    browser.set_cookie(first);
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_stranger_elsewhere_locks_nobody_out() {
    let (_sample, _clock, mut stranger) = filled().await;
    let mut owner = stranger.another();
    owner.come_from("198.51.100.1:50000");
    stranger.come_from("203.0.113.7:40000");
    for _ in 0..5 {
        let page = stranger.post("/login", &[("name", "admin"), ("password", "wrong")]).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    }
    stranger.come_from("203.0.113.7:40001");
    let page = stranger.post("/login", &[("name", "admin"), ("password", PASSWORD)]).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    owner.log_on("admin").await;
}
