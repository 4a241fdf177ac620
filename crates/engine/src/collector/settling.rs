//! The worker that marks processed mail as read or moves it at its provider, where the mailbox wants that.
//!
//! What is to be done is part of the commit that recorded the processing, with a time at which it is due. Claiming puts
//! that time off, doing it twice is as doing it once, and only then it is struck off: a process that is killed at any
//! line leaves work that is due again, and loses none. A refusal leaves the mail where it is, is told once at the
//! mailbox, and is tried again every hour.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::SignedDuration;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::failure::{Decision, Failure};
use postroom_model::mailbox::AfterProcessing;
use postroom_model::{MailboxId, Timestamp};
use postroom_store::{Settling, StoreError};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::bounded;
use crate::Engine;
use crate::outbox::words;
use crate::worker::chain;

/// Messages claimed at a time.
const BATCH: u32 = 100;
/// Mailboxes worked on at the same time.
const PARALLEL: usize = 4;
/// How long a claim lasts: longer than a batch takes at a slow provider.
const CLAIM: SignedDuration = SignedDuration::from_mins(30);
/// How long until what was refused is tried again, and what met trouble that passes.
const AFTER_REFUSAL: SignedDuration = SignedDuration::from_hours(1);
const AFTER_TROUBLE: SignedDuration = SignedDuration::from_mins(5);

/// What all names of journals of warnings begin with.
pub(crate) const PREFIX: &str = "unsettled/";

fn journal(mailbox: MailboxId) -> String {
    format!("{PREFIX}{mailbox}")
}

/// Why processed mail stays as it is although its mailbox wants something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// Since when.
    pub since: Timestamp,
    /// The provider's words, and what to do.
    pub words: String,
}

/// Settles what is due until `stop` is cancelled.
pub(crate) async fn run(engine: &Engine, stop: &CancellationToken) {
    let mut troubled = false;
    while !stop.is_cancelled() {
        // Interest is registered before the store is asked, so a nudge that comes between the two is not lost.
        let nudged = engine.nudges.settling.notified();
        tokio::pin!(nudged);
        nudged.as_mut().enable();
        let wait = match settle_until(engine, stop).await {
            Ok(due) => {
                troubled = false;
                until(due, engine)
            }
            Err(error) => {
                if !std::mem::replace(&mut troubled, true) {
                    tracing::error!(worker = "settling", error = chain(&error), "the store cannot be asked");
                }
                engine.idle()
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = nudged => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How long until something is due, at most the pace of looking.
fn until(due: Option<Timestamp>, engine: &Engine) -> Duration {
    let wait = due.map(|due| Duration::try_from(due.duration_since(engine.env.now())).unwrap_or_default());
    wait.map_or(engine.idle(), |wait| wait.clamp(Duration::from_millis(10), engine.idle()))
}

/// Settles all that is due now. Gives when the next is.
async fn settle_until(engine: &Engine, stop: &CancellationToken) -> Result<Option<Timestamp>, StoreError> {
    while !stop.is_cancelled() {
        // Asked first, because reading waits for nobody and writing does.
        let due = engine.store.next_settling().await?;
        if due.is_none_or(|due| due > engine.env.now()) {
            return Ok(due);
        }
        let claimed = engine.store.claim_settling(engine.after(CLAIM), BATCH).await?;
        let mut by_mailbox: BTreeMap<MailboxId, Vec<Settling>> = BTreeMap::new();
        for settling in claimed {
            by_mailbox.entry(settling.mailbox).or_default().push(settling);
        }
        futures_util::stream::iter(by_mailbox)
            .for_each_concurrent(PARALLEL, async |(mailbox, settling)| {
                if let Err(error) = settle_mailbox(engine, stop, mailbox, settling).await {
                    tracing::warn!(%mailbox, error = chain(&error), "settling is left for later");
                }
            })
            .await;
    }
    Ok(None)
}

/// The messages of one mailbox, one after the other. The first refusal ends it: the others would meet the same.
async fn settle_mailbox(
    engine: &Engine,
    stop: &CancellationToken,
    mailbox: MailboxId,
    settling: Vec<Settling>,
) -> Result<(), StoreError> {
    let Some(known) = engine.store.mailbox(mailbox).await? else { return Ok(()) };
    let Some(connection) = engine.store.connection(known.connection).await? else { return Ok(()) };
    let how = known.settings.after_processing.clone();
    let source = match engine.transports.source(&connection, &known).await {
        Ok(source) => source,
        Err(failure) => return put_off(engine, mailbox, &settling, &failure).await,
    };
    for (place, one) in settling.iter().enumerate() {
        if stop.is_cancelled() {
            return engine.store.defer_settling(&settling[place..], engine.env.now()).await;
        }
        if let Err(failure) = bounded("settle a message", source.settle(&one.provider_id, &how)).await {
            return put_off(engine, mailbox, &settling[place..], &failure).await;
        }
        let (moved, kind) = match how {
            AfterProcessing::Move(_) => (true, EventKind::InboxMoved),
            AfterProcessing::Leave | AfterProcessing::MarkRead => (false, EventKind::InboxMarkedRead),
        };
        let event =
            Event::new(engine.env.new_id(), engine.env.now(), Subject::InboxMessage(one.message), kind);
        engine.store.finish_settling(one, moved, event.words(format!("mailbox {mailbox}"))).await?;
    }
    works_again(engine, mailbox).await
}

/// The mail stays where it is and is tried again. What waits for a person is told at the mailbox, once.
async fn put_off(
    engine: &Engine,
    mailbox: MailboxId,
    settling: &[Settling],
    failure: &Failure,
) -> Result<(), StoreError> {
    let (wait, told) = match failure.decision() {
        Decision::Retry { after } => (after.unwrap_or(AFTER_TROUBLE).max(AFTER_TROUBLE), false),
        Decision::Hold | Decision::Fail | Decision::Reconcile => (AFTER_REFUSAL, true),
    };
    tracing::warn!(%mailbox, %failure, "processed mail stays as it is");
    engine.store.defer_settling(settling, engine.after(wait)).await?;
    if !told || engine.store.journal(&journal(mailbox)).await?.is_some() {
        return Ok(());
    }
    let unsettled = Unsettled { since: engine.env.now(), words: words(failure) };
    let kind = EventKind::MailboxUnsettled;
    let event = Event::new(engine.env.new_id(), engine.env.now(), Subject::Mailbox(mailbox), kind);
    let event = event.words(&unsettled.words).request_id(failure.request_id.clone());
    engine.store.append_events(vec![event]).await?;
    let content = serde_json::to_string(&unsettled).unwrap_or_default();
    engine.store.save_journal(&journal(mailbox), Some(&content)).await
}

async fn works_again(engine: &Engine, mailbox: MailboxId) -> Result<(), StoreError> {
    if engine.store.journal(&journal(mailbox)).await?.is_none() {
        return Ok(());
    }
    engine.store.save_journal(&journal(mailbox), None).await?;
    let kind = EventKind::MailboxSettles;
    let event = Event::new(engine.env.new_id(), engine.env.now(), Subject::Mailbox(mailbox), kind);
    engine.store.append_events(vec![event]).await
}
