//! Where nodes run and what they share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, bail};
use async_trait::async_trait;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use postroom_model::{Clock, Env, Random, Timestamp};
use postroom_store::{KeyFile, SqlStore, SqliteOptions, Store};

/// Where the nodes of one installation run.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    /// What the figures call it.
    fn name(&self) -> String;

    /// Most nodes that may serve at the same time.
    fn most_nodes(&self) -> usize;

    /// `postroom`, told where its data are. Commands and nodes alike are made of it.
    fn command(&self) -> Command;

    /// The same, for an installation that never was started: the first start is harmed in it.
    fn fresh(&self, number: u64) -> Result<Command>;

    /// The store as the product itself opens it. Only while no node runs: whoever has it open keeps a killed node's
    /// traces from being cleared up at the next start.
    async fn store(&self) -> Result<Arc<dyn Store>>;
}

/// The place of this name.
pub(crate) fn named(name: &str, binary: &Path, folder: &Path) -> Result<Box<dyn Place>> {
    match name {
        "sqlite" => Ok(Box::new(SqliteFolder { binary: binary.to_owned(), folder: folder.to_owned() })),
        _ => bail!("there is no place `{name}`; there is: sqlite"),
    }
}

/// `postroom` without what the environment says to it.
fn bare(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("POSTROOM_")) {
            command.env_remove(name);
        }
    }
    // Minutes are too long here: whatever waits is tried again within a second, and workers look often.
    command.env("POSTROOM_ENGINE_RETRY_LONGEST_SECONDS", "1").env("POSTROOM_ENGINE_IDLE_POLL_MS", "50");
    command.env("POSTROOM_LOG_LEVEL", "warn");
    command
}

/// One SQLite database in a folder, for one node.
struct SqliteFolder {
    binary: PathBuf,
    folder: PathBuf,
}

#[async_trait]
impl Place for SqliteFolder {
    fn name(&self) -> String {
        "SQLite".to_owned()
    }

    fn most_nodes(&self) -> usize {
        1
    }

    fn command(&self) -> Command {
        let mut command = bare(&self.binary);
        command.current_dir(&self.folder).arg("--data").arg(self.folder.join("data"));
        command
    }

    fn fresh(&self, number: u64) -> Result<Command> {
        let mut command = bare(&self.binary);
        command.current_dir(&self.folder).arg("--data").arg(self.folder.join(format!("fresh-{number}")));
        Ok(command)
    }

    async fn store(&self) -> Result<Arc<dyn Store>> {
        let folder = self.folder.join("data");
        let key_file = KeyFile(folder.join("postroom.key"));
        let options = SqliteOptions { folder, key_file, env: env() };
        Ok(Arc::new(SqlStore::open(options).await?))
    }
}

fn env() -> Env {
    Env::new(Arc::new(SystemClock), Arc::new(SystemSource(SystemRandom::new())))
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the nodes take theirs from the same clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct SystemSource(SystemRandom);

impl Random for SystemSource {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes).expect("the system's random source answers");
    }
}
