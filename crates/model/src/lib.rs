//! What exists in Postroom: ids, addresses, connections, mailboxes, types, availability, drafts, messages,
//! records, events, and the rules that say which of them are valid. No I/O, and no clock of its own: time and
//! chance come in as [`Env`].
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`env`](mod@env) | [`Clock`] and [`Random`], and the only place that reads the system's |
//! | [`id`] | one type per kind of id, from one macro |
//! | [`address`] | e-mail addresses and host names that cannot be wrong |
//! | [`problem`] | what validation finds: errors block saving, warnings do not |
//! | [`connection`] | how to reach one server or tenant, and its validation |
//! | `replacing` | what a saved connection may be turned into, and when its secret goes along |
//! | [`credential`] | secrets by reference: kind, expiry, state |
//! | [`mailbox`] | one e-mail account on a connection: types, availability, polling, state |
//! | [`polling`] | polling intervals as people type them |
//! | [`people`] | users, groups, roles, and the [`people::Viewer`] every read is made for |
//! | [`draft`] | a message as a person or program composes it |
//! | [`outbox`] | envelopes, idempotency keys, states of a message on its way out |
//! | [`inbox`] | a message that was collected |
//! | [`record`] | things in the business software and the log entries filed on them |
//! | [`event`] | append-only facts; every timeline is made of them |
//! | [`failure`] | who said no, in which words, and what to do next |
//!
//! # How to add one more
//!
//! A new id: one line in [`id`]. A new kind of connection: a variant of [`connection::ConnectionKind`]; the
//! compiler then names every place that must decide. A new validation rule: a `push` in the `validate` of the
//! type it belongs to, with the field it is shown at, and a row in that module's test.

pub mod address;
pub mod connection;
pub mod credential;
pub mod draft;
pub mod env;
pub mod event;
pub mod failure;
pub mod id;
pub mod inbox;
pub mod mailbox;
pub mod outbox;
pub mod people;
pub mod polling;
pub mod problem;
pub mod record;
mod replacing;

pub use address::{EmailAddress, HostName, NamedAddress};
pub use env::{Clock, Env, Random};
pub use id::{
    ApiKeyId, ConnectionId, CredentialId, EventId, GroupId, InboxMessageId, LogEntryId, MailboxId,
    OutboxMessageId, UserId,
};
/// An instant. In the database it is an integer: microseconds since 1970-01-01T00:00:00Z.
pub use jiff::Timestamp;
pub use polling::PollingInterval;
pub use problem::{Problem, Problems, Severity};
/// A string that cannot be printed: `Debug` shows nothing of it and it is wiped when dropped.
pub use secrecy::{ExposeSecret, SecretString};
