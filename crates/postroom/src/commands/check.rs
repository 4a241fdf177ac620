//! `postroom check`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use postroom_check::{Account, CheckRequest, Incoming, Mode, Report, Rung, TestMessage, Verdict};
use postroom_model::EmailAddress;
use postroom_model::connection::Connection;
use postroom_model::credential::CredentialState;
use postroom_model::mailbox::Mailbox;

use super::ACTOR;
use crate::app::App;
use crate::output;

const EXIT_CODES: &str = "\
Exit codes:
  0  all well
  1  something fails, or the command could not be carried out
  2  the command line or the configuration is wrong
  3  nothing fails, and something is still waited for: a right that was granted and has not arrived yet";

/// Exit code when nothing fails and something is waited for.
const WAITING: u8 = 3;
/// First pause of `--wait`; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause of `--wait`.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
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
    /// Do everything: also make a folder, move an item, and upload a large file; each is removed again. Without
    /// --sender the first mailbox writes to itself
    #[arg(long)]
    full: bool,
    /// A mailbox that must stay closed to this application; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    must_not_open: Vec<EmailAddress>,
    /// While something is waited for, try again for at most this long
    #[arg(long, value_name = "MINUTES", conflicts_with = "watch")]
    wait: Option<u32>,
    /// Check again and again, with this pause between, and print only what changed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    watch: Option<u32>,
    /// Write a report in Markdown that can be shared; there is no secret in it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Shorten ids and addresses in the report and in JSON
    #[arg(long)]
    anonymous: bool,
    /// Print JSON; with --watch one line for each rung that changed
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, arguments: CheckArguments) -> anyhow::Result<ExitCode> {
    let connection = app.connection(arguments.connection.as_deref()).await?;
    let request = request(app, &connection, &arguments).await?;
    if let Some(seconds) = arguments.watch {
        return watch(app, &request, &arguments, Duration::from_secs(u64::from(seconds))).await;
    }
    let report = wait(app, &request, &arguments).await;
    app.store.append_events(vec![report.event(&app.env, connection.id, false, ACTOR)]).await?;
    publish(app, &arguments, &report)?;
    if arguments.json {
        output::json(&shared(&arguments, &report))?;
    } else {
        output::data(report.summary());
    }
    Ok(exit_code(&report))
}

fn exit_code(report: &Report) -> ExitCode {
    match (report.failed(), report.waiting()) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(WAITING),
        (false, false) => ExitCode::SUCCESS,
    }
}

async fn request(
    app: &App,
    connection: &Connection,
    arguments: &CheckArguments,
) -> anyhow::Result<CheckRequest> {
    let current = app.store.credential_secret(connection.id).await?;
    let expires_at = current.as_ref().and_then(|(credential, _)| credential.expires_at);
    let credentials = app.store.credentials(connection.id).await?;
    let next = credentials.iter().find(|credential| credential.state == CredentialState::Next);
    let mailboxes = app.store.mailboxes().await?;
    let secret = current.map(|(_, secret)| secret);
    let mut request = CheckRequest::new(connection.settings.clone(), secret);
    for mailbox in mailboxes.iter().filter(|mailbox| mailbox.connection == connection.id) {
        request.mailboxes.push(mailbox.address.clone());
        if connection.settings.mailboxes_sign_in() {
            request.accounts.push(account(app, mailbox).await?);
        }
    }
    request.test_message = arguments
        .sender
        .clone()
        .zip(arguments.recipient.clone())
        .map(|(sender, recipient)| TestMessage { sender, recipient });
    if let Some(message) = &request.test_message
        && !connection.settings.kind.receives()
    {
        request.incoming = incoming(app, &mailboxes, &message.recipient).await?;
    }
    // Those that the watch asks about every hour, and those that are named now.
    request.must_not_open = app.engine.scope_watch(connection.id).await?.must_not_open;
    for address in &arguments.must_not_open {
        if !request.must_not_open.contains(address) {
            request.must_not_open.push(address.clone());
        }
    }
    request.credential_expires_at = expires_at;
    request.next_credential_expires_at = next.and_then(|credential| credential.expires_at);
    request.notify_at = app.engine.notices_address().and_then(|address| address.parse().ok());
    request.mode = if arguments.full { Mode::Full } else { Mode::Quick };
    Ok(request)
}

/// As whom a mailbox is opened.
async fn account(app: &App, mailbox: &Mailbox) -> anyhow::Result<Account> {
    Ok(Account {
        address: mailbox.address.clone(),
        user_name: mailbox.settings.user_name.trim().to_owned(),
        password: app.store.mailbox_password(mailbox.id).await?,
    })
}

