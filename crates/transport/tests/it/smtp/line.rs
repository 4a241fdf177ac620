//! TLS and signing in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroom_model::connection::{AuthenticationFlow, Cloud, Endpoints, TlsMode};
use postroom_model::failure::Decision;
use postroom_transport::{SendOutcome, Wire};
use serde_json::json;

use super::fake::{Act, Fake, KEYWORDS};
use super::{mail, not_sent, plain, send, sent, signed_in, trusting};
use crate::certificate::certificate;
use crate::stub::{Reply, Stub};
use crate::{FROM, SECRET, job, wire};

const PASSWORD: &str = "pass~word for tests";

fn starttls() -> String {
    format!("STARTTLS\n{KEYWORDS}")
}

#[tokio::test]
async fn under_starttls_the_password_and_the_mail_cross_only_after_tls() {
    let certificate = certificate(&["127.0.0.1"]);
    let fake = Fake::start(&starttls(), Some(&certificate), |_, _| Act::Usual).await;
    let settings = signed_in(fake.port, TlsMode::Starttls);
    sent(send(&trusting(&certificate), &settings, Some(PASSWORD), &job(None)).await);
    let session = fake.sessions().remove(0);
    assert!(session.tls);
    let said = STANDARD.encode(format!("\0desk\0{PASSWORD}"));
    assert_eq!(
        session.lines[..4],
        [
            "EHLO [127.0.0.1]".to_owned(),
            "STARTTLS".into(),
            "EHLO [127.0.0.1]".into(),
            format!("AUTH PLAIN {said}"),
        ]
    );
}

#[tokio::test]
async fn a_line_that_cannot_be_protected_carries_no_secret_and_no_mail() {
    let good = certificate(&["127.0.0.1"]);
    let other = certificate(&["mail.fabrikam.example"]);
    let with = starttls();
    for (mode, keywords, certificate, act, words) in [
        (TlsMode::Starttls, KEYWORDS, &good, Act::Usual, "does not offer it on this port"),
        (
            TlsMode::Starttls,
            with.as_str(),
            &good,
            Act::Say("454 4.7.0 TLS not available\r\n"),
            "TLS not available",
        ),
        (
            TlsMode::StarttlsIfOffered,
            with.as_str(),
            &good,
            Act::Say("454 4.7.0 TLS not available\r\n"),
            "TLS not available",
        ),
        (TlsMode::Starttls, with.as_str(), &good, Act::Say("220 go\r\n250 injected\r\n"), "injected"),
        (TlsMode::Starttls, with.as_str(), &other, Act::Usual, "TLS"),
        (TlsMode::StarttlsIfOffered, with.as_str(), &other, Act::Usual, "TLS"),
    ] {
        let fake = Fake::start(keywords, Some(certificate), move |_, line| {
            if line == "STARTTLS" { act.clone() } else { Act::Usual }
        })
        .await;
        let wire = trusting(certificate);
        let mut settings = signed_in(fake.port, mode);
        let mut password = Some(PASSWORD);
        if mode == TlsMode::StarttlsIfOffered {
            // With a password these settings are refused before anything is asked.
            assert!(wire.sender_for(&settings, password.map(|text| text.to_owned().into())).is_err());
            (settings.user_name, password) = (String::new(), None);
        }
        let failure = not_sent(send(&wire, &settings, password, &job(None)).await);
        assert!(failure.words.contains(words), "{mode:?}: {failure}");
        let lines = fake.sessions().remove(0).lines;
        assert!(!lines.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{lines:?}");
    }
}

#[tokio::test]
async fn a_relay_without_a_password_is_used_with_tls_where_it_is_offered() {
    let certificate = certificate(&["127.0.0.1"]);
    for (keywords, tls) in [(starttls(), true), (KEYWORDS.to_owned(), false)] {
        let fake = Fake::start(&keywords, Some(&certificate), |_, _| Act::Usual).await;
        let mut settings = plain(fake.port);
        settings.tls = TlsMode::StarttlsIfOffered;
        sent(send(&trusting(&certificate), &settings, None, &job(None)).await);
        let session = fake.sessions().remove(0);
        assert_eq!(session.tls, tls);
        assert!(!session.lines.iter().any(|line| line.starts_with("AUTH")));
    }
}

#[tokio::test]
async fn passwords_go_by_plain_or_by_login_and_never_another_way() {
    let fake = Fake::start("AUTH=LOGIN DIGEST-MD5", None, |_, line| match line {
        line if line == STANDARD.encode("desk") => Act::Say("334 UGFzc3dvcmQ6\r\n"),
        line if line == STANDARD.encode(PASSWORD) => Act::Say("235 2.7.0 welcome\r\n"),
        _ => Act::Usual,
    })
    .await;
    sent(send(&wire(), &signed_in(fake.port, TlsMode::Plain), Some(PASSWORD), &job(None)).await);
    for (keywords, words) in [
        ("AUTH GSSAPI NTLM", "127.0.0.1 offers AUTH GSSAPI NTLM; PLAIN or LOGIN is needed"),
        ("SIZE", "127.0.0.1 offers no AUTH at all; PLAIN or LOGIN is needed"),
    ] {
        let fake = Fake::start(keywords, None, |_, _| Act::Usual).await;
        let failure =
            not_sent(send(&wire(), &signed_in(fake.port, TlsMode::Plain), Some(PASSWORD), &job(None)).await);
        assert_eq!((failure.words.as_str(), failure.decision()), (words, Decision::Hold));
    }
}

#[tokio::test]
async fn a_server_that_repeats_the_password_does_not_bring_it_into_a_failure() {
    let said: &'static str = Box::leak(
        format!(
            "535 5.7.8 no: AUTH PLAIN {} ({PASSWORD}) ?\r\n",
            STANDARD.encode(format!("\0desk\0{PASSWORD}"))
        )
        .into_boxed_str(),
    );
    let fake =
        Fake::start(
            KEYWORDS,
            None,
            move |_, line| if line.starts_with("AUTH") { Act::Say(said) } else { Act::Usual },
        )
        .await;
    let failure =
        not_sent(send(&wire(), &signed_in(fake.port, TlsMode::Plain), Some(PASSWORD), &job(None)).await);
    assert_eq!((failure.words.as_str(), failure.status), ("no: AUTH PLAIN (hidden) ((hidden)) ?", Some(535)));
    assert!(failure.advice.unwrap().contains("SMTP.SendAsApp"));
}

