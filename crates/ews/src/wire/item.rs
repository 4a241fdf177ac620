//! Items: messages and what else lies in a folder, with their attachments.

use bytes::Bytes;
use jiff::Timestamp;

use super::folder::{FolderId, Mailbox};
use super::path::ExtendedFieldUri;
use super::tree::{Node, ReadError};
use super::value::{Choice, Value, choice, record};
use super::writer::Writer;

record! {
    /// Id of an item. It changes when the item is moved to another folder.
    #[derive(Default, Eq, Hash)]
    pub struct ItemId {
        /// The id.
        id: String = "@Id",
        /// Its version, which changes with each change.
        change_key: Option<String> = "@ChangeKey",
    }
}

impl ItemId {
    /// An id without version.
    pub fn of(id: &str) -> Self {
        Self { id: id.to_owned(), change_key: None }
    }
}

record! {
    /// A message as MIME (RFC 5322), base64 on the wire.
    #[derive(Default, Eq)]
    pub struct MimeContent {
        /// `UTF-8`.
        character_set: Option<String> = "@CharacterSet",
        /// The message.
        content: Bytes = "#",
    }
}

record! {
    /// A body.
    #[derive(Default, Eq)]
    pub struct Body {
        /// `HTML` or `Text`.
        kind: String = "@BodyType",
        /// Whether it was cut.
        is_truncated: Option<bool> = "@IsTruncated",
        /// The text.
        text: String = "#",
    }
}

record! {
    /// One header field of a message.
    #[derive(Default, Eq)]
    pub struct Header {
        /// Name without colon.
        name: String = "@HeaderName",
        /// Value, unfolded.
        value: String = "#",
    }
}

record! {
    /// A property of the store with its value.
    #[derive(Default)]
    pub struct ExtendedProperty {
        /// Which one.
        uri: ExtendedFieldUri = "t:ExtendedFieldURI",
        /// Its value.
        value: Option<String> = "t:Value",
        /// Its values, where it has several.
        values: Vec<String> = "t:Values/t:Value",
    }
}

record! {
    /// One mailbox.
    #[derive(Default, Eq)]
    pub struct SingleRecipient {
        /// The mailbox.
        mailbox: Mailbox = "t:Mailbox",
    }
}

record! {
    /// Id of an attachment.
    #[derive(Default, Eq)]
    pub struct AttachmentId {
        /// The id.
        id: String = "@Id",
        /// The item it belongs to.
        root_item_id: Option<String> = "@RootItemId",
        /// The version of that item since.
        root_item_change_key: Option<String> = "@RootItemChangeKey",
    }
}

record! {
    /// A file.
    #[derive(Default)]
    pub struct FileAttachment {
        /// Its id.
        id: Option<AttachmentId> = "t:AttachmentId",
        /// File name.
        name: Option<String> = "t:Name",
        /// Media type.
        content_type: Option<String> = "t:ContentType",
        /// By what the body refers to it.
        content_id: Option<String> = "t:ContentId",
        /// Its place, where the body refers to it by that.
        content_location: Option<String> = "t:ContentLocation",
        /// Bytes.
        size: Option<u32> = "t:Size",
        /// When it was changed last.
        last_modified: Option<Timestamp> = "t:LastModifiedTime",
        /// Whether it is shown in the body.
        is_inline: Option<bool> = "t:IsInline",
        /// Whether it is the picture of a person.
        is_contact_photo: Option<bool> = "t:IsContactPhoto",
        /// The file.
        content: Option<Bytes> = "t:Content",
    }
}

record! {
    /// An attached item.
    #[derive(Default)]
    pub struct ItemAttachment {
        /// Its id.
        id: Option<AttachmentId> = "t:AttachmentId",
        /// Its subject.
        name: Option<String> = "t:Name",
        /// Media type.
        content_type: Option<String> = "t:ContentType",
        /// By what the body refers to it.
        content_id: Option<String> = "t:ContentId",
        /// Its place, where the body refers to it by that.
        content_location: Option<String> = "t:ContentLocation",
        /// Bytes.
        size: Option<u32> = "t:Size",
        /// When it was changed last.
        last_modified: Option<Timestamp> = "t:LastModifiedTime",
        /// Whether it is shown in the body.
        is_inline: Option<bool> = "t:IsInline",
        /// The item; at most one.
        item: Vec<Item> = "/*",
    }
}

