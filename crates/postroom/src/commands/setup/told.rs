//! What a set-up says while it goes on, and at its end.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use postroom_setup::{Journal, Outcome, Progress};

use crate::app::App;
use crate::cli::UsageError;
use crate::output;

/// Asks before anything is changed. Without a terminal nobody can answer.
pub(super) fn confirm(yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(
            UsageError("nobody can be asked here: look at --dry-run, then add --yes".to_owned()).into()
        );
    }
    output::talk("Type yes to go on:");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(UsageError("nothing was changed".to_owned()).into()) }
}

/// Tells each step. Lines for Exchange are data, unless the data is JSON.
pub(super) fn progress(json: bool) -> impl FnMut(Progress) + Send {
    move |progress| match progress {
        Progress::Done(what) => output::talk(format!("done     {what}")),
        Progress::There(what) => output::talk(format!("there    {what}")),
        Progress::Exchange(lines) => {
            output::talk(
                "Somebody must run these lines in Exchange Online PowerShell, after Connect-ExchangeOnline:",
            );
            for line in lines {
                if json { output::talk(line) } else { output::data(line) }
            }
        }
        Progress::Waiting { what, why, left } => {
            let minutes = (left.as_secs() + 59) / 60;
            output::talk(format!(
                "waiting  {what}: {why}. Grants may take up to an hour or two; I try again for {minutes} min"
            ));
        }
    }
}

/// After a failure: what exists already.
pub(super) async fn exists(app: &App, connection: &str) {
    let Ok(Some(journal)) = Journal::load(app.store.as_ref(), connection).await else { return };
    let all = journal.exists();
    if all.is_empty() {
        return;
    }
    output::talk("made so far, and remembered:");
    for what in all {
        output::talk(format!("  {what}"));
    }
}

/// The end: what was made, what is still waited for, what defeats the limit.
pub(super) fn outcome(outcome: &Outcome, json: bool) -> anyhow::Result<ExitCode> {
    for leftover in &outcome.leftover {
        output::talk(format!("warning: {}", leftover.words));
        output::talk(format!("  hint: {}", leftover.command));
    }
    for waiting in &outcome.waiting {
        output::talk(format!("waiting  mailbox {} does not open yet: {}", waiting.mailbox, waiting.why));
    }
    if json {
        output::json(outcome)?;
    } else {
        for id in &outcome.connections {
            output::data(id.to_string());
        }
    }
    if outcome.waiting.is_empty() {
        output::talk(format!("saved {}; `postroom check` tries it", outcome.connection));
        return Ok(ExitCode::SUCCESS);
    }
    output::talk("\nhint: the same command goes on from here; nothing is made twice");
    Ok(ExitCode::FAILURE)
}
