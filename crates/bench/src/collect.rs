//! Reading: the collector's whole way from IMAP to committed messages, against mbsync with its own settings (fsync on).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use postroom_engine::{Engine, EngineSettings};
use postroom_entra::TokenClient;
use postroom_entra::http::{HttpSettings, client};
use postroom_model::connection::{ConnectionKind, ConnectionSettings, TlsMode};
use postroom_model::credential::Credential;
use postroom_model::failure::Failure;
use postroom_model::mailbox::{MailType, MailboxSettings};
use postroom_model::{ConnectionId, Env, MailboxId, SecretString};
use postroom_store::SqliteOptions;
use postroom_store::{KeyFile, SaveConnection, SaveMailbox, SqlStore, Store};
use postroom_transport::{Credentials, Wire};

use crate::dovecot::{Dovecot, PASSWORD};
use crate::{Figure, measure, say};

const MANY: &str = "many@contoso.example";
const LARGE: &str = "large@contoso.example";
const MESSAGES: usize = 10_000;
const SIZE: usize = 20_000;
const LARGE_SIZE: usize = 100_000_000;
/// How often each is measured.
const ROUNDS: usize = 5;
/// Memory above idle that is promised, in MiB.
const PROMISED: f64 = 64.0;

/// The password of every mailbox.
struct Password;

#[async_trait]
impl Credentials for Password {
    async fn current(&self, _: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure> {
        Ok(None)
    }

    async fn mailbox_password(&self, _: MailboxId) -> Result<Option<SecretString>, Failure> {
        Ok(Some(PASSWORD.to_owned().into()))
    }
}

/// A wire of this process.
pub(crate) fn wire(env: &Env, credentials: Arc<dyn Credentials>) -> Result<Wire> {
    let http = client(&HttpSettings::default())?;
    let tokens = Arc::new(TokenClient::new(http.clone(), env.clone()));
    Ok(Wire::new(http, tokens, credentials, env.clone()))
}

/// A data folder.
pub(crate) async fn store(env: &Env, folder: &Path) -> Result<Arc<dyn Store>> {
    let options = SqliteOptions {
        folder: folder.join("data"),
        key_file: KeyFile(folder.join("postroom.key")),
        env: env.clone(),
    };
    Ok(Arc::new(SqlStore::open(options).await?))
}

/// Collects a mailbox into a new data folder.
pub(crate) async fn piece(port: u16, user: &str, folder: &str) -> Result<()> {
    let (env, _clock) = Env::for_test(1);
    let store = store(&env, Path::new(folder)).await?;
    let mut settings = ConnectionSettings::new(ConnectionKind::Imap);
    settings.server = "127.0.0.1".into();
    settings.port = port;
    settings.tls = TlsMode::Plain;
    let (connection, mailbox) = (env.new_id(), env.new_id());
    let save = SaveConnection { id: connection, settings, credential: None, actor: "cli".into() };
    store.save_connection(save).await?;
    let settings = MailboxSettings::new(user, [MailType::CustomerOrder]);
    let password = Some(PASSWORD.to_owned().into());
    store
        .save_mailbox(SaveMailbox { id: mailbox, connection, settings, password, actor: "cli".into() })
        .await?;
    let wire = wire(&env, Arc::new(Password))?;
    let engine = Engine::new(store.clone(), Arc::new(wire), env, EngineSettings::default());
    let idle = measure::begin()?;
    let begun = Instant::now();
    // The reading has ended when the mailbox says so; what was read is then made ready for the inbox.
    let collected = tokio::spawn(async move {
        while store.mailbox(mailbox).await?.is_none_or(|mailbox| mailbox.last_success_at.is_none()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, postroom_store::StoreError>(begun.elapsed())
    });
    let stored = engine.collect_now(mailbox).await.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let (all, collected) = (begun.elapsed(), collected.await??);
    measure::report(idle, all.saturating_sub(collected))?;
    if stored == 0 { bail!("nothing was collected") } else { Ok(()) }
}

/// A message of so many bytes.
fn mail(number: usize, size: usize) -> Vec<u8> {
    let head = format!(
        "Message-ID: <{number}@fabrikam.example>\r\nFrom: ann@fabrikam.example\r\nTo: {MANY}\r\nSubject: Order {number}\r\n\
         Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    );
    let line = format!("Line of order {number:08}, with as many letters as lines of mail have, about.\r\n");
    let lines = size.saturating_sub(head.len()) / line.len();
    [head.into_bytes(), line.repeat(lines).into_bytes()].concat()
}

/// Has mbsync fetch everything into a new Maildir.
fn mbsync(server: &Dovecot) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().display();
    fs::write(folder.path().join("password"), PASSWORD)?;
    fs::create_dir(folder.path().join("mail"))?;
    let configuration = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {}\nUser {MANY}\nPassCmd \"cat {path}/password\"\nSSLType None\nAuthMechs LOGIN\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nPath {path}/mail/\nInbox {path}/mail/INBOX\n\n\
         Channel c\nFar :far:\nNear :near:\nCreate Near\nSync Pull\nSyncState *\n",
        server.port
    );
    let file = folder.path().join("mbsyncrc");
    fs::write(&file, configuration)?;
    let took = measure::run_peer(Command::new("mbsync").arg("-q").arg("-c").arg(&file).arg("c"))?;
    let fetched = fs::read_dir(folder.path().join("mail/INBOX/new"))?.count()
        + fs::read_dir(folder.path().join("mail/INBOX/cur"))?.count();
    if fetched == MESSAGES { Ok(took) } else { bail!("mbsync fetched {fetched} messages") }
}

/// Time until all is stored and committed, time for what follows, memory.
fn postroom(server: &Dovecot, user: &str) -> Result<(Duration, Duration, measure::Memory)> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path().to_str().context("the folder is not UTF-8")?;
    let (took, after, memory) = measure::run_piece(&["collect", &server.port.to_string(), user, folder])?;
    Ok((took.saturating_sub(after), after, memory))
}

