//! One session: connect, protect the line, read the greeting, sign in, run commands. Commands are written by us, so
//! that no secret passes through the library's log; answers are read and parsed by the library.

use std::collections::HashSet;
use std::io;
use std::ops::RangeInclusive;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_imap::Client;
use async_imap::imap_proto::{Capability, MailboxDatum, Outcome, Response, ResponseCode, Status};
use futures_util::FutureExt as _;
use postroom_entra::http::tidy;
use postroom_entra::{AccessToken, Ids};
use postroom_model::failure::{Decision, Failure, Origin};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::folder;
use super::meter::{Bounds, Excess, Meter};
use super::sign_in::Signing;
use super::words::{After, Trouble, literal, refusal};
use crate::line::{Line, Peer};
use crate::secrets::Said;

/// Longest line before TLS (RFC 2683 section 3.2.1.5 asks clients for at most 1,000).
const MAX_EARLY_LINE: u64 = 8 * 1024;
/// Lines a server may say before it answers STARTTLS.
const MAX_EARLY_LINES: usize = 20;
/// How much of garbage is shown.
const SHOWN: usize = 200;

/// How long things may take, and how much is told at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Each step of connecting: the name, TCP, TLS.
    pub connect: Duration,
    /// A server that is asked and says nothing at all.
    pub silence: Duration,
    /// One command with everything it brings.
    pub command: Duration,
    /// How long IDLE is left alone before it is issued anew. Exchange and boxes on the way drop silent lines without
    /// a word, long before the 29 minutes of RFC 2177.
    pub idle: Duration,
    /// Most messages of a page: so many that what a page costs once is little for each, and so few that it is committed
    /// in one short transaction.
    pub page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            command: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            page: 500,
        }
    }
}

/// How the line is protected.
pub(super) enum Protection {
    Implicit(Arc<ClientConfig>),
    Starttls(Arc<ClientConfig>),
    Plain,
}

/// Everything that is needed to reach a server.
pub(super) struct Road {
    pub(super) operation: String,
    pub(super) peer: Peer,
    pub(super) protection: Protection,
    pub(super) limits: Limits,
    /// For advice.
    pub(super) ids: Ids,
}

/// Everything that is needed to open a session.
pub(super) struct Access {
    pub(super) road: Road,
    pub(super) signing: Signing,
}

/// What a server said when a folder was opened.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) exists: u32,
    pub(super) validity: Option<u32>,
    pub(super) next: Option<u32>,
    pub(super) modseq: u64,
    pub(super) vanished: Vec<RangeInclusive<u32>>,
}

