//! One connection: bytes out, replies in, each within its time; and the way to a line that is ready for mail.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use postroom_model::connection::{TlsMode, is_loopback};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{ExposeSecret, SecretString, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::Limits;
use super::refusal::{self, Stage};
use super::reply::{Offers, Reply};
use crate::line::{Line, Peer};
use crate::secrets::Said;

/// How much is read at once, in bytes.
const READ: usize = 4_096;

/// Of a server that names no STARTTLS.
const NOT_OFFERED: &str = "the server does not offer it on this port";

/// Where a connection leads and how its line is protected.
#[derive(Clone)]
pub(super) struct Target {
    /// The server.
    pub(super) peer: Peer,
    /// Protection of the line.
    pub(super) mode: TlsMode,
    /// Whether a password may cross an unprotected line to another machine.
    pub(super) accept_plain: bool,
    /// What its certificate is compared with.
    pub(super) tls: Arc<ClientConfig>,
    /// Time limits.
    pub(super) limits: Limits,
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It did not come in time.
    Slow(Duration),
    /// The connection ended.
    Cut(io::Error),
    /// What came is no reply.
    Garbage(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(limit) => write!(f, "no answer within {limit:?}"),
            Self::Cut(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the server closed the connection")
            }
            Self::Cut(error) => write!(f, "the connection was cut: {error}"),
            Self::Garbage(words) => f.write_str(words),
        }
    }
}

impl Trouble {
    /// A failure before the final dot: certainly not sent, tried again.
    pub(super) fn failure(&self, operation: &str, stage: Stage) -> Failure {
        let origin = if matches!(self, Self::Garbage(_)) { Origin::Provider } else { Origin::Network };
        Failure::new(operation, origin, format!("{stage}: {self}"), Decision::Retry { after: None })
    }
}

/// A write that did not end.
pub(super) struct Stuck {
    /// How many bytes were not even handed to the system or to TLS, so that the peer cannot have them.
    pub(super) left: usize,
    /// Why it went no further.
    pub(super) trouble: Trouble,
}

/// A connection that has greeted.
pub(super) struct Client {
    line: Line,
    /// What was read and not used yet.
    input: Vec<u8>,
    /// Commands on their way; kept for its room.
    pub(super) output: Vec<u8>,
    /// What the server offers on this line as it is now.
    pub(super) offers: Offers,
    /// When the token it signed in with ends.
    pub(super) until: Option<Timestamp>,
    /// What it signed in with, which no word of the server shows.
    pub(super) said: Said,
    limits: Limits,
}

impl Client {
    /// Connects, reads the greeting, says EHLO and protects the line as the mode asks. Nobody has signed in yet.
    ///
    /// # Errors
    /// A failure of `operation`; nothing was handed over.
    pub(super) async fn open(target: &Target, operation: &str) -> Result<Self, Failure> {
        let stream = target.peer.connect(operation).await?;
        let local = stream.local_addr().map(|address| address.ip());
        let name = match local {
            Ok(std::net::IpAddr::V6(address)) => format!("[IPv6:{address}]"),
            Ok(std::net::IpAddr::V4(address)) => format!("[{address}]"),
            Err(error) => return Err(Trouble::Cut(error).failure(operation, Stage::Greeting)),
        };
        let line = match target.mode {
            TlsMode::Implicit => target.peer.upgrade(operation, stream, Arc::clone(&target.tls)).await?,
            TlsMode::Starttls | TlsMode::StarttlsIfOffered | TlsMode::Plain => Line::Plain(stream),
        };
        let mut client = Self::on(line, &target.limits);
        let greeting = client.reply(target.limits.command).await;
        expect(greeting, operation, Stage::Greeting)?;
        client.hello(operation, &name).await?;
        let wanted = match target.mode {
            TlsMode::Implicit | TlsMode::Plain => false,
            TlsMode::StarttlsIfOffered => client.offers.starttls,
            TlsMode::Starttls if client.offers.starttls => true,
            TlsMode::Starttls => return Err(target.peer.no_starttls(operation, NOT_OFFERED)),
        };
        if wanted {
            client = client.protect(target, operation).await?;
            client.hello(operation, &name).await?;
        }
        Ok(client)
    }

    fn on(line: Line, limits: &Limits) -> Self {
        Self {
            line,
            input: Vec::new(),
            output: Vec::new(),
            offers: Offers::default(),
            until: None,
            said: Said::default(),
            limits: *limits,
        }
    }

    /// EHLO, with the address of this end, for a machine need not have a name (RFC 5321 section 4.1.3).
    async fn hello(&mut self, operation: &str, name: &str) -> Result<(), Failure> {
        let reply = self.command(&format!("EHLO {name}\r\n")).await;
        self.offers = Offers::read(&expect(reply, operation, Stage::Ehlo)?);
        Ok(())
    }

    /// STARTTLS. What the server said in the clear is forgotten.
    async fn protect(mut self, target: &Target, operation: &str) -> Result<Self, Failure> {
        let reply = self.command("STARTTLS\r\n").await;
        expect(reply, operation, Stage::Starttls)?;
        let Line::Plain(stream) = self.line else {
            return Err(target.peer.no_starttls(operation, NOT_OFFERED));
        };
        let line = target.peer.starttls(operation, stream, &self.input, Arc::clone(&target.tls)).await?;
        Ok(Self::on(line, &target.limits))
    }

