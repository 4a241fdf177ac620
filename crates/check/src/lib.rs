//! The ladder of checks, used by the page, the command line and the timer alike: from the settings up to a message
//! that was sent and came back, each rung with what was done, what came back, the cause and the next step.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | here | what is asked and what is reported |
//! | `ladder` | runs one probe after the other and skips what depends on a failed one |
//! | `finding` | what a probe found; a provider's refusal turned into verdict, cause and next step |
//! | `rungs` | the probes: settings, tenant, sign-in, rights, mailboxes, test message and round trip |
//!
//! # How to add a rung
//!
//! 1. Write a probe in `rungs`: an async function that takes what earlier rungs found and gives a `Finding`.
//! 2. Name it in [`run`], with the rungs it depends on. A rung that was not reached is reported as skipped.
//! 3. Add its name to the list at [`Rung::name`].

mod finding;
mod ladder;
mod rungs;

use postroom_model::connection::ConnectionSettings;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::{ConnectionId, EmailAddress, Env, SecretString};
use serde::{Deserialize, Serialize};

use crate::ladder::Ladder;

/// What one probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Works, and something is to be looked at.
    Warn,
    /// Does not work.
    Fail,
    /// Will probably work soon without anybody doing anything (propagation).
    Waiting,
    /// Could not be checked, because an earlier rung failed or the means are missing.
    Skipped,
}

/// One named probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Stable name: `shapes`, `tenant`, `token`, `roles`, `mailbox:<address>`, `send`, `round-trip`.
    pub name: String,
    /// Name for people: `Sign-in`.
    pub title: String,
    /// What was found.
    pub verdict: Verdict,
    /// Milliseconds it took.
    pub took_ms: u64,
    /// What was done, one sentence.
    pub did: String,
    /// What came back, secrets masked.
    pub got: String,
    /// Why it failed, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
}

/// All rungs of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the connection.
    pub connection: String,
    /// The rungs, in order.
    pub rungs: Vec<Rung>,
}

impl Report {
    /// Whether nothing failed and nothing is waited for.
    pub fn ok(&self) -> bool {
        !self.rungs.iter().any(|rung| matches!(rung.verdict, Verdict::Fail | Verdict::Waiting))
    }

    /// `OK!`, or the first thing that is wrong with its cause and next step.
    pub fn summary(&self) -> String {
        let wrong = |rung: &&Rung| matches!(rung.verdict, Verdict::Fail | Verdict::Waiting);
        let Some(rung) = self.rungs.iter().find(wrong) else { return "OK!".to_owned() };
        let cause = rung.cause.as_deref().unwrap_or(&rung.got);
        match &rung.next_step {
            Some(next_step) => format!("{}: {cause} {next_step}", rung.title),
            None => format!("{}: {cause}", rung.title),
        }
    }

    /// What is told of this run at the connection, whoever asked for it. `unsaved`: other settings than its saved ones
    /// were checked.
    pub fn event(&self, env: &Env, connection: ConnectionId, unsaved: bool, actor: &str) -> Event {
        let summary = self.summary();
        let words = if unsaved { format!("with unsaved settings: {summary}") } else { summary };
        let subject = Subject::Connection(connection);
        Event::new(env.new_id(), env.now(), subject, EventKind::ConnectionChecked).words(words).actor(actor)
    }
}

/// What is checked: settings that need not be saved.
pub struct CheckRequest {
    /// The settings.
    pub settings: ConnectionSettings,
    /// The secret to sign in with; none when none is stored or typed.
    pub secret: Option<SecretString>,
    /// Mailboxes to open.
    pub mailboxes: Vec<EmailAddress>,
    /// Sender and recipient of a test message; none: nothing is sent.
    pub test_message: Option<TestMessage>,
}

/// The test message of *Check e-mail settings*.
#[derive(Debug, Clone)]
pub struct TestMessage {
    /// Sent as.
    pub sender: EmailAddress,
    /// Sent to.
    pub recipient: EmailAddress,
}

/// Runs the ladder from top to bottom. `progress` sees each rung as it ends. A failure stops only the rungs that
/// depend on it.
///
/// With a test message it changes something: a message is sent, and its copies are removed again when it has arrived
/// in one of `mailboxes`.
pub async fn run(request: &CheckRequest, env: &Env, progress: &mut (dyn FnMut(&Rung) + Send)) -> Report {
    use rungs::{SEND, SHAPES, TENANT, TOKEN};

    let mut ladder = Ladder::new(env, progress);
    let client = ladder.climb(SHAPES, &[], rungs::shapes::probe(request, env)).await;
    ladder.climb(TENANT, &[SHAPES], rungs::tenant::probe(request, client.as_ref())).await;
    let token = ladder.climb(TOKEN, &[SHAPES, TENANT], rungs::token::probe(request, client.as_ref())).await;
    ladder.climb(rungs::ROLES, &[TOKEN], rungs::roles::probe(request, token.as_ref())).await;
    for mailbox in &request.mailboxes {
        let step = rungs::mailbox::step(mailbox);
        ladder.climb(step, &[TOKEN], rungs::mailbox::probe(client.as_ref(), mailbox, env)).await;
    }
    if let Some(message) = &request.test_message {
        let sent = ladder.climb(SEND, &[TOKEN], rungs::send::probe(client.as_ref(), message, env)).await;
        let known = request.mailboxes.contains(&message.recipient);
        let inbox = rungs::mailbox::step(&message.recipient);
        let needs = if known { vec![SEND, inbox] } else { vec![SEND] };
        let probe = rungs::round_trip::probe(client.as_ref(), message, sent.as_ref(), known);
        ladder.climb(rungs::ROUND_TRIP, &needs, probe).await;
    }
    Report { connection: request.settings.display_name().to_owned(), rungs: ladder.end() }
}

