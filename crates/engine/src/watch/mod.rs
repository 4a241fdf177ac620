//! Watches: what must be seen in time although nobody asks.
//!
//! | module | what is watched |
//! |---|---|
//! | [`clock`] | the clock of this machine against those of the providers |
//! | [`credentials`] | when credentials end: learned, told in time, renewed without a failed send |
//! | [`disk`] | room for what is taken in |
//! | [`down`] | mailboxes that cannot be read for a while |
//! | [`mail`] | notices by mail |
//! | [`expiry`] | which warning is due: a pure function |
//! | [`reconciliation`] | provider and store compared each night, gaps fetched |
//! | [`renewal`] | the renewal, step by step, each written down before the next |
//! | [`scope`] | mailboxes that the application must not be able to open |
//! | [`silence`] | mailboxes to which no mail comes when it usually does |
//! | [`subscriptions`] | what the provider calls when a mailbox has something new: made, renewed, ended |
//!
//! Each tells by an event, the log, and the [`Notifier`]; whoever else wants to know, a webhook for instance, reads the
//! events (`EventStore::events`), which are complete.
//!
//! # How to add a watch
//!
//! 1. A module with a `look(&Engine)` that decides from the store and the clock what is due, does it, and gives when
//!    the next thing is due. It must be safe to run twice and to be dropped at any line.
//! 2. What it must remember goes into a journal `<watch>/<connection id>`; what must not be done by two processes at
//!    the same time is done while it holds a `Turn`. When nothing is due it writes nothing.
//! 3. What people must know is an event, a line in the log, and a [`Notice`] to the [`Notifier`].
//! 4. Start it in `Engine::run`, with a `Notify` in `Nudges`. Test in `tests/it/` with a clock that is moved.

pub mod clock;
pub mod credentials;
pub mod disk;
pub mod down;
pub mod expiry;
pub mod mail;
pub mod reconciliation;
pub mod renewal;
pub mod scope;
pub mod silence;
pub mod subscriptions;
mod turn;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use postroom_model::connection::Connection;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{ConnectionId, Timestamp};
use postroom_store::{EventFilter, Store, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::worker::chain;

/// Longest time between two looks. Watches think in hours and days.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Longest call to the provider's credential service or a probe.
const CALL_LIMIT: Duration = Duration::from_secs(120);
/// Who did it, in events of changes that watches make.
const ACTOR: &str = "postroom";

/// What the watches may be told. Every value has the default it documents.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    /// Whether credentials are renewed without anybody doing anything. Default true.
    pub renew: bool,
    /// How many days before its end a credential is renewed. Default 30.
    pub renew_days_before: u32,
    /// Minutes between two looks at mailboxes that must be refused. Default 60.
    pub scope_minutes: u32,
    /// Address under which the provider can call Postroom, `https://mail.contoso.example`; without it nobody is
    /// subscribed to. Default none.
    pub public_url: Option<String>,
    /// Minutes that a mailbox may fail before people are told. Default 15.
    pub failing_minutes: u32,
    /// Hours without mail at times when mail usually comes, before people are told; 0 is never. Default 4.
    pub silence_hours: u32,
    /// Hour of the day, UTC, after which provider and store are compared. Default 2.
    pub reconcile_hour: u32,
    /// How many days back they are compared; 0 is not at all. Default 7.
    pub reconcile_days: u32,
    /// Whether the clock is compared with those of the providers, each hour. Default true.
    pub clock: bool,
    /// The folder whose disk is watched. Default none.
    pub data_folder: Option<PathBuf>,
    /// Free bytes below which people are told. Default 1,000,000,000.
    pub disk_warn_bytes: u64,
    /// Free bytes below which nothing more is taken in. Default 200,000,000.
    pub disk_refuse_bytes: u64,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            renew: true,
            renew_days_before: 30,
            scope_minutes: 60,
            public_url: None,
            failing_minutes: 15,
            silence_hours: 4,
            reconcile_hour: 2,
            reconcile_days: 7,
            clock: true,
            data_folder: None,
            disk_warn_bytes: 1_000_000_000,
            disk_refuse_bytes: 200_000_000,
        }
    }
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    /// Good to know.
    Information,
    /// Something must be done in the coming days.
    Warning,
    /// Something is wrong now.
    Error,
}

/// One thing that people must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The connection it is about; none when it is about the installation. A notice by mail must leave by *another* one:
    /// this one may be about to fail.
    pub connection: Option<ConnectionId>,
    /// Its name, or that of the installation.
    pub connection_name: String,
    /// What happened.
    pub kind: EventKind,
    /// How much it matters.
    pub gravity: Gravity,
    /// What happened and what to do, in sentences; never a secret.
    pub words: String,
}

/// Tells people. Beside the event and never instead of it: a notice that cannot be delivered is logged, and the
/// watch goes on. After a kill the same notice may be told a second time.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Tells one notice.
    ///
    /// # Errors
    /// Whatever keeps it from being told.
    async fn tell(&self, notice: &Notice) -> Result<(), Failure>;
}

/// Tells the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogNotifier;

#[async_trait]
impl Notifier for LogNotifier {
    async fn tell(&self, notice: &Notice) -> Result<(), Failure> {
        let (connection, what, words) = (&notice.connection_name, notice.kind.as_str(), &notice.words);
        match notice.gravity {
            Gravity::Information => tracing::info!(connection, what, "{words}"),
            Gravity::Warning => tracing::warn!(connection, what, "{words}"),
            Gravity::Error => tracing::error!(connection, what, "{words}"),
        }
        Ok(())
    }
}

