//! The calls. `mailbox` is an address.

use bytes::Bytes;
use jiff::Timestamp;

use super::call::{Answered, Call, garbage};
use super::download::MimeDownload;
use super::{EwsClient, MAX_SURROUNDINGS, MESSAGE_TIMEOUT};
use crate::error::EwsError;
use crate::wire::{
    BaseShape, Change, Comparison, CreateItem, DeleteItem, DeleteType, FieldOrder, FindItem,
    FolderProperties, FolderShape, GetFolder, GetItem, ItemId, ItemPage, ItemShape, Message,
    MessageDisposition, MimeContent, Order, PageView, Path, Request, Restriction, SendItem, SyncFolderItems,
    SyncScope, Traversal,
};

/// Longest sync state believed, in bytes. Real ones have tens of kilobytes.
const MAX_SYNC_STATE: usize = 1024 * 1024;

/// Most items asked for by one GetItem.
const MAX_BATCH: usize = 50;

/// Most messages that a search for one `Message-ID` gives.
const MAX_FOUND: u32 = 50;

/// What is known of an inbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inbox {
    /// Messages in it.
    pub total: u32,
    /// Unread ones among them.
    pub unread: u32,
    /// When the newest was received; none when it is empty.
    pub newest: Option<Timestamp>,
}

/// What is in a folder up to a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survey {
    /// So many items.
    pub count: u32,
    /// When the oldest of them was received.
    pub oldest: Option<Timestamp>,
}

/// One page of changes of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncPage {
    /// Ids of new and changed items, each once.
    pub here: Vec<String>,
    /// Ids of items that left.
    pub gone: Vec<String>,
    /// Where the next call begins, opaque.
    pub state: String,
    /// Whether the next page waits already.
    pub more: bool,
}

/// A draft with its version.
pub type Draft = ItemId;

/// Picks the answer to an operation out of an answer.
macro_rules! answer_to {
    ($operation:ident, $told:expr, $call:expr) => {
        match $told.response {
            $crate::wire::Response::$operation(messages) => Ok(messages),
            other => {
                let what = format!("an answer to {} instead of {}", other.name(), stringify!($operation));
                Err(garbage(&$call.operation, 200, what))
            }
        }
    };
}
pub(super) use answer_to;

impl EwsClient {
    /// Opens the inbox and looks at its newest message.
    ///
    /// # Errors
    /// [`EwsError`], as from every call.
    pub async fn inbox(&self, mailbox: &str) -> Result<Inbox, EwsError> {
        let folder = self.well_known(mailbox, "inbox").await?;
        let operation = format!("read the newest of inbox of {mailbox}");
        let received = || Path::field("item:DateTimeReceived");
        let request = Request::FindItem(FindItem {
            traversal: Traversal::Shallow,
            shape: ItemShape::id_and(vec![received()]),
            page: Some(PageView::first(1)),
            restriction: None,
            sort: vec![FieldOrder { order: Order::Descending, path: received() }],
            parents: vec![self.folder("inbox", mailbox)],
            query: None,
        });
        let page = self.find(&self.call_for(operation, mailbox, &request)).await?;
        let newest = page.items.first().and_then(|item| item.message.received);
        let count = |number: Option<u32>| number.unwrap_or_default();
        Ok(Inbox { total: count(folder.total), unread: count(folder.unread), newest })
    }

