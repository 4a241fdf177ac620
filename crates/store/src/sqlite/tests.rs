//! What can only be seen from inside: a full disk, and the plans of the queries that run all the time.

use std::io;
use std::path::Path;

use bytes::Bytes;
use postroom_model::Env;
use postroom_model::outbox::Envelope;
use sqlx::{AssertSqlSafe, Row as _};

use super::{SqliteOptions, SqliteStore};
use crate::{Acceptance, BlobStore, KeyFile, NewOutboxMessage, OutboxStore, StoreError};

async fn store(folder: &Path) -> SqliteStore {
    let env = Env::for_test(1).0;
    let key_file = KeyFile(folder.join("postroom.key"));
    SqliteStore::open(SqliteOptions { folder: folder.join("data"), key_file, env }).await.unwrap()
}

async fn message(store: &SqliteStore, subject: String) -> NewOutboxMessage {
    NewOutboxMessage {
        id: store.env.new_id(),
        connection: store.env.new_id(),
        envelope: Envelope { from: "a@contoso.example".parse().unwrap(), to: vec![] },
        message_id: "<1@contoso.example>".into(),
        subject,
        raw: store.put_blob(Bytes::from_static(b"raw")).await.unwrap(),
        submitted_by: "cli".into(),
        idempotency: None,
    }
}

#[tokio::test]
async fn a_full_disk_accepts_nothing_loses_nothing_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let before = message(&store, "before".into()).await;
    let id = before.id;
    store.accept(before).await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")))
        .execute(&store.writer)
        .await
        .unwrap();
    let large = message(&store, "x".repeat(100_000)).await;
    let large_id = large.id;
    let error = store.accept(large).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { operation: "accept a message", .. }), "{error:?}");
    assert!(error.is_temporary() && error.hint().is_some());
    assert!(store.outbox_message(id).await.unwrap().is_some());
    assert!(store.outbox_message(large_id).await.unwrap().is_none());
    sqlx::query("PRAGMA max_page_count = 1073741823").execute(&store.writer).await.unwrap();
    let after = store.accept(message(&store, "x".repeat(100_000)).await).await.unwrap();
    assert!(matches!(after, Acceptance::Accepted(_)));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_a_full_quota_are_told_from_other_failures() {
    let error = |code| StoreError::of_file("write", Path::new("x"), io::Error::from_raw_os_error(code));
    for (code, full) in [(28, true), (122, true), (27, true), (5, false), (13, false)] {
        assert_eq!(matches!(error(code), StoreError::Full { .. }), full, "errno {code}");
    }
}

/// The lines of a query's plan that read a whole table or sort.
async fn slow_steps(store: &SqliteStore, query: &str) -> Vec<String> {
    let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")));
    let rows = plan.fetch_all(&store.readers).await.unwrap();
    let steps = rows.iter().map(|row| row.get::<String, _>("detail"));
    steps
        .filter(|step| {
            let scans = step.starts_with("SCAN")
                && !step.contains("USING INDEX")
                && !step.contains("USING COVERING INDEX")
                && !step.contains("json_each")
                && !step.contains("VIRTUAL TABLE");
            scans || step.contains("TEMP B-TREE FOR ORDER BY")
        })
        .collect()
}

#[tokio::test]
async fn what_runs_all_the_time_walks_along_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    for query in [
        super::outbox::NEXT_DUE,
        super::mailboxes::DUE,
        super::mailboxes::NEXT_DUE,
        super::inbox::UNPROCESSED,
        super::inbox::TO_REFETCH,
        &super::inbox::list_for_plan(false),
        &super::inbox::list_for_plan(true),
    ] {
        assert_eq!(slow_steps(&store, query).await, Vec::<String>::new(), "{query}");
    }
    // The claim sorts what is due, and only that.
    let claim = slow_steps(&store, super::outbox::CLAIM).await;
    assert!(claim.iter().all(|step| !step.starts_with("SCAN m")), "{claim:?}");
}
