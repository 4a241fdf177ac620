//! The search in collected mail: FTS5 on SQLite, `tsvector` with a GIN index on PostgreSQL. On both, a word is a run of
//! letters and digits without regard to case and diacritics, what is typed without a space between is found as it
//! stands, and all of it must be there.

use super::db::{Db, Engine, Pool, query};
use super::fault::Fault;
use super::rows::text_list;

/// Words of a search that count; more make no list shorter.
const MAX_WORDS: usize = 32;

/// How much of a text can be searched on PostgreSQL, in bytes: a `tsvector` takes at most 1 MiB, and in the worst case
/// twice its text.
const MAX_TEXT: usize = 400 * 1024;

/// The words that are typed. None when there is nothing to search for.
fn typed_words(typed: &str) -> Option<impl Iterator<Item = &str>> {
    let mut words = typed
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .take(MAX_WORDS)
        .peekable();
    words.peek().is_some().then_some(words)
}

/// An FTS5 query that holds nothing but quoted strings, so that no word is syntax.
fn for_fts5(typed: &str) -> Option<String> {
    let words: Vec<String> =
        typed_words(typed)?.map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
    Some(words.join(" "))
}

/// The list of phrases that `search_query` of PostgreSQL takes.
fn for_tsquery(typed: &str) -> Option<String> {
    let phrases: Vec<String> = typed_words(typed)?.map(plain).collect();
    Some(text_list(phrases.iter().map(String::as_str)))
}

/// A text in small letters with nothing but words and spaces. The marks of decomposed letters stay: PostgreSQL takes
/// them off together with those of the composed ones.
fn plain(text: &str) -> String {
    let is_mark = |c: char| ('\u{300}'..='\u{36f}').contains(&c);
    text.chars()
        .flat_map(char::to_lowercase)
        .map(|c| if c.is_alphanumeric() || is_mark(c) { c } else { ' ' })
        .collect()
}

/// The value that [`condition`] compares with.
pub(super) fn search_words(pool: &Pool, typed: &str) -> Option<String> {
    match pool {
        Pool::Sqlite(_) => for_fts5(typed),
        Pool::Postgres(_) => for_tsquery(typed),
    }
}

/// Holds for a message `m` in which the words in $7 are found.
pub(super) fn condition(pool: &Pool) -> &'static str {
    match pool {
        Pool::Sqlite(_) => "m.sequence IN (SELECT rowid FROM inbox_search WHERE inbox_search MATCH $7)",
        Pool::Postgres(_) => {
            // As a list, because PostgreSQL would rather look at every message until it has a page full.
            "m.sequence = ANY (ARRAY(SELECT message FROM inbox_search WHERE words @@ search_query($7)))"
        }
    }
}

/// Makes a message findable no more.
pub(super) async fn forget(db: &mut Db, sequence: i64) -> Result<(), Fault> {
    let forget = match db.engine() {
        Engine::Sqlite(_) => "DELETE FROM inbox_search WHERE rowid = $1",
        Engine::Postgres(_) => "DELETE FROM inbox_search WHERE message = $1",
    };
    query(forget).bind(sequence).execute(db).await?;
    Ok(())
}

/// Makes a message findable by these texts, and by no others.
pub(super) async fn index(db: &mut Db, sequence: i64, texts: [&str; 3]) -> Result<(), Fault> {
    if let Engine::Sqlite(_) = db.engine() {
        query("DELETE FROM inbox_search WHERE rowid = $1").bind(sequence).execute(&mut *db).await?;
        query("INSERT INTO inbox_search (rowid, subject, sender, text) VALUES ($1, $2, $3, $4)")
            .bind(sequence)
            .bind(texts[0])
            .bind(texts[1])
            .bind(texts[2])
            .execute(db)
            .await?;
        return Ok(());
    }
    index_words(db, sequence, texts.map(plain).join(" ")).await
}

/// Makes a message on PostgreSQL findable by these words, in small letters with spaces between.
pub(super) async fn index_words(db: &mut Db, sequence: i64, mut words: String) -> Result<(), Fault> {
    words.truncate(words.floor_char_boundary(MAX_TEXT));
    query(
        "INSERT INTO inbox_search (message, words) VALUES ($1, search_vector($2))
         ON CONFLICT (message) DO UPDATE SET words = excluded.words",
    )
    .bind(sequence)
    .bind(words)
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{for_fts5, for_tsquery};

    #[test]
    fn typed_words_are_never_syntax() {
        assert_eq!(for_fts5("  "), None);
        assert_eq!(for_fts5("\0"), None);
        assert_eq!(for_fts5("order 4711").as_deref(), Some("\"order\" \"4711\""));
        assert_eq!(for_fts5("a\" OR subject:*").as_deref(), Some("\"a\"\"\" \"OR\" \"subject:*\""));
        assert_eq!(for_tsquery("  "), None);
        assert_eq!(for_tsquery("Order-4711 !a&b").as_deref(), Some(r#"["order 4711"," a b"]"#));
    }
}
