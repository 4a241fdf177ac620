//! The engine: takes messages in, sends them, collects mail, processes what was collected, and watches what must not
//! happen unseen.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`intake`] | a draft or raw message to an accepted message: yes means on disk |
//! | [`outbox`] | the worker that sends: claim, send, finish; what is unknown is looked up first |
//! | [`outbox::retry`] | when to try again: a pure function |
//! | [`collector`] | the worker that reads mailboxes: raw MIME and cursor committed together |
//! | [`collector::pace`] | when to read and to listen again: pure functions |
//! | [`collector::progress`] | how far a large backlog has come |
//! | [`collector::standing`] | what is known of a mailbox beside its state |
//! | `collector::settling` | the worker that marks or moves processed mail at its provider |
//! | `collector::listening` | the worker that lets providers tell of news |
//! | [`router`] | the worker that reads what was stored, or puts it into quarantine |
//! | [`janitor`] | the worker that clears away what is over |
//! | [`signals`] | figures for Prometheus, steps for traces, signs of life |
//! | `gate` | back-pressure: refuses a message before anything of it is stored when the store cannot keep up |
//! | [`watch`] | the workers that see in time: credentials that end, mailboxes that must be refused, subscriptions |
//! | [`Engine`] | starts the workers, nudges them, and stops them |
//!
//! # How to add a worker
//!
//! 1. Work that is claimed with a lease: implement `worker::Desk` (what is claimed, how one piece is done); the loop
//!    that claims, waits and drains is shared. Work that is only looked for: a loop of its own, as in [`router`].
//!    What must be seen in time: a watch ([`watch`] says how to add one).
//! 2. Give it a `Notify` in `Nudges`, and nudge it where its work comes from. A nudge only makes it faster: the
//!    worker must find its work by asking the store, on a timer, and must be safe to run twice.
//! 3. Start it in [`Engine::run`] by `worker::keep`, which starts it again when it panics.
//! 4. Test in `tests/it/` that it does its work once with two engines on one store, and that it stops without a lease.

pub mod collector;
mod gate;
pub mod intake;
pub mod janitor;
pub mod outbox;
pub mod router;
pub mod signals;
pub mod watch;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use postroom_model::connection::Connection;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::Mailbox;
use postroom_model::{Env, MailboxId, Timestamp};
use postroom_store::{NodeId, Retention, Store, StoreError};
use postroom_transport::{CredentialOffice, Transports};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use gate::Pressure;

/// Longest call to a provider. Transports have shorter limits of their own; this one keeps a worker from hanging
/// when one of them fails to.
const PROVIDER_LIMIT: Duration = Duration::from_secs(600);
/// Longest attempt to send. Alone the answer to the end of a message may take ten minutes (RFC 5321 section 4.5.3.2.6),
/// and a large file is uploaded before it: the transport, which knows what it waited for, must be the first to give up.
const SEND_LIMIT: Duration = Duration::from_secs(1_800);

/// What the engine may be told. Every value has the default it documents.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Messages sent at the same time over all mailboxes. Default 8.
    pub send_parallel: u32,
    /// Bytes of raw messages that are in memory to be sent at the same time; a larger message is there alone. A transport
    /// may hold a message up to three and a half times while it hands it over. Default 134,217,728 (128 MiB).
    pub send_memory_bytes: u64,
    /// Mailboxes read at the same time. Default 8.
    pub collect_parallel: u32,
    /// Mailboxes that are listened to at the same time, each over a connection of its own that stands open; 0 for none.
    /// Default 500: together with everything else below the 1,024 open files that many systems allow a process.
    pub listen_parallel: u32,
    /// Longest time between two looks at the store without a nudge, in milliseconds. Default 1,000.
    pub idle_poll_ms: u64,
    /// How long a lease lasts, in seconds. Default 120.
    pub lease_seconds: u32,
    /// How long a message is tried before it fails, in hours. Default 120 (5 days).
    pub retry_window_hours: u32,
    /// Longest wait between two attempts of a message, in seconds, unless its provider asks for more or a person must set
    /// something right first. Default 7,200 (2 hours).
    pub retry_longest_seconds: u32,
    /// Largest message that is collected whole, in bytes. Default 157,286,400 (150 MiB).
    pub max_collect_bytes: u64,
    /// Largest message that is read whole to be put into the inbox, in bytes; of a larger one its beginning is read.
    /// Default 8,388,608 (8 MiB).
    pub read_whole_bytes: u64,
    /// How long messages are kept. Default: for ever.
    pub retention: Retention,
    /// When the store cannot keep up and messages are refused.
    pub pressure: Pressure,
    /// What the watches may be told.
    pub watch: watch::WatchSettings,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            send_parallel: 8,
            send_memory_bytes: 134_217_728,
            collect_parallel: 8,
            listen_parallel: 500,
            idle_poll_ms: 1_000,
            lease_seconds: 120,
            retry_window_hours: 120,
            retry_longest_seconds: 7_200,
            max_collect_bytes: 157_286_400,
            read_whole_bytes: 8_388_608,
            retention: Retention::default(),
            pressure: Pressure::default(),
            watch: watch::WatchSettings::default(),
        }
    }
}

