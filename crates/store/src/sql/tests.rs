//! What can only be seen from inside: a full disk, and the plans of the queries that run all the time.

use std::io;
use std::path::Path;

use bytes::Bytes;
use postroom_model::connection::{ConnectionKind, ConnectionSettings};
use postroom_model::event::Subject;
use postroom_model::mailbox::{MailType, MailboxSettings};
use postroom_model::outbox::Envelope;
use postroom_model::people::Viewer;
use postroom_model::{Env, Timestamp};
use sqlx::AssertSqlSafe;

use super::db::{Cell as _, query, query_scalar};
use super::{SqlStore, SqliteOptions};
use crate::{
    Acceptance, BlobStore, ConnectionStore, EventFilter, EventStore, KeyFile, MailboxStore, NewOutboxMessage,
    NodeId, OutboxStore, SaveConnection, SaveMailbox, StoreError,
};

async fn store(folder: &Path) -> SqlStore {
    let env = Env::for_test(1).0;
    let key_file = KeyFile(folder.join("postroom.key"));
    SqlStore::open(SqliteOptions { folder: folder.join("data"), key_file, env }).await.unwrap()
}

async fn message(store: &SqlStore, subject: String) -> NewOutboxMessage {
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
    let pages: i64 = query_scalar("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
    query(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).execute(&store.writer).await.unwrap();
    let large = message(&store, "x".repeat(100_000)).await;
    let large_id = large.id;
    let error = store.accept(large).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { operation: "accept a message", .. }), "{error:?}");
    assert!(error.is_temporary() && error.hint().is_some());
    assert!(store.outbox_message(id).await.unwrap().is_some());
    assert!(store.outbox_message(large_id).await.unwrap().is_none());
    query("PRAGMA max_page_count = 1073741823").execute(&store.writer).await.unwrap();
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
async fn slow_steps(store: &SqlStore, text: &str) -> Vec<String> {
    let plan = query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}")));
    let rows = plan.fetch_all(&store.readers).await.unwrap();
    let steps = rows.iter().map(|row| String::read(row, "detail").unwrap());
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
        &super::inbox::list_for_plan(&store.readers, false),
        &super::inbox::list_for_plan(&store.readers, true),
    ] {
        assert_eq!(slow_steps(&store, query).await, Vec::<String>::new(), "{query}");
    }
    // The claim sorts what is due, and only that.
    let claim = slow_steps(&store, super::outbox::CLAIM).await;
    assert!(claim.iter().all(|step| !step.starts_with("SCAN m")), "{claim:?}");
}

#[tokio::test]
async fn a_mailbox_whose_row_contradicts_itself_is_set_apart_and_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let connection = store.env.new_id();
    let settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
    let save = SaveConnection { id: connection, settings, credential: None, actor: "cli".into() };
    store.save_connection(save).await.unwrap();
    let mut ids = vec![];
    for address in ["a@contoso.example", "b@contoso.example"] {
        let settings = MailboxSettings::new(address, [MailType::Case]);
        let save =
            SaveMailbox { id: store.env.new_id(), connection, settings, password: None, actor: "cli".into() };
        ids.push(store.save_mailbox(save).await.unwrap().id);
    }
    let (bad, good) = (ids[0], ids[1]);
    query("UPDATE mailbox_types SET type = 'no-such-type' WHERE mailbox = $1")
        .bind(bad.as_uuid().as_bytes().to_vec())
        .execute(&store.writer)
        .await
        .unwrap();
    let listed: Vec<_> = store.mailboxes().await.unwrap().iter().map(|known| known.id).collect();
    assert_eq!(listed, [good]);
    let viewer = Viewer { user: store.env.new_id(), groups: vec![], roles: vec![] };
    assert_eq!(store.mailboxes_for(&viewer).await.unwrap().len(), 1);
    let (node, until) = (NodeId::new(store.env.new_uuid()), Timestamp::MAX);
    let claimed = store.claim_mailboxes(&node, until, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.mailbox.id).collect::<Vec<_>>(), [good]);
    let row = query("SELECT state, last_error, lease_owner, next_due_at FROM mailboxes WHERE id = $1")
        .bind(bad.as_uuid().as_bytes().to_vec())
        .fetch_one(&store.readers)
        .await
        .unwrap();
    assert_eq!(String::read(&row, "state").unwrap(), "failing");
    assert!(String::read(&row, "last_error").unwrap().contains("no-such-type"));
    assert_eq!(Option::<String>::read(&row, "lease_owner").unwrap(), None);
    assert!(
        i64::read(&row, "next_due_at").unwrap() > store.env.now().as_microsecond(),
        "not tried at every look"
    );
    let refused = store.claim_mailbox(bad, &node, until).await;
    assert!(matches!(refused, Err(StoreError::Contradiction { .. })));
    let filter = EventFilter { subject: Some(Subject::Mailbox(bad)), after: 0 };
    let told = store.events(&filter, 10).await.unwrap();
    let told: Vec<_> = told.iter().map(|stored| stored.event.kind.as_str()).collect();
    assert_eq!(told, ["mailbox.saved", "mailbox.failing"], "told once");
    store.remove_mailbox(bad, "cli").await.unwrap();
}
