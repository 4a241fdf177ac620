//! The index of words. FTS5 keeps no texts, but tells where each word stands in which message; that is enough to write
//! the words of each message down in their order.

use futures_util::TryStreamExt as _;
use sqlx::{Row as _, SqlitePool};

use crate::sql::db::Db;
use crate::sql::fault::Fault;
use crate::sql::search::index_words;

/// The words of every message, in order. The sorting is done in a temporary file of SQLite, not in memory.
const WORDS: &str = "SELECT doc, term FROM temp.inbox_words ORDER BY doc, col DESC, offset";

/// Makes the same messages findable in the target, and gives how many they are.
pub(super) async fn copy(source: &SqlitePool, target: &mut Db) -> Result<u64, Fault> {
    let mut connection = source.acquire().await?;
    sqlx::query("CREATE VIRTUAL TABLE temp.inbox_words USING fts5vocab('main', 'inbox_search', 'instance')")
        .execute(&mut *connection)
        .await?;
    let copied = copy_words(&mut connection, target).await;
    sqlx::query("DROP TABLE temp.inbox_words").execute(&mut *connection).await?;
    copied
}

async fn copy_words(source: &mut sqlx::SqliteConnection, target: &mut Db) -> Result<u64, Fault> {
    let mut count = 0;
    let mut message: Option<(i64, String)> = None;
    let mut words = sqlx::query(WORDS).fetch(source);
    while let Some(row) = words.try_next().await? {
        let (doc, term): (i64, &str) = (row.try_get("doc")?, row.try_get("term")?);
        match &mut message {
            Some((known, text)) if *known == doc => {
                text.push(' ');
                text.push_str(term);
            }
            _ => {
                if let Some((known, text)) = message.replace((doc, term.to_owned())) {
                    index_words(target, known, text).await?;
                    count += 1;
                }
            }
        }
    }
    if let Some((known, text)) = message {
        index_words(target, known, text).await?;
        count += 1;
    }
    Ok(count)
}
