//! What a probe found, and a provider's refusal turned into verdict, cause and next step.

use jiff::SignedDuration;
use postroom_entra::cause::{self, Advice};
use postroom_entra::{Code, Ids};
use postroom_model::failure::{Failure, Origin};

use crate::Verdict;

/// Said whenever a right that was granted may not have arrived yet.
fn propagation(may_take: Option<SignedDuration>) -> String {
    let minutes = may_take.map_or(120, |may_take| may_take.as_mins());
    let long = match minutes {
        ..120 => format!("{minutes} minutes"),
        120..=2_879 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1_440),
    };
    format!("Microsoft says that it may take up to {long}; wait and press Test again.")
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) did: String,
    pub(crate) got: String,
    pub(crate) cause: Option<String>,
    pub(crate) next_step: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn pass(did: impl Into<String>, got: impl Into<String>) -> Self {
        let (did, got) = (did.into(), got.into());
        Self { verdict: Verdict::Pass, did, got, cause: None, next_step: None }
    }

    /// Not as it should be, with cause and next step.
    pub(crate) fn wrong(
        verdict: Verdict,
        did: impl Into<String>,
        got: impl Into<String>,
        cause: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            verdict,
            did: did.into(),
            got: got.into(),
            cause: Some(cause.into()),
            next_step: Some(next_step.into()),
        }
    }

    /// Not checked.
    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Skipped,
            did: "Nothing was asked.".to_owned(),
            got: reason.into(),
            cause: None,
            next_step: None,
        }
    }

    /// What the provider or the network refused, explained with these ids.
    ///
    /// Access denied is reported as waiting: right after set-up it passes by itself, and nothing in the answer tells
    /// the two apart. The next step says both what to check and how long to wait.
    pub(crate) fn refused(did: impl Into<String>, failure: &Failure, ids: &Ids) -> Self {
        let got = match &failure.request_id {
            Some(id) => format!("{failure} (request id {id})"),
            None => failure.to_string(),
        };
        match advice(failure, ids) {
            Some(advice) if advice.waiting && failure.status == Some(403) => {
                let next_step = format!("{} {}", advice.next_step, propagation(advice.may_take));
                Self::wrong(Verdict::Waiting, did, got, advice.cause, next_step)
            }
            Some(advice) => Self::wrong(Verdict::Fail, did, got, advice.cause, advice.next_step),
            None => {
                let (cause, next_step) = by_origin(failure);
                Self::wrong(Verdict::Fail, did, got, cause, next_step)
            }
        }
    }

    /// The same with a next step that knows more than the table does. How long a change takes stays said.
    #[must_use]
    pub(crate) fn with_step(mut self, mut step: String, failure: &Failure, ids: &Ids) -> Self {
        if let Some(advice) = advice(failure, ids).filter(|_| self.verdict == Verdict::Waiting) {
            step.push(' ');
            step.push_str(&propagation(advice.may_take));
        }
        self.next_step = Some(step);
        self
    }
}

/// Whether a mailbox was refused for a reason that the rights in the token tell more about.
pub(crate) fn is_access_denied(failure: &Failure, ids: &Ids) -> bool {
    advice(failure, ids)
        .is_some_and(|advice| matches!(advice.row, "graph-access-denied" | "graph-status-403"))
}

fn advice(failure: &Failure, ids: &Ids) -> Option<Advice> {
    let code = failure.code.as_deref().unwrap_or_default();
    let number = code.strip_prefix("AADSTS").and_then(|digits| digits.parse().ok());
    match (number, failure.status) {
        (Some(number), _) => cause::explain(Code::Aadsts(number), ids),
        // Answers of the sign-in that carry no number are not Graph's.
        (None, Some(status)) if failure.origin == Origin::Provider => {
            cause::explain(Code::GraphSaid { status, code, message: &failure.words }, ids)
        }
        _ => None,
    }
}

fn by_origin(failure: &Failure) -> (String, String) {
    if let (Origin::Ourselves, Some(advice)) = (failure.origin, &failure.advice) {
        return (sentence(&failure.words), advice.clone());
    }
    let (cause, next_step) = match failure.origin {
        Origin::Network => (
            "No usable answer came back.".to_owned(),
            "Check that this machine reaches Microsoft 365 by https: name, proxy, firewall; then press Test again.",
        ),
        Origin::Provider => (
            "Microsoft 365 refused, for a reason that is not in the table.".to_owned(),
            "Look the code up at Microsoft, or ask its support with the request id.",
        ),
        Origin::Ourselves => {
            (sentence(&failure.words), "Correct the settings or choose another way, and press Test again.")
        }
    };
    (cause, next_step.to_owned())
}

/// Words as a sentence.
pub(crate) fn sentence(words: &str) -> String {
    let words = words.trim();
    if words.is_empty() || words.ends_with(['.', '!', '?']) { words.to_owned() } else { format!("{words}.") }
}

#[cfg(test)]
mod tests {
    use postroom_model::failure::Decision;

    use super::*;

    fn failure(origin: Origin, status: Option<u16>, code: &str) -> Failure {
        let mut failure = Failure::new("read the inbox", origin, "no", Decision::Hold);
        failure.status = status;
        failure.code = Some(code.to_owned()).filter(|code| !code.is_empty());
        failure.request_id = Some("r-1".to_owned());
        failure
    }

    fn ids() -> Ids {
        Ids::of("tenant-1", "app-1").with_mailbox("orders@contoso.example")
    }

    #[test]
    fn denied_access_waits_and_says_how_long() {
        let denied = failure(Origin::Provider, Some(403), "ErrorAccessDenied");
        let finding = Finding::refused("Opened the inbox.", &denied, &ids());
        assert_eq!(finding.verdict, Verdict::Waiting);
        let next_step = finding.next_step.unwrap();
        assert!(next_step.ends_with("up to 2 hours; wait and press Test again."), "{next_step}");
        assert!(finding.cause.unwrap().contains("orders@contoso.example"));
        assert_eq!(finding.got, "read the inbox: 403 ErrorAccessDenied no (request id r-1)");
    }

    #[test]
    fn a_wrong_secret_is_a_failure_even_if_a_new_one_needs_minutes() {
        let wrong = failure(Origin::Provider, Some(401), "AADSTS7000215");
        let finding = Finding::refused("Signed in.", &wrong, &ids());
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.next_step.unwrap().contains("app-1"));
    }

    #[test]
    fn there_is_always_a_cause_and_a_next_step() {
        for failure in [
            failure(Origin::Network, None, ""),
            failure(Origin::Provider, Some(418), "Teapot"),
            failure(Origin::Ourselves, None, ""),
            failure(Origin::Provider, Some(400), "AADSTS1"),
        ] {
            let finding = Finding::refused("Asked.", &failure, &ids());
            assert_eq!(finding.verdict, Verdict::Fail);
            assert!(finding.cause.is_some_and(|cause| cause.ends_with('.')), "{failure}");
            assert!(finding.next_step.is_some_and(|step| step.ends_with('.')), "{failure}");
        }
    }
}
