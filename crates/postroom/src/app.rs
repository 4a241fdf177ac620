//! The wiring: configuration to store, transports and engine.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use postroom_engine::Engine;
use postroom_engine::watch::mail::MailNotifier;
use postroom_entra::http::HttpSettings;
use postroom_entra::token::TokenClient;
use postroom_model::connection::Connection;
use postroom_model::credential::Credential;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::people::User;
use postroom_model::{ConnectionId, Env, MailboxId, SecretString};
use postroom_store::{KeyFile, PostgresOptions, SqlStore, SqliteOptions, Store};
use postroom_transport::{Credentials, Wire};

use crate::config::Config;
use crate::output::hinted;

/// Everything a command works with.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engine: Engine,
}

impl App {
    /// Opens the data folder; makes it, and its key, on the first run.
    pub(crate) async fn open(config: Config, env: Env) -> anyhow::Result<Self> {
        let store: Arc<dyn Store> = Arc::new(open_store(&config, &env).await?);
        let http = postroom_entra::http::client(&HttpSettings::default())?;
        let tokens = Arc::new(TokenClient::new(http.clone(), env.clone()));
        let credentials = Arc::new(StoredCredentials(store.clone()));
        let wire = Arc::new(Wire::new(http, tokens, credentials, env.clone()));
        let engine = Engine::new(store.clone(), wire.clone(), env.clone(), config.engine_settings());
        let mut engine = engine.with_office(wire);
        if let Some(mail) = config.mail_alerts() {
            let notifier = MailNotifier::new(engine.intake(), store.clone(), env.clone(), mail);
            engine = engine.with_notifier(Arc::new(notifier));
        }
        Ok(Self { config, env, store, engine })
    }

    /// The connection of this name or id; the only one when none is named.
    pub(crate) async fn connection(&self, named: Option<&str>) -> anyhow::Result<Connection> {
        let mut all = self.store.connections().await?;
        let Some(named) = named else {
            return match all.len() {
                1 => Ok(all.remove(0)),
                0 => Err(hinted("there is no connection yet", "`postroom connection save --help` makes one")),
                _ => Err(hinted("there are several connections", "name one with --connection")),
            };
        };
        let wanted = |connection: &Connection| {
            connection.settings.display_name().eq_ignore_ascii_case(named)
                || connection.id.to_string() == named
        };
        all.into_iter().find(wanted).ok_or_else(|| {
            hinted(format!("there is no connection `{named}`"), "`postroom connection list` shows them")
        })
    }

    /// The user of this name.
    pub(crate) async fn user(&self, name: &str) -> anyhow::Result<User> {
        let found = self.store.user_by_name(name).await?;
        found
            .map(|(user, _)| user)
            .ok_or_else(|| hinted(format!("there is no user `{name}`"), "`postroom user list` shows them"))
    }
}

/// The store that the configuration names.
async fn open_store(config: &Config, env: &Env) -> anyhow::Result<SqlStore> {
    let (folder, key_file, env) = (config.data_dir.clone(), KeyFile(config.key_file()), env.clone());
    match config.store.url()? {
        Some(url) => {
            let connections = config.store.connections;
            let options = PostgresOptions { url, connections, folder, key_file, env };
            SqlStore::open_postgres(options).await.context("open the database on PostgreSQL")
        }
        None => SqlStore::open(SqliteOptions { folder, key_file, env })
            .await
            .with_context(|| format!("open the data folder {}", config.data_dir.display())),
    }
}

/// Credentials out of the store, opened at the moment they are needed.
struct StoredCredentials(Arc<dyn Store>);

#[async_trait]
impl Credentials for StoredCredentials {
    async fn current(&self, connection: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure> {
        self.0.credential_secret(connection).await.map_err(|error| {
            let words = format!("the stored credential could not be opened: {error}");
            Failure::new("open the credential", Origin::Ourselves, words, Decision::Retry { after: None })
        })
    }

    async fn mailbox_password(&self, mailbox: MailboxId) -> Result<Option<SecretString>, Failure> {
        self.0.mailbox_password(mailbox).await.map_err(|error| {
            let words = format!("the mailbox's stored password could not be opened: {error}");
            Failure::new("open the password", Origin::Ourselves, words, Decision::Retry { after: None })
        })
    }

    async fn application_object_id(&self, connection: ConnectionId) -> Result<Option<String>, Failure> {
        let known = postroom_engine::watch::application_object_id(self.0.as_ref(), connection).await;
        known.map_err(|error| {
            let words = error.to_string();
            Failure::new("look up the application", Origin::Ourselves, words, Decision::Retry { after: None })
        })
    }
}

impl App {
    /// The right to work on the store, or none while another process does. In a data folder one process works, and what
    /// a killed one left in the middle is taken up at once. A store on PostgreSQL has several nodes: what one of them
    /// left is taken up when its lease has ended.
    pub(crate) async fn right_to_work(&self) -> anyhow::Result<Option<RightToWork>> {
        if self.config.store.is_shared() {
            return Ok(Some(RightToWork { taken_up: 0, _lock: None }));
        }
        let Some(lock) = FolderLock::try_take(&self.config.data_dir)? else { return Ok(None) };
        let taken_up = self.store.end_all_leases().await?;
        Ok(Some(RightToWork { taken_up, _lock: Some(lock) }))
    }
}

/// The right to work on the store. Held until dropped.
pub(crate) struct RightToWork {
    /// Messages and mailboxes that a stopped process left in the middle.
    pub(crate) taken_up: u64,
    _lock: Option<FolderLock>,
}

/// The right to be the one process that works on a data folder. Held until dropped.
pub(crate) struct FolderLock(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

impl FolderLock {
    /// The lock, or none while another process holds it.
    pub(crate) fn try_take(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join("serve.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("open the lock file {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("lock {}", path.display()))
            }
        }
    }
}
