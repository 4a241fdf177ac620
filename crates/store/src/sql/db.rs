//! Statements, rows, connections and transactions of either engine. What is written with these types runs on SQLite
//! and on PostgreSQL alike: columns are only BIGINT, TEXT and BYTEA (INTEGER, TEXT and BLOB), truth values are 0 and 1,
//! placeholders are `$1`, `$2`.

use postroom_model::event::Event;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{
    ColumnIndex, PgPool, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, SqlitePool, TypeInfo as _,
    ValueRef as _,
};

use super::events;
use super::fault::Fault;

/// A statement with its values.
pub(super) struct Query {
    text: SqlStr,
    values: Vec<Value>,
}

/// One value for the database; the kind is known of what is missing too.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// A statement of constant text.
pub(super) fn query(text: impl SqlSafeStr) -> Query {
    Query { text: text.into_sql_str(), values: Vec::new() }
}

impl Query {
    /// Binds the next of `$1`, `$2`, ...
    pub(super) fn bind(mut self, value: impl Bind) -> Self {
        self.values.push(value.into_value());
        self
    }

    /// Every row.
    pub(super) async fn fetch_all<'c>(self, on: impl Into<On<'c>>) -> Result<Vec<Row>, sqlx::Error> {
        let mut held = None;
        match on.into().engine(&mut held).await? {
            Engine::Sqlite(db) => {
                let rows = self.for_sqlite().fetch_all(db).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Engine::Postgres(db) => {
                let rows = self.for_postgres().fetch_all(db).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// The first row, if there is one. For statements that give one at most.
    pub(super) async fn fetch_optional<'c>(self, on: impl Into<On<'c>>) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    /// The only row.
    pub(super) async fn fetch_one<'c>(self, on: impl Into<On<'c>>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Runs it and gives how many rows it touched.
    pub(super) async fn execute<'c>(self, on: impl Into<On<'c>>) -> Result<u64, sqlx::Error> {
        let mut held = None;
        match on.into().engine(&mut held).await? {
            Engine::Sqlite(db) => Ok(self.for_sqlite().execute(db).await?.rows_affected()),
            Engine::Postgres(db) => Ok(self.for_postgres().execute(db).await?.rows_affected()),
        }
    }

    fn for_sqlite(self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        self.values.into_iter().fold(sqlx::query(self.text), |query, value| match value {
            Value::Integer(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }

    fn for_postgres(self) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        self.values.into_iter().fold(sqlx::query(self.text), |query, value| match value {
            Value::Integer(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}

/// A statement whose first column is all that is asked for.
pub(super) struct Scalar(Query);

/// A statement of constant text that gives one column.
pub(super) fn query_scalar(text: impl SqlSafeStr) -> Scalar {
    Scalar(query(text))
}

impl Scalar {
    pub(super) fn bind(self, value: impl Bind) -> Self {
        Self(self.0.bind(value))
    }

    pub(super) async fn fetch_one<'c, T: Cell>(self, on: impl Into<On<'c>>) -> Result<T, sqlx::Error> {
        T::read(&self.0.fetch_one(on).await?, 0)
    }

    pub(super) async fn fetch_optional<'c, T: Cell>(
        self,
        on: impl Into<On<'c>>,
    ) -> Result<Option<T>, sqlx::Error> {
        self.0.fetch_optional(on).await?.map(|row| T::read(&row, 0)).transpose()
    }

    pub(super) async fn fetch_all<'c, T: Cell>(self, on: impl Into<On<'c>>) -> Result<Vec<T>, sqlx::Error> {
        self.0.fetch_all(on).await?.iter().map(|row| T::read(row, 0)).collect()
    }
}

/// What can be bound to a statement.
pub(super) trait Bind {
    fn into_value(self) -> Value;
}

/// What can be bound, and bound when it is missing.
pub(super) trait Known: Sized {
    fn value(known: Option<Self>) -> Value;
}

impl Bind for Value {
    fn into_value(self) -> Value {
        self
    }
}

impl<T: Known> Bind for T {
    fn into_value(self) -> Value {
        T::value(Some(self))
    }
}

impl<T: Known> Bind for Option<T> {
    fn into_value(self) -> Value {
        T::value(self)
    }
}

impl<'t, T> Bind for &'t Option<T>
where
    &'t T: Known,
{
    fn into_value(self) -> Value {
        <&T as Known>::value(self.as_ref())
    }
}

macro_rules! known {
    ($($kind:ty => $variant:ident, $make:expr;)*) => {
        $(impl Known for $kind {
            fn value(known: Option<Self>) -> Value {
                Value::$variant(known.map($make))
            }
        })*
    };
}

known! {
    i64 => Integer, |number| number;
    u32 => Integer, i64::from;
    bool => Integer, i64::from;
    String => Text, without_nul;
    &String => Text, |text| without_nul(text.clone());
    &str => Text, |text| without_nul(text.to_owned());
    Vec<u8> => Bytes, |bytes| bytes;
    &Vec<u8> => Bytes, Clone::clone;
    &[u8] => Bytes, <[u8]>::to_vec;
}

/// PostgreSQL keeps no NUL in a text. On both engines the replacement character stands for one, so that what is
/// compared with a stored text was changed in the same way.
pub(super) fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// One row of a result.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A column by its name or place.
pub(super) trait Column: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> + Copy {}
impl<T: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> + Copy> Column for T {}

impl Row {
    /// A number, or a truth value as 0 or 1.
    pub(super) fn integer(&self, column: impl Column) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => match row.try_get_raw(column)?.type_info().name() {
                "BOOL" => Ok(row.try_get::<Option<bool>, _>(column)?.map(i64::from)),
                "INT4" => Ok(row.try_get::<Option<i32>, _>(column)?.map(i64::from)),
                _ => row.try_get(column),
            },
        }
    }

    pub(super) fn text(&self, column: impl Column) -> Result<Option<&str>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    pub(super) fn bytes(&self, column: impl Column) -> Result<Option<&[u8]>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

/// What a column can be read as.
pub(super) trait Cell: Sized {
    fn read(row: &Row, column: impl Column) -> Result<Self, sqlx::Error>;
}

macro_rules! cell {
    ($($kind:ty => $read:ident, $make:expr;)*) => {
        $(impl Cell for Option<$kind> {
            fn read(row: &Row, column: impl Column) -> Result<Self, sqlx::Error> {
                Ok(row.$read(column)?.map($make))
            }
        }
        impl Cell for $kind {
            fn read(row: &Row, column: impl Column) -> Result<Self, sqlx::Error> {
                Option::<$kind>::read(row, column)?.ok_or_else(|| missing(column))
            }
        })*
    };
}

cell! {
    i64 => integer, |number| number;
    bool => integer, |number| number != 0;
    String => text, ToOwned::to_owned;
    Vec<u8> => bytes, <[u8]>::to_vec;
}

/// The error of a column that must not be NULL.
pub(super) fn missing(column: impl std::fmt::Debug) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: format!("{column:?}"),
        source: Box::new(sqlx::error::UnexpectedNullError),
    }
}

/// Connections of one engine.
#[derive(Debug, Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    pub(super) async fn acquire(&self) -> Result<Db, sqlx::Error> {
        Ok(Db::from(match self {
            Self::Sqlite(pool) => Link::Sqlite(pool.acquire().await?),
            Self::Postgres(pool) => Link::Postgres(pool.acquire().await?),
        }))
    }
}

