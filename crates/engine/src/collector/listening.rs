//! The worker that lets providers tell of news: for each polled mailbox whose transport can, one call of
//! [`Source::wait`] runs all the time, and news wakes the mailbox.
//!
//! Nothing depends on it. Every mailbox is polled as if nobody listened; a mailbox that cannot be listened to is not
//! failing. So what happens here is told to the log only.
//!
//! # What it costs
//!
//! One task and one open connection per mailbox that is listened to, at most `listen_parallel`; one small query a
//! minute for all. A mailbox that could not be listened to rests without a task, and another has its place meanwhile. Whether a provider can tell is a matter of its server, so an answer of *not offered* holds for
//! all mailboxes of the connection, until it is saved or some hours have passed: its mailboxes cost nothing more.

use std::collections::HashMap;
use std::time::Duration;

use jiff::SignedDuration;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{ConnectionId, MailboxId, Timestamp};
use postroom_store::{PolledMailbox, StoreError};
use postroom_transport::{Source, Woken};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{bounded, pace};
use crate::worker::chain;
use crate::{Engine, own_failure};

/// Longest single wait. A source is made anew only when one fails.
const WAIT_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How much longer than asked a transport may wait before it is given up.
const GRACE: Duration = Duration::from_secs(60);
/// Two waits of a mailbox begin at least this far apart, whatever a server answers.
const SHORTEST: Duration = Duration::from_secs(1);
/// A wait that went well for so long is no failure to listen, even when its line is cut at last.
const WENT_WELL: Duration = Duration::from_secs(60);
/// Failures in a row that are told: a line that was cut once is nothing.
const TOLD: u32 = 2;
/// Longest time between two looks at what is to be listened to, without a nudge.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Listeners begun at once, and how long until the next ones: a server is not stormed, and one mailbox of a server
/// that cannot tell has said so before all of them have asked.
const AT_ONCE: usize = 32;
const STEP: Duration = Duration::from_secs(1);
/// How long an answer of *not offered* holds while the connection stays as it is.
const NOT_OFFERED_FOR: SignedDuration = SignedDuration::from_hours(6);

/// Listens until `stop` is cancelled. Nothing is in hand that would have to be finished.
pub(crate) async fn run(engine: &Engine, stop: &CancellationToken) {
    let mut listeners = Listeners::default();
    let mut troubled = false;
    while !stop.is_cancelled() {
        // Interest is registered before the store is asked, so a nudge that comes between the two is not lost.
        let nudged = engine.nudges.listening.notified();
        tokio::pin!(nudged);
        nudged.as_mut().enable();
        let wait = match listeners.look(engine).await {
            Ok(wait) => {
                troubled = false;
                wait
            }
            Err(error) => {
                if !std::mem::replace(&mut troubled, true) {
                    tracing::error!(worker = "listening", error = chain(&error), "the store cannot be asked");
                }
                engine.idle()
            }
        };
        let mut next_look = Instant::now() + wait;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut nudged => break,
                () = tokio::time::sleep_until(next_look) => break,
                Some(ended) = listeners.tasks.join_next() => {
                    listeners.note_end(engine, ended);
                    // A place is free; those that end together are replaced together.
                    next_look = next_look.min(Instant::now() + STEP);
                }
            }
        }
    }
}

/// Who listens now. Dropped, all of them end.
#[derive(Default)]
struct Listeners {
    /// Each ends by itself when its provider cannot tell, and when it fails.
    tasks: JoinSet<Ended>,
    running: HashMap<MailboxId, Listener>,
    resting: HashMap<MailboxId, Resting>,
    not_offered: HashMap<ConnectionId, NotOffered>,
}

struct Listener {
    to: PolledMailbox,
    task: AbortHandle,
}

/// A mailbox that could not be listened to: it takes nobody's place until it is tried again.
#[derive(Clone, Copy)]
struct Resting {
    to: PolledMailbox,
    /// Failures in a row.
    failures: u32,
    until: Instant,
}

struct NotOffered {
    /// Revision of the connection.
    revision: i64,
    until: Timestamp,
}

/// How a listener ended by itself.
enum Ended {
    /// Its provider cannot tell.
    NotOffered(PolledMailbox),
    /// It failed.
    Failed(Resting),
}

