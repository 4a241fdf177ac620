//! A store of one's own, and short ways to fill it.

use std::any::Any;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::server::Postgres;
use bytes::Bytes;
use postroom_model::connection::{ConnectionKind, ConnectionSettings};
use postroom_model::env::ManualClock;
use postroom_model::event::{EventKind, Subject};
use postroom_model::inbox::{InboxState, Summary};
use postroom_model::mailbox::{Availability, MailType, MailboxSettings, MailboxState};
use postroom_model::outbox::{Envelope, OutboxState};
use postroom_model::people::Viewer;
use postroom_model::{
    ConnectionId, Env, InboxMessageId, MailboxId, OutboxMessageId, SecretString, Timestamp,
};
use postroom_store::{
    Acceptance, ClaimedMailbox, ClaimedMessage, CollectedBatch, CommitReport, EventFilter, FinishAttempt,
    InboxFilter, KeyFile, NewInboxMessage, NewOutboxMessage, NodeId, Page, PollFinish, PostgresOptions,
    Processed, SaveConnection, SaveMailbox, SqlStore, SqliteOptions, Store,
};

/// A store with its clock.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) env: Env,
    pub(crate) clock: Arc<ManualClock>,
    /// The data folder; empty around a store that a test opened itself.
    pub(crate) data: PathBuf,
    _kept: Box<dyn Any + Send + Sync>,
}

/// A bench on SQLite in a folder that goes with it.
pub(crate) async fn sqlite() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let (env, clock) = Env::for_test(1);
    let store = SqlStore::open(options(folder.path(), &env)).await.unwrap();
    let data = folder.path().join("data");
    Bench { store: Arc::new(store), env, clock, data, _kept: Box::new(folder) }
}

/// A bench on a new database of this server.
pub(crate) async fn postgres(server: &Postgres) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let (env, clock) = Env::for_test(1);
    let store = SqlStore::open_postgres(on_postgres(&server.database(), folder.path(), &env)).await.unwrap();
    let data = folder.path().join("data");
    Bench { store: Arc::new(store), env, clock, data, _kept: Box::new(folder) }
}

/// The options of a store in the database at this address.
pub(crate) fn on_postgres(url: &str, folder: &std::path::Path, env: &Env) -> PostgresOptions {
    PostgresOptions {
        url: SecretString::from(url),
        connections: 5,
        folder: folder.join("data"),
        key_file: KeyFile(folder.join("postroom.key")),
        env: env.clone(),
    }
}

/// The options of a store whose key lies beside its data.
pub(crate) fn options(folder: &std::path::Path, env: &Env) -> SqliteOptions {
    SqliteOptions {
        folder: folder.join("data"),
        key_file: KeyFile(folder.join("postroom.key")),
        env: env.clone(),
    }
}

impl Bench {
    /// Around a store that a test opened itself.
    pub(crate) fn around(store: SqlStore, env: Env, clock: Arc<ManualClock>) -> Self {
        Self { store: Arc::new(store), env, clock, data: PathBuf::new(), _kept: Box::new(()) }
    }

    pub(crate) fn pass(&self, seconds: i64) {
        let step = Timestamp::from_second(seconds).unwrap().duration_since(Timestamp::UNIX_EPOCH);
        self.clock.advance(step);
    }

    pub(crate) fn after(&self, seconds: i64) -> Timestamp {
        Timestamp::from_microsecond(self.env.now().as_microsecond() + seconds * 1_000_000).unwrap()
    }

    pub(crate) fn node(&self) -> NodeId {
        NodeId::new(self.env.new_uuid())
    }

