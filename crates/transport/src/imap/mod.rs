//! Any IMAP server (RFC 3501): one folder, read and not changed, unless processed mail is to be marked or moved.
//!
//! The folder is opened with EXAMINE and read with BODY.PEEK, so no flag changes by reading. Credentials are said only after TLS,
//! except on a line that the settings allow to be plain. What the server sends is counted before it is parsed, every
//! command ends in time, and each refusal carries the server's literal words.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | here | [`ImapSource`]: sessions opened, used again and given up |
//! | `session` | connecting, STARTTLS, commands and their answers |
//! | `sign_in` | passwords and tokens |
//! | `page` | what is new, in pages |
//! | `message` | the bytes of messages, in batches and in ranges |
//! | `settle` | counting and listing by date; marking and moving what was processed |
//! | `idle` | waiting for news |
//! | `look` | for the check: what a server shows, a sign-in alone, a test message found and removed |
//! | `meter` | bounds on what a server sends |
//! | `cursor` | where reading goes on; the ids of messages |
//! | `folder` | names of folders on the wire |
//! | `words` | what a refusal means |

mod cursor;
mod folder;
mod idle;
mod look;
mod message;
mod meter;
mod page;
mod session;
mod settle;
mod sign_in;
mod words;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_imap::imap_proto::{MailboxDatum, Response, StatusAttribute};
use async_trait::async_trait;
use bytes::Bytes;
use postroom_entra::Ids;
use postroom_model::address::HostName;
use postroom_model::connection::{AuthenticationFlow, ConnectionSettings, TlsMode, is_loopback};
use postroom_model::failure::Failure;
use postroom_model::mailbox::AfterProcessing;
use postroom_model::{EmailAddress, Env, SecretString, Timestamp};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::line::Peer;
use crate::wire::{Wire, hold};
use crate::{Account, Changes, MessageSink, RemoteMessage, Source, Survey, Woken};
use cursor::Incarnation;
pub(crate) use look::{look, sign_in, test_box};
use meter::Bounds;
use page::Backlog;
pub use session::Limits;
use session::{Access, Protection, Road, Session};
use sign_in::Signing;
use words::{After, Trouble};

const INBOX: &str = "INBOX";

/// A source.
pub(crate) fn source(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    account: &Account,
) -> Result<Box<dyn Source>, Failure> {
    Ok(Box::new(ImapSource::new(wire, settings, secret, account)?))
}

/// Reads one folder of one mailbox. Holds one session for reading and one for waiting, each opened when it is needed.
pub struct ImapSource {
    address: EmailAddress,
    folder: String,
    access: Access,
    env: Env,
    state: Mutex<State>,
    waiting: Mutex<Waiting>,
    /// The session in which the folder is open for changes.
    settling: Mutex<Option<Session>>,
    begin_at: Option<Timestamp>,
}

/// What reading remembers between calls. Nothing of it is needed: all of it can be asked again.
#[derive(Default)]
struct State {
    session: Option<Session>,
    backlog: Option<Backlog>,
    /// The messages of the last page, by rising UID.
    page: Vec<OnPage>,
    /// Small messages of the page that were brought and not asked for yet.
    kept: HashMap<u32, Bytes>,
    /// The incarnation that was read last.
    told: Option<Incarnation>,
    /// The server sent more than was asked for: nothing is brought in bulk any more.
    careful: bool,
}

/// A message of the last page.
struct OnPage {
    uid: u32,
    /// What the server says.
    size: u64,
    /// Whether its bytes were asked for; what did not come is asked for once more when it is wanted.
    asked: bool,
}

/// What waiting remembers between calls.
#[derive(Default)]
struct Waiting {
    session: Option<Session>,
    /// What the folder was when it was opened last: UIDVALIDITY and UIDNEXT.
    seen: Option<(Option<u32>, Option<u32>)>,
    /// The server said that it cannot tell.
    not_offered: bool,
}

impl State {
    /// The open session, and whether it was used before.
    async fn session(&mut self, access: &Access) -> Result<(Session, bool), Trouble> {
        match self.session.take() {
            Some(session) => Ok((session, true)),
            None => {
                self.backlog = None;
                Ok((open(access).await?, false))
            }
        }
    }
}

impl fmt::Debug for ImapSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapSource").field("address", &self.address).field("folder", &self.folder).finish()
    }
}

