//! Mailboxes that cannot be read for a while: one alert after some minutes, one when it is over. Those of one connection
//! that are due together are one notice, because what ails them is one thing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::{ConnectionId, MailboxId, Timestamp};
use postroom_store::{FailingMailbox, StoreError};

use super::turn::Turn;
use super::{Gravity, sooner};
use crate::Engine;

const PREFIX: &str = "down/";
/// Most addresses named in one notice.
const NAMED: usize = 10;

fn journal(mailbox: MailboxId) -> String {
    format!("{PREFIX}{mailbox}")
}

/// Looks at all mailboxes that fail and at all that were told to be down.
pub(crate) async fn look(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    let patience = SignedDuration::from_mins(i64::from(engine.settings.watch.failing_minutes));
    let failing = engine.store.failing_mailboxes().await?;
    let told: BTreeSet<MailboxId> = engine
        .store
        .journals(PREFIX)
        .await?
        .into_iter()
        .filter_map(|(name, _)| name.strip_prefix(PREFIX)?.parse().ok())
        .collect();
    let now = engine.env.now();
    let mut next = None;
    let mut due: BTreeMap<ConnectionId, Vec<&FailingMailbox>> = BTreeMap::new();
    for mailbox in failing.iter().filter(|mailbox| !told.contains(&mailbox.id)) {
        let at = mailbox.since.saturating_add(patience).unwrap_or(Timestamp::MAX);
        if at <= now {
            due.entry(mailbox.connection).or_default().push(mailbox);
        } else {
            next = sooner(next, Some(at));
        }
    }
    let healed: Vec<MailboxId> =
        told.into_iter().filter(|id| !failing.iter().any(|mailbox| mailbox.id == *id)).collect();
    if due.is_empty() && healed.is_empty() {
        return Ok(next);
    }
    let Some(turn) = Turn::take(engine, "down".to_owned()).await? else { return Ok(next) };
    let done = async {
        for (connection, mailboxes) in due {
            tell_down(engine, connection, &mailboxes).await?;
        }
        tell_up(engine, &healed).await
    };
    let done = done.await;
    turn.end().await;
    done.map(|()| next)
}

async fn tell_down(
    engine: &Engine,
    connection: ConnectionId,
    mailboxes: &[&FailingMailbox],
) -> Result<(), StoreError> {
    let connection = engine.store.connection(connection).await?;
    let mut lines = Vec::new();
    for mailbox in mailboxes {
        if engine.store.journal(&journal(mailbox.id)).await?.is_some() {
            continue;
        }
        let why = mailbox.error.as_deref().unwrap_or("the last reading failed");
        let words = format!("{} cannot be read since {:.0}: {why}", mailbox.address, mailbox.since);
        let kind = EventKind::MailboxDown;
        let event = Event::new(engine.env.new_id(), engine.env.now(), Subject::Mailbox(mailbox.id), kind);
        engine.store.append_events(vec![event.words(&words)]).await?;
        engine.store.save_journal(&journal(mailbox.id), Some(&mailbox.since.to_string())).await?;
        lines.push(words);
    }
    if !lines.is_empty() {
        let words = format!("{}. Next step: postroom check --receive ADDRESS names the cause", list(&lines));
        engine.notify(connection.as_ref(), EventKind::MailboxDown, Gravity::Error, words).await;
    }
    Ok(())
}

async fn tell_up(engine: &Engine, healed: &[MailboxId]) -> Result<(), StoreError> {
    let mut lines: BTreeMap<ConnectionId, Vec<String>> = BTreeMap::new();
    for id in healed {
        let since = engine.store.journal(&journal(*id)).await?;
        engine.store.save_journal(&journal(*id), None).await?;
        // Of a mailbox that was removed there is nothing to tell.
        let (Some(since), Some(mailbox)) = (since, engine.store.mailbox(*id).await?) else { continue };
        let words = format!("{} can be read again; it could not since {since}", mailbox.address);
        let event =
            Event::new(engine.env.new_id(), engine.env.now(), Subject::Mailbox(*id), EventKind::MailboxUp);
        engine.store.append_events(vec![event.words(&words)]).await?;
        lines.entry(mailbox.connection).or_default().push(words);
    }
    for (connection, lines) in lines {
        let connection = engine.store.connection(connection).await?;
        engine.notify(connection.as_ref(), EventKind::MailboxUp, Gravity::Information, list(&lines)).await;
    }
    Ok(())
}

fn list(lines: &[String]) -> String {
    let named = lines.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match lines.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}
