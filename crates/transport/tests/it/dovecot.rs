//! The IMAP source against Debian's Dovecot.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_entra::TokenClient;
use postroom_entra::http::{HttpSettings, ProxySettings, client};
use postroom_model::Env;
use postroom_model::connection::{
    AuthenticationFlow, Cloud, ConnectionKind, ConnectionSettings, Endpoints, TlsMode,
};
use postroom_model::credential::CredentialKind;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_transport::imap::{ImapSource, Limits};
use postroom_transport::{Account, Changes, MessageSink, Source, Wire, Woken};
use serde_json::json;

use crate::servers::{Dovecot, PASSWORD};
use crate::stub::{Reply, Stub};
use crate::{FROM, Vault, address};

const LIMIT: u64 = 150_000_000;

fn wire(server: &Dovecot) -> Wire {
    let settings = HttpSettings { proxy: ProxySettings::default(), ..HttpSettings::default() };
    let http = client(&settings).unwrap();
    let (env, _clock) = Env::for_test(1);
    let tokens = Arc::new(TokenClient::new(http.clone(), env.clone()));
    let vault = Arc::new(Vault(Some(CredentialKind::Password)));
    Wire::new(http, tokens, vault, env).trusting(vec![server.certificate.clone()]).unwrap()
}

fn settings(server: &Dovecot, tls: TlsMode) -> ConnectionSettings {
    let mut settings = ConnectionSettings::new(ConnectionKind::Imap);
    settings.server = "localhost".into();
    settings.tls = tls;
    settings.port = if tls == TlsMode::Implicit { server.tls_port } else { server.port };
    settings
}

fn source(server: &Dovecot, tls: TlsMode, password: &str) -> ImapSource {
    let account = Account::of(address(FROM));
    ImapSource::new(&wire(server), &settings(server, tls), Some(password.to_owned().into()), &account)
        .unwrap()
}

fn plain(server: &Dovecot) -> ImapSource {
    source(server, TlsMode::Plain, PASSWORD)
}

fn mail(number: usize) -> Vec<u8> {
    format!("Message-ID: <m{number}@contoso.example>\r\nSubject: {number}\r\n\r\nHello {number}\r\n")
        .into_bytes()
}

/// Reads everything from `cursor` on, and the raw bytes of each message.
async fn read_all(source: &dyn Source, mut cursor: Option<String>) -> (Vec<Changes>, Vec<Vec<u8>>) {
    let (mut pages, mut raws) = (Vec::new(), Vec::new());
    loop {
        let page = source.changes(cursor.as_deref()).await.unwrap();
        for message in &page.messages {
            let mut raw = Vec::new();
            let size = source.fetch(&message.provider_id, LIMIT, &mut raw).await.unwrap();
            assert_eq!(size, Some(raw.len() as u64));
            raws.push(raw);
        }
        cursor = Some(page.cursor.clone());
        let more = page.more;
        pages.push(page);
        if !more {
            return (pages, raws);
        }
    }
}

#[tokio::test]
#[ignore = "needs Dovecot"]
async fn a_password_opens_the_mailbox_by_every_tls_mode_and_a_wrong_one_is_named() {
    let server = Dovecot::start().await;
    for tls in [TlsMode::Implicit, TlsMode::Starttls, TlsMode::Plain] {
        let sentence = source(&server, tls, PASSWORD).probe().await.unwrap();
        assert_eq!(sentence, format!("Inbox of {FROM} opened: 0 messages, 0 unread."), "{tls:?}");
    }
    server.deliver(FROM, "INBOX", &mail(1));
    let sentence = source(&server, TlsMode::Implicit, PASSWORD).probe().await.unwrap();
    assert!(sentence.contains("opened: 1 messages, 1 unread; the newest was received at 2"), "{sentence}");

    let wrong = source(&server, TlsMode::Starttls, "wrong").probe().await.unwrap_err();
    assert_eq!((wrong.origin, wrong.code.as_deref()), (Origin::Provider, Some("AUTHENTICATIONFAILED")));
    assert_eq!(wrong.decision(), Decision::Hold);
    assert!(wrong.words.contains("Authentication failed") && wrong.advice.is_some(), "{wrong:?}");

    let missing = plain(&server).folder("Nowhere").changes(None).await.unwrap_err();
    assert!(missing.advice.as_ref().is_some_and(|advice| advice.contains("does not exist")), "{missing:?}");
}

