//! A store in a temporary folder, a provider, and engines over both.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use postroom_engine::intake::Submitter;
use postroom_engine::watch::WatchSettings;
use postroom_engine::{Engine, EngineSettings};
use postroom_model::connection::{ConnectionKind, ConnectionSettings, EmailMethod, OutgoingSettings};
use postroom_model::draft::Draft;
use postroom_model::env::ManualClock;
use postroom_model::event::Subject;
use postroom_model::inbox::{InboxMessage, InboxState};
use postroom_model::mailbox::{MailType, Mailbox, MailboxSettings};
use postroom_model::outbox::{OutboxMessage, OutboxState};
use postroom_model::people::Viewer;
use postroom_model::{ConnectionId, Env, MailboxId, OutboxMessageId};
use postroom_store::SqliteOptions;
use postroom_store::{
    Acceptance, EventFilter, InboxFilter, KeyFile, Page, SaveConnection, SaveMailbox, SqlStore, Store,
    StoredEvent,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::provider::{Door, Provider};

/// How long a fact may take to become true before a test fails. Never slept through.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct House {
    _folder: tempfile::TempDir,
    pub(crate) env: Env,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) connection: ConnectionId,
}

/// An engine at work.
pub(crate) struct Running {
    pub(crate) engine: Engine,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Stops it and waits until it has finished the work in hand.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").expect("without a panic");
    }

    /// Asks it to stop and does not wait.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Ends it as a kill would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

