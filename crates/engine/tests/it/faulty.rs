//! A store whose calls can be told to fail: the calls of one method, or the n-th call of all.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_model::connection::{Connection, ExchangeApi, OutgoingSettings};
use postroom_model::credential::Credential;
use postroom_model::event::Event;
use postroom_model::inbox::InboxMessage;
use postroom_model::mailbox::{Mailbox, Validation};
use postroom_model::outbox::{IdempotencyKey, OutboxMessage, OutboxState};
use postroom_model::people::{ApiKey, Group, User, Viewer};
use postroom_model::record::{LogEntry, RecordRef};
use postroom_model::*;
use postroom_store::*;
use tokio::sync::Semaphore;

use crate::office::KillSwitch;

/// When a call fails: before anything was done, or after all of it, so that only the answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
    /// It does not fail, but takes a quarter of a second: a slow disk.
    Slow,
}

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The next so many of this method.
    Of(&'static str, u32),
    /// The n-th of all, from 1.
    Nth(u32),
}

pub(crate) struct Faulty {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
    /// Stops before and after each call that writes.
    kill: Option<Arc<KillSwitch>>,
    /// A method whose calls wait for a permit first, and how many have come to that.
    slow: Option<(&'static str, Arc<Semaphore>)>,
    held: AtomicU32,
}

/// What fails, and what was called.
struct Faults {
    which: Which,
    when: When,
    /// Calls of the method that are still to fail.
    left: AtomicU32,
    /// Calls of all methods so far.
    count: AtomicU32,
    /// Methods that were called.
    called: Mutex<HashSet<&'static str>>,
}

impl Faults {
    /// A call begins: whether it is one that fails.
    fn meets(&self, method: &'static str) -> bool {
        self.called.lock().unwrap().insert(method);
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        match self.which {
            Which::Nth(nth) => number == nth,
            Which::Of(which, _) => {
                let one_less = |left: u32| left.checked_sub(1);
                which == method
                    && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
            }
        }
    }

    /// The call itself, with what befalls it.
    async fn around<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let full = || StoreError::Full { operation: method, path: "data".into() };
        if !self.meets(method) {
            return call.await;
        }
        match self.when {
            When::Before => Err(full()),
            When::After => {
                call.await?;
                Err(full())
            }
            When::Slow => {
                tokio::time::sleep(Duration::from_millis(250)).await;
                call.await
            }
        }
    }
}

impl Faulty {
    /// The next `times` calls of `method` fail.
    pub(crate) fn new(inner: Arc<dyn Store>, method: &'static str, when: When, times: u32) -> Self {
        Self::failing(inner, Which::Of(method, times), when)
    }

    pub(crate) fn failing(inner: Arc<dyn Store>, which: Which, when: When) -> Self {
        let times = if let Which::Of(_, times) = which { times } else { 0 };
        let (left, count) = (AtomicU32::new(times), AtomicU32::new(0));
        let faults = Faults { which, when, left, count, called: Mutex::default() };
        Self { inner, faults: Arc::new(faults), kill: None, slow: None, held: AtomicU32::new(0) }
    }

    /// Nothing fails; everything stops at one point.
    pub(crate) fn killed(inner: Arc<dyn Store>, kill: Arc<KillSwitch>) -> Self {
        let sound = Self::new(inner, "", When::Before, 0);
        Self { kill: Some(kill), ..sound }
    }

    /// Nothing fails; each call of `method` waits for a permit of `permits`.
    pub(crate) fn slow(inner: Arc<dyn Store>, method: &'static str, permits: Arc<Semaphore>) -> Self {
        Self { slow: Some((method, permits)), ..Self::new(inner, "", When::Before, 0) }
    }

    /// How many calls of the slow method have begun.
    pub(crate) fn held(&self) -> u32 {
        self.held.load(Ordering::SeqCst)
    }

    async fn wait(&self, method: &'static str) {
        if let Some((_, permits)) = self.slow.as_ref().filter(|(slow, _)| *slow == method) {
            self.held.fetch_add(1, Ordering::SeqCst);
            permits.acquire().await.unwrap().forget();
        }
    }

    async fn point(&self, method: &'static str) {
        let writes = [
            "save_journal",
            "stage_credential",
            "switch_credential",
            "switch_credential_back",
            "retire_credential",
            "learn_credential",
            "append_events",
        ];
        if let Some(kill) = self.kill.as_ref().filter(|_| writes.contains(&method)) {
            kill.pass().await;
        }
    }

