//! A whole installation moved from the data folder to PostgreSQL: table by table in batches, compared row for row, all
//! of it in one transaction of the target, so that a move that was cut off left nothing behind.
//!
//! The tables are read from the catalogue, so that one that is added later is moved too.

mod search;
mod tables;

use aws_lc_rs::digest::{Context, SHA256};
use sqlx::{AssertSqlSafe, SqlitePool};

use super::blobs::hexadecimal;
use super::db::{Cell as _, Db, Pool, Query, Row, Transaction, query, query_scalar};
use super::fault::Fault;
use super::{SqlStore, rows};
use crate::{BlobRef, BlobStore as _, StoreError};
use tables::{Kind, Table};

/// Rows that are held at once.
const BATCH: usize = 200;

const OPERATION: &str = "move the store";

/// Alone, as long as it takes: nobody else works on a store that is being made.
const BEGIN_MOVE: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
    LOCK TABLE turn_to_write IN EXCLUSIVE MODE";

/// What was moved of one table, and seen to be the same at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedTable {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of all its rows in the order of their key.
    pub sha256: String,
}

/// What a move did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Every table.
    pub tables: Vec<MovedTable>,
    /// Messages that can be searched for.
    pub searchable: u64,
    /// Raw messages, each compared with its name; copied where the target keeps them elsewhere.
    pub raw_messages: u64,
}

/// Rows counted, and digested in the order they come.
struct Digest {
    rows: u64,
    context: Context,
}

impl Digest {
    fn new() -> Self {
        Self { rows: 0, context: Context::new(&SHA256) }
    }

    /// Every value with its kind and length, so that no two rows look alike.
    fn take(&mut self, table: &Table, row: &Row) -> Result<(), sqlx::Error> {
        self.rows += 1;
        for column in &table.columns {
            let name = column.name.as_str();
            let value = match column.kind {
                Kind::Integer => row.integer(name)?.map(|number| number.to_be_bytes().to_vec()),
                Kind::Text => {
                    Option::<String>::read(row, name)?.map(|text| super::db::without_nul(text).into())
                }
                Kind::Bytes => Option::read(row, name)?,
            };
            match value {
                Some(value) => {
                    self.context.update(&[1]);
                    self.context.update(&(value.len() as u64).to_be_bytes());
                    self.context.update(&value);
                }
                None => self.context.update(&[0]),
            }
        }
        Ok(())
    }

    fn finish(self, table: &Table) -> MovedTable {
        let sha256 = hexadecimal(self.context.finish().as_ref());
        MovedTable { name: table.name.clone(), rows: self.rows, sha256 }
    }
}

impl SqlStore {
    /// Copies all that is in this store, which is in a data folder and which nobody works on, to an empty store on
    /// PostgreSQL that was opened with the same key file. This store is left as it is.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the target is not empty, when this store is on PostgreSQL itself, and when what
    /// arrived is not what was sent. Then nothing is in the target. [`StoreError::Database`], [`StoreError::File`],
    /// [`StoreError::Full`], [`StoreError::Contradiction`] for a raw message that is not what its name says.
    pub async fn copy_to(&self, target: &Self) -> Result<Moved, StoreError> {
        let (Pool::Sqlite(source), Pool::Postgres(_)) = (&self.writer, &target.writer) else {
            return Err(StoreError::Refused {
                what: "a store is moved from a data folder to PostgreSQL".to_owned(),
                hint: "PostgreSQL's own pg_dump and pg_restore move a store from one server to another",
            });
        };
        let work = async {
            let raw_messages = self.copy_raw_messages(target).await?;
            let (tables, searchable) = self.copy_tables(source, target).await?;
            Ok(Moved { tables, searchable, raw_messages })
        };
        target.tell(OPERATION, work.await)
    }

