//! What procedures of several steps remember.

use async_trait::async_trait;

use super::SqlStore;
use super::db::{Cell as _, query, query_scalar};
use crate::journals::MAX_JOURNAL;
use crate::{JournalStore, StoreError};

#[async_trait]
impl JournalStore for SqlStore {
    async fn save_journal(&self, name: &str, content: Option<&str>) -> Result<(), StoreError> {
        if content.is_some_and(|content| content.len() > MAX_JOURNAL) {
            return Err(StoreError::Contradiction {
                table: "journals",
                row: name.to_owned(),
                what: format!("a journal has at most {MAX_JOURNAL} bytes"),
            });
        }
        let work = || async {
            let mut transaction = self.begin().await?;
            match content {
                Some(content) => {
                    query(
                        "INSERT INTO journals (name, content) VALUES ($1, $2)
                         ON CONFLICT (name) DO UPDATE SET content = excluded.content",
                    )
                    .bind(name)
                    .bind(content)
                    .execute(&mut *transaction)
                    .await?;
                }
                // One that is not there is removed already.
                None => {
                    query("DELETE FROM journals WHERE name = $1")
                        .bind(name)
                        .execute(&mut *transaction)
                        .await?;
                }
            }
            transaction.commit().await
        };
        self.write("keep a journal", work).await
    }

    async fn journal(&self, name: &str) -> Result<Option<String>, StoreError> {
        let work = async {
            let query = query_scalar("SELECT content FROM journals WHERE name = $1");
            Ok(query.bind(name).fetch_optional(&self.readers).await?)
        };
        self.tell("read a journal", work.await)
    }

    async fn journals(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let work = async {
            let rows = query(
                "SELECT name, content FROM journals WHERE substr(name, 1, length($1)) = $1 ORDER BY name",
            )
            .bind(prefix)
            .fetch_all(&self.readers)
            .await?;
            rows.iter().map(|row| Ok((String::read(row, "name")?, String::read(row, "content")?))).collect()
        };
        self.tell("list journals", work.await)
    }
}
