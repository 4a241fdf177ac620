//! The tables of a data folder as its catalogue tells of them.

use sqlx::AssertSqlSafe;

use crate::StoreError;
use crate::sql::db::{Cell as _, Pool, Query, Row, Value, query};
use crate::sql::fault::Fault;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Text,
    Bytes,
}

/// A column that is written, not computed.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Place in the primary key, from 1; 0 when it is no part of it.
    key: i64,
}

impl Column {
    /// Its value in a row.
    pub(super) fn value(&self, row: &Row) -> Result<Value, Fault> {
        let name = self.name.as_str();
        Ok(match self.kind {
            Kind::Integer => Value::Integer(row.integer(name)?),
            Kind::Text => Value::Text(Option::<String>::read(row, name)?.map(crate::sql::db::without_nul)),
            Kind::Bytes => Value::Bytes(Option::read(row, name)?),
        })
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.name)
    }
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Tables whose rows its rows refer to.
    needs: Vec<String>,
}

impl Table {
    /// Whether the database numbers its rows.
    pub(super) fn has_sequence(&self) -> bool {
        self.columns.iter().any(|column| column.name == "sequence")
    }

    /// Its columns, as a statement names them.
    pub(super) fn names(&self) -> String {
        self.columns.iter().map(Column::quoted).collect::<Vec<_>>().join(", ")
    }

    fn key_columns(&self) -> Vec<&Column> {
        let mut key: Vec<&Column> = self.columns.iter().filter(|column| column.key > 0).collect();
        key.sort_by_key(|column| column.key);
        key
    }

    /// The key of a row.
    pub(super) fn key(&self, row: &Row) -> Result<Vec<Value>, Fault> {
        self.key_columns().into_iter().map(|column| column.value(row)).collect()
    }

    /// The rows after this key in its order, up to `limit`.
    pub(super) fn batch(&self, after: Option<&Vec<Value>>, limit: usize) -> Result<Query, Fault> {
        let key: Vec<String> = self.key_columns().into_iter().map(Column::quoted).collect();
        if key.is_empty() {
            return Err(StoreError::Contradiction {
                table: "sqlite_schema",
                row: self.name.clone(),
                what: "it has no primary key".to_owned(),
            }
            .into());
        }
        let key_list = key.join(", ");
        let places: Vec<String> = (1..=key.len()).map(|place| format!("${place}")).collect();
        let after_key = match after {
            Some(_) => format!("WHERE ({key_list}) > ({})", places.join(", ")),
            None => String::new(),
        };
        let text = format!(
            "SELECT {} FROM {} {after_key} ORDER BY {key_list} LIMIT {limit}",
            self.names(),
            self.name
        );
        let values = after.into_iter().flatten().cloned();
        // Made of names of the catalogue, which are plain, and numbers.
        Ok(values.fold(query(AssertSqlSafe(text)), Query::bind))
    }
}

/// Every table, those that others refer to first.
pub(super) async fn in_order(source: &Pool) -> Result<Vec<Table>, Fault> {
    let names = query(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'
             AND name NOT LIKE 'inbox~_search%' ESCAPE '~' AND name <> '_sqlx_migrations' ORDER BY name",
    )
    .fetch_all(source)
    .await?;
    let mut waiting = Vec::with_capacity(names.len());
    for row in &names {
        waiting.push(read(source, String::read(row, "name")?).await?);
    }
    let mut placed: Vec<Table> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let is_placed = |name: &String| placed.iter().any(|table: &Table| table.name == *name);
        let ready = waiting
            .iter()
            .position(|table| table.needs.iter().all(|name| *name == table.name || is_placed(name)))
            .ok_or_else(|| StoreError::Contradiction {
                table: "sqlite_schema",
                row: waiting[0].name.clone(),
                what: "tables refer to each other in a circle".to_owned(),
            })?;
        placed.push(waiting.remove(ready));
    }
    Ok(placed)
}

async fn read(source: &Pool, name: String) -> Result<Table, Fault> {
    // `hidden` is 2 or 3 for what is computed.
    let rows = query("SELECT name, type, pk FROM pragma_table_xinfo($1) WHERE hidden = 0 ORDER BY cid")
        .bind(&name)
        .fetch_all(source)
        .await?;
    let column = |row: &Row| {
        let kind = match String::read(row, "type")?.as_str() {
            "INTEGER" => Kind::Integer,
            "BLOB" => Kind::Bytes,
            _ => Kind::Text,
        };
        Ok(Column { name: String::read(row, "name")?, kind, key: i64::read(row, "pk")? })
    };
    let columns = rows.iter().map(column).collect::<Result<_, sqlx::Error>>()?;
    let needs = query("SELECT DISTINCT \"table\" AS needed FROM pragma_foreign_key_list($1)")
        .bind(&name)
        .fetch_all(source)
        .await?;
    let needs = needs.iter().map(|row| String::read(row, "needed")).collect::<Result<_, _>>()?;
    Ok(Table { name, columns, needs })
}
