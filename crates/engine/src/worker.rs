//! The loop that workers of claimed work share: claim, work in tasks of their own, wait, drain.

use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt;
use postroom_model::Timestamp;
use postroom_store::StoreError;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::signals::Signals;

/// One kind of claimed work.
pub(crate) trait Desk: Clone + Send + Sync + 'static {
    /// What is claimed.
    type Work: Send + 'static;

    /// Name in the log.
    const NAME: &'static str;

    /// Most pieces in hand at the same time; at least 1.
    fn parallel(&self) -> u32;

    /// What wakes this worker.
    fn nudge(&self) -> &Notify;

    /// Longest wait without a nudge.
    fn idle(&self) -> Duration;

    /// Where its signs of life go.
    fn signals(&self) -> &Signals;

    /// The present instant.
    fn now(&self) -> Timestamp;

    /// Claims up to `free` pieces that are due.
    fn claim(&self, free: u32) -> impl Future<Output = Result<Vec<Self::Work>, StoreError>> + Send;

    /// When the next piece is due.
    fn next_due(&self) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send;

    /// Does one piece and ends its lease. A failure is its own business; a panic is logged and harms nobody else.
    fn work(self, work: Self::Work) -> impl Future<Output = ()> + Send;
}

/// Runs a desk until `stop` is cancelled, then finishes the work in hand. Dropping the future drops that work.
pub(crate) async fn run<D: Desk>(desk: &D, stop: &CancellationToken) {
    let mut hands = JoinSet::new();
    let mut troubled = false;
    while !stop.is_cancelled() {
        // Interest is registered before the store is asked, so a nudge that comes between the two is not lost.
        let nudged = desk.nudge().notified();
        tokio::pin!(nudged);
        nudged.as_mut().enable();
        desk.signals().beat(D::NAME);
        let wait = match claim(desk, &mut hands).await {
            Ok(wait) => {
                troubled = false;
                wait
            }
            Err(error) => {
                // Said once, not every second.
                if !std::mem::replace(&mut troubled, true) {
                    tracing::error!(
                        worker = D::NAME,
                        error = chain(&error),
                        "the store cannot be asked for work"
                    );
                }
                desk.idle()
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = nudged => {}
            Some(ended) = hands.join_next() => note_end(D::NAME, ended),
            () = tokio::time::sleep(wait) => {}
        }
    }
    while let Some(ended) = hands.join_next().await {
        note_end(D::NAME, ended);
    }
}

/// Fills the free hands. Gives how long nothing else will be due.
async fn claim<D: Desk>(desk: &D, hands: &mut JoinSet<()>) -> Result<Duration, StoreError> {
    let busy = u32::try_from(hands.len()).unwrap_or(u32::MAX);
    let free = desk.parallel().max(1).saturating_sub(busy);
    if free == 0 {
        return Ok(desk.idle()); // the end of any piece wakes the loop
    }
    let looked_at = desk.now();
    for work in desk.claim(free).await? {
        hands.spawn(desk.clone().work(work));
    }
    Ok(wait(desk.next_due().await?, looked_at, desk.now(), desk.idle()))
}

/// How long to wait when the store, asked at `looked_at`, says that the next piece is due at `due`.
///
/// What was due when the store was asked and was not handed out is held by somebody else or waits for an older one
/// of its sender: asking again at once would be a busy loop.
fn wait(due: Option<Timestamp>, looked_at: Timestamp, now: Timestamp, idle: Duration) -> Duration {
    match due {
        Some(due) if due > now => {
            Duration::try_from(due.duration_since(now)).map_or(idle, |until| until.min(idle))
        }
        Some(due) if due > looked_at => Duration::ZERO,
        Some(_) | None => idle,
    }
}

fn note_end(worker: &'static str, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(
            worker,
            panic = error.is_panic(),
            "a piece of work ended by itself; its lease will end"
        );
    }
}

/// Runs a worker again whenever it panics, until `stop` is cancelled: nothing switches itself off.
pub(crate) async fn keep<W, F>(name: &'static str, idle: Duration, stop: CancellationToken, worker: W)
where
    W: Fn() -> F,
    F: Future<Output = ()>,
{
    loop {
        if std::panic::AssertUnwindSafe(worker()).catch_unwind().await.is_ok() || stop.is_cancelled() {
            return;
        }
        tracing::error!(worker = name, "the worker panicked and is started again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(idle) => {}
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_ends_at_the_due_time_but_never_spins() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let idle = Duration::from_secs(5);
        for (due, looked_at, now, expected) in [
            (None, 10, 10, 5),
            (Some(12), 10, 10, 2), // due soon
            (Some(60), 10, 10, 5), // due later than the floor
            (Some(11), 10, 12, 0), // became due while the store was asked
            (Some(10), 10, 12, 5), // was due and not handed out
            (Some(1), 10, 12, 5),  // the same, long ago
        ] {
            let waited = wait(due.map(at), at(looked_at), at(now), idle);
            assert_eq!(waited, Duration::from_secs(expected), "{due:?} {looked_at} {now}");
        }
    }
}