impl Listeners {
    /// Ends what is not wanted any more, or not in this way, and begins what is missing. Gives how long nothing else is
    /// to be begun.
    async fn look(&mut self, engine: &Engine) -> Result<Duration, StoreError> {
        let limit = usize::try_from(engine.settings.listen_parallel).unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(LOOK_EVERY);
        }
        let polled = engine.store.polled_mailboxes().await?;
        let now = engine.env.now();
        let known: HashMap<ConnectionId, i64> =
            polled.iter().map(|mailbox| (mailbox.connection, mailbox.connection_revision)).collect();
        self.not_offered.retain(|id, answer| answer.until > now && known.get(id) == Some(&answer.revision));
        let wanted: HashMap<MailboxId, PolledMailbox> = polled
            .iter()
            .filter(|mailbox| !self.not_offered.contains_key(&mailbox.connection))
            .map(|mailbox| (mailbox.id, *mailbox))
            .collect();
        // What was changed is tried at once.
        self.resting.retain(|id, resting| wanted.get(id) == Some(&resting.to));
        self.running.retain(|id, listener| {
            let stays = wanted.get(id) == Some(&listener.to) && !listener.task.is_finished();
            if !stays {
                listener.task.abort();
            }
            stays
        });
        let free = limit.saturating_sub(self.running.len());
        let begins = Instant::now();
        let ready = |mailbox: &&PolledMailbox| {
            wanted.contains_key(&mailbox.id)
                && !self.running.contains_key(&mailbox.id)
                && self.resting.get(&mailbox.id).is_none_or(|resting| resting.until <= begins)
        };
        let missing: Vec<PolledMailbox> = polled.iter().filter(ready).take(free).copied().collect();
        let more = missing.len() > AT_ONCE;
        for to in missing.into_iter().take(AT_ONCE) {
            let failures = self.resting.remove(&to.id).map_or(0, |resting| resting.failures);
            let task = self.tasks.spawn(listen(engine.clone(), to, failures));
            self.running.insert(to.id, Listener { to, task });
        }
        if more {
            return Ok(STEP);
        }
        // Whoever has rested and finds no place waits for one that ends.
        let rested = self.resting.values().filter(|resting| resting.until > begins);
        let next = rested.map(|resting| resting.until.duration_since(begins)).min();
        Ok(next.filter(|_| self.running.len() < limit).map_or(LOOK_EVERY, |next| next.min(LOOK_EVERY)))
    }

    fn note_end(&mut self, engine: &Engine, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(Ended::NotOffered(to)) => {
                let until = engine.after(NOT_OFFERED_FOR);
                self.not_offered
                    .insert(to.connection, NotOffered { revision: to.connection_revision, until });
            }
            Ok(Ended::Failed(resting)) => {
                // Another listener of the same mailbox, with newer settings, is not touched.
                if self.running.get(&resting.to.id).is_some_and(|listener| listener.to == resting.to) {
                    self.running.remove(&resting.to.id);
                    self.resting.insert(resting.to.id, resting);
                }
            }
            Err(error) if error.is_panic() => {
                tracing::error!(worker = "listening", "a listener panicked; it begins anew at the next look");
            }
            Err(_) => {} // ended by us
        }
    }
}

/// Listens to one mailbox until its provider cannot tell or it fails.
async fn listen(engine: Engine, to: PolledMailbox, mut failures: u32) -> Ended {
    let Err(failure) = listen_until_failure(&engine, to, &mut failures).await else {
        return Ended::NotOffered(to);
    };
    failures = failures.saturating_add(1);
    if failures == TOLD {
        tracing::warn!(mailbox = %to.id, %failure, "cannot be listened to; it is polled only");
    }
    let (counted, after) = match failure.decision() {
        Decision::Retry { after } => (failures, after),
        // What a person must set right changes the connection or the mailbox, and that begins a new listener.
        Decision::Hold | Decision::Fail | Decision::Reconcile => (u32::MAX, None),
    };
    let wait = pace::next_listening(counted, after, crate::chance(&engine.env));
    let until = Instant::now() + Duration::try_from(wait).unwrap_or(LOOK_EVERY);
    Ended::Failed(Resting { to, failures, until })
}

/// Waits again and again with one source, which may so remember what it told. Ends well when the provider cannot tell.
async fn listen_until_failure(engine: &Engine, to: PolledMailbox, failures: &mut u32) -> Result<(), Failure> {
    let source = open(engine, to).await?;
    loop {
        let begun = Instant::now();
        let answer = tokio::time::timeout(WAIT_LIMIT + GRACE, source.wait(WAIT_LIMIT)).await;
        let woken = match answer.unwrap_or_else(|_| Err(no_end())) {
            Ok(woken) => woken,
            Err(failure) => {
                if begun.elapsed() >= WENT_WELL {
                    *failures = 0;
                }
                return Err(failure);
            }
        };
        if woken == Woken::NotOffered {
            return Ok(());
        }
        if std::mem::take(failures) >= TOLD {
            tracing::info!(mailbox = %to.id, "is listened to again");
        }
        if woken == Woken::News
            && let Err(error) = engine.wake(to.id).await
        {
            tracing::warn!(mailbox = %to.id, error = chain(&error), "news waits for the next reading");
        }
        tokio::time::sleep_until(begun + SHORTEST).await;
    }
}

async fn open(engine: &Engine, to: PolledMailbox) -> Result<Box<dyn Source>, Failure> {
    let own = |error: StoreError| own_failure("listen", &error);
    let gone = || {
        let words = "the mailbox or its connection is no longer there";
        Failure::new("listen", Origin::Ourselves, words, Decision::Hold)
    };
    let mailbox = engine.store.mailbox(to.id).await.map_err(own)?.ok_or_else(gone)?;
    let connection = engine.store.connection(mailbox.connection).await.map_err(own)?.ok_or_else(gone)?;
    bounded("listen", engine.transports.source(&connection, &mailbox)).await
}

fn no_end() -> Failure {
    let words = format!("a wait of {} seconds did not end", WAIT_LIMIT.as_secs());
    Failure::new("listen", Origin::Network, words, Decision::Retry { after: None })
}
