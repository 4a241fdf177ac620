//! A test message, sent through the sender that all messages leave by.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use postroom_mime::{build, check_message};
use postroom_model::draft::ValidDraft;
use postroom_model::failure::Failure;
use postroom_model::outbox::Envelope;
use postroom_model::{Env, NamedAddress};
use postroom_transport::{Receipt, Reconciled, SendJob, SendNotes, SendOutcome};

use super::{Means, ids_for, nothing_to_go_on, refused};
use crate::finding::Finding;
use crate::ladder::Probed;
use crate::{CheckRequest, TestMessage, Verdict};

/// Why nothing is sent.
pub(crate) const NOBODY: &str = "Not checked, because no sender and recipient of a test message are named.";

/// What a test item is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// To be sent.
    Sending,
    /// To be moved to and fro.
    FilingAway,
    /// To carry a large file.
    Large,
}

impl Purpose {
    fn words(self) -> &'static str {
        match self {
            Self::Sending => check_message::TEXT,
            Self::FilingAway => {
                "This item was made by the check of filing away in Postroom, and is removed by it.\n"
            }
            Self::Large => {
                "This draft was made by the check of large files in Postroom, and is removed by it.\n"
            }
        }
    }
}

/// A test message on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Its `Message-ID`, with angle brackets.
    pub(crate) message_id: String,
    /// Its subject: unlike that of any other message.
    pub(crate) subject: String,
    /// The sender's copy.
    pub(crate) provider_id: Option<String>,
}

pub(crate) async fn probe(
    request: &CheckRequest,
    means: Option<&Means>,
    granted: Option<&Vec<String>>,
    env: &Env,
) -> Probed<Sent> {
    let message = request.message();
    let Some(message) = message.as_ref() else { return Finding::skipped(NOBODY).into() };
    let Some(means) = means else { return nothing_to_go_on().into() };
    let TestMessage { sender, recipient } = message;
    let did = format!("Sent a test message from {sender} to {recipient}.");
    let ids = ids_for(request, sender);
    let (job, subject) = job(message, Purpose::Sending, env);
    let notes = Notes::default();
    let through = match means.wire.sender_for(&request.settings, request.secret.clone()) {
        Ok(through) => through,
        Err(failure) => return refused(request, granted, did, &failure, &ids).into(),
    };
    let outcome = match through.send(&job, &notes).await {
        SendOutcome::Unknown(failure) => {
            let job = SendJob { provider_id: notes.draft(), ..job.clone() };
            looked_up(through.reconcile(&job).await, failure)
        }
        outcome => outcome,
    };
    match outcome {
        SendOutcome::Sent(receipt) => {
            let finding = taken(did, &job.message_id, &receipt);
            let sent = Sent { message_id: job.message_id, subject, provider_id: receipt.provider_id };
            Probed::with(finding, sent)
        }
        SendOutcome::NotSent(failure) => {
            if let (Some(client), Some(draft)) = (&means.client, notes.draft()) {
                // Nobody wants to find test drafts. That it cannot be removed changes nothing in the finding.
                let _ = client.graph.purge_message(sender.as_str(), &draft).await;
            }
            refused(request, granted, did, &failure, &ids).into()
        }
        SendOutcome::Unknown(failure) => Finding::wrong(
            Verdict::Fail,
            did,
            failure.to_string(),
            "Whether the message was sent is not known, and the mailbox does not tell either.",
            format!("Look into Sent Items of {sender}, and press Test again."),
        )
        .into(),
    }
}

/// It was taken, perhaps not for everybody.
fn taken(did: String, message_id: &str, receipt: &Receipt) -> Finding {
    let got = format!("{}; Message-ID {message_id}.", receipt.words);
    if receipt.refused.is_empty() {
        return Finding::pass(did, got);
    }
    let refused: Vec<String> =
        receipt.refused.iter().map(|refused| format!("{}: {}", refused.address, refused.words)).collect();
    Finding::wrong(
        Verdict::Warn,
        did,
        got,
        format!("Not taken for {}.", refused.join("; ")),
        "Check these addresses; the message was sent to the others.",
    )
}

fn looked_up(found: Reconciled, failure: Failure) -> SendOutcome {
    match found {
        Reconciled::Sent(receipt) => SendOutcome::Sent(receipt),
        Reconciled::NotSent { .. } => SendOutcome::NotSent(failure),
        Reconciled::StillUnknown(failure) | Reconciled::CannotTell(failure) => SendOutcome::Unknown(failure),
    }
}

/// The message, and its subject.
pub(crate) fn job(message: &TestMessage, purpose: Purpose, env: &Env) -> (SendJob, String) {
    let check = env.new_token(check_message::TOKEN);
    let message_id = check_message::message_id(&check, message.sender.domain());
    let subject = check_message::subject(&check);
    let draft = ValidDraft {
        from: NamedAddress::from(message.sender.clone()),
        to: vec![NamedAddress::from(message.recipient.clone())],
        cc: Vec::new(),
        bcc: Vec::new(),
        reply_to: Vec::new(),
        subject: subject.clone(),
        text: Some(purpose.words().to_owned()),
        html: None,
        // The router knows it by these; Auto-Submitted also keeps vacation notices from answering (RFC 3834 section 5).
        headers: vec![
            (check_message::FIELD.to_owned(), check),
            (check_message::AUTO_FIELD.to_owned(), check_message::AUTO.to_owned()),
        ],
        attachments: Vec::new(),
    };
    let raw = build::build(&draft, &message_id, env.now(), &env.new_token(16));
    let envelope = Envelope { from: message.sender.clone(), to: vec![message.recipient.clone()] };
    (SendJob { id: env.new_id(), envelope, message_id, raw: raw.into(), provider_id: None }, subject)
}

/// Keeps the draft's id for as long as the check runs.
#[derive(Default)]
struct Notes(Mutex<Option<String>>);

impl Notes {
    fn draft(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl SendNotes for Notes {
    async fn draft_created(&self, provider_id: &str) -> Result<(), Failure> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(provider_id.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use postroom_model::inbox::Origin;
    use postroom_transport::RefusedRecipient;

    use super::*;

    #[test]
    fn recipients_that_were_refused_are_told() {
        let mut receipt = Receipt { words: "250 2.0.0 OK".into(), ..Receipt::default() };
        assert_eq!(taken(String::new(), "<1@contoso.example>", &receipt).verdict, Verdict::Pass);
        receipt.refused = vec![RefusedRecipient {
            address: "nobody@fabrikam.example".parse().unwrap(),
            words: "550 5.1.1 No such user".into(),
            temporary: false,
        }];
        let finding = taken(String::new(), "<1@contoso.example>", &receipt);
        assert_eq!(finding.verdict, Verdict::Warn);
        assert_eq!(
            finding.cause.as_deref(),
            Some("Not taken for nobody@fabrikam.example: 550 5.1.1 No such user.")
        );
    }

    #[test]
    fn the_test_message_is_known_again_and_asks_for_no_answer() {
        let (env, _) = Env::for_test(1);
        let message = TestMessage {
            sender: "orders@contoso.example".parse().unwrap(),
            recipient: "service@contoso.example".parse().unwrap(),
        };
        let (job, subject) = job(&message, Purpose::Sending, &env);
        let view = postroom_mime::read::view(&job.raw).unwrap();
        assert_eq!(view.summary.message_id.as_deref(), Some(job.message_id.as_str()));
        assert_eq!(view.summary.subject, subject);
        assert_eq!(view.summary.origin, Origin::AutoReply);
        assert!(postroom_mime::read::is_check(&job.raw));
    }
}
