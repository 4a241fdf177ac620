//! What the two engines do differently: everything else is written once.
//!
//! Statements use the functions of SQLite (`json_each`, `json_group_array`, `hex`, `unhex`); PostgreSQL has functions of
//! the same names from its first migration.

use sqlx::error::DatabaseError;

/// What a write transaction does, as far as others must wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Anything but the claims.
    Change,
    /// The claim of messages to send: one at a time, so that two nodes never try for the same.
    ClaimMessages,
    /// The claim of mailboxes to read: one at a time too.
    ClaimMailboxes,
}

/// Whether others write at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Beside others.
    Beside,
    /// Alone: a transaction that was broken off because of others is not broken off again.
    Alone,
}

/// The statements that begin a write transaction on PostgreSQL.
///
/// The locks are of tables without rows, because `LOCK TABLE` waits before the transaction sees anything, which a lock
/// taken by a `SELECT` does not: the work then sees all that was committed before it got its turn. `ROW SHARE` goes with
/// itself, `EXCLUSIVE` with neither. They end with the transaction, also with one whose process is gone.
pub(super) fn begin_on_postgres(work: Work, turn: Turn) -> &'static str {
    match (work, turn) {
        (_, Turn::Alone) => "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE turn_to_write IN EXCLUSIVE MODE",
        (Work::Change, Turn::Beside) => {
            "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE turn_to_write IN ROW SHARE MODE"
        }
        (Work::ClaimMessages, Turn::Beside) => {
            "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE turn_to_write IN ROW SHARE MODE;
             LOCK TABLE turn_to_claim_messages IN EXCLUSIVE MODE"
        }
        (Work::ClaimMailboxes, Turn::Beside) => {
            "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE turn_to_write IN ROW SHARE MODE;
             LOCK TABLE turn_to_claim_mailboxes IN EXCLUSIVE MODE"
        }
    }
}

/// Taken on PostgreSQL before events get their places in the feed, and held until they are committed: so a smaller
/// place is never seen after a greater one. Nothing is waited for after it but the disk, so the wait is short and no
/// circle can arise.
pub(super) const TELL_ON_POSTGRES: &str = "LOCK TABLE turn_to_tell IN EXCLUSIVE MODE";

/// Why the driver refused, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No room is left.
    Full,
    /// A unique name or address is taken.
    Taken,
    /// Broken off because of what others did at the same time; nothing was done, and once more it may work.
    BrokenOff,
    /// Anything else.
    Other,
}

/// What a refusal of the database means.
pub(super) fn refusal(error: &sqlx::Error) -> Refusal {
    match error {
        sqlx::Error::Database(refusal) if refusal.is_unique_violation() => Refusal::Taken,
        sqlx::Error::Database(refusal) => match refusal.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        {
            Some(refusal) => of_postgres(refusal.code()),
            None => of_sqlite(refusal.as_ref()),
        },
        _ => Refusal::Other,
    }
}

/// PostgreSQL 15, appendix A: 53100 `disk_full`, 40001 `serialization_failure`, 40P01 `deadlock_detected`.
fn of_postgres(code: &str) -> Refusal {
    match code {
        "53100" => Refusal::Full,
        "40001" | "40P01" => Refusal::BrokenOff,
        _ => Refusal::Other,
    }
}

/// SQLite has a code of its own for ENOSPC only; an exceeded quota or file size limit (EDQUOT, EFBIG) comes as its
/// general error of writing, with the system's reason kept to itself.
fn of_sqlite(refusal: &dyn DatabaseError) -> Refusal {
    const FULL: i32 = 13; // SQLITE_FULL
    const CANNOT_WRITE: [i32; 2] = [778, 4874]; // SQLITE_IOERR_WRITE, SQLITE_IOERR_SHMSIZE
    let code: Option<i32> = refusal.code().and_then(|code| code.parse().ok());
    match code {
        Some(code) if code & 0xff == FULL || CANNOT_WRITE.contains(&code) => Refusal::Full,
        _ => Refusal::Other,
    }
}
