//! Rows that contradict themselves: each is passed over and told of, so that it stops nothing but itself.

use super::db::Row;
use super::fault::Fault;
use crate::StoreError;

/// What is wrong with the row itself; the fault again when it is the database's.
pub(super) fn of_the_row(fault: Fault) -> Result<String, Fault> {
    match fault {
        Fault::Store(error @ StoreError::Contradiction { .. }) => Ok(error.to_string()),
        Fault::Driver(error @ (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))) => {
            Ok(error.to_string())
        }
        fault => Err(fault),
    }
}

/// Every row of a list that can be read; the others are logged.
pub(super) fn readable<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let mut list = Vec::with_capacity(rows.len());
    for row in rows {
        match read(row) {
            Ok(item) => list.push(item),
            Err(fault) => {
                let reason = of_the_row(fault)?;
                tracing::error!(reason, "a row that cannot be read is left out of the list");
            }
        }
    }
    Ok(list)
}
