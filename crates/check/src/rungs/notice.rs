//! How a change is noticed.

use std::time::Duration;

use postroom_transport::{Seen, Woken};

use super::{Means, quoted};
use crate::finding::{Finding, Way};
use crate::{CheckRequest, Verdict};

const DID: &str = "Looked at how new mail is noticed.";
/// How long a stream of notices is looked at: that it opens is enough.
const GLANCE: Duration = Duration::from_millis(200);

/// Whether the service itself says that mail is new, as far as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Microsoft Graph calls a public https address, and this check has none to offer.
    ByCall,
    /// On an open line: IDLE, streaming notifications.
    OnLine(&'static str),
    /// It cannot tell.
    Never(&'static str),
    /// It was not seen.
    Unseen(&'static str),
}

impl Told {
    fn words(self) -> String {
        match self {
            Self::ByCall => {
                "A subscription for change notices needs a public address, and there is none.".to_owned()
            }
            Self::OnLine(how) => format!("The server tells of new mail at once by {how}."),
            Self::Never(how) => format!("The server does not offer {how}: it is polled only."),
            Self::Unseen(how) => {
                format!("Whether the server offers {how} was not seen, because no mailbox opened.")
            }
        }
    }
}

/// What IMAP or EWS offer, as earlier rungs saw it.
pub(crate) async fn told(request: &CheckRequest, means: Option<&Means>, seen: Option<&Seen>) -> Told {
    const IDLE: &str = "IDLE";
    const STREAM: &str = "streaming notifications";
    let Some(means) = means else { return Told::ByCall };
    match means.service.way {
        Way::Graph | Way::Smtp => Told::ByCall,
        Way::Imap => match seen {
            Some(seen) if seen.offers.iter().any(|offer| offer == IDLE) => Told::OnLine(IDLE),
            Some(_) => Told::Never(IDLE),
            None => Told::Unseen(IDLE),
        },
        Way::Ews => {
            let Some(first) = request.mailboxes.first() else { return Told::Unseen(STREAM) };
            let secret = request.secret.clone();
            let source = means.wire.source_for(&request.settings, secret, &request.account(first));
            let Ok(source) = source else { return Told::Unseen(STREAM) };
            match source.wait(GLANCE).await {
                Ok(Woken::News | Woken::Quiet) => Told::OnLine(STREAM),
                Ok(Woken::NotOffered) => Told::Never(STREAM),
                Err(_) => Told::Unseen(STREAM),
            }
        }
    }
}

/// Names how new mail is noticed: polling is always there beside what the service tells.
pub(crate) fn probe(request: &CheckRequest, told: Told) -> Finding {
    let every = request.polling.resolve(request.settings.polling_interval);
    match every {
        Some(every) => {
            Finding::pass(DID, format!("Polling every {}. {}", spoken(every.as_secs()), told.words()))
        }
        None => Finding::wrong(
            Verdict::Warn,
            DID,
            format!("Polling is off. {}", told.words()),
            "New mail is noticed only when somebody presses Check now.",
            format!(
                "Set a polling interval: `postroom connection save --name {} --polling-interval 2`.",
                quoted(request)
            ),
        ),
    }
}

fn spoken(seconds: i64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use postroom_model::connection::{ConnectionKind, ConnectionSettings};
    use postroom_model::polling::PollingInterval;

    use super::*;

    #[test]
    fn polling_is_named() {
        let mut request = CheckRequest::new(ConnectionSettings::new(ConnectionKind::ExchangeOnline), None);
        assert!(probe(&request, Told::ByCall).got.starts_with("Polling every 2 min."));
        request.settings.polling_interval = PollingInterval::Every(30_000);
        assert!(probe(&request, Told::ByCall).got.starts_with("Polling every 30 s."));
        request.polling = PollingInterval::Off;
        assert_eq!(probe(&request, Told::ByCall).verdict, Verdict::Warn);
    }
}
