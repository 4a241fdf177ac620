//! What a probe found, and a provider's refusal turned into verdict, cause and next step.

use jiff::SignedDuration;
use postroom_entra::cause::{self, Advice};
use postroom_entra::{Code, Ids};
use postroom_model::connection::{ConnectionKind, ConnectionSettings, ExchangeApi};
use postroom_model::failure::{Failure, Origin};

use crate::Verdict;

/// Who is asked for mail, and how one signs in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) way: Way,
    /// Whether a token of Microsoft Entra opens it.
    pub(crate) entra: bool,
}

/// By which protocol mail is read or sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Graph,
    Ews,
    Imap,
    Smtp,
}

impl Service {
    pub(crate) const GRAPH: Self = Self { way: Way::Graph, entra: true };

    pub(crate) fn of(settings: &ConnectionSettings) -> Self {
        let way = match (settings.kind, settings.api) {
            (ConnectionKind::ExchangeOnline, ExchangeApi::Graph) => Way::Graph,
            (ConnectionKind::ExchangeOnline | ConnectionKind::Exchange, _) => Way::Ews,
            (ConnectionKind::Imap, _) => Way::Imap,
            (ConnectionKind::Smtp, _) => Way::Smtp,
        };
        Self { way, entra: settings.uses_entra() }
    }
}

impl Way {
    /// Its name for people.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Graph => "Microsoft Graph",
            Self::Ews => "Exchange Web Services",
            Self::Imap => "IMAP",
            Self::Smtp => "SMTP",
        }
    }
}

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

    /// What Microsoft Graph, the sign-in or the network refused, explained with these ids.
    pub(crate) fn refused(did: impl Into<String>, failure: &Failure, ids: &Ids) -> Self {
        Self::refused_by(Service::GRAPH, did, failure, ids)
    }

    /// What the service or the network refused, explained with these ids.
    ///
    /// Access denied is reported as waiting: right after set-up it passes by itself, and nothing in the answer tells
    /// the two apart. The next step says both what to check and how long to wait. Where no token of Microsoft Entra is
    /// used, nothing arrives later.
    pub(crate) fn refused_by(service: Service, did: impl Into<String>, failure: &Failure, ids: &Ids) -> Self {
        let got = match &failure.request_id {
            Some(id) => format!("{failure} (request id {id})"),
            None => failure.to_string(),
        };
        let arrives = match service.way {
            Way::Graph => failure.status == Some(403),
            _ => service.entra && !is_sign_in(failure),
        };
        match advice(service, failure, ids) {
            Some(advice) if advice.waiting && arrives => {
                let next_step = format!("{} {}", advice.next_step, propagation(advice.may_take));
                Self::wrong(Verdict::Waiting, did, got, advice.cause, next_step)
            }
            Some(advice) => Self::wrong(Verdict::Fail, did, got, advice.cause, advice.next_step),
            None => {
                let (cause, next_step) = by_origin(service, failure);
                Self::wrong(Verdict::Fail, did, got, cause, next_step)
            }
        }
    }

    /// The same with a next step that knows more than the table does. How long a change takes stays said.
    #[must_use]
    pub(crate) fn with_step(mut self, mut step: String, failure: &Failure, ids: &Ids) -> Self {
        if let Some(advice) =
            advice(Service::GRAPH, failure, ids).filter(|_| self.verdict == Verdict::Waiting)
        {
            step.push(' ');
            step.push_str(&propagation(advice.may_take));
        }
        self.next_step = Some(step);
        self
    }
}

/// Whether a mailbox was refused for a reason that the rights in the token tell more about.
pub(crate) fn is_access_denied(failure: &Failure, ids: &Ids) -> bool {
    advice(Service::GRAPH, failure, ids)
        .is_some_and(|advice| matches!(advice.row, "graph-access-denied" | "graph-status-403"))
}

/// Whether Microsoft Entra said it.
fn is_sign_in(failure: &Failure) -> bool {
    failure.code.as_deref().is_some_and(|code| code.starts_with("AADSTS"))
}

