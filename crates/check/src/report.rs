//! What is reported: rungs with verdicts, a summary, and a page that can be shared.

use postroom_model::Timestamp;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::{ConnectionId, Env};
use serde::{Deserialize, Serialize};

use crate::mask;

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

impl Verdict {
    /// The word for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Pass => "ok",
            Self::Warn => "note",
            Self::Fail => "FAILED",
            Self::Waiting => "waiting",
            Self::Skipped => "not checked",
        }
    }
}

/// One named probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Stable name: `shapes`, `clock`, `network:sign-in`, `network:mail`, `tenant`, `token`, `roles`, `credential`,
    /// `mailbox:<address>`, `read:<address>`, `file:<address>`, `refusal:<address>` (or `refusal` alone when no
    /// address is named), `size`, `sign-in` and `sign-in:<address>`, `send`, `send-large`, `round-trip`,
    /// `reply`, `notice`.
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
    /// What is told of this run at the connection, whoever asked for it. `unsaved`: other settings than its saved ones
    /// were checked.
    pub fn event(&self, env: &Env, connection: ConnectionId, unsaved: bool, actor: &str) -> Event {
        let summary = self.summary();
        let words = if unsaved { format!("with unsaved settings: {summary}") } else { summary };
        let subject = Subject::Connection(connection);
        Event::new(env.new_id(), env.now(), subject, EventKind::ConnectionChecked).words(words).actor(actor)
    }

    /// Whether nothing failed and nothing is waited for.
    pub fn ok(&self) -> bool {
        !self.failed() && !self.waiting()
    }

    /// Whether something fails.
    pub fn failed(&self) -> bool {
        self.rungs.iter().any(|rung| rung.verdict == Verdict::Fail)
    }

    /// Whether something is waited for.
    pub fn waiting(&self) -> bool {
        self.rungs.iter().any(|rung| rung.verdict == Verdict::Waiting)
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

    /// The same with ids and addresses shortened, so that strangers learn none.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        let short = |text: &String| mask::shorten(text);
        let rungs = self.rungs.iter().map(|rung| Rung {
            name: short(&rung.name),
            title: short(&rung.title),
            verdict: rung.verdict,
            took_ms: rung.took_ms,
            did: short(&rung.did),
            got: short(&rung.got),
            cause: rung.cause.as_ref().map(short),
            next_step: rung.next_step.as_ref().map(short),
        });
        Self { connection: short(&self.connection), rungs: rungs.collect() }
    }

    /// A page in Markdown that can be shared: a table of all rungs, then what each did and got. There is no secret
    /// in it, because there is none in a rung.
    pub fn markdown(&self, now: Timestamp) -> String {
        let time = now.strftime("%Y-%m-%d %H:%M UTC");
        let version = env!("CARGO_PKG_VERSION");
        let mut page = format!("# Check of {}\n\n", cell(&self.connection));
        page.push_str(&format!("{time}, Postroom {version}. Result: {}\n\n", cell(&self.summary())));
        page.push_str("| | Rung | Verdict | Time |\n|---:|---|---|---:|\n");
        for (index, rung) in self.rungs.iter().enumerate() {
            let (title, verdict) = (cell(&rung.title), rung.verdict.words());
            page.push_str(&format!("| {} | {title} | {verdict} | {} ms |\n", index + 1, rung.took_ms));
        }
        for rung in &self.rungs {
            page.push_str(&format!("\n## {}: {}\n\n", cell(&rung.title), rung.verdict.words()));
            let lines = [
                ("Done", Some(&rung.did)),
                ("Got", Some(&rung.got)),
                ("Cause", rung.cause.as_ref()),
                ("Next step", rung.next_step.as_ref()),
            ];
            for (label, text) in lines {
                if let Some(text) = text {
                    page.push_str(&format!("- {label}: {}\n", cell(text)));
                }
            }
        }
        page
    }
}

/// Text of strangers on one line, without what Markdown or HTML would act on.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '`' | '<' | '[' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_page_holds_every_rung_and_acts_on_nothing() {
        let mut odd = rung("Sign-in", Verdict::Fail, Some("A | <script>\nb"), None);
        odd.got = "orders@contoso.example".to_owned();
        let report = Report { connection: "Contoso 365".into(), rungs: vec![odd] };
        let page = report.markdown(Timestamp::UNIX_EPOCH);
        assert!(page.contains("- Cause: A \\| \\<script> b\n"), "{page}");
        assert!(page.contains("orders@contoso.example"));
        assert!(!report.anonymous().markdown(Timestamp::UNIX_EPOCH).contains("orders@contoso.example"));
    }
}
