//! `postroom backup` and `postroom restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use postroom_model::Env;
use postroom_store::backup::{BackupRequest, Manifest, RestoreRequest, back_up, restore as restore_all};

use crate::config::Config;
use crate::output::{self, hinted};

#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// Folder to make; must not be there yet, or be empty
    to: PathBuf,
    /// Put the key file into the backup too: whoever has the backup can then open its secrets
    #[arg(long)]
    with_key: bool,
    /// Print the manifest as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The backup
    from: PathBuf,
    /// Leave what waits to be sent as it was, without looking it up first; only right when the Postroom that was backed
    /// up has sent nothing since
    #[arg(long)]
    as_it_was: bool,
    /// Print the manifest as JSON
    #[arg(long)]
    json: bool,
}

/// Backs the data folder up, also while a server works on it.
pub(crate) async fn run(config: &Config, arguments: BackupArguments, env: &Env) -> anyhow::Result<ExitCode> {
    let data = config.data_dir.clone();
    let with_database = !config.store.is_shared();
    let needed = if with_database { "postroom.db" } else { "blobs" };
    if !data.join(needed).exists() {
        let message = format!("there is nothing to back up in {}", data.display());
        return Err(hinted(message, "name the data folder with --data"));
    }
    let request = BackupRequest {
        data,
        with_database,
        key_file: arguments.with_key.then(|| config.key_file()),
        to: arguments.to.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let manifest = back_up(request, env).await.context("make the backup")?;
    if arguments.json {
        output::json(&manifest)?;
    } else {
        output::data(format!("backed up to {}", arguments.to.display()));
        show(&manifest);
    }
    if !with_database {
        output::talk(
            "the database is not in it: back up PostgreSQL by pg_dump or point-in-time recovery, and before this",
        );
    }
    if manifest.with_key {
        output::talk("the key is in it: keep this backup as secret as the key itself");
    } else {
        let key = config.key_file();
        output::talk(format!("the key is not in it: keep a copy of {} apart", key.display()));
    }
    for name in &manifest.damaged {
        output::talk(format!("damaged or missing here, and so in the backup: raw message {name}"));
    }
    Ok(if manifest.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Restores a backup into an empty data folder.
pub(crate) async fn restore(
    config: &Config,
    arguments: RestoreArguments,
    env: &Env,
) -> anyhow::Result<ExitCode> {
    let request = RestoreRequest {
        from: arguments.from,
        data: config.data_dir.clone(),
        key_file: config.key_file(),
        as_it_was: arguments.as_it_was,
    };
    let manifest = restore_all(request, env).await.context("restore the backup")?;
    if arguments.json {
        output::json(&manifest)?;
    } else {
        output::data(format!("restored to {}, every hash compared", config.data_dir.display()));
        show(&manifest);
    }
    let key = config.key_file();
    if !key.exists() {
        output::talk(format!("the key is not in this backup: put it at {} before you start", key.display()));
    }
    if !arguments.as_it_was {
        output::talk(
            "what waited to be sent is looked up first, because it may have been sent since the backup",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn show(manifest: &Manifest) {
    output::data(format!("begun         {}", manifest.begun_at));
    for (table, rows) in &manifest.rows {
        output::data(format!("{table:<13} {rows}"));
    }
    output::data(format!("raw messages  {} ({} bytes)", manifest.blobs, manifest.blob_bytes));
}