/// The object id of a connection's application in Microsoft Entra, where somebody wrote it down: without permissions an
/// application cannot look itself up, and it needs the id to renew its certificate.
///
/// # Errors
/// The store's.
pub async fn application_object_id(
    store: &dyn Store,
    connection: ConnectionId,
) -> Result<Option<String>, StoreError> {
    store.journal(&format!("application/{connection}")).await
}

/// Writes that object id down.
///
/// # Errors
/// The store's.
pub async fn remember_application_object_id(
    store: &dyn Store,
    connection: ConnectionId,
    object_id: &str,
) -> Result<(), StoreError> {
    store.save_journal(&format!("application/{connection}"), Some(object_id)).await
}

/// Looks again and again until `stop` is cancelled: on a timer, on a nudge, and when something is due.
pub(crate) async fn run<F>(engine: &Engine, stop: &CancellationToken, nudge: &Notify, look: impl Fn() -> F)
where
    F: Future<Output = Result<Option<Timestamp>, StoreError>>,
{
    let mut troubled = false;
    while !stop.is_cancelled() {
        let nudged = nudge.notified();
        tokio::pin!(nudged);
        nudged.as_mut().enable();
        let due = tokio::select! {
            () = stop.cancelled() => return, // every step is written down: whatever is cut off goes on next time
            due = look() => due,
        };
        let wait = match due {
            Ok(due) => {
                troubled = false;
                until(due, engine.env.now())
            }
            Err(error) => {
                if !std::mem::replace(&mut troubled, true) {
                    tracing::error!(worker = "watch", error = chain(&error), "the store cannot be asked");
                }
                LOOK_EVERY
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = nudged => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How long to wait for what is due, at least a second and at most the pace of looking.
fn until(due: Option<Timestamp>, now: Timestamp) -> Duration {
    let wait = due.and_then(|due| Duration::try_from(due.duration_since(now)).ok());
    match (due, wait) {
        (None, _) => LOOK_EVERY,
        (Some(_), wait) => wait.unwrap_or_default().clamp(Duration::from_secs(1), LOOK_EVERY),
    }
}

/// The earlier of two instants.
fn sooner(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A call to the provider, ended when it takes too long.
async fn limited<T>(operation: &str, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(answer) => answer,
        Err(_) => {
            let words = format!("no answer within {} seconds", CALL_LIMIT.as_secs());
            Err(Failure::new(operation, Origin::Network, words, Decision::Retry { after: None }))
        }
    }
}

/// A failure with its next step, in sentences.
fn sentences(failure: &Failure, otherwise: &str) -> String {
    format!("{failure}. Next step: {}", failure.advice.as_deref().unwrap_or(otherwise))
}

impl Engine {
    /// Appends an event and tells people.
    async fn announce(
        &self,
        connection: &Connection,
        subject: Subject,
        kind: EventKind,
        gravity: Gravity,
        words: String,
    ) -> Result<(), StoreError> {
        let event = Event::new(self.env.new_id(), self.env.now(), subject, kind).words(words.clone());
        self.store.append_events(vec![event]).await?;
        self.notify(Some(connection), kind, gravity, words).await;
        Ok(())
    }

    async fn notify(
        &self,
        connection: Option<&Connection>,
        kind: EventKind,
        gravity: Gravity,
        words: String,
    ) {
        let name = connection.map_or("Postroom", |connection| connection.settings.display_name());
        let connection_name = name.to_owned();
        let connection = connection.map(|connection| connection.id);
        let notice = Notice { connection, connection_name, kind, gravity, words };
        if let Err(failure) = self.notifier.tell(&notice).await {
            tracing::error!(%failure, "a notice could not be delivered");
        }
    }

    /// The same, unless this subject has an event of this kind with these very words: for what is told once, also
    /// when a kill came between telling and remembering that it was told.
    async fn announce_once(
        &self,
        connection: &Connection,
        subject: Subject,
        kind: EventKind,
        gravity: Gravity,
        words: String,
    ) -> Result<(), StoreError> {
        let mut filter = EventFilter { subject: Some(subject), after: 0 };
        loop {
            let events = self.store.events(&filter, 500).await?;
            let known = |event: &Event| event.kind == kind && event.words.as_deref() == Some(&words);
            if events.iter().any(|stored| known(&stored.event)) {
                // The kill may have come before anybody was told: a notifier knows what it told already.
                self.notify(Some(connection), kind, gravity, words).await;
                return Ok(());
            }
            match events.last() {
                Some(last) if events.len() == 500 => filter.after = last.sequence,
                _ => break,
            }
        }
        self.announce(connection, subject, kind, gravity, words).await
    }
}

/// A journal's content; one that cannot be read is begun anew, because no watch may stop for it.
fn read_journal<T: serde::de::DeserializeOwned + Default>(name: &str, content: Option<&str>) -> T {
    let Some(content) = content else { return T::default() };
    serde_json::from_str(content).unwrap_or_else(|error| {
        tracing::error!(journal = name, %error, "a journal cannot be read and is begun anew");
        T::default()
    })
}

/// A journal's text.
fn write_journal(name: &str, value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Contradiction {
        table: "journals",
        row: name.to_owned(),
        what: format!("it cannot be written: {error}"),
    })
}
