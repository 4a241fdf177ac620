//! Streaming notifications: subscriptions, and what is told through them.

use jiff::Timestamp;

use super::folder::{FolderId, FolderRef};
use super::item::ItemId;
use super::tree::{Node, ReadError};
use super::value::{Choice, Value, record, words};
use super::writer::Writer;

words! {
    /// What is told of.
    pub enum EventType {
        /// An item was copied.
        CopiedEvent,
        /// An item was made.
        CreatedEvent,
        /// An item was deleted.
        DeletedEvent,
        /// An item was changed.
        ModifiedEvent,
        /// An item was moved.
        MovedEvent,
        /// Mail came.
        NewMailEvent,
        /// An appointment changed somebody's availability.
        FreeBusyChangedEvent,
    }
}

record! {
    /// What a subscription is for.
    pub struct StreamingSubscription {
        /// Whether every folder is meant.
        all_folders: Option<bool> = "@SubscribeToAllFolders",
        /// Which folders.
        folders: Vec<FolderRef> = "t:FolderIds/*",
        /// Which events.
        events: Vec<EventType> = "t:EventTypes/t:EventType",
    }
}

record! {
    /// Subscribes. Only streaming is offered here: pull and push have no use for Postroom.
    pub struct Subscribe {
        /// For what.
        streaming: StreamingSubscription = "m:StreamingSubscriptionRequest",
    }
}

record! {
    /// A subscription.
    #[derive(Default)]
    pub struct Subscribed {
        /// Its id.
        id: Option<String> = "m:SubscriptionId",
    }
}

record! {
    /// Ends a subscription.
    pub struct Unsubscribe {
        /// Which.
        id: String = "m:SubscriptionId",
    }
}

record! {
    /// Opens the stream. The answer is several envelopes, one after another.
    pub struct GetStreamingEvents {
        /// Of which subscriptions, at most 200.
        ids: Vec<String> = "m:SubscriptionIds/t:SubscriptionId",
        /// After how many minutes the server ends it, 1 to 30.
        minutes: u32 = "m:ConnectionTimeout",
    }
}

record! {
    /// What an event tells.
    #[derive(Default)]
    pub struct EventDetails {
        /// Place in the stream.
        watermark: Option<String> = "t:Watermark",
        /// When.
        at: Option<Timestamp> = "t:TimeStamp",
        /// Which folder, when it is about one.
        folder: Option<FolderId> = "t:FolderId",
        /// Which item, when it is about one.
        item: Option<ItemId> = "t:ItemId",
        /// In which folder it lies.
        parent: Option<FolderId> = "t:ParentFolderId",
        /// Its id before.
        old_item: Option<ItemId> = "t:OldItemId",
        /// The folder it lay in before.
        old_parent: Option<FolderId> = "t:OldParentFolderId",
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamEvent {
    /// What happened; none for `StatusEvent`, a sign of life.
    pub kind: Option<EventType>,
    /// What is told of it.
    pub details: EventDetails,
}

impl Choice for StreamEvent {
    fn tag(&self) -> &'static str {
        match self.kind {
            None => "t:StatusEvent",
            Some(EventType::CopiedEvent) => "t:CopiedEvent",
            Some(EventType::CreatedEvent) => "t:CreatedEvent",
            Some(EventType::DeletedEvent) => "t:DeletedEvent",
            Some(EventType::ModifiedEvent) => "t:ModifiedEvent",
            Some(EventType::MovedEvent) => "t:MovedEvent",
            Some(EventType::NewMailEvent) => "t:NewMailEvent",
            Some(EventType::FreeBusyChangedEvent) => "t:FreeBusyChangedEvent",
        }
    }

    fn write_content(&self, writer: &mut Writer) {
        self.details.write(writer);
    }

    fn read_element(node: &Node<'_, '_>) -> Result<Option<Self>, ReadError> {
        let kind = match node.name() {
            "StatusEvent" => None,
            name => match EventType::from_text(name) {
                Ok(kind) => Some(kind),
                Err(_) => return Ok(None),
            },
        };
        Ok(Some(Self { kind, details: EventDetails::read(node)? }))
    }
}

record! {
    /// Events of one subscription. On the wire it stands in the namespace of messages, in the schema in that of types;
    /// both are read, the first is written.
    pub struct Notification {
        /// Which subscription.
        subscription: String = "t:SubscriptionId",
        /// Place in the stream before.
        previous_watermark: Option<String> = "t:PreviousWatermark",
        /// Whether more wait.
        more: Option<bool> = "t:MoreEvents",
        /// The events.
        events: Vec<StreamEvent> = "/*",
    }
}

words! {
    /// Whether the stream goes on.
    pub enum ConnectionStatus {
        /// It does.
        OK,
        /// It ends.
        Closed,
    }
}

record! {
    /// One envelope of the stream.
    #[derive(Default)]
    pub struct Streamed {
        /// What is told.
        notifications: Vec<Notification> = "m:Notifications/m:Notification",
        /// Subscriptions that are not, or no longer, there.
        bad_subscriptions: Vec<String> = "m:ErrorSubscriptionIds/t:SubscriptionId",
        /// Whether the stream goes on.
        status: Option<ConnectionStatus> = "m:ConnectionStatus",
    }
}
