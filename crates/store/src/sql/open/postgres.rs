//! A store on PostgreSQL, which several nodes share.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use postroom_model::ExposeSecret as _;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};

use super::unlock;
use crate::StoreError;
use crate::sql::blobs::BlobFolder;
use crate::sql::db::{Engine, Pool, Transaction, query_scalar};
use crate::sql::fault::Fault;
use crate::sql::files::{make_private_folder, on_disk};
use crate::sql::migrations::{newest, of_postgres};
use crate::sql::upkeep::Waiters;
use crate::sql::{PostgresOptions, SqlStore};

/// How long anything waits for a connection: to be made, or to be given back by another task.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Begins what one node does at a time: migrations and the making of the key. The lock has a number of its own (the
/// letters `Postroom`) and ends with the transaction. Each statement sees what was committed before it.
const BEGIN_OPENING: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = 0; \
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
    SELECT pg_advisory_xact_lock(5795978189422423917)";

/// Every connection: a commit that was answered is on disk, a setting that asks for more than that is left as it is;
/// and a node that is frozen inside a transaction holds up the others for ten seconds and no longer. Statements are short,
/// and are planned for their values: a plan for any instant would not see that little is due, and compiling or sharing
/// one out to other processes would take a hundred times as long as running it.
const SESSION: &str = "SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'; \
    SET lock_timeout = '10s'; SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '10s'; \
    SET client_min_messages = warning; SET plan_cache_mode = force_custom_plan; SET jit = off; \
    SET max_parallel_workers_per_gather = 0";

impl SqlStore {
    /// Opens the database, which has to be there; its tables are made when it is new. Several nodes may have it open at
    /// once. The raw messages are in `folder`, which is made when it is missing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a server older than 15, one that does not sync (`fsync = off`), a standby, and a
    /// database that is not in UTF-8. [`StoreError::NewerVersion`]: the database is left as it was.
    /// [`StoreError::Key`] when the key file is missing though secrets are sealed, is not theirs, or may be read by
    /// others. [`StoreError::File`], [`StoreError::Database`], [`StoreError::Full`].
    pub async fn open_postgres(options: PostgresOptions) -> Result<Self, StoreError> {
        let PostgresOptions { url, connections, folder, key_file, env } = options;
        let connect = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| StoreError::Refused {
            // The driver's words may hold the password.
            what: "the address of the database cannot be read".to_owned(),
            hint: "it has the form postgres://user:password@host:5432/database?sslmode=verify-full",
        })?;
        let connect = connect.application_name("postroom");
        let place = place(&connect);
        warn_of_open_line(&connect);
        let opening = async {
            let pool = pool(connect, connections).await?;
            refuse_unfit(&mut *pool.acquire().await?).await?;
            migrate(&pool, &place).await?;
            let begun = Transaction::on_postgres(&pool, BEGIN_OPENING).await?;
            Ok::<_, Fault>((unlock(begun, &key_file, &env).await?, pool))
        };
        let (sealer, pool) = opening.await.map_err(|fault| fault.during("open the database", &place))?;
        let own = env.clone();
        let blobs = on_disk(folder, move |folder| {
            make_private_folder(folder).map_err(|source| StoreError::of_file("make", folder, source))?;
            BlobFolder::open(folder, own)
        });
        let (writer, readers) = (Pool::Postgres(pool.clone()), Pool::Postgres(pool));
        let (blobs, waiters) = (Arc::new(blobs.await?), Waiters::default());
        Ok(Self { place, env, sealer, writer, readers, blobs, waiters })
    }
}

/// What errors name: server and database, never the password.
fn place(connect: &PgConnectOptions) -> PathBuf {
    let server = match connect.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", connect.get_host(), connect.get_port()),
    };
    let database = connect.get_database().unwrap_or(connect.get_username());
    PathBuf::from(format!("PostgreSQL {server}/{database}"))
}

/// Mail and password hashes go over this line.
fn warn_of_open_line(connect: &PgConnectOptions) {
    let host = connect.get_host();
    let is_local = connect.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_open = matches!(connect.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer);
    if is_open && !is_local {
        tracing::warn!(
            host,
            "the line to PostgreSQL need not be encrypted: add sslmode=verify-full to its address"
        );
    }
}

async fn pool(connect: PgConnectOptions, connections: u32) -> Result<PgPool, Fault> {
    let pool = PgPoolOptions::new()
        .max_connections(connections.max(2))
        .acquire_timeout(CONNECT_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(SESSION).execute(connection).await?;
                Ok(())
            })
        });
    Ok(pool.connect_with(connect).await?)
}

/// Refuses a server that cannot keep the promises.
async fn refuse_unfit(connection: &mut PgConnection) -> Result<(), Fault> {
    let (version, fsync, encoding, standby): (i32, String, String, bool) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::INT, current_setting('fsync'),
                current_setting('server_encoding'), pg_is_in_recovery()",
    )
    .fetch_one(connection)
    .await?;
    let refused = |what: String, hint| Err(StoreError::Refused { what, hint }.into());
    if version < 150_000 {
        return refused(
            format!("the server is PostgreSQL {}", version / 10_000),
            "Postroom needs PostgreSQL 15 or newer",
        );
    }
    if standby {
        return refused("the server is a standby".to_owned(), "name the primary in the address");
    }
    if fsync != "on" {
        return refused(
            "the server has fsync switched off, so what it confirms may be lost with the power".to_owned(),
            "set fsync = on in postgresql.conf and restart the server",
        );
    }
    if encoding != "UTF8" {
        return refused(
            format!("the database is in {encoding}"),
            "make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
        );
    }
    Ok(())
}

async fn migrate(pool: &PgPool, place: &std::path::Path) -> Result<(), Fault> {
    let mut transaction = Transaction::on_postgres(pool, BEGIN_OPENING).await?;
    let begun: bool = query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *transaction)
        .await?;
    if begun {
        let found: Option<i64> =
            query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut *transaction).await?;
        if let Some(found) = found.filter(|found| *found > newest()) {
            return Err(StoreError::NewerVersion { path: place.to_owned(), found, known: newest() }.into());
        }
    }
    if let Engine::Postgres(connection) = transaction.engine() {
        // One transaction round all of them: half a schema is never seen. Not `run`: its future is not `Send`.
        of_postgres()
            .run_direct(None, connection, false)
            .await
            .map_err(|error| sqlx::Error::Migrate(Box::new(error)))?;
    }
    transaction.commit().await
}
