//! The operations: what is asked, and what an answer to each holds. Fields stand in the order of the schema.

use super::folder::{Folder, FolderRef, Mailbox};
use super::item::{Attachment, AttachmentId, Item, ItemId};
use super::path::{BaseShape, FieldOrder, FolderShape, ItemShape, PageView, Path, Restriction, Traversal};
use super::value::{choice, record, words};

record! {
    /// Opens folders.
    pub struct GetFolder {
        /// What is asked of them.
        shape: FolderShape = "m:FolderShape",
        /// Which.
        folders: Vec<FolderRef> = "m:FolderIds/*",
    }
}

record! {
    /// Folders, in the order they were asked for.
    #[derive(Default)]
    pub struct Folders {
        /// One for each message of the answer.
        folders: Vec<Folder> = "!m:Folders/*",
    }
}

record! {
    /// Looks for folders.
    pub struct FindFolder {
        /// Where.
        traversal: Traversal = "@Traversal",
        /// What is asked of them.
        shape: FolderShape = "m:FolderShape",
        /// Which page.
        page: Option<PageView> = "m:IndexedPageFolderView",
        /// Which.
        restriction: Option<Restriction> = "m:Restriction",
        /// Below which.
        parents: Vec<FolderRef> = "m:ParentFolderIds/*",
    }
}

record! {
    /// A page of folders.
    #[derive(Default)]
    pub struct FolderPage {
        /// Where the next page begins.
        next_offset: Option<u32> = "@IndexedPagingOffset",
        /// How many there are in all.
        total: Option<u32> = "@TotalItemsInView",
        /// Whether this is the last page.
        is_last: Option<bool> = "@IncludesLastItemInRange",
        /// The folders.
        folders: Vec<Folder> = "!t:Folders/*",
    }
}

record! {
    /// The folders found.
    #[derive(Default)]
    pub struct FoundFolders {
        /// The page.
        page: Option<FolderPage> = "m:RootFolder",
    }
}

record! {
    /// Makes folders.
    pub struct CreateFolder {
        /// In which.
        parent: FolderRef = "m:ParentFolderId",
        /// The folders.
        folders: Vec<Folder> = "m:Folders/*",
    }
}

record! {
    /// Looks for items.
    pub struct FindItem {
        /// Where.
        traversal: Traversal = "@Traversal",
        /// What is asked of them; bodies and files are never given.
        shape: ItemShape = "m:ItemShape",
        /// Which page.
        page: Option<PageView> = "m:IndexedPageItemView",
        /// Which.
        restriction: Option<Restriction> = "m:Restriction",
        /// In which order.
        sort: Vec<FieldOrder> = "m:SortOrder/t:FieldOrder",
        /// In which folders.
        parents: Vec<FolderRef> = "m:ParentFolderIds/*",
        /// A search in Exchange's own language.
        query: Option<String> = "m:QueryString",
    }
}

record! {
    /// A page of items.
    #[derive(Default)]
    pub struct ItemPage {
        /// Where the next page begins.
        next_offset: Option<u32> = "@IndexedPagingOffset",
        /// How many there are in all.
        total: Option<u32> = "@TotalItemsInView",
        /// Whether this is the last page.
        is_last: Option<bool> = "@IncludesLastItemInRange",
        /// The items.
        items: Vec<Item> = "!t:Items/*",
    }
}

record! {
    /// The items found.
    #[derive(Default)]
    pub struct FoundItems {
        /// The page.
        page: Option<ItemPage> = "m:RootFolder",
    }
}

record! {
    /// Gives items.
    pub struct GetItem {
        /// What is asked of them.
        shape: ItemShape = "m:ItemShape",
        /// Which.
        items: Vec<ItemId> = "m:ItemIds/t:ItemId",
    }
}

record! {
    /// Items.
    #[derive(Default)]
    pub struct Items {
        /// One for each message of the answer; none after an error, and where no id is given.
        items: Vec<Item> = "!m:Items/*",
    }
}

words! {
    /// Which items of a folder are told of.
    pub enum SyncScope {
        /// Ordinary ones.
        NormalItems,
        /// Hidden ones too.
        NormalAndAssociatedItems,
    }
}

record! {
    /// Tells what changed in a folder.
    pub struct SyncFolderItems {
        /// What is asked of the items.
        shape: ItemShape = "m:ItemShape",
        /// Which folder.
        folder: FolderRef = "m:SyncFolderId",
        /// What the last answer gave; from the beginning without.
        state: Option<String> = "m:SyncState",
        /// Items that are not told of.
        ignore: Vec<ItemId> = "m:Ignore/t:ItemId",
        /// At most so many, 1 to 512.
        max: u32 = "m:MaxChangesReturned",
        /// Which items.
        scope: Option<SyncScope> = "m:SyncScope",
    }
}

record! {
    /// An item that is there.
    pub struct Here {
        /// The item.
        item: Item = "*",
    }
}

record! {
    /// An item that left.
    pub struct Gone {
        /// Which.
        id: ItemId = "t:ItemId",
    }
}