impl ImapSource {
    /// A source. Nothing is asked yet.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`](postroom_model::failure::Decision) naming the first thing that is missing or wrong in the settings.
    pub fn new(
        wire: &Wire,
        settings: &ConnectionSettings,
        secret: Option<SecretString>,
        account: &Account,
    ) -> Result<Self, Failure> {
        let operation = format!("read {}", account.address);
        Ok(Self {
            address: account.address.clone(),
            folder: INBOX.to_owned(),
            access: access(wire, settings, secret, account, operation)?,
            env: wire.env.clone(),
            state: Mutex::default(),
            waiting: Mutex::default(),
            settling: Mutex::default(),
            begin_at: None,
        })
    }

    /// The same source for another folder than the inbox, by the name that people see.
    pub fn folder(mut self, name: &str) -> Self {
        name.clone_into(&mut self.folder);
        self
    }

    /// The same source with other limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.access.road.peer.patience = limits.connect;
        self.access.road.limits = limits;
        self
    }

    /// Puts the session back when it can be used again. Whether the same is worth another try: on a new session when
    /// the old one was cut since its last use, more carefully when the server sent too much.
    fn settle_session(
        &self,
        state: &mut State,
        session: Session,
        used: bool,
        trouble: Option<&Trouble>,
    ) -> bool {
        let Some(trouble) = trouble.filter(|trouble| trouble.is_over()) else {
            state.session = Some(session);
            return false;
        };
        state.backlog = None;
        match trouble.after {
            After::Expired => {
                self.access.signing.forget(session.token.as_ref());
                used
            }
            After::Cut => used,
            After::Excess => !std::mem::replace(&mut state.careful, true),
            After::Alive | After::Dead => false,
        }
    }

    /// The sentence of a probe.
    async fn look(&self, session: &mut Session) -> Result<String, Trouble> {
        let mut unread = None;
        let mut on = |response: &Response<'_>| {
            if let Response::MailboxData(MailboxDatum::Status { status, .. }) = response {
                unread = status.iter().find_map(|attribute| match attribute {
                    StatusAttribute::Unseen(unseen) => Some(*unseen),
                    _ => None,
                });
            }
        };
        let command = format!("STATUS {} (UNSEEN)", folder::quoted(&self.folder));
        session.command(&command, Bounds::SMALL, &mut on).await?;
        let total = session.examine(&self.folder, None).await?.exists;
        let newest = page::newest(session).await?;
        let name = if self.folder == INBOX { "Inbox" } else { &self.folder };
        let mut sentence = format!("{name} of {} opened: {total} messages", self.address);
        if let Some(unread) = unread {
            sentence.push_str(&format!(", {unread} unread"));
        }
        if let Some(received) = newest {
            sentence.push_str(&format!("; the newest was received at {received}"));
        }
        sentence.push('.');
        Ok(sentence)
    }

    /// A session for waiting that has the folder open, and whether something came since the one before was opened:
    /// what came while none was open would wake nobody.
    async fn open_for_waiting(&self, waiting: &mut Waiting) -> Result<(Session, bool), Trouble> {
        let mut session = open(&self.access).await?;
        let opened = session.examine(&self.folder, None).await?;
        let now = (opened.validity, opened.next);
        let news = waiting.seen.replace(now).is_some_and(|before| before != now);
        Ok((session, news))
    }
}

/// What is asked of the session that reads, beside reading.
enum Asked {
    Survey(Timestamp),
    Since(Timestamp),
}

enum Answered {
    Survey(Survey),
    Since(Vec<RemoteMessage>),
}

impl ImapSource {
    /// Asks the session that reads; on a new one when the old one was cut since its last use.
    async fn ask(&self, asked: &Asked) -> Result<Answered, Failure> {
        let mut state = self.state.lock().await;
        loop {
            let (mut session, used) =
                state.session(&self.access).await.map_err(|trouble| *trouble.failure)?;
            let told = state.told;
            let answer = match asked {
                Asked::Survey(before) => {
                    settle::survey(&mut session, &self.folder, *before).await.map(Answered::Survey)
                }
                Asked::Since(since) => settle::received_since(&mut session, &self.folder, told, *since)
                    .await
                    .map(Answered::Since),
            };
            let again = self.settle_session(&mut state, session, used, answer.as_ref().err());
            match answer {
                Ok(answer) => return Ok(answer),
                Err(trouble) if !again => return Err(*trouble.failure),
                Err(trouble) => {
                    tracing::debug!(mailbox = %self.address, error = %trouble.failure, "a new session is opened")
                }
            }
        }
    }
}

