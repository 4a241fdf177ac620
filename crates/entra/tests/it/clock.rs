use std::sync::Arc;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use postroom_entra::token::FederatedToken;
use postroom_entra::{TokenClient, TokenCredential, TokenError, TokenRequest};
use postroom_model::failure::Decision;
use postroom_model::{Env, ExposeSecret};
use serde_json::{Value, json};
use url::Url;

use crate::certificate::{certificate, made, parts};
use crate::http;
use crate::stub::{Reply, Seen, Stub};

fn request(authority: &Url, credential: TokenCredential) -> TokenRequest {
    TokenRequest {
        authority: authority.clone(),
        tenant: "contoso.example".into(),
        application: "5a1b2c3d-0000-4000-8000-00000000a001".into(),
        scope: "https://graph.microsoft.com/.default".into(),
        credential,
    }
}

fn with_certificate(authority: &Url) -> TokenRequest {
    let certificate = postroom_entra::CertificateCredential::from_pem(&certificate().to_pem()).unwrap();
    request(authority, TokenCredential::Certificate(Arc::new(certificate)))
}

fn field(body: &str, name: &str) -> String {
    let url = Url::parse(&format!("http://x/?{body}")).unwrap();
    url.query_pairs()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn claims(seen: &Seen) -> Value {
    parts(&field(&seen.body, "client_assertion")).1
}

/// The authority's clock is this far from ours. It refuses an assertion outside its time, as Microsoft does after
/// five minutes of grace.
async fn authority(offset: i64, life: u64) -> (Stub, Env, Arc<postroom_model::env::ManualClock>) {
    let (env, clock) = Env::for_test(1);
    let there = env.clone();
    let stub = Stub::start(move |seen| {
        let now = there.now().saturating_add(SignedDuration::from_secs(offset)).unwrap();
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let claims = claims(seen);
        let (nbf, exp) = (claims["nbf"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        let good = nbf - 300 <= now.as_second() && now.as_second() <= exp;
        let reply = if good {
            json!({"token_type":"Bearer","expires_in":life,"access_token":"t1"})
        } else {
            json!({"error":"invalid_client","error_codes":[700024],"error_description":"AADSTS700024: Client assertion is not within its valid time range."})
        };
        Reply::json(if good { 200 } else { 401 }, &reply).with("date", &date)
    })
    .await;
    (stub, env, clock)
}

#[tokio::test]
async fn a_certificate_signs_each_request_anew() {
    let (stub, env, clock) = authority(0, 3_600).await;
    let client = TokenClient::new(http(), env.clone());
    let request = with_certificate(&stub.url);
    client.token(&request).await.unwrap();
    clock.advance(SignedDuration::from_secs(3_600));
    client.token(&request).await.unwrap();
    let seen = stub.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(field(&seen[0].body, "grant_type"), "client_credentials");
    let kind = field(&seen[0].body, "client_assertion_type");
    assert_eq!(kind, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert!(!seen[0].body.contains("client_secret"));
    let (first, second) = (claims(&seen[0]), claims(&seen[1]));
    assert_eq!(first["aud"], format!("{}contoso.example/oauth2/v2.0/token", stub.url));
    assert_ne!(first["jti"], second["jti"]);
    assert_eq!(second["nbf"].as_i64(), Some(env.now().as_second()));
}

#[tokio::test]
async fn the_authoritys_clock_counts_for_assertions_and_ours_for_tokens() {
    for (offset, corrected, requests) in
        [(20, 0, 1), (120, 120, 1), (-120, -120, 1), (3_600, 3_600, 2), (-86_400, -86_400, 2)]
    {
        let (stub, env, clock) = authority(offset, 3_600).await;
        let client = TokenClient::new(http(), env.clone());
        let request = with_certificate(&stub.url);
        let token = client.token(&request).await.unwrap();
        assert_eq!(stub.seen().len(), requests, "{offset}");
        assert_eq!(token.expires_at(), env.now().saturating_add(SignedDuration::from_secs(3_600)).unwrap());
        clock.advance(SignedDuration::from_secs(3_500));
        client.token(&request).await.unwrap();
        let last = stub.seen().pop().unwrap();
        let (nbf, exp) = (claims(&last)["nbf"].as_i64().unwrap(), claims(&last)["exp"].as_i64().unwrap());
        let difference = nbf - env.now().as_second();
        assert!((difference - corrected).abs() <= 1, "{difference} instead of {corrected}");
        assert_eq!(exp - nbf, 600);
    }
}

#[tokio::test]
async fn certificates_are_kept_apart_in_the_cache() {
    let (stub, env, _clock) = authority(0, 3_600).await;
    let client = TokenClient::new(http(), env);
    client.token(&with_certificate(&stub.url)).await.unwrap();
    client.token(&with_certificate(&stub.url)).await.unwrap();
    assert_eq!(stub.seen().len(), 1, "the same certificate read again is the same");
    let other = request(&stub.url, TokenCredential::Certificate(Arc::new(made("Other"))));
    client.token(&other).await.unwrap();
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn a_federated_token_is_read_anew_each_time() {
    let path = std::env::temp_dir().join(format!("postroom-clock-{}", std::process::id()));
    let answers = Mutex::new(0);
    let stub = Stub::start(move |_| {
        let mut count = answers.lock().unwrap();
        *count += 1;
        match *count {
            1 => Reply::json(200, &json!({"expires_in":600,"access_token":"t1"})),
            _ => Reply::json(
                401,
                &json!({"error":"invalid_client","error_codes":[700213],"error_description":"AADSTS700213: No matching federated identity record found for eyJh.HIDDENTWO.c2ln"}),
            ),
        }
    })
    .await;
    let (env, clock) = Env::for_test(1);
    let client = TokenClient::new(http(), env);
    let request = request(&stub.url, TokenCredential::Federated(FederatedToken::File(path.clone())));
    let error = client.token(&request).await.unwrap_err();
    assert!(matches!(error, TokenError::Credential { .. }));
    assert!(matches!(error.failure("sign in").decision(), Decision::Retry { .. }));
    assert!(error.failure("sign in").words.contains("postroom-clock"));
    assert!(stub.seen().is_empty(), "nothing was asked");
    std::fs::write(&path, "eyJh.HIDDENONE.c2ln\n").unwrap();
    client.token(&request).await.unwrap();
    std::fs::write(&path, "eyJh.HIDDENTWO.c2ln\n").unwrap();
    clock.advance(SignedDuration::from_secs(700));
    let error = client.token(&request).await.unwrap_err();
    std::fs::remove_file(&path).unwrap();
    let sent: Vec<String> = stub.seen().iter().map(|seen| field(&seen.body, "client_assertion")).collect();
    assert_eq!(sent, ["eyJh.HIDDENONE.c2ln", "eyJh.HIDDENTWO.c2ln"]);
    assert_eq!(error.aadsts(), Some(700_213));
    let shown = format!("{error} {error:?} {} {request:?}", error.failure("sign in"));
    assert!(!shown.contains("HIDDEN"), "{shown}");
}

#[tokio::test]
async fn nothing_of_a_certificate_is_shown() {
    let echo = Stub::start(|seen| {
        let assertion = field(&seen.body, "client_assertion");
        Reply::json(
            401,
            &json!({"error": assertion, "error_description": format!("AADSTS700027: {assertion}")}),
        )
    })
    .await;
    let (env, _clock) = Env::for_test(1);
    let client = TokenClient::new(http(), env);
    let request = with_certificate(&echo.url);
    let error = client.token(&request).await.unwrap_err();
    let pem = certificate().to_pem();
    let proof = certificate().proof("o", Timestamp::UNIX_EPOCH).unwrap();
    let shown = format!(
        "{error} {error:?} {error:#?} {} {request:?} {request:#?} {:?} {:?} {pem:?} {proof:?} {client:?}",
        error.failure("sign in"),
        certificate(),
        certificate().public(),
    );
    let assertion = field(&echo.seen()[0].body, "client_assertion");
    let mut secrets: Vec<&str> = vec![&assertion, assertion.rsplit('.').next().unwrap()];
    secrets.extend(pem.expose_secret().lines().filter(|line| line.len() == 64));
    for secret in secrets {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains(&certificate().thumbprint_sha1_hex()));
}