record! {
    /// An item that was read, or made unread again.
    pub struct ReadFlag {
        /// Which.
        id: ItemId = "t:ItemId",
        /// Whether it is read now.
        is_read: bool = "t:IsRead",
    }
}

choice! {
    /// What happened to an item.
    pub enum Change {
        /// It came.
        Create(Here) = "t:Create",
        /// It was changed.
        Update(Here) = "t:Update",
        /// It left: deleted or moved.
        Delete(Gone) = "t:Delete",
        /// It was read, or made unread again.
        ReadFlag(ReadFlag) = "t:ReadFlagChange",
    }
}

record! {
    /// A page of changes.
    #[derive(Default)]
    pub struct Synced {
        /// Where the next call begins; opaque, perhaps tens of kilobytes.
        state: Option<String> = "m:SyncState",
        /// Whether this is the last page.
        is_last: Option<bool> = "m:IncludesLastItemInRange",
        /// The changes.
        changes: Vec<Change> = "m:Changes/*",
    }
}

words! {
    /// What becomes of a message.
    pub enum MessageDisposition {
        /// It is kept: as a draft when it is new.
        SaveOnly,
        /// It is sent and not kept.
        SendOnly,
        /// It is sent and kept.
        SendAndSaveCopy,
    }
}

record! {
    /// Makes items, and may send them.
    pub struct CreateItem {
        /// What becomes of them; needed for messages.
        disposition: Option<MessageDisposition> = "@MessageDisposition",
        /// Who is invited, for appointments.
        invitations: Option<String> = "@SendMeetingInvitations",
        /// Where they are kept.
        folder: Option<FolderRef> = "m:SavedItemFolderId",
        /// The items.
        items: Vec<Item> = "m:Items/*",
    }
}

record! {
    /// Attaches to an item.
    pub struct CreateAttachment {
        /// Which item.
        parent: ItemId = "m:ParentItemId",
        /// The attachments.
        attachments: Vec<Attachment> = "m:Attachments/*",
    }
}

record! {
    /// What is asked of attachments.
    #[derive(Default)]
    pub struct AttachmentShape {
        /// Whether an attached item is wanted as MIME.
        include_mime_content: Option<bool> = "t:IncludeMimeContent",
        /// `Best`, `HTML` or `Text`.
        body_type: Option<String> = "t:BodyType",
        /// Further properties of attached items.
        additional: Vec<Path> = "t:AdditionalProperties/*",
    }
}

record! {
    /// Gives attachments.
    pub struct GetAttachment {
        /// What is asked of them.
        shape: Option<AttachmentShape> = "m:AttachmentShape",
        /// Which.
        ids: Vec<AttachmentId> = "m:AttachmentIds/t:AttachmentId",
    }
}

record! {
    /// Attachments.
    #[derive(Default)]
    pub struct Attachments {
        /// One for each message of the answer.
        attachments: Vec<Attachment> = "!m:Attachments/*",
    }
}

record! {
    /// Sends drafts.
    pub struct SendItem {
        /// Whether a copy is kept.
        save: bool = "@SaveItemToFolder",
        /// Which drafts, with their newest change key.
        items: Vec<ItemId> = "m:ItemIds/t:ItemId",
        /// Where the copy is kept.
        folder: Option<FolderRef> = "m:SavedItemFolderId",
    }
}

words! {
    /// What is done when somebody else has changed the item.
    pub enum ConflictResolution {
        /// The change is refused.
        NeverOverwrite,
        /// Exchange tries to bring both together.
        AutoResolve,
        /// The change wins.
        AlwaysOverwrite,
    }
}

record! {
    /// Gives a property a value.
    pub struct SetField {
        /// Which.
        path: Path = "*",
        /// An item with nothing but the value.
        item: Item = "*",
    }
}

record! {
    /// Takes a property away.
    pub struct DeleteField {
        /// Which.
        path: Path = "*",
    }
}

choice! {
    /// A change of a property.
    pub enum Update {
        /// A new value.
        Set(SetField) = "t:SetItemField",
        /// One more value.
        Append(SetField) = "t:AppendToItemField",
        /// No value.
        Delete(DeleteField) = "t:DeleteItemField",
    }
}

record! {
    /// Changes of one item.
    pub struct ItemChange {
        /// Which item.
        id: ItemId = "t:ItemId",
        /// The changes.
        updates: Vec<Update> = "t:Updates/*",
    }
}

record! {
    /// Changes items.
    pub struct UpdateItem {
        /// What is done when somebody else has changed the item.
        conflict: ConflictResolution = "@ConflictResolution",
        /// What becomes of messages.
        disposition: Option<MessageDisposition> = "@MessageDisposition",
        /// Who is told, for appointments.
        invitations: Option<String> = "@SendMeetingInvitationsOrCancellations",
        /// Whether no receipt is sent when a message becomes read.
        suppress_receipts: Option<bool> = "@SuppressReadReceipts",
        /// Where they are kept.
        folder: Option<FolderRef> = "m:SavedItemFolderId",
        /// The items with their changes.
        changes: Vec<ItemChange> = "m:ItemChanges/t:ItemChange",
    }
}

