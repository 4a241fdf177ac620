//! One suite for every way in and out. What it proves, the same for each source and each sender:
//!
//! | of a source | scenario in [`source`] |
//! |---|---|
//! | messages come in the order of arrival, and what comes later comes once | `order` |
//! | each message once, byte for byte, and what left is told | `exactly_once` |
//! | a cut at any boundary, inside answers and requests, loses and doubles nothing | `cuts` |
//! | mail is counted and listed by date; a message is marked or moved when that is asked for, twice as once | `settling` |
//! | nothing that it does by itself changes a mailbox: no flag, no date, no change key | `untouched` |
//! | a large message comes in small pieces, and its limit is obeyed | `large_message` |
//! | odd bytes, charsets and line ends come through | `odd_bytes` |
//! | a backlog of 1,000 messages, oldest first, within the limits of the service | `backlog` |
//! | a mailbox that is made later is read from its beginning | `appears_later` |
//! | a permission that is lost is a refusal that waits; regained, reading goes on where it was | `permission` |
//! | what the service asks for, a pause, is told as such | `pause` |
//!
//! | of a sender | scenario in [`sender`] |
//! |---|---|
//! | messages arrive in the order in which they were sent, once at each recipient | `order` |
//! | three outcomes: sent, not sent, unknown; and an unknown one never arrives twice | `three_outcomes` |
//! | a cut at any boundary ends with at most one copy, and with one where it can be known | `cuts` |
//! | a large message arrives whole; what is too large is refused, with both figures where the server tells its own | `large_message` |
//! | odd charsets arrive as they were meant | `odd_charsets` |
//! | a permission that is lost is a refusal; regained, the same message is sent | `permission` |
//! | what the service asks for, a pause, is told as such, and the message is sent later, once | `pause` |
//!
//! # What a world cannot show
//!
//! | world | scenario | why, and where it is shown |
//! |---|---|---|
//! | Dovecot | `pause` | it knows no words that ask for a pause; those of Exchange are those of the sandbox's IMAP, and a refusal for now (`[UNAVAILABLE]`) is in `tests/it/imap.rs` |
//! | Dovecot, IMAP of the sandbox | `backlog`, the limits of the service | neither counts requests, only connections, of which a source has one for reading and one for waiting (`tests/it/imap.rs`, `imap_waiting.rs`) |
//! | Postfix | `pause` | it refuses for now by what it cannot be told at a moment of the test; every such reply, at every step, is in `tests/it/smtp/outcomes.rs` |
//!
//! In those worlds the scenario still proves that reading or sending goes well where nothing is refused.
//!
//! # How to add a transport
//!
//! Write a *world* in `worlds/`: a server, a line to it that can be cut ([`line::Line`]), and other doors by which mail is
//! put in, looked at and taken away ([`SourceWorld`], [`SenderWorld`]). Name it in one of the lists at the end of this file:
//! each name becomes a module with every scenario as a test.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

#[path = "../servers/certificate.rs"]
mod certificate;
#[path = "../servers/dovecot.rs"]
mod dovecot;
mod line;
#[path = "../servers/postfix.rs"]
mod postfix;
mod sender;
mod source;
mod tenant;
mod worlds;

use async_trait::async_trait;
use postroom_model::EmailAddress;
use postroom_transport::{SendJob, Sender, Source};

use line::Line;

/// A mailbox at a server, and doors beside the line that is tested.
#[async_trait]
pub(crate) trait SourceWorld: Send + Sync {
    /// Starts a server with one empty mailbox.
    async fn start() -> Self
    where
        Self: Sized;

    /// The line that sources of this world use.
    fn line(&self) -> &Line;

    /// A source that knows nothing of any other.
    fn source(&self) -> Box<dyn Source>;

    /// Puts a message into the inbox, behind the others.
    async fn put(&self, raw: &[u8]);

    /// What can be told of each message in the inbox but its content: marks, flags, dates of change.
    async fn marks(&self) -> Vec<String>;

    /// Takes the oldest message out of the inbox.
    async fn take_oldest_away(&self);

    /// A source of a mailbox that does not exist.
    fn missing(&self) -> Box<dyn Source>;

