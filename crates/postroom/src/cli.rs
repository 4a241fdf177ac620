//! The command line: words and dispatch.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::app::App;
use crate::commands;
use crate::config::{Config, LogFormat};
use crate::{output, system};

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and everything asked about is well
  1  something failed, or a check or a message did
  2  the command line or the configuration is wrong
  3  not known yet: a message waits in the outbox, or a grant has not arrived everywhere";

/// The mail room between business software and Microsoft 365, Exchange, IMAP and SMTP.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Configuration file [default: postroom.toml in the working folder, if there is one]
    #[arg(long, global = true, env = "POSTROOM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Folder of the data; wins over the configuration
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Log to standard error from this level on, such as debug [default: as configured for serve, warn for the others]
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,

    /// How the log is written: text for people, json for programs [default: as configured]
    #[arg(long, global = true, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk the whole set-up guide on a tenant of your own machine, and look at the result
    Demo(commands::demo::DemoArguments),
    /// Run the product: page, API, outbox, collector
    Serve(commands::serve::ServeArguments),
    /// Make a connection from nothing: register the application, grant, limit, wait until it works
    Setup(Box<commands::setup::SetupArguments>),
    /// Test a connection, rung by rung, until it says OK!
    Check(commands::check::CheckArguments),
    /// Send a message through the outbox
    Send(commands::send::SendArguments),
    /// Make a ready .eml draft, which Outlook opens and sends
    Draft(commands::draft::DraftArguments),
    /// Show, file or collect received mail
    Inbox(commands::inbox::InboxArguments),
    /// Show messages on their way out, and what became of them
    Outbox(commands::outbox::OutboxArguments),
    /// Make, list and revoke the keys of programs
    Apikey(commands::apikey::ApikeyArguments),
    /// Add and list users and groups
    User(commands::user::UserArguments),
    /// Save, list, migrate and remove connections
    Connection(commands::connection::ConnectionArguments),
    /// List, stage, test, switch and renew credentials; name mailboxes that must be refused
    Credential(Box<commands::credential::CredentialArguments>),
    /// Add, list, validate and remove mailboxes
    Mailbox(commands::mailbox::MailboxArguments),
    /// Back the data folder up while it is in use
    Backup(commands::backup::BackupArguments),
    /// Clear away what is over by the configured retention, or print what would go
    Janitor(commands::janitor::JanitorArguments),
    /// Restore a backup into an empty data folder, every hash compared
    Restore(commands::backup::RestoreArguments),
    /// Move the store from the data folder to PostgreSQL
    Store(commands::store::StoreArguments),
    /// Check and show the configuration
    Config(commands::config::ConfigArguments),
    /// Run a Microsoft 365 tenant on your own machine
    Sandbox(commands::sandbox::SandboxArguments),
}

/// The command line asks for something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let env = system::env();
    // Commands that need no data folder.
    match arguments.command {
        Command::Sandbox(sandbox) => {
            start_log(arguments.log.as_deref().unwrap_or("warn"), LogFormat::Text)?;
            return commands::sandbox::run(sandbox, arguments.data, env).await;
        }
        Command::Demo(demo) => return commands::demo::run(demo, arguments.data, env).await,
        Command::Config(config) => return commands::config::run(&config, arguments.config.as_deref()),
        _ => {}
    }
    let mut config = Config::load(arguments.config.as_deref(), std::env::vars_os())?;
    if let Some(folder) = arguments.data {
        config.data_dir = folder;
    }
    // The server logs as configured; other commands only warn, because their words are their output.
    let usual =
        if matches!(arguments.command, Command::Serve(_)) { config.log.level.as_str() } else { "warn" };
    start_log(arguments.log.as_deref().unwrap_or(usual), arguments.log_format.unwrap_or(config.log.format))?;
    let command = match arguments.command {
        // Opens two stores, and starts nothing on either.
        Command::Store(store) => return commands::store::run(store, config, env).await,
        // These open no store: the one copies it from outside, the other makes it.
        Command::Backup(backup) => return commands::backup::run(&config, backup, &env).await,
        Command::Restore(restore) => return commands::backup::restore(&config, restore, &env).await,
        command => command,
    };
    let app = App::open(config, env).await?;
    match command {
        Command::Serve(serve) => commands::serve::run(app, serve).await,
        Command::Setup(setup) => commands::setup::run(&app, *setup).await,
        Command::Check(check) => commands::check::run(&app, check).await,
        Command::Send(send) => commands::send::run(&app, send).await,
        Command::Draft(draft) => commands::draft::run(&app, draft).await,
        Command::Inbox(inbox) => commands::inbox::run(&app, inbox).await,
        Command::Outbox(outbox) => commands::outbox::run(&app, outbox).await,
        Command::Apikey(apikey) => commands::apikey::run(&app, apikey).await,
        Command::User(user) => commands::user::run(&app, user).await,
        Command::Connection(connection) => commands::connection::run(&app, connection).await,
        Command::Credential(credential) => commands::credential::run(&app, *credential).await,
        Command::Mailbox(mailbox) => commands::mailbox::run(&app, mailbox).await,
        Command::Janitor(janitor) => commands::janitor::run(&app, janitor).await,
        Command::Sandbox(_)
        | Command::Demo(_)
        | Command::Config(_)
        | Command::Store(_)
        | Command::Backup(_)
        | Command::Restore(_) => Ok(ExitCode::SUCCESS),
    }
}

fn start_log(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter: EnvFilter = level.parse().map_err(|_| {
        UsageError(format!("{level} is no level of the log: say error, warn, info, debug or trace"))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => {
            builder.with_ansi(std::env::var_os("NO_COLOR").is_none() && is_terminal()).try_init()
        }
    };
    if let Err(error) = started {
        output::talk(format!("warning: the log could not be started: {error}"));
    }
    Ok(())
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}
