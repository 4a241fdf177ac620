//! `postroom check`.

use std::process::ExitCode;

use clap::Args;
use postroom_check::{CheckRequest, Rung, TestMessage, Verdict};
use postroom_model::EmailAddress;

use super::ACTOR;
use crate::app::App;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Name of the connection; not needed when there is only one
    #[arg(long)]
    connection: Option<String>,
    /// Send a test message as this sender
    #[arg(long, requires = "recipient")]
    sender: Option<EmailAddress>,
    /// Send a test message to this recipient
    #[arg(long, requires = "sender")]
    recipient: Option<EmailAddress>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, arguments: CheckArguments) -> anyhow::Result<ExitCode> {
    let connection = app.connection(arguments.connection.as_deref()).await?;
    let secret = app.store.credential_secret(connection.id).await?.map(|(_, secret)| secret);
    let mailboxes = app.store.mailboxes().await?;
    let mailboxes = mailboxes
        .into_iter()
        .filter(|mailbox| mailbox.connection == connection.id)
        .map(|mailbox| mailbox.address);
    let test_message = arguments
        .sender
        .zip(arguments.recipient)
        .map(|(sender, recipient)| TestMessage { sender, recipient });
    let request = CheckRequest {
        settings: connection.settings.clone(),
        secret,
        mailboxes: mailboxes.collect(),
        test_message,
    };
    let mut progress = |rung: &Rung| {
        if !arguments.json {
            show(rung);
        }
    };
    let report = postroom_check::run(&request, &app.env, &mut progress).await;
    app.store.append_events(vec![report.event(&app.env, connection.id, false, ACTOR)]).await?;
    if arguments.json {
        output::json(&report)?;
    } else {
        output::data(report.summary());
    }
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One rung as it ends.
pub(crate) fn show(rung: &Rung) {
    let word = match rung.verdict {
        Verdict::Pass => "ok  ",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
        Verdict::Waiting => "wait",
        Verdict::Skipped => "-   ",
    };
    output::data(format!("{word}  {:<24} {} ({} ms)", rung.title, rung.got, rung.took_ms));
    if let Some(cause) = &rung.cause {
        output::data(format!("      cause: {cause}"));
    }
    if let Some(next_step) = &rung.next_step {
        output::data(format!("      next:  {next_step}"));
    }
}
