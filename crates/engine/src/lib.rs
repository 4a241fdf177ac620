//! The engine: takes messages in, sends them, collects mail, and processes what was collected.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`intake`] | a draft or raw message to an accepted message: yes means on disk |
//! | [`outbox`] | the worker that sends: claim, send, finish; what is unknown is looked up first |
//! | [`outbox::retry`] | when to try again: a pure function |
//! | [`collector`] | the worker that reads mailboxes: raw MIME and cursor committed together |
//! | [`router`] | the worker that reads what was stored, or puts it into quarantine |
//! | [`Engine`] | starts the three workers, nudges them, and stops them |

pub mod collector;
pub mod intake;
pub mod outbox;
pub mod router;

use std::sync::Arc;

use postroom_model::{Env, MailboxId};
use postroom_store::{NodeId, Store};
use postroom_transport::Transports;
use tokio_util::sync::CancellationToken;

/// What the engine may be told. Every value has the default it documents.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Messages sent at the same time over all mailboxes. Default 8.
    pub send_parallel: u32,
    /// Mailboxes read at the same time. Default 8.
    pub collect_parallel: u32,
    /// Longest time between two looks at the store without a nudge, in milliseconds. Default 1,000.
    pub idle_poll_ms: u64,
    /// How long a lease lasts, in seconds. Default 120.
    pub lease_seconds: u32,
    /// How long a message is tried before it fails, in hours. Default 120 (5 days).
    pub retry_window_hours: u32,
    /// Largest message that is collected whole, in bytes. Default 157,286,400 (150 MiB).
    pub max_collect_bytes: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            send_parallel: 8,
            collect_parallel: 8,
            idle_poll_ms: 1_000,
            lease_seconds: 120,
            retry_window_hours: 120,
            max_collect_bytes: 157_286_400,
        }
    }
}

/// What all workers share.
#[derive(Clone)]
pub struct Engine {
    store: Arc<dyn Store>,
    transports: Arc<dyn Transports>,
    env: Env,
    node: NodeId,
    settings: EngineSettings,
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
        Self { store, transports, env, node, settings }
    }

    /// Takes messages in. Cheap; the same store and the same nudge.
    pub fn intake(&self) -> intake::Intake {
        todo!()
    }

    /// Runs the three workers until `stop` is cancelled, then finishes the work in hand.
    pub async fn run(&self, stop: CancellationToken) {
        let _ = (stop, &self.store, &self.transports, &self.env, &self.node, &self.settings);
        todo!()
    }

    /// Runs the outbox worker alone until `stop` is cancelled: what `postroom send` does without a server.
    pub async fn run_outbox(&self, stop: CancellationToken) {
        let _ = stop;
        todo!()
    }

    /// Reads one mailbox now, whether it is due or not, and processes what came. Gives the number of new messages.
    ///
    /// # Errors
    /// The provider's refusal, or the store's failure as a failure of our own.
    pub async fn collect_now(&self, mailbox: MailboxId) -> Result<u32, postroom_model::failure::Failure> {
        let _ = mailbox;
        todo!()
    }

    /// Opens the mailbox, reads one header, remembers the result (*Validate selected address*).
    ///
    /// # Errors
    /// Only the store's; a mailbox that cannot be opened is a result, not an error.
    pub async fn validate_mailbox(
        &self,
        mailbox: MailboxId,
        actor: &str,
    ) -> Result<postroom_model::mailbox::Validation, postroom_store::StoreError> {
        let _ = (mailbox, actor);
        todo!()
    }

    /// Wakes the workers: something was accepted, saved or is due.
    pub fn nudge(&self) {
        todo!()
    }
}
