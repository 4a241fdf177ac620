//! Mailboxes to which no mail comes although it usually does at this weekday and hour: a forwarding rule, an MX record, a
//! filter. The last four weeks say when mail is usual.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use postroom_model::event::{EventKind, Subject};
use postroom_model::mailbox::{Mailbox, MailboxState};
use postroom_model::{MailboxId, Timestamp};
use postroom_store::StoreError;
use serde::{Deserialize, Serialize};

use super::turn::Turn;
use super::{Gravity, read_journal, write_journal};
use crate::Engine;

/// Hours of a week.
const WEEK: i64 = 7 * 24;
/// Weeks that are looked back at, and in how many of them mail must have come for an hour to count.
const WEEKS: i64 = 4;
const USUAL: usize = 3;
/// How far back arrivals are asked for: four weeks before the longest silence that is looked at.
const WINDOW: SignedDuration = SignedDuration::from_hours(2 * WEEKS * WEEK);

const PREFIX: &str = "silence/";
/// When all were looked at last, as an hour since 1970.
const LAST: &str = "silence-looked";

/// Mail is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// The last hour in which mail came, since 1970.
    pub last: i64,
    /// So many of the hours since are hours in which mail usually comes.
    pub missed: u32,
}

/// Whether a mailbox is silent for at least `least` hours in which mail usually comes. `arrivals` are the numbers of
/// messages by hour since 1970; `now` is the hour that has not ended yet. A mailbox without mail in three of four weeks at
/// the same weekday and hour is never missed then, so nights, weekends and young mailboxes are not.
pub fn silence(arrivals: &BTreeMap<i64, u32>, now: i64, least: u32) -> Option<Silence> {
    let last =
        arrivals.iter().rev().find(|(hour, count)| **count > 0 && **hour <= now).map(|(hour, _)| *hour)?;
    let usual = |hour: i64| {
        let before =
            (1..=WEEKS).filter(|week| arrivals.get(&(hour - week * WEEK)).is_some_and(|count| *count > 0));
        before.count() >= USUAL
    };
    let from = (last + 1).max(now - WEEKS * WEEK);
    let missed = u32::try_from((from..now).filter(|hour| usual(*hour)).count()).unwrap_or(u32::MAX);
    (least > 0 && missed >= least).then_some(Silence { last, missed })
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    last: i64,
}

fn journal(mailbox: MailboxId) -> String {
    format!("{PREFIX}{mailbox}")
}

/// Looks at every mailbox that is read, once an hour.
pub(crate) async fn look(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    let least = engine.settings.watch.silence_hours;
    let hour = hour_of(engine.env.now());
    let looked = engine.store.journal(LAST).await?.and_then(|looked| looked.parse::<i64>().ok());
    if least == 0 || looked == Some(hour) {
        return Ok(None);
    }
    let Some(turn) = Turn::take(engine, "silence".to_owned()).await? else { return Ok(None) };
    let done = async {
        for mailbox in engine.store.mailboxes().await? {
            if mailbox.state == MailboxState::Running && mailbox.next_due_at.is_some() {
                look_at(engine, &mailbox, hour, least).await?;
            }
        }
        engine.store.save_journal(LAST, Some(&hour.to_string())).await
    };
    let done = done.await;
    turn.end().await;
    done.map(|()| None)
}

async fn look_at(engine: &Engine, mailbox: &Mailbox, hour: i64, least: u32) -> Result<(), StoreError> {
    let since = engine.env.now().saturating_sub(WINDOW).unwrap_or(Timestamp::UNIX_EPOCH);
    let arrivals: BTreeMap<i64, u32> = engine.store.arrivals(mailbox.id, since).await?.into_iter().collect();
    let name = journal(mailbox.id);
    let known = engine.store.journal(&name).await?;
    let told: Option<Told> = known.as_deref().map(|known| read_journal(&name, Some(known)));
    let connection = engine.store.connection(mailbox.connection).await?;
    let Some(connection) = connection else { return Ok(()) };
    let subject = Subject::Mailbox(mailbox.id);
    match (told, silence(&arrivals, hour, least)) {
        (None, Some(silence)) => {
            let words = format!(
                "{} has received nothing since {:.0}; in {} of the hours since, mail came in most of the last four weeks. Next step: send it a test message, and look for a rule or filter that takes its mail away",
                mailbox.address,
                instant(silence.last + 1),
                silence.missed,
            );
            engine.announce(&connection, subject, EventKind::MailboxSilent, Gravity::Warning, words).await?;
            let told = write_journal(&name, &Told { last: silence.last })?;
            engine.store.save_journal(&name, Some(&told)).await
        }
        (Some(told), _) if arrivals.keys().next_back().is_some_and(|last| *last > told.last) => {
            let words = format!(
                "{} receives mail again; it had received nothing since {:.0}",
                mailbox.address,
                instant(told.last + 1)
            );
            engine
                .announce(&connection, subject, EventKind::MailboxHeard, Gravity::Information, words)
                .await?;
            engine.store.save_journal(&name, None).await
        }
        _ => Ok(()),
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3_600)
}

fn instant(hour: i64) -> Timestamp {
    Timestamp::from_second(hour.saturating_mul(3_600)).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mail in these hours of the day on these days of each week before `now`.
    fn weeks(now: i64, weeks: std::ops::RangeInclusive<i64>, hours: &[i64]) -> BTreeMap<i64, u32> {
        let monday = now - now.rem_euclid(WEEK);
        let days = 0..5;
        let all = weeks.flat_map(|week| days.clone().map(move |day| monday - week * WEEK + day * 24));
        all.flat_map(|day| hours.iter().map(move |hour| (day + hour, 3))).collect()
    }

    #[test]
    fn the_table() {
        // Hours are counted in weeks from a Monday, 00:00.
        const MONDAY: i64 = 2_955 * WEEK;
        let office = [8, 9, 10, 11, 12, 13, 14, 15, 16];
        let four = |now| weeks(now, 1..=4, &office);
        let with = |mut arrivals: BTreeMap<i64, u32>, hour| {
            arrivals.insert(hour, 1);
            arrivals
        };
        let at = |day: i64, hour: i64| MONDAY + day * 24 + hour;
        for (name, arrivals, now, missed) in [
            ("Monday 11:00, three hours missed", four(at(0, 11)), at(0, 11), None),
            ("Monday 12:00, four hours missed", four(at(0, 12)), at(0, 12), Some(4)),
            ("mail came at 10:00", with(four(at(0, 13)), at(0, 10)), at(0, 13), None),
            ("mail came at 08:00, four missed since", with(four(at(0, 13)), at(0, 8)), at(0, 13), Some(4)),
            ("night", with(four(at(1, 6)), at(0, 16)), at(1, 6), None),
            ("Sunday", with(four(at(6, 12)), at(4, 16)), at(6, 12), None),
            ("two weeks old", weeks(at(0, 16), 1..=2, &office), at(0, 16), None),
            ("three weeks old", weeks(at(0, 16), 1..=3, &office), at(0, 16), Some(8)),
            ("the last week was a holiday", weeks(at(0, 16), 2..=4, &office), at(0, 16), Some(8 + 45)),
            ("never any mail", BTreeMap::new(), at(0, 16), None),
        ] {
            let found = silence(&arrivals, now, 4).map(|silence| silence.missed);
            assert_eq!(found, missed, "{name}");
        }
        assert_eq!(silence(&four(at(0, 16)), at(0, 16), 0), None, "0 hours is never");
    }
}
