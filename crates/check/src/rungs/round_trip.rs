//! The test message arrives: waited for, compared, removed from where it arrived and from Sent Items.

use std::time::{Duration, Instant};

use postroom_graph::GraphError;
use postroom_graph::wire::Message;
use postroom_mime::check_message::FIELD;
use postroom_mime::read;
use postroom_model::failure::Failure;

use super::send::{NOBODY, Sent};
use super::{Client, Means, ids_for, nothing_to_go_on};
use crate::finding::{Finding, Service};
use crate::ladder::Probed;
use crate::{CheckRequest, TestMessage, Verdict};

/// Mail within one tenant arrives in seconds; a person waits in front of the page.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);
/// Newest messages looked through each time.
const NEWEST: u32 = 25;
/// Longest test message that is read back; ours have less than two kilobytes.
const MAX_BACK: u64 = 1024 * 1024;

/// The same through the transport that reads the recipient's mailbox: this connection's own, or for one that only sends
/// the incoming one. What cannot be removed stays: the message carries our marks, and routing passes over it.
pub(crate) async fn probe_inbox(
    request: &CheckRequest,
    means: Option<&Means>,
    message: Option<&TestMessage>,
    sent: Option<&Sent>,
) -> Probed<String> {
    let Some(message) = message else { return Finding::skipped(NOBODY).into() };
    let (Some(means), Some(sent)) = (means, sent) else { return nothing_to_go_on().into() };
    let recipient = &message.recipient;
    let did = format!("Waited for the test message in the inbox of {recipient}, compared it and removed it.");
    let (settings, secret, account) = match &request.incoming {
        Some(incoming) => (&incoming.settings, incoming.secret.clone(), incoming.account.clone()),
        None => (&request.settings, request.secret.clone(), request.account(recipient)),
    };
    let service = Service::of(settings);
    let refused = |did: String, failure: &Failure| {
        Finding::refused_by(service, did, failure, &ids_for(request, recipient))
    };
    let inbox = match means.wire.test_box_for(settings, secret, &account) {
        Ok(inbox) => inbox,
        Err(failure) => return refused(did, &failure).into(),
    };
    let begun = Instant::now();
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let found = match inbox.find(&sent.message_id).await {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(failure) => return refused(did, &failure).into(),
        };
        let marked = Some(has_mark(&found.raw));
        let mut finding = compare(sent, &sent.message_id, marked, did, begun.elapsed());
        if let (Err(failure), Verdict::Pass) = (inbox.remove(&found).await, finding.verdict) {
            finding = Finding { verdict: Verdict::Warn, ..refused(finding.did, &failure) };
        }
        return Probed::with(finding, sent.message_id.clone());
    }
    not_there(did).into()
}

fn not_there(did: String) -> Finding {
    Finding::wrong(
        Verdict::Waiting,
        did,
        format!("Not there after {} seconds.", u64::from(LOOKS) * PAUSE.as_secs()),
        "The message was sent and has not arrived yet.",
        "Delivery can take minutes, the first time above all; look into the junk folder, wait and press Test again.",
    )
}

/// `known` says whether the recipient is one of the mailboxes that can be opened. Gives the `Message-ID` under which
/// the message arrived.
pub(crate) async fn probe(
    client: Option<&Client>,
    message: Option<&TestMessage>,
    sent: Option<&Sent>,
    known: bool,
) -> Probed<String> {
    let Some(message) = message else { return Finding::skipped(NOBODY).into() };
    let recipient = &message.recipient;
    if !known {
        if let (Some(client), Some(sent)) = (client, sent) {
            tidy(client, message, sent).await;
        }
        let reason =
            format!("Not checked, because {recipient} is not one of the mailboxes of this connection.");
        return Finding::skipped(reason).into();
    }
    let (Some(client), Some(sent)) = (client, sent) else { return nothing_to_go_on().into() };
    let did = format!("Waited for the test message in the inbox of {recipient}, compared it and removed it.");
    let begun = Instant::now();
    let waited = wait(client, message, sent).await;
    let took = begun.elapsed();
    let probed = match waited {
        Ok(Some(found)) => arrived(client, message, sent, &found, did, took).await,
        Ok(None) => not_there(did).into(),
        Err(error) => {
            let failure = error.failure(&format!("read the inbox of {recipient}"));
            Finding::refused(did, &failure, &client.graph.ids(recipient.as_str())).into()
        }
    };
    tidy(client, message, sent).await;
    probed
}

/// The sender's copy goes too; should it stay, it does no harm.
async fn tidy(client: &Client, message: &TestMessage, sent: &Sent) {
    if let Some(copy) = &sent.provider_id {
        let _ = client.graph.purge_message(message.sender.as_str(), copy).await;
    }
}