/// The figures of reading.
pub(crate) async fn figures() -> Result<Vec<Figure>> {
    let server = Dovecot::start().await;
    for number in 0..MESSAGES {
        server.deliver(MANY, "INBOX", &mail(number, SIZE));
    }
    server.deliver(LARGE, "INBOX", &mail(0, LARGE_SIZE));
    for number in 1..20 {
        server.deliver(LARGE, "INBOX", &mail(number, SIZE));
    }
    // Once for the server, which writes its index.
    mbsync(&server)?;
    let (mut ours, mut after, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    let mut memory = measure::Memory { idle: 0, peak: 0 };
    for round in 1..=ROUNDS {
        let (took, more, of_many) = postroom(&server, MANY)?;
        ours.push(took);
        after.push(more);
        memory = of_many;
        peers.push(mbsync(&server)?);
        say(&format!(
            "fetch, round {round}: Postroom {took:.2?} and {more:.2?}, mbsync {:.2?}",
            peers[round - 1]
        ));
    }
    let (_, _, large) = postroom(&server, LARGE)?;
    let (ours, peer) = (measure::median(&ours), measure::median(&peers));
    Ok(vec![
        Figure {
            what: "fetch 10,000 messages of 20 KB by IMAP, synced and committed (median of 5)",
            ours: format!("{ours:.2} s"),
            peer: format!("mbsync {peer:.2} s"),
            verdict: measure::ratio(ours, peer),
        },
        Figure {
            what: "the same messages read, made searchable and put into the inbox",
            ours: format!("{:.2} s", measure::median(&after)),
            peer: String::new(),
            verdict: "no peer does this".into(),
        },
        Figure {
            what: "memory above idle meanwhile",
            ours: format!("{:.1} MiB", memory.above()),
            peer: String::new(),
            verdict: measure::below(memory, PROMISED),
        },
        Figure {
            what: "memory above idle with a message of 100 MB in the mailbox",
            ours: format!("{:.1} MiB", large.above()),
            peer: String::new(),
            verdict: measure::below(large, PROMISED),
        },
    ])
}
