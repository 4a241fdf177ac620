//! One attempt: look up what is uncertain, send, finish; under a lease that is kept as long as it takes.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use jiff::SignedDuration;
use postroom_model::Timestamp;
use postroom_model::connection::{Connection, WhenUnknown};
use postroom_model::event::EventKind;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::outbox::OutboxState;
use postroom_store::{ClaimedMessage, FinishAttempt, Lease, StoreError};
use postroom_transport::{Reconciled, SendJob, SendNotes, SendOutcome, Sender};

use super::decide::{ABSENT_ONCE, Conclusion, Facts};
use crate::signals::journey::{Passed, Step};
use crate::worker::chain;
use crate::{Engine, PROVIDER_LIMIT, SEND_LIMIT, own_failure};

/// Waits before a finish that the store could not write is tried again. After the last one the lease is left to end:
/// then the attempt counts as interrupted and is looked up.
const FINISH_WAITS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// Makes one attempt and ends it.
pub(super) async fn run(engine: Engine, claimed: ClaimedMessage) {
    let attempt = Attempt::new(engine, claimed);
    let begun = attempt.engine.env.now();
    let made = AssertUnwindSafe(attempt.under_lease(attempt.make())).catch_unwind().await;
    let conclusion = match made.map(Option::flatten) {
        Ok(Some(conclusion)) => conclusion,
        Ok(None) => {
            attempt.engine.signals.leases("outbox", "lost", 1);
            tracing::warn!(message = %attempt.claimed.message.id, "the lease was lost; whoever took over goes on");
            return;
        }
        Err(_) => {
            tracing::error!(message = %attempt.claimed.message.id, "the attempt panicked");
            let failure = Failure::new(
                "send",
                Origin::Ourselves,
                "a fault of Postroom ended the attempt",
                Decision::Retry { after: None },
            );
            attempt.our_fault(&failure)
        }
    };
    attempt.tell(Step::Send, begun, conclusion.state);
    attempt.finish(conclusion).await;
}

struct Attempt {
    engine: Engine,
    claimed: ClaimedMessage,
    lease: Mutex<Lease>,
    /// The provider's id as far as this attempt knows it.
    provider_id: Mutex<Option<String>>,
    /// Whether the message may have been sent, for all that is known at this moment.
    uncertain: AtomicBool,
    /// Whether a look-up told for certain what became of the attempts before.
    certain: AtomicBool,
}

impl Attempt {
    fn new(engine: Engine, claimed: ClaimedMessage) -> Self {
        let uncertain = matches!(claimed.previous, OutboxState::Unknown | OutboxState::Sending);
        Self {
            engine,
            lease: Mutex::new(claimed.lease.clone()),
            provider_id: Mutex::new(claimed.message.provider_id.clone()),
            uncertain: AtomicBool::new(uncertain),
            certain: AtomicBool::new(false),
            claimed,
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            env: &self.engine.env,
            message: &self.claimed.message,
            window_hours: self.engine.settings.retry_window_hours,
            certain: self.certain.load(Ordering::SeqCst),
            longest_wait: SignedDuration::from_secs(i64::from(self.engine.settings.retry_longest_seconds)),
        }
    }

