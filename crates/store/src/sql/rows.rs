//! From columns to the model's types. A value that the model refuses is a contradiction with table and row, never a
//! panic: somebody may have edited the file.

use std::fmt;

use postroom_model::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::db::{Cell as _, Row, missing, without_nul};
use super::fault::Fault;
use crate::{BlobRef, StoreError};

/// One row of a table.
pub(super) struct Cells<'r> {
    table: &'static str,
    row: &'r Row,
}

impl<'r> Cells<'r> {
    pub(super) fn new(table: &'static str, row: &'r Row) -> Self {
        Self { table, row }
    }

    fn wrong(&self, column: &str, why: impl fmt::Display) -> Fault {
        let id = self.row.bytes("id").ok().flatten().and_then(|id| Uuid::from_slice(id).ok());
        let row = id.map_or_else(|| "?".to_owned(), |id| id.to_string());
        StoreError::Contradiction { table: self.table, row, what: format!("{column}: {why}") }.into()
    }

    pub(super) fn id<I: From<Uuid>>(&self, column: &'static str) -> Result<I, Fault> {
        let bytes = self.row.bytes(column)?.ok_or_else(|| missing(column))?;
        Uuid::from_slice(bytes).map(I::from).map_err(|error| self.wrong(column, error))
    }

    pub(super) fn opt_id<I: From<Uuid>>(&self, column: &'static str) -> Result<Option<I>, Fault> {
        let bytes = self.row.bytes(column)?;
        bytes.map(|_| self.id(column)).transpose()
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String, Fault> {
        Ok(String::read(self.row, column)?)
    }

    pub(super) fn opt_text(&self, column: &'static str) -> Result<Option<String>, Fault> {
        Ok(Option::read(self.row, column)?)
    }

    pub(super) fn bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Option::read(self.row, column)?)
    }

    pub(super) fn int(&self, column: &'static str) -> Result<i64, Fault> {
        Ok(i64::read(self.row, column)?)
    }

    /// A number that is never negative: a count, a size.
    pub(super) fn count<N: TryFrom<i64>>(&self, column: &'static str) -> Result<N, Fault> {
        let number = self.int(column)?;
        N::try_from(number).map_err(|_| self.wrong(column, format_args!("{number} is out of range")))
    }

    pub(super) fn opt_count<N: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<N>, Fault> {
        let number = self.row.integer(column)?;
        number.map(|_| self.count(column)).transpose()
    }

    pub(super) fn opt_time(&self, column: &'static str) -> Result<Option<Timestamp>, Fault> {
        let micros = self.row.integer(column)?;
        let read = |micros| Timestamp::from_microsecond(micros).map_err(|error| self.wrong(column, error));
        micros.map(read).transpose()
    }

    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp, Fault> {
        self.opt_time(column)?.ok_or_else(|| self.wrong(column, "missing"))
    }

    /// A word of a closed list.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Fault> {
        let text = self.text(column)?;
        self.word_of(column, text)
    }

    pub(super) fn word_of<T: DeserializeOwned>(&self, column: &str, text: String) -> Result<T, Fault> {
        serde_json::from_value(serde_json::Value::String(text)).map_err(|error| self.wrong(column, error))
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Fault> {
        self.opt_json(column)?.ok_or_else(|| self.wrong(column, "missing"))
    }

    pub(super) fn opt_json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, Fault> {
        let text = self.row.text(column)?;
        text.map(|text| serde_json::from_str(text).map_err(|error| self.wrong(column, error))).transpose()
    }

    /// A JSON list of hexadecimal ids, as `json_group_array(hex(..))` gives it.
    pub(super) fn id_list<I: From<Uuid>>(&self, column: &'static str) -> Result<Vec<I>, Fault> {
        let ids: Vec<String> = self.json(column)?;
        let parse = |id: &String| Uuid::try_parse(id).map_err(|error| self.wrong(column, error));
        let mut ids = ids.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        // PostgreSQL gives them in no order.
        ids.sort_unstable();
        Ok(ids.into_iter().map(I::from).collect())
    }

    /// The columns `raw_sha256` and `raw_size`.
    pub(super) fn raw(&self) -> Result<BlobRef, Fault> {
        Ok(BlobRef { sha256: self.text("raw_sha256")?, size: self.count("raw_size")? })
    }
}

/// An instant that a query computed.
pub(super) fn time(table: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| StoreError::Contradiction {
        table,
        row: "?".to_owned(),
        what: error.to_string(),
    })
}

/// An instant for the database.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A value as JSON for the database. The model's types always serialise; should one not, nothing is written.
pub(super) fn to_json<T: Serialize>(table: &'static str, value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| {
        StoreError::Contradiction { table, row: "new".to_owned(), what: error.to_string() }.into()
    })
}

/// The word under which a value of a closed list is kept.
pub(super) fn to_word<T: Serialize>(table: &'static str, value: &T) -> Result<String, Fault> {
    to_json(table, value).map(|text| text.trim_matches('"').to_owned())
}

/// A size or count for the database.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Ids as a JSON list of hexadecimal texts, for `json_each` and `unhex`.
pub(super) fn hex_list(ids: impl IntoIterator<Item = Uuid>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| format!("\"{}\"", id.simple())).collect();
    format!("[{}]", ids.join(","))
}

/// Texts as a JSON list, for `json_each`.
pub(super) fn text_list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    serde_json::Value::from_iter(texts.into_iter().map(|text| without_nul(text.to_owned()))).to_string()
}

/// The 16 bytes of an id.
pub(super) fn key(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}
