//! The IMAP source against servers that cut, stall, lie and worse.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::SignedDuration;
use postroom_model::connection::{
    AuthenticationFlow, Cloud, ConnectionKind, ConnectionSettings, Endpoints, TlsMode,
};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_transport::imap::{ImapSource, Limits};
use postroom_transport::{Account, Changes, Source, Wire};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::script::{End, FIRST, Heard, SECOND, Script, good, session};
use crate::stub::{Reply, Stub};
use crate::{FROM, address, wire};

pub(crate) const LIMIT: u64 = 1_000_000;
pub(crate) const PASSWORD: &str = "invented-pass";

pub(crate) fn settings(port: u16, tls: TlsMode) -> ConnectionSettings {
    let mut settings = ConnectionSettings::new(ConnectionKind::Imap);
    settings.server = "127.0.0.1".into();
    settings.port = port;
    settings.tls = tls;
    settings
}

/// Reads the machine's root certificates once.
pub(crate) static WIRE: LazyLock<Wire> = LazyLock::new(wire);

fn source(port: u16, tls: TlsMode) -> ImapSource {
    let secret = Some(PASSWORD.to_owned().into());
    ImapSource::new(&WIRE, &settings(port, tls), secret, &Account::of(address(FROM))).unwrap()
}

pub(crate) fn plain(script: &Script) -> ImapSource {
    source(script.port, TlsMode::Plain)
}

/// Tells and fetches everything.
async fn read(source: &ImapSource) -> Result<(Changes, Vec<String>), Failure> {
    let page = source.changes(None).await?;
    let mut texts = Vec::new();
    for message in &page.messages {
        let mut raw = Vec::new();
        source.fetch(&message.provider_id, LIMIT, &mut raw).await?;
        texts.push(String::from_utf8(raw).unwrap());
    }
    Ok((page, texts))
}

#[tokio::test]
async fn a_cut_or_a_stall_after_any_line_is_a_named_failure_or_nothing_is_missing() {
    let quick = Limits { silence: Duration::from_millis(80), ..Limits::default() };
    let mut whole = 0;
    for lines in 0..60 {
        for end in [End::Cut, End::Stall] {
            let script = Script::start(Some((lines, end)), |_, command| good(command)).await;
            match read(&plain(&script).limits(quick)).await {
                Ok((page, texts)) => {
                    assert_eq!(
                        (texts, page.cursor.as_str()),
                        (vec![FIRST.into(), SECOND.into()], "imap/7/0/2/0")
                    );
                    whole += 1;
                }
                Err(failure) => {
                    assert_eq!(failure.operation, format!("read {FROM}"));
                    let words = [
                        "closed the connection",
                        "no answer within 80ms",
                        "reset",
                        "pipe",
                        "bytes remaining",
                    ];
                    assert!(words.iter().any(|known| failure.words.contains(known)), "{lines} {failure}");
                    assert_eq!(failure.decision(), Decision::Retry { after: None });
                }
            }
            assert!(script.heard.sessions() <= 2);
        }
    }
    assert!((20..100).contains(&whole), "{whole} of 120 were whole");
}

#[tokio::test]
async fn a_session_that_was_cut_between_two_commands_is_opened_again() {
    for farewell in ["", "* BYE Session invalidated - AccessTokenExpired\r\n", "* BYE idle too long\r\n"] {
        let script = Script::start(None, move |number, command| match command {
            "EXAMINE \"INBOX\"" | "UID FETCH 1:2 (UID BODY.PEEK[])"
                if number == 1 && command.starts_with("UID") =>
            {
                farewell.to_owned()
            }
            command => good(command),
        })
        .await;
        let (_, texts) = read(&plain(&script)).await.unwrap();
        assert_eq!(texts, [FIRST, SECOND]);
        assert_eq!(script.heard.sessions(), 2);
    }
}

