//! What procedures of several steps remember.

use async_trait::async_trait;
use sqlx::Row;

use super::SqliteStore;
use crate::journals::MAX_JOURNAL;
use crate::{JournalStore, StoreError};

#[async_trait]
impl JournalStore for SqliteStore {
    async fn save_journal(&self, name: &str, content: Option<&str>) -> Result<(), StoreError> {
        if content.is_some_and(|content| content.len() > MAX_JOURNAL) {
            return Err(StoreError::Contradiction {
                table: "journals",
                row: name.to_owned(),
                what: format!("a journal has at most {MAX_JOURNAL} bytes"),
            });
        }
        let work = async {
            match content {
                Some(content) => {
                    sqlx::query(
                        "INSERT INTO journals (name, content) VALUES (?, ?)
                         ON CONFLICT (name) DO UPDATE SET content = excluded.content",
                    )
                    .bind(name)
                    .bind(content)
                    .execute(&self.writer)
                    .await?;
                }
                // One that is not there is removed already.
                None => {
                    sqlx::query("DELETE FROM journals WHERE name = ?")
                        .bind(name)
                        .execute(&self.writer)
                        .await?;
                }
            }
            Ok(())
        };
        self.tell("keep a journal", work.await)
    }

    async fn journal(&self, name: &str) -> Result<Option<String>, StoreError> {
        let work = async {
            let query = sqlx::query_scalar("SELECT content FROM journals WHERE name = ?");
            Ok(query.bind(name).fetch_optional(&self.readers).await?)
        };
        self.tell("read a journal", work.await)
    }

    async fn journals(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let work = async {
            let rows = sqlx::query(
                "SELECT name, content FROM journals WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
            )
            .bind(prefix)
            .fetch_all(&self.readers)
            .await?;
            rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("content")?))).collect()
        };
        self.tell("list journals", work.await)
    }
}