impl EngineSettings {
    /// How long a lease lasts; at least 3 seconds, because it is extended every third of it.
    fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds.max(3)))
    }
}

/// What wakes and stops the workers of one engine.
#[derive(Debug, Default)]
pub(crate) struct Nudges {
    pub(crate) outbox: Notify,
    pub(crate) collector: Notify,
    pub(crate) listening: Notify,
    pub(crate) router: Notify,
    pub(crate) settling: Notify,
    pub(crate) credentials: Notify,
    pub(crate) scope: Notify,
    pub(crate) subscriptions: Notify,
    /// Held by whoever finds out whether a renewed credential is refused.
    pub(crate) falling_back: tokio::sync::Mutex<()>,
    pub(crate) alarms: Notify,
    /// Whether the disk has no room left, as the watch over it saw last.
    pub(crate) full: AtomicBool,
}

impl Nudges {
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}

/// What all workers share.
#[derive(Clone)]
pub struct Engine {
    store: Arc<dyn Store>,
    transports: Arc<dyn Transports>,
    office: Option<Arc<dyn CredentialOffice>>,
    notifier: Arc<dyn watch::Notifier>,
    env: Env,
    node: NodeId,
    settings: EngineSettings,
    nudges: Arc<Nudges>,
    signals: Arc<signals::Signals>,
    gate: Arc<gate::Gate>,
    send_memory: outbox::Memory,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("node", &self.node).field("settings", &self.settings).finish()
    }
}

impl Engine {
    /// An engine over this store and these transports. Nothing runs yet.
    pub fn new(
        store: Arc<dyn Store>,
        transports: Arc<dyn Transports>,
        env: Env,
        settings: EngineSettings,
    ) -> Self {
        let node = NodeId::new(env.new_uuid());
        let notifier = Arc::new(watch::LogNotifier);
        let (nudges, send_memory) = (Arc::default(), outbox::Memory::new(settings.send_memory_bytes));
        let gate = Arc::new(gate::Gate::new(settings.pressure));
        Self {
            store,
            transports,
            office: None,
            notifier,
            env,
            node,
            settings,
            nudges,
            signals: Arc::default(),
            gate,
            send_memory,
        }
    }

    /// The same, able to try, renew and remove credentials and to try mailboxes. Without an office credentials are
    /// watched, and nothing is done about them.
    #[must_use]
    pub fn with_office(mut self, office: Arc<dyn CredentialOffice>) -> Self {
        self.office = Some(office);
        self
    }

    /// The same with another way to tell people than the log.
    #[must_use]
    pub fn with_notifier(mut self, notifier: Arc<dyn watch::Notifier>) -> Self {
        self.notifier = notifier;
        self
    }

    /// The figures, the signs of life and the traces.
    pub fn signals(&self) -> &Arc<signals::Signals> {
        &self.signals
    }