/// Sees every response that ends nothing.
pub(super) type Watch<'a> = &'a mut (dyn FnMut(&Response<'_>) + Send);

/// A response, by what it means for the command that runs.
pub(super) enum Event {
    /// A command ended: its tag, whether it went well, whether it was a polite NO, and the words.
    Done { tag: String, ok: bool, no: bool, words: String },
    /// The server waits for a line.
    Question(String),
    /// Data, which was shown to whom it concerns.
    Data,
}

/// A session that is signed in.
pub(super) struct Session {
    client: Client<Meter>,
    pub(super) operation: String,
    peer: Peer,
    limits: Limits,
    ids: Ids,
    tags: u32,
    offers: HashSet<String>,
    /// The token it signed in with.
    pub(super) token: Option<AccessToken>,
    /// What it signed in with, which no word of the server shows.
    pub(super) said: Said,
    /// Whether removals are told by UID (RFC 7162 section 3.2).
    pub(super) qresync: bool,
    /// UIDVALIDITY of the folder that is open.
    pub(super) validity: Option<u32>,
    /// Messages in it, as last told.
    pub(super) exists: u32,
}

impl Session {
    /// A session that is signed in.
    ///
    /// # Errors
    /// The network's failure, the server's refusal, or that of whoever gives tokens.
    pub(super) async fn open(access: &Access) -> Result<Self, Trouble> {
        let mut renewed = false;
        let mut session = loop {
            let secret = access.signing.secret(&access.road.operation).await?;
            let mut session = Self::connect(&access.road).await?;
            match session.sign_in(&access.signing, &secret).await {
                Ok(()) => {
                    session.token = secret.into_token();
                    break session;
                }
                // A token that was refused is fetched anew, once.
                Err(trouble) if !renewed && trouble.failure.decision() == Decision::Hold => {
                    if !access.signing.forget(secret.token()) {
                        return Err(trouble);
                    }
                    renewed = true;
                }
                Err(trouble) => return Err(trouble),
            }
        };
        session.ask_capabilities().await?;
        if session.offers("QRESYNC") && session.offers("ENABLE") {
            session.command("ENABLE QRESYNC", Bounds::SMALL, &mut |_| ()).await?;
            session.qresync = true;
        }
        Ok(session)
    }

    /// A session that has greeted and told what it offers; nobody has signed in.
    ///
    /// # Errors
    /// The network's failure or the server's refusal.
    pub(super) async fn connect(road: &Road) -> Result<Self, Trouble> {
        let Road { operation, peer, protection, limits, ids } = road;
        let stream = peer.connect(operation).await?;
        let line = match protection {
            Protection::Plain => Line::Plain(stream),
            Protection::Implicit(config) => peer.upgrade(operation, stream, Arc::clone(config)).await?,
            Protection::Starttls(config) => {
                let asked = timeout(limits.silence, starttls(road, stream)).await;
                let (stream, said) =
                    asked.map_err(|_| peer.failure(operation, &no_answer(limits.silence), None))??;
                peer.starttls(operation, stream, &said, Arc::clone(config)).await?
            }
        };
        let mut session = Self {
            client: Client::new(Meter::new(line)),
            operation: operation.clone(),
            peer: peer.clone(),
            limits: *limits,
            ids: ids.clone(),
            tags: 0,
            offers: HashSet::new(),
            token: None,
            said: Said::default(),
            qresync: false,
            validity: None,
            exists: 0,
        };
        if !matches!(protection, Protection::Starttls(_)) {
            session.greeting().await?;
        }
        session.ask_capabilities().await?;
        Ok(session)
    }

    async fn greeting(&mut self) -> Result<(), Trouble> {
        self.client.get_mut().arm(Bounds::SMALL);
        let mut greeting = None;
        let mut on = |response: &Response<'_>| {
            if let Response::Data { status, outcome } = response {
                greeting = Some((*status == Status::Ok, literal(status, outcome)));
            }
        };
        self.next(&mut on).await?;
        match greeting {
            Some((true, _)) => Ok(()),
            Some((false, words)) => {
                Err(Trouble::new(not_greeted(&self.operation, &words, &self.ids), After::Dead))
            }
            None => Err(self.garbage("no greeting")),
        }
    }

    async fn ask_capabilities(&mut self) -> Result<(), Trouble> {
        let mut offers = HashSet::new();
        let mut collect = |response: &Response<'_>| {
            if let Response::Capabilities(told) = response {
                offers.extend(told.iter().map(|capability| match capability {
                    Capability::Imap4rev1 => "IMAP4REV1".to_owned(),
                    Capability::Auth(name) => format!("AUTH={}", name.to_ascii_uppercase()),
                    Capability::Atom(name) => name.to_ascii_uppercase(),
                }));
            }
        };
        self.command("CAPABILITY", Bounds::SMALL, &mut collect).await?;
        self.offers = offers;
        Ok(())
    }

    /// Whether the server offers a capability, named in capitals.
    pub(super) fn offers(&self, capability: &str) -> bool {
        self.offers.contains(capability)
    }

    /// What the server offers, in capitals and in order.
    pub(super) fn all_offers(&self) -> Vec<String> {
        let mut all: Vec<String> = self.offers.iter().cloned().collect();
        all.sort_unstable();
        all
    }

    /// The server's certificate (DER); none without TLS.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        self.client.get_ref().line().certificate()
    }

    /// What is allowed here.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Host and port, as OAUTHBEARER names them.
    pub(super) fn peer(&self) -> (&str, u16) {
        (&self.peer.host, self.peer.port)
    }

    /// Opens a folder without the right to change anything in it. With `since` a server that can tells what vanished
    /// since that UIDVALIDITY and MODSEQ (RFC 7162 section 3.2.5).
    pub(super) async fn examine(&mut self, name: &str, since: Option<(u32, u64)>) -> Result<Opened, Trouble> {
        let since = since.filter(|(_, modseq)| self.qresync && *modseq > 0);
        let since = since.map(|(validity, modseq)| format!(" (QRESYNC ({validity} {modseq}))"));
        self.opened(&format!("EXAMINE {}{}", folder::quoted(name), since.unwrap_or_default())).await
    }

    /// Opens a folder so that marks can be set in it.
    pub(super) async fn select(&mut self, name: &str) -> Result<Opened, Trouble> {
        self.opened(&format!("SELECT {}", folder::quoted(name))).await
    }

    async fn opened(&mut self, command: &str) -> Result<Opened, Trouble> {
        let mut opened = Opened::default();
        let mut told = |response: &Response<'_>| match response {
            Response::MailboxData(MailboxDatum::Exists(exists)) => opened.exists = *exists,
            Response::Vanished { uids, .. } => opened.vanished.extend(uids.iter().cloned()),
            Response::Data { outcome: Outcome { code: Some(code), .. }, .. } => match code {
                ResponseCode::UidValidity(validity) => opened.validity = Some(*validity),
                ResponseCode::UidNext(next) => opened.next = Some(*next),
                ResponseCode::HighestModSeq(modseq) => opened.modseq = *modseq,
                _ => {}
            },
            _ => {}
        };
        self.validity = None;
        self.command(command, Bounds::LIST, &mut told).await?;
        (self.validity, self.exists) = (opened.validity, opened.exists);
        Ok(opened)
    }

    /// Runs a command and shows every response but the last to `on`.
    ///
    /// # Errors
    /// The network's failure or the server's refusal.
    pub(super) async fn command(&mut self, text: &str, bounds: Bounds, on: Watch<'_>) -> Result<(), Trouble> {
        let limit = self.limits.command;
        let run = async {
            let tag = self.begin(text, bounds).await?;
            loop {
                let event = self.next(on).await?;
                if self.is_done(&tag, &event, false)? {
                    return Ok(());
                }
                if let Event::Question(_) = event {
                    return Err(self.garbage("a question where none belongs"));
                }
            }
        };
        match timeout(limit, run).await {
            Ok(done) => done,
            Err(_) => Err(self.stalled(&format!("the command took longer than {limit:?}"))),
        }
    }

    /// Sends a command; what it brings is bounded by `bounds`.
    pub(super) async fn begin(&mut self, text: &str, bounds: Bounds) -> Result<String, Trouble> {
        self.tags += 1;
        let tag = format!("p{}", self.tags);
        self.arm(bounds);
        self.send(&format!("{tag} {text}")).await?;
        Ok(tag)
    }

    /// What the server sends from here on is bounded by `bounds`.
    pub(super) fn arm(&mut self, bounds: Bounds) {
        self.client.get_mut().arm(bounds);
    }

    /// Sends one line.
    pub(super) async fn send(&mut self, text: &str) -> Result<(), Trouble> {
        let limit = self.limits.silence;
        let stream = self.client.get_mut();
        let write = async {
            stream.write_all(text.as_bytes()).await?;
            stream.write_all(b"\r\n").await?;
            stream.flush().await
        };
        match timeout(limit, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(self.stalled(&format!("the server took nothing for {limit:?}"))),
        }
    }

    /// Whether `event` ends the command; a refusal is an error.
    pub(super) fn is_done(&self, tag: &str, event: &Event, signing_in: bool) -> Result<bool, Trouble> {
        match event {
            Event::Done { tag: told, .. } if told != tag => {
                Err(self.garbage(&format!("an answer to {}, asked was {tag}", tidy(told, 40))))
            }
            Event::Done { ok: true, .. } => Ok(true),
            Event::Done { no, words, .. } => {
                let after = match words {
                    words if words.contains("AccessTokenExpired") => After::Expired,
                    words if *no && !words.contains("Session invalidated") => After::Alive,
                    _ => After::Dead,
                };
                Err(Trouble::new(refusal(&self.operation, words, signing_in, &self.ids), after))
            }
            Event::Question(_) | Event::Data => Ok(false),
        }
    }

    /// The next response. A server that says nothing for too long is given up; one that is slow is not.
    pub(super) async fn next(&mut self, on: Watch<'_>) -> Result<Event, Trouble> {
        let silence = self.limits.silence;
        loop {
            let before = self.client.get_ref().received();
            match timeout(silence, self.read(on)).await {
                Ok(event) => return event,
                Err(_) if self.client.get_ref().received() > before => {}
                Err(_) => return Err(self.stalled(&no_answer(silence))),
            }
        }
    }

    /// The next response, however long it takes. May be dropped while it waits without losing anything.
    pub(super) async fn read(&mut self, on: Watch<'_>) -> Result<Event, Trouble> {
        // The parser slices text at fixed places, which panics in the middle of a character.
        let response = match AssertUnwindSafe(self.client.read_response()).catch_unwind().await {
            Ok(Ok(Some(response))) => response,
            Ok(Ok(None)) => return Err(self.broken(&io::ErrorKind::UnexpectedEof.into())),
            Ok(Err(error)) => return Err(self.broken(&error)),
            Err(_) => return Err(self.garbage("a response that the parser gave up on")),
        };
        match response.parsed() {
            Response::Done { tag, status, outcome } => Ok(Event::Done {
                tag: tag.0.clone(),
                ok: *status == Status::Ok,
                no: *status == Status::No,
                words: self.said.hide(literal(status, outcome)),
            }),
            Response::Continue(outcome) => {
                Ok(Event::Question(outcome.information.as_deref().unwrap_or_default().to_owned()))
            }
            Response::Data { status: Status::Bye, outcome } => {
                let words = self.said.hide(literal(&Status::Bye, outcome));
                let after = if words.contains("AccessTokenExpired") { After::Expired } else { After::Cut };
                Err(Trouble::new(refusal(&self.operation, &words, false, &self.ids), after))
            }
            data => {
                on(data);
                Ok(Event::Data)
            }
        }
    }

    /// Whether a quoted string of this answer held a backslash.
    pub(super) fn escaped(&self) -> bool {
        self.client.get_ref().escaped()
    }

    /// The server said what it must not say.
    pub(super) fn garbage(&self, what: &str) -> Trouble {
        let what = tidy(self.said.hide(what.to_owned()), SHOWN);
        let words = format!("the server sent what is not expected of IMAP: {what}");
        let retry = Decision::Retry { after: None };
        let mut failure = Failure::new(&self.operation, Origin::Provider, words, retry);
        failure.advice = Some(
            "Check that server address and port lead to an IMAP server, and choose the right TLS mode."
                .to_owned(),
        );
        Trouble::new(failure, After::Dead)
    }

    fn stalled(&self, words: &str) -> Trouble {
        Trouble::new(self.peer.failure(&self.operation, words, None), After::Dead)
    }

    fn broken(&self, error: &io::Error) -> Trouble {
        if let Some(excess) = error.get_ref().and_then(|inner| inner.downcast_ref::<Excess>()) {
            let mut trouble = self.garbage(&excess.to_string());
            trouble.failure.advice = None;
            trouble.after = After::Excess;
            return trouble;
        }
        let text = error.to_string();
        if let Some((_, garbage)) = text.split_once("during parsing of ") {
            return self.garbage(garbage);
        }
        let words = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            _ => self.said.hide(text),
        };
        Trouble::new(self.peer.failure(&self.operation, &words, None), After::Cut)
    }
}

