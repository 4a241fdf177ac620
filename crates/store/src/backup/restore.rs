//! Restoring a backup: every hash is compared before anything is in its place.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use postroom_model::event::{EventKind, Subject};
use postroom_model::outbox::OutboxState;
use postroom_model::{Env, OutboxMessageId, Timestamp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::files::{copy, is_empty, is_name};
use super::{DATABASE, FORM, KEY, LIST, MANIFEST, Manifest, RESTORING, database_failed, make, on_disk};
use crate::StoreError;
use crate::sql::{make_private_folder, sync_folder};

/// A manifest is a page of text.
const MAX_MANIFEST: u64 = 16 * 1024 * 1024;
const READ: &str = "read the backup";

/// What is restored, and where to.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The backup.
    pub from: PathBuf,
    /// The data folder; must not be there, or be empty.
    pub data: PathBuf,
    /// Where the key belongs; written when the backup has it and there is none.
    pub key_file: PathBuf,
    /// Whether what waited is left as it was. Only right when the Postroom that was backed up has sent nothing since; else
    /// what waits is looked up first.
    pub as_it_was: bool,
}

/// Restores a backup. On return everything is verified, in its place and synced; no lease is held.
///
/// # Errors
/// [`StoreError::Refused`] when the data folder is not empty or there is no backup; [`StoreError::Contradiction`] when
/// anything is not what the manifest says; [`StoreError::Full`], [`StoreError::File`], [`StoreError::Database`]. Then the
/// data folder is not opened by anything until its folder `restoring` is removed.
pub async fn restore(request: RestoreRequest, env: &Env) -> Result<Manifest, StoreError> {
    let RestoreRequest { from, data, key_file, as_it_was } = request;
    let (source, folder) = (from.clone(), data.clone());
    let manifest = on_disk(data.clone(), move || read_and_check(&source, &folder)).await?;
    let built = build(&from, &data, &manifest, as_it_was, env).await;
    if built.is_err() {
        // What is left of it, should this fail too, keeps the folder from being opened.
        let _ = fs::remove_dir_all(data.join(RESTORING));
    }
    built?;
    let with_key = manifest.with_key;
    on_disk(data.clone(), move || put_in_place(&from, &data, &key_file, with_key)).await?;
    Ok(manifest)
}

/// Builds the folder `restoring`, verified.
async fn build(
    from: &Path,
    data: &Path,
    manifest: &Manifest,
    as_it_was: bool,
    env: &Env,
) -> Result<(), StoreError> {
    let (source, folder, expected) = (from.to_owned(), data.to_owned(), manifest.clone());
    on_disk(data.to_owned(), move || copy_and_compare(&source, &folder, &expected)).await?;
    if manifest.database.is_some() {
        settle(&data.join(RESTORING).join(DATABASE), manifest, as_it_was, env).await?;
    }
    Ok(())
}

fn contradiction(row: impl Into<String>, what: impl Into<String>) -> StoreError {
    StoreError::Contradiction { table: "backup", row: row.into(), what: what.into() }
}

fn read_manifest(from: &Path) -> Result<Manifest, StoreError> {
    let path = from.join(MANIFEST);
    let size = match fs::metadata(&path) {
        Ok(known) => known.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::Refused {
                what: format!("{} is no backup: it has no {MANIFEST}", from.display()),
                hint: "a backup that was cut off has none; name one that was finished",
            });
        }
        Err(error) => return Err(StoreError::of_file("read", &path, error)),
    };
    if size > MAX_MANIFEST {
        return Err(contradiction(MANIFEST, format!("it has {size} bytes")));
    }
    let text = fs::read(&path).map_err(|source| StoreError::of_file("read", &path, source))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| contradiction(MANIFEST, error.to_string()))?;
    if manifest.form != FORM {
        return Err(contradiction(
            MANIFEST,
            format!("its form is {}, and this version reads {FORM}", manifest.form),
        ));
    }
    Ok(manifest)
}

fn read_and_check(from: &Path, data: &Path) -> Result<Manifest, StoreError> {
    let manifest = read_manifest(from)?;
    if !is_empty(data)? {
        return Err(StoreError::Refused {
            what: format!("the data folder {} is not empty", data.display()),
            hint: "name another one with --data, or move the old one away: a restore never writes over data",
        });
    }
    Ok(manifest)
}

/// Copies everything into the folder `restoring` and compares it with what the manifest says.
fn copy_and_compare(from: &Path, data: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let new = data.join(RESTORING);
    make_private_folder(&new).map_err(|source| StoreError::of_file("make", &new, source))?;
    if let Some(expected) = &manifest.database {
        let copied = copy(&from.join(DATABASE), &new.join(DATABASE))?;
        if copied != *expected {
            return Err(contradiction(DATABASE, "its content is not what the manifest says"));
        }
    }
    let path = from.join(LIST);
    let list = fs::read(&path).map_err(|source| StoreError::of_file("read", &path, source))?;
    let hash: String = digest(&SHA256, &list).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    if hash != manifest.list_sha256 {
        return Err(contradiction(LIST, "its content is not what the manifest says"));
    }
    let list = String::from_utf8(list).map_err(|_| contradiction(LIST, "it is no text"))?;
    copy_blobs(from, &new, &list, manifest)
}