    /// Whether a secret may be said: under TLS, or without where no line leaves this machine or the settings accept
    /// it. Never where TLS was wished for and not offered.
    pub(super) fn may_tell(&self, target: &Target) -> bool {
        match self.line {
            Line::Tls(_) => true,
            Line::Plain(_) => {
                target.mode == TlsMode::Plain && (target.accept_plain || is_loopback(&target.peer.host))
            }
        }
    }

    /// The server's certificate (DER); none without TLS.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        self.line.certificate()
    }

    /// Time limits.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// One command and its reply.
    pub(super) async fn command(&mut self, line: &str) -> Result<Reply, Trouble> {
        self.write(line.as_bytes(), self.limits.command).await.map_err(|stuck| stuck.trouble)?;
        self.reply(self.limits.command).await
    }

    /// One line with a secret in it, and its reply.
    pub(super) async fn secret_line(&mut self, line: &SecretString) -> Result<Reply, Trouble> {
        self.command(line.expose_secret()).await
    }

    /// Writes what is in `output` and empties it.
    pub(super) async fn flush(&mut self) -> Result<(), Stuck> {
        let output = std::mem::take(&mut self.output);
        let done = self.write(&output, self.limits.command).await;
        self.output = output;
        self.output.clear();
        done
    }

    async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), Stuck> {
        let mut rest = bytes;
        let line = &mut self.line;
        let work = async {
            while !rest.is_empty() {
                let written = line.write(rest).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = &rest[written..];
            }
            line.flush().await
        };
        let trouble = match timeout(limit, work).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Trouble::Cut(error),
            Err(_) => Trouble::Slow(limit),
        };
        Err(Stuck { left: rest.len(), trouble })
    }

    /// The next reply, all of it within `limit`.
    pub(super) async fn reply(&mut self, limit: Duration) -> Result<Reply, Trouble> {
        timeout(limit, self.next_reply()).await.map_err(|_| Trouble::Slow(limit))?
    }

    async fn next_reply(&mut self) -> Result<Reply, Trouble> {
        loop {
            let read = Reply::read(&self.input).map_err(|words| Trouble::Garbage(self.said.hide(words)))?;
            if let Some((mut reply, taken)) = read {
                self.input.drain(..taken);
                if !reply.is_done() {
                    reply.text = self.said.hide(reply.text);
                }
                return Ok(reply);
            }
            self.input.reserve(READ);
            let read = self.line.read_buf(&mut self.input).await.map_err(Trouble::Cut)?;
            if read == 0 {
                return Err(if self.input.is_empty() {
                    Trouble::Cut(io::ErrorKind::UnexpectedEof.into())
                } else {
                    Trouble::Garbage(format!("cut in the middle of a reply: {:?}", self.begun()))
                });
            }
        }
    }

    /// What the server said that nothing was asked for; none when it waits.
    pub(super) fn early(&self) -> Option<Trouble> {
        (!self.input.is_empty()).then(|| Trouble::Garbage(format!("said unasked: {:?}", self.begun())))
    }

    fn begun(&self) -> String {
        postroom_entra::http::tidy(self.said.hide(String::from_utf8_lossy(&self.input).into_owned()), 200)
    }

    /// Whether a kept connection can be used again: the server has said nothing meanwhile, and answers when it was
    /// silent for long.
    pub(super) async fn is_alive(&mut self, idle: Duration) -> bool {
        // A server that closes says so (421) or ends the stream; either can be read by now. Looked at once and without a
        // timer, which would cost a millisecond for each message.
        let mut byte = [0];
        if !self.input.is_empty() || self.line.read(&mut byte).now_or_never().is_some() {
            return false;
        }
        if idle < self.limits.trusted {
            return true;
        }
        let limit = self.limits.connect;
        self.write(b"NOOP\r\n", limit).await.is_ok()
            && self.reply(limit).await.is_ok_and(|reply| reply.is_done())
    }

    /// Takes back what was begun, so that the connection can be kept. False when it cannot.
    pub(super) async fn reset(&mut self) -> bool {
        self.command("RSET\r\n").await.is_ok_and(|reply| reply.is_done())
    }

    /// Says good-bye. Nobody waits longer than a moment for the answer.
    pub(super) async fn quit(mut self) {
        let limit = self.limits.farewell;
        if self.write(b"QUIT\r\n", limit).await.is_ok() {
            let _ = self.reply(limit).await;
        }
        let _ = timeout(limit, self.line.shutdown()).await;
    }
}

/// The reply, when the server did what was asked.
pub(super) fn expect(reply: Result<Reply, Trouble>, operation: &str, stage: Stage) -> Result<Reply, Failure> {
    match reply {
        Ok(reply) if reply.is_done() => Ok(reply),
        Ok(reply) => Err(refusal::failure(operation, stage, &reply)),
        Err(trouble) => Err(trouble.failure(operation, stage)),
    }
}
