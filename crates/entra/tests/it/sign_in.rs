use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use postroom_entra::sign_in::{DeviceCode, Poll};
use postroom_entra::{SignIn, SignInError, SignInRequest, SignedIn};
use postroom_model::connection::{Cloud, Endpoints};
use postroom_model::{Env, SecretString};
use serde_json::{Value, json};
use url::Url;

use crate::http;
use crate::stub::{Reply, Stub};

fn request(authority: &Url) -> SignInRequest {
    let endpoints = Endpoints { authority: authority.clone(), graph: authority.clone(), exchange: None };
    SignInRequest::for_setup(&Cloud::Custom(endpoints), "contoso.example")
}

fn code() -> Value {
    json!({"device_code":"GAB-HIDDENDEVICE","user_code":"F7KQ9XPLR","verification_uri":"https://microsoft.com/devicelogin",
        "expires_in":900,"interval":5,"message":"To sign in, use a web browser ..."})
}

fn waiting(word: &str) -> Reply {
    Reply::json(400, &json!({"error":word,"error_codes":[70016],"error_description":"AADSTS70016: pending"}))
}

fn granted(more: &Value) -> Reply {
    let mut body = json!({"token_type":"Bearer","expires_in":3600,"access_token":"HIDDENACCESS","refresh_token":"HIDDENREFRESH"});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    Reply::json(200, &body)
}

/// Device code first, then `replies` in turn, the last again and again.
async fn scripted(replies: Vec<Reply>) -> Stub {
    let next = AtomicUsize::new(0);
    Stub::start(move |seen| {
        if seen.target.ends_with("/devicecode") {
            return Reply::json(200, &code());
        }
        replies[next.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1)].clone()
    })
    .await
}

fn fields(body: &str) -> Vec<(String, String)> {
    Url::parse(&format!("http://x/?{body}")).unwrap().query_pairs().into_owned().collect()
}

fn field(body: &str, name: &str) -> String {
    fields(body).into_iter().find(|(known, _)| known == name).map_or(String::new(), |(_, value)| value)
}

/// Signs in; polls by hand, so that no time passes.
async fn polled(sign_in: &SignIn, code: &mut DeviceCode) -> (Vec<u64>, Result<Box<SignedIn>, SignInError>) {
    let mut pauses = Vec::new();
    for _ in 0..20 {
        match sign_in.poll(code).await {
            Ok(Poll::Pending(pause)) => pauses.push(pause.as_secs()),
            Ok(Poll::Done(done)) => return (pauses, Ok(done)),
            Err(error) => return (pauses, Err(error)),
        }
    }
    panic!("never done: {pauses:?}");
}

#[tokio::test]
async fn the_interval_is_kept_and_slow_down_makes_it_longer() {
    let replies = vec![
        waiting("authorization_pending"),
        waiting("slow_down"),
        Reply::empty(429).with("retry-after", "30"),
        Reply::Cut,
        Reply::text(503, "busy"),
        waiting("authorization_pending"),
        granted(&json!({})),
    ];
    let stub = scripted(replies).await;
    let (env, _clock) = Env::for_test(1);
    let sign_in = SignIn::new(http(), env.clone());
    let mut code = sign_in.start(&request(&stub.url)).await.unwrap();
    assert_eq!((code.user_code.as_str(), code.interval), ("F7KQ9XPLR", Duration::from_secs(5)));
    assert_eq!(code.expires_at, env.now().saturating_add(SignedDuration::from_secs(900)).unwrap());
    let (pauses, done) = polled(&sign_in, &mut code).await;
    assert_eq!(pauses, [5, 10, 30, 10, 10, 10]);
    assert_eq!(done.unwrap().token().expose(), "HIDDENACCESS");
    let seen = stub.seen();
    assert_eq!(seen[0].line(), "POST /contoso.example/oauth2/v2.0/devicecode");
    assert!(field(&seen[0].body, "scope").contains("https://graph.microsoft.com/Application.ReadWrite.All"));
    assert!(field(&seen[0].body, "scope").ends_with("offline_access"));
    assert_eq!(field(&seen[1].body, "grant_type"), "urn:ietf:params:oauth:grant-type:device_code");
    assert_eq!(field(&seen[1].body, "device_code"), "GAB-HIDDENDEVICE");
    assert_eq!(field(&seen[1].body, "client_id"), "14d82eec-204b-4c2f-b7e8-296a70dab67e");
}