    fn lease(&self) -> Lease {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn know_provider_id(&self, provider_id: Option<String>) {
        *self.provider_id.lock().unwrap_or_else(PoisonError::into_inner) = provider_id;
    }

    /// Tries, and once more when what was refused was a credential that has just been renewed, and the connection has
    /// returned to the one before it. None when the lease was lost.
    async fn make(&self) -> Option<Conclusion> {
        // Kept until the attempt ends: so long its message is in memory.
        let _room = self.engine.send_memory.room_for(self.claimed.raw.size).await;
        let Tried { conclusion, refused } = self.try_once().await?;
        let (connection, failure) = match refused {
            Some(refused) => *refused,
            None => return Some(conclusion),
        };
        match self.engine.fell_back(&connection, &failure).await {
            true => self.try_once().await.map(|tried| tried.conclusion),
            false => Some(conclusion),
        }
    }

    /// Looks up when there is something to look up, then sends. None when the lease was lost.
    async fn try_once(&self) -> Option<Tried> {
        let connection = match self.connection().await {
            Ok(connection) => connection,
            Err(failure) => return Some(self.our_fault(&failure).into()),
        };
        let refused = |conclusion, failure| Tried {
            conclusion,
            refused: Some(Box::new((connection.clone(), failure))),
        };
        let policy = connection.settings.when_unknown;
        let (sender, mut job) = match self.prepare(&connection).await {
            Ok(ready) => ready,
            Err(failure) => return Some(refused(self.our_fault(&failure), failure)),
        };
        // A draft at the provider may have been sent by hand, or by an attempt whose end was never written down.
        if self.uncertain.load(Ordering::SeqCst) || job.provider_id.is_some() {
            match self.look_up(&*sender, &job, policy).await {
                LookedUp::Concluded(conclusion) => return Some(conclusion.into()),
                LookedUp::StillUnknown(failure) => {
                    return Some(refused(self.still_unknown(&failure), failure));
                }
                LookedUp::NotSent { draft } => {
                    // Whoever looks next asks by this id: a draft that was sent is there under its id at once,
                    // and among the sent messages only later.
                    if let Some(found) = draft.as_deref().filter(|id| job.provider_id.as_deref() != Some(id))
                    {
                        match self.note_draft(found).await {
                            Ok(()) => {}
                            Err(StoreError::LeaseLost { .. }) => return None,
                            Err(error) => {
                                return Some(self.our_fault(&own_failure("note the draft", &error)).into());
                            }
                        }
                    }
                    self.know_provider_id(draft.clone());
                    job.provider_id = draft;
                }
            }
            // Whoever took over meanwhile has seen the same draft: a draft that is sent is not noted again, so
            // nothing else would stop the second of the two.
            match self.extend_lease().await {
                Ok(()) => {}
                Err(StoreError::LeaseLost { .. }) => return None,
                Err(error) => return Some(self.our_fault(&own_failure("extend the lease", &error)).into()),
            }
        }
        self.uncertain.store(true, Ordering::SeqCst);
        Some(match tokio::time::timeout(SEND_LIMIT, sender.send(&job, &Notes(self))).await {
            Ok(SendOutcome::Sent(receipt)) => self.facts().sent(receipt).into(),
            Ok(SendOutcome::NotSent(failure)) if failure.decision() != Decision::Reconcile => {
                self.uncertain.store(false, Ordering::SeqCst);
                refused(self.facts().not_sent(&failure), failure)
            }
            Ok(SendOutcome::NotSent(failure) | SendOutcome::Unknown(failure)) => {
                self.facts().unknown(&failure).into()
            }
            Err(_) => self.facts().unknown(&no_answer("send", SEND_LIMIT)).into(),
        })
    }

    async fn connection(&self) -> Result<Connection, Failure> {
        let found = self.engine.store.connection(self.claimed.message.connection).await;
        found.map_err(|error| own_failure("read the connection", &error))?.ok_or_else(|| {
            Failure::new("send", Origin::Ourselves, "the connection is no longer there", Decision::Hold)
        })
    }

    /// Everything that is needed before the provider is asked.
    async fn prepare(&self, connection: &Connection) -> Result<(Box<dyn Sender>, SendJob), Failure> {
        let message = &self.claimed.message;
        let raw = self
            .engine
            .store
            .blob(&self.claimed.raw)
            .await
            .map_err(|error| own_failure("read the raw message", &error))?;
        let sender = self.engine.transports.sender(connection).await?;
        let job = SendJob {
            id: message.id,
            envelope: message.envelope.clone(),
            message_id: message.message_id.clone(),
            raw,
            provider_id: self.provider_id.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        Ok((sender, job))
    }

    /// Asks the provider what became of earlier attempts. That it was not sent is written down before it is sent.
    async fn look_up(&self, sender: &dyn Sender, job: &SendJob, policy: WhenUnknown) -> LookedUp {
        let found = tokio::time::timeout(PROVIDER_LIMIT, sender.reconcile(job))
            .await
            .unwrap_or_else(|_| Reconciled::StillUnknown(no_answer("look up", PROVIDER_LIMIT)));
        let told = matches!(found, Reconciled::Sent(_) | Reconciled::NotSent { .. });
        self.certain.store(told, Ordering::SeqCst);
        let facts = self.facts();
        let (draft, words) = match found {
            Reconciled::Sent(receipt) => {
                let looked_up = facts.event(EventKind::OutboxReconciled).words("it was sent");
                let mut conclusion = facts.sent(receipt);
                conclusion.events.insert(0, looked_up);
                return LookedUp::Concluded(conclusion);
            }
            Reconciled::StillUnknown(failure) => return LookedUp::StillUnknown(failure),
            Reconciled::CannotTell(failure) if self.uncertain.load(Ordering::SeqCst) => {
                return LookedUp::Concluded(facts.cannot_tell(&failure, policy));
            }
            Reconciled::CannotTell(_) if facts.doubted() => {
                (None, "nobody can tell whether it was sent; it is sent again, as was wished")
            }
            Reconciled::CannotTell(_) => (None, "it was not sent"),
            Reconciled::NotSent { draft: Some(draft) } => {
                (Some(draft), "it was not sent; the draft is there")
            }
            Reconciled::NotSent { draft: None } if self.is_first_absence() => {
                return LookedUp::Concluded(facts.absent_once());
            }
            Reconciled::NotSent { draft: None } => (None, "it was not sent"),
        };
        let event = facts.event(EventKind::OutboxReconciled).words(words);
        match self.engine.store.append_events(vec![event]).await {
            Ok(()) => LookedUp::NotSent { draft },
            Err(error) => LookedUp::Concluded(self.our_fault(&own_failure("record the look-up", &error))),
        }
    }

    /// Writes the draft's id down under the lease.
    async fn note_draft(&self, provider_id: &str) -> Result<(), StoreError> {
        let id = self.claimed.message.id;
        let event = self.facts().event(EventKind::OutboxDraftCreated).words(provider_id);
        self.engine.store.note_provider_draft(id, &self.lease(), provider_id, event).await?;
        self.know_provider_id(Some(provider_id.to_owned()));
        Ok(())
    }

    /// A look-up that failed leaves a message that certainly was not sent where it was: to be sent.
    fn still_unknown(&self, failure: &Failure) -> Conclusion {
        if self.uncertain.load(Ordering::SeqCst) {
            self.facts().still_unknown(failure)
        } else {
            self.facts().not_tried(failure)
        }
    }

    /// Whether being found nowhere must be seen a second time before the message is sent again. Not needed when no
    /// request to send can have left: the last outcome was certain, or a worker died before a draft was noted.
    fn is_first_absence(&self) -> bool {
        let message = &self.claimed.message;
        match self.claimed.previous {
            OutboxState::Unknown => {
                !message.last_words.as_deref().is_some_and(|words| words.ends_with(ABSENT_ONCE))
            }
            OutboxState::Sending => message.provider_id.is_some(),
            _ => false,
        }
    }

    /// A failure on this side: never final, and what is uncertain stays uncertain.
    fn our_fault(&self, failure: &Failure) -> Conclusion {
        if self.uncertain.load(Ordering::SeqCst) {
            self.facts().unknown(failure)
        } else {
            self.facts().not_tried(failure)
        }
    }

    /// Runs `work` and moves the end of the lease while it runs. None when the lease was lost; then `work` is dropped.
    ///
    /// Both are polled side by side: `work` may hold the store's one writing connection, which the extension needs.
    async fn under_lease<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.keep_lease() => None,
        }
    }

