//! How far a large backlog has come: kept while one is being collected, so that page, command line and API can say how
//! long it will take.

use jiff::SignedDuration;
use postroom_model::{MailboxId, Timestamp};
use postroom_store::Store;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::worker::chain;

/// Fewer messages than this are collected before anybody has looked.
const WORTH_TELLING: u64 = 100;
/// What is older than this is no longer going on: a reading that ended well would have removed it.
const STALE: SignedDuration = SignedDuration::from_mins(15);

/// Where it is kept.
pub(crate) fn journal(mailbox: MailboxId) -> String {
    format!("{PREFIX}{mailbox}")
}

/// What all names of such journals begin with.
pub(crate) const PREFIX: &str = "backlog/";

/// A backlog that is being collected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    /// When this was so.
    pub at: Timestamp,
    /// Messages that wait at least.
    pub waiting: u64,
    /// Messages collected each minute; none while that is not known.
    pub per_minute: Option<f64>,
}

impl Backlog {
    /// How long it takes from now on, in minutes, rounded up; none while nobody can tell.
    pub fn minutes(&self) -> Option<u64> {
        let rate = self.per_minute.filter(|rate| rate.is_finite() && *rate > 0.0)?;
        // Never negative, and a float that is too large becomes the largest number.
        Some((self.waiting as f64 / rate).ceil() as u64)
    }

    /// `1200 messages wait, about 12 minutes`.
    pub fn words(&self) -> String {
        let messages = if self.waiting == 1 { "message waits" } else { "messages wait" };
        let time = match self.minutes() {
            None => String::new(),
            Some(0 | 1) => ", about a minute".to_owned(),
            Some(minutes @ 2..=119) => format!(", about {minutes} minutes"),
            Some(minutes) => format!(", about {} hours", minutes.div_ceil(60)),
        };
        format!("{} {messages}{time}", self.waiting)
    }

    /// Whether it is still going on.
    pub(crate) fn is_current(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < STALE
    }
}

/// What one reading has done so far.
pub(super) struct Progress {
    begun: Instant,
    collected: u64,
    /// Whether a backlog is written down; not known before the first look.
    told: Option<bool>,
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), collected: 0, told: None }
    }

    /// `collected` more messages are done, and `waiting` are not. Written down only when that is worth telling; a store
    /// that refuses it changes nothing.
    pub(super) async fn note(
        &mut self,
        store: &dyn Store,
        mailbox: MailboxId,
        now: Timestamp,
        collected: u64,
        waiting: u64,
    ) {
        self.collected += collected;
        let told = match self.told {
            Some(told) => told,
            // An earlier reading may have told of it and given way.
            None if waiting < WORTH_TELLING => {
                store.journal(&journal(mailbox)).await.is_ok_and(|known| known.is_some())
            }
            None => true,
        };
        self.told = Some(told);
        if waiting < WORTH_TELLING && !told {
            return;
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        let per_minute =
            (self.collected > 0 && seconds > 0.0).then(|| self.collected as f64 * 60.0 / seconds);
        let backlog = Backlog { at: now, waiting, per_minute };
        let content = if waiting == 0 { None } else { serde_json::to_string(&backlog).ok() };
        match store.save_journal(&journal(mailbox), content.as_deref()).await {
            Ok(()) => self.told = Some(content.is_some()),
            Err(error) => {
                tracing::debug!(%mailbox, error = chain(&error), "the progress was not written down");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_told_as_people_say_it() {
        let words = |waiting, per_minute| Backlog { at: Timestamp::UNIX_EPOCH, waiting, per_minute }.words();
        assert_eq!(words(1_200, Some(100.0)), "1200 messages wait, about 12 minutes");
        assert_eq!(words(1_201, Some(100.0)), "1201 messages wait, about 13 minutes");
        assert_eq!(words(90, Some(100.0)), "90 messages wait, about a minute");
        assert_eq!(words(30_000, Some(100.0)), "30000 messages wait, about 5 hours");
        for nothing in [None, Some(0.0), Some(f64::NAN), Some(f64::INFINITY)] {
            assert_eq!(words(1, nothing), "1 message waits", "{nothing:?}");
        }
    }
}
