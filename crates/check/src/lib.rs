//! The ladder of checks, used by the page, the command line and the timer alike.
//!
//! # How to add a rung
//!
//! Write a function that takes the [`CheckRequest`] and what earlier rungs found, and gives a [`Rung`]; name it in
//! the list of `run` with the rungs it depends on.

use postroom_model::connection::ConnectionSettings;
use postroom_model::{EmailAddress, Env, SecretString};
use serde::{Deserialize, Serialize};

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
    /// Stable name: `shapes`, `tenant`, `token`, `roles`, `mailbox`, `send`, `round-trip`.
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
        todo!()
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
pub async fn run(request: &CheckRequest, env: &Env, progress: &mut (dyn FnMut(&Rung) + Send)) -> Report {
    let _ = (request, env, progress);
    todo!()
}
