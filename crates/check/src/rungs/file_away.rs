//! Filing away: a folder of ours, a test item moved there and back, and all of it removed again.

use postroom_graph::GraphError;
use postroom_model::{EmailAddress, Env};

use super::send::{self, Purpose};
use super::{Client, nothing_to_go_on, test_item};
use crate::finding::Finding;
use crate::ladder::{Probed, Step};
use crate::{Mode, TestMessage, Verdict};

/// The folder of this check. Its name tells whoever sees it in the seconds that it is there.
const FOLDER: &str = "Postroom check";

pub(crate) fn step(mailbox: &EmailAddress) -> Step {
    Step::of("file", "Filing away in", mailbox)
}

pub(crate) async fn probe(
    client: Option<&Client>,
    mailbox: &EmailAddress,
    mode: Mode,
    env: &Env,
) -> Probed<()> {
    if mode == Mode::Quick {
        return Finding::skipped("Not checked, because it changes the mailbox; the full check does it.")
            .into();
    }
    let Some(client) = client else { return nothing_to_go_on().into() };
    let did =
        format!("Made the folder {FOLDER} in {mailbox}, moved a test item there and back, removed both.");
    let ids = client.graph.ids(mailbox.as_str());
    let folder = match folder(client, mailbox).await {
        Ok(folder) => folder,
        Err(error) => return Finding::refused(did, &error.failure("make a folder"), &ids).into(),
    };
    let message = TestMessage { sender: mailbox.clone(), recipient: mailbox.clone() };
    let (job, _) = send::job(&message, Purpose::FilingAway, env);
    let mut item = None;
    let moved = there_and_back(client, mailbox, &job.raw, &folder, &mut item).await;
    let removed = remove(client, mailbox, &folder, &job.message_id, item).await;
    match (moved, removed) {
        (Ok(()), Ok(())) => Finding::pass(did, "Moved there and back; nothing is left."),
        (Err(error), _) => Finding::refused(did, &error.failure("file a test item away"), &ids),
        (Ok(()), Err(error)) => Finding::wrong(
            Verdict::Warn,
            did,
            error.failure("remove the test item").to_string(),
            "Moving works, but the test item or its folder could not be removed.",
            format!("Remove the folder {FOLDER} in {mailbox} by hand."),
        ),
    }
    .into()
}

/// A new folder; one that an earlier check left behind will do.
async fn folder(client: &Client, mailbox: &EmailAddress) -> Result<String, GraphError> {
    match client.graph.create_folder(mailbox.as_str(), FOLDER).await {
        Ok(folder) => Ok(folder.id),
        Err(error) if error.status() == Some(409) => {
            let found = client.graph.find_folder(mailbox.as_str(), FOLDER).await?;
            found.map(|folder| folder.id).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

async fn there_and_back(
    client: &Client,
    mailbox: &EmailAddress,
    raw: &[u8],
    folder: &str,
    item: &mut Option<String>,
) -> Result<(), GraphError> {
    let user = mailbox.as_str();
    let draft = item.insert(client.graph.create_draft_mime(user, raw).await?.id);
    *draft = client.graph.move_to(user, draft, folder).await?.id;
    *draft = client.graph.move_to(user, draft, "drafts").await?.id;
    Ok(())
}

async fn remove(
    client: &Client,
    mailbox: &EmailAddress,
    folder: &str,
    message_id: &str,
    item: Option<String>,
) -> Result<(), GraphError> {
    let item = test_item::remove(client, mailbox.as_str(), message_id, item).await;
    // The folder goes even when the item stays.
    let folder = client.graph.delete_folder(mailbox.as_str(), folder).await;
    item.and(folder)
}
