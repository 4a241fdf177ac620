//! Threads: which messages belong together, by `References` and `In-Reply-To` alone.
//!
//! A thread is named by its oldest known message. Messages may arrive in any order, so a message can begin a thread,
//! join one, or join several that were apart; then the oldest names all of them. A message none of whose references
//! is known may itself turn out to be the oldest.

use postroom_model::inbox::Summary;

use crate::sql::db::{Db, query, query_scalar};
use crate::sql::fault::Fault;
use crate::sql::rows::text_list;

/// Puts a message, whose references are written, into its thread.
pub(super) async fn join(db: &mut Db, sequence: i64, summary: &Summary) -> Result<(), Fault> {
    let threads: Vec<Vec<u8>> = query_scalar(
        "SELECT m.thread FROM inbox m
         WHERE m.sequence <> $1 AND m.header_id IN (SELECT value FROM json_each($2))
         UNION
         SELECT m.thread FROM inbox_references r JOIN inbox m ON m.sequence = r.message
         WHERE m.sequence <> $1 AND r.header_id = $3",
    )
    .bind(sequence)
    .bind(text_list(summary.references.iter().map(String::as_str)))
    .bind(&summary.message_id)
    .fetch_all(&mut *db)
    .await?;
    if threads.is_empty() {
        return Ok(());
    }
    let threads = hex_list(&threads);
    let follows: bool = query_scalar(
        "SELECT EXISTS (SELECT 1 FROM inbox m
                        WHERE m.sequence <> $1 AND m.header_id IN (SELECT value FROM json_each($2)))",
    )
    .bind(sequence)
    .bind(text_list(summary.references.iter().map(String::as_str)))
    .fetch_one(&mut *db)
    .await?;
    let oldest: Vec<u8> = query_scalar(
        "SELECT id FROM inbox WHERE id IN (SELECT unhex(value) FROM json_each($1)) OR ($2 = 0 AND sequence = $3)
         ORDER BY received_at, sequence LIMIT 1",
    )
    .bind(&threads)
    .bind(follows)
    .bind(sequence)
    .fetch_one(&mut *db)
    .await?;
    query(
        "UPDATE inbox SET thread = $1
         WHERE thread <> $1 AND (sequence = $2 OR thread IN (SELECT unhex(value) FROM json_each($3)))",
    )
    .bind(oldest)
    .bind(sequence)
    .bind(threads)
    .execute(db)
    .await?;
    Ok(())
}

fn hex_list(ids: &[Vec<u8>]) -> String {
    let ids = ids.iter().filter_map(|id| uuid::Uuid::from_slice(id).ok());
    crate::sql::rows::hex_list(ids)
}