impl House {
    /// A house with a connection to Exchange Online that is used for sending.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (env, clock) = Env::for_test(11);
        let options = SqliteOptions {
            folder: folder.path().join("data"),
            key_file: KeyFile(folder.path().join("postroom.key")),
            env: env.clone(),
        };
        let store: Arc<dyn Store> = Arc::new(SqlStore::open(options).await.unwrap());
        let connection = env.new_id();
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.application_id = "5a1b2c3d-0000-4000-8000-00000000a001".into();
        settings.tenant_id = "contoso.example".into();
        let save = SaveConnection { id: connection, settings, credential: None, actor: "cli".into() };
        store.save_connection(save).await.unwrap();
        let outgoing = OutgoingSettings { method: EmailMethod::ExchangeOnline, connection: Some(connection) };
        store.save_outgoing_settings(&outgoing, "cli").await.unwrap();
        Self { _folder: folder, env, clock, store, provider: Provider::new(), connection }
    }

    /// An engine that looks at the store when it is nudged, when something is due by the standing clock, and hardly
    /// ever else: what a test waits for must come by the way it is meant to come.
    ///
    /// Its leases outlast every jump that a test makes with the clock. Else a jump between the moment when the end of
    /// a lease is computed and the moment when the store writes it would make a lease that has ended already, and
    /// the work would rightly be taken up a second time.
    pub(crate) fn engine(&self) -> Engine {
        self.engine_with(|settings| settings.lease_seconds = 7 * 24 * 3_600)
    }

    pub(crate) fn engine_with(&self, change: impl FnOnce(&mut EngineSettings)) -> Engine {
        // What is seen without being asked for would read mailboxes by itself, and has tests of its own.
        let watch = WatchSettings {
            failing_minutes: u32::MAX,
            silence_hours: 0,
            reconcile_days: 0,
            clock: false,
            ..WatchSettings::default()
        };
        let mut settings = EngineSettings { idle_poll_ms: 60_000, watch, ..EngineSettings::default() };
        change(&mut settings);
        let door = Arc::new(Door(self.provider.clone(), self.env.clone()));
        Engine::new(self.store.clone(), door, self.env.clone(), settings)
    }

    pub(crate) fn run(&self) -> Running {
        self.run_engine(self.engine())
    }

    pub(crate) fn run_engine(&self, engine: Engine) -> Running {
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (engine, stop) = (engine.clone(), stop.clone());
            async move { engine.run(stop).await }
        });
        Running { engine, stop, task }
    }

    /// Moves the clock and wakes the engine.
    pub(crate) fn pass(&self, running: &Running, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
        running.engine.nudge();
    }

    /// A draft from orders@contoso.example.
    pub(crate) async fn submit(&self, engine: &Engine) -> OutboxMessageId {
        self.submit_from(engine, "orders@contoso.example").await
    }

    pub(crate) async fn submit_from(&self, engine: &Engine, from: &str) -> OutboxMessageId {
        match engine.intake().submit_draft(draft(from), submitter()).await.unwrap() {
            Acceptance::Accepted(message) => message.id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn message(&self, id: OutboxMessageId) -> OutboxMessage {
        self.store.outbox_message(id).await.unwrap().unwrap()
    }

    /// Waits until the message is in this state.
    pub(crate) async fn becomes(&self, id: OutboxMessageId, state: OutboxState) -> OutboxMessage {
        self.until(&format!("message becomes {state}"), async || {
            let message = self.message(id).await;
            if message.state == state {
                return Ok(message);
            }
            let events = self.events(Subject::OutboxMessage(id)).await;
            let told: Vec<_> = events.iter().map(|stored| &stored.event).collect();
            Err(format!("{message:?}\n{told:#?}"))
        })
        .await
    }

    /// Waits until `fact` holds; fails with its last words.
    pub(crate) async fn until<T, E: std::fmt::Display>(
        &self,
        what: &str,
        fact: impl AsyncFn() -> Result<T, E>,
    ) -> T {
        let begun = tokio::time::Instant::now();
        loop {
            match fact().await {
                Ok(found) => return found,
                Err(last) if begun.elapsed() > PATIENCE => {
                    panic!("{what}: not within {PATIENCE:?}; last: {last}")
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Waits until the provider was asked `call` so many times.
    pub(crate) async fn asked(&self, call: &str, times: usize) {
        self.until(&format!("{times} x {call}"), async || {
            let known = self.provider.called(call);
            if known >= times { Ok(()) } else { Err(known) }
        })
        .await;
    }

    pub(crate) async fn events(&self, subject: Subject) -> Vec<StoredEvent> {
        let filter = EventFilter { subject: Some(subject), after: 0 };
        self.store.events(&filter, 500).await.unwrap()
    }

    /// Kinds of the events of a subject, in order.
    pub(crate) async fn timeline(&self, subject: Subject) -> Vec<&'static str> {
        self.events(subject).await.iter().map(|stored| stored.event.kind.as_str()).collect()
    }

    pub(crate) async fn outbox_timeline(&self, id: OutboxMessageId) -> Vec<&'static str> {
        self.timeline(Subject::OutboxMessage(id)).await
    }

    /// Adds a mailbox.
    pub(crate) async fn mailbox(&self, address: &str) -> MailboxId {
        let id = self.env.new_id();
        let settings = MailboxSettings::new(address, [MailType::CustomerOrder]);
        let save =
            SaveMailbox { id, connection: self.connection, settings, password: None, actor: "cli".into() };
        self.store.save_mailbox(save).await.unwrap();
        self.provider.folder(address, |_| {});
        id
    }

    pub(crate) async fn mailbox_now(&self, id: MailboxId) -> Mailbox {
        self.store.mailbox(id).await.unwrap().unwrap()
    }

    /// Somebody without groups and roles.
    pub(crate) fn viewer(&self) -> Viewer {
        Viewer { user: self.env.new_id(), groups: Vec::new(), roles: Vec::new() }
    }

    /// Collected messages in this state.
    pub(crate) async fn inbox(&self, state: InboxState) -> Vec<InboxMessage> {
        let viewer = self.viewer();
        let filter = InboxFilter { state: Some(state), ..InboxFilter::default() };
        self.store.inbox(&viewer, &filter, Page { limit: 500, offset: 0 }).await.unwrap()
    }

    /// Waits until so many messages are in this state.
    pub(crate) async fn inbox_holds(&self, state: InboxState, count: usize) -> Vec<InboxMessage> {
        self.until(&format!("{count} {}", state.as_str()), async || {
            let messages = self.inbox(state).await;
            if messages.len() == count { Ok(messages) } else { Err(messages.len()) }
        })
        .await
    }
}

pub(crate) fn submitter() -> Submitter {
    Submitter { name: "key:erp".into(), idempotency: None }
}

pub(crate) fn draft(from: &str) -> Draft {
    Draft {
        from: from.into(),
        to: vec!["ann@fabrikam.example".into()],
        subject: "Order 4711".into(),
        text: Some("On its way".into()),
        ..Draft::default()
    }
}

/// A readable message.
pub(crate) fn raw(subject: &str) -> Vec<u8> {
    format!(
        "From: ann@fabrikam.example\r\nTo: orders@contoso.example\r\nSubject: {subject}\r\nMessage-ID: <{subject}@fabrikam.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nHello\r\n"
    )
    .into_bytes()
}
