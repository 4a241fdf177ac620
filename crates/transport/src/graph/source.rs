//! Reading: a delta query over the inbox.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use postroom_graph::wire::{DeltaEntry, Message};
use postroom_graph::{DeltaPage, GraphClient, GraphError};
use postroom_model::failure::Failure;
use postroom_model::mailbox::AfterProcessing;
use postroom_model::{EmailAddress, Env, Timestamp};

use crate::{Changes, MessageSink, RemoteMessage, Source, Survey};

/// Messages asked for per page: enough that a busy mailbox needs few requests, few enough that a page is stored in
/// one short transaction.
const PAGE_SIZE: u32 = 50;

/// Most messages that are read under a filter: Graph names no more than 5,000 then, and some come meanwhile.
const FILTERED: u64 = 4_000;

const INBOX: &str = "inbox";

/// Reads the inbox of one mailbox through Microsoft Graph.
#[derive(Debug)]
pub struct GraphSource {
    client: GraphClient,
    mailbox: EmailAddress,
    env: Env,
    /// What was received before is passed over by whoever reads.
    begin_at: Option<Timestamp>,
}

impl GraphSource {
    /// A source.
    pub fn new(client: GraphClient, mailbox: EmailAddress, env: Env) -> Self {
        Self { client, mailbox, env, begin_at: None }
    }

    fn operation(&self) -> String {
        format!("read {}", self.mailbox)
    }

    fn failure(&self, error: &GraphError) -> Failure {
        error.failure(&self.operation())
    }

    /// A page, from the beginning when the cursor is lost or is one of another Graph (the settings were changed).
    async fn page(&self, cursor: Option<&str>) -> Result<(DeltaPage, bool), GraphError> {
        let user = self.mailbox.as_str();
        let asked = match cursor {
            Some(cursor) => self.client.delta(user, INBOX, Some(cursor), PAGE_SIZE).await,
            None => self.first_page().await,
        };
        match asked {
            Ok(page) => Ok((page, false)),
            Err(error)
                if cursor.is_some()
                    && (error.is_cursor_lost() || matches!(error, GraphError::Address { .. })) =>
            {
                tracing::info!(mailbox = %self.mailbox, %error, "cursor lost; the inbox is read from the beginning");
                Ok((self.first_page().await?, true))
            }
            Err(error) => Err(error),
        }
    }

    /// The first page of the whole inbox, or of what was received from the beginning that is wished for: as long as
    /// that is safely fewer than Graph names under a filter.
    async fn first_page(&self) -> Result<DeltaPage, GraphError> {
        let user = self.mailbox.as_str();
        let Some(since) = self.begin_at else {
            return self.client.delta(user, INBOX, None, PAGE_SIZE).await;
        };
        let condition = format!("ge {since:.0}");
        let few = match self.client.count_received(user, INBOX, &condition).await {
            Ok((count, _)) => count <= FILTERED,
            // It only saves requests: the whole inbox is as good.
            Err(GraphError::Garbage { .. }) => false,
            Err(error) => return Err(error),
        };
        self.client.delta_since(user, INBOX, None, Some(since).filter(|_| few), PAGE_SIZE).await
    }

    /// Creates or finds the folder that mail is moved to.
    async fn destination(&self, name: &str) -> Result<String, GraphError> {
        let user = self.mailbox.as_str();
        if let Some(folder) = self.client.find_folder(user, name).await? {
            return Ok(folder.id);
        }
        Ok(self.client.create_folder(user, name).await?.id)
    }