record! {
    /// How many properties could not be set because somebody else had set them.
    #[derive(Default)]
    pub struct ConflictResults {
        /// So many.
        count: u32 = "t:Count",
    }
}

record! {
    /// Items that were changed.
    #[derive(Default)]
    pub struct Updated {
        /// One for each message of the answer, with its new version.
        items: Vec<Item> = "!m:Items/*",
        /// What could not be set.
        conflicts: Option<ConflictResults> = "m:ConflictResults",
    }
}

record! {
    /// Moves items. Each gets a new id.
    pub struct MoveItem {
        /// Where to.
        folder: FolderRef = "m:ToFolderId",
        /// Which.
        items: Vec<ItemId> = "m:ItemIds/t:ItemId",
        /// Whether the new ids are told.
        return_new_ids: Option<bool> = "m:ReturnNewItemIds",
    }
}

words! {
    /// How an item is deleted.
    pub enum DeleteType {
        /// For good.
        HardDelete,
        /// To the recoverable items.
        SoftDelete,
        /// To Deleted Items.
        MoveToDeletedItems,
    }
}

record! {
    /// Deletes items.
    pub struct DeleteItem {
        /// How.
        how: DeleteType = "@DeleteType",
        /// Who is told, for appointments.
        cancellations: Option<String> = "@SendMeetingCancellations",
        /// What becomes of the other occurrences of a task.
        occurrences: Option<String> = "@AffectedTaskOccurrences",
        /// Whether no receipt is sent for unread messages.
        suppress_receipts: Option<bool> = "@SuppressReadReceipts",
        /// Which.
        items: Vec<ItemId> = "m:ItemIds/t:ItemId",
    }
}

record! {
    /// Nothing but the outcome.
    #[derive(Default, Eq)]
    pub struct Nothing {}
}

record! {
    /// Looks people up.
    pub struct ResolveNames {
        /// Whether everything known of a contact is given.
        full_contact: bool = "@ReturnFullContactData",
        /// `ActiveDirectory`, `Contacts`, ...
        scope: Option<String> = "@SearchScope",
        /// How much is given of a contact.
        contact_shape: Option<BaseShape> = "@ContactDataShape",
        /// Further folders with contacts.
        parents: Vec<FolderRef> = "m:ParentFolderIds/*",
        /// A name or address, or the beginning of one; an address with `smtp:` before it is looked up exactly.
        entry: String = "m:UnresolvedEntry",
    }
}

record! {
    /// One candidate.
    pub struct Resolution {
        /// Name and address.
        mailbox: Mailbox = "t:Mailbox",
    }
}

record! {
    /// The candidates, at most 100.
    #[derive(Default)]
    pub struct ResolutionSet {
        /// How many there are in all.
        total: Option<u32> = "@TotalItemsInView",
        /// Whether these are all.
        is_last: Option<bool> = "@IncludesLastItemInRange",
        /// The candidates.
        resolutions: Vec<Resolution> = "/t:Resolution",
    }
}

record! {
    /// The people found.
    #[derive(Default)]
    pub struct Resolved {
        /// The candidates.
        set: Option<ResolutionSet> = "m:ResolutionSet",
    }
}

record! {
    /// Asks for the server's time zones.
    pub struct GetServerTimeZones {
        /// Whether their rules are given too.
        full: Option<bool> = "@ReturnFullTimeZoneData",
        /// Which; all when none.
        ids: Vec<String> = "m:Ids/t:Id",
    }
}

record! {
    /// A stretch of time with one offset.
    #[derive(Default)]
    pub struct Period {
        /// Offset from UTC, west positive, as an XML duration: `-PT60M`.
        bias: String = "@Bias",
        /// `Standard` or `Daylight`.
        name: String = "@Name",
        /// Its id.
        id: String = "@Id",
    }
}

record! {
    /// A time zone. Its rules of change are not described: one period is enough for a zone without.
    #[derive(Default)]
    pub struct TimeZoneDefinition {
        /// Microsoft's name: `W. Europe Standard Time`.
        id: Option<String> = "@Id",
        /// Name for people.
        name: Option<String> = "@Name",
        /// Its periods.
        periods: Vec<Period> = "t:Periods/t:Period",
    }
}

record! {
    /// Time zones.
    #[derive(Default)]
    pub struct TimeZones {
        /// The zones.
        definitions: Vec<TimeZoneDefinition> = "!m:TimeZoneDefinitions/t:TimeZoneDefinition",
    }
}

record! {
    /// An id in one of the forms that ids have.
    #[derive(Default, Eq)]
    pub struct AlternateId {
        /// `EwsId`, `EwsLegacyId`, `EntryId`, `HexEntryId`, `StoreId` or `OwaId`.
        format: String = "@Format",
        /// The id.
        id: String = "@Id",
        /// Address of the mailbox.
        mailbox: String = "@Mailbox",
    }
}

record! {
    /// Asks for other forms of ids. What comes of it is not described here, only whether it went well: clients ask it to
    /// learn the version of a server.
    pub struct ConvertId {
        /// Which form.
        format: String = "@DestinationFormat",
        /// Of which ids.
        ids: Vec<AlternateId> = "m:SourceIds/t:AlternateId",
    }
}
