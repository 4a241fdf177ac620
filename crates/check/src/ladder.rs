//! Runs one probe after the other and skips what depends on a failed one.

use std::future::Future;

use postroom_model::{EmailAddress, Env, SecretString};

use crate::finding::Finding;
use crate::{Rung, Verdict, mask};

/// A rung's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Stable name.
    pub(crate) name: std::borrow::Cow<'static, str>,
    /// Name for people.
    pub(crate) title: std::borrow::Cow<'static, str>,
}

impl Step {
    /// A rung that there is once.
    pub(crate) const fn new(name: &'static str, title: &'static str) -> Self {
        Self { name: std::borrow::Cow::Borrowed(name), title: std::borrow::Cow::Borrowed(title) }
    }

    /// A rung that there is for each mailbox: `read:orders@contoso.example`.
    pub(crate) fn of(name: &str, title: &str, mailbox: &EmailAddress) -> Self {
        Self { name: format!("{name}:{mailbox}").into(), title: format!("{title} {mailbox}").into() }
    }
}

/// The rungs climbed so far.
pub(crate) struct Ladder<'a> {
    env: &'a Env,
    /// Masked in every text.
    secrets: Vec<&'a SecretString>,
    /// The connection's name as one word of a command line: it stands in every command that is advised.
    connection: String,
    progress: &'a mut (dyn FnMut(&Rung) + Send),
    rungs: Vec<Rung>,
}

impl<'a> Ladder<'a> {
    /// A ladder that tells `progress` of each rung.
    pub(crate) fn new(
        env: &'a Env,
        secrets: Vec<&'a SecretString>,
        connection: String,
        progress: &'a mut (dyn FnMut(&Rung) + Send),
    ) -> Self {
        Self { env, secrets, connection, progress, rungs: Vec::new() }
    }

    /// Runs `probe` when all rungs of `needs` stand, and gives what it found for later rungs. A probe is a future,
    /// so one that is skipped never begins.
    pub(crate) async fn climb<T>(
        &mut self,
        step: Step,
        needs: &[Step],
        probe: impl Future<Output = Probed<T>>,
    ) -> Option<T> {
        let begun = self.env.now();
        let (finding, found) = match self.broken(needs) {
            Some(reason) => (Finding::skipped(reason), None),
            None => {
                let Probed { finding, found } = probe.await;
                (finding, found)
            }
        };
        let took = self.env.now().duration_since(begun).as_millis();
        let masked = |text: String| mask::secrets(&text, &self.secrets);
        let named =
            |text: String| text.replace("--connection NAME", &format!("--connection {}", self.connection));
        let rung = Rung {
            name: step.name.into_owned(),
            title: step.title.into_owned(),
            verdict: finding.verdict,
            took_ms: u64::try_from(took).unwrap_or(0),
            did: masked(finding.did),
            got: masked(finding.got),
            cause: finding.cause.map(masked),
            next_step: finding.next_step.map(named).map(masked),
        };
        (self.progress)(&rung);
        self.rungs.push(rung);
        found
    }

    /// Why something that needs these cannot be checked: the first of them that does not stand.
    fn broken(&self, needs: &[Step]) -> Option<String> {
        needs.iter().find_map(|need| {
            let rung = self.rungs.iter().find(|rung| rung.name == need.name)?;
            let how = match rung.verdict {
                Verdict::Pass | Verdict::Warn => return None,
                Verdict::Fail => "failed",
                Verdict::Waiting => "is still waited for",
                Verdict::Skipped => "was not checked",
            };
            Some(format!("Not checked, because {} {how}.", rung.title))
        })
    }

    /// Whether this rung was climbed and does not stand, other than by being passed over.
    pub(crate) fn failed(&self, step: &Step) -> bool {
        let bad = |rung: &&Rung| rung.name == step.name;
        self.rungs
            .iter()
            .find(bad)
            .is_some_and(|rung| matches!(rung.verdict, Verdict::Fail | Verdict::Waiting))
    }

    /// All rungs, in order.
    pub(crate) fn end(self) -> Vec<Rung> {
        self.rungs
    }
}

/// What a probe gives: what is reported, and what later rungs go on with.
#[derive(Debug)]
pub(crate) struct Probed<T> {
    pub(crate) finding: Finding,
    pub(crate) found: Option<T>,
}

impl<T> Probed<T> {
    /// Something to go on with.
    pub(crate) fn with(finding: Finding, found: T) -> Self {
        Self { finding, found: Some(found) }
    }
}

impl<T> From<Finding> for Probed<T> {
    fn from(finding: Finding) -> Self {
        Self { finding, found: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Step = Step::new("a", "First");
    const B: Step = Step::new("b", "Second");
    const C: Step = Step::new("c", "Third");
    const D: Step = Step::new("d", "Fourth");

    async fn verdict(verdict: Verdict) -> Probed<u8> {
        let mut finding = Finding::pass("Asked.", "answered");
        finding.verdict = verdict;
        Probed::with(finding, 7)
    }

    async fn never() -> Probed<u8> {
        panic!("a rung that depends on a failed one was probed")
    }

    #[tokio::test]
    async fn a_failure_stops_only_what_depends_on_it() {
        let (env, _) = Env::for_test(1);
        let mut progress = Vec::new();
        let mut tell = |rung: &Rung| progress.push(rung.name.clone());
        let mut ladder = Ladder::new(&env, Vec::new(), String::new(), &mut tell);
        assert_eq!(ladder.climb(A, &[], verdict(Verdict::Fail)).await, Some(7));
        assert_eq!(ladder.climb(B, &[A], never()).await, None);
        assert_eq!(ladder.climb(C, &[], verdict(Verdict::Warn)).await, Some(7));
        assert_eq!(ladder.climb(D, &[C], verdict(Verdict::Pass)).await, Some(7));
        let rungs = ladder.end();
        let verdicts: Vec<_> = rungs.iter().map(|rung| rung.verdict).collect();
        assert_eq!(verdicts, [Verdict::Fail, Verdict::Skipped, Verdict::Warn, Verdict::Pass]);
        assert_eq!(rungs[1].got, "Not checked, because First failed.");
        assert_eq!(progress, ["a", "b", "c", "d"]);
    }

    #[tokio::test]
    async fn what_is_skipped_or_waited_for_carries_nothing() {
        let (env, _) = Env::for_test(1);
        let mut tell = |_: &Rung| ();
        let mut ladder = Ladder::new(&env, Vec::new(), String::new(), &mut tell);
        ladder.climb(A, &[], verdict(Verdict::Waiting)).await;
        ladder.climb(B, &[A], never()).await;
        ladder.climb(C, &[B], never()).await;
        let got: Vec<_> = ladder.end().into_iter().map(|rung| rung.got).collect();
        assert_eq!(got[1], "Not checked, because First is still waited for.");
        assert_eq!(got[2], "Not checked, because Second was not checked.");
    }
}
