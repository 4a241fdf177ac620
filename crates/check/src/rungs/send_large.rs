//! A large attachment through an upload session, on a draft that is read back, compared and removed, whatever happens in
//! between.

use bytes::Bytes;
use postroom_graph::{GraphError, Upload};
use postroom_model::Env;
use postroom_transport::SendJob;

use super::send::{self, Purpose};
use super::test_item::remove;
use super::{Client, nothing_to_go_on};
use crate::finding::Finding;
use crate::ladder::Probed;
use crate::{CheckRequest, Mode, TestMessage, Verdict};

/// Bytes of the file: more than one request may have.
const SIZE: usize = 5_000_000;
/// Name of the file.
const NAME: &str = "postroom-check.bin";
/// What was seen of the file.
enum Seen {
    /// It came back as it went, in so many pieces.
    Same(usize),
    /// It came back changed.
    Changed(String),
}

pub(crate) async fn probe(
    request: &CheckRequest,
    client: Option<&Client>,
    message: Option<&TestMessage>,
    env: &Env,
) -> Probed<()> {
    if request.mode == Mode::Quick {
        return Finding::skipped("Not checked, because it takes a large upload; the full check does it.")
            .into();
    }
    let Some(message) = message else { return Finding::skipped(send::NOBODY).into() };
    let Some(client) = client else { return nothing_to_go_on().into() };
    let user = message.sender.as_str();
    let did = format!(
        "Put a file of 5 MB on a draft of {user} through an upload session, read it back, and removed the draft."
    );
    let (job, subject) = send::job(message, Purpose::Large, env);
    let mut content = vec![0; SIZE];
    env.fill(&mut content);
    let mut draft = None;
    let seen = there_and_back(client, user, &job, Bytes::from(content), &mut draft).await;
    let removed = remove(client, user, &job.message_id, draft).await;
    let finding = match (seen, &removed) {
        (Ok(Seen::Same(pieces)), Ok(())) => {
            let got = format!("{SIZE} bytes in {pieces} pieces, the same when read back; nothing is left.");
            return Finding::pass(did, got).into();
        }
        (Ok(Seen::Same(_)), Err(error)) => Finding::wrong(
            Verdict::Warn,
            did,
            error.failure("remove the draft").to_string(),
            "The upload works, but the draft could not be removed.",
            String::new(),
        ),
        (Ok(Seen::Changed(what)), _) => Finding::wrong(
            Verdict::Fail,
            did,
            what,
            "A large file does not come back as it was put there.",
            "Something between Postroom and Microsoft changes what passes through: look for a proxy that opens TLS.",
        ),
        (Err(error), _) => {
            denied(Finding::refused(did, &error.failure("upload a file"), &client.graph.ids(user)))
        }
    };
    match removed {
        Ok(()) => finding,
        Err(_) => left(finding, user, &subject),
    }
    .into()
}

async fn there_and_back(
    client: &Client,
    user: &str,
    job: &SendJob,
    content: Bytes,
    draft: &mut Option<String>,
) -> Result<Seen, GraphError> {
    let draft = draft.insert(client.graph.create_draft_mime(user, &job.raw).await?.id);
    let file = Upload {
        name: NAME,
        content_type: "application/octet-stream",
        content_id: None,
        inline: false,
        content: &content,
    };
    let pieces = client.graph.upload_attachment(user, draft, &file).await?;
    let attached = client.graph.attachments(user, draft).await?;
    let Some(found) = attached.iter().find(|one| one.name.as_deref() == Some(NAME)) else {
        return Ok(Seen::Changed(format!("The draft has no file {NAME} after the upload.")));
    };
    let mut back = client.graph.attached(user, draft, &found.id, SIZE as u64 * 2).await?;
    let mut at = 0;
    while let Some(chunk) = back.chunk().await? {
        if content.get(at..at + chunk.len()) != Some(&chunk[..]) {
            return Ok(Seen::Changed(format!(
                "The file differs from what was put there, from byte {at} on."
            )));
        }
        at += chunk.len();
    }
    Ok(match at == content.len() {
        true => Seen::Same(pieces),
        false => Seen::Changed(format!("{at} of {SIZE} bytes came back.")),
    })
}

/// Says beside everything else that a draft is left.
fn left(finding: Finding, user: &str, subject: &str) -> Finding {
    let by_hand = format!("Remove the draft with the subject {subject} in {user} by hand.");
    let step = finding.next_step.filter(|step| !step.is_empty());
    let step = step.map_or_else(|| by_hand.clone(), |step| format!("{step} {by_hand}"));
    Finding { next_step: Some(step), ..finding }
}

/// What a refusal means here: drafts need a right of their own.
fn denied(finding: Finding) -> Finding {
    if finding.verdict != Verdict::Waiting {
        return finding;
    }
    let cause = "Large messages need draft permission: a file of more than 3 MB is uploaded to a draft, and that needs \
                 Mail.ReadWrite; Mail.Send alone sends small ones only.";
    Finding { cause: Some(cause.to_owned()), ..finding }
}
