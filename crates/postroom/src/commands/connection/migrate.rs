//! `postroom connection migrate`: the other interface of Exchange Online, with the same mailboxes.

use std::process::ExitCode;

use clap::Args;
use postroom_check::{CheckRequest, Rung, Verdict};
use postroom_model::connection::{Connection, ConnectionKind, ConnectionSettings, ExchangeApi};
use postroom_model::mailbox::Mailbox;
use postroom_store::InterfaceSwitch;

use super::ACTOR;
use crate::app::App;
use crate::output::{self, hinted};

/// What happens to mail and messages.
const ABOUT: &str = "\
Every mailbox is read once from the beginning through the new interface. Mail that was collected before is recognised
by its content, or by its Message-ID and the second it was received: it is not shown a second time and makes no new
event. Messages to be sent stay; a draft that lies ready at the provider is left there unsent, and another is made.
While a message is being sent or looked up, the switch is refused and names it.";

#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(super) struct MigrateArguments {
    /// Name of the connection
    name: String,
    /// The interface it is reached by from now on: graph or ews
    #[arg(long, value_name = "INTERFACE")]
    to: ExchangeApi,
    /// Check and show the plan, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Switch although a check fails, or without asking the provider at all
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(app: &App, arguments: MigrateArguments) -> anyhow::Result<ExitCode> {
    let connection = app.connection(Some(&arguments.name)).await?;
    let settings = target(&connection, arguments.to)?;
    if settings.api == connection.settings.api {
        output::talk(format!("{} is reached by {} already", settings.display_name(), settings.api.label()));
        return Ok(ExitCode::SUCCESS);
    }
    super::saveable(
        &settings.validate(postroom_model::connection::SecretField::Stored),
        "nothing is switched",
    )?;
    if !arguments.force && !works(app, &connection, &settings).await? {
        let words =
            format!("{} does not work yet for this connection; nothing is switched", settings.api.label());
        return Err(hinted(words, "mend what the check names and try again; --force switches nevertheless"));
    }
    let plan = app.store.plan_interface_switch(connection.id).await?;
    if arguments.dry_run {
        show(&connection, &settings, &plan);
        return Ok(if plan.open.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let done = app.store.switch_interface(connection.id, arguments.to, ACTOR).await?;
    app.engine.nudge();
    show(&connection, &settings, &done);
    output::talk(format!("switched {}", settings.display_name()));
    Ok(ExitCode::SUCCESS)
}

/// The settings after the switch.
fn target(connection: &Connection, to: ExchangeApi) -> anyhow::Result<ConnectionSettings> {
    let settings = &connection.settings;
    if settings.kind != ConnectionKind::ExchangeOnline {
        let words = format!(
            "{} is of the kind {}, which has one interface only",
            settings.display_name(),
            settings.kind.label()
        );
        return Err(hinted(words, "`postroom connection save` adds another connection beside it"));
    }
    Ok(ConnectionSettings { api: to, ..settings.clone() })
}

fn show(connection: &Connection, settings: &ConnectionSettings, plan: &InterfaceSwitch) {
    output::data(format!("from       {}", connection.settings.api.label()));
    output::data(format!("to         {}", settings.api.label()));
    output::data(format!("mailboxes  {} are read once from the beginning", plan.mailboxes));
    output::data(format!("messages   {} are recognised there and not shown again", plan.messages));
    output::data(format!("drafts     {} of messages to be sent are made anew", plan.drafts));
    for id in &plan.open {
        output::data(format!("open       {id}: its outcome has to be known first"));
    }
}

/// Whether the new interface opens what the connection has. Nothing is sent and nothing is changed.
async fn works(app: &App, connection: &Connection, settings: &ConnectionSettings) -> anyhow::Result<bool> {
    let all = app.store.mailboxes().await?;
    let mailboxes: Vec<Mailbox> =
        all.into_iter().filter(|mailbox| mailbox.connection == connection.id).collect();
    let current = app.store.credential_secret(connection.id).await?;
    let expires_at = current.as_ref().and_then(|(credential, _)| credential.expires_at);
    let secret = current.map(|(_, secret)| secret);
    let mut request = CheckRequest::new(settings.clone(), secret);
    request.mailboxes = mailboxes.into_iter().map(|mailbox| mailbox.address).collect();
    request.credential_expires_at = expires_at;
    let mut progress = |rung: &Rung| {
        if matches!(rung.verdict, Verdict::Fail | Verdict::Waiting) {
            output::talk(format!("{}: {}", rung.title, rung.cause.as_deref().unwrap_or("it fails")));
            if let Some(next) = &rung.next_step {
                output::talk(format!("  {next}"));
            }
        }
    };
    // What is still waited for may never come: a connection is switched to what was seen to work.
    let report = postroom_check::run(&request, &app.env, &mut progress).await;
    Ok(!report.failed() && !report.waiting())
}