fn copy_blobs(from: &Path, new: &Path, list: &str, manifest: &Manifest) -> Result<(), StoreError> {
    let (mut count, mut bytes, mut shelves) = (0, 0, std::collections::BTreeSet::new());
    for line in list.lines() {
        let (hash, path) =
            line.split_once("  ").ok_or_else(|| contradiction(LIST, "a line cannot be read"))?;
        // Nothing of the path is taken over but the name, which is a name and nothing else.
        let name = path.rsplit('/').next().filter(|name| is_name(name));
        let name = name.ok_or_else(|| contradiction(LIST, format!("{path} is no raw message")))?;
        let shelf = new.join("blobs").join(&name[..2]);
        if shelves.insert(shelf.clone()) {
            make_private_folder(&shelf).map_err(|source| StoreError::of_file("make", &shelf, source))?;
        }
        let copied = copy(&from.join("blobs").join(&name[..2]).join(name), &shelf.join(name))?;
        if copied.sha256 != hash {
            return Err(contradiction(name, "its content is not what the list says"));
        }
        count += 1;
        bytes += copied.size;
    }
    if (count, bytes) != (manifest.blobs, manifest.blob_bytes) {
        return Err(contradiction(LIST, "it has not as many raw messages as the manifest says"));
    }
    let blobs = new.join("blobs");
    make_private_folder(&blobs).map_err(|source| StoreError::of_file("make", &blobs, source))?;
    shelves.iter().chain([&blobs]).try_for_each(|folder| sync_folder(folder))
}

/// Checks the database, ends every lease, and makes what waited unknown.
async fn settle(path: &Path, manifest: &Manifest, as_it_was: bool, env: &Env) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).foreign_keys(true);
    let mut db = options.connect().await.map_err(database_failed(READ))?;
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut db)
        .await
        .map_err(database_failed(READ))?;
    if sound != "ok" {
        return Err(contradiction(DATABASE, sound));
    }
    if make::count(&mut db).await.map_err(database_failed(READ))? != manifest.rows {
        return Err(contradiction(DATABASE, "it has not as many rows as the manifest says"));
    }
    write_ends(&mut db, manifest.begun_at, as_it_was, env)
        .await
        .map_err(database_failed("settle what waits"))?;
    db.close().await.map_err(database_failed(READ))?;
    Ok(())
}

async fn write_ends(
    db: &mut SqliteConnection,
    backed_up_at: Timestamp,
    as_it_was: bool,
    env: &Env,
) -> Result<(), sqlx::Error> {
    let now = env.now().as_microsecond();
    let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
    // The fence grows, so that no earlier holder can finish.
    sqlx::query(
        "UPDATE mailboxes SET lease_owner = NULL, lease_until = NULL, fence = fence + 1 WHERE lease_owner IS NOT NULL",
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "UPDATE outbox SET lease_owner = NULL, lease_until = $1, fence = fence + 1
         WHERE state = 'sending' AND lease_owner IS NOT NULL",
    )
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    if !as_it_was {
        let words = format!("restored from a backup of {backed_up_at}: it may have been sent since");
        let ids: Vec<Vec<u8>> = sqlx::query_scalar(
            "UPDATE outbox SET state = $1, last_words = $3, lease_owner = NULL, lease_until = NULL,
                 next_attempt_at = CASE WHEN next_attempt_at > $2 THEN next_attempt_at ELSE $2 END
             WHERE state IN ('accepted', 'scheduled', 'sending', 'deferred', 'unknown') RETURNING id",
        )
        .bind(OutboxState::Unknown.as_str())
        .bind(now)
        .bind(&words)
        .fetch_all(&mut *transaction)
        .await?;
        for id in ids {
            sqlx::query(
                "INSERT INTO events (id, at, subject_kind, subject_id, kind, words) VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(env.new_uuid().as_bytes().to_vec())
            .bind(now)
            .bind(Subject::OutboxMessage(OutboxMessageId::from(uuid::Uuid::nil())).kind())
            .bind(id)
            .bind(EventKind::OutboxUnknown.as_str())
            .bind(&words)
            .execute(&mut *transaction)
            .await?;
        }
    }
    transaction.commit().await
}

/// Moves what was verified to where it belongs, the database last.
fn put_in_place(from: &Path, data: &Path, key_file: &Path, with_key: bool) -> Result<(), StoreError> {
    let new = data.join(RESTORING);
    let moved = |name: &str| -> Result<(), StoreError> {
        let (source, target) = (new.join(name), data.join(name));
        if source.exists() {
            fs::File::open(&source)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&source, &target))
                .map_err(|error| StoreError::of_file("write", &target, error))?;
        }
        Ok(())
    };
    if with_key && !key_file.exists() {
        copy(&from.join(KEY), key_file)?;
    }
    moved("blobs")?;
    moved(DATABASE)?;
    sync_folder(data)?;
    fs::remove_dir_all(&new).map_err(|source| StoreError::of_file("remove", &new, source))?;
    sync_folder(data)
}
