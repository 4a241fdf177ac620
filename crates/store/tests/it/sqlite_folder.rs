//! What the folder of the SQLite store promises beyond the traits: secrets, keys, versions, several processes.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use postroom_model::connection::{ConnectionKind, ConnectionSettings};
use postroom_model::event::Subject;
use postroom_model::inbox::Summary;
use postroom_model::outbox::OutboxState;
use postroom_model::{ConnectionId, Env, ExposeSecret};
use postroom_store::{
    Acceptance, BlobStore, ConnectionStore, CredentialStore, InboxFilter, NewOutboxMessage, OutboxFilter,
    Page, SaveConnection, SqlStore, StoreError,
};
use tempfile::TempDir;

use crate::bench::{Bench, options};
use crate::settings::with_secret;

const SECRET: &str = "Zq8~very.secret-value_0123456789";

async fn open(folder: &TempDir, env: &Env) -> Result<SqlStore, StoreError> {
    SqlStore::open(options(folder.path(), env)).await
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn holds(bytes: &[u8], wanted: &str) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes())
}

/// A folder with one sealed secret in it, closed again.
async fn with_one_secret() -> (TempDir, Env, ConnectionId) {
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(1);
    let store = open(&folder, &env).await.unwrap();
    let id = env.new_id();
    store.save_connection(with_secret(id, SECRET)).await.unwrap();
    (folder, env, id)
}

#[tokio::test]
async fn no_secret_is_readable_in_any_file_or_printed() {
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(1);
    let store = open(&folder, &env).await.unwrap();
    let save = with_secret(env.new_id(), SECRET);
    let (id, printed) = (save.id, format!("{save:?}"));
    store.save_connection(save).await.unwrap();
    store.save_connection(with_secret(id, &format!("{SECRET} the second"))).await.unwrap();
    store.put_blob(Bytes::from_static(b"a message")).await.unwrap();
    let found = store.credential_secret(id).await.unwrap().unwrap();
    assert!(found.1.expose_secret().starts_with(SECRET));
    for printed in [printed, format!("{store:?}"), format!("{found:?}")] {
        assert!(!printed.contains(SECRET), "{printed}");
    }
    let look = || {
        let all = files(folder.path());
        assert!(all.len() >= 4, "{all:?}");
        for file in all {
            assert!(!holds(&fs::read(&file).unwrap(), SECRET), "{}", file.display());
        }
    };
    look(); // while the write-ahead log is there
    let wal = fs::read(folder.path().join("data/postroom.db-wal")).unwrap();
    assert!(holds(&wal, "5a1b2c3d-0000-4000-8000-00000000c001"), "what is no secret is found this way");
    drop(store);
    look();
}

#[tokio::test]
async fn a_store_is_opened_again_with_everything_in_it() {
    let (folder, env, id) = with_one_secret().await;
    let again = open(&folder, &env).await.unwrap();
    assert_eq!(again.credential_secret(id).await.unwrap().unwrap().1.expose_secret(), SECRET);
}

