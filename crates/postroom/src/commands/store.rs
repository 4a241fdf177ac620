//! `postroom store`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use postroom_model::{Env, SecretString};
use postroom_store::{KeyFile, Moved, PostgresOptions, SqlStore, SqliteOptions};

use crate::app::FolderLock;
use crate::config::{Config, Store};
use crate::output::{self, hinted};

#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Move everything from the data folder to PostgreSQL and compare it; the data folder is left as it is
    Migrate(MigrateArguments),
}

#[derive(Debug, Args)]
struct MigrateArguments {
    /// Address of a new, empty database: postgres://user:password@host/database?sslmode=verify-full
    #[arg(long, value_name = "URL", required_unless_present = "to_file", conflicts_with = "to_file")]
    to: Option<SecretUrl>,
    /// File that holds the address, which then stands in no list of processes
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// Data folder of the new installation, to which the raw messages are copied [default: they stay where they are]
    #[arg(long, value_name = "DIR")]
    to_data: Option<PathBuf>,
}

/// An address with a password in it.
#[derive(Debug, Clone)]
struct SecretUrl(SecretString);

impl std::str::FromStr for SecretUrl {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(SecretString::from(text)))
    }
}

pub(crate) async fn run(arguments: StoreArguments, config: Config, env: Env) -> anyhow::Result<ExitCode> {
    match arguments.command {
        StoreCommand::Migrate(arguments) => migrate(arguments, config, env).await,
    }
}

async fn migrate(arguments: MigrateArguments, config: Config, env: Env) -> anyhow::Result<ExitCode> {
    let url = match (arguments.to, arguments.to_file) {
        (Some(SecretUrl(url)), _) => url,
        (None, Some(path)) => Store::read_url(&path)?,
        (None, None) => return Err(crate::cli::UsageError("say where to, with --to".to_owned()).into()),
    };
    let folder = config.data_dir.clone();
    if !folder.join("postroom.db").exists() {
        return Err(hinted(
            format!("there is no store in {}", folder.display()),
            "name the data folder with --data",
        ));
    }
    // Held to the end: nobody changes what is being moved.
    let Some(_lock) = FolderLock::try_take(&folder)? else {
        return Err(hinted(format!("a Postroom runs on {}", folder.display()), "stop it first"));
    };
    let key_file = KeyFile(config.key_file());
    let from = SqliteOptions { folder: folder.clone(), key_file: key_file.clone(), env: env.clone() };
    let from =
        SqlStore::open(from).await.with_context(|| format!("open the data folder {}", folder.display()))?;
    let to_data = arguments.to_data.unwrap_or(folder);
    let connections = config.store.connections;
    let to = PostgresOptions { url, connections, folder: to_data.clone(), key_file, env };
    let to = SqlStore::open_postgres(to).await.context("open the database on PostgreSQL")?;
    let moved = from.copy_to(&to).await.context("nothing was moved")?;
    show(moved);
    output::talk(format!(
        "moved, and the same at both ends. Now set `url` or `url_file` of [store] and start Postroom with the same key \
         file and with the data folder {}",
        to_data.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn show(moved: Moved) {
    let rows = moved.tables.into_iter().map(|table| [table.name, table.rows.to_string(), table.sha256]);
    output::table(["TABLE", "ROWS", "SHA-256 AT BOTH ENDS"], rows.collect());
    output::data(format!("{} messages can be searched for", moved.searchable));
    output::data(format!("{} raw messages, each compared with its SHA-256", moved.raw_messages));
}