/// What the table of causes says.
pub(crate) fn advice(service: Service, failure: &Failure, ids: &Ids) -> Option<Advice> {
    let code = failure.code.as_deref().unwrap_or_default();
    if let Some(number) = code.strip_prefix("AADSTS").and_then(|digits| digits.parse().ok()) {
        return cause::explain(Code::Aadsts(number), ids);
    }
    // Answers of the sign-in that carry no number are none of the service's.
    if failure.origin != Origin::Provider {
        return None;
    }
    let words = failure.words.as_str();
    match (service.way, failure.status) {
        (Way::Graph, Some(status)) => cause::explain(Code::GraphSaid { status, code, message: words }, ids),
        // A policy over EWS itself comes without a code, and says so in its words.
        (Way::Ews, Some(status)) if code.is_empty() => cause::explain(Code::Ews { status, code: words }, ids),
        (Way::Ews, Some(status)) => cause::explain(Code::Ews { status, code }, ids),
        (Way::Imap, _) => cause::explain(Code::Imap(words), ids),
        (Way::Smtp, Some(status)) => {
            let reply = format!("{status} {code} {words}").replacen("  ", " ", 1);
            cause::explain(Code::Smtp(&reply), ids)
        }
        (Way::Graph | Way::Ews | Way::Smtp, None) => None,
    }
}

fn by_origin(service: Service, failure: &Failure) -> (String, String) {
    if let (Origin::Ourselves, Some(advice)) = (failure.origin, &failure.advice) {
        return (sentence(&failure.words), advice.clone());
    }
    // On the way to a server of one's own, the transport names what went wrong and what helps.
    if let (true, Some(advice)) = (service.way != Way::Graph, &failure.advice) {
        return (sentence(&failure.words), advice.clone());
    }
    let graph = service.way == Way::Graph;
    let (cause, next_step) = match failure.origin {
        Origin::Network if graph => (
            "No usable answer came back.".to_owned(),
            "Check that this machine reaches Microsoft 365 by https: name, proxy, firewall; then press Test again.",
        ),
        Origin::Network => (
            "No usable answer came back.".to_owned(),
            "Check server address, port and TLS mode, and the firewalls on the way; then press Test again.",
        ),
        Origin::Provider if graph => (
            "Microsoft 365 refused, for a reason that is not in the table.".to_owned(),
            "Look the code up at Microsoft, or ask its support with the request id.",
        ),
        Origin::Provider => (
            "The server refused, for a reason that is not in the table.".to_owned(),
            "Show its words to the server's administrator, who finds more in its log.",
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
    fn a_sign_in_that_may_still_arrive_is_waited_for_only_where_it_is_granted_elsewhere() {
        let mut refused = failure(Origin::Provider, None, "");
        refused.words = "NO AUTHENTICATE failed.".to_owned();
        let verdict = |entra| {
            let service = Service { way: Way::Imap, entra };
            Finding::refused_by(service, "Signed in.", &refused, &ids()).verdict
        };
        assert_eq!((verdict(true), verdict(false)), (Verdict::Waiting, Verdict::Fail));
    }

    #[test]
    fn there_is_always_a_cause_and_a_next_step() {
        for failure in [
            failure(Origin::Network, None, ""),
            failure(Origin::Provider, Some(418), "Teapot"),
            failure(Origin::Ourselves, None, ""),
            failure(Origin::Provider, Some(400), "AADSTS1"),
        ] {
            for way in [Way::Graph, Way::Ews, Way::Imap, Way::Smtp] {
                let service = Service { way, entra: true };
                let finding = Finding::refused_by(service, "Asked.", &failure, &ids());
                assert_eq!(finding.verdict, Verdict::Fail);
                assert!(finding.cause.is_some_and(|cause| cause.ends_with('.')), "{failure}");
                assert!(finding.next_step.is_some_and(|step| step.ends_with('.')), "{failure}");
            }
        }
    }
}
