//! Ways in and out of a mailbox: the traits [`Sender`] and [`Source`], and what stands behind them.
//!
//! A sender has three outcomes, never two: sent, not sent, *unknown*. A source reads and never changes what it
//! reads. Both answer with a [`Failure`], which carries its decision: who said no, and what is done next.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | here | the traits and what they give and take |
//! | [`graph`] | Exchange Online by Microsoft Graph |
//! | [`ews`] | Exchange on premises, and Exchange Online for as long as it answers EWS |
//! | [`imap`] | any IMAP server |
//! | [`smtp`] | any SMTP server |
//! | `draft` | what sending by a draft has in common, by Graph and by EWS |
//! | `line` | TCP and TLS to a mail server, each way of failing named |
//! | `look` | for the check: what a server shows, a sign-in alone, the test message found and removed |
//! | `secrets` | what was said to sign in, taken out of what a mail server says |
//! | `tls` | what a server's certificate is compared with |
//! | [`office`] | [`CredentialOffice`]: credentials tried, renewed and removed |
//! | [`wire`] | [`Wire`]: which transport serves which connection |
//!
//! # How to add a transport
//!
//! 1. Implement [`Sender`] and/or [`Source`] in a module of its own.
//! 2. Name it in [`Wire`], for the kind of connection it serves.
//! 3. Name it in the conformance suite (`tests/conformance/`): a world, which is a server and a line to it that can be
//!    cut, and one line in a list. Every scenario then runs against it.

mod draft;
pub mod ews;
pub mod graph;
pub mod imap;
mod line;
mod look;
pub mod office;
mod secrets;
pub mod smtp;
mod tls;
pub mod wire;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_model::connection::{Connection, ConnectionSettings};
use postroom_model::credential::Credential;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::{AfterProcessing, Mailbox};
use postroom_model::outbox::Envelope;
use postroom_model::{ConnectionId, EmailAddress, MailboxId, OutboxMessageId, SecretString, Timestamp};

pub use look::{Found, Seen, TestBox};
pub use office::{
    CredentialOffice, KnownCredential, MadeKey, Opening, Presented, RenewalOrder, Renewed, WideRight,
};
pub use wire::Wire;

/// One message to be sent.
#[derive(Debug, Clone)]
pub struct SendJob {
    /// Its id in the outbox.
    pub id: OutboxMessageId,
    /// Who it is from and to. Recipients of the envelope that no header names are blind copies.
    pub envelope: Envelope,
    /// `Message-ID` with its angle brackets.
    pub message_id: String,
    /// The raw MIME, without `Bcc`.
    pub raw: Bytes,
    /// The provider's id written down by an earlier attempt.
    pub provider_id: Option<String>,
}

/// Where a sender writes down what must survive the process, before the risky step.
#[async_trait]
pub trait SendNotes: Send + Sync {
    /// The provider holds a draft under this id.
    ///
    /// # Errors
    /// A failure means that it could not be written down, or that the lease is lost: the sender must stop and
    /// answer with that failure as not sent.
    async fn draft_created(&self, provider_id: &str) -> Result<(), Failure>;
}

/// What became of an attempt to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// The provider took it.
    Sent(Receipt),
    /// It certainly was not sent.
    NotSent(Failure),
    /// It may have been sent: time-out, 5xx from a gateway, connection cut after the request was handed over.
    Unknown(Failure),
}

/// What the provider said when it took a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// The provider's id of the message.
    pub provider_id: Option<String>,
    /// Its literal words: `202 Accepted`.
    pub words: String,
    /// Its request id.
    pub request_id: Option<String>,
    /// Recipients it did not take although it took the message for others. The message itself is not tried again for
    /// them, because that would send it twice to the others.
    pub refused: Vec<RefusedRecipient>,
}

/// A recipient that was not taken while others were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecipient {
    /// Whom.
    pub address: EmailAddress,
    /// The provider's literal words, or why it was not asked.
    pub words: String,
    /// Whether the message certainly did not go to them, and may when it is tried again, for them alone: the same answer
    /// for every recipient would have deferred the message. Otherwise the sender must be told.
    pub temporary: bool,
}

/// What looking up an unknown outcome found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reconciled {
    /// It was sent.
    Sent(Receipt),
    /// It was not sent; when the provider still holds the draft, its id, so that this very draft is sent.
    NotSent {
        /// The draft that waits.
        draft: Option<String>,
    },
    /// Still not known; ask again later.
    StillUnknown(Failure),
    /// The protocol has no way to find it out, now or later: the connection's
    /// [`WhenUnknown`](postroom_model::connection::WhenUnknown) decides.
    CannotTell(Failure),
}

/// Sends messages through one connection.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Tries once. When `job.provider_id` names a draft, that draft is sent and no second one is made.
    async fn send(&self, job: &SendJob, notes: &dyn SendNotes) -> SendOutcome;

    /// Looks up what became of an earlier attempt, by the provider's id or by a mark that this job alone bears, and
    /// changes nothing. A `Message-ID` alone is no proof: another message may bear the same.
    async fn reconcile(&self, job: &SendJob) -> Reconciled;
}

