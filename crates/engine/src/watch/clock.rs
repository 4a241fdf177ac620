//! The clock of this machine against those of the providers, as they tell it with every answer (RFC 9110 section 6.6.1).
//! A clock that is wrong makes signed assertions invalid, and times that are waited for and shown wrong by as much.

use jiff::SignedDuration;
use postroom_model::connection::Connection;
use postroom_model::event::{EventKind, Subject};
use postroom_model::{ConnectionId, Timestamp};
use postroom_store::StoreError;
use serde::{Deserialize, Serialize};

use super::turn::Turn;
use super::{Gravity, limited, read_journal, sooner, write_journal};
use crate::Engine;

/// Difference above which people are told.
pub const TOO_MUCH: SignedDuration = SignedDuration::from_mins(2);
/// How often each provider is asked.
const EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What is remembered for a connection.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Looked {
    at: Timestamp,
    /// Whether people were told that it is wrong.
    wrong: bool,
}

fn journal(connection: ConnectionId) -> String {
    format!("clock/{connection}")
}

/// Looks at every connection once an hour.
pub(crate) async fn look(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    if !engine.settings.watch.clock {
        return Ok(None);
    }
    let mut next = None;
    for connection in engine.store.connections().await? {
        if !engine.transports.tells_time(&connection.settings) {
            continue;
        }
        let name = journal(connection.id);
        let looked: Looked = read_journal(&name, engine.store.journal(&name).await?.as_deref());
        let due = looked.at.saturating_add(EVERY).unwrap_or(Timestamp::MAX);
        if due > engine.env.now() {
            next = sooner(next, Some(due));
            continue;
        }
        let Some(turn) = Turn::take(engine, format!("clock/{}", connection.id)).await? else { continue };
        let done = look_at(engine, &connection, looked).await;
        turn.end().await;
        done?;
    }
    Ok(next)
}

async fn look_at(engine: &Engine, connection: &Connection, looked: Looked) -> Result<(), StoreError> {
    let before = engine.env.now();
    let theirs = limited("ask for the time", engine.transports.time(connection)).await;
    let after = engine.env.now();
    let mut wrong = looked.wrong;
    // A provider that does not answer says nothing about clocks; its mailboxes tell of it.
    if let Ok(Some(theirs)) = theirs {
        let ahead = ahead(before, after, theirs);
        let is_wrong = ahead.abs() > TOO_MUCH;
        if is_wrong != wrong {
            wrong = is_wrong;
            tell(engine, connection, ahead, wrong).await?;
        }
    }
    let name = journal(connection.id);
    let content = write_journal(&name, &Looked { at: before, wrong })?;
    engine.store.save_journal(&name, Some(&content)).await
}

/// How far this machine is ahead of a provider that said `theirs` somewhere between two instants here; the provider has
/// the benefit of the doubt.
pub fn ahead(before: Timestamp, after: Timestamp, theirs: Timestamp) -> SignedDuration {
    if theirs < before {
        before.duration_since(theirs)
    } else if theirs > after {
        after.duration_since(theirs)
    } else {
        SignedDuration::ZERO
    }
}

async fn tell(
    engine: &Engine,
    connection: &Connection,
    ahead: SignedDuration,
    wrong: bool,
) -> Result<(), StoreError> {
    let name = connection.settings.display_name();
    let way = if ahead.is_positive() { "fast" } else { "slow" };
    let (kind, gravity, words) = match wrong {
        true => (
            EventKind::ClockWrong,
            Gravity::Warning,
            format!(
                "the clock of this machine is {} seconds {way} against that of {name}; signing in with a certificate fails by it, and times shown are wrong by as much. Next step: set the clock of this machine by NTP",
                ahead.abs().as_secs()
            ),
        ),
        false => (
            EventKind::ClockRight,
            Gravity::Information,
            format!("the clock of this machine agrees with that of {name} again"),
        ),
    };
    engine.announce(connection, Subject::Connection(connection.id), kind, gravity, words).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_an_answer_takes_is_no_difference() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (theirs, seconds) in [(100, 0), (105, 0), (110, 0), (95, 5), (115, -5), (400, -290)] {
            assert_eq!(ahead(at(100), at(110), at(theirs)).as_secs(), seconds, "{theirs}");
        }
    }
}