    /// The names of the events of a subject, oldest first.
    pub(crate) async fn timeline(&self, subject: Subject) -> Vec<&'static str> {
        let filter = EventFilter { subject: Some(subject), after: 0 };
        let events = self.store.events(&filter, 100).await.unwrap();
        events.iter().map(|stored| stored.event.kind.as_str()).collect()
    }

    // Outbox.

    pub(crate) async fn new_message(&self, connection: ConnectionId, from: &str) -> NewOutboxMessage {
        let id: OutboxMessageId = self.env.new_id();
        let message_id = format!("<{id}@contoso.example>");
        let raw = format!("Message-ID: {message_id}\r\nSubject: Order\r\n\r\nHello\r\n");
        NewOutboxMessage {
            id,
            connection,
            envelope: Envelope {
                from: from.parse().unwrap(),
                to: vec!["buyer@fabrikam.example".parse().unwrap()],
            },
            message_id,
            subject: "Order".into(),
            raw: self.store.put_blob(Bytes::from(raw)).await.unwrap(),
            submitted_by: "key:erp".into(),
            idempotency: None,
        }
    }

    pub(crate) async fn accept(&self, connection: ConnectionId, from: &str) -> OutboxMessageId {
        let new = self.new_message(connection, from).await;
        match self.store.accept(new).await.unwrap() {
            Acceptance::Accepted(message) => message.id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn claim(&self) -> Vec<ClaimedMessage> {
        self.store.claim_outbox(&self.node(), self.after(60), 10).await.unwrap()
    }

    pub(crate) async fn finish(
        &self,
        claimed: &ClaimedMessage,
        state: OutboxState,
        next: Option<Timestamp>,
    ) -> Result<(), postroom_store::StoreError> {
        self.store
            .finish_attempt(FinishAttempt {
                id: claimed.message.id,
                lease: claimed.lease.clone(),
                state,
                next_attempt_at: next,
                provider_id: None,
                words: Some("202 Accepted".into()),
                events: vec![],
                follow_up: None,
            })
            .await
    }

    pub(crate) async fn state(&self, id: OutboxMessageId) -> OutboxState {
        self.store.outbox_message(id).await.unwrap().unwrap().state
    }

    // Mailboxes.

    pub(crate) async fn connection(&self) -> ConnectionId {
        let id = self.env.new_id();
        let settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
        self.store.save_connection(save).await.unwrap().id
    }

    pub(crate) fn mailbox_settings(address: &str, availability: Availability) -> MailboxSettings {
        MailboxSettings { availability, ..MailboxSettings::new(address, [MailType::CustomerOrder]) }
    }

    pub(crate) async fn mailbox_for(&self, address: &str, availability: Availability) -> MailboxId {
        let connection = self.connection().await;
        self.save_mailbox(self.env.new_id(), connection, address, availability).await
    }

    pub(crate) async fn save_mailbox(
        &self,
        id: MailboxId,
        connection: ConnectionId,
        address: &str,
        availability: Availability,
    ) -> MailboxId {
        let settings = Self::mailbox_settings(address, availability);
        let save = SaveMailbox { id, connection, settings, password: None, actor: "user:admin".into() };
        self.store.save_mailbox(save).await.unwrap().id
    }

    pub(crate) async fn mailbox(&self, address: &str) -> MailboxId {
        self.mailbox_for(address, Availability::All).await
    }

    pub(crate) async fn claim_mailbox(&self, id: MailboxId) -> ClaimedMailbox {
        self.store.claim_mailbox(id, &self.node(), self.after(60)).await.unwrap().unwrap()
    }

    pub(crate) async fn finish_poll(&self, claimed: &ClaimedMailbox, next: Option<Timestamp>) {
        let finish = PollFinish {
            mailbox: claimed.mailbox.id,
            lease: claimed.lease.clone(),
            state: MailboxState::Running,
            error: None,
            failures: 0,
            next_due_at: next,
            events: vec![],
        };
        self.store.finish_poll(finish).await.unwrap();
    }

    /// Collects one message into a mailbox in a reading of its own.
    pub(crate) async fn collect(&self, mailbox: MailboxId, new: NewInboxMessage) -> CommitReport {
        let claimed = self.claim_mailbox(mailbox).await;
        let batch = CollectedBatch {
            mailbox,
            lease: claimed.lease.clone(),
            cursor: Some("next".into()),
            messages: vec![new],
            present: vec![],
            removed: vec![],
        };
        let report = self.store.commit_batch(batch).await.unwrap();
        self.finish_poll(&claimed, Some(self.after(120))).await;
        report
    }

    pub(crate) async fn mail(&self, provider_id: &str, content: &str) -> NewInboxMessage {
        NewInboxMessage {
            provider_id: provider_id.into(),
            message_id: Some(format!("<{content}@fabrikam.example>")),
            content: digest(content),
            placeholder: false,
            raw: self.store.put_blob(Bytes::copy_from_slice(content.as_bytes())).await.unwrap(),
            received_at: self.env.now(),
        }
    }

    /// A processed message with this subject in the mailbox.
    pub(crate) async fn received(&self, mailbox: MailboxId, subject: &str) -> InboxMessageId {
        let new = self.mail(&format!("id of {subject}"), subject).await;
        assert_eq!(self.collect(mailbox, new).await.stored, 1);
        let summary = Summary { subject: subject.into(), ..Summary::default() };
        self.process_last(summary, subject).await
    }

    /// Processes the one stored message.
    pub(crate) async fn process_last(&self, summary: Summary, text: &str) -> InboxMessageId {
        let stored = self.store.unprocessed(10).await.unwrap();
        assert_eq!(stored.len(), 1);
        let processed = Processed::Read { summary, text: text.into() };
        self.store.finish_processing(stored[0].id, processed).await.unwrap();
        stored[0].id
    }

    pub(crate) async fn subjects(&self, viewer: &Viewer, filter: &InboxFilter) -> Vec<String> {
        let messages = self.store.inbox(viewer, filter, Page::default()).await.unwrap();
        let count = self.store.inbox_count(viewer, filter).await.unwrap();
        assert_eq!(count, messages.len() as u64, "list and count agree");
        messages.into_iter().map(|message| message.summary.subject).collect()
    }

    /// Somebody without groups and roles.
    pub(crate) fn somebody(&self) -> Viewer {
        Viewer { user: self.env.new_id(), groups: vec![], roles: vec![] }
    }
}

/// Stands for the digest of a content.
pub(crate) fn digest(content: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, letter) in bytes.iter_mut().zip(content.bytes()) {
        *byte = letter;
    }
    bytes
}

/// Only these users.
pub(crate) fn only_users(users: impl IntoIterator<Item = postroom_model::UserId>) -> Availability {
    Availability::Only { groups: BTreeSet::new(), roles: BTreeSet::new(), users: users.into_iter().collect() }
}

/// A filter on a state.
pub(crate) fn in_state(state: InboxState) -> InboxFilter {
    InboxFilter { state: Some(state), ..InboxFilter::default() }
}

/// The name of a kind.
pub(crate) fn name(kind: EventKind) -> &'static str {
    kind.as_str()
}