/// A message the provider tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteMessage {
    /// The provider's immutable id.
    pub provider_id: String,
    /// `Message-ID`, as the provider tells it.
    pub message_id: Option<String>,
    /// When the provider received it.
    pub received_at: Timestamp,
}

/// One page of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// New or changed messages in the provider's order, each once.
    pub messages: Vec<RemoteMessage>,
    /// Ids of messages that left the folder.
    pub removed: Vec<String>,
    /// Where the next call begins; to be kept only together with the messages of this page.
    pub cursor: String,
    /// Whether more pages follow at once.
    pub more: bool,
    /// Whether the provider had lost the cursor and this page begins from the beginning.
    pub resync: bool,
}

/// What is in a folder from a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survey {
    /// So many messages.
    pub count: u64,
    /// When the oldest of them was received.
    pub oldest: Option<Timestamp>,
}

impl Survey {
    /// `1204 messages wait; the oldest was received on 2019-03-04`.
    pub fn words(&self) -> String {
        match (self.count, self.oldest) {
            (0, _) => "no message waits".to_owned(),
            (1, Some(oldest)) => {
                format!("1 message waits; it was received on {}", oldest.strftime("%Y-%m-%d"))
            }
            (count, Some(oldest)) => {
                format!("{count} messages wait; the oldest was received on {}", oldest.strftime("%Y-%m-%d"))
            }
            (count, None) => format!("{count} messages wait"),
        }
    }
}

/// Reads one mailbox. Nothing it does changes the mailbox, but [`Source::settle`].
#[async_trait]
pub trait Source: Send + Sync {
    /// A wish, said before the first page: what was received before this instant will be passed over, so a reading from
    /// the beginning need not name it. It may all the same.
    fn begin_at(&mut self, _: Timestamp) {}

    /// Whether the pages come in the order of arrival. Where they do not, many are gathered before the first message is
    /// fetched, so that the oldest comes first.
    fn in_order(&self) -> bool {
        false
    }

    /// How many messages are known to wait behind the last page of [`Source::changes`]; none where nobody can tell.
    async fn waiting(&self) -> Option<u64> {
        None
    }

    /// The messages that are in the folder and were received at this instant or later, in any order: what a comparison
    /// of provider and store is made of.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    async fn received_since(&self, since: Timestamp) -> Result<Vec<RemoteMessage>, Failure> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = self.changes(cursor.as_deref()).await?;
            found.extend(page.messages.into_iter().filter(|message| message.received_at >= since));
            if !page.more || cursor.as_ref() == Some(&page.cursor) {
                return Ok(found);
            }
            cursor = Some(page.cursor);
        }
    }

    /// How much mail is in the folder that was received before this instant.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    async fn survey(&self, before: Timestamp) -> Result<Survey, Failure> {
        let all = self.received_since(Timestamp::MIN).await?;
        let old = all.iter().map(|message| message.received_at).filter(|at| *at < before);
        Ok(Survey { count: old.clone().count() as u64, oldest: old.min() })
    }

    /// Marks a message as read or moves it, as `how` says; [`AfterProcessing::Leave`] does nothing. Done twice it is as
    /// done once. A message that is no longer in the folder is left alone, and that is no error. The folder that is
    /// moved to is made when there is none of that name.
    ///
    /// # Errors
    /// The provider's refusal or the network's; what asks for a right that is missing waits for a person
    /// ([`Decision::Hold`](postroom_model::failure::Decision)).
    async fn settle(&self, provider_id: &str, how: &AfterProcessing) -> Result<(), Failure> {
        let _ = (provider_id, how);
        let words = "mail cannot be marked or moved by this kind of connection";
        Err(Failure::new("settle a message", Origin::Ourselves, words, Decision::Hold))
    }

    /// One page of what changed since `cursor`; from the beginning without one. A cursor that the provider lost
    /// is answered by starting over (`resync`), not by an error.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    async fn changes(&self, cursor: Option<&str>) -> Result<Changes, Failure>;

    /// Writes the exact MIME of one message into `sink`, as it comes from the network, and gives its size; none when
    /// it is gone, and then nothing was written. At most `limit` bytes. Asked for in the order of the page, a source may
    /// bring several small messages by one request and keep them until they are asked for.
    ///
    /// # Errors
    /// The provider's refusal, the network's or the sink's; a failure of
    /// [`Origin::Ourselves`](postroom_model::failure::Origin) when the message is larger than `limit`. What was written
    /// until then is worth nothing.
    async fn fetch(
        &self,
        provider_id: &str,
        limit: u64,
        sink: &mut dyn MessageSink,
    ) -> Result<Option<u64>, Failure>;

    /// Opens the mailbox and reads one header, as *Validate selected address* does. Gives one sentence.
    ///
    /// # Errors
    /// The provider's refusal or the network's, with advice.
    async fn probe(&self) -> Result<String, Failure>;

    /// Waits until the provider says that the mailbox has something new, at most `limit`: IDLE, streaming
    /// notifications. It only wakes; what is new is found by [`Source::changes`], and polling goes on beside it.
    ///
    /// # Errors
    /// The provider's refusal or the network's: ask again later, the mailbox itself is not failing by it.
    async fn wait(&self, limit: Duration) -> Result<Woken, Failure> {
        let _ = limit;
        Ok(Woken::NotOffered)
    }
}