/// A new session, in bounded time.
async fn open(access: &Access) -> Result<Session, Trouble> {
    let Road { operation, peer, limits, .. } = &access.road;
    let limit = limits.command;
    match timeout(limit, Session::open(access)).await {
        Ok(opened) => opened,
        Err(_) => {
            let words = format!("signing in took longer than {limit:?}");
            Err(peer.failure(operation, &words, None).into())
        }
    }
}

/// The way to the server.
///
/// # Errors
/// A failure with [`Decision::Hold`](postroom_model::failure::Decision) when the settings lead nowhere.
fn road(wire: &Wire, settings: &ConnectionSettings, operation: String, ids: Ids) -> Result<Road, Failure> {
    let limits = Limits::default();
    let host = HostName::from_pasted(&settings.server).map_err(|error| hold(settings, error.to_string()))?;
    let host = host.as_str().to_owned();
    let protection = match settings.tls {
        TlsMode::Implicit => Protection::Implicit(wire.tls(settings)?),
        TlsMode::Starttls => Protection::Starttls(wire.tls(settings)?),
        TlsMode::Plain if settings.accept_plain || is_loopback(&host) => Protection::Plain,
        TlsMode::Plain => return Err(hold(settings, "Without TLS only this machine can be reached")),
        TlsMode::StarttlsIfOffered => {
            return Err(hold(settings, "IMAP needs a protected line: choose TLS or STARTTLS"));
        }
    };
    let peer = Peer { host, port: settings.effective_port(), patience: limits.connect };
    Ok(Road { operation, peer, protection, limits, ids })
}

/// The way to the server and into one account.
fn access(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    account: &Account,
    operation: String,
) -> Result<Access, Failure> {
    let ids = crate::look::ids(settings).with_mailbox(account.address.as_str());
    let road = road(wire, settings, operation, ids)?;
    Ok(Access { road, signing: signing(wire, settings, secret, account)? })
}

/// With what the account signs in: by flow, its own user name and password before the connection's.
fn signing(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    account: &Account,
) -> Result<Signing, Failure> {
    let names = [account.user_name.trim(), settings.user_name.trim(), account.address.as_str()];
    let user = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned();
    if settings.flow != AuthenticationFlow::Password {
        // A token of an application opens the mailbox that is named (imap-smtp: XOAUTH2 on the wire).
        let user = if account.user_name.trim().is_empty() {
            account.address.as_str()
        } else {
            account.user_name.trim()
        };
        let request = Box::new(wire.token_request(settings, secret)?);
        return Ok(Signing::Token { user: user.to_owned(), request, tokens: Arc::clone(&wire.tokens) });
    }
    let password = account.password.clone().or(secret);
    match wire.valid(settings, password)? {
        Some(password) => Ok(Signing::Password { user, password }),
        None => Err(hold(settings, "Password is missing")),
    }
}

#[async_trait]
impl Source for ImapSource {
    fn begin_at(&mut self, instant: Timestamp) {
        self.begin_at = Some(instant);
    }

    fn in_order(&self) -> bool {
        true
    }

    async fn waiting(&self) -> Option<u64> {
        Some(self.state.lock().await.backlog.as_ref().map_or(0, Backlog::waiting))
    }

    async fn received_since(&self, since: Timestamp) -> Result<Vec<RemoteMessage>, Failure> {
        match self.ask(&Asked::Since(since)).await? {
            Answered::Since(found) => Ok(found),
            Answered::Survey(_) => Ok(Vec::new()),
        }
    }

    async fn survey(&self, before: Timestamp) -> Result<Survey, Failure> {
        match self.ask(&Asked::Survey(before)).await? {
            Answered::Survey(survey) => Ok(survey),
            Answered::Since(_) => Ok(Survey::default()),
        }
    }