choice! {
    /// An attachment.
    pub enum Attachment {
        /// A file.
        File(FileAttachment) = "t:FileAttachment",
        /// An item.
        Item(ItemAttachment) = "t:ItemAttachment",
    }
}

record! {
    /// The properties of a message, and those that it shares with other items.
    #[derive(Default)]
    pub struct Message {
        /// The whole, as MIME.
        mime: Option<MimeContent> = "t:MimeContent",
        /// Its id.
        id: Option<ItemId> = "t:ItemId",
        /// The folder it lies in.
        parent: Option<FolderId> = "t:ParentFolderId",
        /// `IPM.Note` for mail.
        class: Option<String> = "t:ItemClass",
        /// Subject.
        subject: Option<String> = "t:Subject",
        /// `Normal`, `Personal`, `Private` or `Confidential`.
        sensitivity: Option<String> = "t:Sensitivity",
        /// Body.
        body: Option<Body> = "t:Body",
        /// Attachments.
        attachments: Vec<Attachment> = "t:Attachments/*",
        /// When it was received.
        received: Option<Timestamp> = "t:DateTimeReceived",
        /// Bytes.
        size: Option<u32> = "t:Size",
        /// Categories.
        categories: Vec<String> = "t:Categories/t:String",
        /// `Low`, `Normal` or `High`.
        importance: Option<String> = "t:Importance",
        /// `In-Reply-To`.
        in_reply_to: Option<String> = "t:InReplyTo",
        /// Whether it was handed over for sending.
        is_submitted: Option<bool> = "t:IsSubmitted",
        /// Whether it is a draft.
        is_draft: Option<bool> = "t:IsDraft",
        /// Whether the owner of the mailbox sent it.
        is_from_me: Option<bool> = "t:IsFromMe",
        /// Whether it was sent before.
        is_resend: Option<bool> = "t:IsResend",
        /// Whether it is as it came.
        is_unmodified: Option<bool> = "t:IsUnmodified",
        /// Header fields.
        headers: Vec<Header> = "t:InternetMessageHeaders/t:InternetMessageHeader",
        /// When it was sent.
        sent: Option<Timestamp> = "t:DateTimeSent",
        /// When it was made.
        created: Option<Timestamp> = "t:DateTimeCreated",
        /// Whether somebody is reminded of it.
        reminder_is_set: Option<bool> = "t:ReminderIsSet",
        /// How many minutes before.
        reminder_minutes: Option<u32> = "t:ReminderMinutesBeforeStart",
        /// Names of the recipients of a copy.
        display_cc: Option<String> = "t:DisplayCc",
        /// Names of the recipients.
        display_to: Option<String> = "t:DisplayTo",
        /// Whether files are attached.
        has_attachments: Option<bool> = "t:HasAttachments",
        /// Properties of the store.
        extended: Vec<ExtendedProperty> = "/t:ExtendedProperty",
        /// Language: `en-US`.
        culture: Option<String> = "t:Culture",
        /// Who changed it last.
        last_modified_name: Option<String> = "t:LastModifiedName",
        /// When it was changed last.
        last_modified: Option<Timestamp> = "t:LastModifiedTime",
        /// Whether it is hidden.
        is_associated: Option<bool> = "t:IsAssociated",
        /// Its conversation.
        conversation_id: Option<ItemId> = "t:ConversationId",
        /// The body without what was quoted.
        unique_body: Option<Body> = "t:UniqueBody",
        /// The body as text.
        text_body: Option<Body> = "t:TextBody",
        /// Who really sent it.
        sender: Option<SingleRecipient> = "t:Sender",
        /// Recipients.
        to: Vec<Mailbox> = "t:ToRecipients/t:Mailbox",
        /// Recipients of a copy.
        cc: Vec<Mailbox> = "t:CcRecipients/t:Mailbox",
        /// Recipients whom the others do not see.
        bcc: Vec<Mailbox> = "t:BccRecipients/t:Mailbox",
        /// Whether the sender wants to know of the reading.
        read_receipt: Option<bool> = "t:IsReadReceiptRequested",
        /// Whether the sender wants to know of the delivery.
        delivery_receipt: Option<bool> = "t:IsDeliveryReceiptRequested",
        /// Place in the conversation.
        conversation_index: Option<Bytes> = "t:ConversationIndex",
        /// Subject of the conversation.
        conversation_topic: Option<String> = "t:ConversationTopic",
        /// In whose name it is sent.
        from: Option<SingleRecipient> = "t:From",
        /// `Message-ID` with its angle brackets.
        internet_message_id: Option<String> = "t:InternetMessageId",
        /// Whether it was read.
        is_read: Option<bool> = "t:IsRead",
        /// Whether an answer is wanted.
        response_requested: Option<bool> = "t:IsResponseRequested",
        /// `References`.
        references: Option<String> = "t:References",
        /// To whom answers go.
        reply_to: Vec<Mailbox> = "t:ReplyTo/t:Mailbox",
        /// By which mailbox it was received.
        received_by: Option<SingleRecipient> = "t:ReceivedBy",
        /// For which mailbox it was received.
        received_representing: Option<SingleRecipient> = "t:ReceivedRepresenting",
    }
}

