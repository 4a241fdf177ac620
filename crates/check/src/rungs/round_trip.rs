//! The test message arrives: waited for, compared, removed.

use std::time::Duration;

use postroom_graph::wire::Message;

use super::send::Sent;
use super::{Client, nothing_to_go_on};
use crate::finding::Finding;
use crate::ladder::Probed;
use crate::{TestMessage, Verdict};

/// Mail within one tenant arrives in seconds; a person waits in front of the page.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);
/// Newest messages looked through each time.
const NEWEST: u32 = 25;

/// `known` says whether the recipient is one of the mailboxes that can be opened.
pub(crate) async fn probe(
    client: Option<&Client>,
    message: &TestMessage,
    sent: Option<&Sent>,
    known: bool,
) -> Probed<()> {
    let recipient = &message.recipient;
    if !known {
        let reason =
            format!("Not checked, because {recipient} is not one of the mailboxes of this connection.");
        return Finding::skipped(reason).into();
    }
    let (Some(client), Some(sent)) = (client, sent) else { return nothing_to_go_on().into() };
    let did = format!("Waited for the test message in the inbox of {recipient}, compared it and removed it.");
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let newest = match client.graph.newest(recipient.as_str(), "inbox", NEWEST).await {
            Ok(newest) => newest,
            Err(error) => {
                let failure = error.failure(&format!("read the inbox of {recipient}"));
                return Finding::refused(did, &failure, &client.graph.ids(recipient.as_str())).into();
            }
        };
        if let Some(found) = newest.iter().find(|found| is_ours(found, sent)) {
            return arrived(client, message, sent, found, did, look).await.into();
        }
    }
    Finding::wrong(
        Verdict::Waiting,
        did,
        format!("Not there after {} seconds.", u64::from(LOOKS) * PAUSE.as_secs()),
        "The message was sent and has not arrived yet.",
        "Delivery can take minutes, the first time above all; look into the junk folder, wait and press Test again.",
    )
    .into()
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
    look: u32,
) -> Finding {
    let removed = client.graph.delete_message(message.recipient.as_str(), &found.id).await;
    if let Some(copy) = &sent.provider_id {
        // The sender's copy goes too; should it stay, it does no harm.
        let _ = client.graph.delete_message(message.sender.as_str(), copy).await;
    }
    let seconds = u64::from(look) * PAUSE.as_secs();
    let id = found.internet_message_id.as_deref().unwrap_or("none");
    let got = format!("Arrived within {} s, Message-ID {id}.", seconds.max(1));
    if id != sent.message_id {
        return Finding::wrong(
            Verdict::Warn,
            did,
            got,
            format!("The provider replaced the Message-ID {}.", sent.message_id),
            "Answers are then matched by the provider's own id; nothing is to be done.",
        );
    }
    match removed {
        Ok(()) => Finding::pass(did, got),
        Err(error) => {
            let failure = error.failure("remove the test message");
            let refused = Finding::refused(did, &failure, &client.graph.ids(message.recipient.as_str()));
            Finding { verdict: Verdict::Warn, ..refused }
        }
    }
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

    #[tokio::test]
    async fn a_recipient_elsewhere_is_skipped_with_the_reason() {
        let message = TestMessage {
            sender: "orders@contoso.example".parse().unwrap(),
            recipient: "purchasing@fabrikam.example".parse().unwrap(),
        };
        let probed = probe(None, &message, Some(&sent()), false).await;
        assert_eq!(probed.finding.verdict, Verdict::Skipped);
        assert!(probed.finding.got.contains("purchasing@fabrikam.example"));
    }
}
