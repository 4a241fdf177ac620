//! The worker that reads what was stored, or puts it into quarantine with the reason. One message never blocks the
//! next one: a panic, a hang or a fault of the store concerns that message only.
//!
//! The test message of a check is set apart here: it is mail for nobody.
//!
//! A message larger than `read_whole_bytes` is never in memory as a whole: its headers, its thread and its text are in
//! its beginning, and what else it holds is read when a person opens it.
//!
//! Several routers may work on one store: whoever is slower finds the message processed and changes nothing.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use postroom_mime::read::{ReadMessage, Unreadable, is_check, summarize, summarize_beginning};
use postroom_model::InboxMessageId;
use postroom_store::{Processed, StoreError, StoredMessage};
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::collector::placeholder;
use crate::worker::chain;

/// Messages asked for at a time.
const BATCH: u32 = 32;
/// Messages read at the same time; each may be as large as `read_whole_bytes`.
const PARALLEL: usize = 2;
/// How much is read of a message that is too large to be read whole.
const BEGINNING: u64 = 2 * 1024 * 1024;
/// Longest reading of one message.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// Processes what is stored until `stop` is cancelled.
pub(crate) async fn run(engine: &Engine, stop: &CancellationToken) {
    let mut troubled = false;
    while !stop.is_cancelled() {
        engine.signals.beat("router");
        // Interest is registered before the store is asked, so a nudge that comes between the two is not lost.
        let nudged = engine.nudges.router.notified();
        tokio::pin!(nudged);
        nudged.as_mut().enable();
        match process_until(engine, stop).await {
            Ok(()) => troubled = false,
            Err(error) => {
                if !std::mem::replace(&mut troubled, true) {
                    tracing::error!(
                        worker = "router",
                        error = chain(&error),
                        "the store cannot be asked for work"
                    );
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = nudged => {}
            () = tokio::time::sleep(engine.idle()) => {}
        }
    }
}

/// Processes everything that is stored now.
pub(crate) async fn process_all(engine: &Engine) -> Result<(), StoreError> {
    process_until(engine, &CancellationToken::new()).await
}

async fn process_until(engine: &Engine, stop: &CancellationToken) -> Result<(), StoreError> {
    // Messages that the store could not give or finish: left for the next round, and not in the way of the others.
    let later = Mutex::new(HashSet::new());
    while !stop.is_cancelled() {
        let passed_over = lock(&later).clone();
        let limit = BATCH.saturating_add(u32::try_from(passed_over.len()).unwrap_or(u32::MAX));
        let mut messages = engine.store.unprocessed(limit).await?;
        messages.retain(|message| !passed_over.contains(&message.id));
        if messages.is_empty() {
            return Ok(());
        }
        futures_util::stream::iter(messages)
            .for_each_concurrent(PARALLEL, async |message| {
                if stop.is_cancelled() {
                    return;
                }
                engine.signals.beat("router");
                if let Err(error) = process(engine, &message).await {
                    tracing::warn!(message = %message.id, error = chain(&error), "processing is left for later");
                    lock(&later).insert(message.id);
                }
            })
            .await;
    }
    Ok(())
}

fn lock(later: &Mutex<HashSet<InboxMessageId>>) -> std::sync::MutexGuard<'_, HashSet<InboxMessageId>> {
    later.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Reads one message and records what was found.
async fn process(engine: &Engine, message: &StoredMessage) -> Result<(), StoreError> {
    let whole = message.raw.size <= engine.settings.read_whole_bytes;
    let content = if whole {
        engine.store.blob(&message.raw).await
    } else {
        let beginning = BEGINNING.min(engine.settings.read_whole_bytes);
        engine.store.blob_beginning(&message.raw, beginning).await
    };
    let processed = match content {
        Ok(raw) => read(raw, if whole { summarize } else { summarize_beginning }).await,
        // The content is damaged: that will not pass by itself, and a person must see it.
        Err(error @ StoreError::Contradiction { .. }) => Processed::Quarantined { reason: error.to_string() },
        Err(error) => return Err(error),
    };
    if let Processed::Quarantined { reason } = &processed {
        tracing::warn!(message = %message.id, reason, "put into quarantine");
    }
    let finished = engine.store.finish_processing(message.id, processed).await;
    engine.nudges.settling.notify_waiters();
    match finished {
        Err(error) if !error.is_temporary() => {
            // The store cannot keep what was read; it can keep that.
            let reason = format!("what was read could not be stored: {error}");
            engine.store.finish_processing(message.id, Processed::Quarantined { reason }).await
        }
        result => result,
    }
}

/// Takes the message apart on the blocking pool, where a panic ends that call and nothing else.
async fn read(raw: Bytes, summarize: fn(&[u8]) -> Result<ReadMessage, Unreadable>) -> Processed {
    if let Some(reason) = placeholder::reason(&raw) {
        return Processed::Quarantined { reason };
    }
    if is_check(&raw) {
        return Processed::Check;
    }
    let quarantined = |reason: &str| Processed::Quarantined { reason: reason.to_owned() };
    let task = tokio::task::spawn_blocking(move || summarize(&raw));
    match tokio::time::timeout(READ_LIMIT, task).await {
        Ok(Ok(Ok(read))) => Processed::Read { summary: read.summary, text: read.text },
        Ok(Ok(Err(unreadable))) => quarantined(&unreadable.to_string()),
        Ok(Err(_)) => quarantined("a fault of Postroom ended the reading of this message"),
        Err(_) => quarantined(&format!("reading it took longer than {} seconds", READ_LIMIT.as_secs())),
    }
}
