//! Sending: messages of 4 KiB to Postfix's smtp-sink over kept connections, against its smtp-source.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use postroom_model::connection::{ConnectionKind, ConnectionSettings, TlsMode};
use postroom_model::credential::Credential;
use postroom_model::failure::Failure;
use postroom_model::outbox::Envelope;
use postroom_model::{ConnectionId, Env, SecretString};
use postroom_transport::{Credentials, SendJob, SendNotes, SendOutcome};
use tokio::net::TcpStream;

use crate::{Figure, measure, say};

const MESSAGES: usize = 20_000;
const SIZE: usize = 4_096;
/// Postroom opens at most ten connections to one server as nobody.
const SESSIONS: usize = 8;
const ROUNDS: usize = 5;

struct Nobody;

#[async_trait]
impl Credentials for Nobody {
    async fn current(&self, _: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure> {
        Ok(None)
    }
}

#[async_trait]
impl SendNotes for Nobody {
    async fn draft_created(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}

/// Sends so many messages over so many sessions.
pub(crate) async fn piece(port: u16, sessions: usize, count: usize) -> Result<()> {
    let (env, _clock) = Env::for_test(1);
    let mut settings = ConnectionSettings::new(ConnectionKind::Smtp);
    settings.server = "127.0.0.1".into();
    settings.port = port;
    settings.tls = TlsMode::Plain;
    let wire = crate::collect::wire(&env, Arc::new(Nobody))?;
    let sender = wire.sender_for(&settings, None).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let sender: Arc<dyn postroom_transport::Sender> = sender.into();
    let head = "From: orders@contoso.example\r\nTo: ann@fabrikam.example\r\nSubject: Order 4711\r\n\
                Message-ID: <1@contoso.example>\r\n\r\n";
    let line = "A line of seventy letters, as lines of mail have, with a dot at its end.\r\n";
    let raw = Bytes::from(format!("{head}{}", line.repeat((SIZE - head.len()) / line.len())));
    let job = Arc::new(SendJob {
        id: env.new_id(),
        envelope: Envelope {
            from: "orders@contoso.example".parse()?,
            to: vec!["ann@fabrikam.example".parse()?],
        },
        message_id: "<1@contoso.example>".into(),
        raw,
        provider_id: None,
    });
    let idle = measure::begin()?;
    let left = Arc::new(AtomicUsize::new(count));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..sessions {
        let (sender, job, left) = (Arc::clone(&sender), Arc::clone(&job), Arc::clone(&left));
        tasks.spawn(async move {
            while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                match sender.send(&job, &Nobody).await {
                    SendOutcome::Sent(_) => {}
                    other => bail!("not sent: {other:?}"),
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    measure::report(idle, std::time::Duration::ZERO)
}

/// The server; it ends with the value.
struct Sink(Child, u16);

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sink {
    async fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("/usr/sbin/smtp-sink");
        // Started by root it wants to be told whose rights it takes.
        if Command::new("id").arg("-u").output()?.stdout == b"0\n" {
            command.args(["-u", "nobody"]);
        }
        command.arg(format!("127.0.0.1:{port}")).arg("1000").stdin(Stdio::null()).stdout(Stdio::null());
        let sink = Self(command.spawn()?, port);
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(sink);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        bail!("smtp-sink does not listen")
    }
}

/// The figures of sending.
pub(crate) async fn figures() -> Result<Vec<Figure>> {
    let sink = Sink::start().await?;
    let (port, sessions, count) = (sink.1.to_string(), SESSIONS.to_string(), MESSAGES.to_string());
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        ours.push(measure::run_piece(&["submit", &port, &sessions, &count])?.0);
        let mut source = Command::new("/usr/sbin/smtp-source");
        // -d: the next message goes over the same connection.
        source.args(["-d", "-s", &sessions, "-m", &count, "-l", &SIZE.to_string()]);
        source.args(["-f", "orders@contoso.example", "-t", "ann@fabrikam.example"]);
        peers.push(measure::run_peer(source.arg(format!("127.0.0.1:{port}")))?);
        say(&format!(
            "send, round {round}: Postroom {:.2?}, smtp-source {:.2?}",
            ours[round - 1],
            peers[round - 1]
        ));
    }
    let (ours, peer) = (measure::median(&ours), measure::median(&peers));
    Ok(vec![Figure {
        what: "send 20,000 messages of 4 KiB by SMTP over 8 kept connections (median of 5)",
        ours: format!("{ours:.2} s"),
        peer: format!("smtp-source {peer:.2} s"),
        verdict: measure::ratio(ours, peer),
    }])
}