    /// A well-known folder: `inbox`, `drafts`, `sentitems`.
    ///
    /// # Errors
    /// [`EwsError`].
    pub async fn well_known(&self, mailbox: &str, name: &str) -> Result<FolderProperties, EwsError> {
        let request = Request::GetFolder(GetFolder {
            shape: FolderShape { base: BaseShape::Default, additional: Vec::new() },
            folders: vec![self.folder(name, mailbox)],
        });
        let call = self.call_for(format!("open {name} of {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let id = told.request_id.clone();
        let found = self.only(&call, answer_to!(GetFolder, told, call)?, id.as_deref())?;
        let folder = found.folders.into_iter().next();
        folder
            .map(|folder| folder.properties)
            .ok_or_else(|| garbage(&call.operation, 200, "an answer without a folder".to_owned()))
    }

    /// One page of what changed in the inbox since `state`; from the beginning without one. `max` is 1 to 512.
    ///
    /// # Errors
    /// [`EwsError`]; see [`EwsError::is_sync_state_lost`].
    pub async fn sync_inbox(
        &self,
        mailbox: &str,
        state: Option<&str>,
        max: u32,
    ) -> Result<SyncPage, EwsError> {
        let request = Request::SyncFolderItems(SyncFolderItems {
            shape: ItemShape::id_and(Vec::new()),
            folder: self.folder("inbox", mailbox),
            state: state.map(str::to_owned),
            ignore: Vec::new(),
            max: max.clamp(1, 512),
            scope: Some(SyncScope::NormalItems),
        });
        let call = self.call_for(format!("read changes of inbox of {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let id = told.request_id.clone();
        let synced = self.only(&call, answer_to!(SyncFolderItems, told, call)?, id.as_deref())?;
        let Some(state) = synced.state.filter(|state| !state.is_empty() && state.len() <= MAX_SYNC_STATE)
        else {
            return Err(garbage(&call.operation, 200, "no sync state to go on with".to_owned()));
        };
        let (here, gone) = reduce(synced.changes);
        Ok(SyncPage { here, gone, state, more: synced.is_last == Some(false) })
    }

    /// Items by id with these properties, each with an outcome of its own, in the order of `ids`; none in the place of
    /// one that is not there. What Exchange did not come to (`ErrorBatchProcessingStopped`) is asked for by itself.
    ///
    /// # Errors
    /// [`EwsError`] when the whole was refused.
    pub async fn items(
        &self,
        mailbox: &str,
        ids: &[String],
        properties: &[Path],
    ) -> Result<Vec<Result<Option<Message>, EwsError>>, EwsError> {
        let mut found = Vec::with_capacity(ids.len());
        for batch in ids.chunks(MAX_BATCH) {
            for (id, answer) in batch.iter().zip(self.batch_of_items(mailbox, batch, properties).await?) {
                found.push(match answer {
                    Err(error) if batch.len() > 1 && error.code() == Some("ErrorBatchProcessingStopped") => {
                        self.item(mailbox, id, properties).await
                    }
                    answer => answer,
                });
            }
        }
        Ok(found)
    }

    async fn batch_of_items(
        &self,
        mailbox: &str,
        ids: &[String],
        properties: &[Path],
    ) -> Result<Vec<Result<Option<Message>, EwsError>>, EwsError> {
        let request = Request::GetItem(GetItem {
            shape: ItemShape::id_and(properties.to_vec()),
            items: ids.iter().map(|id| ItemId::of(id)).collect(),
        });
        let call = self.call_for(format!("look up messages of {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let request_id = told.request_id.clone();
        let messages = answer_to!(GetItem, told, call)?;
        if messages.len() != ids.len() {
            let what = format!("{} answers to {} questions", messages.len(), ids.len());
            return Err(garbage(&call.operation, 200, what));
        }
        let mut found = Vec::with_capacity(ids.len());
        for message in messages {
            found.push(match self.payload(&call, message, request_id.as_deref()) {
                Ok(items) => Ok(items.items.into_iter().next().map(|item| item.message)),
                Err(error) if error.is_item_not_found() => Ok(None),
                Err(error) => Err(error),
            });
        }
        Ok(found)
    }

    /// One item by id with these properties; none when it is not there.
    ///
    /// # Errors
    /// [`EwsError`].
    pub async fn item(
        &self,
        mailbox: &str,
        id: &str,
        properties: &[Path],
    ) -> Result<Option<Message>, EwsError> {
        let found = self.batch_of_items(mailbox, &[id.to_owned()], properties).await?;
        found.into_iter().next().unwrap_or(Ok(None))
    }

    /// Begins to fetch a message as MIME, as Exchange makes it from its store.
    ///
    /// # Errors
    /// [`EwsError`]. That it is not there is told by [`MimeDownload::next`].
    pub async fn mime(&self, mailbox: &str, id: &str) -> Result<MimeDownload, EwsError> {
        let shape = ItemShape { include_mime_content: Some(true), ..ItemShape::id_and(Vec::new()) };
        let request = Request::GetItem(GetItem { shape, items: vec![ItemId::of(id)] });
        let operation = format!("fetch a message of {mailbox}");
        let call = Call { timeout: Some(MESSAGE_TIMEOUT), ..self.call_for(operation, mailbox, &request) };
        let response = self.open(&call).await?;
        Ok(MimeDownload::new(self.clone(), call.operation, mailbox, response, MAX_SURROUNDINGS))
    }

    /// Makes a draft from raw MIME, recipients from its headers, `Bcc` included.
    ///
    /// # Errors
    /// [`EwsError`]; see [`EwsError::may_be_done`].
    pub async fn create_draft_mime(&self, mailbox: &str, raw: Bytes) -> Result<Draft, EwsError> {
        let mime = Some(MimeContent { character_set: Some("UTF-8".to_owned()), content: raw });
        let request = Request::CreateItem(CreateItem {
            disposition: Some(MessageDisposition::SaveOnly),
            invitations: None,
            folder: Some(self.folder("drafts", mailbox)),
            items: vec![Message { mime, ..Message::default() }.into()],
        });
        let call = self.call_for(format!("create a draft in {mailbox}"), mailbox, &request);
        drop(request);
        let told = self.ask(&call).await?;
        let request_id = told.request_id.clone();
        let made = self.only(&call, answer_to!(CreateItem, told, call)?, request_id.as_deref())?;
        let id = made.items.into_iter().next().and_then(|item| item.message.id);
        id.filter(|id| !id.id.is_empty())
            .ok_or_else(|| garbage(&call.operation, 200, "a draft without an id".to_owned()))
    }

    /// Sends a draft; a copy with another id comes to Sent Items. Gives the request id.
    ///
    /// # Errors
    /// [`EwsError`]; see [`EwsError::may_be_done`].
    pub async fn send_draft(&self, mailbox: &str, draft: &Draft) -> Result<Option<String>, EwsError> {
        let request = Request::SendItem(SendItem {
            save: true,
            items: vec![draft.clone()],
            folder: Some(self.folder("sentitems", mailbox)),
        });
        let call = self.call_for(format!("send a draft of {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let request_id = told.request_id.clone();
        self.only(&call, answer_to!(SendItem, told, call)?, request_id.as_deref())?;
        Ok(request_id)
    }

    /// Removes one item for good.
    ///
    /// # Errors
    /// [`EwsError`]; see [`EwsError::may_be_done`].
    pub async fn delete(&self, mailbox: &str, id: &str) -> Result<(), EwsError> {
        let request = Request::DeleteItem(DeleteItem {
            how: DeleteType::HardDelete,
            cancellations: None,
            occurrences: None,
            suppress_receipts: None,
            items: vec![ItemId { id: id.to_owned(), change_key: None }],
        });
        let call = self.call_for(format!("remove a message of {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let request_id = told.request_id.clone();
        self.only(&call, answer_to!(DeleteItem, told, call)?, request_id.as_deref()).map(drop)
    }

    /// Ids of the messages with this `Message-ID` in a well-known folder, at most 50.
    ///
    /// # Errors
    /// [`EwsError`].
    pub async fn find_by_internet_message_id(
        &self,
        mailbox: &str,
        folder: &str,
        message_id: &str,
    ) -> Result<Vec<String>, EwsError> {
        let path = Path::field("message:InternetMessageId");
        let request = Request::FindItem(FindItem {
            traversal: Traversal::Shallow,
            shape: ItemShape::id_and(Vec::new()),
            page: Some(PageView::first(MAX_FOUND)),
            restriction: Some(Restriction::Equal(Comparison::with(path, message_id))),
            sort: Vec::new(),
            parents: vec![self.folder(folder, mailbox)],
            query: None,
        });
        let operation = format!("search {message_id} in {folder} of {mailbox}");
        let page = self.find(&self.call_for(operation, mailbox, &request)).await?;
        Ok(page.items.into_iter().filter_map(|item| item.message.id).map(|id| id.id).collect())
    }

    pub(super) async fn find(&self, call: &Call<'_>) -> Result<ItemPage, EwsError> {
        let told: Answered = self.ask(call).await?;
        let request_id = told.request_id.clone();
        let found = self.only(call, answer_to!(FindItem, told, call)?, request_id.as_deref())?;
        Ok(found.page.unwrap_or_default())
    }
}

/// Each item once, in the state of its last change. That an item was read is no news.
fn reduce(changes: Vec<Change>) -> (Vec<String>, Vec<String>) {
    let mut here: Vec<String> = Vec::new();
    let mut gone: Vec<String> = Vec::new();
    let mut place = |id: String, is_here: bool| {
        let (to, from) = if is_here { (&mut here, &mut gone) } else { (&mut gone, &mut here) };
        from.retain(|known| *known != id);
        if !to.contains(&id) {
            to.push(id);
        }
    };
    for change in changes {
        match change {
            Change::Create(entry) | Change::Update(entry) => {
                if let Some(id) = entry.item.message.id {
                    place(id.id, true);
                }
            }
            Change::Delete(entry) => place(entry.id.id, false),
            Change::ReadFlag(_) => {}
        }
    }
    (here, gone)
}
