//! Any SMTP server, as a client that submits mail (RFC 5321, RFC 6409).
//!
//! Why a client of our own and not the crate mail-send: its parts would have to be gone around one by one. It writes
//! and awaits MAIL, RCPT and DATA one after the other (a round trip each, where RFC 2920 needs one), its one error for a
//! time-out does not say whether the final dot had left (the line between *not sent* and *unknown*), its parser of
//! replies cannot hold the enhanced codes above 255 that Exchange uses (`5.7.708`), and the challenge of a refused
//! XOAUTH2 is lost. What is left of the protocol is small, and bounded here.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | `sender` | [`SmtpSender`]: which connection, which recipients, which outcome |
//! | `pool` | kept connections |
//! | `client` | one connection: bytes, replies, time limits, STARTTLS |
//! | `auth` | signing in |
//! | `transaction` | one message: MAIL, RCPT, DATA, content, final dot |
//! | `content` | the message as it goes over the line; no I/O |
//! | `reply` | replies and the keywords of EHLO; no I/O |
//! | `refusal` | from a reply to a decision and advice; no I/O |
//!
//! # How to add one more
//!
//! A keyword of EHLO: a field in `reply::Offers`. A way of signing in: an arm in `auth`. A refusal that is known by its
//! words: a row in `refusal`.

mod auth;
mod client;
mod content;
mod pool;
mod refusal;
mod reply;
mod sender;
mod transaction;

use std::time::Duration;

pub(crate) use pool::Pool;
pub use sender::SmtpSender;
pub(crate) use sender::{look, sender, sign_in_as};

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To find the name, to connect, to agree on TLS; each.
    pub connect: Duration,
    /// To answer a command, to take a piece of the content, to give way to another message.
    pub command: Duration,
    /// To answer the final dot. RFC 5321 section 4.5.3.2.6 asks for ten minutes: ending earlier makes doubles.
    pub end: Duration,
    /// To read what a server said before it hung up, and to say good-bye.
    pub farewell: Duration,
    /// How long a connection is kept that nobody uses.
    pub keep: Duration,
    /// How long a kept connection is used without asking the server first whether it is there.
    pub trusted: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            command: Duration::from_secs(60),
            end: Duration::from_secs(600),
            farewell: Duration::from_secs(2),
            keep: Duration::from_secs(30),
            trusted: Duration::from_secs(5),
        }
    }
}