/// Settings that sign in with a token of this authority.
fn with_token(port: u16, authority: &Stub) -> postroom_model::connection::ConnectionSettings {
    let mut settings = plain(port);
    settings.flow = AuthenticationFlow::ClientSecret;
    settings.tenant_id = "contoso.example".into();
    settings.application_id = "5a1b2c3d-0000-4000-8000-00000000a001".into();
    let base = authority.url.clone();
    settings.cloud =
        Cloud::Custom(Endpoints { authority: base.clone(), graph: base.clone(), exchange: Some(base) });
    settings
}

/// An authority that numbers its tokens, which are as long as real ones.
async fn authority() -> Stub {
    let count = Arc::new(AtomicUsize::new(0));
    Stub::start(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let token = format!("T{number}.{}", "x".repeat(1_500));
        Reply::json(200, &json!({"expires_in":3600,"access_token":token}))
    })
    .await
}

async fn send_with_token(wire: &Wire, fake: &Fake, authority: &Stub) -> SendOutcome {
    send(wire, &with_token(fake.port, authority), Some(SECRET), &mail("a\r\n", &["ann@fabrikam.example"]))
        .await
}

#[tokio::test]
async fn a_token_opens_the_mailbox_of_the_sender_and_a_refused_one_is_replaced_once() {
    let authority = authority().await;
    let decode =
        |line: &str| String::from_utf8_lossy(&STANDARD.decode(line).unwrap_or_default()).into_owned();
    let fake = Fake::start(KEYWORDS, None, move |_, line| match decode(line) {
        _ if line.starts_with("AUTH") => Act::Say("334 \r\n"),
        said if said.contains("Bearer T1") => Act::Say("334 eyJzdGF0dXMiOiI0MDEifQ==\r\n"),
        said if said.contains("Bearer T2") => Act::Say("235 2.7.0 Authentication successful\r\n"),
        _ if line.is_empty() => Act::Say("535 5.7.3 Authentication unsuccessful [AM0PR]\r\n"),
        _ => Act::Usual,
    })
    .await;
    let wire = wire();
    for _ in 0..2 {
        sent(send_with_token(&wire, &fake, &authority).await);
    }
    let sessions = fake.sessions();
    assert_eq!(sessions.iter().map(|session| session.contents.len()).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(sessions[1].lines[1], "AUTH XOAUTH2");
    let said = decode(&sessions[1].lines[2]);
    assert!(said.starts_with(&format!("user={FROM}\u{1}auth=Bearer T2.")) && said.ends_with("\u{1}\u{1}"));
}

#[tokio::test]
async fn the_challenge_of_a_refused_token_is_kept_and_the_token_is_not() {
    let authority = authority().await;
    let fake = Fake::start(KEYWORDS, None, |_, line| match line {
        "AUTH XOAUTH2" => Act::Say("334 \r\n"),
        "" => Act::Say("535 5.7.3 Authentication unsuccessful [AM0PR]\r\n"),
        line if line.len() > 1_000 => Act::Say("334 eyJzdGF0dXMiOiI0MDEifQ==\r\n"),
        _ => Act::Usual,
    })
    .await;
    let failure = not_sent(send_with_token(&wire(), &fake, &authority).await);
    assert_eq!(failure.words, "Authentication unsuccessful [AM0PR] {\"status\":\"401\"}");
    assert_eq!((failure.decision(), failure.code.as_deref()), (Decision::Hold, Some("5.7.3")));
    assert!(!format!("{failure:?}").contains("xxxx"));
    assert_eq!(fake.sessions().len(), 2);
}

#[tokio::test]
async fn another_password_never_gets_a_kept_connection() {
    let fake = Fake::start(KEYWORDS, None, |_, _| Act::Usual).await;
    let (wire, settings) = (wire(), signed_in(fake.port, TlsMode::Plain));
    for password in [PASSWORD, PASSWORD, "another"] {
        sent(send(&wire, &settings, Some(password), &job(None)).await);
    }
    let sessions = fake.sessions();
    assert_eq!(sessions.iter().map(|session| session.contents.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(sessions[0].lines.last().unwrap(), "QUIT");
}
