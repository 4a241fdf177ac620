//! `postroom mailbox`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use postroom_model::mailbox::{Availability, MailType, Mailbox, MailboxSettings};
use postroom_model::people::Role;
use postroom_model::{EmailAddress, PollingInterval};
use postroom_store::SaveMailbox;

use super::connection::saveable;
use super::{ACTOR, read_secret, user};
use crate::app::App;
use crate::output::{self, hinted};

#[derive(Debug, Args)]
pub(crate) struct MailboxArguments {
    #[command(subcommand)]
    command: MailboxCommand,
}

#[derive(Debug, Subcommand)]
enum MailboxCommand {
    /// Add a mailbox, or change the one of that address; what is not given stays as it is
    #[command(visible_alias = "save")]
    Add(AddArguments),
    /// List mailboxes
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Open a mailbox and read one header
    Validate {
        /// Its address
        address: EmailAddress,
    },
    /// Remove a mailbox
    Remove {
        /// Its address
        address: EmailAddress,
    },
}

#[derive(Debug, Args)]
struct AddArguments {
    /// E-mail address
    address: String,
    /// Connection it is on; not needed when there is only one
    #[arg(long)]
    connection: Option<String>,
    /// User name, where the mailbox signs in by itself (IMAP, Exchange); without one the connection's, or the address
    #[arg(long)]
    user_name: Option<String>,
    /// File with the mailbox's own password, - for standard input; without one the connection's secret opens it. Never on
    /// the command line, where others see it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Type, such as customer-order; can be given several times; needed for a new mailbox
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<MailType>,
    /// Available to all [default, except for Personnel, when no group, role or user is named]
    #[arg(long, conflicts_with_all = ["groups", "roles", "users"])]
    all: bool,
    /// Available to this group; can be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Available to this role; can be given several times
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// Available to this user; can be given several times
    #[arg(long = "user", value_name = "USER")]
    users: Vec<String>,
    /// Polling interval in minutes, such as 60,00; 0 is off, blank is the connection's
    #[arg(long, value_name = "MINUTES")]
    polling_interval: Option<PollingInterval>,
}

pub(crate) async fn run(app: &App, arguments: MailboxArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        MailboxCommand::Add(add) => add_mailbox(app, add).await?,
        MailboxCommand::List { json } => list(app, json).await?,
        MailboxCommand::Remove { address } => {
            let mailbox = find(app, &address).await?;
            app.store.remove_mailbox(mailbox.id, ACTOR).await?;
            output::talk(format!("removed {address}"));
        }
        MailboxCommand::Validate { address } => {
            let mailbox = find(app, &address).await?;
            let validation = app.engine.validate_mailbox(mailbox.id, ACTOR).await?;
            output::data(&validation.words);
            return Ok(if validation.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The mailbox of this address.
pub(super) async fn find(app: &App, address: &EmailAddress) -> anyhow::Result<Mailbox> {
    let all = app.store.mailboxes().await?;
    all.into_iter()
        .find(|mailbox| mailbox.address == *address)
        .ok_or_else(|| hinted(format!("there is no mailbox {address}"), "`postroom mailbox list` shows them"))
}

async fn add_mailbox(app: &App, add: AddArguments) -> anyhow::Result<()> {
    let connection = app.connection(add.connection.as_deref()).await?;
    let all = app.store.mailboxes().await?;
    let same = |mailbox: &Mailbox| {
        mailbox.connection == connection.id
            && mailbox.address.as_str().eq_ignore_ascii_case(add.address.trim())
    };
    let existing = all.into_iter().find(same);
    let mut settings = match &existing {
        Some(mailbox) => mailbox.settings.clone(),
        None => MailboxSettings::new(add.address.trim(), add.types.iter().copied()),
    };
    if !add.types.is_empty() {
        settings.types = add.types.iter().copied().collect();
    }
    if let Some(user_name) = &add.user_name {
        settings.user_name = user_name.trim().to_owned();
    }
    if let Some(interval) = add.polling_interval {
        settings.polling_interval = interval;
    }
    if let Some(availability) = availability(app, &add).await? {
        settings.availability = availability;
    }
    let password = add.password_file.as_deref().map(read_secret).transpose()?;
    let mut problems = settings.validate();
    if let Some(password) = &password {
        problems.extend(MailboxSettings::validate_password(&connection.settings, password));
    }
    saveable(&problems, "the mailbox is not saved")?;
    let id = existing.map_or_else(|| app.env.new_id(), |mailbox| mailbox.id);
    let save = SaveMailbox { id, connection: connection.id, settings, password, actor: ACTOR.to_owned() };
    let mailbox = app.store.save_mailbox(save).await?;
    app.engine.nudge();
    output::talk(format!("saved {}", mailbox.address));
    output::data(mailbox.id.to_string());
    Ok(())
}

/// Who may see it, as far as the command line says so.
async fn availability(app: &App, add: &AddArguments) -> anyhow::Result<Option<Availability>> {
    if add.all {
        return Ok(Some(Availability::All));
    }
    if add.groups.is_empty() && add.roles.is_empty() && add.users.is_empty() {
        return Ok(None);
    }
    let mut users = std::collections::BTreeSet::new();
    for name in &add.users {
        users.insert(app.user(name).await?.id);
    }
    let groups = user::group_ids(app, &add.groups).await?.into_iter().collect();
    Ok(Some(Availability::Only { groups, roles: add.roles.iter().copied().collect(), users }))
}

async fn list(app: &App, json: bool) -> anyhow::Result<()> {
    let mailboxes = app.store.mailboxes().await?;
    if json {
        return output::json(&mailboxes);
    }
    let rows = mailboxes.into_iter().map(|mailbox| {
        let types: Vec<_> = mailbox.settings.types.iter().map(|kind| kind.label()).collect();
        let available = if mailbox.settings.availability == Availability::All { "all" } else { "some" };
        [
            mailbox.address.to_string(),
            types.join(", "),
            available.to_owned(),
            mailbox.state.as_str().to_owned(),
            mailbox.last_error.unwrap_or_default(),
        ]
    });
    output::table(["E-MAIL", "TYPE", "AVAILABLE", "STATE", "REASON"], rows.collect());
    Ok(())
}
