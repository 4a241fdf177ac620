//! From a draft or a raw message to an accepted message.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use postroom_mime::lighten::TooHeavy;
use postroom_mime::submission::Submission;
use postroom_mime::{build, eml, submission};
use postroom_model::connection::{Connection, ConnectionKind, ConnectionSettings, EmailMethod, ExchangeApi};
use postroom_model::draft::{Draft, MAX_RECIPIENTS};
use postroom_model::outbox::{Envelope, IdempotencyKey};
use postroom_model::{EmailAddress, Env, OutboxMessageId, Problems, Timestamp};
use postroom_store::{Acceptance, NewOutboxMessage, Store, StoreError};
use postroom_transport::Transports;
use postroom_transport::graph;

use crate::Nudges;
use crate::gate::Gate;
use crate::signals::Signals;
use crate::signals::journey::{Passed, Step};

/// When whoever was refused may try again: a group of writes takes far less.
const BUSY_SECONDS: u32 = 5;

/// Who hands a message in, and under which key.
#[derive(Debug, Clone)]
pub struct Submitter {
    /// `user:admin`, `key:erp`, `cli`.
    pub name: String,
    /// The key and the SHA-256 of the whole request.
    pub idempotency: Option<(IdempotencyKey, [u8; 32])>,
}

/// Why a message was not accepted. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Fields are wrong.
    #[error("the message is not valid: {0}")]
    Invalid(Problems),
    /// Larger than the connection takes.
    #[error("the message has {} encoded; the limit is {}", figure(*size), figure(*limit))]
    TooLarge {
        /// Encoded size in bytes; at least this, when it was refused before all of it was built.
        size: u64,
        /// Limit in bytes.
        limit: u64,
    },
    /// Microsoft Graph takes files of any size, and what is left without them in one request only.
    #[error("{0}, through Microsoft Graph")]
    TooHeavy(TooHeavy),
    /// There is no connection to send it through.
    #[error("{0}")]
    NoConnection(String),
    /// The e-mail method makes drafts, which the user's own program sends.
    #[error("the e-mail method is `{}`: Postroom makes a ready draft and sends nothing itself", EmailMethod::Outlook.label())]
    DraftsOnly,
    /// The store cannot keep up; nothing of the message was stored.
    #[error("the store cannot keep up with what it is given; nothing was accepted")]
    Busy {
        /// Seconds after which trying again makes sense.
        retry_after: u32,
    },
    /// The store failed.
    #[error("the message could not be stored")]
    Store(#[from] StoreError),
}

impl IntakeError {
    /// What to do about it, where that is the same for everybody.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } | Self::TooHeavy(_) => Some(
                "files grow by more than a third when they are encoded: send fewer or smaller ones, or ask an administrator for a higher `Maximum size for files in e-mail`",
            ),
            Self::NoConnection(_) => {
                Some("an administrator sets the way out on the page System settings - E-mail")
            }
            Self::Busy { .. } => Some("try again in a few seconds with the same idempotency key"),
            Self::Invalid(_) | Self::DraftsOnly | Self::Store(_) => None,
        }
    }
}

/// A size as people and programs read it: `12.4 MB (12400000 bytes)`.
fn figure(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{bytes} bytes"),
        // Rounded up, so that what is a little over a limit is not shown as the limit.
        _ => {
            let tenths = bytes.div_ceil(100_000);
            format!("{}.{} MB ({bytes} bytes)", tenths / 10, tenths % 10)
        }
    }
}

/// A ready draft: a file that the user's own mail program opens and sends. Nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyDraft {
    /// Name of the file, after the subject: `Order 4711.eml`.
    pub file_name: String,
    /// The file (`message/rfc822`).
    pub raw: Bytes,
}

/// Takes messages in.
#[derive(Clone)]
pub struct Intake {
    store: Arc<dyn Store>,
    transports: Arc<dyn Transports>,
    env: Env,
    nudges: Arc<Nudges>,
    signals: Arc<Signals>,
    gate: Arc<Gate>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Intake")
    }
}

/// A message with everything that is stored of it.
struct Ready {
    connection: Connection,
    envelope: Envelope,
    message_id: String,
    subject: String,
    raw: Bytes,
}