/// Why [`Source::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Something is new.
    News,
    /// Nothing was, for as long as was asked.
    Quiet,
    /// This provider cannot tell: it is polled only.
    NotOffered,
}

/// Has the provider call an address of ours when a mailbox has something new. It only wakes, as [`Source::wait`] does.
#[async_trait]
pub trait Subscriber: Send + Sync {
    /// Subscribes. The provider calls `address` to see that it answers, and gives `state` back in every call: it is
    /// what a call is known by. `until` is a wish; gives id and true end.
    ///
    /// # Errors
    /// The provider's refusal or the network's. What may have been made all the same is found by
    /// [`Subscriber::subscribed`].
    async fn subscribe(
        &self,
        address: &str,
        state: &SecretString,
        until: Timestamp,
    ) -> Result<Subscribed, Failure>;

    /// Makes a subscription last until `until`; none when it is not there any more.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    async fn renew(&self, id: &str, until: Timestamp) -> Result<Option<Subscribed>, Failure>;

    /// Ends a subscription. One that is not there any more has ended.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    async fn unsubscribe(&self, id: &str) -> Result<(), Failure>;

    /// The ids of the subscriptions to this mailbox that call `address`.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    async fn subscribed(&self, address: &str) -> Result<Vec<String>, Failure>;
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// The provider's id.
    pub id: String,
    /// When it ends.
    pub until: Timestamp,
}

/// Where a message is written while it is fetched.
#[async_trait]
pub trait MessageSink: Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// A failure of our own: the disk is full.
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure>;
}

/// Small messages can be kept in memory.
#[async_trait]
impl MessageSink for Vec<u8> {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.extend_from_slice(&chunk);
        Ok(())
    }
}

/// One e-mail account to be opened.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its address.
    pub address: EmailAddress,
    /// Its own user name; blank takes the connection's, or where that is blank too the address.
    pub user_name: String,
    /// Its own password; none takes the connection's secret.
    pub password: Option<SecretString>,
}

impl Account {
    /// An account that is opened with what the connection has.
    pub fn of(address: EmailAddress) -> Self {
        Self { address, user_name: String::new(), password: None }
    }
}

/// Makes senders and sources for connections.
#[async_trait]
pub trait Transports: Send + Sync {
    /// Whether this version has a transport that sends through such a connection; asks nobody and needs no credential.
    ///
    /// # Errors
    /// A sentence that says what is not available yet.
    fn can_send(&self, settings: &ConnectionSettings) -> Result<(), String>;

    /// Whether mailboxes of such a connection can be subscribed to; asks nobody and needs no credential.
    fn can_subscribe(&self, _: &ConnectionSettings) -> bool {
        false
    }

    /// Whether [`Transports::time`] has somebody to ask; asks nobody itself.
    fn tells_time(&self, _: &ConnectionSettings) -> bool {
        false
    }

    /// What time it is at the provider, to the second; none when it does not say.
    ///
    /// # Errors
    /// The network's.
    async fn time(&self, _: &Connection) -> Result<Option<Timestamp>, Failure> {
        Ok(None)
    }

    /// What subscribes to this mailbox of this connection; none where that is not offered.
    ///
    /// # Errors
    /// As for [`Transports::sender`].
    async fn subscriber(
        &self,
        _: &Connection,
        _: &EmailAddress,
    ) -> Result<Option<Box<dyn Subscriber>>, Failure> {
        Ok(None)
    }

    /// A sender for this connection.
    ///
    /// # Errors
    /// A failure with [`Decision::Hold`](postroom_model::failure::Decision) when a setting or credential is missing.
    async fn sender(&self, connection: &Connection) -> Result<Box<dyn Sender>, Failure>;

    /// A source for this mailbox of this connection.
    ///
    /// # Errors
    /// As for [`Transports::sender`].
    async fn source(&self, connection: &Connection, mailbox: &Mailbox) -> Result<Box<dyn Source>, Failure>;
}

/// Gives the current credential of a connection at the moment it is needed.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The credential and its secret; none when nothing is stored.
    ///
    /// # Errors
    /// A failure of our own when it cannot be opened.
    async fn current(&self, connection: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure>;

    /// The password of one mailbox of its own; none when the connection's credential opens it.
    ///
    /// # Errors
    /// A failure of our own when it cannot be opened.
    async fn mailbox_password(&self, _: MailboxId) -> Result<Option<SecretString>, Failure> {
        Ok(None)
    }

    /// Object id of the application in Microsoft Entra, which a certificate needs to be rolled; none when nobody
    /// wrote it down.
    ///
    /// # Errors
    /// A failure of our own when it cannot be read.
    async fn application_object_id(&self, _: ConnectionId) -> Result<Option<String>, Failure> {
        Ok(None)
    }
}