/// Asks a server that lies in one place.
async fn refused(command: &'static str, lie: impl Into<String>) -> Failure {
    let lie = lie.into();
    let script =
        Script::start(None, move |_, said| if said == command { lie.clone() } else { good(said) }).await;
    read(&plain(&script)).await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_sends_what_it_must_not_is_cut_off_by_name() {
    const LIST: &str = "UID FETCH 1:* (UID)";
    const BODIES: &str = "UID FETCH 1:2 (UID BODY.PEEK[])";
    let bomb = format!("* 1 FETCH (BODYSTRUCTURE {}\r\n", "(".repeat(100_000));
    let table: [(&'static str, String, &str); 11] = [
        ("", "HTTP/1.1 400 Bad Request\r\n\r\n".into(), "HTTP/1.1 400"),
        ("", "* PREAUTH hello root\r\n".into(), "unasked: PREAUTH hello root"),
        ("", "* OK [ALERT]é\r\n".into(), "gave up on"),
        ("CAPABILITY", "p77 OK done\r\n".into(), "an answer to p77, asked was p1"),
        ("EXAMINE \"INBOX\"", "* 2 EXISTS\r\n{tag} OK open\r\n".into(), "no UIDVALIDITY"),
        (LIST, "* 1 FETCH (UID 1 BODY[] {4000000000}\r\n".into(), "a literal of 4000000000 bytes"),
        (LIST, "x".repeat(3_000_000), "a line is longer"),
        (LIST, bomb, "64 brackets"),
        (LIST, "+ more?\r\n".into(), "a question where none belongs"),
        (BODIES, format!("* 1 FETCH (UID 1 BODY[] {{5}}\r\n{FIRST})\r\n"), "not expected of IMAP"),
        (BODIES, "* 1 FETCH (UID 1 BODY[] \"unended\r\n".into(), "not expected of IMAP"),
    ];
    for (command, lie, words) in table {
        let failure = refused(command, lie).await;
        assert!(failure.words.contains(words), "{command}: {failure}");
        assert!(failure.words.len() < 500 && failure.origin == Origin::Provider);
    }
}

#[tokio::test]
async fn refusals_keep_the_servers_words_and_say_what_to_do() {
    let failure = refused("", "* BYE [UNAVAILABLE] Too many sessions\r\n").await;
    assert_eq!(
        (failure.words.as_str(), failure.code.as_deref()),
        ("BYE [UNAVAILABLE] Too many sessions", Some("UNAVAILABLE"))
    );
    let failure =
        refused("EXAMINE \"INBOX\"", "{tag} BAD User is authenticated but not connected.\r\n").await;
    assert_eq!(
        (failure.words.as_str(), failure.decision()),
        ("BAD User is authenticated but not connected.", Decision::Hold)
    );
    let throttled = "{tag} BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds\r\n";
    let after = Some(SignedDuration::from_millis(92_415));
    assert_eq!(refused("UID FETCH 1:* (UID)", throttled).await.decision(), Decision::Retry { after });
}

#[tokio::test]
async fn lies_about_numbers_and_sizes_lose_and_change_nothing() {
    // Five messages are promised and none is there: the cursor stays where it was.
    let script = Script::start(None, |_, command| match command {
        "UID FETCH 1:* (UID)" => "* 9 FETCH (FLAGS ())\r\n{tag} OK done\r\n".into(),
        command => good(command),
    })
    .await;
    let (page, _) = read(&plain(&script)).await.unwrap();
    assert_eq!((page.messages.len(), page.cursor.as_str()), (0, "imap/7/0/0/0"));

    // What is said of other messages is not listened to, a wrong size does no harm, and a message that is only left
    // out of an answer is told all the same.
    let script = Script::start(None, |_, command| match command {
        "UID FETCH 1:2 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]<0.2000>)" => {
            "* 7 FETCH (UID 77 RFC822.SIZE 1)\r\n* 1 FETCH (UID 1 RFC822.SIZE 3)\r\n{tag} OK done\r\n".into()
        }
        "UID FETCH 2 (UID)" => "* 2 FETCH (UID 2)\r\n{tag} OK done\r\n".into(),
        command => good(command),
    })
    .await;
    let (page, texts) = read(&plain(&script)).await.unwrap();
    assert_eq!((page.messages.len(), texts), (2, vec![FIRST.to_owned(), SECOND.to_owned()]));

    // A server that does not understand what is asked about headers is asked less.
    let script = Script::start(None, |_, command| match command {
        command if command.contains("<0.2000>") => "{tag} BAD parse error\r\n".into(),
        "UID FETCH 1:2 (UID FLAGS INTERNALDATE RFC822.SIZE)" => {
            "* 1 FETCH (UID 1 RFC822.SIZE 3)\r\n* 2 FETCH (UID 2 RFC822.SIZE 3)\r\n{tag} OK done\r\n".into()
        }
        command => good(command),
    })
    .await;
    let (page, texts) = read(&plain(&script)).await.unwrap();
    assert_eq!((page.messages[0].message_id.as_ref(), texts.len()), (None, 2));

    // One unreadable message does not take the others with it.
    let script = Script::start(None, |_, command| match command {
        "UID FETCH 1:2 (UID BODY.PEEK[])" => {
            format!(
                "* 2 FETCH (UID 2 BODY[] {{{}}}\r\n{SECOND})\r\n{{tag}} NO [SERVERBUG] broken\r\n",
                SECOND.len()
            )
        }
        "UID FETCH 1 (UID BODY.PEEK[]<0.1048576>)" => "{tag} NO [SERVERBUG] broken\r\n".into(),
        command => good(command),
    })
    .await;
    let source = plain(&script);
    source.changes(None).await.unwrap();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let failure = source.fetch("7:1", LIMIT, &mut first).await.unwrap_err();
    assert_eq!(failure.code.as_deref(), Some("SERVERBUG"));
    source.fetch("7:2", LIMIT, &mut second).await.unwrap();
    assert_eq!((first.len(), second.as_slice()), (0, SECOND.as_bytes()));

    // Asked for in another order, what was brought once is not brought again.
    let script = Script::start(None, |_, command| good(command)).await;
    let source = plain(&script);
    source.changes(None).await.unwrap();
    for (id, text) in [("7:2", SECOND), ("7:1", FIRST)] {
        let mut raw = Vec::new();
        source.fetch(id, LIMIT, &mut raw).await.unwrap();
        assert_eq!(raw, text.as_bytes());
    }
    assert_eq!(script.heard.lines().iter().filter(|line| line.contains("BODY.PEEK[])")).count(), 1);

    // A UIDNEXT that the folder itself belies is not believed.
    let script = Script::start(None, |_, command| match command {
        "EXAMINE \"INBOX\"" => {
            "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] here\r\n* OK [UIDNEXT 1] here\r\n{tag} OK open\r\n".into()
        }
        command => good(command),
    })
    .await;
    let page = plain(&script).changes(Some("imap/7/0/2/0")).await.unwrap();
    assert!(!page.resync && page.messages.is_empty() && page.cursor == "imap/7/0/2/0");

    // The server went back behind what it had told: everything is told again, under other ids.
    let script = Script::start(None, |_, command| good(command)).await;
    let page = plain(&script).changes(Some("imap/7/0/90/0")).await.unwrap();
    assert!(page.resync && page.messages[0].provider_id == "7.1:1" && page.cursor == "imap/7/1/2/0");
    let page = plain(&script).changes(Some("https://graph.example/delta")).await.unwrap();
    assert!(page.resync && page.messages[0].provider_id == "7:1");
}

#[tokio::test]
async fn a_large_message_is_asked_for_in_ranges_and_a_server_that_ignores_them_is_named() {
    let large = |answer: fn(&str) -> Option<String>| async move {
        let script = Script::start(None, move |_, command| match command {
            "UID FETCH 1:2 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]<0.2000>)" => {
                "* 1 FETCH (UID 1 RFC822.SIZE 900000)\r\n* 2 FETCH (UID 2 RFC822.SIZE 900000)\r\n{tag} OK done\r\n".into()
            }
            command => answer(command).unwrap_or_else(|| good(command)),
        })
        .await;
        let source = plain(&script);
        source.changes(None).await.unwrap();
        let mut raw = Vec::new();
        (source.fetch("7:1", LIMIT, &mut raw).await, raw)
    };
    // The size is wrong, and the last range is a quoted string.
    let (size, raw) = large(|command| match command {
        "UID FETCH 1 (UID BODY.PEEK[]<0.1048576>)" => {
            Some("* 1 FETCH (UID 1 BODY[]<0> {4}\r\nabcd)\r\n{tag} OK done\r\n".into())
        }
        "UID FETCH 1 (UID BODY.PEEK[]<4.1048576>)" => {
            Some("* 1 FETCH (UID 1 BODY[]<4> \"e\\\\f\\\"\")\r\n{tag} OK done\r\n".into())
        }
        "UID FETCH 1 (UID BODY.PEEK[]<8.1048576>)" => {
            Some("* 1 FETCH (UID 1 BODY[]<8> NIL)\r\n{tag} OK done\r\n".into())
        }
        _ => None,
    })
    .await;
    assert_eq!((size.unwrap(), raw.as_slice()), (Some(8), b"abcde\\f\"".as_slice()));
    let (size, _) = large(|command| {
        let whole = format!(
            "* 1 FETCH (UID 1 BODY[] {{2000000}}\r\n{})\r\n{{tag}} OK done\r\n",
            "x".repeat(2_000_000)
        );
        command.contains("BODY.PEEK[]<").then_some(whole)
    })
    .await;
    let failure = size.unwrap_err();
    assert!(failure.words.contains("a literal of 2000000 bytes"), "{failure}");
    // Endless: the limit is obeyed while it streams.
    let (size, raw) = large(|command| {
        let (_, offset) = command.split_once("BODY.PEEK[]<")?;
        let (offset, _) = offset.split_once('.')?;
        Some(format!(
            "* 1 FETCH (UID 1 BODY[]<{offset}> {{300000}}\r\n{})\r\n{{tag}} OK done\r\n",
            "x".repeat(300_000)
        ))
    })
    .await;
    assert!(size.is_ok_and(|size| size == Some(900_000)) && raw.len() == 900_000);
}

/// A server under TLS whose certificate is for `name` until the beginning of `until`.
async fn under_tls(name: &str, until: i32) -> (u16, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
    let certificate = parameters.self_signed(&key).unwrap();
    let der = certificate.der().to_vec();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        config.with_no_client_auth().with_single_cert(vec![CertificateDer::from(der.clone())], key).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                session(stream, None, Arc::new(|_, command: &str| good(command)), Heard::default()).await;
            }
        }
    });
    (port, der)
}