#[tokio::test]
async fn declined_expired_and_refused_end_it() {
    for (word, name) in [
        ("authorization_declined", "Declined"),
        ("access_denied", "Declined"),
        ("expired_token", "Expired"),
        ("bad_verification_code", "Token"),
        ("invalid_client", "Token"),
    ] {
        let stub = scripted(vec![waiting(word)]).await;
        let (env, _clock) = Env::for_test(1);
        let sign_in = SignIn::new(http(), env);
        let mut code = sign_in.start(&request(&stub.url)).await.unwrap();
        let error = sign_in.poll(&mut code).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(name), "{error:?}");
        assert!(!error.hint().is_empty() && error.to_string().contains("contoso.example"));
        assert!(!format!("{error:?} {code:?} {sign_in:?}").contains("HIDDEN"));
    }
    // By our clock, without another question.
    let stub = scripted(vec![waiting("authorization_pending")]).await;
    let (env, clock) = Env::for_test(1);
    let sign_in = SignIn::new(http(), env);
    let mut code = sign_in.start(&request(&stub.url)).await.unwrap();
    clock.advance(SignedDuration::from_secs(900));
    let error = sign_in.poll(&mut code).await.unwrap_err();
    assert!(matches!(error, SignInError::Expired { .. }));
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn waiting_pauses_before_each_question_and_ends_with_the_code() {
    let stub = scripted(vec![waiting("authorization_pending"), granted(&json!({}))]).await;
    let (env, _clock) = Env::for_test(1);
    let sign_in = SignIn::new(http(), env);
    let mut code = sign_in.start(&request(&stub.url)).await.unwrap();
    code.interval = Duration::from_millis(20);
    let begun = std::time::Instant::now();
    sign_in.wait(&mut code).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(40));
    assert_eq!(stub.seen().len(), 3);

    let stub = scripted(vec![waiting("authorization_pending")]).await;
    let (env, _clock) = Env::for_test(1);
    let sign_in = SignIn::new(http(), env.clone());
    let mut code = sign_in.start(&request(&stub.url)).await.unwrap();
    code.interval = Duration::from_millis(20);
    code.expires_at = env.now().saturating_add(SignedDuration::from_millis(200)).unwrap();
    let error = sign_in.wait(&mut code).await.unwrap_err();
    assert!(matches!(error, SignInError::Expired { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_device_code_is_told() {
    for reply in
        [Reply::text(200, "<html>"), Reply::text(500, ""), Reply::json(200, &json!({"user_code":"x"}))]
    {
        let stub = Stub::start(move |_| reply.clone()).await;
        let (env, _clock) = Env::for_test(1);
        let error = SignIn::new(http(), env).start(&request(&stub.url)).await.unwrap_err();
        assert!(matches!(error, SignInError::Token(_)), "{error:?}");
    }
}

fn id_token(nonce: &str) -> Value {
    let claims = URL_SAFE_NO_PAD.encode(json!({ "nonce": nonce }).to_string());
    json!({ "id_token": format!("e30.{claims}.c2ln") })
}

#[tokio::test]
async fn a_browser_brings_a_code_that_fits_or_none() {
    let back = Url::parse("http://localhost:8400").unwrap();
    let nonce = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let told = nonce.clone();
    let stub = Stub::start(move |_| granted(&id_token(&told.lock().unwrap()))).await;
    let (env, _clock) = Env::for_test(1);
    let sign_in = SignIn::new(http(), env);
    for fits in [true, false] {
        let begun = sign_in.browser(&request(&stub.url), &back).unwrap();
        let query = begun.url().query().unwrap().to_owned();
        assert_eq!(begun.url().path(), "/contoso.example/oauth2/v2.0/authorize");
        for (name, value) in [
            ("response_type", "code"),
            ("redirect_uri", "http://localhost:8400"),
            ("response_mode", "query"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(field(&query, name), value);
        }
        let (state, challenge) = (field(&query, "state"), field(&query, "code_challenge"));
        assert_eq!(challenge.len(), 43);
        assert!(!format!("{begun:?}").contains(&state));
        *nonce.lock().unwrap() = if fits { field(&query, "nonce") } else { "other".into() };
        let code = SecretString::from("HIDDENCODE");
        let answer = sign_in.redeem(begun, &code, &state).await;
        let sent = stub.seen().pop().unwrap().body;
        let verifier = field(&sent, "code_verifier");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        assert_eq!(URL_SAFE_NO_PAD.encode(digest), challenge);
        assert_eq!(field(&sent, "redirect_uri"), "http://localhost:8400");
        match answer {
            Ok(signed_in) => assert!(fits && !format!("{signed_in:?}").contains("HIDDEN")),
            Err(error) => assert!(!fits && matches!(error, SignInError::Foreign { what: "nonce", .. })),
        }
    }
    let asked = stub.seen().len();
    let begun = sign_in.browser(&request(&stub.url), &back).unwrap();
    let error = sign_in.redeem(begun, &SecretString::from("HIDDENCODE"), "other").await.unwrap_err();
    assert!(matches!(error, SignInError::Foreign { what: "state", .. }));
    assert_eq!(stub.seen().len(), asked, "a code of another question is never sent");
}

#[tokio::test]
async fn a_sign_in_is_renewed_with_its_refresh_token() {
    let second = granted(&json!({"access_token":"HIDDENSECOND","refresh_token":"HIDDENNEXT"}));
    let refused = Reply::json(
        400,
        &json!({"error":"invalid_grant","error_codes":[700082],"error_description":"AADSTS700082: HIDDENNEXT"}),
    );
    let stub = scripted(vec![granted(&json!({})), second, refused]).await;
    let (env, clock) = Env::for_test(1);
    let sign_in = SignIn::new(http(), env);
    let mut code = sign_in.start(&request(&stub.url)).await.unwrap();
    let (_, done) = polled(&sign_in, &mut code).await;
    let mut signed_in = *done.unwrap();
    assert_eq!(sign_in.token(&mut signed_in).await.unwrap().expose(), "HIDDENACCESS");
    clock.advance(SignedDuration::from_secs(3_400));
    assert_eq!(sign_in.token(&mut signed_in).await.unwrap().expose(), "HIDDENSECOND");
    assert_eq!(field(&stub.seen()[2].body, "refresh_token"), "HIDDENREFRESH");
    clock.advance(SignedDuration::from_secs(3_400));
    assert_eq!(sign_in.token(&mut signed_in).await.unwrap().expose(), "HIDDENSECOND", "it still works");
    assert_eq!(field(&stub.seen()[3].body, "refresh_token"), "HIDDENNEXT");
    clock.advance(SignedDuration::from_secs(300));
    let error = sign_in.token(&mut signed_in).await.unwrap_err();
    assert!(error.hint().contains("Sign in again"), "{}", error.hint());
    assert!(!format!("{error} {error:?} {signed_in:?} {}", error.failure("set up")).contains("HIDDEN"));
}