fn no_answer(silence: Duration) -> String {
    format!("no answer within {silence:?}")
}

/// A greeting that is no `* OK`.
fn not_greeted(operation: &str, words: &str, ids: &Ids) -> Failure {
    if words.starts_with("PREAUTH") {
        let words = format!("the server signed somebody in unasked: {words}");
        let mut failure = Failure::new(operation, Origin::Provider, words, Decision::Hold);
        failure.advice =
            Some("Its administrator must switch that off: whose mailbox this is cannot be known.".to_owned());
        return failure;
    }
    refusal(operation, words, false, ids)
}

/// Reads the greeting and agrees on TLS, before which nothing secret is said and after which nothing counts that was
/// said before it (RFC 8314 section 3.1). Gives what the server said behind its yes.
async fn starttls(road: &Road, stream: TcpStream) -> Result<(TcpStream, Vec<u8>), Failure> {
    const TAG: &str = "t1";
    let Road { operation, peer, ids, .. } = road;
    let mut reader = BufReader::new(stream);
    let greeting = early_line(road, &mut reader).await?;
    match greeting.strip_prefix("* ") {
        Some(words) if words.to_ascii_uppercase().starts_with("OK") => {}
        Some(words) => return Err(not_greeted(operation, words, ids)),
        None => return Err(peer.no_starttls(operation, &greeting)),
    }
    let command = format!("{TAG} STARTTLS\r\n");
    let written = reader.get_mut().write_all(command.as_bytes()).await;
    written.map_err(|error| peer.failure(operation, &error.to_string(), None))?;
    for _ in 0..MAX_EARLY_LINES {
        let line = early_line(road, &mut reader).await?;
        let Some(words) = line.strip_prefix(TAG).map(str::trim_start) else { continue };
        if !words.to_ascii_uppercase().starts_with("OK") {
            return Err(peer.no_starttls(operation, words));
        }
        let said = reader.buffer().to_vec();
        return Ok((reader.into_inner(), said));
    }
    Err(peer.no_starttls(operation, "no answer among many lines"))
}

async fn early_line(road: &Road, reader: &mut BufReader<TcpStream>) -> Result<String, Failure> {
    let Road { operation, peer, .. } = road;
    let mut line = Vec::new();
    let read = reader.take(MAX_EARLY_LINE).read_until(b'\n', &mut line).await;
    read.map_err(|error| peer.failure(operation, &error.to_string(), None))?;
    if line.is_empty() {
        return Err(peer.failure(operation, "the server closed the connection", None));
    }
    if line.last() != Some(&b'\n') {
        return Err(peer.no_starttls(operation, &tidy(String::from_utf8_lossy(&line), SHOWN)));
    }
    Ok(tidy(String::from_utf8_lossy(&line), 1_000))
}
