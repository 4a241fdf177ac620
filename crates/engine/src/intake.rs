//! From a draft or a raw message to an accepted message.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use postroom_mime::lighten::TooHeavy;
use postroom_mime::submission::Submission;
use postroom_mime::{build, submission};
use postroom_model::connection::{Connection, ConnectionKind, EmailMethod};
use postroom_model::draft::{Draft, MAX_RECIPIENTS};
use postroom_model::outbox::{Envelope, IdempotencyKey};
use postroom_model::{EmailAddress, Env, Problems};
use postroom_store::{Acceptance, NewOutboxMessage, Store, StoreError};
use postroom_transport::Transports;
use postroom_transport::graph;

use crate::Nudges;

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
    #[error("the message has {size} bytes encoded; the limit is {limit} bytes")]
    TooLarge {
        /// Encoded size in bytes.
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
    /// The store failed.
    #[error("the message could not be stored")]
    Store(#[from] StoreError),
}

/// Takes messages in.
#[derive(Clone)]
pub struct Intake {
    store: Arc<dyn Store>,
    transports: Arc<dyn Transports>,
    env: Env,
    nudges: Arc<Nudges>,
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
    ) -> Self {
        Self { store, transports, env, nudges }
    }

    /// Validates a draft, builds its MIME, stores it, and answers when it is on disk. The connection is that of the
    /// mailbox with the sender's address, else the one of the outgoing settings.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn submit_draft(&self, draft: Draft, submitter: Submitter) -> Result<Acceptance, IntakeError> {
        if let Some(known) = self.known(&submitter).await? {
            return Ok(known);
        }
        let draft = draft.validate().map_err(IntakeError::Invalid)?;
        let from = draft.from.address.clone();
        let connection = self.connection_for(&from).await?;
        // Files larger than the limit are refused before they are encoded, which would double them in memory.
        let files: usize = draft.attachments.iter().map(|attachment| attachment.content.len()).sum();
        check_size(files, &connection)?;
        let message_id = self.new_message_id(&from);
        let raw = build::build(&draft, &message_id, self.env.now(), &self.env.new_token(24));
        let envelope = Envelope { from, to: draft.recipients() };
        let ready = Ready { connection, envelope, message_id, subject: draft.subject, raw: raw.into() };
        self.accept(ready, submitter).await
    }

    /// The same for a raw message with its envelope. Exchange Online takes sender and recipients from the headers, so
    /// there `From`, or `Sender` of a message in the name of another, must be the envelope's sender, and the envelope must name everyone whom a header names; those it
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
        check_size(raw.len(), &connection)?;
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
        check_size(ready.raw.len(), &ready.connection)?;
        check_weight(&ready.raw, &ready.connection)?;
        let raw = self.store.put_blob(ready.raw).await?;
        let message = NewOutboxMessage {
            id: self.env.new_id(),
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
            return none(format!(
                "the e-mail method is `{}`, which sends nothing by itself: choose a server based method under Settings, E-mail, or fetch the message as a draft",
                EmailMethod::Outlook.label()
            ));
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

/// The raw message against the connection's *Maximum size for files in e-mail*.
fn check_size(size: usize, connection: &Connection) -> Result<(), IntakeError> {
    let (size, limit) = (u64::try_from(size).unwrap_or(u64::MAX), connection.settings.max_size_bytes());
    if size > limit { Err(IntakeError::TooLarge { size, limit }) } else { Ok(()) }
}

/// What the transport of this kind could never hand over. The kind is asked, and not a sender: making one needs the
/// credential, and a message must be accepted while the credential is missing or expired.
fn check_weight(raw: &[u8], connection: &Connection) -> Result<(), IntakeError> {
    match connection.settings.kind {
        ConnectionKind::ExchangeOnline => graph::check_size(raw).map_err(IntakeError::TooHeavy),
        ConnectionKind::Exchange | ConnectionKind::Imap | ConnectionKind::Smtp => Ok(()),
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