/// The connection that reads this mailbox, for the way back of a message that leaves by SMTP.
async fn incoming(
    app: &App,
    mailboxes: &[Mailbox],
    recipient: &EmailAddress,
) -> anyhow::Result<Option<Incoming>> {
    let Some(mailbox) = mailboxes.iter().find(|mailbox| mailbox.address == *recipient) else {
        return Ok(None);
    };
    let Some(connection) = app.store.connection(mailbox.connection).await? else { return Ok(None) };
    let secret = app.store.credential_secret(connection.id).await?.map(|(_, secret)| secret);
    let account = account(app, mailbox).await?;
    Ok(Some(Incoming { settings: connection.settings, secret, account }))
}

/// Runs the ladder; with `--wait` again while something is waited for and the time has not run out.
async fn wait(app: &App, request: &CheckRequest, arguments: &CheckArguments) -> Report {
    let minutes = u64::from(arguments.wait.unwrap_or(0));
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let mut pause = FIRST_PAUSE;
    loop {
        let mut progress = |rung: &Rung| {
            if !arguments.json {
                show(rung);
            }
        };
        let report = postroom_check::run(request, &app.env, &mut progress).await;
        let left = end.saturating_duration_since(Instant::now());
        // What fails does not pass by waiting.
        if report.failed() || !report.waiting() || left.is_zero() {
            return report;
        }
        output::talk(format!("waiting: {}", report.summary()));
        count_down(pause.min(left), end).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Shows on stderr how long it still takes: second by second to a person, once to a file.
async fn count_down(pause: Duration, end: Instant) {
    let next = Instant::now() + pause;
    let line = |now: Instant| {
        let seconds = |until: Instant| until.saturating_duration_since(now).as_secs_f64().ceil();
        format!("trying again in {} s, for at most {:.0} min", seconds(next), (seconds(end) / 60.0).ceil())
    };
    if !std::io::stderr().is_terminal() {
        output::talk(line(Instant::now()));
        tokio::time::sleep(pause).await;
        return;
    }
    while Instant::now() < next {
        output::status(line(Instant::now()));
        let left = next.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
    }
    output::status("");
}

/// Runs until it is ended from outside. A rung is shown when its verdict or its cause is another than before.
async fn watch(
    app: &App,
    request: &CheckRequest,
    arguments: &CheckArguments,
    pause: Duration,
) -> anyhow::Result<ExitCode> {
    let mut before: Option<Report> = None;
    loop {
        let report = postroom_check::run(request, &app.env, &mut |_| {}).await;
        let changed = changed(before.as_ref(), &report);
        for rung in &changed {
            if arguments.json {
                let report = Report { connection: report.connection.clone(), rungs: vec![(*rung).clone()] };
                output::data(serde_json::to_string(&shared(arguments, &report))?);
            } else {
                show(rung);
            }
        }
        if !changed.is_empty() {
            if !arguments.json {
                output::data(format!("{}  {}", app.env.now().strftime("%H:%M:%S UTC"), report.summary()));
            }
            publish(app, arguments, &report)?;
        }
        before = Some(report);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => {
                return Ok(before.as_ref().map_or(ExitCode::SUCCESS, exit_code));
            }
        }
    }
}

/// The rungs that say something else than before; all of them the first time.
fn changed<'a>(before: Option<&Report>, now: &'a Report) -> Vec<&'a Rung> {
    let same = |rung: &Rung| {
        let earlier = before?.rungs.iter().find(|earlier| earlier.name == rung.name)?;
        Some(earlier.verdict == rung.verdict && earlier.cause == rung.cause)
    };
    now.rungs.iter().filter(|rung| same(rung) != Some(true)).collect()
}

fn shared(arguments: &CheckArguments, report: &Report) -> Report {
    if arguments.anonymous { report.anonymous() } else { report.clone() }
}

/// Writes the report where it was asked for.
fn publish(app: &App, arguments: &CheckArguments, report: &Report) -> anyhow::Result<()> {
    let Some(path) = &arguments.report else { return Ok(()) };
    let page = shared(arguments, report).markdown(app.env.now());
    std::fs::write(path, page).with_context(|| format!("write the report {}", path.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(name: &str, verdict: Verdict, took_ms: u64) -> Rung {
        Rung {
            name: name.to_owned(),
            title: name.to_owned(),
            verdict,
            took_ms,
            did: String::new(),
            got: String::new(),
            cause: None,
            next_step: None,
        }
    }

    #[test]
    fn only_changes_are_shown() {
        let report = |rungs| Report { connection: String::new(), rungs };
        let first = report(vec![rung("a", Verdict::Pass, 1), rung("b", Verdict::Waiting, 1)]);
        assert_eq!(changed(None, &first).len(), 2);
        let second = report(vec![rung("a", Verdict::Pass, 9), rung("b", Verdict::Pass, 9)]);
        let names: Vec<_> =
            changed(Some(&first), &second).into_iter().map(|rung| rung.name.as_str()).collect();
        assert_eq!(names, ["b"]);
        assert!(changed(Some(&second), &second).is_empty());
    }
}