impl Intake {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        transports: Arc<dyn Transports>,
        env: Env,
        nudges: Arc<Nudges>,
        signals: Arc<Signals>,
        gate: Arc<Gate>,
    ) -> Self {
        Self { store, transports, env, nudges, signals, gate }
    }

    /// Validates a draft, builds its MIME, stores it, and answers when it is on disk. The connection is that of the
    /// mailbox with the sender's address, else the one of the outgoing settings.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn submit_draft(&self, draft: Draft, submitter: Submitter) -> Result<Acceptance, IntakeError> {
        self.submit(draft, None, submitter).await
    }

    /// The same through this connection, whoever the sender is.
    pub(crate) async fn submit_draft_through(
        &self,
        draft: Draft,
        connection: Connection,
        submitter: Submitter,
    ) -> Result<Acceptance, IntakeError> {
        self.submit(draft, Some(connection), submitter).await
    }

    async fn submit(
        &self,
        draft: Draft,
        through: Option<Connection>,
        submitter: Submitter,
    ) -> Result<Acceptance, IntakeError> {
        if let Some(known) = self.known(&submitter).await? {
            return Ok(known);
        }
        let draft = draft.validate().map_err(IntakeError::Invalid)?;
        let from = draft.from.address.clone();
        let connection = match through {
            Some(connection) => connection,
            None => self.connection_for(&from).await?,
        };
        // Files larger than the limit are refused before they are encoded, which would double them in memory.
        check_size(build::encoded_size(&draft.attachments), connection.settings.max_size_bytes())?;
        let message_id = self.new_message_id(&from);
        let raw = build::build(&draft, &message_id, self.env.now(), &self.env.new_token(24));
        let envelope = Envelope { from, to: draft.recipients() };
        let ready = Ready { connection, envelope, message_id, subject: draft.subject, raw: raw.into() };
        self.accept(ready, submitter).await
    }

    /// Validates a message like [`Intake::submit_draft`] and makes a ready draft of it.
    /// The limit is that of the connection the sender would send through; where there is none, because the e-mail
    /// method makes drafts only, it is the usual [`ConnectionSettings::DEFAULT_MAX_SIZE_MB`].
    ///
    /// # Errors
    /// [`IntakeError`], but none about a connection.
    pub async fn make_draft(&self, draft: Draft) -> Result<ReadyDraft, IntakeError> {
        let draft = draft.validate().map_err(IntakeError::Invalid)?;
        let limit = match self.chosen_for(&draft.from.address).await {
            Ok(connection) => connection.settings.max_size_bytes(),
            Err(IntakeError::Store(error)) => return Err(error.into()),
            Err(_) => u64::from(ConnectionSettings::DEFAULT_MAX_SIZE_MB) * 1_000_000,
        };
        check_size(build::encoded_size(&draft.attachments), limit)?;
        let raw = eml::unsent(&draft, &self.env.new_token(24));
        check_size(raw.len() as u64, limit)?;
        Ok(ReadyDraft { file_name: eml::file_name(&draft.subject), raw: raw.into() })
    }

    /// Like [`Intake::submit_draft`], for a raw message with its envelope. Exchange Online takes sender and recipients
    /// from the headers, so there `From`, or `Sender` of a message in the name of another, must be the envelope's
    /// sender, and the envelope must name everyone whom a header names; those it
    /// names beyond that are blind copies.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn submit_raw(
        &self,
        raw: Bytes,
        envelope: Envelope,
        submitter: Submitter,
    ) -> Result<Acceptance, IntakeError> {
        if let Some(known) = self.known(&submitter).await? {
            return Ok(known);
        }
        let envelope = each_once(envelope);
        check_envelope(&envelope).into_result().map_err(IntakeError::Invalid)?;
        let connection = self.connection_for(&envelope.from).await?;
        check_size(raw.len() as u64, connection.settings.max_size_bytes())?;
        let fallback = self.new_message_id(&envelope.from);
        let read = submission::read(&raw, &fallback, self.env.now()).map_err(IntakeError::Invalid)?;
        if connection.settings.kind == ConnectionKind::ExchangeOnline {
            check_headers(&read, &envelope).into_result().map_err(IntakeError::Invalid)?;
        }
        let ready = Ready {
            connection,
            envelope,
            message_id: read.message_id,
            subject: read.subject,
            raw: read.raw.into(),
        };
        self.accept(ready, submitter).await
    }

    async fn known(&self, submitter: &Submitter) -> Result<Option<Acceptance>, StoreError> {
        match &submitter.idempotency {
            Some((key, request)) => self.store.idempotent(&submitter.name, key, request).await,
            None => Ok(None),
        }
    }

    /// Blob first, then row, key and event in one transaction: yes means on disk.
    async fn accept(&self, ready: Ready, submitter: Submitter) -> Result<Acceptance, IntakeError> {
        check_size(ready.raw.len() as u64, ready.connection.settings.max_size_bytes())?;
        check_weight(&ready.raw, &ready.connection)?;
        if self.nudges.is_full() {
            let path = std::path::PathBuf::from("the data folder");
            return Err(StoreError::Full { operation: "accept a message", path }.into());
        }
        let _pass = self.gate.enter(self.store.waiting_writers()).map_err(|busy| {
            let labels = vec![("reason", busy.as_str().to_owned())];
            self.signals.families.accept_refused.get_or_create(&labels).inc();
            tracing::warn!(reason = busy.as_str(), "a message is refused: the store cannot keep up");
            IntakeError::Busy { retry_after: BUSY_SECONDS }
        })?;
        let (id, begun) = (self.env.new_id(), self.env.now());
        let stored = self.store_and_commit(id, ready, submitter).await;
        self.tell(id, begun, &stored);
        Ok(stored?)
    }

    async fn store_and_commit(
        &self,
        id: OutboxMessageId,
        ready: Ready,
        submitter: Submitter,
    ) -> Result<Acceptance, StoreError> {
        let raw = self.store.put_blob(ready.raw).await?;
        let message = NewOutboxMessage {
            id,
            connection: ready.connection.id,
            envelope: ready.envelope,
            message_id: ready.message_id,
            subject: ready.subject,
            raw,
            submitted_by: submitter.name,
            idempotency: submitter.idempotency,
        };
        let acceptance = self.store.accept(message).await?;
        if let Acceptance::Accepted(message) = &acceptance {
            tracing::info!(message = %message.id, size = message.size, "accepted");
            self.nudges.outbox.notify_waiters();
        }
        Ok(acceptance)
    }

    /// Figures and trace of an acceptance.
    fn tell(&self, message: OutboxMessageId, begun: Timestamp, stored: &Result<Acceptance, StoreError>) {
        let outcome = match stored {
            Ok(Acceptance::Accepted(_)) => "accepted",
            Ok(Acceptance::Repeated(_)) => "repeated",
            Ok(Acceptance::KeyConflict { .. }) => "conflict",
            Err(_) => "failed",
        };
        let ended = self.env.now();
        let labels = vec![("outcome", outcome.to_owned())];
        let seconds = ended.duration_since(begun).as_secs_f64().max(0.0);
        self.signals.families.accept_duration.get_or_create(&labels).observe(seconds);
        if matches!(stored, Ok(Acceptance::Accepted(_))) {
            let (step, attempt, failed) = (Step::Accept, None, false);
            self.signals.passed(&Passed { message, step, begun, ended, attempt, outcome, failed });
        }
    }

    /// `<uuid@domain-of-sender>`. A domain beyond ASCII may not stand in a `Message-ID` (RFC 5322 section 3.6.4).
    fn new_message_id(&self, from: &EmailAddress) -> String {
        let domain = Some(from.domain()).filter(|domain| domain.is_ascii()).unwrap_or("postroom.invalid");
        format!("<{}@{domain}>", self.env.new_uuid())
    }

    /// The connection that a message from this address leaves through. What this version cannot send is refused now,
    /// and not held for days.
    async fn connection_for(&self, from: &EmailAddress) -> Result<Connection, IntakeError> {
        let connection = self.chosen_for(from).await?;
        self.transports.can_send(&connection.settings).map_err(|why| {
            let name = connection.settings.display_name();
            IntakeError::NoConnection(format!("the connection `{name}` cannot send: {why}"))
        })?;
        Ok(connection)
    }

    /// Whether messages can leave by this connection at all.
    pub(crate) fn can_send(&self, connection: &Connection) -> bool {
        connection.settings.kind.sends() && self.transports.can_send(&connection.settings).is_ok()
    }

    async fn chosen_for(&self, from: &EmailAddress) -> Result<Connection, IntakeError> {
        for mailbox in self.store.mailboxes_by_address(from).await? {
            let connection = self.store.connection(mailbox.connection).await?;
            if let Some(connection) = connection.filter(|connection| connection.settings.kind.sends()) {
                return Ok(connection);
            }
        }
        let none = |words: String| Err(IntakeError::NoConnection(words));
        let Some(outgoing) = self.store.outgoing_settings().await? else {
            return none(format!(
                "there is no connection to send from {from}: choose an e-mail method under Settings, E-mail, or add {from} as a mailbox"
            ));
        };
        if outgoing.method == EmailMethod::Outlook {
            return Err(IntakeError::DraftsOnly);
        }
        let connection = match outgoing.connection {
            Some(id) => self.store.connection(id).await?,
            None => None,
        };
        match connection {
            Some(connection) if connection.settings.kind.sends() => Ok(connection),
            Some(connection) => none(format!(
                "the connection `{}` only receives: choose another one under Settings, E-mail",
                connection.settings.display_name()
            )),
            None => none(format!(
                "the e-mail method `{}` has no connection: choose one under Settings, E-mail",
                outgoing.method.label()
            )),
        }
    }
}

