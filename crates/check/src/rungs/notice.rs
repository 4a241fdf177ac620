//! How a change is noticed.

use super::quoted;
use crate::finding::Finding;
use crate::{CheckRequest, Verdict};

const DID: &str = "Looked at how new mail is noticed.";

/// Microsoft 365 can call only a public https address, and this version has none to offer: mail is polled for.
pub(crate) fn probe(request: &CheckRequest) -> Finding {
    let every = request.polling.resolve(request.settings.polling_interval);
    match every {
        Some(every) => Finding::pass(
            DID,
            format!(
                "Polling every {}. A subscription for change notices needs a public address, and there is none.",
                spoken(every.as_secs())
            ),
        ),
        None => Finding::wrong(
            Verdict::Warn,
            DID,
            "Polling is off, and there is no subscription.",
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
        assert!(probe(&request).got.starts_with("Polling every 2 min."));
        request.settings.polling_interval = PollingInterval::Every(30_000);
        assert!(probe(&request).got.starts_with("Polling every 30 s."));
        request.polling = PollingInterval::Off;
        assert_eq!(probe(&request).verdict, Verdict::Warn);
    }
}
