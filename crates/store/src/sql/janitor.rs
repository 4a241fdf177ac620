//! Clearing away: small reads, small transactions.

use std::collections::HashSet;

use async_trait::async_trait;
use postroom_model::mailbox::MailType;
use uuid::Uuid;

use super::SqlStore;
use super::blobs::from_hexadecimal;
use super::db::{Db, query, query_scalar};
use super::fault::Fault;
use super::rows::{Cells, key, micros};
use super::search;
use crate::StoreError;
use crate::backup::UpkeepLock;
use crate::janitor::{Expired, JanitorStore, Kind, Orphans, Place, Retention};

/// Names of raw messages read at a time.
const NAMES: u32 = 5_000;
const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

impl SqlStore {
    /// The instant before which something is over that is kept for so many days; none when it is kept for ever.
    fn over_before(&self, days: Option<u32>) -> Option<i64> {
        days.map(|days| micros(self.env.now()).saturating_sub(i64::from(days) * DAY_MICROS))
    }

    async fn expired_outgoing(
        &self,
        kind: Kind,
        before: i64,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Expired, Fault> {
        let rows = query(
            "SELECT id, sequence, accepted_at, raw_size FROM outbox
             WHERE state = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
        )
        .bind(kind.as_str())
        .bind(after.map_or(0, |place| place.sequence))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        let mut expired = Expired::default();
        for row in &rows {
            let cells = Cells::new("outbox", row);
            let at = cells.int("accepted_at")?;
            if at < before {
                expired.ids.push(cells.id("id")?);
                expired.bytes += cells.count::<u64>("raw_size")?;
            }
            expired.next = Some(Place { at, sequence: cells.int("sequence")? });
        }
        // In the order of acceptance: when none of a page is over, none after it is.
        if expired.ids.is_empty() || rows.len() < page(limit) {
            expired.next = None;
        }
        Ok(expired)
    }

    async fn expired_received(
        &self,
        retention: &Retention,
        before: i64,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Expired, Fault> {
        let after = after.unwrap_or(Place { at: i64::MIN, sequence: 0 });
        let mut db = self.readers.acquire().await?;
        // What is filed on a record belongs to that record.
        let rows = query(
            "SELECT id, sequence, received_at, raw_size FROM inbox
             WHERE state = 'processed' AND received_at < $1
               AND (received_at > $2 OR (received_at = $2 AND sequence > $3))
               AND NOT EXISTS (SELECT 1 FROM log_entries WHERE log_entries.inbox_message = inbox.sequence)
             ORDER BY received_at, sequence LIMIT $4",
        )
        .bind(before)
        .bind(after.at)
        .bind(after.sequence)
        .bind(limit)
        .fetch_all(&mut db)
        .await?;
        let mut expired = Expired::default();
        for row in &rows {
            let cells = Cells::new("inbox", row);
            let (at, sequence) = (cells.int("received_at")?, cells.int("sequence")?);
            let days = retention.received(&types_of(&mut db, sequence).await?);
            if self.over_before(days).is_some_and(|before| at < before) {
                expired.ids.push(cells.id("id")?);
                expired.bytes += cells.count::<u64>("raw_size")?;
            }
            expired.next = Some(Place { at, sequence });
        }
        if rows.len() < page(limit) {
            expired.next = None;
        }
        Ok(expired)
    }

    async fn clear_expired(&self, kind: Kind, ids: &[Uuid]) -> Result<u64, Fault> {
        let mut transaction = self.begin().await?;
        let mut removed = 0;
        for id in ids {
            removed += match kind {
                Kind::Received => remove_received(&mut transaction, key(*id)).await?,
                _ => remove_outgoing(&mut transaction, kind, key(*id)).await?,
            };
        }
        transaction.commit().await?;
        Ok(removed)
    }

    /// Every name of a raw message that a row has.
    async fn read_names(&self) -> Result<HashSet<[u8; 32]>, Fault> {
        let mut names = HashSet::new();
        for statement in [
            "SELECT sequence, raw_sha256 FROM outbox WHERE sequence > $1 ORDER BY sequence LIMIT $2",
            "SELECT sequence, raw_sha256 FROM inbox WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        ] {
            let mut last = 0_i64;
            loop {
                let rows = query(statement).bind(last).bind(NAMES).fetch_all(&self.readers).await?;
                let Some(end) = rows.last() else { break };
                last = Cells::new("blobs", end).int("sequence")?;
                for row in &rows {
                    let name = Cells::new("blobs", row).text("raw_sha256")?;
                    // A name that cannot be read may stand for any: nothing is removed then.
                    names.insert(from_hexadecimal(&name).ok_or_else(|| StoreError::Contradiction {
                        table: "blobs",
                        row: name,
                        what: "the name is no SHA-256".to_owned(),
                    })?);
                }
            }
        }
        Ok(names)
    }
}

fn page(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The types of the mailboxes that a message came to; none for a mailbox without a type.
async fn types_of(db: &mut Db, sequence: i64) -> Result<Vec<Option<MailType>>, Fault> {
    let names: Vec<Option<String>> = query_scalar(
        "SELECT mailbox_types.type FROM inbox_mailboxes
         LEFT JOIN mailbox_types ON mailbox_types.mailbox = inbox_mailboxes.mailbox
         WHERE inbox_mailboxes.message = $1",
    )
    .bind(sequence)
    .fetch_all(db)
    .await?;
    let of = |name: &str| MailType::ALL.into_iter().find(|kind| kind.as_str() == name);
    Ok(names.into_iter().map(|name| name.and_then(|name| of(&name))).collect())
}

async fn remove_outgoing(db: &mut Db, kind: Kind, id: Vec<u8>) -> Result<u64, Fault> {
    query(
        "DELETE FROM idempotency_keys WHERE message = (SELECT id FROM outbox WHERE id = $1 AND state = $2)",
    )
    .bind(&id)
    .bind(kind.as_str())
    .execute(&mut *db)
    .await?;
    Ok(query("DELETE FROM outbox WHERE id = $1 AND state = $2")
        .bind(&id)
        .bind(kind.as_str())
        .execute(db)
        .await?)
}

async fn remove_received(db: &mut Db, id: Vec<u8>) -> Result<u64, Fault> {
    let sequence: Option<i64> = query_scalar(
        "SELECT sequence FROM inbox WHERE id = $1 AND state = 'processed'
         AND NOT EXISTS (SELECT 1 FROM log_entries WHERE log_entries.inbox_message = inbox.sequence)",
    )
    .bind(id)
    .fetch_optional(&mut *db)
    .await?;
    let Some(sequence) = sequence else { return Ok(0) };
    search::forget(db, sequence).await?;
    Ok(query("DELETE FROM inbox WHERE sequence = $1").bind(sequence).execute(db).await?)
}

#[async_trait]
impl JanitorStore for SqlStore {
    async fn upkeep_lock(&self) -> Result<Option<UpkeepLock>, StoreError> {
        super::blobs::on_disk(&self.blobs, |blobs| UpkeepLock::try_take(blobs.data())).await
    }

    async fn expired(
        &self,
        kind: Kind,
        retention: &Retention,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Expired, StoreError> {
        let days = match kind {
            Kind::Sent | Kind::Cancelled => retention.sent_days,
            Kind::Failed => retention.failed_days,
            Kind::Received => retention.shortest_received(),
        };
        let Some(before) = self.over_before(days) else { return Ok(Expired::default()) };
        let found = match kind {
            Kind::Received => self.expired_received(retention, before, after, limit).await,
            _ => self.expired_outgoing(kind, before, after, limit).await,
        };
        self.tell("look for what is over", found)
    }

    async fn remove_expired(&self, kind: Kind, ids: &[Uuid]) -> Result<u64, StoreError> {
        self.write("remove what is over", || self.clear_expired(kind, ids)).await
    }

    async fn orphans(&self, remove: bool) -> Result<Orphans, StoreError> {
        let names = self.tell("read the names of raw messages", self.read_names().await)?;
        super::blobs::on_disk(&self.blobs, move |blobs| blobs.orphans(&names, remove)).await
    }
}
