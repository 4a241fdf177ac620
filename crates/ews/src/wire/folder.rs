//! Folders and their ids.

use super::item::ExtendedProperty;
use super::tree::{Node, ReadError};
use super::value::{Choice, Value, choice, record, words};
use super::writer::Writer;

record! {
    /// Id of a folder.
    #[derive(Default, Eq, Hash)]
    pub struct FolderId {
        /// The id.
        id: String = "@Id",
        /// Its version.
        change_key: Option<String> = "@ChangeKey",
    }
}

record! {
    /// A mailbox: a person's or a sender's address.
    #[derive(Default, Eq)]
    pub struct Mailbox {
        /// Name for people.
        name: Option<String> = "t:Name",
        /// Address.
        address: Option<String> = "t:EmailAddress",
        /// `SMTP` or `EX`.
        routing_type: Option<String> = "t:RoutingType",
        /// `Mailbox`, `OneOff`, `Contact`, ...
        kind: Option<String> = "t:MailboxType",
    }
}

record! {
    /// A folder that every mailbox has.
    #[derive(Eq)]
    pub struct DistinguishedFolderId {
        /// `inbox`, `drafts`, `sentitems`, `deleteditems`, `msgfolderroot`, `root`, ...
        id: String = "@Id",
        /// Its version.
        change_key: Option<String> = "@ChangeKey",
        /// Whose; the mailbox that is signed in to when none.
        mailbox: Option<Mailbox> = "t:Mailbox",
    }
}

choice! {
    /// Which folder is meant.
    #[derive(Eq)]
    pub enum FolderRef {
        /// By id.
        Id(FolderId) = "t:FolderId",
        /// By its well-known name.
        Distinguished(DistinguishedFolderId) = "t:DistinguishedFolderId",
    }
}

impl FolderRef {
    /// A folder that every mailbox has: `inbox`, `drafts`, `sentitems`.
    pub fn distinguished(id: &str) -> Self {
        Self::Distinguished(DistinguishedFolderId { id: id.to_owned(), change_key: None, mailbox: None })
    }

    /// A folder by id.
    pub fn id(id: &str) -> Self {
        Self::Id(FolderId { id: id.to_owned(), change_key: None })
    }
}

words! {
    /// What a folder holds.
    #[derive(Default)]
    pub enum FolderKind {
        /// Mail, or anything.
        #[default]
        Folder,
        /// Appointments.
        CalendarFolder,
        /// People.
        ContactsFolder,
        /// The results of a search.
        SearchFolder,
        /// Tasks.
        TasksFolder,
    }
}

record! {
    /// The properties of a folder.
    #[derive(Default)]
    pub struct FolderProperties {
        /// Its id.
        id: Option<FolderId> = "t:FolderId",
        /// The folder it lies in.
        parent: Option<FolderId> = "t:ParentFolderId",
        /// `IPF.Note` for mail.
        class: Option<String> = "t:FolderClass",
        /// Its name.
        display_name: Option<String> = "t:DisplayName",
        /// Items in it.
        total: Option<u32> = "t:TotalCount",
        /// Folders in it.
        child_folders: Option<u32> = "t:ChildFolderCount",
        /// Properties of the store.
        extended: Vec<ExtendedProperty> = "/t:ExtendedProperty",
        /// Its well-known name.
        distinguished: Option<String> = "t:DistinguishedFolderId",
        /// Unread items in it.
        unread: Option<u32> = "t:UnreadCount",
    }
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Folder {
    /// What it holds.
    pub kind: FolderKind,
    /// What is known of it.
    pub properties: FolderProperties,
}

impl Choice for Folder {
    fn tag(&self) -> &'static str {
        match self.kind {
            FolderKind::Folder => "t:Folder",
            FolderKind::CalendarFolder => "t:CalendarFolder",
            FolderKind::ContactsFolder => "t:ContactsFolder",
            FolderKind::SearchFolder => "t:SearchFolder",
            FolderKind::TasksFolder => "t:TasksFolder",
        }
    }

    fn write_content(&self, writer: &mut Writer) {
        self.properties.write(writer);
    }

    fn read_element(node: &Node<'_, '_>) -> Result<Option<Self>, ReadError> {
        let Ok(kind) = FolderKind::from_text(node.name()) else { return Ok(None) };
        Ok(Some(Self { kind, properties: FolderProperties::read(node)? }))
    }
}
