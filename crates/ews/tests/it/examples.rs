//! One example at least of every request and every answer, with every field that is of interest.

use bytes::Bytes;
use postroom_ews::wire::*;

pub(crate) fn all_requests() -> Vec<Request> {
    let inbox = || FolderRef::distinguished("inbox");
    let message_id = || Path::field("message:InternetMessageId");
    vec![
        Request::GetFolder(GetFolder {
            shape: FolderShape {
                base: BaseShape::Default,
                additional: vec![Path::field("folder:UnreadCount")],
            },
            folders: vec![
                FolderRef::Distinguished(DistinguishedFolderId {
                    id: "inbox".into(),
                    change_key: None,
                    mailbox: Some(mailbox("desk@contoso.example")),
                }),
                FolderRef::id("AAMkF1"),
            ],
        }),
        Request::FindFolder(FindFolder {
            traversal: Traversal::Deep,
            shape: FolderShape {
                base: BaseShape::IdOnly,
                additional: vec![Path::field("folder:DisplayName")],
            },
            page: Some(PageView::first(200)),
            restriction: Some(Restriction::Equal(Comparison::with(
                Path::field("folder:DisplayName"),
                "Done",
            ))),
            parents: vec![FolderRef::distinguished("msgfolderroot")],
        }),
        Request::CreateFolder(CreateFolder {
            parent: FolderRef::distinguished("msgfolderroot"),
            folders: vec![Folder {
                kind: FolderKind::Folder,
                properties: FolderProperties { display_name: Some("Done".into()), ..Default::default() },
            }],
        }),
        Request::FindItem(FindItem {
            traversal: Traversal::Shallow,
            shape: ItemShape::id_and(vec![message_id(), Path::header("X-Postroom-Id")]),
            page: Some(PageView::first(100)),
            restriction: Some(restriction()),
            sort: vec![FieldOrder { order: Order::Descending, path: Path::field("item:DateTimeReceived") }],
            parents: vec![inbox()],
            query: None,
        }),
        Request::GetItem(GetItem {
            shape: ItemShape {
                base: BaseShape::IdOnly,
                include_mime_content: Some(true),
                body_type: Some("Text".into()),
                additional: vec![
                    message_id(),
                    Path::Indexed(IndexedFieldUri {
                        uri: "item:InternetMessageHeader".into(),
                        index: "X-Postroom-Id".into(),
                    }),
                ],
            },
            items: vec![
                ItemId { id: "AAMkI1".into(), change_key: Some("CQAAAB".into()) },
                ItemId::of("AAMkI2"),
            ],
        }),
        Request::SyncFolderItems(SyncFolderItems {
            shape: ItemShape::id_and(Vec::new()),
            folder: inbox(),
            state: Some("H4sIAAAA".into()),
            ignore: vec![ItemId::of("AAMkI0")],
            max: 512,
            scope: Some(SyncScope::NormalItems),
        }),
        Request::CreateItem(CreateItem {
            disposition: Some(MessageDisposition::SaveOnly),
            invitations: None,
            folder: Some(FolderRef::distinguished("drafts")),
            items: vec![mime_item().into(), written_message().into()],
        }),
        Request::CreateAttachment(CreateAttachment {
            parent: ItemId { id: "AAMkD1".into(), change_key: Some("CQAAAF".into()) },
            attachments: vec![file()],
        }),
        Request::GetAttachment(GetAttachment {
            shape: Some(AttachmentShape { include_mime_content: Some(true), ..Default::default() }),
            ids: vec![AttachmentId { id: "AAMkI1ATT".into(), ..Default::default() }],
        }),
        Request::SendItem(SendItem {
            save: true,
            items: vec![ItemId { id: "AAMkD1".into(), change_key: Some("CQAAAG".into()) }],
            folder: Some(FolderRef::distinguished("sentitems")),
        }),
        Request::UpdateItem(update_item()),
        Request::MoveItem(MoveItem {
            folder: FolderRef::id("AAMkF2"),
            items: vec![ItemId::of("AAMkI1")],
            return_new_ids: Some(true),
        }),
        Request::DeleteItem(DeleteItem {
            how: DeleteType::MoveToDeletedItems,
            cancellations: Some("SendToNone".into()),
            occurrences: Some("AllOccurrences".into()),
            suppress_receipts: Some(true),
            items: vec![ItemId::of("AAMkI1")],
        }),
        Request::ResolveNames(ResolveNames {
            full_contact: false,
            scope: Some("ActiveDirectory".into()),
            contact_shape: Some(BaseShape::IdOnly),
            parents: Vec::new(),
            entry: "smtp:desk@contoso.example".into(),
        }),
        Request::GetServerTimeZones(GetServerTimeZones { full: Some(true), ids: vec!["UTC".into()] }),
        Request::ConvertId(ConvertId {
            format: "EntryId".into(),
            ids: vec![AlternateId {
                format: "EwsId".into(),
                id: "AAMkI1".into(),
                mailbox: "desk@contoso.example".into(),
            }],
        }),
        Request::Subscribe(Subscribe {
            streaming: StreamingSubscription {
                all_folders: None,
                folders: vec![inbox()],
                events: vec![EventType::NewMailEvent, EventType::MovedEvent, EventType::CreatedEvent],
            },
        }),
        Request::Unsubscribe(Unsubscribe { id: "JwBzdWIx".into() }),
        Request::GetStreamingEvents(GetStreamingEvents { ids: vec!["JwBzdWIx".into()], minutes: 29 }),
    ]
}

