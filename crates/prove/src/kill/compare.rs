//! The verdict: what was seen from outside against what the store has on record.

use std::collections::{BTreeMap, BTreeSet};

use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::inbox::InboxState;
use postroom_model::outbox::OutboxState;
use postroom_model::people::Viewer;
use postroom_store::{EventFilter, InboxFilter, OutboxFilter, Page, Store};

use super::ledger::{Accepted, Hash, Ledger, hash};
use super::schedule::FOR_GOOD;

/// Rows per page of what is read.
const PAGE: u32 = 500;

/// What the store has on record.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) outbox: Vec<OutboxRow>,
    pub(crate) inbox: Vec<InboxRow>,
}

#[derive(Debug, Clone)]
pub(crate) struct OutboxRow {
    pub(crate) id: String,
    pub(crate) message_id: String,
    pub(crate) state: OutboxState,
    pub(crate) attempts: u32,
    pub(crate) words: String,
    /// Its events, oldest first.
    pub(crate) timeline: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) kind: EventKind,
    pub(crate) attempt: Option<u32>,
    pub(crate) words: String,
}

#[derive(Debug, Clone)]
pub(crate) struct InboxRow {
    pub(crate) message_id: String,
    pub(crate) content: Hash,
    pub(crate) state: InboxState,
    pub(crate) mailboxes: BTreeSet<String>,
}

impl Record {
    /// Reads all of it through the store's own interface.
    pub(crate) async fn read(store: &dyn Store, viewer: &Viewer) -> anyhow::Result<Self> {
        let mut timelines: BTreeMap<String, Vec<Step>> = BTreeMap::new();
        let mut filter = EventFilter::default();
        loop {
            let events = store.events(&filter, PAGE).await?;
            let Some(last) = events.last() else { break };
            filter.after = last.sequence;
            for Event { subject, kind, attempt, words, .. } in events.into_iter().map(|stored| stored.event) {
                if let Subject::OutboxMessage(id) = subject {
                    let step = Step { kind, attempt, words: words.unwrap_or_default() };
                    timelines.entry(id.to_string()).or_default().push(step);
                }
            }
        }
        let mut record = Self::default();
        for offset in (0..).step_by(PAGE as usize) {
            let rows = store.outbox(&OutboxFilter::default(), Page { limit: PAGE, offset }).await?;
            if rows.is_empty() {
                break;
            }
            record.outbox.extend(rows.into_iter().map(|row| OutboxRow {
                timeline: timelines.remove(&row.id.to_string()).unwrap_or_default(),
                id: row.id.to_string(),
                message_id: row.message_id,
                state: row.state,
                attempts: row.attempts,
                words: row.last_words.unwrap_or_default(),
            }));
        }
        record.read_inbox(store, viewer).await?;
        Ok(record)
    }

    async fn read_inbox(&mut self, store: &dyn Store, viewer: &Viewer) -> anyhow::Result<()> {
        let mailboxes = store.mailboxes().await?;
        let address = |id| {
            let found = mailboxes.iter().find(|mailbox| mailbox.id == id);
            found.map(|mailbox| mailbox.settings.address.to_string()).unwrap_or_default()
        };
        for state in [InboxState::Stored, InboxState::Processed, InboxState::Quarantined] {
            let filter = InboxFilter { state: Some(state), ..InboxFilter::default() };
            for offset in (0..).step_by(PAGE as usize) {
                let rows = store.inbox(viewer, &filter, Page { limit: PAGE, offset }).await?;
                if rows.is_empty() {
                    break;
                }
                for row in rows {
                    let raw = store.inbox_raw(viewer, row.id).await?.unwrap_or_default();
                    self.inbox.push(InboxRow {
                        message_id: row.summary.message_id.unwrap_or_default(),
                        content: hash(&raw),
                        state,
                        mailboxes: row.mailboxes.into_iter().map(address).collect(),
                    });
                }
            }
        }
        Ok(())
    }

    /// How many attempts or look-ups ended with the finding that it had been sent, or had not.
    pub(crate) fn looked_up(&self) -> usize {
        let steps = self.outbox.iter().flat_map(|row| &row.timeline);
        steps.filter(|step| step.kind == EventKind::OutboxReconciled).count()
    }

    pub(crate) fn in_state(&self, state: OutboxState) -> usize {
        self.outbox.iter().filter(|row| row.state == state).count()
    }
}

/// What is wrong.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Accepted and neither sent nor told as refused for good; delivered and not stored.
    pub(crate) lost: Vec<String>,
    /// Sent or stored more than once.
    pub(crate) doubled: Vec<String>,
    /// Everything else.
    pub(crate) other: Vec<String>,
}

impl Verdict {
    pub(crate) fn all(&self) -> impl Iterator<Item = &String> {
        self.lost.iter().chain(&self.doubled).chain(&self.other)
    }
}

