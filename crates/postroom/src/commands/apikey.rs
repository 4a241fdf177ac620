//! `postroom apikey`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use postroom_model::ExposeSecret;
use postroom_model::people::ApiKey;

use super::ACTOR;
use crate::app::App;
use crate::output::{self, hinted};

#[derive(Debug, Args)]
pub(crate) struct ApikeyArguments {
    #[command(subcommand)]
    command: ApikeyCommand,
}

#[derive(Debug, Subcommand)]
enum ApikeyCommand {
    /// Make a key and print it: it is shown this once
    Create {
        /// What the key is for, such as erp
        name: String,
    },
    /// List keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a key away
    Revoke {
        /// Its name
        name: String,
    },
}

pub(crate) async fn run(app: &App, arguments: ApikeyArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        ApikeyCommand::Create { name } => create(app, &name).await?,
        ApikeyCommand::List { json } => list(app, json).await?,
        ApikeyCommand::Revoke { name } => {
            let keys = app.store.api_keys().await?;
            let in_use = |key: &ApiKey| key.name == name && key.revoked_at.is_none();
            let key = keys.into_iter().find(in_use).ok_or_else(|| {
                hinted(format!("there is no API key `{name}` in use"), "`postroom apikey list` shows them")
            })?;
            app.store.revoke_api_key(key.id, ACTOR).await?;
            output::talk(format!("revoked {name}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(app: &App, name: &str) -> anyhow::Result<()> {
    let name = name.trim();
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return Err(crate::cli::UsageError("a key's name has 1 to 64 characters".to_owned()).into());
    }
    let (key, hash) = postroom_api::new_api_key(&app.env);
    let stored =
        ApiKey { id: app.env.new_id(), name: name.to_owned(), created_at: app.env.now(), revoked_at: None };
    app.store.save_api_key(&stored, &hash, ACTOR).await?;
    output::talk("keep this key; it is not shown again:");
    output::data(key.expose_secret());
    Ok(())
}

async fn list(app: &App, json: bool) -> anyhow::Result<()> {
    let keys = app.store.api_keys().await?;
    if json {
        return output::json(&keys);
    }
    let rows = keys.into_iter().map(|key| {
        let state = key.revoked_at.map_or("in use".to_owned(), |at| format!("revoked {at:.0}"));
        [key.name, format!("{:.0}", key.created_at), state]
    });
    output::table(["NAME", "MADE", "STATE"], rows.collect());
    Ok(())
}
