//! How a change is noticed.

use std::time::Duration;

use jiff::SignedDuration;
use postroom_model::{Env, Timestamp};
use postroom_transport::{Seen, Woken};

use super::{Means, quoted};
use crate::finding::{Finding, Way};
use crate::{CheckRequest, Verdict};

const DID: &str = "Looked at how new mail is noticed.";
/// How long a stream of notices is looked at: that it opens is enough.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a subscription of this check lives at most, should it not be ended.
const SUBSCRIBED_FOR: SignedDuration = SignedDuration::from_mins(45);

/// Whether the service itself says that mail is new, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Microsoft Graph calls a public https address, and none is set.
    NoAddress,
    /// It was subscribed and unsubscribed again.
    ByCall,
    /// The service would not call the address.
    NotCalled(Box<Finding>),
    /// Nothing is read here, so nothing is to be told.
    Sends,
    /// On an open line: IDLE, streaming notifications.
    OnLine(&'static str),
    /// It cannot tell.
    Never(&'static str),
    /// It was not seen.
    Unseen(&'static str),
}

impl Told {
    fn words(&self) -> String {
        match self {
            Self::NoAddress => {
                "No subscription for change notices was tried, and none is needed: Microsoft calls a public https address, \
                 and `public_url` is not set. With it new mail is seen at once; without it, by the next poll."
                    .to_owned()
            }
            Self::ByCall => {
                "Microsoft also calls as soon as a message arrives: a subscription was made, which the service proved by \
                 calling here, and ended again."
                    .to_owned()
            }
            Self::NotCalled(finding) => finding.got.clone(),
            Self::Sends => "This connection reads no mail.".to_owned(),
            Self::OnLine(how) => format!("The server tells of new mail at once by {how}."),
            Self::Never(how) => format!("The server does not offer {how}: it is polled only."),
            Self::Unseen(how) => {
                format!("Whether the server offers {how} was not seen, because no mailbox opened.")
            }
        }
    }
}

/// What IMAP or EWS offer, as earlier rungs saw it.
pub(crate) async fn told(
    request: &CheckRequest,
    means: Option<&Means>,
    seen: Option<&Seen>,
    env: &Env,
) -> Told {
    const IDLE: &str = "IDLE";
    const STREAM: &str = "streaming notifications";
    let Some(means) = means else { return Told::NoAddress };
    match means.service.way {
        Way::Graph => by_call(request, means, env).await,
        Way::Smtp => Told::Sends,
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

/// Subscribes the first mailbox for some minutes and ends that again. The service calls the address before it answers, so
/// an address that cannot be reached from outside is seen.
async fn by_call(request: &CheckRequest, means: &Means, env: &Env) -> Told {
    let Some(address) = &request.notify_at else { return Told::NoAddress };
    let (Some(client), Some(mailbox)) = (&means.client, request.mailboxes.first()) else {
        return Told::Unseen("change notices");
    };
    let user = mailbox.as_str();
    let until = env.now().saturating_add(SUBSCRIBED_FOR).unwrap_or(Timestamp::MAX);
    match client.graph.subscribe(user, address, &env.new_token(32), until).await {
        Ok(made) => match client.graph.unsubscribe(user, &made.id).await {
            Err(error) if !error.is_item_not_found() => {
                let got = format!(
                    "A subscription was made, and could not be ended: {error}. It ends by itself at {until:.0}."
                );
                Told::NotCalled(Box::new(Finding::wrong(
                    Verdict::Warn,
                    DID,
                    got,
                    "Change notices work; the subscription of this check is still there.",
                    "Nothing is to be done.",
                )))
            }
            _ => Told::ByCall,
        },
        // There is one for this inbox, so that works.
        Err(error) if error.status() == Some(409) => Told::ByCall,
        Err(error) => {
            let unreachable = error.code() == Some("ValidationError");
            let finding = Finding::refused(
                DID,
                &error.failure(&format!("subscribe to the inbox of {user}")),
                &client.graph.ids(user),
            );
            let (cause, next_step) = match unreachable {
                true => (
                    format!(
                        "Microsoft could not call {address}, so it makes no subscription; mail is polled."
                    ),
                    format!(
                        "Let {address} reach Postroom from the Internet while `postroom serve` runs, or take `public_url` out \
                         of the configuration: polling goes on either way."
                    ),
                ),
                false => (finding.cause.unwrap_or_default(), finding.next_step.unwrap_or_default()),
            };
            Told::NotCalled(Box::new(Finding::wrong(Verdict::Warn, DID, finding.got, cause, next_step)))
        }
    }
}

/// Names how new mail is noticed: polling is always there beside what the service tells.
pub(crate) fn probe(request: &CheckRequest, told: Told) -> Finding {
    let every = request.polling.resolve(request.settings.polling_interval);
    match every {
        Some(every) => {
            let got = format!("Polling every {}. {}", spoken(every.as_secs()), told.words());
            match told {
                Told::NotCalled(finding) => Finding { got, ..*finding },
                _ => Finding::pass(DID, got),
            }
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
        assert!(probe(&request, Told::NoAddress).got.starts_with("Polling every 2 min."));
        request.settings.polling_interval = PollingInterval::Every(30_000);
        assert!(probe(&request, Told::NoAddress).got.starts_with("Polling every 30 s."));
        request.polling = PollingInterval::Off;
        assert_eq!(probe(&request, Told::NoAddress).verdict, Verdict::Warn);
    }
}