/// A size against a limit, both in bytes.
fn check_size(size: u64, limit: u64) -> Result<(), IntakeError> {
    if size > limit { Err(IntakeError::TooLarge { size, limit }) } else { Ok(()) }
}

/// What the transport of this kind could never hand over. The kind is asked, and not a sender: making one needs the
/// credential, and a message must be accepted while the credential is missing or expired.
fn check_weight(raw: &[u8], connection: &Connection) -> Result<(), IntakeError> {
    match (connection.settings.kind, connection.settings.api) {
        (ConnectionKind::ExchangeOnline, ExchangeApi::Graph) => {
            graph::check_size(raw).map_err(IntakeError::TooHeavy)
        }
        _ => Ok(()),
    }
}

fn each_once(envelope: Envelope) -> Envelope {
    let mut seen = BTreeSet::new();
    let to = envelope.to.into_iter().filter(|address| seen.insert(address.clone())).collect();
    Envelope { from: envelope.from, to }
}

fn check_envelope(envelope: &Envelope) -> Problems {
    let mut problems = Problems::new();
    match envelope.to.len() {
        0 => {
            problems.error("envelope", "a message needs at least one recipient in its envelope");
        }
        count if count > MAX_RECIPIENTS => {
            let message = format!("{count} recipients are too many; at most {MAX_RECIPIENTS} are allowed");
            problems.error("envelope", message);
        }
        _ => {}
    }
    problems
}

/// Exchange Online takes sender and recipients from the headers, so they must agree with the envelope.
fn check_headers(read: &Submission, envelope: &Envelope) -> Problems {
    let mut problems = Problems::new();
    // One mailbox may send in the name of another: `Sender` then names the mailbox, and Exchange decides.
    if read.from != envelope.from && read.sender.as_ref() != Some(&envelope.from) {
        let (header, envelope) = (&read.from, &envelope.from);
        problems
            .error("from", format!("the From header names {header}, and the envelope {envelope}"))
            .hint("Exchange Online sends as the mailbox of the envelope: give both the same address, or name that mailbox in a Sender header when it may send for the other.");
    }
    let named: BTreeSet<_> = envelope.to.iter().collect();
    for address in read.header_recipients.iter().filter(|address| !named.contains(address)).take(10) {
        problems
            .error("envelope", format!("{address} is in a header and not in the envelope"))
            .hint("Exchange Online sends to everyone whom To, Cc and Bcc name: add the address to the envelope, or take it out of the header.");
    }
    problems
}
