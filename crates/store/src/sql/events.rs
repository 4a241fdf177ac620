//! Events: appended inside the transaction of the change they tell of.

use async_trait::async_trait;
use postroom_model::event::{Event, EventKind, Subject};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::SqlStore;
use super::db::{Db, Engine, Query, Row, query};
use super::dialect::TELL_ON_POSTGRES;
use super::fault::Fault;
use super::rows::{Cells, key, micros};
use crate::{EventFilter, EventStore, StoreError, StoredEvent};

/// Events written by one statement.
const AT_ONCE: usize = 50;

/// Appends one event to the transaction that `db` is in. It is written with the commit, see [`write()`].
pub(super) async fn append(db: &mut Db, event: &Event) -> Result<(), Fault> {
    db.tell(event);
    Ok(())
}

/// Writes the events of a transaction, as its last step before the commit: from here on to its end no other
/// transaction gets places in the feed, so that a reader of the feed who has seen a place has seen all before it.
pub(super) async fn write(db: &mut Db, events: &[Event]) -> Result<(), Fault> {
    if events.is_empty() {
        return Ok(());
    }
    if let Engine::Postgres(_) = db.engine() {
        query(TELL_ON_POSTGRES).execute(&mut *db).await?;
    }
    for events in events.chunks(AT_ONCE) {
        let rows: Vec<String> = (0..events.len()).map(placeholders).collect();
        let text = format!(
            "INSERT INTO events (id, at, subject_kind, subject_id, kind, attempt, words, request_id, actor) VALUES {}",
            rows.join(", ")
        );
        // Made of constants and numbers.
        let insert = events.iter().fold(query(AssertSqlSafe(text)), bind);
        insert.execute(&mut *db).await?;
    }
    Ok(())
}

/// `($1, .., $9)` for the first row, `($10, .., $18)` for the second.
fn placeholders(row: usize) -> String {
    const COLUMNS: usize = 9;
    let numbers: Vec<String> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
    format!("({})", numbers.join(", "))
}

fn bind(insert: Query, event: &Event) -> Query {
    insert
        .bind(key(event.id.as_uuid()))
        .bind(micros(event.at))
        .bind(event.subject.kind())
        .bind(key(event.subject.id()))
        .bind(event.kind.as_str())
        .bind(event.attempt.map(i64::from))
        .bind(&event.words)
        .bind(&event.request_id)
        .bind(&event.actor)
}

impl SqlStore {
    /// An event that happens now.
    pub(super) fn event(&self, subject: Subject, kind: EventKind) -> Event {
        Event::new(self.env.new_id(), self.env.now(), subject, kind)
    }
}

fn stored_event(row: &Row) -> Result<StoredEvent, Fault> {
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
impl EventStore for SqlStore {
    async fn append_events(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let work = || async {
            let mut transaction = self.begin().await?;
            for event in &events {
                append(&mut transaction, event).await?;
            }
            transaction.commit().await
        };
        self.write("append events", work).await
    }

    async fn events(&self, filter: &EventFilter, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let work = async {
            let query = match filter.subject {
                Some(subject) => query(
                    "SELECT * FROM events WHERE subject_id = $1 AND subject_kind = $2 AND sequence > $3
                     ORDER BY sequence LIMIT $4",
                )
                .bind(key(subject.id()))
                .bind(subject.kind()),
                None => query("SELECT * FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2"),
            };
            let rows = query.bind(filter.after).bind(limit).fetch_all(&self.readers).await?;
            rows.iter().map(stored_event).collect()
        };
        self.tell("list events", work.await)
    }
}
