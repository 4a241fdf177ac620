//! What a set-up says while it goes on, and at its end.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use jiff::SignedDuration;
use postroom_model::EmailAddress;
use postroom_setup::{Api, Journal, Outcome, Plan, Progress};

use crate::app::App;
use crate::cli::UsageError;
use crate::output;

/// Exit code: nothing went wrong, and something is still to be done or waited for.
pub(super) const NOT_YET: u8 = 3;

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

/// Asks for a mailbox that must stay closed. Without a terminal nobody can answer, and none is named.
pub(super) fn closed_mailbox() -> anyhow::Result<Option<EmailAddress>> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    output::talk(
        "Name a mailbox that must stay closed to the application, to prove the limit (Enter: none):",
    );
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    match answer.trim() {
        "" => Ok(None),
        named => Ok(Some(named.parse().map_err(|error| UsageError(format!("{named}: {error}")))?)),
    }
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
        Progress::Waiting { what, why, may_take, left } => {
            let why = why.trim_end_matches('.');
            let may_take = may_take.map(|long| format!(" This may take up to {}.", span(long)));
            output::talk(format!(
                "waiting  {what}: {why}.{} I try again for {}",
                may_take.unwrap_or_default(),
                span(left)
            ));
        }
    }
}

/// A time in the unit people say it in.
fn span(time: SignedDuration) -> String {
    match time.as_secs() {
        seconds if seconds < 60 => format!("{} s", seconds.max(1)),
        seconds if seconds < 2 * 3600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// What an earlier run has made, and what it has left to do.
pub(super) fn earlier(journal: Option<&Journal>, plan: &Plan) {
    let Some(journal) = journal else { return };
    let now = journal.planned_as(plan);
    for (head, all) in [("there already:", now.exists()), ("left to do:", now.left())] {
        if !all.is_empty() {
            output::talk(head);
        }
        for what in all {
            output::talk(format!("  {what}"));
        }
    }
    for leaves in now.leaving() {
        output::talk(format!("leaves: mailbox {leaves}"));
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
    if let Some(why) = &outcome.unproved {
        output::talk(format!("saved {}, not proved: {why}", outcome.connection));
        output::talk("\nhint: run the script again if it did not end well; else wait, then `postroom check`");
        return Ok(ExitCode::from(NOT_YET));
    }
    if outcome.waiting.is_empty() {
        let name = &outcome.connection;
        match outcome.api {
            Api::ImapSmtp => output::talk(format!(
                "saved {name} for reading and {name} SMTP for sending; `postroom check --connection NAME` tries each"
            )),
            Api::Graph | Api::Ews => output::talk(format!("saved {name}; `postroom check` tries it")),
        }
        return Ok(ExitCode::SUCCESS);
    }
    output::talk("\nhint: the same command goes on from here; nothing is made twice");
    Ok(ExitCode::from(NOT_YET))
}