impl Message {
    /// The value of a header that was asked for as a property of the store, without regard to case.
    pub fn header_property(&self, name: &str) -> Option<&str> {
        let is = |property: &&ExtendedProperty| {
            property.uri.name.as_deref().is_some_and(|found| found.eq_ignore_ascii_case(name))
        };
        self.extended.iter().find(is)?.value.as_deref()
    }
}

/// What kind of item it is: which element it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ItemKind {
    /// Mail.
    #[default]
    Message,
    /// An invitation.
    MeetingRequest,
    /// The answer to one.
    MeetingResponse,
    /// The end of one.
    MeetingCancellation,
    /// Mail about a meeting.
    MeetingMessage,
    /// A post in a folder.
    PostItem,
    /// An appointment.
    CalendarItem,
    /// A person.
    Contact,
    /// Several persons.
    DistributionList,
    /// A task.
    Task,
    /// Anything else.
    Item,
}

const KINDS: [(ItemKind, &str); 11] = [
    (ItemKind::Message, "t:Message"),
    (ItemKind::MeetingRequest, "t:MeetingRequest"),
    (ItemKind::MeetingResponse, "t:MeetingResponse"),
    (ItemKind::MeetingCancellation, "t:MeetingCancellation"),
    (ItemKind::MeetingMessage, "t:MeetingMessage"),
    (ItemKind::PostItem, "t:PostItem"),
    (ItemKind::CalendarItem, "t:CalendarItem"),
    (ItemKind::Contact, "t:Contact"),
    (ItemKind::DistributionList, "t:DistributionList"),
    (ItemKind::Task, "t:Task"),
    (ItemKind::Item, "t:Item"),
];

/// An item.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Item {
    /// Its kind.
    pub kind: ItemKind,
    /// What is known of it.
    pub message: Message,
}

impl From<Message> for Item {
    fn from(message: Message) -> Self {
        Self { kind: ItemKind::Message, message }
    }
}

impl Choice for Item {
    fn tag(&self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or("t:Item", |(_, tag)| tag)
    }

    fn write_content(&self, writer: &mut Writer) {
        self.message.write(writer);
    }

    fn read_element(node: &Node<'_, '_>) -> Result<Option<Self>, ReadError> {
        let known = KINDS.iter().find(|(_, tag)| &tag[2..] == node.name()).map(|(kind, _)| *kind);
        // Whatever has an id of an item is one, under whichever name a newer Exchange gives it.
        let kind = known.or_else(|| node.child("ItemId").map(|_| ItemKind::Item));
        kind.map(|kind| Ok(Self { kind, message: Message::read(node)? })).transpose()
    }
}