    /// Extends the lease every third of it. Ends when it is lost.
    async fn keep_lease(&self) {
        let third = self.engine.settings.lease() / 3;
        loop {
            tokio::time::sleep(third).await;
            match self.extend_lease().await {
                Ok(()) => {}
                Err(StoreError::LeaseLost { .. }) => return,
                Err(error) => {
                    let id = self.claimed.message.id;
                    tracing::warn!(message = %id, error = chain(&error), "the lease could not be extended");
                }
            }
        }
    }

    async fn extend_lease(&self) -> Result<(), StoreError> {
        let until = self.engine.after(self.engine.lease());
        self.engine.store.extend_outbox_lease(self.claimed.message.id, &self.lease(), until).await?;
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).until = until;
        Ok(())
    }

    /// Figures and trace of a step of this attempt.
    fn tell(&self, step: Step, begun: Timestamp, state: OutboxState) {
        let message = &self.claimed.message;
        let (signals, ended) = (&self.engine.signals, self.engine.env.now());
        match step {
            Step::Send => signals.sent(state, ended.duration_since(begun)),
            _ if state == OutboxState::Sent => signals.delivered(ended.duration_since(message.accepted_at)),
            _ => {}
        }
        let (attempt, outcome) = (Some(message.attempts), state.as_str());
        let failed = state != OutboxState::Sent;
        signals.passed(&Passed { message: message.id, step, begun, ended, attempt, outcome, failed });
    }

    async fn finish(&self, conclusion: Conclusion) {
        let begun = self.engine.env.now();
        let id = self.claimed.message.id;
        let known = self.provider_id.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut waits = FINISH_WAITS.into_iter();
        loop {
            let finish = FinishAttempt {
                id,
                lease: self.lease(),
                state: conclusion.state,
                next_attempt_at: conclusion.next_attempt_at,
                provider_id: conclusion.provider_id.clone().or_else(|| known.clone()),
                words: conclusion.words.clone(),
                events: conclusion.events.clone(),
                follow_up: conclusion.follow_up.clone(),
            };
            let error = match self.engine.store.finish_attempt(finish).await {
                Ok(()) => {
                    let attempt = self.claimed.message.attempts;
                    tracing::info!(message = %id, attempt, state = %conclusion.state, "attempt ended");
                    self.tell(Step::Outcome, begun, conclusion.state);
                    return;
                }
                Err(error) => error,
            };
            let wait = waits.next().filter(|_| error.is_temporary());
            tracing::warn!(message = %id, error = chain(&error), again = wait.is_some(), "the end was not recorded");
            let Some(wait) = wait else { return };
            tokio::time::sleep(wait).await;
        }
    }
}

/// What one try came to.
struct Tried {
    conclusion: Conclusion,
    /// Who refused it and how, when it was refused.
    refused: Option<Box<(Connection, Failure)>>,
}

impl From<Conclusion> for Tried {
    fn from(conclusion: Conclusion) -> Self {
        Self { conclusion, refused: None }
    }
}

enum LookedUp {
    Concluded(Conclusion),
    StillUnknown(Failure),
    NotSent { draft: Option<String> },
}

fn no_answer(operation: &str, limit: Duration) -> Failure {
    let words = format!("no answer within {} seconds", limit.as_secs());
    Failure::new(operation, Origin::Network, words, Decision::Reconcile)
}

/// Writes the draft's id down under the lease of the attempt.
struct Notes<'a>(&'a Attempt);

#[async_trait]
impl SendNotes for Notes<'_> {
    async fn draft_created(&self, provider_id: &str) -> Result<(), Failure> {
        self.0.note_draft(provider_id).await.map_err(|error| own_failure("note the draft", &error))
    }
}