pub(crate) fn all_responses() -> Vec<Response> {
    fn both<T: Default>(payload: T) -> Vec<ResponseMessage<T>> {
        let mut busy =
            ResponseMessage::error("ErrorInternalServerError", "An internal server error occurred.");
        busy.values = Some(MessageXml {
            values: vec![XmlValue { name: "InnerErrorResponseCode".into(), value: "ErrorServerBusy".into() }],
            ..Default::default()
        });
        vec![ResponseMessage::success(payload), busy]
    }
    let items = || Items { items: vec![stored_message().into()] };
    let folders = || Folders { folders: vec![folder()] };
    let attachments = || Attachments { attachments: vec![file(), attached_item()] };
    vec![
        Response::GetFolder(both(folders())),
        Response::FindFolder(both(FoundFolders {
            page: Some(FolderPage {
                next_offset: Some(1),
                total: Some(1),
                is_last: Some(true),
                folders: vec![folder()],
            }),
        })),
        Response::CreateFolder(both(folders())),
        Response::FindItem(both(FoundItems {
            page: Some(ItemPage {
                next_offset: Some(1),
                total: Some(1),
                is_last: Some(true),
                items: vec![stored_message().into()],
            }),
        })),
        Response::GetItem(both(items())),
        Response::SyncFolderItems(both(synced())),
        Response::CreateItem(both(Items::default())),
        Response::CreateAttachment(both(attachments())),
        Response::GetAttachment(both(attachments())),
        Response::SendItem(both(Nothing {})),
        Response::UpdateItem(both(Updated {
            items: vec![stored_message().into()],
            conflicts: Some(ConflictResults { count: 0 }),
        })),
        Response::MoveItem(both(items())),
        Response::DeleteItem(both(Nothing {})),
        Response::ResolveNames(both(Resolved {
            set: Some(ResolutionSet {
                total: Some(1),
                is_last: Some(true),
                resolutions: vec![Resolution { mailbox: mailbox("desk@contoso.example") }],
            }),
        })),
        Response::ConvertId(both(Nothing {})),
        Response::GetServerTimeZones(both(TimeZones {
            definitions: vec![TimeZoneDefinition {
                id: Some("UTC".into()),
                name: Some("(UTC) Coordinated Universal Time".into()),
                periods: vec![Period { bias: "PT0M".into(), name: "Standard".into(), id: "std".into() }],
            }],
        })),
        Response::Subscribe(both(Subscribed { id: Some("JwBzdWIx".into()) })),
        Response::Unsubscribe(both(Nothing {})),
        Response::GetStreamingEvents(both(Streamed {
            notifications: vec![notification()],
            bad_subscriptions: vec!["JwBzdWIy".into()],
            status: Some(ConnectionStatus::OK),
        })),
    ]
}