    async fn settle(&self, provider_id: &str, how: &AfterProcessing) -> Result<(), Failure> {
        let Some((incarnation, uid)) = Incarnation::parse_id(provider_id) else { return Ok(()) };
        let mut settling = self.settling.lock().await;
        let mut used = settling.is_some();
        loop {
            let mut session = match settling.take() {
                Some(session) => session,
                None => open(&self.access).await.map_err(|trouble| *trouble.failure)?,
            };
            let done = match settle::open(&mut session, &self.folder, incarnation).await {
                Ok(true) => settle::settle(&mut session, uid, how).await,
                Ok(false) => Ok(()),
                Err(trouble) => Err(trouble),
            };
            match done {
                Ok(()) => {
                    *settling = Some(session);
                    return Ok(());
                }
                Err(trouble) => {
                    if trouble.after == After::Expired {
                        self.access.signing.forget(session.token.as_ref());
                    }
                    if !(std::mem::take(&mut used) && matches!(trouble.after, After::Cut | After::Expired)) {
                        return Err(*trouble.failure);
                    }
                }
            }
        }
    }

    async fn changes(&self, cursor: Option<&str>) -> Result<Changes, Failure> {
        let mut state = self.state.lock().await;
        loop {
            let (mut session, used) =
                state.session(&self.access).await.map_err(|trouble| *trouble.failure)?;
            let page =
                page::changes(&mut session, &mut state, &self.folder, cursor, self.begin_at, &self.env).await;
            let again = self.settle_session(&mut state, session, used, page.as_ref().err());
            match page {
                Ok(changes) => return Ok(changes),
                Err(trouble) if !again => return Err(*trouble.failure),
                Err(trouble) => {
                    tracing::debug!(mailbox = %self.address, error = %trouble.failure, "a new session is opened")
                }
            }
        }
    }

    async fn fetch(
        &self,
        provider_id: &str,
        limit: u64,
        sink: &mut dyn MessageSink,
    ) -> Result<Option<u64>, Failure> {
        let Some((incarnation, uid)) = Incarnation::parse_id(provider_id) else { return Ok(None) };
        let mut state = self.state.lock().await;
        loop {
            let (mut session, used) =
                state.session(&self.access).await.map_err(|trouble| *trouble.failure)?;
            let mut written = 0;
            let message = async {
                if session.validity.is_none() {
                    session.examine(&self.folder, None).await?;
                }
                let other = state.told.is_some_and(|told| told != incarnation);
                if other || session.validity != Some(incarnation.validity) {
                    return Ok(None);
                }
                match state.kept.remove(&uid) {
                    Some(message) => message::deliver(&session, message, limit, sink).await.map(Some),
                    None => message::fetch(&mut session, &mut state, uid, limit, sink, &mut written).await,
                }
            };
            let message = message.await;
            let again = self.settle_session(&mut state, session, used, message.as_ref().err());
            match message {
                Ok(size) => return Ok(size),
                Err(trouble) if !again || written > 0 => return Err(*trouble.failure),
                Err(trouble) => {
                    tracing::debug!(mailbox = %self.address, error = %trouble.failure, "a new session is opened")
                }
            }
        }
    }

    async fn probe(&self) -> Result<String, Failure> {
        let mut state = self.state.lock().await;
        loop {
            let (mut session, used) =
                state.session(&self.access).await.map_err(|trouble| *trouble.failure)?;
            let sentence = self.look(&mut session).await;
            let again = self.settle_session(&mut state, session, used, sentence.as_ref().err());
            match sentence {
                Ok(sentence) => return Ok(sentence),
                Err(trouble) if !again => return Err(*trouble.failure),
                Err(trouble) => {
                    tracing::debug!(mailbox = %self.address, error = %trouble.failure, "a new session is opened")
                }
            }
        }
    }

    async fn wait(&self, limit: Duration) -> Result<Woken, Failure> {
        let mut waiting = self.waiting.lock().await;
        if waiting.not_offered {
            return Ok(Woken::NotOffered);
        }
        loop {
            let kept = waiting.session.take();
            let used = kept.is_some();
            let (mut session, news) = match kept {
                Some(session) => (session, false),
                None => self.open_for_waiting(&mut waiting).await.map_err(|trouble| *trouble.failure)?,
            };
            if !session.offers("IDLE") {
                waiting.not_offered = true;
                return Ok(Woken::NotOffered);
            }
            let woken = if news { Ok(true) } else { session.idle(limit, self.access.road.limits.idle).await };
            match woken {
                Ok(news) => {
                    waiting.session = Some(session);
                    return Ok(if news { Woken::News } else { Woken::Quiet });
                }
                Err(trouble) => {
                    if trouble.after == After::Expired {
                        self.access.signing.forget(session.token.as_ref());
                    }
                    if !(used && matches!(trouble.after, After::Cut | After::Expired)) {
                        return Err(*trouble.failure);
                    }
                }
            }
        }
    }
}
