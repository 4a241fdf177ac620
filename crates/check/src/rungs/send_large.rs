//! A large attachment through an upload session, on a draft that is removed afterwards.

use bytes::Bytes;
use postroom_graph::{GraphError, Upload};
use postroom_model::Env;
use postroom_model::failure::Failure;

use super::send::{self, Purpose};
use super::{Client, nothing_to_go_on};
use crate::finding::Finding;
use crate::ladder::Probed;
use crate::{CheckRequest, Mode, TestMessage, Verdict};

/// Bytes of the file: more than one request may have.
const SIZE: usize = 5_000_000;

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
    let did =
        format!("Put a file of 5 MB on a draft of {user} through an upload session, and removed the draft.");
    let (job, _) = send::job(message, Purpose::Large, env);
    let ids = client.graph.ids(user);
    let draft = match client.graph.create_draft_mime(user, &job.raw).await {
        Ok(draft) => draft.id,
        Err(error) => return denied(Finding::refused(did, &error.failure("make a draft"), &ids)).into(),
    };
    let content = Bytes::from(vec![0x2e; SIZE]);
    let file = Upload {
        name: "postroom-check.bin",
        content_type: "application/octet-stream",
        content_id: None,
        inline: false,
        content: &content,
    };
    let sent = client.graph.upload_attachment(user, &draft, &file).await;
    let removed = client.graph.purge_message(user, &draft).await;
    let fail = |error: GraphError| -> Failure { error.failure("upload a file") };
    match (sent, removed) {
        (Ok(pieces), Ok(())) => {
            Finding::pass(did, format!("{SIZE} bytes in {pieces} pieces; nothing is left."))
        }
        (Err(error), _) => denied(Finding::refused(did, &fail(error), &ids)),
        (Ok(_), Err(error)) => Finding::wrong(
            Verdict::Warn,
            did,
            fail(error).to_string(),
            "The upload works, but the draft could not be removed.",
            format!("Remove the draft with the subject Postroom test message in {user} by hand."),
        ),
    }
    .into()
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
