//! Provider and store compared: each night, for each mailbox, what the provider has received in the last days against
//! what is stored of it. What is missing is fetched, and the number is told, which is usually zero.
//!
//! A mailbox is read first, so that only what reading did not find counts; the last minutes are left out, because mail
//! comes while the two are compared.

use jiff::SignedDuration;
use postroom_model::mailbox::{Mailbox, MailboxState};
use postroom_model::{MailboxId, Timestamp};
use postroom_store::StoreError;
use serde::{Deserialize, Serialize};

use super::read_journal;
use crate::{Engine, collector};

/// What all names of such journals begin with.
pub(crate) const PREFIX: &str = "reconciliation/";
/// What was received after this long ago is left to reading.
pub(crate) const MARGIN: SignedDuration = SignedDuration::from_mins(10);
/// Mailboxes compared at the same time.
const PARALLEL: usize = 4;

pub(crate) fn journal(mailbox: MailboxId) -> String {
    format!("{PREFIX}{mailbox}")
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// When.
    pub at: Timestamp,
    /// What was received from this instant on was compared.
    pub since: Timestamp,
    /// Messages at the provider.
    pub at_provider: u64,
    /// How many of them were missing here.
    pub missing: u64,
    /// How many of those were fetched and stored.
    pub fetched: u64,
    /// The first of those that were missing: when received, and the `Message-ID`, else the provider's id.
    pub listed: Vec<(Timestamp, String)>,
}

impl Report {
    /// Most missing messages that are listed.
    pub const LISTED: usize = 100;

    /// `412 messages compared, none is missing`.
    pub fn words(&self) -> String {
        let count = |count: u64| match count {
            1 => "1 message".to_owned(),
            count => format!("{count} messages"),
        };
        let compared = format!("{} since {:.0} compared", count(self.at_provider), self.since);
        match self.missing {
            0 => format!("{compared}, none is missing"),
            missing => {
                let named: Vec<&str> = self.listed.iter().take(5).map(|(_, name)| name.as_str()).collect();
                let were = if missing == 1 { "was" } else { "were" };
                format!(
                    "{compared}, {missing} {were} missing and {} fetched: {}",
                    self.fetched,
                    named.join(", ")
                )
            }
        }
    }
}

/// The last time at which comparisons were due.
fn last_due(now: Timestamp, hour: u32) -> Timestamp {
    let day = 86_400;
    let at = i64::from(hour.min(23)) * 3_600;
    let today = now.as_second().div_euclid(day) * day + at;
    let due = if today <= now.as_second() { today } else { today - day };
    Timestamp::from_second(due).unwrap_or(now)
}

/// Compares the mailboxes that are due.
pub(crate) async fn look(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    use futures_util::StreamExt;
    let settings = &engine.settings.watch;
    if settings.reconcile_days == 0 {
        return Ok(None);
    }
    let due = last_due(engine.env.now(), settings.reconcile_hour);
    let known: std::collections::HashMap<String, Timestamp> = engine
        .store
        .journals(PREFIX)
        .await?
        .into_iter()
        .map(|(name, content)| {
            let report: Report = read_journal(&name, Some(&content));
            (name, report.at)
        })
        .collect();
    let is_due = |mailbox: &Mailbox| {
        // What was added after the time was read from its beginning just now.
        mailbox.begun_at < due
            && mailbox.state == MailboxState::Running
            && mailbox.next_due_at.is_some()
            && known.get(&journal(mailbox.id)).is_none_or(|at| *at < due)
    };
    let all: Vec<Mailbox> = engine.store.mailboxes().await?.into_iter().filter(is_due).collect();
    futures_util::stream::iter(all)
        .for_each_concurrent(PARALLEL, async |mailbox| {
            if let Err(failure) = collector::reconcile(engine, mailbox.id, Some(due)).await {
                tracing::warn!(mailbox = %mailbox.id, %failure, "provider and store could not be compared");
            }
        })
        .await;
    let next = due.saturating_add(SignedDuration::from_hours(24)).ok();
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_due_once_a_day() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (now, due) in [
            ("2026-11-23T01:59:59Z", "2026-11-22T02:00:00Z"),
            ("2026-11-23T02:00:00Z", "2026-11-23T02:00:00Z"),
            ("2026-11-23T23:00:00Z", "2026-11-23T02:00:00Z"),
        ] {
            assert_eq!(last_due(at(now), 2), at(due), "{now}");
        }
    }

    #[test]
    fn the_number_is_told() {
        let mut report = Report { since: Timestamp::UNIX_EPOCH, at_provider: 412, ..Report::default() };
        assert_eq!(report.words(), "412 messages since 1970-01-01T00:00:00Z compared, none is missing");
        report.missing = 1;
        report.fetched = 1;
        report.listed.push((Timestamp::UNIX_EPOCH, "<a@b.example>".into()));
        assert!(report.words().ends_with("1 was missing and 1 fetched: <a@b.example>"));
    }
}