#[cfg(test)]
mod tests {
    use postroom_model::connection::ConnectionKind;

    use super::*;

    fn rung(title: &str, verdict: Verdict, cause: Option<&str>, next_step: Option<&str>) -> Rung {
        Rung {
            name: title.to_lowercase(),
            title: title.to_owned(),
            verdict,
            took_ms: 0,
            did: "Asked.".to_owned(),
            got: "401 no".to_owned(),
            cause: cause.map(str::to_owned),
            next_step: next_step.map(str::to_owned),
        }
    }

    #[test]
    fn the_summary_is_ok_or_the_first_thing_that_is_wrong() {
        let summary = |rungs: Vec<Rung>| Report { connection: "Contoso 365".into(), rungs }.summary();
        let pass = || rung("Settings", Verdict::Pass, None, None);
        let warn = || rung("Rights", Verdict::Warn, Some("Few."), Some("Look."));
        let skipped = || rung("Round trip", Verdict::Skipped, None, None);
        assert_eq!(summary(vec![pass(), warn(), skipped()]), "OK!");
        let fail =
            rung("Sign-in", Verdict::Fail, Some("The client secret is wrong."), Some("Copy the Value."));
        let waiting = rung("Mailbox", Verdict::Waiting, Some("Denied."), Some("Wait."));
        assert_eq!(
            summary(vec![pass(), warn(), fail, waiting.clone()]),
            "Sign-in: The client secret is wrong. Copy the Value."
        );
        assert_eq!(summary(vec![pass(), waiting]), "Mailbox: Denied. Wait.");
        assert_eq!(summary(vec![rung("Sign-in", Verdict::Fail, None, None)]), "Sign-in: 401 no");
    }

    #[tokio::test]
    async fn wrong_settings_are_named_and_nothing_is_asked() {
        let (env, _) = Env::for_test(1);
        let recipient: EmailAddress = "orders@contoso.example".parse().unwrap();
        let request = CheckRequest {
            settings: ConnectionSettings::new(ConnectionKind::ExchangeOnline),
            secret: None,
            mailboxes: vec![recipient.clone()],
            test_message: Some(TestMessage { sender: recipient.clone(), recipient }),
        };
        let mut seen = Vec::new();
        let report = run(&request, &env, &mut |rung: &Rung| seen.push(rung.name.clone())).await;
        let verdicts: Vec<_> = report.rungs.iter().map(|rung| (rung.name.as_str(), rung.verdict)).collect();
        assert_eq!(
            verdicts,
            [
                ("shapes", Verdict::Fail),
                ("tenant", Verdict::Skipped),
                ("token", Verdict::Skipped),
                ("roles", Verdict::Skipped),
                ("mailbox:orders@contoso.example", Verdict::Skipped),
                ("send", Verdict::Skipped),
                ("round-trip", Verdict::Skipped),
            ]
        );
        assert_eq!(seen.len(), 7);
        assert_eq!(
            report.summary(),
            "Settings: Application (client) ID is missing. Correct the settings and press Test again."
        );
        assert_eq!(report.rungs[1].got, "Not checked, because Settings failed.");
    }

    #[test]
    fn a_run_may_move_between_threads() {
        fn moves<T: Send>(_: T) {}
        let (env, _) = Env::for_test(1);
        let settings = ConnectionSettings::new(ConnectionKind::Imap);
        let request = CheckRequest { settings, secret: None, mailboxes: Vec::new(), test_message: None };
        moves(run(&request, &env, &mut |_: &Rung| ()));
    }

    #[tokio::test]
    async fn what_cannot_be_checked_yet_is_no_ok() {
        let (env, _) = Env::for_test(1);
        let mut settings = ConnectionSettings::new(ConnectionKind::Imap);
        settings.server = "imap.fabrikam.example".into();
        let request = CheckRequest { settings, secret: None, mailboxes: Vec::new(), test_message: None };
        let report = run(&request, &env, &mut |_: &Rung| ()).await;
        assert!(!report.ok());
        assert!(report.summary().contains("IMAP is not available yet"), "{}", report.summary());
    }
}
