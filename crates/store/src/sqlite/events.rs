//! Events: appended inside the transaction of the change they tell of.

use async_trait::async_trait;
use postroom_model::event::{Event, EventKind, Subject};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::SqliteStore;
use super::fault::Fault;
use super::rows::{Cells, key, micros};
use crate::{EventFilter, EventStore, StoreError, StoredEvent};

/// Appends one event to the transaction that `connection` is in.
pub(super) async fn append(connection: &mut SqliteConnection, event: &Event) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO events (id, at, subject_kind, subject_id, kind, attempt, words, request_id, actor)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(key(event.id.as_uuid()))
    .bind(micros(event.at))
    .bind(event.subject.kind())
    .bind(key(event.subject.id()))
    .bind(event.kind.as_str())
    .bind(event.attempt.map(i64::from))
    .bind(&event.words)
    .bind(&event.request_id)
    .bind(&event.actor)
    .execute(connection)
    .await?;
    Ok(())
}

impl SqliteStore {
    /// An event that happens now.
    pub(super) fn event(&self, subject: Subject, kind: EventKind) -> Event {
        Event::new(self.env.new_id(), self.env.now(), subject, kind)
    }
}

fn stored_event(row: &SqliteRow) -> Result<StoredEvent, Fault> {
    let cells = Cells::new("events", row);
    let subject_kind = cells.text("subject_kind")?;
    let subject_id: Uuid = cells.id("subject_id")?;
    let subject =
        Subject::from_parts(&subject_kind, subject_id).ok_or_else(|| StoreError::Contradiction {
            table: "events",
            row: subject_id.to_string(),
            what: format!("subject kind {subject_kind} is unknown"),
        })?;
    let mut event = Event::new(cells.id("id")?, cells.time("at")?, subject, cells.word("kind")?);
    event.attempt = cells.opt_count("attempt")?;
    event.words = cells.opt_text("words")?;
    event.request_id = cells.opt_text("request_id")?;
    event.actor = cells.opt_text("actor")?;
    Ok(StoredEvent { sequence: cells.int("sequence")?, event })
}

#[async_trait]
impl EventStore for SqliteStore {
    async fn append_events(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let work = async {
            let mut transaction = self.begin().await?;
            for event in &events {
                append(&mut transaction, event).await?;
            }
            Ok(transaction.commit().await?)
        };
        self.tell("append events", work.await)
    }

    async fn events(&self, filter: &EventFilter, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let work = async {
            let query = match filter.subject {
                Some(subject) => sqlx::query(
                    "SELECT * FROM events WHERE subject_id = ? AND subject_kind = ? AND sequence > ?
                     ORDER BY sequence LIMIT ?",
                )
                .bind(key(subject.id()))
                .bind(subject.kind()),
                None => sqlx::query("SELECT * FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"),
            };
            let rows = query.bind(filter.after).bind(limit).fetch_all(&self.readers).await?;
            rows.iter().map(stored_event).collect()
        };
        self.tell("list events", work.await)
    }
}