/// Compares.
pub(crate) fn compare(seen: &Ledger, record: &Record) -> Verdict {
    let mut verdict = Verdict { other: seen.wrong.clone(), ..Verdict::default() };
    let rows: BTreeMap<&str, &OutboxRow> = record.outbox.iter().map(|row| (row.id.as_str(), row)).collect();
    let mut left: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for mail in &seen.left {
        left.entry(&mail.message_id).or_default().push(&mail.body);
        if seen.refused.contains(&mail.subject) {
            verdict.other.push(format!("{} was refused as not valid, and was sent", mail.subject));
        }
    }
    for (id, accepted) in &seen.accepted {
        let left = left.remove(accepted.message_id.as_str()).unwrap_or_default();
        match rows.get(id.as_str()) {
            Some(row) => outgoing(&mut verdict, accepted, row, &left),
            None => verdict.lost.push(format!("{id} {} was accepted and is not on record", accepted.subject)),
        }
    }
    for message_id in left.keys() {
        verdict.other.push(format!("{message_id} left the tenant, and nobody was told that it is accepted"));
    }
    for row in record.outbox.iter().filter(|row| !seen.accepted.contains_key(&row.id)) {
        verdict.other.push(format!("{} is on record, and nobody was told that it is accepted", row.id));
    }
    incoming(&mut verdict, seen, record);
    verdict
}

fn outgoing(verdict: &mut Verdict, accepted: &Accepted, row: &OutboxRow, left: &[&str]) {
    let what = format!("{} {} {}", row.id, accepted.subject, accepted.message_id);
    if row.message_id != accepted.message_id {
        verdict.other.push(format!("{what}: on record as {}", row.message_id));
    }
    if left.len() > 1 {
        verdict.doubled.push(format!("{what}: left {} times; {:?}", left.len(), row.timeline));
    }
    if left.iter().any(|body| *body != accepted.body) {
        verdict.other.push(format!("{what}: left with another text"));
    }
    match row.state {
        OutboxState::Sent if left.is_empty() => {
            verdict.lost.push(format!("{what}: sent on record, and did not leave; {:?}", row.timeline));
        }
        OutboxState::Sent => {}
        // Refused for good by the tenant: told, and not sent.
        OutboxState::Failed if !row.words.contains(FOR_GOOD) => {
            verdict.lost.push(format!("{what}: failed, though nothing was refused for good: {}", row.words));
        }
        OutboxState::Failed if !left.is_empty() => {
            verdict.other.push(format!("{what}: refused for good, and left; {:?}", row.timeline));
        }
        OutboxState::Failed => {}
        state => verdict.lost.push(format!("{what}: still {state}: {}", row.words)),
    }
    if let Some(why) = timeline(row) {
        verdict.other.push(format!("{what}: {why}: {:?}", row.timeline));
    }
}

/// What is wrong with the events of a message.
fn timeline(row: &OutboxRow) -> Option<&'static str> {
    let count = |kind| row.timeline.iter().filter(|step| step.kind == kind).count();
    let attempts = row.timeline.iter().filter(|step| step.kind == EventKind::OutboxAttempt);
    let numbers: Vec<Option<u32>> = attempts.map(|step| step.attempt).collect();
    let in_order = numbers.iter().copied().eq((1..=row.attempts).map(Some));
    if row.timeline.first().map(|step| step.kind) != Some(EventKind::OutboxAccepted) {
        return Some("its events do not begin with its acceptance");
    }
    if count(EventKind::OutboxAccepted) != 1 {
        return Some("accepted more than once");
    }
    if !in_order {
        return Some("the numbers of its attempts have gaps");
    }
    if count(EventKind::OutboxSent) != usize::from(row.state == OutboxState::Sent) {
        return Some("not one event `sent` for what was sent");
    }
    if count(EventKind::OutboxFailed) != usize::from(row.state == OutboxState::Failed) {
        return Some("not one event `failed` for what failed");
    }
    None
}

fn incoming(verdict: &mut Verdict, seen: &Ledger, record: &Record) {
    let mut kept: BTreeMap<&str, Vec<&InboxRow>> = BTreeMap::new();
    for row in &record.inbox {
        kept.entry(&row.message_id).or_default().push(row);
    }
    for (message_id, delivered) in &seen.delivered {
        let rows = kept.remove(message_id.as_str()).unwrap_or_default();
        let [row] = rows.as_slice() else {
            let list = if rows.is_empty() { &mut verdict.lost } else { &mut verdict.doubled };
            list.push(format!("{message_id}: stored {} times", rows.len()));
            continue;
        };
        if !delivered.contents.contains(&row.content) {
            verdict.other.push(format!("{message_id}: stored with other bytes"));
        }
        let mailboxes: BTreeSet<String> =
            delivered.copies.iter().map(|(mailbox, _)| mailbox.clone()).collect();
        if row.mailboxes != mailboxes {
            verdict
                .lost
                .push(format!("{message_id}: stored for {:?}, delivered to {mailboxes:?}", row.mailboxes));
        }
        if row.state != InboxState::Processed {
            verdict.other.push(format!("{message_id}: {}", row.state.as_str()));
        }
    }
    for message_id in kept.keys() {
        verdict.other.push(format!("{message_id}: stored, and nobody wrote it"));
    }
}

#[cfg(test)]
mod tests;