pub(crate) fn fault() -> Fault {
    let mut fault = Fault::new("ErrorServerBusy", "The server cannot service this request right now.");
    fault.values = Some(MessageXml {
        line: Some(3),
        position: Some(40),
        violation: Some("an example of one".into()),
        values: vec![XmlValue { name: "BackOffMilliseconds".into(), value: "297749".into() }],
    });
    fault
}

fn mailbox(address: &str) -> Mailbox {
    Mailbox {
        name: Some("Service Desk".into()),
        address: Some(address.into()),
        routing_type: Some("SMTP".into()),
        kind: Some("Mailbox".into()),
    }
}

fn restriction() -> Restriction {
    let received = || Path::field("item:DateTimeReceived");
    let mark = || Path::header("X-Postroom-Id");
    Restriction::And(Group {
        terms: vec![
            Restriction::Equal(Comparison::with(
                Path::field("message:InternetMessageId"),
                "<a1@contoso.example>",
            )),
            Restriction::GreaterOrEqual(Comparison::with(received(), "2026-11-01T00:00:00Z")),
            Restriction::Or(Group {
                terms: vec![
                    Restriction::Exists(Exists { path: mark() }),
                    Restriction::Not(Group {
                        terms: vec![Restriction::Contains(Contains {
                            mode: Some("Substring".into()),
                            comparison: Some("IgnoreCase".into()),
                            path: Path::field("item:Subject"),
                            constant: Constant { value: "order".into() },
                        })],
                    }),
                ],
            }),
        ],
    })
}

fn mime_item() -> Message {
    let content = Bytes::from_static(b"From: desk@contoso.example\r\nSubject: x\r\n\r\nhi\r\n");
    Message { mime: Some(MimeContent { character_set: Some("UTF-8".into()), content }), ..Message::default() }
}

fn written_message() -> Message {
    Message {
        class: Some("IPM.Note".into()),
        subject: Some("Order 4711 <shipped> & \"paid\"".into()),
        sensitivity: Some("Normal".into()),
        body: Some(Body { kind: "HTML".into(), is_truncated: None, text: "<p>On its way.</p>\r\n".into() }),
        attachments: vec![file()],
        categories: vec!["Imported".into(), "Blue".into()],
        importance: Some("High".into()),
        in_reply_to: Some("<a0@fabrikam.example>".into()),
        headers: vec![Header { name: "X-Postroom-Id".into(), value: "4711".into() }],
        to: vec![mailbox("ann@fabrikam.example"), mailbox("ben@fabrikam.example")],
        cc: vec![mailbox("eve@fabrikam.example")],
        bcc: vec![mailbox("dan@fabrikam.example")],
        read_receipt: Some(false),
        from: Some(SingleRecipient { mailbox: mailbox("desk@contoso.example") }),
        references: Some("<a0@fabrikam.example>".into()),
        reply_to: vec![mailbox("desk@contoso.example")],
        ..Message::default()
    }
}

pub(crate) fn stored_message() -> Message {
    let at = "2026-11-20T08:15:00Z".parse().ok();
    Message {
        mime: mime_item().mime,
        id: Some(ItemId { id: "AAMkI1".into(), change_key: Some("CQAAAB".into()) }),
        parent: Some(FolderId { id: "AAMkF1".into(), change_key: Some("AQAAAA".into()) }),
        received: at,
        size: Some(1234),
        is_submitted: Some(false),
        is_draft: Some(false),
        is_from_me: Some(false),
        is_resend: Some(false),
        is_unmodified: Some(true),
        sent: at,
        created: at,
        reminder_is_set: Some(false),
        reminder_minutes: Some(0),
        display_cc: Some("Eve".into()),
        display_to: Some("Ann; Ben".into()),
        has_attachments: Some(true),
        extended: vec![ExtendedProperty {
            uri: ExtendedFieldUri::header("X-Postroom-Id"),
            value: Some("4711".into()),
            values: Vec::new(),
        }],
        culture: Some("en-US".into()),
        last_modified_name: Some("Desk".into()),
        last_modified: at,
        is_associated: Some(false),
        conversation_id: Some(ItemId::of("AAQkC1")),
        sender: Some(SingleRecipient { mailbox: mailbox("ann@fabrikam.example") }),
        delivery_receipt: Some(false),
        conversation_index: Some(Bytes::from_static(b"\x01\x02")),
        conversation_topic: Some("Order 4711".into()),
        internet_message_id: Some("<a1@contoso.example>".into()),
        is_read: Some(false),
        response_requested: Some(true),
        received_by: Some(SingleRecipient { mailbox: mailbox("desk@contoso.example") }),
        received_representing: Some(SingleRecipient { mailbox: mailbox("desk@contoso.example") }),
        ..written_message()
    }
}

