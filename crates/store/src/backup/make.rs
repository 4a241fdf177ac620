//! Making a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::TryStreamExt as _;
use postroom_model::Env;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::files::{copy, is_empty, is_name, link_or_copy, measure, write};
use super::{
    CopiedFile, DATABASE, FORM, KEY, LIST, MANIFEST, Manifest, UpkeepLock, database_failed, on_disk,
};
use crate::StoreError;
use crate::sql::{make_private_folder, sync_folder};

/// The tables whose rows are counted.
const COUNTED: [&str; 7] = ["connections", "credentials", "mailboxes", "outbox", "inbox", "events", "users"];

/// What is backed up, and where to.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// The data folder.
    pub data: PathBuf,
    /// Whether the database is in it (SQLite); PostgreSQL's is backed up with its own tools.
    pub with_database: bool,
    /// The key file, when it is to be part of the backup.
    pub key_file: Option<PathBuf>,
    /// The folder to make; must not be there, or be empty.
    pub to: PathBuf,
    /// Version of the Postroom that does it.
    pub version: String,
}

/// Backs a data folder up, while it is in use. Whatever was committed before the call is in it.
///
/// Nothing of a backup that fails is taken away; without its manifest it is none.
///
/// # Errors
/// [`StoreError::Refused`] when `to` is not empty or the janitor or another backup is at work,
/// [`StoreError::Full`], [`StoreError::File`], [`StoreError::Database`].
pub async fn back_up(request: BackupRequest, env: &Env) -> Result<Manifest, StoreError> {
    let begun_at = env.now();
    let BackupRequest { data, with_database, key_file, to, version } = request;
    let (folder, place) = (data.clone(), to.clone());
    let lock = on_disk(to.clone(), move || begin(&folder, &place)).await?;
    let (mut database, mut rows, mut named) = (None, BTreeMap::new(), BTreeSet::new());
    if with_database {
        copy_database(&data.join(DATABASE), &to.join(DATABASE)).await?;
        let path = to.join(DATABASE);
        database = Some(on_disk(to.clone(), move || seal(&path)).await?);
        (rows, named) = read_copy(&to.join(DATABASE)).await?;
    }
    let place = to.clone();
    let finish = move || {
        let copied = copy_blobs(&data.join("blobs"), &place)?;
        let mut damaged = copied.damaged;
        damaged.extend(named.difference(&copied.names).cloned());
        if let Some(key_file) = &key_file {
            copy(key_file, &place.join(KEY))?;
        }
        let manifest = Manifest {
            form: FORM.to_owned(),
            begun_at,
            version,
            database,
            rows,
            blobs: copied.names.len() as u64,
            blob_bytes: copied.bytes,
            list_sha256: copied.list_sha256,
            with_key: key_file.is_some(),
            damaged,
        };
        close(&place, &manifest)?;
        drop(lock);
        Ok(manifest)
    };
    on_disk(to, finish).await
}

fn begin(data: &Path, to: &Path) -> Result<UpkeepLock, StoreError> {
    if !is_empty(to)? {
        return Err(StoreError::Refused {
            what: format!("the folder {} is not empty", to.display()),
            hint: "name a folder that is not there yet: a backup is never written over another one",
        });
    }
    let lock = UpkeepLock::try_take(data)?.ok_or_else(|| StoreError::Refused {
        what: "the janitor or another backup is at work".to_owned(),
        hint: "try again when it is done",
    })?;
    make_private_folder(to).map_err(|source| StoreError::of_file("make", to, source))?;
    Ok(lock)
}

/// The database as it is at one instant, in a new file.
async fn copy_database(from: &Path, to: &Path) -> Result<(), StoreError> {
    let operation = "copy the database";
    let options = SqliteConnectOptions::new().filename(from).create_if_missing(false);
    let mut db = options.connect().await.map_err(database_failed(operation))?;
    let target = to.to_str().ok_or_else(|| StoreError::Refused {
        what: format!("the path {} is no UTF-8", to.display()),
        hint: "name another folder",
    })?;
    sqlx::query("VACUUM INTO $1").bind(target).execute(&mut db).await.map_err(database_failed(operation))?;
    db.close().await.map_err(database_failed(operation))
}

/// Makes the copy durable and its owner's alone, and measures it.
fn seal(path: &Path) -> Result<CopiedFile, StoreError> {
    let failed = |source| StoreError::of_file("sync", path, source);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    }
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(failed)?;
    measure(path)
}

/// Counts of the copy, and the names of the raw messages that it needs.
async fn read_copy(path: &Path) -> Result<(BTreeMap<String, u64>, BTreeSet<String>), StoreError> {
    let operation = "read the copied database";
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let mut db = options.connect().await.map_err(database_failed(operation))?;
    let read = async {
        let rows = count(&mut db).await?;
        let names = sqlx::query_scalar("SELECT raw_sha256 FROM outbox UNION SELECT raw_sha256 FROM inbox")
            .fetch(&mut db);
        Ok((rows, names.try_collect().await?))
    };
    read.await.map_err(database_failed(operation))
}

/// How many rows the tables have.
pub(super) async fn count(db: &mut SqliteConnection) -> Result<BTreeMap<String, u64>, sqlx::Error> {
    let mut rows = BTreeMap::new();
    for table in COUNTED {
        // Made of constants.
        let counted: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut *db)
            .await?;
        rows.insert(table.to_owned(), u64::try_from(counted).unwrap_or(0));
    }
    Ok(rows)
}

/// The raw messages that were copied.
struct Copied {
    names: BTreeSet<String>,
    bytes: u64,
    list_sha256: String,
    damaged: Vec<String>,
}

fn copy_blobs(from: &Path, to: &Path) -> Result<Copied, StoreError> {
    let mut copied =
        Copied { names: BTreeSet::new(), bytes: 0, list_sha256: String::new(), damaged: Vec::new() };
    let mut list = String::new();
    let target = to.join("blobs");
    make_private_folder(&target).map_err(|source| StoreError::of_file("make", &target, source))?;
    for shelf in entries(from)?.into_iter().filter(|name| name.len() == 2) {
        let (source, target) = (from.join(&shelf), target.join(&shelf));
        make_private_folder(&target).map_err(|source| StoreError::of_file("make", &target, source))?;
        for name in entries(&source)?.into_iter().filter(|name| is_name(name)) {
            let file = link_or_copy(&source.join(&name), &target.join(&name))?;
            if file.sha256 != name {
                copied.damaged.push(name.clone());
            }
            copied.bytes += file.size;
            list.push_str(&format!("{}  blobs/{shelf}/{name}\n", file.sha256));
            copied.names.insert(name);
        }
        sync_folder(&target)?;
    }
    sync_folder(&target)?;
    write(&to.join(LIST), list.as_bytes())?;
    let hash = digest(&SHA256, list.as_bytes());
    copied.list_sha256 = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(copied)
}

/// The names in a folder, in order; none where there is no such folder.
fn entries(folder: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |source| StoreError::of_file("read", folder, source);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// Writes the manifest: only now it is a backup.
fn close(to: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(|error| StoreError::of_file("write the manifest in", to, std::io::Error::other(error)))?;
    sync_folder(to)?;
    let (path, new) = (to.join(MANIFEST), to.join("manifest.new"));
    write(&new, &text)?;
    fs::rename(&new, &path).map_err(|source| StoreError::of_file("write", &path, source))?;
    sync_folder(to)
}
