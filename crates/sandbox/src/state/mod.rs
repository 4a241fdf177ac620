//! The tenant's state: one SQLite database, and beside it what lives only while the process does.
//!
//! The database has a single connection, so transactions follow one another and the sandbox needs no other locks.
//! Whoever holds a transaction must not ask the pool for a second one.

mod seed;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use postroom_model::Env;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool, Transaction};

use crate::entra::keys::{Seal, SigningKey};
use crate::faults::Fault;
use crate::{Admin, Ready, SandboxError, SandboxUser};

pub(crate) use seed::{DOMAIN, add_mailbox, random_guid};

/// A tenant: its database, keys and dials.
pub(crate) struct Tenant {
    pub(crate) env: Env,
    pub(crate) tenant_id: String,
    pub(crate) keys: SigningKey,
    pub(crate) seal: Seal,
    /// Folder of the mails that left the tenant; none in memory.
    pub(crate) outside: Option<PathBuf>,
    /// Whether `/_sandbox/` is served.
    pub(crate) control: bool,
    db: SqlitePool,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<VecDeque<Value>>,
    busy: Mutex<std::collections::HashMap<(String, String), u32>>,
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenant").field("tenant_id", &self.tenant_id).finish_non_exhaustive()
    }
}

/// Nothing under these locks can panic half-way, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tenant {
    /// Opens the state, or makes a new tenant when there is none.
    pub(crate) async fn open(data: Option<PathBuf>, env: Env, control: bool) -> Result<Self, SandboxError> {
        let outside = data.as_ref().map(|folder| folder.join("outside"));
        if let Some(path) = &outside {
            std::fs::create_dir_all(path)
                .map_err(|source| SandboxError::Folder { path: path.clone(), source })?;
        }
        let options = match &data {
            Some(folder) => SqliteConnectOptions::new().filename(folder.join("sandbox.sqlite")),
            None => SqliteConnectOptions::new().in_memory(true),
        };
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true);
        let failed = |action| move |source| SandboxError::Database { action, source };
        let db = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(failed("open"))?;
        let mut tx = db.begin().await.map_err(failed("begin"))?;
        sqlx::raw_sql(include_str!("schema.sql"))
            .execute(&mut *tx)
            .await
            .map_err(failed("make the tables"))?;
        if setting(&mut tx, "tenant_id").await.map_err(failed("read the tenant"))?.is_none() {
            seed::tenant(&mut tx, &env).await?;
        }
        let read = async |db: &mut SqliteConnection, name: &'static str| {
            setting(db, name).await.map(Option::unwrap_or_default).map_err(failed("read a setting"))
        };
        let tenant_id = String::from_utf8_lossy(&read(&mut tx, "tenant_id").await?).into_owned();
        let keys = SigningKey::read(&read(&mut tx, "signing_key").await?)?;
        let seal = Seal::new(&read(&mut tx, "seal").await?);
        tx.commit().await.map_err(failed("commit the start"))?;
        Ok(Self {
            env,
            tenant_id,
            keys,
            seal,
            outside,
            control,
            db,
            faults: Mutex::default(),
            log: Mutex::default(),
            busy: Mutex::default(),
        })
    }

    /// The one way to the database.
    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction<'static, Sqlite>> {
        self.db.begin().await
    }

    /// Closes the database.
    pub(crate) async fn close(&self) {
        self.db.close().await;
    }

    /// The present second.
    pub(crate) fn now(&self) -> i64 {
        self.env.now().as_second()
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        lock(&self.faults)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, VecDeque<Value>> {
        lock(&self.log)
    }

    /// Requests under way by application and mailbox.
    pub(crate) fn busy(&self) -> MutexGuard<'_, std::collections::HashMap<(String, String), u32>> {
        lock(&self.busy)
    }

    /// What a client needs, with `base` as address.
    pub(crate) async fn ready(&self, base: &str) -> Result<Ready, SandboxError> {
        let rows =
            sqlx::query("SELECT address, display_name, password, admin FROM user ORDER BY created_at, rowid")
                .fetch_all(&self.db)
                .await
                .map_err(|source| SandboxError::Database { action: "list the users", source })?;
        let mut admin = Admin { user: String::new(), password: String::new() };
        let mut users = Vec::new();
        for row in rows {
            let user = SandboxUser {
                address: row.get("address"),
                display_name: row.get("display_name"),
                password: row.get("password"),
            };
            if row.get::<bool, _>("admin") && admin.user.is_empty() {
                admin = Admin { user: user.address, password: user.password };
            } else {
                users.push(user);
            }
        }
        Ok(Ready {
            authority: base.to_owned(),
            graph: base.to_owned(),
            tenant_id: self.tenant_id.clone(),
            admin,
            users,
            domain: DOMAIN.to_owned(),
        })
    }
}

/// A setting's bytes.
pub(crate) async fn setting(db: &mut SqliteConnection, name: &str) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar("SELECT value FROM setting WHERE name = ?").bind(name).fetch_optional(db).await
}

/// The value of a counter; 0 before its first step.
pub(crate) async fn counter(db: &mut SqliteConnection, name: &str) -> sqlx::Result<i64> {
    let value: Option<i64> =
        sqlx::query_scalar("SELECT value FROM counter WHERE name = ?").bind(name).fetch_optional(db).await?;
    Ok(value.unwrap_or(0))
}

/// Steps a counter and gives its new value.
pub(crate) async fn step(db: &mut SqliteConnection, name: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO counter (name, value) VALUES (?, 1)
         ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
    )
    .bind(name)
    .fetch_one(db)
    .await
}
