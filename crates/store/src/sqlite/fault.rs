//! From the driver's errors to [`StoreError`]: inside a transaction `?` takes both, outside there is one.

use std::path::Path;

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
            Self::Driver(error) if is_full(&error) => StoreError::Full { operation, path: folder.to_owned() },
            Self::Driver(error) => StoreError::Database { operation, source: Box::new(error) },
        }
    }

    /// [`StoreError::Taken`] when a unique name or address is taken, itself otherwise.
    pub(super) fn or_taken(error: sqlx::Error, what: impl FnOnce() -> String) -> Self {
        match &error {
            sqlx::Error::Database(refusal) if refusal.is_unique_violation() => {
                StoreError::Taken { what: what() }.into()
            }
            _ => error.into(),
        }
    }
}

/// Whether there was no room. SQLite has a code of its own for ENOSPC only; an exceeded quota or file size limit
/// (EDQUOT, EFBIG) comes as its general error of writing, with the system's reason kept to itself.
fn is_full(error: &sqlx::Error) -> bool {
    const FULL: i32 = 13; // SQLITE_FULL
    const CANNOT_WRITE: [i32; 2] = [778, 4874]; // SQLITE_IOERR_WRITE, SQLITE_IOERR_SHMSIZE
    let sqlx::Error::Database(refusal) = error else { return false };
    let code: Option<i32> = refusal.code().and_then(|code| code.parse().ok());
    code.is_some_and(|code| code & 0xff == FULL || CANNOT_WRITE.contains(&code))
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
