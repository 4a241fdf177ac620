//! What a store on PostgreSQL promises to several nodes, each with connections of its own.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::outbox::{IdempotencyKey, OutboxState};
use postroom_model::{ConnectionId, Env, OutboxMessageId};
use postroom_store::{Acceptance, EventFilter, OutboxFilter, Page, SqlStore, StoreError};
use tempfile::TempDir;

use crate::bench::{Bench, on_postgres};
use crate::server::Postgres;

/// Two nodes on one database, with one clock and one folder.
struct House {
    nodes: [Arc<Bench>; 2],
    url: String,
    folder: TempDir,
    env: Env,
    server: Postgres,
}

impl House {
    async fn open() -> Self {
        let (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
        let (env, clock) = Env::for_test(1);
        let url = server.database();
        // At once: one of them makes the tables, the other waits for it.
        let options = || on_postgres(&url, folder.path(), &env);
        let (one, other) =
            tokio::join!(SqlStore::open_postgres(options()), SqlStore::open_postgres(options()));
        let nodes = [one, other]
            .map(|store| Arc::new(Bench::around(store.unwrap(), env.clone(), Arc::clone(&clock))));
        Self { nodes, url, folder, env, server }
    }

    fn node(&self, number: usize) -> Arc<Bench> {
        Arc::clone(&self.nodes[number % 2])
    }
}

async fn all<T: 'static>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

const SENDERS: usize = 6;
const OF_EACH: usize = 15;

/// Messages of several senders, accepted by both nodes at once from many tasks.
async fn accept_at_once(house: &House, connection: ConnectionId) {
    let tasks = (0..SENDERS * OF_EACH).map(|number| {
        let node = house.node(number);
        tokio::spawn(async move {
            node.accept(connection, &format!("sender{}@contoso.example", number % SENDERS)).await
        })
    });
    let ids: HashSet<OutboxMessageId> = all(tasks.collect()).await.into_iter().collect();
    assert_eq!(ids.len(), SENDERS * OF_EACH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn two_nodes_claim_side_by_side_each_message_once_and_each_lane_in_order() {
    let house = House::open().await;
    let connection = house.env.new_id();
    accept_at_once(&house, connection).await;
    let store = &house.nodes[0].store;
    let page = Page { limit: 500, offset: 0 };
    let mut accepted = store.outbox(&OutboxFilter::default(), page).await.unwrap();
    accepted.reverse();
    let seen: Arc<Mutex<Vec<(String, OutboxMessageId)>>> = Arc::default();
    let workers = (0..6).map(|number| {
        let (node, seen) = (house.node(number), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let claimed = node.store.claim_outbox(&node.node(), node.after(60), 3).await.unwrap();
                if claimed.is_empty() {
                    let counts = node.store.outbox_counts().await.unwrap();
                    if counts.iter().all(|(state, _)| *state == OutboxState::Sent) {
                        return;
                    }
                    // Others hold the lanes that are left.
                    tokio::task::yield_now().await;
                }
                for claimed in claimed {
                    let sender = claimed.message.envelope.from.as_str().to_owned();
                    seen.lock().unwrap().push((sender, claimed.message.id));
                    node.finish(&claimed, OutboxState::Sent, None).await.unwrap();
                }
            }
        })
    });
    all(workers.collect()).await;
    let lanes = |list: Vec<(String, OutboxMessageId)>| {
        let mut lanes: BTreeMap<String, Vec<OutboxMessageId>> = BTreeMap::new();
        list.into_iter().for_each(|(sender, id)| lanes.entry(sender).or_default().push(id));
        lanes
    };
    let accepted =
        accepted.into_iter().map(|message| (message.envelope.from.as_str().to_owned(), message.id));
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(lanes(seen), lanes(accepted.collect()), "once, and in the order of acceptance");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_key_used_at_both_nodes_at_once_accepts_one_message() {
    let house = House::open().await;
    let connection = house.env.new_id();
    for round in 0..5 {
        let key: IdempotencyKey = format!("order-{round}").parse().unwrap();
        let tasks = (0..6).map(|number| {
            let (node, key) = (house.node(number), key.clone());
            tokio::spawn(async move {
                let mut new = node.new_message(connection, "a@contoso.example").await;
                new.idempotency = Some((key, [7; 32]));
                match node.store.accept(new).await.unwrap() {
                    Acceptance::Accepted(message) => (true, message.id),
                    Acceptance::Repeated(message) => (false, message.id),
                    other => panic!("{other:?}"),
                }
            })
        });
        let answers = all(tasks.collect()).await;
        assert_eq!(answers.iter().filter(|(is_new, _)| *is_new).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|(_, id)| *id == answers[0].1), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn the_finish_of_a_frozen_node_is_refused_after_another_took_over() {
    let house = House::open().await;
    let connection = house.env.new_id();
    let [frozen, awake] = &house.nodes;
    let id = frozen.accept(connection, "a@contoso.example").await;
    let held = frozen.claim().await.remove(0);
    assert!(awake.claim().await.is_empty(), "held under a running lease");
    awake.pass(61);
    let taken_over = awake.claim().await.remove(0);
    assert_eq!((taken_over.message.id, taken_over.previous), (id, OutboxState::Sending));
    let late = frozen.finish(&held, OutboxState::Sent, None).await;
    assert!(matches!(late, Err(StoreError::LeaseLost { .. })), "{late:?}");
    awake.finish(&taken_over, OutboxState::Unknown, None).await.unwrap();
    let message = frozen.store.outbox_message(id).await.unwrap().unwrap();
    assert_eq!(message.state, OutboxState::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_reader_of_the_feed_passes_no_event_over() {
    const EACH: usize = 40;
    let house = House::open().await;
    let writers = (0..6).map(|number| {
        let node = house.node(number);
        tokio::spawn(async move {
            let subject = Subject::OutboxMessage(node.env.new_id());
            for _ in 0..EACH {
                let event = || Event::new(node.env.new_id(), node.env.now(), subject, EventKind::OutboxHeld);
                node.store.append_events(vec![event(), event()]).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let (mut after, mut seen) = (0, HashSet::new());
    while seen.len() < 6 * EACH * 2 {
        let is_over = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let events = house.nodes[0].store.events(&EventFilter { subject: None, after }, 7).await.unwrap();
        for stored in &events {
            assert!(stored.sequence > after);
            after = stored.sequence;
            seen.insert(stored.event.id);
        }
        assert!(!(is_over && events.is_empty()), "{} of {} were seen", seen.len(), 6 * EACH * 2);
    }
    all(writers).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_newer_database_another_key_and_a_server_that_does_not_sync_are_refused() {
    let house = House::open().await;
    house.nodes[0]
        .store
        .save_connection(crate::settings::with_secret(house.env.new_id(), "hidden"))
        .await
        .unwrap();
    let open =
        |folder: &std::path::Path| SqlStore::open_postgres(on_postgres(&house.url, folder, &house.env));
    let elsewhere = tempfile::tempdir().unwrap();
    let without_key = open(elsewhere.path()).await.unwrap_err();
    assert!(matches!(without_key, StoreError::Key { .. }), "{without_key:?}");
    house.server.run(
        "postroom_0",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99990101, 'newer', true, '', 1)",
    );
    let newer = open(house.folder.path()).await.unwrap_err();
    assert!(matches!(newer, StoreError::NewerVersion { found: 99_990_101, .. }), "{newer:?}");
    assert!(!format!("{newer}").contains("data folder"), "{newer}");
    let careless = Postgres::with(&["fsync=off"]);
    let options = on_postgres(&careless.database(), house.folder.path(), &house.env);
    let refused = SqlStore::open_postgres(options).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { what, .. } if what.contains("fsync")), "{refused:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn both_engines_have_the_same_tables_columns_and_indexes() {
    let house = House::open().await;
    let folder = tempfile::tempdir().unwrap();
    drop(SqlStore::open(crate::bench::options(folder.path(), &house.env)).await.unwrap());
    let pool =
        sqlx::SqlitePool::connect(&format!("sqlite://{}", folder.path().join("data/postroom.db").display()))
            .await
            .unwrap();
    // Uniqueness and columns of every index, those of keys included; what is looked through for words is the engine's own.
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT t.name || '.' || c.name || ' ' || CASE c.type WHEN 'INTEGER' THEN 'bigint' WHEN 'BLOB' THEN 'bytea'
                    ELSE 'text' END || CASE WHEN c.\"notnull\" OR c.pk THEN ' not null' ELSE '' END
         FROM sqlite_schema t, pragma_table_xinfo(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE 'inbox!_search%' ESCAPE '!'
             AND t.name <> '_sqlx_migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let indexes: Vec<String> = sqlx::query_scalar(
        "SELECT t.name || ' ' || CASE WHEN i.\"unique\" THEN 'unique ' ELSE '' END
                    || (SELECT group_concat(x.name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno) x)
         FROM sqlite_schema t, pragma_index_list(t.name) i
         WHERE t.type = 'table' AND t.name NOT LIKE 'inbox!_search%' ESCAPE '!' AND t.name <> '_sqlx_migrations'
         UNION ALL
         SELECT t.name || ' unique sequence' FROM sqlite_schema t, pragma_table_info(t.name) c
         WHERE c.name = 'sequence' AND c.pk",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let on_postgres = |statement: &str| {
        let shown = house.server.run("postroom_0", statement);
        shown.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let their_columns = on_postgres(
        "SELECT table_name || '.' || column_name || ' ' || data_type
                || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END
         FROM information_schema.columns WHERE table_schema = 'public'
             AND table_name NOT IN ('_sqlx_migrations', 'inbox_search')",
    );
    let their_indexes = on_postgres(
        "SELECT t.relname || ' ' || CASE WHEN i.indisunique THEN 'unique ' ELSE '' END
                || string_agg(a.attname, ',' ORDER BY k.place)
         FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace,
              unnest(i.indkey::INT[]) WITH ORDINALITY AS k (number, place), pg_attribute a
         WHERE a.attrelid = t.oid AND a.attnum = k.number AND n.nspname = 'public'
             AND t.relname NOT IN ('_sqlx_migrations', 'inbox_search')
         GROUP BY i.indexrelid, t.relname, i.indisunique",
    );
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list.join("\n")
    };
    assert_eq!(sorted(their_columns), sorted(columns));
    assert_eq!(sorted(their_indexes), sorted(indexes));
}