    /// Makes that mailbox, with this message in it.
    async fn appear(&self, raw: &[u8]);

    /// Takes the permission to read away from sources that are made from now on.
    async fn forbid(&self);

    /// Gives it back.
    async fn permit(&self);

    /// Has the server refuse the next reading with the wish for a pause of 17 seconds; false when it knows no such wish.
    async fn want_pause(&self) -> bool {
        false
    }

    /// How often a request was refused because there were too many.
    async fn refused_as_too_many(&self) -> usize {
        0
    }
}

/// A server that takes mail, and mailboxes behind it.
#[async_trait]
pub(crate) trait SenderWorld: Send + Sync {
    /// Whether the protocol can tell later what became of a message.
    const TELLS: bool;
    /// The largest message it takes, in bytes, and whether it says so before it is sent one; none when acceptance
    /// keeps that.
    const LARGEST: Option<(usize, bool)>;

    /// Starts a server with two empty mailboxes.
    async fn start() -> Self
    where
        Self: Sized;

    /// The line that senders of this world use.
    fn line(&self) -> &Line;

    /// A sender that knows nothing of any other.
    fn sender(&self) -> Box<dyn Sender>;

    /// Who has a mailbox.
    fn recipients(&self) -> [EmailAddress; 2];

    /// What arrived at one of them and was settled, oldest first.
    async fn arrived(&self, at: &EmailAddress) -> Vec<Vec<u8>>;

    /// Makes the job one that the server refuses for good.
    async fn refused(&self, job: SendJob) -> SendJob;

    /// Has the server take the next message, and the line cut before its answer. `pattern` is a job that may be sent
    /// to find out how long answers are.
    async fn lose_answer(&self, sender: &dyn Sender, pattern: SendJob);

    /// Takes the permission to send away from senders that are made from now on.
    async fn forbid(&self);

    /// Gives it back.
    async fn permit(&self);

    /// Has the server refuse the next message for now; false when it cannot be told to.
    async fn want_pause(&self) -> bool {
        false
    }

    /// Lets time pass, where a clock can be moved.
    fn pass(&self, _seconds: i64) {}
}

/// Every scenario of sources as a test, for each world.
macro_rules! on_every_source {
    ($($(#[$attribute:meta])* $name:ident: $world:ty,)*) => {
        $(on_every_source!(@ $name, $world, [$(#[$attribute])*], order exactly_once cuts untouched large_message
            odd_bytes backlog appears_later permission pause settling);)*
    };
    (@ $name:ident, $world:ty, $attributes:tt, $($scenario:ident)*) => {
        mod $name {
            use crate::SourceWorld as _;
            $(one_test!($attributes source $scenario $world);)*
        }
    };
}

/// Every scenario of senders as a test, for each world.
macro_rules! on_every_sender {
    ($($(#[$attribute:meta])* $name:ident: $world:ty,)*) => {
        $(on_every_sender!(@ $name, $world, [$(#[$attribute])*], order three_outcomes cuts large_message odd_charsets
            permission pause);)*
    };
    (@ $name:ident, $world:ty, $attributes:tt, $($scenario:ident)*) => {
        mod $name {
            use crate::SenderWorld as _;
            $(one_test!($attributes sender $scenario $world);)*
        }
    };
}

macro_rules! one_test {
    ([$(#[$attribute:meta])*] $side:ident $scenario:ident $world:ty) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $scenario() {
            crate::$side::$scenario(&<$world>::start().await).await;
        }
    };
}

on_every_source! {
    graph: crate::worlds::Graph,
    ews: crate::worlds::Ews,
    imap_sandbox: crate::worlds::ImapSandbox,
    #[ignore = "needs Dovecot"]
    imap_dovecot: crate::worlds::ImapDovecot,
}

on_every_sender! {
    graph_sender: crate::worlds::GraphSender,
    ews_sender: crate::worlds::EwsSender,
    smtp_sandbox: crate::worlds::SmtpSandbox,
    #[ignore = "needs Postfix and Dovecot, and root"]
    smtp_postfix: crate::worlds::SmtpPostfix,
}
