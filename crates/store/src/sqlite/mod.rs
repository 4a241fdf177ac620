//! The traits on SQLite.

/// A store in one folder.
pub struct SqliteStore {}
