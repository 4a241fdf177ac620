//! From the driver's errors to [`StoreError`]: inside a transaction `?` takes both, outside there is one.

use std::path::Path;

use super::dialect::{Refusal, refusal};
use crate::StoreError;

/// What stopped a piece of work on the database.
pub(super) enum Fault {
    /// The driver said no; which operation it was is known further up.
    Driver(sqlx::Error),
    /// Known already.
    Store(StoreError),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    /// The error for the caller.
    pub(super) fn during(self, operation: &'static str, folder: &Path) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Driver(error) if refusal(&error) == Refusal::Full => {
                StoreError::Full { operation, path: folder.to_owned() }
            }
            Self::Driver(error) => StoreError::Database { operation, source: Box::new(error) },
        }
    }

    /// Whether the transaction was broken off because of what others did at the same time: nothing of it was done.
    pub(super) fn is_broken_off(&self) -> bool {
        matches!(self, Self::Driver(error) if refusal(error) == Refusal::BrokenOff)
    }

    /// [`StoreError::Taken`] when a unique name or address is taken, itself otherwise.
    pub(super) fn or_taken(error: sqlx::Error, what: impl FnOnce() -> String) -> Self {
        match refusal(&error) {
            Refusal::Taken => StoreError::Taken { what: what() }.into(),
            _ => error.into(),
        }
    }
}

/// `Untouched` unless exactly one row was touched.
pub(super) fn one_row(
    touched: u64,
    operation: &'static str,
    subject: impl FnOnce() -> String,
) -> Result<(), StoreError> {
    if touched == 1 { Ok(()) } else { Err(StoreError::Untouched { operation, subject: subject() }) }
}

/// `LeaseLost` unless exactly one row was touched.
pub(super) fn still_held(
    touched: u64,
    operation: &'static str,
    subject: impl FnOnce() -> String,
) -> Result<(), StoreError> {
    if touched == 1 { Ok(()) } else { Err(StoreError::LeaseLost { operation, subject: subject() }) }
}
