//! Test items are removed, whatever happened before.

use postroom_graph::GraphError;

use super::Client;

/// How often it is tried: a check that fails half-way must not leave its items behind for one answer that was lost.
const TRIES: u32 = 3;

/// Removes a test item for good. One whose id was never heard, because the answer that named it was lost, is found by its
/// `Message-ID`. One that is gone already is a success.
pub(super) async fn remove(
    client: &Client,
    user: &str,
    message_id: &str,
    known: Option<String>,
) -> Result<(), GraphError> {
    let mut last = Ok(());
    for _ in 0..TRIES {
        last = once(client, user, message_id, known.as_deref()).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn once(client: &Client, user: &str, message_id: &str, known: Option<&str>) -> Result<(), GraphError> {
    let items = match known {
        Some(item) => vec![item.to_owned()],
        None => {
            let found = client.graph.find_by_internet_message_id(user, None, message_id).await?;
            found.into_iter().map(|message| message.id).collect()
        }
    };
    for item in items {
        match client.graph.purge_message(user, &item).await {
            Err(error) if !error.is_item_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