fn file() -> Attachment {
    Attachment::File(FileAttachment {
        id: Some(AttachmentId {
            id: "AAMkD1ATT".into(),
            root_item_id: Some("AAMkD1".into()),
            root_item_change_key: Some("CQAAAG".into()),
        }),
        name: Some("label.pdf".into()),
        content_type: Some("application/pdf".into()),
        content_id: Some("label".into()),
        size: Some(9),
        is_inline: Some(false),
        content: Some(Bytes::from_static(b"%PDF-1.4\n")),
        ..FileAttachment::default()
    })
}

fn attached_item() -> Attachment {
    Attachment::Item(ItemAttachment {
        name: Some("Order 4711".into()),
        item: vec![mime_item().into()],
        ..ItemAttachment::default()
    })
}

fn folder() -> Folder {
    Folder {
        kind: FolderKind::Folder,
        properties: FolderProperties {
            id: Some(FolderId { id: "AAMkF1".into(), change_key: Some("AQAAAA".into()) }),
            parent: Some(FolderId { id: "AAMkROOT".into(), change_key: None }),
            class: Some("IPF.Note".into()),
            display_name: Some("Inbox".into()),
            total: Some(12),
            child_folders: Some(0),
            extended: Vec::new(),
            distinguished: Some("inbox".into()),
            unread: Some(3),
        },
    }
}

fn update_item() -> UpdateItem {
    let read = Message { is_read: Some(true), ..Message::default() };
    let categories = Message { categories: vec!["Imported".into()], ..Message::default() };
    UpdateItem {
        conflict: ConflictResolution::AutoResolve,
        disposition: Some(MessageDisposition::SaveOnly),
        invitations: Some("SendToNone".into()),
        suppress_receipts: Some(true),
        folder: None,
        changes: vec![ItemChange {
            id: ItemId { id: "AAMkI1".into(), change_key: Some("CQAAAB".into()) },
            updates: vec![
                Update::Set(SetField { path: Path::field("message:IsRead"), item: read.into() }),
                Update::Append(SetField { path: Path::field("item:Categories"), item: categories.into() }),
                Update::Delete(DeleteField { path: Path::field("item:Importance") }),
            ],
        }],
    }
}

fn synced() -> Synced {
    let item = |kind, id: &str| Here {
        item: Item { kind, message: Message { id: Some(ItemId::of(id)), ..Message::default() } },
    };
    Synced {
        state: Some("H4sIAAAB".into()),
        is_last: Some(false),
        changes: vec![
            Change::Create(item(ItemKind::Message, "AAMkI2")),
            Change::Update(item(ItemKind::MeetingRequest, "AAMkI1")),
            Change::Delete(Gone { id: ItemId::of("AAMkI0") }),
            Change::ReadFlag(ReadFlag { id: ItemId::of("AAMkI3"), is_read: true }),
        ],
    }
}

fn notification() -> Notification {
    let details = EventDetails {
        watermark: None,
        at: "2026-11-23T10:00:00Z".parse().ok(),
        item: Some(ItemId { id: "AAMkI9".into(), change_key: Some("CQAAAK".into()) }),
        parent: Some(FolderId { id: "AAMkF1".into(), change_key: None }),
        ..EventDetails::default()
    };
    let moved = EventDetails {
        old_item: Some(ItemId::of("AAMkI8")),
        old_parent: Some(FolderId { id: "AAMkF2".into(), change_key: None }),
        ..details.clone()
    };
    Notification {
        subscription: "JwBzdWIx".into(),
        previous_watermark: None,
        more: Some(false),
        events: vec![
            StreamEvent { kind: Some(EventType::NewMailEvent), details },
            StreamEvent { kind: Some(EventType::MovedEvent), details: moved },
            StreamEvent { kind: None, details: EventDetails::default() },
        ],
    }
}