#[cfg(unix)]
#[tokio::test]
async fn folder_and_key_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, env, _) = with_one_secret().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("data")), 0o700);
    let key = folder.path().join("postroom.key");
    assert_eq!(mode(&key), 0o600);
    for loose in [0o640, 0o604, 0o666] {
        fs::set_permissions(&key, fs::Permissions::from_mode(loose)).unwrap();
        let error = open(&folder, &env).await.unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains("postroom.key"), "{error}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    open(&folder, &env).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn every_file_is_for_its_owner_only_and_what_was_open_to_others_is_closed() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(1);
    let data = folder.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    fs::create_dir(&data).unwrap();
    set(&data, 0o755);
    let store = open(&folder, &env).await.unwrap();
    store.save_connection(with_secret(env.new_id(), SECRET)).await.unwrap();
    store.put_blob(Bytes::from_static(b"a message")).await.unwrap();
    assert_eq!(mode(&data), 0o700);
    let all = files(&data);
    for name in ["postroom.db", "postroom.db-wal", "postroom.db-shm", "postroom.lock"] {
        assert!(all.contains(&data.join(name)), "{name} is there");
    }
    for file in &all {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    drop(store);
    for name in ["postroom.db", "postroom.lock"] {
        set(&data.join(name), 0o644);
    }
    let store = open(&folder, &env).await.unwrap();
    store.save_connection(with_secret(env.new_id(), SECRET)).await.unwrap();
    for file in files(&data) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_missing_key_is_made_only_while_nothing_is_sealed() {
    let (folder, env, id) = with_one_secret().await;
    let key = folder.path().join("postroom.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = open(&folder, &env).await.unwrap_err();
    assert!(matches!(error, StoreError::Key { .. }));
    assert!(
        error.to_string().contains("is missing") && error.to_string().contains("postroom.key"),
        "{error}"
    );
    assert!(!key.exists(), "no new key was made");
    fs::write(&key, kept).unwrap();
    private(&key);
    let store = open(&folder, &env).await.unwrap();
    store.remove_connection(id, "cli").await.unwrap();
    drop(store);
    fs::remove_file(&key).unwrap();
    open(&folder, &env).await.unwrap();
    assert!(key.exists());
}

#[cfg(unix)]
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn private(_: &Path) {}

#[tokio::test]
async fn a_wrong_or_broken_key_is_found_at_the_start() {
    let (folder, env, _) = with_one_secret().await;
    let key = folder.path().join("postroom.key");
    let other = format!("postroom-key-v1\n{}\n", "0f".repeat(32));
    for (content, said) in [
        (other.as_str(), "is not the key that the stored secrets were sealed with"),
        ("", "holds no key"),
        ("postroom-key-v1\n", "holds no key"),
        ("-----BEGIN PRIVATE KEY-----\n", "holds no key"),
    ] {
        fs::write(&key, content).unwrap();
        private(&key);
        let error = open(&folder, &env).await.unwrap_err();
        assert!(matches!(error, StoreError::Key { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(!error.to_string().contains("0f0f"), "the key is not printed");
    }
    fs::write(&key, vec![0xff; 100_000]).unwrap();
    private(&key);
    assert!(matches!(open(&folder, &env).await, Err(StoreError::Key { .. })));
}

#[tokio::test]
async fn a_secret_is_not_sealed_with_a_key_that_was_replaced_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(1);
    let old = open(&folder, &env).await.unwrap();
    fs::remove_file(folder.path().join("postroom.key")).unwrap();
    let (other_env, _) = Env::for_test(2);
    let new = open(&folder, &other_env).await.unwrap();
    let id = env.new_id();
    let refused = old.save_connection(with_secret(id, SECRET)).await;
    assert!(matches!(refused, Err(StoreError::Key { .. })));
    assert_eq!(new.connection(id).await.unwrap(), None);
    new.save_connection(with_secret(id, SECRET)).await.unwrap();
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_left_as_it_is() {
    let (folder, env, _) = with_one_secret().await;
    let database = folder.path().join("data/postroom.db");
    let url = format!("sqlite://{}", database.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', 1, x'00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let before = fs::read(&database).unwrap();
    let error = open(&folder, &env).await.unwrap_err();
    let StoreError::NewerVersion { found, known, .. } = &error else { panic!("{error}") };
    assert_eq!((*found, *known), (9999, 1));
    assert!(error.hint().is_some());
    assert_eq!(fs::read(&database).unwrap(), before);
}

#[tokio::test]
async fn several_stores_open_the_same_new_folder_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let environments: Vec<_> = (1..5).map(|seed| Env::for_test(seed).0).collect();
    let opening = environments.iter().map(|env| {
        let options = options(folder.path(), env);
        tokio::spawn(SqlStore::open(options))
    });
    let opening: Vec<_> = opening.collect();
    let mut stores = vec![];
    for (opened, env) in opening.into_iter().zip(environments) {
        let store = opened.await.unwrap().unwrap();
        let (_, clock) = Env::for_test(0);
        stores.push(Bench::around(store, env, clock));
    }
    let connection = stores[0].connection().await;
    let mut working = vec![];
    for bench in stores {
        working.push(tokio::spawn(async move {
            let mut outcomes = vec![];
            for order in 0..10 {
                let new = bench.new_message(connection, &format!("m{order}@contoso.example")).await;
                let key = format!("order {order}").parse().unwrap();
                let new = NewOutboxMessage { idempotency: Some((key, [order; 32])), ..new };
                outcomes.push(bench.store.accept(new).await.unwrap());
            }
            let claimed = bench.claim().await;
            (bench, outcomes, claimed)
        }));
    }
    let (mut accepted, mut claimed) = (0, vec![]);
    for working in working {
        let (bench, outcomes, mine) = working.await.unwrap();
        accepted += outcomes.iter().filter(|outcome| matches!(outcome, Acceptance::Accepted(_))).count();
        for one in &mine {
            bench.finish(one, OutboxState::Sent, None).await.unwrap();
        }
        claimed.extend(mine.into_iter().map(|one| one.message.id));
    }
    assert_eq!(accepted, 10, "each key was accepted by one of the stores");
    claimed.sort();
    let all = claimed.len();
    claimed.dedup();
    assert_eq!((claimed.len(), all), (10, 10), "each message was claimed once");
}

/// Not a test of its own: the process that `what_a_killed_process_was_promised_is_there` starts and that dies.
#[tokio::test]
#[ignore = "run by another test"]
async fn child_that_accepts_and_dies() {
    let Ok(folder) = std::env::var("POSTROOM_TEST_FOLDER") else { return };
    let (env, clock) = Env::for_test(99);
    let store = SqlStore::open(options(Path::new(&folder), &env)).await.unwrap();
    let bench = Bench::around(store, env, clock);
    let id = bench.accept(bench.env.new_id(), "sales@contoso.example").await;
    assert_eq!(bench.claim().await.len(), 1);
    fs::write(Path::new(&folder).join("accepted"), id.to_string()).unwrap();
    std::process::abort();
}

#[tokio::test]
async fn what_a_killed_process_was_promised_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (env, clock) = Env::for_test(1);
    let bench = Bench::around(open(&folder, &env).await.unwrap(), env, clock);
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "sqlite_folder::child_that_accepts_and_dies", "--ignored"]);
    child.env("POSTROOM_TEST_FOLDER", folder.path());
    let output = child.output().unwrap();
    assert!(!output.status.success(), "it died");
    let id = fs::read_to_string(folder.path().join("accepted")).unwrap().parse().unwrap();
    assert_eq!(bench.state(id).await, OutboxState::Sending, "seen by the process that was open all along");
    assert!(!bench.store.outbox_raw(id).await.unwrap().is_empty());
    assert!(bench.claim().await.is_empty(), "its lease still runs");
    bench.pass(60);
    assert_eq!(bench.claim().await[0].previous, OutboxState::Sending);
}

#[tokio::test]
async fn a_cut_or_changed_blob_is_refused_and_mended_by_the_next_writing() {
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(1);
    let store = open(&folder, &env).await.unwrap();
    let content = Bytes::from_static(b"a message of some length");
    let blob = store.put_blob(content.clone()).await.unwrap();
    let file = folder.path().join("data/blobs").join(&blob.sha256[..2]).join(&blob.sha256);
    assert_eq!(fs::read(&file).unwrap(), content);
    fs::write(&file, b"A message of some length").unwrap();
    let error = store.blob(&blob).await.unwrap_err();
    assert!(matches!(error, StoreError::Contradiction { table: "blobs", .. }), "{error}");
    fs::write(&file, b"a mess").unwrap();
    assert!(matches!(store.blob(&blob).await, Err(StoreError::Contradiction { .. })));
    store.put_blob(content.clone()).await.unwrap();
    assert_eq!(store.blob(&blob).await.unwrap(), content);
    assert_eq!(fs::read_dir(folder.path().join("data/blobs/new")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_content_that_is_not_finished_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(1);
    let store = open(&folder, &env).await.unwrap();
    let blobs = folder.path().join("data/blobs");
    let mut writer = store.write_blob().await.unwrap();
    writer.write(vec![b'x'; 1_000_000].into()).await.unwrap();
    let written: u64 = files(&blobs).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!(written, 1_000_000, "it does not wait in memory");
    drop(writer);
    assert_eq!(files(&blobs), Vec::<PathBuf>::new());
    // Nor does a content that was there already.
    for _ in 0..2 {
        let mut writer = store.write_blob().await.unwrap();
        writer.write(Bytes::from_static(b"a message")).await.unwrap();
        writer.finish().await.unwrap();
        assert_eq!(files(&blobs).len(), 1);
    }
}

/// Not a test of its own: the process that the next one starts and that dies.
#[tokio::test]
#[ignore = "run by another test"]
async fn child_that_dies_while_it_writes() {
    let Ok(folder) = std::env::var("POSTROOM_TEST_FOLDER") else { return };
    let (env, _) = Env::for_test(1);
    let store = SqlStore::open(options(Path::new(&folder), &env)).await.unwrap();
    let mut writer = store.write_blob().await.unwrap();
    writer.write(vec![b'x'; 1_000_000].into()).await.unwrap();
    std::process::abort();
}

#[tokio::test]
async fn what_a_killed_process_was_writing_is_removed_a_day_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "sqlite_folder::child_that_dies_while_it_writes", "--ignored"]);
    child.env("POSTROOM_TEST_FOLDER", folder.path());
    assert!(!child.output().unwrap().status.success(), "it died");
    let left = files(&folder.path().join("data/blobs"));
    assert_eq!(left.len(), 1);
    let (env, _) = Env::for_test(1);
    let long_ago = std::time::SystemTime::from(env.now()) - std::time::Duration::from_secs(25 * 3_600);
    fs::OpenOptions::new().write(true).open(&left[0]).unwrap().set_modified(long_ago).unwrap();
    drop(open(&folder, &env).await.unwrap());
    assert_eq!(files(&folder.path().join("data/blobs")), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn only_old_leftovers_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(1);
    drop(open(&folder, &env).await.unwrap());
    let new = folder.path().join("data/blobs/new");
    let now = std::time::SystemTime::from(env.now());
    for (name, hours) in [("young", 23), ("old", 25)] {
        let file = fs::File::create(new.join(name)).unwrap();
        file.set_modified(now - std::time::Duration::from_secs(hours * 3_600)).unwrap();
    }
    open(&folder, &env).await.unwrap();
    assert!(new.join("young").exists());
    assert!(!new.join("old").exists());
}

#[tokio::test]
async fn edited_rows_are_told_with_table_and_row() {
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(1);
    let store = open(&folder, &env).await.unwrap();
    let id: ConnectionId = env.new_id();
    let settings = ConnectionSettings::new(ConnectionKind::Smtp);
    let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
    store.save_connection(save).await.unwrap();
    let url = format!("sqlite://{}", folder.path().join("data/postroom.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query("UPDATE connections SET settings = '{}'").execute(&pool).await.unwrap();
    let error = store.connection(id).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("connections row {id} contradicts itself: settings: ")), "{error}");
    let refused = sqlx::query("DELETE FROM events").execute(&pool).await.unwrap_err().to_string();
    assert!(refused.contains("events are append-only"), "{refused}");
}

/// A bench on a folder, and the same database for a person who edits it.
async fn edited(folder: &TempDir) -> (Bench, sqlx::SqlitePool) {
    let (env, clock) = Env::for_test(1);
    let bench = Bench::around(open(folder, &env).await.unwrap(), env, clock);
    let url = format!("sqlite://{}", folder.path().join("data/postroom.db").display());
    (bench, sqlx::SqlitePool::connect(&url).await.unwrap())
}

#[tokio::test]
async fn an_outbox_row_that_cannot_be_read_is_held_and_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, pool) = edited(&folder).await;
    let connection = bench.connection().await;
    let broken = bench.accept(connection, "sales@contoso.example").await;
    let behind = bench.accept(connection, "sales@contoso.example").await;
    let other = bench.accept(connection, "orders@contoso.example").await;
    for sql in [
        "UPDATE outbox SET envelope = '{}' WHERE sequence = 1",
        "UPDATE outbox SET raw_size = -1 WHERE sequence = 3",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    assert!(bench.claim().await.is_empty(), "the second of the lane waited for the first");
    let claimed: Vec<_> = bench.claim().await.into_iter().map(|claimed| claimed.message.id).collect();
    assert_eq!(claimed, [behind]);
    for id in [broken, other] {
        let told = bench.timeline(Subject::OutboxMessage(id)).await;
        assert_eq!(told, ["outbox.accepted", "outbox.held"]);
    }
    let words: String =
        sqlx::query_scalar("SELECT last_words FROM outbox WHERE sequence = 1 AND state = 'held'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(words.contains("cannot be read") && words.contains("envelope"), "{words}");
    let listed = bench.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap();
    assert_eq!(listed.into_iter().map(|message| message.id).collect::<Vec<_>>(), [behind]);
    sqlx::query("UPDATE outbox SET state = 'lost' WHERE sequence = 3").execute(&pool).await.unwrap();
    assert_eq!(bench.store.outbox_counts().await.unwrap().len(), 2, "held and sending");
    bench.store.next_outbox_due().await.unwrap();
}

#[tokio::test]
async fn an_inbox_row_that_cannot_be_read_is_set_apart_and_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, pool) = edited(&folder).await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    bench.collect(mailbox, bench.mail("1", "one").await).await;
    bench.collect(mailbox, bench.mail("2", "two").await).await;
    let broken = bench.store.unprocessed(10).await.unwrap()[0].id;
    sqlx::query("UPDATE inbox SET raw_size = -1 WHERE sequence = 1").execute(&pool).await.unwrap();
    let two = bench.process_last(Summary { subject: "two".into(), ..Summary::default() }, "two").await;
    assert!(bench.store.unprocessed(10).await.unwrap().is_empty());
    let told = bench.timeline(Subject::InboxMessage(broken)).await;
    assert_eq!(told, ["inbox.stored", "inbox.quarantined"]);
    let list = async || {
        let page = Page::default();
        let listed = bench.store.inbox(&bench.somebody(), &InboxFilter::default(), page).await.unwrap();
        listed.into_iter().map(|message| message.id).collect::<Vec<_>>()
    };
    assert_eq!(list().await, [two]);
    bench.received(mailbox, "three").await;
    sqlx::query("UPDATE inbox SET summary = '{' WHERE sequence = 2").execute(&pool).await.unwrap();
    assert_eq!(list().await.len(), 1);
}

#[tokio::test]
async fn a_mailbox_is_found_by_its_address_whatever_another_row_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, pool) = edited(&folder).await;
    let (one, two) =
        (bench.mailbox("Orders@contoso.example").await, bench.mailbox("orders@contoso.example").await);
    bench.mailbox("sales@contoso.example").await;
    sqlx::query("UPDATE mailboxes SET state = 'lost' WHERE sequence = 3").execute(&pool).await.unwrap();
    let found = async |address: &str| {
        let found = bench.store.mailboxes_by_address(&address.parse().unwrap()).await.unwrap();
        found.into_iter().map(|mailbox| mailbox.id).collect::<Vec<_>>()
    };
    assert_eq!(found("ORDERS@contoso.example").await, [one, two], "one on each connection");
    assert!(found("nobody@contoso.example").await.is_empty());
}