#[tokio::test]
#[ignore = "needs Dovecot"]
async fn one_token_of_an_application_opens_any_mailbox_and_a_refused_one_is_fetched_anew_once() {
    for mechanism in ["xoauth2", "oauthbearer"] {
        let server = Dovecot::with(&format!("auth_mechanisms = {mechanism}\n")).await;
        let tokens = std::sync::Mutex::new(vec![server.token(), "refused".to_owned()]);
        let entra = Stub::start(move |_| {
            let mut tokens = tokens.lock().unwrap();
            let token = if tokens.len() > 1 { tokens.pop().unwrap() } else { tokens[0].clone() };
            Reply::json(200, &json!({"expires_in":3600,"access_token":token}))
        })
        .await;
        let mut settings = settings(&server, TlsMode::Starttls);
        settings.flow = AuthenticationFlow::ClientSecret;
        settings.tenant_id = "contoso.example".into();
        settings.application_id = crate::servers::APPLICATION.into();
        let here = entra.url.clone();
        settings.cloud =
            Cloud::Custom(Endpoints { authority: here.clone(), graph: here.clone(), exchange: Some(here) });
        let wire = wire(&server);
        for at in [FROM, "service@contoso.example"] {
            let secret = Some(crate::SECRET.to_owned().into());
            let source = ImapSource::new(&wire, &settings, secret, &Account::of(address(at))).unwrap();
            let sentence =
                source.probe().await.unwrap_or_else(|failure| panic!("{failure:?} {}", server.log()));
            assert_eq!(sentence, format!("Inbox of {at} opened: 0 messages, 0 unread."));
        }
        assert_eq!(entra.seen().len(), 2);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot"]
async fn a_backlog_of_a_thousand_comes_oldest_first_once_each_to_the_byte_and_no_flag_changes() {
    let server = Dovecot::start().await;
    let mails: Vec<Vec<u8>> = (0..1000).map(mail).collect();
    for mail in &mails {
        server.deliver(FROM, "INBOX", mail);
    }
    let often = Limits { page: 50, ..Limits::default() };
    let source = plain(&server).limits(often);
    let (pages, raws) = read_all(&source, None).await;
    assert_eq!(pages.len(), 20);
    assert!(pages.iter().all(|page| page.messages.len() == 50 && !page.resync && page.removed.is_empty()));
    assert!(raws == mails);
    let ids = pages.iter().flat_map(|page| &page.messages).map(|message| message.message_id.clone().unwrap());
    assert!(ids.enumerate().all(|(number, id)| id == format!("<m{number}@contoso.example>")));
    assert!(server.files(FROM).iter().all(|name| name.ends_with(".test") || name.ends_with(":2,")));

    // Another process goes on where the cursor is: from the middle, and from the end.
    let middle = pages[9].cursor.clone();
    let (rest, raws) = read_all(&plain(&server).limits(often), Some(middle)).await;
    assert!(rest.len() == 10 && raws == mails[500..]);
    let end = pages[19].cursor.clone();
    let quiet = source.changes(Some(&end)).await.unwrap();
    assert!(quiet.messages.is_empty() && !quiet.more && !quiet.resync);
    assert_eq!(quiet.cursor, end);

    // What vanishes is told, to this process and to another.
    for name in server.files(FROM).iter().take(2) {
        let maildir = server.maildir(FROM, "INBOX");
        let file = ["cur", "new"].map(|folder| maildir.join(folder).join(name));
        std::fs::remove_file(file.iter().find(|path| path.exists()).unwrap()).unwrap();
    }
    let first: Vec<String> =
        pages[0].messages[..2].iter().map(|message| message.provider_id.clone()).collect();
    assert_eq!(source.changes(Some(&end)).await.unwrap().removed, first);
    assert_eq!(plain(&server).changes(Some(&end)).await.unwrap().removed, first);
    assert_eq!(source.fetch(&first[0], LIMIT, &mut Vec::new()).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs Dovecot"]
async fn odd_bytes_come_through_untouched() {
    let server = Dovecot::start().await;
    let mut every: Vec<u8> = b"Subject: =?iso-2022-jp?B?GyRC?= \xe9\xff\r\n\r\n".to_vec();
    every.extend((1..=255).filter(|byte| ![b'\r', b'\n'].contains(byte)));
    every.extend(b"\r\n{12345}\r\n* BYE\r\np1 OK\r\n)\r\n");
    let mails =
        [every, b"\r\n".to_vec(), b"Message-ID: <\xc3\xa4@x>\r\n\r\n\xf0\x9f\x93\xa6\r\n.\r\n".to_vec()];
    for mail in &mails {
        server.deliver(FROM, "INBOX", mail);
    }
    let (_, raws) = read_all(&plain(&server), None).await;
    assert_eq!(raws, mails);
}

/// Counts what comes, and remembers the largest piece.
#[derive(Default)]
struct Meter {
    sum: u64,
    largest: usize,
    mixed: u64,
}

#[async_trait]
impl MessageSink for Meter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.sum += chunk.len() as u64;
        self.largest = self.largest.max(chunk.len());
        self.mixed = chunk
            .iter()
            .fold(self.mixed, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        Ok(())
    }
}

#[tokio::test]
#[ignore = "needs Dovecot"]
async fn a_message_of_30_mb_is_written_in_pieces_and_the_limit_is_obeyed_before() {
    let server = Dovecot::start().await;
    let line = b"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz\r\n";
    let mut large = b"Subject: large\r\n\r\n".to_vec();
    for _ in 0..30_000_000 / line.len() {
        large.extend_from_slice(line);
    }
    server.deliver(FROM, "INBOX", &mail(1));
    server.deliver(FROM, "INBOX", &large);
    let source = source(&server, TlsMode::Implicit, PASSWORD);
    let page = source.changes(None).await.unwrap();
    let mut expected = Meter::default();
    expected.write(Bytes::from(large)).await.unwrap();
    let mut sink = Meter::default();
    let size = source.fetch(&page.messages[1].provider_id, LIMIT, &mut sink).await.unwrap();
    assert_eq!((size, sink.sum, sink.mixed), (Some(expected.sum), expected.sum, expected.mixed));
    assert!(sink.largest <= 1024 * 1024);
    let mut sink = Meter::default();
    let failure = source.fetch(&page.messages[1].provider_id, 29_000_000, &mut sink).await.unwrap_err();
    assert_eq!((failure.origin, sink.sum), (Origin::Ourselves, 0));
    assert!(failure.words.contains("at most 29000000"));
    // The session goes on.
    let mut small = Vec::new();
    source.fetch(&page.messages[0].provider_id, LIMIT, &mut small).await.unwrap();
    assert_eq!(small, mail(1));
}

#[tokio::test]
#[ignore = "needs Dovecot"]
async fn a_new_uidvalidity_neither_loses_nor_repeats_an_id() {
    let server = Dovecot::start().await;
    for number in 0..60 {
        server.deliver(FROM, "INBOX", &mail(number));
    }
    let often = Limits { page: 50, ..Limits::default() };
    let (pages, _) = read_all(&plain(&server).limits(often), None).await;
    let before: Vec<String> =
        pages.iter().flat_map(|page| &page.messages).map(|message| message.provider_id.clone()).collect();
    server.deliver(FROM, "INBOX", &mail(60));
    server.until_nobody_is_there().await;
    server.renumber(FROM);
    let source = plain(&server).limits(often);
    let (again, raws) = read_all(&source, Some(pages[1].cursor.clone())).await;
    assert!(again[0].resync && !again[1].resync, "{}", server.log());
    assert_eq!(raws, (0..=60).map(mail).collect::<Vec<_>>());
    assert!(
        again.iter().flat_map(|page| &page.messages).all(|message| !before.contains(&message.provider_id))
    );
    // An id of the folder that was is the id of nothing now.
    assert_eq!(source.fetch(&before[0], LIMIT, &mut Vec::new()).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs Dovecot"]
async fn idle_wakes_on_news_and_is_quiet_without() {
    let server = Dovecot::start().await;
    server.deliver(FROM, "INBOX", &mail(1));
    let source = Arc::new(source(&server, TlsMode::Starttls, PASSWORD));
    let page = source.changes(None).await.unwrap();
    assert_eq!(source.wait(Duration::from_millis(100)).await.unwrap(), Woken::Quiet);
    let waiting = tokio::spawn({
        let source = Arc::clone(&source);
        async move { source.wait(Duration::from_secs(30)).await.unwrap() }
    });
    server.deliver(FROM, "INBOX", &mail(2));
    assert_eq!(waiting.await.unwrap(), Woken::News);
    assert_eq!(source.changes(Some(&page.cursor)).await.unwrap().messages.len(), 1);
    // A changed flag and a message that is removed wake nobody; what comes behind them does.
    let waiting = tokio::spawn({
        let source = Arc::clone(&source);
        async move { (source.wait(Duration::from_secs(3)).await, source.wait(Duration::from_secs(30)).await) }
    });
    let maildir = server.maildir(FROM, "INBOX");
    let name = server.files(FROM).remove(0);
    let file = ["cur", "new"].map(|folder| maildir.join(folder).join(&name));
    let file = file.iter().find(|path| path.exists()).unwrap();
    let flagged = maildir.join("cur").join(format!("{}:2,F", name.trim_end_matches(":2,")));
    std::fs::rename(file, &flagged).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::remove_file(flagged).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.deliver(FROM, "INBOX", &mail(3));
    let (quiet, news) = waiting.await.unwrap();
    assert_eq!((quiet.unwrap(), news.unwrap()), (Woken::Quiet, Woken::News));
}

#[tokio::test]
#[ignore = "needs Dovecot"]
async fn a_folder_with_a_foreign_name_is_read() {
    let server = Dovecot::start().await;
    server.deliver(FROM, "Auftr&AOQ-ge &- &U,BTFw-", &mail(7));
    let source = plain(&server).folder("Aufträge & 台北");
    let (_, raws) = read_all(&source, None).await;
    assert_eq!(raws, [mail(7)]);
    assert!(source.probe().await.unwrap().starts_with("Aufträge & 台北 of orders@contoso.example opened: 1"));
}