    /// The entries, completed by look-ups where Graph left out what did not change, 20 in one request. Gives those that
    /// are there, and the ids of those that are gone meanwhile. One that cannot be looked up does not hold up the others:
    /// it stays as it is, and what becomes of it is decided when it is fetched.
    async fn complete(
        &self,
        mut entries: Vec<Message>,
    ) -> Result<(Vec<RemoteMessage>, Vec<String>), GraphError> {
        let (user, select) =
            (self.mailbox.as_str(), "id,internetMessageId,receivedDateTime,sentDateTime,isDraft");
        let bare = |entry: &Message| entry.received_date_time.is_none();
        let ids: Vec<String> =
            entries.iter().filter(|entry| bare(entry)).map(|entry| entry.id.clone()).collect();
        let mut found: HashMap<String, Message> = HashMap::new();
        let mut drafts: HashSet<String> = HashSet::new();
        for (id, answer) in ids.iter().zip(self.client.get_messages(user, &ids, select).await?) {
            let answer = match answer {
                // What one look-up of a batch was refused for a moment is asked once more by itself; an answer that
                // names a time to wait ends the page, which is asked for again after that time.
                Err(GraphError::Refused(refused))
                    if refused.status >= 500 && refused.retry_after.is_none() =>
                {
                    self.client.get_message(user, id, select).await
                }
                answer => answer,
            };
            match answer {
                // A draft that somebody keeps in the inbox was not received.
                Ok(message) if message.is_draft == Some(true) => drop(drafts.insert(id.clone())),
                Ok(message) => drop(found.insert(id.clone(), message)),
                Err(error) if error.is_item_not_found() => {}
                Err(error) if error.may_be_the_items_own() => {
                    tracing::warn!(mailbox = %self.mailbox, %error, "a message could not be looked up; it is fetched as it is");
                    found.insert(id.clone(), Message { id: id.clone(), ..Message::default() });
                }
                Err(error) => return Err(error),
            }
        }
        let mut gone = Vec::new();
        entries.retain_mut(|entry| {
            if drafts.contains(&entry.id) {
                return false;
            }
            if !bare(entry) {
                return true;
            }
            match found.remove(&entry.id) {
                Some(message) => *entry = message,
                None => {
                    gone.push(std::mem::take(&mut entry.id));
                    return false;
                }
            }
            true
        });
        let now = self.env.now();
        Ok((entries.into_iter().map(|message| remote(message, now)).collect(), gone))
    }
}

fn remote(message: Message, now: Timestamp) -> RemoteMessage {
    RemoteMessage {
        received_at: message.received_date_time.or(message.sent_date_time).unwrap_or(now),
        provider_id: message.id,
        message_id: message.internet_message_id,
    }
}

#[async_trait]
impl Source for GraphSource {
    fn begin_at(&mut self, instant: Timestamp) {
        self.begin_at = Some(instant);
    }

    async fn received_since(&self, since: Timestamp) -> Result<Vec<RemoteMessage>, Failure> {
        let (user, mut next, mut found) = (self.mailbox.as_str(), None, Vec::new());
        loop {
            let asked = self.client.received_since(user, INBOX, since, next.as_deref()).await;
            let (mut page, link) = asked.map_err(|error| self.failure(&error))?;
            page.retain(|message| message.is_draft != Some(true) && !message.id.is_empty());
            let now = self.env.now();
            found.extend(page.into_iter().map(|message| remote(message, now)));
            if link.is_none() {
                return Ok(found);
            }
            next = link;
        }
    }

    async fn survey(&self, before: Timestamp) -> Result<Survey, Failure> {
        let condition = format!("lt {before:.0}");
        let counted = self.client.count_received(self.mailbox.as_str(), INBOX, &condition).await;
        let (count, oldest) = counted.map_err(|error| self.failure(&error))?;
        Ok(Survey { count, oldest: oldest.and_then(|message| message.received_date_time) })
    }

    async fn settle(&self, provider_id: &str, how: &AfterProcessing) -> Result<(), Failure> {
        let user = self.mailbox.as_str();
        let settled = match how {
            AfterProcessing::Leave => Ok(()),
            AfterProcessing::MarkRead => self.client.patch_is_read(user, provider_id, true).await,
            AfterProcessing::Move(folder) => match self.destination(folder).await {
                Ok(folder) => self.client.move_to(user, provider_id, &folder).await.map(drop),
                Err(error) => Err(error),
            },
        };
        match settled {
            Err(error) if !error.is_item_not_found() => Err(self.failure(&error)),
            _ => Ok(()),
        }
    }