    async fn copy_tables(&self, source: &SqlitePool, target: &Self) -> Result<(Vec<MovedTable>, u64), Fault> {
        let Pool::Postgres(pool) = &target.writer else { return Ok((Vec::new(), 0)) };
        let mut transaction = Transaction::on_postgres(pool, BEGIN_MOVE).await?;
        let tables = tables::in_order(&self.readers).await?;
        refuse_filled(&mut transaction, &tables).await?;
        // The check of the key comes with the others; both were made with the same key.
        query("DELETE FROM house").execute(&mut *transaction).await?;
        let mut moved = Vec::with_capacity(tables.len());
        for table in &tables {
            let sent = self.copy_table(table, &mut transaction).await?;
            let arrived = digest(table, &mut transaction).await?;
            if sent != arrived {
                return Err(StoreError::Refused {
                    what: format!(
                        "table {}: {} rows were sent and {} arrived, or they are not the same",
                        table.name, sent.rows, arrived.rows
                    ),
                    hint: "nothing was moved; see that no other process works on the data folder",
                }
                .into());
            }
            if table.has_sequence() {
                let text = format!(
                    "SELECT setval(pg_get_serial_sequence('{0}', 'sequence'), coalesce(max(sequence), 0) + 1, false)
                     FROM {0}",
                    table.name
                );
                // The name is of the catalogue, and plain.
                query(AssertSqlSafe(text)).fetch_one(&mut *transaction).await?;
            }
            moved.push(sent);
        }
        let searchable = search::copy(source, &mut transaction).await?;
        // So that the first queries know how many rows there are.
        query("ANALYZE").execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok((moved, searchable))
    }

    async fn copy_table(&self, table: &Table, target: &mut Db) -> Result<MovedTable, Fault> {
        let mut digest = Digest::new();
        let mut last = None;
        loop {
            let rows = table.batch(last.as_ref(), BATCH)?.fetch_all(&self.readers).await?;
            let Some(end) = rows.last() else { return Ok(digest.finish(table)) };
            for row in &rows {
                digest.take(table, row)?;
            }
            insert(table, &rows)?.execute(&mut *target).await?;
            last = Some(table.key(end)?);
        }
    }

    /// Puts every raw message that is referred to where the target keeps its own, or sees that it is there.
    async fn copy_raw_messages(&self, target: &Self) -> Result<u64, Fault> {
        let mut count = 0;
        let mut last = String::new();
        loop {
            let rows = query(
                "SELECT raw_sha256, max(raw_size) AS raw_size FROM
                     (SELECT raw_sha256, raw_size FROM outbox UNION SELECT raw_sha256, raw_size FROM inbox)
                 WHERE raw_sha256 > $1 GROUP BY raw_sha256 ORDER BY raw_sha256 LIMIT 200",
            )
            .bind(&last)
            .fetch_all(&self.readers)
            .await?;
            let Some(end) = rows.last() else { return Ok(count) };
            last = String::read(end, "raw_sha256")?;
            for row in &rows {
                let raw: BlobRef = rows::Cells::new("blobs", row).raw()?;
                let content = self.blob(&raw).await?;
                if target.blob_beginning(&raw, 1).await.is_err() {
                    target.put_blob(content).await?;
                }
                count += 1;
            }
        }
    }
}

/// Refuses a target that anybody has used.
async fn refuse_filled(db: &mut Db, tables: &[Table]) -> Result<(), Fault> {
    for table in tables {
        let text = match table.name.as_str() {
            "house" => "SELECT EXISTS (SELECT 1 FROM house WHERE name <> 'key-check')".to_owned(),
            name => format!("SELECT EXISTS (SELECT 1 FROM {name})"),
        };
        if query_scalar(AssertSqlSafe(text)).fetch_one::<bool>(&mut *db).await? {
            return Err(StoreError::Refused {
                what: format!("the target is not empty: there are rows in table {}", table.name),
                hint: "name a new, empty database",
            }
            .into());
        }
    }
    Ok(())
}

async fn digest(table: &Table, db: &mut Db) -> Result<MovedTable, Fault> {
    let mut digest = Digest::new();
    let mut last = None;
    loop {
        let rows = table.batch(last.as_ref(), BATCH)?.fetch_all(&mut *db).await?;
        let Some(end) = rows.last() else { return Ok(digest.finish(table)) };
        for row in &rows {
            digest.take(table, row)?;
        }
        last = Some(table.key(end)?);
    }
}

/// One statement that writes these rows.
fn insert(table: &Table, rows: &[Row]) -> Result<Query, Fault> {
    let columns = table.columns.len();
    let row = |row: usize| {
        let numbers: Vec<String> =
            (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", numbers.join(", "))
    };
    let values: Vec<String> = (0..rows.len()).map(row).collect();
    let text = format!("INSERT INTO {} ({}) VALUES {}", table.name, table.names(), values.join(", "));
    let mut insert = query(AssertSqlSafe(text));
    for row in rows {
        for column in &table.columns {
            insert = insert.bind(column.value(row)?);
        }
    }
    Ok(insert)
}