async fn wait(client: &Client, message: &TestMessage, sent: &Sent) -> Result<Option<Message>, GraphError> {
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let newest = client.graph.newest(message.recipient.as_str(), "inbox", NEWEST).await?;
        if let Some(found) = newest.into_iter().find(|found| is_ours(found, sent)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn is_ours(found: &Message, sent: &Sent) -> bool {
    found.internet_message_id.as_deref() == Some(sent.message_id.as_str())
        || found.subject.as_deref() == Some(sent.subject.as_str())
}

async fn arrived(
    client: &Client,
    message: &TestMessage,
    sent: &Sent,
    found: &Message,
    did: String,
    took: Duration,
) -> Probed<String> {
    let user = message.recipient.as_str();
    let back = client.graph.message_mime(user, &found.id, MAX_BACK).await;
    let marked = back.ok().map(|raw| has_mark(&raw));
    let removed = client.graph.purge_message(user, &found.id).await;
    let id = found.internet_message_id.as_deref().unwrap_or("none");
    let mut finding = compare(sent, id, marked, did, took);
    if let (Err(error), Verdict::Pass) = (removed, finding.verdict) {
        let failure = error.failure("remove the test message");
        let refused = Finding::refused(finding.did, &failure, &client.graph.ids(user));
        finding = Finding { verdict: Verdict::Warn, ..refused };
    }
    Probed::with(finding, id.to_owned())
}

/// `marked` says whether our header came through; none when that could not be seen.
fn compare(sent: &Sent, id: &str, marked: Option<bool>, did: String, took: Duration) -> Finding {
    let header = match marked {
        Some(true) => "our headers came through",
        Some(false) => "our headers were dropped",
        None => "the headers could not be read back",
    };
    let seconds = took.as_secs().max(1);
    let got = format!("Arrived within {seconds} s, Message-ID {id}; {header}.");
    if id != sent.message_id {
        return Finding::wrong(
            Verdict::Warn,
            did,
            got,
            format!("The provider replaced the Message-ID {}.", sent.message_id),
            "Answers are then matched by the provider's own id, and a test message may show in the inbox; nothing is to be \
             done.",
        );
    }
    if marked == Some(false) {
        return Finding::wrong(
            Verdict::Warn,
            did,
            got,
            format!("The provider or a rule of the tenant dropped the header {FIELD}."),
            "Test messages may then be taken for mail of customers: look for a mail flow rule that removes headers.",
        );
    }
    Finding::pass(did, got)
}

fn has_mark(raw: &[u8]) -> bool {
    let headers = read::view(raw).map(|view| view.headers).unwrap_or_default();
    headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(FIELD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Sent {
        Sent {
            message_id: "<1@contoso.example>".into(),
            subject: "Postroom test message x".into(),
            provider_id: None,
        }
    }

    #[test]
    fn our_message_is_known_by_either_mark() {
        let found = |id: &str, subject: &str| Message {
            internet_message_id: Some(id.to_owned()),
            subject: Some(subject.to_owned()),
            ..Message::default()
        };
        assert!(is_ours(&found("<1@contoso.example>", ""), &sent()));
        assert!(is_ours(&found("<replaced@x.example>", "Postroom test message x"), &sent()));
        assert!(!is_ours(&found("<2@contoso.example>", "Postroom test message y"), &sent()));
    }

    #[test]
    fn what_the_provider_changed_is_said() {
        let took = Duration::from_secs(7);
        let verdict = |id, marked| {
            let finding = compare(&sent(), id, marked, String::new(), took);
            assert!(finding.got.starts_with("Arrived within 7 s"), "{}", finding.got);
            finding.verdict
        };
        assert_eq!(verdict("<1@contoso.example>", Some(true)), Verdict::Pass);
        assert_eq!(verdict("<1@contoso.example>", None), Verdict::Pass);
        assert_eq!(verdict("<1@contoso.example>", Some(false)), Verdict::Warn);
        assert_eq!(verdict("<2@contoso.example>", Some(true)), Verdict::Warn);
        assert!(has_mark(b"x-postroom-check: 1\r\nFrom: a@b.example\r\n\r\nx"));
        assert!(!has_mark(b"From: a@b.example\r\n\r\nX-Postroom-Check: 1"));
    }

    #[tokio::test]
    async fn a_recipient_elsewhere_is_skipped_with_the_reason() {
        let message = TestMessage {
            sender: "orders@contoso.example".parse().unwrap(),
            recipient: "purchasing@fabrikam.example".parse().unwrap(),
        };
        let probed = probe(None, Some(&message), Some(&sent()), false).await;
        assert_eq!(probed.finding.verdict, Verdict::Skipped);
        assert!(probed.finding.got.contains("purchasing@fabrikam.example"));
    }
}