    async fn changes(&self, cursor: Option<&str>) -> Result<Changes, Failure> {
        let (page, resync) = self.page(cursor).await.map_err(|error| self.failure(&error))?;
        let (mut entries, mut removed) = reduce(page.entries);
        // A draft that somebody keeps in the inbox was not received.
        entries.retain(|entry| entry.is_draft != Some(true));
        let (messages, gone) = self.complete(entries).await.map_err(|error| self.failure(&error))?;
        removed.extend(gone);
        Ok(Changes { messages, removed, cursor: page.cursor, more: page.more, resync })
    }

    async fn fetch(
        &self,
        provider_id: &str,
        limit: u64,
        sink: &mut dyn MessageSink,
    ) -> Result<Option<u64>, Failure> {
        let mut download = match self.client.download(self.mailbox.as_str(), provider_id, limit).await {
            Ok(download) => download,
            Err(error) if error.is_item_not_found() => return Ok(None),
            Err(error) => return Err(self.failure(&error)),
        };
        while let Some(chunk) = download.chunk().await.map_err(|error| self.failure(&error))? {
            sink.write(chunk).await?;
        }
        Ok(Some(download.size()))
    }

    async fn probe(&self) -> Result<String, Failure> {
        let user = self.mailbox.as_str();
        let open = async {
            let folder = self.client.folder(user, INBOX).await?;
            let newest = self.client.newest(user, INBOX, 1).await?.into_iter().next();
            Ok((folder, newest))
        };
        let (folder, newest) = open.await.map_err(|error: GraphError| self.failure(&error))?;
        let total = folder.total_item_count.unwrap_or_default();
        let unread = folder.unread_item_count.unwrap_or_default();
        let mut sentence = format!("Inbox of {user} opened: {total} messages, {unread} unread");
        if let Some(received) = newest.and_then(|message| message.received_date_time) {
            sentence.push_str(&format!("; the newest was received at {received}"));
        }
        sentence.push('.');
        Ok(sentence)
    }
}

/// Entries that Graph repeats in one page become one, at the place of the first and in the state of the last. A
/// later entry may hold only what changed, so the earlier one fills it up.
fn reduce(entries: Vec<DeltaEntry>) -> (Vec<Message>, Vec<String>) {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut last: Vec<DeltaEntry> = Vec::with_capacity(entries.len());
    for mut entry in entries.into_iter().filter(|entry| !entry.message.id.is_empty()) {
        match places.get(&entry.message.id) {
            None => {
                places.insert(entry.message.id.clone(), last.len());
                last.push(entry);
            }
            Some(&place) => {
                let earlier = &mut last[place];
                let (now, before) = (&mut entry.message, &mut earlier.message);
                now.internet_message_id =
                    now.internet_message_id.take().or(before.internet_message_id.take());
                now.received_date_time = now.received_date_time.or(before.received_date_time);
                now.sent_date_time = now.sent_date_time.or(before.sent_date_time);
                now.is_draft = now.is_draft.or(before.is_draft);
                *earlier = entry;
            }
        }
    }
    let (gone, here): (Vec<_>, Vec<_>) = last.into_iter().partition(|entry| entry.removed.is_some());
    let here = here.into_iter().map(|entry| entry.message).collect();
    (here, gone.into_iter().map(|entry| entry.message.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<DeltaEntry> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn repeated_entries_become_one_in_the_state_of_the_last() {
        let (here, gone) = reduce(entries(
            r#"[{"id":"A","internetMessageId":"<a@x>","receivedDateTime":"2026-11-23T09:00:00Z"},
                {"id":"B"},{"id":"C","@removed":{"reason":"deleted"}},{"id":""},
                {"id":"A","isRead":true},{"id":"B","@removed":{}},{"id":"C","isRead":false}]"#,
        ));
        let ids: Vec<&str> = here.iter().map(|message| message.id.as_str()).collect();
        assert_eq!((ids, gone), (vec!["A", "C"], vec!["B".to_owned()]));
        assert_eq!(here[0].internet_message_id.as_deref(), Some("<a@x>"));
        assert!(here[0].received_date_time.is_some() && here[0].is_read == Some(true));
    }
}
