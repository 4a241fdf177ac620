//! A backup of a folder that is in use, and its restore.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use postroom_model::event::Subject;
use postroom_model::outbox::{Envelope, OutboxState};
use postroom_model::{Env, OutboxMessageId};
use postroom_store::backup::{BackupRequest, Manifest, RestoreRequest, back_up, restore};
use postroom_store::{
    Acceptance, BlobStore as _, EventFilter, EventStore as _, KeyFile, NewOutboxMessage, NodeId,
    OutboxStore as _, SqlStore, SqliteOptions, StoreError,
};

async fn open(data: &Path, key: &Path, env: &Env) -> Result<SqlStore, StoreError> {
    let (folder, key_file) = (data.to_owned(), KeyFile(key.to_owned()));
    SqlStore::open(SqliteOptions { folder, key_file, env: env.clone() }).await
}

fn request(data: &Path, to: &Path) -> BackupRequest {
    BackupRequest {
        data: data.to_owned(),
        with_database: true,
        key_file: None,
        to: to.to_owned(),
        version: "test".into(),
    }
}

async fn bring_back(from: &Path, data: &Path, env: &Env, as_it_was: bool) -> Result<Manifest, StoreError> {
    let key_file = data.join("postroom.key");
    let (from, data) = (from.to_owned(), data.to_owned());
    restore(RestoreRequest { from, data, key_file, as_it_was }, env).await
}

/// Accepts a message whose raw content is `content`.
async fn accept(store: &SqlStore, env: &Env, content: Bytes) -> OutboxMessageId {
    let raw = store.put_blob(content).await.unwrap();
    let message = NewOutboxMessage {
        id: env.new_id(),
        connection: env.new_id(),
        envelope: Envelope {
            from: "orders@contoso.example".parse().unwrap(),
            to: vec!["ann@fabrikam.example".parse().unwrap()],
        },
        message_id: format!("<{}@contoso.example>", env.new_uuid()),
        subject: "Order 4711".into(),
        raw,
        submitted_by: "key:erp".into(),
        idempotency: None,
    };
    match store.accept(message).await.unwrap() {
        Acceptance::Accepted(message) => message.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_every_message_accepted_before_it_began_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(5);
    let (data, key) = (folder.path().join("data"), folder.path().join("postroom.key"));
    let store = Arc::new(open(&data, &key, &env).await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4u32)
        .map(|writer| {
            let (store, env, stop) = (store.clone(), env.clone(), stop.clone());
            let accepted = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
            let known = accepted.clone();
            let task = tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let content =
                        Bytes::from(format!("Subject: {writer} {number}\r\n\r\n{}", "x".repeat(9_000)));
                    let id = accept(&store, &env, content.clone()).await;
                    // Claims move and change rows meanwhile.
                    store.claim_outbox(&NodeId::new(env.new_uuid()), env.now(), 1).await.unwrap();
                    accepted.lock().unwrap().insert(id, content);
                }
            });
            (task, known)
        })
        .collect();
    while writers.iter().any(|(_, known)| known.lock().unwrap().len() < 5) {
        tokio::task::yield_now().await;
    }
    let before: BTreeMap<_, _> =
        writers.iter().flat_map(|(_, known)| known.lock().unwrap().clone()).collect();
    let to = folder.path().join("backup");
    let manifest = back_up(request(&data, &to), &env).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    for (task, _) in writers {
        task.await.unwrap();
    }
    assert!(manifest.damaged.is_empty() && manifest.rows["outbox"] >= before.len() as u64, "{manifest:?}");
    drop(store);
    std::fs::remove_dir_all(&data).unwrap();

    let elsewhere = folder.path().join("elsewhere");
    assert_eq!(bring_back(&to, &elsewhere, &env, false).await.unwrap(), manifest);
    let store = open(&elsewhere, &key, &env).await.unwrap();
    for (id, content) in before {
        assert_eq!(store.outbox_raw(id).await.unwrap(), content);
        let message = store.outbox_message(id).await.unwrap().unwrap();
        assert_eq!(message.state, OutboxState::Unknown, "it is looked up before anything is sent");
        let filter = EventFilter { subject: Some(Subject::OutboxMessage(id)), after: 0 };
        let told = store.events(&filter, 100).await.unwrap();
        let words = told.last().and_then(|stored| stored.event.words.clone()).unwrap();
        assert!(words.contains("may have been sent since"), "{words}");
    }
    assert_eq!(store.end_all_leases().await.unwrap(), 0, "no lease is held");
}

/// Every file of a folder with its path.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_backup_with_one_changed_cut_or_missing_file_is_refused_and_nothing_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (env, _) = Env::for_test(6);
    let (data, key) = (folder.path().join("data"), folder.path().join("postroom.key"));
    let store = open(&data, &key, &env).await.unwrap();
    let id = accept(&store, &env, Bytes::from_static(b"Subject: one\r\n\r\none")).await;
    accept(&store, &env, Bytes::from_static(b"Subject: two\r\n\r\ntwo")).await;
    let to = folder.path().join("backup");
    back_up(request(&data, &to), &env).await.unwrap();
    let all = files(&to);
    assert_eq!(all.len(), 5, "database, list, manifest, two raw messages and no key: {all:?}");
    for (number, path) in all.iter().enumerate() {
        for (harm, name) in [|text: &mut Vec<u8>| text[8] ^= 1, |text: &mut Vec<u8>| text.truncate(9)]
            .into_iter()
            .zip(["changed", "cut"])
        {
            let sound = std::fs::read(path).unwrap();
            let mut harmed = sound.clone();
            harm(&mut harmed);
            // Not through the link that the backup shares with the installation.
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, harmed).unwrap();
            let target = folder.path().join(format!("{name}-{number}"));
            bring_back(&to, &target, &env, false).await.unwrap_err();
            assert!(!target.join("postroom.db").exists(), "{name} {}", path.display());
            std::fs::write(path, sound).unwrap();
        }
        let sound = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        bring_back(&to, &folder.path().join(format!("missing-{number}")), &env, false).await.unwrap_err();
        std::fs::write(path, sound).unwrap();
    }
    // Whole again it is restored, as it was when that is asked for; and never over data.
    let target = folder.path().join("target");
    bring_back(&to, &target, &env, true).await.unwrap();
    assert!(matches!(bring_back(&to, &target, &env, true).await, Err(StoreError::Refused { .. })));
    assert!(matches!(back_up(request(&data, &to), &env).await, Err(StoreError::Refused { .. })));
    let restored = open(&target, &key, &env).await.unwrap();
    assert_eq!(restored.outbox_message(id).await.unwrap().unwrap().state, OutboxState::Accepted);
}