#[tokio::test]
async fn a_certificate_that_does_not_match_is_named_with_what_to_do() {
    let (port, _) = under_tls("127.0.0.1", 2099).await;
    let unknown = source(port, TlsMode::Implicit).probe().await.unwrap_err();
    assert!(unknown.words.contains("UnknownIssuer") && unknown.advice.unwrap().contains("not trusted here"));

    let (port, certificate) = under_tls("mail.fabrikam.example", 2099).await;
    let open = |port, certificate| {
        let trusting = wire().trusting(vec![certificate]).unwrap();
        let secret = Some(PASSWORD.to_owned().into());
        let settings = settings(port, TlsMode::Implicit);
        ImapSource::new(&trusting, &settings, secret, &Account::of(address(FROM))).unwrap()
    };
    let other = open(port, certificate).probe().await.unwrap_err();
    assert_eq!((other.origin, other.decision()), (Origin::Network, Decision::Retry { after: None }));
    assert!(other.words.contains("mail.fabrikam.example"), "{other}");
    assert!(other.advice.unwrap().contains("another name"));

    let (port, certificate) = under_tls("127.0.0.1", 2020).await;
    let expired = open(port, certificate).probe().await.unwrap_err();
    assert!(expired.advice.as_ref().is_some_and(|advice| advice.contains("has expired")), "{expired:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named_with_what_to_do() {
    let mut nowhere = settings(993, TlsMode::Implicit);
    nowhere.server = "mail.invalid".into();
    let secret = Some(PASSWORD.to_owned().into());
    let source_of_nobody = ImapSource::new(&WIRE, &nowhere, secret, &Account::of(address(FROM))).unwrap();
    let failure = source_of_nobody.probe().await.unwrap_err();
    assert!(failure.words.starts_with("mail.invalid:993: "), "{failure}");
    assert!(failure.advice.unwrap().contains("No server of this name"));
    // A plain server where TLS is expected, and nobody at all.
    let script = Script::start(None, |_, command| good(command)).await;
    let failure = source(script.port, TlsMode::Implicit).probe().await.unwrap_err();
    assert!(failure.advice.unwrap().contains("TLS mode"), "{}", failure.words);
    let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    let failure = source(port, TlsMode::Plain).probe().await.unwrap_err();
    assert!(failure.words.contains("refused") && failure.advice.unwrap().contains("Nobody listens"));
}

#[tokio::test]
async fn nothing_secret_is_said_when_starttls_is_missing_or_tampered_with() {
    let table = [
        ("* OK ready\r\n", "{tag} BAD unknown command\r\n", "STARTTLS: BAD unknown command"),
        ("* OK ready\r\n", "{tag} OK go\r\n* OK [ALERT] injected\r\n", "went on in the clear"),
        ("* PREAUTH hello\r\n", "{tag} OK go\r\n", "unasked: PREAUTH hello"),
        ("220 mail.example ESMTP\r\n", "", "STARTTLS: 220 mail.example ESMTP"),
        ("* OK ready\r\n", "* BYE too busy\r\n", "closed the connection"),
    ];
    for (greeting, answer, words) in table {
        let script = Script::start(None, move |_, command| match command {
            "" => greeting.into(),
            "STARTTLS" => answer.into(),
            command => good(command),
        })
        .await;
        let quick = Limits { silence: Duration::from_millis(500), ..Limits::default() };
        let failure = source(script.port, TlsMode::Starttls).limits(quick).probe().await.unwrap_err();
        let stalled = words.contains("closed") && failure.words.contains("no answer within");
        assert!(failure.words.contains(words) || stalled, "{failure}");
        assert!(script.heard.lines().iter().all(|line| line == "t1 STARTTLS"), "{:?}", script.heard.lines());
    }
    let mut outside = settings(0, TlsMode::Plain);
    outside.server = "mail.contoso.example".into();
    let secret = || Some(PASSWORD.to_owned().into());
    let account = Account::of(address(FROM));
    let failure = ImapSource::new(&WIRE, &outside, secret(), &account).unwrap_err();
    assert_eq!(failure.decision(), Decision::Hold);
    assert!(!format!("{:?}", source(1, TlsMode::Plain)).contains(PASSWORD));
}

#[tokio::test]
async fn a_password_goes_by_the_best_way_that_is_offered() {
    let offers = |capabilities: &'static str| {
        Script::start(None, move |_, command| match command {
            "CAPABILITY" => format!("* CAPABILITY IMAP4rev1 {capabilities}\r\n{{tag}} OK done\r\n"),
            login if login.starts_with("LOGIN {") => "+ go on\r\n".into(),
            user if user.starts_with("+u") => "+ and\r\n".into(),
            login if login.starts_with("LOGIN \"") => "{tag} OK in\r\n".into(),
            command => good(command),
        })
    };
    let open = |script: &Script, user: &str, password: &str| {
        let account = Account {
            address: address(FROM),
            user_name: user.into(),
            password: Some(password.to_owned().into()),
        };
        ImapSource::new(&WIRE, &settings(script.port, TlsMode::Plain), None, &account).unwrap()
    };
    let script = offers("LOGINDISABLED").await;
    let failure = open(&script, "u", "p").changes(None).await.unwrap_err();
    assert!(failure.decision() == Decision::Hold && failure.words.contains("neither AUTH=PLAIN nor LOGIN"));
    assert!(script.heard.lines().iter().all(|line| line.ends_with("CAPABILITY")));
    let script = offers("IDLE").await;
    open(&script, "u", "a\"b\\c").changes(None).await.unwrap();
    assert!(script.heard.lines().contains(&r#"p2 LOGIN "u" "a\"b\\c""#.to_owned()));
    let script = offers("IDLE").await;
    open(&script, "u", "pässe").changes(None).await.unwrap();
    assert_eq!(script.heard.lines()[1..4], ["p2 LOGIN {1}", "u {6}", "pässe"]);
}

#[tokio::test]
async fn a_refused_token_is_fetched_anew_once_and_the_challenge_is_among_the_words() {
    let script = Script::start(None, |_, command| match command {
        "CAPABILITY" => "* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2\r\n{tag} OK done\r\n".into(),
        "AUTHENTICATE XOAUTH2" => "+ \r\n".into(),
        "+" => "{tag} NO AUTHENTICATE failed.\r\n".into(),
        token if token.starts_with('+') => "+ eyJzdGF0dXMiOiI0MDEifQ==\r\n".into(),
        command => good(command),
    })
    .await;
    let entra = Stub::start(|_| Reply::json(200, &json!({"expires_in":3600,"access_token":"T1"}))).await;
    let mut settings = settings(script.port, TlsMode::Plain);
    settings.flow = AuthenticationFlow::ClientSecret;
    settings.tenant_id = "contoso.example".into();
    settings.application_id = "5a1b2c3d-0000-4000-8000-00000000a001".into();
    let here = entra.url.clone();
    settings.cloud =
        Cloud::Custom(Endpoints { authority: here.clone(), graph: here.clone(), exchange: Some(here) });
    let secret = Some(crate::SECRET.to_owned().into());
    let source = ImapSource::new(&WIRE, &settings, secret, &Account::of(address(FROM))).unwrap();
    let failure = source.probe().await.unwrap_err();
    assert_eq!(failure.words, r#"NO AUTHENTICATE failed. ({"status":"401"})"#);
    assert!(failure.advice.unwrap().contains("enterprise application"));
    assert_eq!((entra.seen().len(), script.heard.sessions()), (2, 2));
    // base64 of user=orders@contoso.example, ^A, auth=Bearer T1, ^A, ^A
    let line = "dXNlcj1vcmRlcnNAY29udG9zby5leGFtcGxlAWF1dGg9QmVhcmVyIFQxAQE=";
    assert!(script.heard.lines().contains(&line.to_owned()));
}
