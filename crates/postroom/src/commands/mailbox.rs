//! `postroom mailbox`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use postroom_engine::collector::progress::Backlog;
use postroom_engine::collector::standing::Standing;
use postroom_model::mailbox::{AfterProcessing, Availability, MailType, Mailbox, MailboxSettings, OldMail};
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
    /// Count the mail that waits in a mailbox and say how old it is, before choosing how much of it is taken. The mailbox
    /// need not be added yet
    OldMail {
        /// Its address
        address: EmailAddress,
        /// Connection it is on; not needed when there is only one
        #[arg(long)]
        connection: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare what the provider holds with what is stored, fetch what is missing, and say how much it was; done by
    /// itself each night
    Reconcile {
        /// Its address
        address: EmailAddress,
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
    /// How much of the mail that is there already is taken: none, all, or a date (2026-01-31) from which on. It is marked
    /// as old and never answered. Given later, reading begins anew, and nothing is stored twice [default: all]
    #[arg(long, value_name = "none|DATE|all")]
    old_mail: Option<OldMail>,
    /// What becomes of a mail at the provider once it is stored and processed: leave, mark-read, or move:FOLDER; the folder
    /// is made beside the inbox. The last two need the right to change mail [default: leave]
    #[arg(long, value_name = "leave|mark-read|move:FOLDER")]
    after_processing: Option<AfterProcessing>,
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
        MailboxCommand::OldMail { address, connection, json } => {
            old_mail(app, &address, connection.as_deref(), json).await?;
        }
        MailboxCommand::Reconcile { address, json } => {
            let mailbox = find(app, &address).await?;
            let report = app.engine.reconcile(mailbox.id).await?;
            let Some(report) = report else {
                return Err(hinted("the mailbox is being read at this moment", "try again in a minute"));
            };
            if json { output::json(&report)? } else { output::data(report.words()) }
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

/// Counts the mail of a mailbox, which need not be added yet.
async fn old_mail(
    app: &App,
    address: &EmailAddress,
    connection: Option<&str>,
    json: bool,
) -> anyhow::Result<()> {
    let known = app.store.mailboxes().await?.into_iter().find(|mailbox| mailbox.address == *address);
    let connection = match (&known, connection) {
        (Some(known), None) => app.store.connection(known.connection).await?,
        (_, named) => Some(app.connection(named).await?),
    };
    let connection = connection
        .ok_or_else(|| hinted("the connection is gone", "`postroom connection list` shows them"))?;
    let mailbox = known
        .unwrap_or_else(|| Mailbox::unsaved(app.env.new_id(), connection.id, address.clone(), app.env.now()));
    let found = app.engine.old_mail(&connection, &mailbox).await?;
    if json {
        return output::json(&serde_json::json!({ "count": found.count, "oldest": found.oldest }));
    }
    output::data(found.words());
    Ok(())
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
    if let Some(old_mail) = add.old_mail {
        settings.old_mail = old_mail;
    }
    if let Some(after) = &add.after_processing {
        settings.after_processing = after.clone();
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

/// What is to be known of a mailbox: why it fails, what waits, what is not marked.
fn reason(mailbox: Mailbox, standing: Standing) -> String {
    let backlog = standing.backlog.map(|backlog| backlog.words());
    let wants = mailbox.settings.after_processing != AfterProcessing::Leave;
    let unsettled = standing.unsettled.filter(|_| wants);
    let unsettled = unsettled.map(|known| format!("processed mail stays as it is: {}", known.words));
    let off = mailbox.next_due_at.is_none().then(|| "polling is off".to_owned());
    let all = [mailbox.last_error, backlog, unsettled, off];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

async fn list(app: &App, json: bool) -> anyhow::Result<()> {
    let mailboxes = app.store.mailboxes().await?;
    let mut standings = app.engine.standings().await?;
    if json {
        let mut rows = Vec::new();
        for mailbox in &mailboxes {
            let mut row = serde_json::to_value(mailbox)?;
            let standing = standings.remove(&mailbox.id).unwrap_or_default();
            row["minutes_left"] = serde_json::json!(standing.backlog.as_ref().and_then(Backlog::minutes));
            row["standing"] = serde_json::to_value(standing)?;
            rows.push(row);
        }
        return output::json(&rows);
    }
    let rows = mailboxes.into_iter().map(|mailbox| {
        let standing = standings.remove(&mailbox.id).unwrap_or_default();
        let types: Vec<_> = mailbox.settings.types.iter().map(|kind| kind.label()).collect();
        let available = if mailbox.settings.availability == Availability::All { "all" } else { "some" };
        [
            mailbox.address.to_string(),
            types.join(", "),
            available.to_owned(),
            mailbox.state.as_str().to_owned(),
            reason(mailbox, standing),
        ]
    });
    output::table(["E-MAIL", "TYPE", "AVAILABLE", "STATE", "REASON"], rows.collect());
    Ok(())
}