    /// The workers that ought to be at work and gave no sign of life: for longer than three looks at the store and a
    /// minute.
    pub fn silent_workers(&self) -> Vec<&'static str> {
        self.signals.silent_workers(self.idle().saturating_mul(3) + Duration::from_secs(60))
    }

    /// Takes messages in. Cheap; the same store and the same nudge.
    pub fn intake(&self) -> intake::Intake {
        intake::Intake::new(
            self.store.clone(),
            self.transports.clone(),
            self.env.clone(),
            self.nudges.clone(),
            self.signals.clone(),
            self.gate.clone(),
        )
    }

    /// Runs all workers until `stop` is cancelled, then finishes the work in hand. When the future is dropped,
    /// the work in hand is dropped too, as if the process had been killed.
    pub async fn run(&self, stop: CancellationToken) {
        let mut workers = JoinSet::new();
        workers.spawn({
            let (desk, stop, idle) = (outbox::Outbox(self.clone()), stop.clone(), self.idle());
            async move { worker::keep("outbox", idle, stop.clone(), || worker::run(&desk, &stop)).await }
        });
        workers.spawn({
            let (desk, stop, idle) = (collector::Collector(self.clone()), stop.clone(), self.idle());
            async move { worker::keep("collector", idle, stop.clone(), || worker::run(&desk, &stop)).await }
        });
        workers.spawn({
            let (engine, stop, idle) = (self.clone(), stop.clone(), self.idle());
            async move {
                worker::keep("listening", idle, stop.clone(), || collector::listening::run(&engine, &stop))
                    .await
            }
        });
        workers.spawn({
            let (engine, stop, idle) = (self.clone(), stop.clone(), self.idle());
            async move { worker::keep("router", idle, stop.clone(), || router::run(&engine, &stop)).await }
        });
        workers.spawn({
            let (engine, stop, idle) = (self.clone(), stop.clone(), self.idle());
            async move { worker::keep("janitor", idle, stop.clone(), || janitor::run(&engine, &stop)).await }
        });
        workers.spawn({
            let (engine, stop, idle) = (self.clone(), stop.clone(), self.idle());
            async move {
                worker::keep("settling", idle, stop.clone(), || collector::settling::run(&engine, &stop))
                    .await
            }
        });
        self.spawn_watches(&mut workers, &stop);
        self.spawn_alarms(&mut workers, &stop);
        while workers.join_next().await.is_some() {}
    }

    fn spawn_watches(&self, workers: &mut JoinSet<()>, stop: &CancellationToken) {
        workers.spawn({
            let (engine, stop) = (self.clone(), stop.clone());
            async move {
                let nudge = &engine.nudges.credentials;
                let look = || watch::credentials::look(&engine);
                let watch = || watch::run(&engine, &stop, nudge, look);
                worker::keep("credentials", engine.idle(), stop.clone(), watch).await;
            }
        });
        workers.spawn({
            let (engine, stop) = (self.clone(), stop.clone());
            async move {
                let (nudge, look) = (&engine.nudges.scope, || watch::scope::look(&engine));
                let watch = || watch::run(&engine, &stop, nudge, look);
                worker::keep("scope", engine.idle(), stop.clone(), watch).await;
            }
        });
        workers.spawn({
            let (engine, stop) = (self.clone(), stop.clone());
            async move {
                let nudge = &engine.nudges.subscriptions;
                let look = || watch::subscriptions::look(&engine);
                let watch = || watch::run(&engine, &stop, nudge, look);
                worker::keep("subscriptions", engine.idle(), stop.clone(), watch).await;
            }
        });
    }

    fn spawn_alarms(&self, workers: &mut JoinSet<()>, stop: &CancellationToken) {
        macro_rules! alarm {
            ($($name:ident),*) => {$(
                workers.spawn({
                    let (engine, stop) = (self.clone(), stop.clone());
                    async move {
                        let (nudge, look) = (&engine.nudges.alarms, || watch::$name::look(&engine));
                        let watch = || watch::run(&engine, &stop, nudge, look);
                        worker::keep(stringify!($name), engine.idle(), stop.clone(), watch).await;
                    }
                });
            )*};
        }
        alarm!(down, silence, reconciliation, disk, clock);
    }

    /// Compares provider and store for one mailbox now, fetches what is missing, and processes it. None when it is being
    /// read at this moment.
    ///
    /// # Errors
    /// The provider's refusal, or the store's failure as a failure of our own.
    pub async fn reconcile(
        &self,
        mailbox: MailboxId,
    ) -> Result<Option<watch::reconciliation::Report>, Failure> {
        let report = collector::reconcile(self, mailbox, None).await?;
        router::process_all(self).await.map_err(|error| own_failure("process what was collected", &error))?;
        Ok(report)
    }

    /// Runs the outbox worker alone until `stop` is cancelled: what `postroom send` does without a server.
    pub async fn run_outbox(&self, stop: CancellationToken) {
        let desk = outbox::Outbox(self.clone());
        worker::keep("outbox", self.idle(), stop.clone(), || worker::run(&desk, &stop)).await;
    }

    /// Reads one mailbox now, whether it is due or not, and processes what came. Gives the number of new messages.
    ///
    /// # Errors
    /// The provider's refusal, or the store's failure as a failure of our own.
    pub async fn collect_now(&self, mailbox: MailboxId) -> Result<u32, Failure> {
        let stored = collector::collect_now(self, mailbox).await?;
        router::process_all(self).await.map_err(|error| own_failure("process what was collected", &error))?;
        Ok(stored)
    }

    /// Opens the mailbox, reads one header, remembers the result (*Validate selected address*).
    ///
    /// # Errors
    /// Only the store's; a mailbox that cannot be opened is a result, not an error.
    pub async fn validate_mailbox(
        &self,
        mailbox: MailboxId,
        actor: &str,
    ) -> Result<postroom_model::mailbox::Validation, StoreError> {
        collector::validate(self, mailbox, actor).await
    }

    /// What is known of mailboxes beside their state: backlogs, processed mail that cannot be marked, comparisons.
    ///
    /// # Errors
    /// The store's.
    pub async fn standings(&self) -> Result<BTreeMap<MailboxId, collector::standing::Standing>, StoreError> {
        collector::standing::standings(self.store.as_ref(), self.env.now()).await
    }

    /// How much mail waits in a mailbox of this connection, saved or not, that was received before now.
    ///
    /// # Errors
    /// The provider's refusal or the network's.
    pub async fn old_mail(
        &self,
        connection: &Connection,
        mailbox: &Mailbox,
    ) -> Result<postroom_transport::Survey, Failure> {
        collector::old_mail(self, connection, mailbox).await
    }

    /// Reads a mailbox as soon as a hand is free: its provider says that there is something new. What is not polled
    /// stays unread ([`postroom_store::MailboxStore::wake_mailbox`]).
    ///
    /// # Errors
    /// The store's; the mailbox is then read at its own pace.
    pub async fn wake(&self, mailbox: MailboxId) -> Result<(), StoreError> {
        self.store.wake_mailbox(mailbox).await?;
        self.nudges.collector.notify_waiters();
        Ok(())
    }

    /// Wakes the workers: something was accepted, saved or is due.
    pub fn nudge(&self) {
        self.nudges.outbox.notify_waiters();
        self.nudges.collector.notify_waiters();
        self.nudges.listening.notify_waiters();
        self.nudges.router.notify_waiters();
        self.nudges.settling.notify_waiters();
        self.nudges.credentials.notify_waiters();
        self.nudges.scope.notify_waiters();
        self.nudges.subscriptions.notify_waiters();
        self.nudges.alarms.notify_waiters();
    }

    fn idle(&self) -> Duration {
        Duration::from_millis(self.settings.idle_poll_ms.max(1))
    }

    /// How long a lease lasts.
    fn lease(&self) -> SignedDuration {
        SignedDuration::try_from(self.settings.lease()).unwrap_or(SignedDuration::MAX)
    }

    /// The instant `wait` from now.
    fn after(&self, wait: SignedDuration) -> Timestamp {
        self.env.now().saturating_add(wait).unwrap_or(Timestamp::MAX)
    }
}

/// A number from 0 to 1 by chance, below 1.
fn chance(env: &Env) -> f64 {
    let mut bytes = [0; 4];
    env.fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// A failure of the store, as a failure of our own: never permanent.
fn own_failure(operation: &str, error: &StoreError) -> Failure {
    let mut failure =
        Failure::new(operation, Origin::Ourselves, worker::chain(error), Decision::Retry { after: None });
    failure.advice = error.hint().map(str::to_owned);
    failure
}
