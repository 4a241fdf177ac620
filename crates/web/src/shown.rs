//! Values as people read them: times, ages, sizes, timelines, problems.

use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::mailbox::Mailbox;
use postroom_model::{InboxMessageId, MailboxId, OutboxMessageId, Problem, Problems, Severity, Timestamp};
use postroom_store::{EventFilter, Store, StoreError};
use serde_json::{Value, json};

/// Most lines of one timeline.
const MAX_EVENTS: u32 = 500;

/// A time with its machine form, its words and how far it is from `now`.
pub(crate) fn time(at: Timestamp, now: Timestamp) -> Value {
    json!({
        "machine": at.to_string(),
        "words": at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        "short": at.strftime("%Y-%m-%d %H:%M").to_string(),
        "ago": distance(at, now),
    })
}

/// The same for a time that may be missing.
pub(crate) fn maybe_time(at: Option<Timestamp>, now: Timestamp) -> Value {
    at.map_or(Value::Null, |at| time(at, now))
}

fn distance(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    let amount = seconds.abs();
    let words = match amount {
        0..=59 => format!("{amount} s"),
        60..=3_599 => format!("{} min", amount / 60),
        3_600..=86_399 => format!("{} h", amount / 3_600),
        _ => format!("{} d", amount / 86_400),
    };
    if seconds >= 0 { format!("{words} ago") } else { format!("in {words}") }
}

/// A size in bytes.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..=999 => format!("{bytes} B"),
        1_000..=999_999 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// Everything that happened to a message on its way out, oldest first.
pub(crate) async fn outbox_timeline(
    store: &dyn Store,
    id: OutboxMessageId,
    now: Timestamp,
) -> Result<Value, StoreError> {
    let events = events(store, Subject::OutboxMessage(id)).await?;
    Ok(events.map(|event| line(&event, now)).collect())
}

/// Everything that happened to a collected message, oldest first, as far as it may be told to somebody who may see
/// `mailboxes`: what happened in another mailbox is left out, because even that the message came there is not theirs.
pub(crate) async fn inbox_timeline(
    store: &dyn Store,
    id: InboxMessageId,
    mailboxes: &[Mailbox],
    now: Timestamp,
) -> Result<Value, StoreError> {
    let events = events(store, Subject::InboxMessage(id)).await?;
    Ok(events.filter_map(|event| visible(event, mailboxes)).map(|event| line(&event, now)).collect())
}

async fn events(store: &dyn Store, subject: Subject) -> Result<impl Iterator<Item = Event>, StoreError> {
    let filter = EventFilter { subject: Some(subject), after: 0 };
    Ok(store.events(&filter, MAX_EVENTS).await?.into_iter().map(|stored| stored.event))
}

/// The event with its mailbox by address instead of by id; none when the mailbox is not among `mailboxes`.
fn visible(mut event: Event, mailboxes: &[Mailbox]) -> Option<Event> {
    let of_a_mailbox =
        matches!(event.kind, EventKind::InboxStored | EventKind::InboxDelivered | EventKind::InboxRemoved);
    let words = event.words.as_deref().unwrap_or_default();
    match words.strip_prefix("mailbox ") {
        None if of_a_mailbox => None,
        None => Some(event),
        Some(id) => {
            let id: MailboxId = id.parse().ok()?;
            let mailbox = mailboxes.iter().find(|mailbox| mailbox.id == id)?;
            event.words = Some(mailbox.address.to_string());
            Some(event)
        }
    }
}

fn line(event: &Event, now: Timestamp) -> Value {
    json!({
        "at": time(event.at, now),
        "kind": event.kind.as_str(),
        "sentence": event.kind.sentence(),
        "attempt": event.attempt,
        "words": event.words,
        "request_id": event.request_id,
        "actor": event.actor,
    })
}

/// Problems for the validation panel and, by field, for the places they belong to. `target` names the input that a
/// field's problem is shown at; every name in `fields` gets an entry, null when nothing is wrong there.
pub(crate) fn problems(problems: &Problems, fields: &[&str], target: impl Fn(&str) -> String) -> Value {
    let one = |problem: &Problem| {
        json!({
            "field": problem.field,
            "target": target(&problem.field),
            "error": problem.severity == Severity::Error,
            "message": problem.message,
            "hint": problem.hint,
        })
    };
    let at: serde_json::Map<String, Value> = fields
        .iter()
        .map(|field| ((*field).to_owned(), problems.at(field).map_or(Value::Null, one)))
        .collect();
    json!({
        "list": problems.iter().map(one).collect::<Vec<_>>(),
        "errors": problems.errors().count(),
        "warnings": problems.warnings().count(),
        "at": at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_and_sizes_are_short() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let words = |second| distance(Timestamp::from_second(second).unwrap(), now);
        assert_eq!(words(1_000_000), "0 s ago");
        assert_eq!(words(1_000_000 - 61), "1 min ago");
        assert_eq!(words(1_000_000 + 7_200), "in 2 h");
        assert_eq!(
            (size(999), size(12_345), size(10_250_000)),
            ("999 B".into(), "12 kB".into(), "10.2 MB".into())
        );
    }
}
