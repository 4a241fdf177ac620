//! The worker that clears away what is over, by the retention that is configured. Nothing is removed by default but raw
//! messages that nothing names for a day.
//!
//! It works in small transactions, gives way between them, and not while a backup is made. Several may run on one store:
//! whoever is slower finds nothing left.

use std::time::Duration;

use postroom_store::janitor::Kind;
use postroom_store::{Orphans, Retention, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::worker::chain;

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Every so many rounds raw messages that nothing names are looked for: that reads every name.
const ORPHANS_EVERY: u32 = 24;
/// Most messages looked at, and removed in one transaction.
const PAGE: u32 = 200;
/// Pause after each transaction, so that those who accept and send come first.
const BREATH: Duration = Duration::from_millis(50);

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Messages of each kind that had any, and the size of their raw messages in bytes.
    pub messages: Vec<(Kind, u64, u64)>,
    /// Raw messages that nothing names.
    pub orphans: Orphans,
}

/// Clears away what is over. With `dry_run` nothing is removed. None while a backup or another janitor is at work.
///
/// # Errors
/// The store's; what was removed before stays removed.
pub async fn clear(
    store: &dyn Store,
    retention: &Retention,
    orphans: bool,
    dry_run: bool,
) -> Result<Option<Cleared>, StoreError> {
    let Some(_lock) = store.upkeep_lock().await? else { return Ok(None) };
    let mut cleared = Cleared::default();
    for kind in Kind::ALL.into_iter().filter(|kind| retention.removes(*kind)) {
        let (mut messages, mut bytes, mut place) = (0, 0, None);
        loop {
            let page = store.expired(kind, retention, place, PAGE).await?;
            bytes += page.bytes;
            messages += match (dry_run, page.ids.is_empty()) {
                (true, _) => page.ids.len() as u64,
                (false, true) => 0,
                (false, false) => store.remove_expired(kind, &page.ids).await?,
            };
            place = page.next;
            if place.is_none() {
                break;
            }
            tokio::time::sleep(BREATH).await;
        }
        if messages > 0 {
            cleared.messages.push((kind, messages, bytes));
        }
    }
    if orphans {
        cleared.orphans = store.orphans(!dry_run).await?;
    }
    Ok(Some(cleared))
}

/// Clears away again and again until `stop` is cancelled.
pub(crate) async fn run(engine: &Engine, stop: &CancellationToken) {
    let mut round = 0_u32;
    loop {
        // The first round waits too: a start has better to do.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let orphans = round.is_multiple_of(ORPHANS_EVERY);
        round = round.wrapping_add(1);
        let cleared = tokio::select! {
            // Every transaction stands alone: what is cut off is done next time.
            () = stop.cancelled() => return,
            cleared = clear(engine.store.as_ref(), &engine.settings.retention, orphans, false) => cleared,
        };
        match cleared {
            Ok(Some(Cleared { messages, orphans })) => {
                for (kind, messages, bytes) in messages {
                    tracing::info!(kind = kind.as_str(), messages, bytes, "removed what is over");
                }
                if orphans.blobs > 0 {
                    let Orphans { blobs, bytes } = orphans;
                    tracing::info!(blobs, bytes, "removed raw messages that nothing names");
                }
            }
            Ok(None) => tracing::info!("a backup is made; what is over is removed later"),
            Err(error) => tracing::error!(error = chain(&error), "what is over could not be removed"),
        }
    }
}
