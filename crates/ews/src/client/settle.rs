//! The calls beside synchronising: how much mail there is, which was received in the last days, and marking or moving
//! what was processed.

use jiff::Timestamp;

use super::EwsClient;
use super::call::garbage;
use super::mail::{Survey, answer_to};
use crate::error::EwsError;
use crate::wire::{
    BasePoint, BaseShape, Comparison, ConflictResolution, CreateFolder, FieldOrder, FindFolder, FindItem,
    Folder, FolderId, FolderKind, FolderProperties, FolderRef, FolderShape, ItemChange, ItemId, ItemShape,
    Message, MessageDisposition, MoveItem, Order, PageView, Path, Request, Restriction, SetField, Traversal,
    Update, UpdateItem,
};

/// Items per page of a list with a restriction; Exchange gives no more.
const LIST_PAGE: u32 = 250;

fn received() -> Path {
    Path::field("item:DateTimeReceived")
}

fn at(instant: Timestamp) -> String {
    format!("{instant:.0}")
}

impl EwsClient {
    /// How many items of the inbox were received before this instant, and when the oldest of them was.
    ///
    /// # Errors
    /// [`EwsError`], as from every call.
    pub async fn survey(&self, mailbox: &str, before: Timestamp) -> Result<Survey, EwsError> {
        let request = Request::FindItem(FindItem {
            traversal: Traversal::Shallow,
            shape: ItemShape::id_and(vec![received()]),
            page: Some(PageView::first(1)),
            restriction: Some(Restriction::Less(Comparison::with(received(), at(before)))),
            sort: vec![FieldOrder { order: Order::Ascending, path: received() }],
            parents: vec![self.folder("inbox", mailbox)],
            query: None,
        });
        let page = self.find(&self.call_for(format!("count inbox of {mailbox}"), mailbox, &request)).await?;
        let oldest = page.items.first().and_then(|item| item.message.received);
        Ok(Survey { count: page.total.unwrap_or_default(), oldest })
    }

    /// The items of the inbox that were received at this instant or later, with their id, `Message-ID`, date and
    /// whether they are drafts; the page that begins at `offset`, and where the next one does.
    ///
    /// # Errors
    /// [`EwsError`].
    pub async fn received_since(
        &self,
        mailbox: &str,
        since: Timestamp,
        offset: u32,
    ) -> Result<(Vec<Message>, Option<u32>), EwsError> {
        let wanted = ["message:InternetMessageId", "item:DateTimeReceived", "item:IsDraft"].map(Path::field);
        let request = Request::FindItem(FindItem {
            traversal: Traversal::Shallow,
            shape: ItemShape::id_and(wanted.to_vec()),
            page: Some(PageView { max: Some(LIST_PAGE), offset, base_point: BasePoint::Beginning }),
            restriction: Some(Restriction::GreaterOrEqual(Comparison::with(received(), at(since)))),
            sort: vec![FieldOrder { order: Order::Ascending, path: received() }],
            parents: vec![self.folder("inbox", mailbox)],
            query: None,
        });
        let page = self.find(&self.call_for(format!("list inbox of {mailbox}"), mailbox, &request)).await?;
        let next = page.next_offset.filter(|next| *next > offset && page.is_last == Some(false));
        Ok((page.items.into_iter().map(|item| item.message).collect(), next))
    }

    /// Marks an item as read; nobody is sent a receipt.
    ///
    /// # Errors
    /// [`EwsError`]; see [`EwsError::is_item_not_found`].
    pub async fn mark_read(&self, mailbox: &str, id: &str) -> Result<(), EwsError> {
        let item = Message { is_read: Some(true), ..Message::default() }.into();
        let request = Request::UpdateItem(UpdateItem {
            conflict: ConflictResolution::AlwaysOverwrite,
            disposition: Some(MessageDisposition::SaveOnly),
            invitations: None,
            suppress_receipts: Some(true),
            folder: None,
            changes: vec![ItemChange {
                id: ItemId::of(id),
                updates: vec![Update::Set(SetField { path: Path::field("message:IsRead"), item })],
            }],
        });
        let call = self.call_for(format!("mark a message of {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let request_id = told.request_id.clone();
        self.only(&call, answer_to!(UpdateItem, told, call)?, request_id.as_deref()).map(drop)
    }

    /// Moves an item to a folder; it gets another id.
    ///
    /// # Errors
    /// [`EwsError`]; see [`EwsError::is_item_not_found`].
    pub async fn move_to(&self, mailbox: &str, id: &str, folder: &FolderId) -> Result<(), EwsError> {
        let request = Request::MoveItem(MoveItem {
            folder: FolderRef::Id(folder.clone()),
            items: vec![ItemId::of(id)],
            return_new_ids: Some(false),
        });
        let call = self.call_for(format!("move a message of {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let request_id = told.request_id.clone();
        self.only(&call, answer_to!(MoveItem, told, call)?, request_id.as_deref()).map(drop)
    }

    /// The folder of this name beside the inbox; made when there is none.
    ///
    /// # Errors
    /// [`EwsError`].
    pub async fn folder_named(&self, mailbox: &str, name: &str) -> Result<FolderId, EwsError> {
        let root = || self.folder("msgfolderroot", mailbox);
        let request = Request::FindFolder(FindFolder {
            traversal: Traversal::Shallow,
            shape: FolderShape { base: BaseShape::IdOnly, additional: Vec::new() },
            page: None,
            restriction: Some(Restriction::Equal(Comparison::with(Path::field("folder:DisplayName"), name))),
            parents: vec![root()],
        });
        let call = self.call_for(format!("look for the folder {name} of {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let request_id = told.request_id.clone();
        let found = self.only(&call, answer_to!(FindFolder, told, call)?, request_id.as_deref())?;
        let known = found.page.and_then(|page| page.folders.into_iter().next());
        if let Some(id) = known.and_then(|folder| folder.properties.id) {
            return Ok(id);
        }
        let properties = FolderProperties {
            class: Some("IPF.Note".to_owned()),
            display_name: Some(name.to_owned()),
            ..FolderProperties::default()
        };
        let request = Request::CreateFolder(CreateFolder {
            parent: root(),
            folders: vec![Folder { kind: FolderKind::Folder, properties }],
        });
        let call = self.call_for(format!("make the folder {name} in {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let request_id = told.request_id.clone();
        let made = self.only(&call, answer_to!(CreateFolder, told, call)?, request_id.as_deref())?;
        let made = made.folders.into_iter().next().and_then(|folder| folder.properties.id);
        made.ok_or_else(|| garbage(&call.operation, 200, "a folder without an id".to_owned()))
    }
}
