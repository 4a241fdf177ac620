//! The tenant's state: one SQLite database, and beside it what lives only while the process does.
//!
//! The database has a single connection, so transactions follow one another and the sandbox needs no other locks.
//! Whoever holds a transaction must not ask the pool for a second one.

mod clock;
mod seed;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postroom_model::Env;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::control::Policy;
use crate::entra::keys::{Seal, SigningKey};
use crate::entra::pending::Pending;
use crate::ews::Streams;
use crate::faults::Fault;
use crate::limits::Meters;
use crate::{Admin, Limits, Ready, SandboxError, SandboxOptions, SandboxUser};

use clock::Shifted;
pub(crate) use seed::{DOMAIN, add_mailbox, random_guid};

/// Requests remembered for `/_sandbox/requests`.
const LOG_LENGTH: usize = 500;

/// Counter that holds how far the clock was moved.
const CLOCK: &str = "clock";

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
    pub(crate) limits: Limits,
    /// Seconds between two questions about a device code.
    pub(crate) device_interval: i64,
    /// Seconds until a change is effective.
    propagation: i64,
    clock: Arc<Shifted>,
    db: SqlitePool,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<VecDeque<Value>>,
    counts: Mutex<BTreeMap<String, u64>>,
    meters: Mutex<Meters>,
    pending: Mutex<Pending>,
    policy: Mutex<Policy>,
    streams: Mutex<Streams>,
    /// The tenant stops: what would go on for long ends.
    pub(crate) closing: CancellationToken,
    /// Something is to be told to subscribers.
    pub(crate) notices: tokio::sync::Notify,
    /// A mailbox changed: sessions that wait look again.
    news: watch::Sender<()>,
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
    pub(crate) async fn open(options: SandboxOptions, control: bool) -> Result<Self, SandboxError> {
        let SandboxOptions { data, env, propagation, limits, device_interval, .. } = options;
        let (env, clock) = Shifted::over(env);
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
        clock.advance(counter(&mut tx, CLOCK).await.map_err(failed("read the clock"))?);
        tx.commit().await.map_err(failed("commit the start"))?;
        Ok(Self {
            env,
            tenant_id,
            keys,
            seal,
            outside,
            control,
            limits,
            device_interval: seconds(device_interval),
            propagation: seconds(propagation),
            clock,
            db,
            faults: Mutex::default(),
            log: Mutex::default(),
            counts: Mutex::default(),
            meters: Mutex::default(),
            pending: Mutex::default(),
            policy: Mutex::default(),
            streams: Mutex::default(),
            closing: CancellationToken::new(),
            notices: tokio::sync::Notify::new(),
            news: watch::Sender::new(()),
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

    /// Answers since the start, by status; lines cut by a fault under `cut`.
    pub(crate) fn counts(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        lock(&self.counts)
    }

    /// Notes a request for `/_sandbox/requests`; the oldest goes when there are too many.
    pub(crate) fn remember(&self, request: Value) {
        let mut log = self.log();
        if log.len() >= LOG_LENGTH {
            log.pop_front();
        }
        log.push_back(request);
    }

    /// Says that something was changed, to whoever waits for mail.
    pub(crate) fn nudge(&self) {
        self.news.send_replace(());
    }

    /// Wakes after each change from now on.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Requests by application and mailbox.
    pub(crate) fn meters(&self) -> MutexGuard<'_, Meters> {
        lock(&self.meters)
    }

    /// Streaming notifications of EWS.
    pub(crate) fn streams(&self) -> MutexGuard<'_, Streams> {
        lock(&self.streams)
    }

    /// Sign-ins under way.
    pub(crate) fn pending(&self) -> MutexGuard<'_, Pending> {
        lock(&self.pending)
    }

    /// What the tenant allows applications.
    pub(crate) fn policy(&self) -> MutexGuard<'_, Policy> {
        lock(&self.policy)
    }

    /// Moves the tenant's clock, for good.
    pub(crate) async fn advance(&self, seconds: i64) -> sqlx::Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO counter (name, value) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        )
        .bind(CLOCK)
        .bind(seconds)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.clock.advance(seconds);
        Ok(())
    }

    /// The second at which a change made now is effective.
    pub(crate) fn effective(&self) -> i64 {
        self.now().saturating_add(self.propagation)
    }

    /// Notes that the object of this id is not effective yet; without propagation there is nothing to note.
    pub(crate) async fn announce(&self, db: &mut SqliteConnection, id: &str) -> sqlx::Result<()> {
        if self.propagation > 0 {
            sqlx::query("INSERT OR REPLACE INTO arriving (id, at) VALUES (?, ?)")
                .bind(id)
                .bind(self.effective())
                .execute(db)
                .await?;
        }
        Ok(())
    }

    /// Whether the object of this id is effective.
    pub(crate) async fn arrived(&self, db: &mut SqliteConnection, id: &str) -> sqlx::Result<bool> {
        let late = sqlx::query("SELECT 1 FROM arriving WHERE id = ? AND at > ?")
            .bind(id)
            .bind(self.now())
            .fetch_optional(db)
            .await?;
        Ok(late.is_none())
    }

    /// What a client needs, with `base` as address of the HTTP listener.
    pub(crate) async fn ready(
        &self,
        base: &str,
        imap: SocketAddr,
        smtp: SocketAddr,
    ) -> Result<Ready, SandboxError> {
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
            portal: format!("{base}/_sandbox/"),
            ews: format!("{base}/EWS/Exchange.asmx"),
            imap: imap.to_string(),
            smtp: smtp.to_string(),
        })
    }
}

/// Whole seconds of an option.
fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
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