    pub(crate) fn was_called(&self, method: &str) -> bool {
        self.faults.called.lock().unwrap().contains(method)
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> u32 {
        self.faults.count.load(Ordering::SeqCst)
    }
}

/// The calls of a writer are named `blob_write` and `blob_finish`.
struct FaultyWriter {
    inner: Box<dyn BlobWriter>,
    faults: Arc<Faults>,
}

#[async_trait]
impl BlobWriter for FaultyWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.faults.around("blob_write", self.inner.write(chunk)).await
    }

    async fn finish(self: Box<Self>) -> Result<BlobRef, StoreError> {
        self.faults.around("blob_finish", self.inner.finish()).await
    }
}

#[async_trait]
impl BlobStore for Faulty {
    async fn put_blob(&self, content: Bytes) -> Result<BlobRef, StoreError> {
        self.faults.around("put_blob", self.inner.put_blob(content)).await
    }

    async fn put_blobs(&self, contents: Vec<Bytes>) -> Result<Vec<BlobRef>, StoreError> {
        self.faults.around("put_blobs", self.inner.put_blobs(contents)).await
    }

    async fn write_blob(&self) -> Result<Box<dyn BlobWriter>, StoreError> {
        let inner = self.faults.around("write_blob", self.inner.write_blob()).await?;
        Ok(Box::new(FaultyWriter { inner, faults: self.faults.clone() }))
    }

    async fn blob(&self, blob: &BlobRef) -> Result<Bytes, StoreError> {
        self.faults.around("blob", self.inner.blob(blob)).await
    }

    async fn blob_beginning(&self, blob: &BlobRef, limit: u64) -> Result<Bytes, StoreError> {
        self.faults.around("blob_beginning", self.inner.blob_beginning(blob, limit)).await
    }
}

macro_rules! pass_on {
    ($($store:ident { $($(plain $plain:ident -> $kind:ty;)+)? $(fn $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* })*) => {$(
        #[async_trait]
        impl $store for Faulty {
            $($(fn $plain(&self) -> $kind {
                self.inner.$plain()
            })+)?
            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer, StoreError> {
                self.wait(stringify!($name)).await;
                self.point(stringify!($name)).await;
                self.faults
                    .around(stringify!($name), async {
                        let answer = self.inner.$name($($arg),*).await?;
                        self.point(stringify!($name)).await;
                        Ok(answer)
                    })
                    .await
            })*
        }
    )*};
}

