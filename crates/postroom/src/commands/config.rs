//! `postroom config`.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::{Config, REFERENCE};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read the configuration as `serve` would, and say what is wrong with it
    Check,
    /// Print a configuration file with every key, its default and what it means
    Show,
}

pub(crate) fn run(arguments: &ConfigArguments, path: Option<&Path>) -> anyhow::Result<ExitCode> {
    match arguments.command {
        ConfigCommand::Check => {
            let config = Config::load(path, std::env::vars_os())?;
            output::talk("the configuration is right");
            output::data(format!("data folder  {}", config.data_dir.display()));
            let store =
                if config.store.url()?.is_some() { "PostgreSQL" } else { "SQLite, in the data folder" };
            output::data(format!("store        {store}"));
            output::data(format!("key file     {}", config.key_file().display()));
            output::data(format!("page and API http://{}", config.listen));
        }
        ConfigCommand::Show => output::data(REFERENCE.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