/// One connection, or the transaction that it is in.
pub(super) struct Db {
    link: Link,
    /// Told at the end of the transaction.
    events: Vec<Event>,
}

enum Link {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTransaction(sqlx::Transaction<'static, Sqlite>),
    Postgres(PoolConnection<Postgres>),
    PostgresTransaction(sqlx::Transaction<'static, Postgres>),
}

/// The driver's connection.
pub(super) enum Engine<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl From<Link> for Db {
    fn from(link: Link) -> Self {
        Self { link, events: Vec::new() }
    }
}

impl Db {
    pub(super) fn engine(&mut self) -> Engine<'_> {
        match &mut self.link {
            Link::Sqlite(held) => Engine::Sqlite(held),
            Link::SqliteTransaction(begun) => Engine::Sqlite(begun),
            Link::Postgres(held) => Engine::Postgres(held),
            Link::PostgresTransaction(begun) => Engine::Postgres(begun),
        }
    }

    /// Notes an event of the transaction that this is.
    pub(super) fn tell(&mut self, event: &Event) {
        self.events.push(event.clone());
    }
}

/// A write transaction. Dropped before its commit, nothing of it is done.
pub(super) struct Transaction(Db);

impl Transaction {
    /// Begins on SQLite: waits for other writers, of other processes too, up to the busy time-out.
    pub(super) async fn on_sqlite(pool: &SqlitePool) -> Result<Self, sqlx::Error> {
        let begun = pool.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Self(Link::SqliteTransaction(begun).into()))
    }

    /// Begins on PostgreSQL with these statements, of which the first is `BEGIN`.
    pub(super) async fn on_postgres(pool: &PgPool, begin: &'static str) -> Result<Self, sqlx::Error> {
        let begun = pool.begin_with(begin).await?;
        Ok(Self(Link::PostgresTransaction(begun).into()))
    }

    /// Writes the events and commits; what was answered with `Ok` is on disk.
    pub(super) async fn commit(mut self) -> Result<(), Fault> {
        let told = std::mem::take(&mut self.0.events);
        events::write(&mut self.0, &told).await?;
        match self.0.link {
            Link::SqliteTransaction(begun) => begun.commit().await?,
            Link::PostgresTransaction(begun) => begun.commit().await?,
            Link::Sqlite(_) | Link::Postgres(_) => {}
        }
        Ok(())
    }
}

impl std::ops::Deref for Transaction {
    type Target = Db;
    fn deref(&self) -> &Db {
        &self.0
    }
}

impl std::ops::DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Db {
        &mut self.0
    }
}

/// Where a statement runs.
pub(super) enum On<'c> {
    Connection(&'c mut Db),
    Pool(&'c Pool),
}

impl<'c> On<'c> {
    async fn engine(self, held: &'c mut Option<Db>) -> Result<Engine<'c>, sqlx::Error> {
        match self {
            Self::Connection(connection) => Ok(connection.engine()),
            Self::Pool(pool) => Ok(held.insert(pool.acquire().await?).engine()),
        }
    }
}

impl<'c> From<&'c mut Db> for On<'c> {
    fn from(connection: &'c mut Db) -> Self {
        Self::Connection(connection)
    }
}

impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        Self::Pool(pool)
    }
}