pass_on! {
    ConnectionStore {
        fn save_connection(save: SaveConnection) -> Connection;
        fn plan_interface_switch(id: ConnectionId) -> InterfaceSwitch;
        fn switch_interface(id: ConnectionId, to: ExchangeApi, actor: &str) -> InterfaceSwitch;
        fn remove_connection(id: ConnectionId, actor: &str) -> ();
        fn connection(id: ConnectionId) -> Option<Connection>;
        fn connections() -> Vec<Connection>;
        fn outgoing_settings() -> Option<OutgoingSettings>;
        fn save_outgoing_settings(settings: &OutgoingSettings, actor: &str) -> ();
    }
    CredentialStore {
        fn credentials(connection: ConnectionId) -> Vec<Credential>;
        fn credential_secret(connection: ConnectionId) -> Option<(Credential, SecretString)>;
        fn stage_credential(connection: ConnectionId, credential: NewCredential, actor: &str) -> Credential;
        fn switch_credential(connection: ConnectionId, actor: &str) -> Credential;
        fn switch_credential_back(connection: ConnectionId, actor: &str) -> Credential;
        fn retire_credential(id: CredentialId, actor: &str) -> ();
        fn secret_of(id: CredentialId) -> Option<SecretString>;
        fn learn_credential(id: CredentialId, expires_at: Option<Timestamp>, key_id: Option<&str>) -> ();
    }
    JournalStore {
        fn save_journal(name: &str, content: Option<&str>) -> ();
        fn journal(name: &str) -> Option<String>;
        fn journals(prefix: &str) -> Vec<(String, String)>;
    }
    MailboxStore {
        fn save_mailbox(save: SaveMailbox) -> Mailbox;
        fn remove_mailbox(id: MailboxId, actor: &str) -> ();
        fn mailbox_password(id: MailboxId) -> Option<SecretString>;
        fn mailbox(id: MailboxId) -> Option<Mailbox>;
        fn mailboxes_by_address(address: &EmailAddress) -> Vec<Mailbox>;
        fn mailboxes() -> Vec<Mailbox>;
        fn mailboxes_for(viewer: &Viewer) -> Vec<Mailbox>;
        fn save_validation(id: MailboxId, validation: &Validation, actor: &str) -> ();
        fn claim_mailboxes(owner: &NodeId, until: Timestamp, limit: u32) -> Vec<ClaimedMailbox>;
        fn claim_mailbox(id: MailboxId, owner: &NodeId, until: Timestamp) -> Option<ClaimedMailbox>;
        fn finish_poll(finish: PollFinish) -> ();
        fn polled_mailboxes() -> Vec<PolledMailbox>;
        fn wake_mailbox(id: MailboxId) -> ();
        fn failing_mailboxes() -> Vec<FailingMailbox>;
        fn next_mailbox_due() -> Option<Timestamp>;
    }
    OutboxStore {
        fn accept(message: NewOutboxMessage) -> Acceptance;
        fn idempotent(submitted_by: &str, key: &IdempotencyKey, request: &[u8; 32]) -> Option<Acceptance>;
        fn claim_outbox(owner: &NodeId, until: Timestamp, limit: u32) -> Vec<ClaimedMessage>;
        fn note_provider_draft(id: OutboxMessageId, lease: &Lease, provider_id: &str, event: Event) -> ();
        fn extend_outbox_lease(id: OutboxMessageId, lease: &Lease, until: Timestamp) -> ();
        fn finish_attempt(finish: FinishAttempt) -> ();
        fn change_outbox(id: OutboxMessageId, to: OutboxState, actor: &str) -> OutboxMessage;
        fn outbox_message(id: OutboxMessageId) -> Option<OutboxMessage>;
        fn outbox_raw(id: OutboxMessageId) -> Bytes;
        fn outbox(filter: &OutboxFilter, page: Page) -> Vec<OutboxMessage>;
        fn outbox_counts() -> Vec<(OutboxState, u64)>;
        fn next_outbox_due() -> Option<Timestamp>;
        fn end_all_leases() -> u64;
    }
    InboxStore {
        fn known_provider_ids(mailbox: MailboxId, provider_ids: &[String]) -> HashSet<String>;
        fn to_refetch(mailbox: MailboxId, limit: u32) -> Vec<Refetch>;
        fn commit_batch(batch: CollectedBatch) -> CommitReport;
        fn unprocessed(limit: u32) -> Vec<StoredMessage>;
        fn finish_processing(id: InboxMessageId, processed: Processed) -> ();
        fn claim_settling(until: Timestamp, limit: u32) -> Vec<Settling>;
        fn finish_settling(settled: &Settling, moved: bool, event: Event) -> ();
        fn defer_settling(settling: &[Settling], at: Timestamp) -> ();
        fn next_settling() -> Option<Timestamp>;
        fn arrivals(mailbox: MailboxId, since: Timestamp) -> Vec<(i64, u32)>;
        fn reprocess(viewer: &Viewer, id: InboxMessageId, actor: &str) -> ();
        fn inbox(viewer: &Viewer, filter: &InboxFilter, page: Page) -> Vec<InboxMessage>;
        fn inbox_count(viewer: &Viewer, filter: &InboxFilter) -> u64;
        fn inbox_message(viewer: &Viewer, id: InboxMessageId) -> Option<InboxMessage>;
        fn inbox_raw(viewer: &Viewer, id: InboxMessageId) -> Option<Bytes>;
        fn file_on_record(viewer: &Viewer, id: InboxMessageId, record: &RecordRef, actor: &str) -> LogEntry;
        fn log_entries(viewer: &Viewer, record: &RecordRef) -> Vec<LogEntry>;
        fn records_of(viewer: &Viewer, id: InboxMessageId) -> Vec<LogEntry>;
    }
    UpkeepStore {
        plain waiting_writers -> u32;
        fn prove_writable() -> ();
        fn queues() -> Queues;
        fn event_counts(after: Option<i64>) -> EventCounts;
    }
    JanitorStore {
        fn upkeep_lock() -> Option<backup::UpkeepLock>;
        fn expired(kind: janitor::Kind, retention: &Retention, after: Option<janitor::Place>, limit: u32) -> Expired;
        fn remove_expired(kind: janitor::Kind, ids: &[uuid::Uuid]) -> u64;
        fn orphans(remove: bool) -> Orphans;
    }
    EventStore {
        fn append_events(events: Vec<Event>) -> ();
        fn events(filter: &EventFilter, limit: u32) -> Vec<StoredEvent>;
    }
    PeopleStore {
        fn save_user(user: NewUser) -> User;
        fn remove_user(id: UserId, actor: &str) -> ();
        fn users() -> Vec<User>;
        fn user(id: UserId) -> Option<User>;
        fn user_by_name(name: &str) -> Option<(User, Option<String>)>;
        fn save_group(group: &Group) -> ();
        fn groups() -> Vec<Group>;
        fn save_session(session: &Session) -> ();
        fn session(id_hash: &[u8; 32]) -> Option<Session>;
        fn end_session(id_hash: &[u8; 32]) -> ();
        fn save_api_key(key: &ApiKey, key_hash: &[u8; 32], actor: &str) -> ();
        fn api_key(key_hash: &[u8; 32]) -> Option<ApiKey>;
        fn api_keys() -> Vec<ApiKey>;
        fn revoke_api_key(id: ApiKeyId, actor: &str) -> ();
    }
}
