//! Exchange Web Services over HTTP, in the wire types of the client.

use postroom_ews::wire::*;
use reqwest::Method;
use serde_json::{Value, json};

use crate::doors::{EXCHANGE, EXCHANGE_SCOPE, ORDERS};
use crate::support::{App, MAIL, World, answer, encoded};

/// An application with these roles of Exchange and Graph's for mail, on the list of those that EWS lets in.
pub(crate) async fn allowed(world: &World, roles: &[&str]) -> App {
    let app = world.app(MAIL).await;
    world.grant(&app, EXCHANGE, roles).await;
    allow(world, &app).await;
    app
}

async fn allow(world: &World, app: &App) {
    world.script(&format!("Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs '{}'", app.id)).await;
}

/// A client of one mailbox.
pub(crate) struct Ews<'a> {
    pub(crate) world: &'a World,
    pub(crate) token: String,
    pub(crate) acting_for: Option<&'a str>,
}

impl<'a> Ews<'a> {
    pub(crate) async fn new(world: &'a World, app: &App, acting_for: &'a str) -> Self {
        Self { world, token: world.app_token_for(app, EXCHANGE_SCOPE).await, acting_for: Some(acting_for) }
    }

    pub(crate) async fn raw(&self, body: Vec<u8>) -> reqwest::Response {
        let request = self.world.client.post(&self.world.sandbox.ready().ews).bearer_auth(&self.token);
        request.header("content-type", "text/xml; charset=utf-8").body(body).send().await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request) -> reqwest::Response {
        self.raw(write_request(&RequestHeader::acting_for(self.acting_for), &request)).await
    }

    pub(crate) async fn answer(&self, request: Request) -> Response {
        let response = self.send(request).await;
        let status = response.status();
        let body = response.bytes().await.unwrap();
        match parse_response(&body).unwrap().answer {
            Answer::Response(response) => response,
            Answer::Fault(fault) => panic!("{status}: {fault:?}"),
        }
    }

    /// The code of the fault that a request meets.
    pub(crate) async fn fault(&self, request: Request) -> Fault {
        let response = self.send(request).await;
        let status = response.status();
        let body = response.bytes().await.unwrap();
        match parse_response(&body).map(|envelope| envelope.answer) {
            Ok(Answer::Fault(fault)) => fault,
            other => panic!("{status}: {other:?}"),
        }
    }

    async fn sync(&self, state: Option<String>, max: u32) -> ResponseMessage<Synced> {
        let request = SyncFolderItems {
            shape: ItemShape::id_and(vec![Path::field("item:Subject")]),
            folder: FolderRef::distinguished("inbox"),
            state,
            ignore: Vec::new(),
            max,
            scope: None,
        };
        let Response::SyncFolderItems(mut messages) = self.answer(Request::SyncFolderItems(request)).await
        else {
            panic!("another answer");
        };
        messages.remove(0)
    }

    pub(crate) async fn inbox(&self) -> u16 {
        self.send(inbox()).await.status().as_u16()
    }
}

/// The only message of an answer to this operation.
macro_rules! only {
    ($operation:ident, $ews:expr, $request:expr) => {
        match $ews.answer(Request::$operation($request)).await {
            Response::$operation(mut messages) => messages.remove(0),
            other => panic!("{other:?}"),
        }
    };
}
pub(crate) use only;

pub(crate) fn inbox() -> Request {
    Request::GetFolder(GetFolder {
        shape: FolderShape { base: BaseShape::Default, additional: Vec::new() },
        folders: vec![FolderRef::distinguished("inbox")],
    })
}

pub(crate) fn save(raw: &str) -> CreateItem {
    let mime = MimeContent { character_set: None, content: raw.as_bytes().to_vec().into() };
    CreateItem {
        disposition: Some(MessageDisposition::SaveOnly),
        invitations: None,
        folder: None,
        items: vec![Message { mime: Some(mime), ..Message::default() }.into()],
    }
}

pub(crate) fn send_item(id: &ItemId) -> SendItem {
    SendItem { save: true, items: vec![id.clone()], folder: None }
}

fn get(id: &str, shape: ItemShape) -> GetItem {
    GetItem { shape, items: vec![ItemId::of(id)] }
}

pub(crate) const DRAFT: &str = "From: orders@contoso.example\r\nTo: ann@fabrikam.example\r\nBcc: u1@contoso.example\r\n\
    Subject: Shipped\r\nMessage-ID: <d@contoso.example>\r\nX-Postroom-Id: 4711\r\n\r\nOn its way\r\n";

#[tokio::test]
async fn a_new_tenant_blocks_ews_until_the_application_is_listed_and_ends_it_in_2027() {
    let world = World::new().await;
    let app = world.app(MAIL).await;
    world.grant(&app, EXCHANGE, &["full_access_as_app"]).await;
    let ews = Ews::new(&world, &app, ORDERS).await;
    let refused = async || {
        let response = ews.send(inbox()).await;
        let reason =
            response.headers().get("x-ews-policy-reason").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), reason.unwrap_or_default())
    };
    let disabled = (403, "EWS is disabled for this user or tenant".to_owned());
    let blocked = (403, "EWS is blocked by policy for this user or tenant".to_owned());
    assert_eq!(refused().await, disabled);
    world.script("Set-OrganizationConfig -EwsEnabled $true").await;
    assert_eq!(refused().await, blocked, "on, with an empty list: nobody");
    // The lines that `setup` prints for an administrator.
    let told = world
        .script(&format!(
            "Get-OrganizationConfig -RetrieveEwsOperationAccessPolicy | Format-List EwsEnabled,EwsAllowedAppIDs\n\
             Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs (@('{}') + '{}' -join ',')",
            app.object, app.id
        ))
        .await;
    assert_eq!(told["results"][0]["output"][0]["EwsEnabled"], true);
    assert_eq!(ews.inbox().await, 200);
    world.script(&format!("Set-CASMailbox -Identity {ORDERS} -EwsEnabled $false")).await;
    assert_eq!(refused().await, disabled);
    world.script(&format!("Set-CASMailbox -Identity {ORDERS} -EwsEnabled $null")).await;
    world
        .script(
            "Set-OrganizationConfig -EwsApplicationAccessPolicy EnforceAllowList -EwsAllowList 'Outlook*'",
        )
        .await;
    assert_eq!(refused().await, blocked, "another user agent");
    world.script("Set-OrganizationConfig -EwsApplicationAccessPolicy $null -EwsEnabled $null").await;
    assert_eq!(ews.inbox().await, 200, "without a decision the list does not count");

    world.dial("clock", json!({"advance_seconds": 129 * 86_400})).await;
    let late = Ews::new(&world, &app, ORDERS).await;
    assert_eq!(late.inbox().await, 403, "after 1 April 2027");
}

#[tokio::test]
async fn a_token_opens_what_its_role_reaches_and_nothing_else() {
    let world = World::new().await;
    let app = allowed(&world, &["full_access_as_app"]).await;
    let mut ews = Ews::new(&world, &app, ORDERS).await;
    assert_eq!(ews.inbox().await, 200);
    ews.acting_for = None;
    let fault = ews.fault(inbox()).await;
    assert_eq!(fault.response_code.as_deref(), Some("ErrorInvalidExchangeImpersonationHeaderData"));
    ews.acting_for = Some("nobody@contoso.example");
    assert_eq!(ews.fault(inbox()).await.code, "ErrorNonExistentMailbox");
    ews.acting_for = Some(ORDERS);
    let both = String::from_utf8(write_request(&RequestHeader::acting_for(Some(ORDERS)), &inbox())).unwrap();
    let both = both
        .replace("</t:ConnectingSID>", "<t:PrincipalName>x@y.example</t:PrincipalName></t:ConnectingSID>");
    assert_eq!(ews.raw(both.into_bytes()).await.status(), 500, "two kinds of names");

    // No token, one for Graph, and one that has expired.
    let good = std::mem::take(&mut ews.token);
    let response = ews.send(inbox()).await;
    assert_eq!(response.status(), 401);
    assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer client_id="));
    ews.token = world.app_token(&app).await;
    let response = ews.send(inbox()).await;
    assert_eq!(response.status(), 401);
    assert!(response.headers()["x-ms-diagnostics"].to_str().unwrap().starts_with("2000003;"));
    ews.token = good;
    let looks = |token: &str| world.client.get(&world.sandbox.ready().ews).bearer_auth(token);
    assert_eq!(answer(looks(&ews.token)).await.0, 200, "as DavMail looks before any SOAP");
    assert_eq!(answer(looks("none")).await.0, 401);

    // A role of Exchange with a scope; an application without any.
    let scoped = world.app(&[]).await;
    let both = format!("{},{}", app.id, scoped.id);
    world.script(&format!("Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs '{both}'")).await;
    let mut narrow = Ews::new(&world, &scoped, ORDERS).await;
    let nothing = narrow.send(inbox()).await;
    assert_eq!((nothing.status().as_u16(), nothing.headers().get("x-ews-policy-reason")), (403, None));
    world
        .script(&format!(
            "New-ServicePrincipal -AppId {} -ObjectId {} -DisplayName a\n\
             New-ManagementScope -Name s -RecipientRestrictionFilter \"PrimarySmtpAddress -eq '{ORDERS}'\"\n\
             New-ManagementRoleAssignment -App {} -Role 'Application EWS.AccessAsApp' -CustomResourceScope s",
            scoped.id, scoped.principal, scoped.principal
        ))
        .await;
    assert_eq!(narrow.inbox().await, 200);
    narrow.acting_for = Some("u1@contoso.example");
    assert_eq!(narrow.fault(inbox()).await.code, "ErrorImpersonateUserDenied");

    // Versions and documents.
    let mut header = RequestHeader::acting_for(Some(ORDERS));
    // What libraries ask for.
    for version in ["Exchange2016", "Exchange2010_SP2", "Exchange2007_SP1"] {
        header.version = Some(SchemaVersion { version: version.to_owned() });
        let body = ews_body(&ews, write_request(&header, &inbox())).await;
        assert!(matches!(body, Answer::Response(_)), "{version}: {body:?}");
    }
    header.version = Some(SchemaVersion { version: "Exchange2029".to_owned() });
    let body = ews_body(&ews, write_request(&header, &inbox())).await;
    let Answer::Fault(fault) = body else { panic!("{body:?}") };
    assert_eq!(fault.code, "ErrorInvalidServerVersion");
    let ugly = String::from_utf8(write_request(&RequestHeader::acting_for(Some(ORDERS)), &inbox())).unwrap();
    let ugly = ugly.replace("<m:GetFolder>", "\n<m:GetFolder>").replace("FolderShape", "Shape");
    let Answer::Fault(fault) = ews_body(&ews, ugly.into_bytes()).await else { panic!("no fault") };
    assert_eq!(fault.code, "ErrorSchemaValidation");
    let values = fault.values.unwrap();
    assert_eq!(values.line, Some(2));
    assert!(values.violation.unwrap().contains("FolderShape is missing"));
}

async fn ews_body(ews: &Ews<'_>, document: Vec<u8>) -> Answer {
    parse_response(&ews.raw(document).await.bytes().await.unwrap()).unwrap().answer
}

#[tokio::test]
async fn a_person_reads_the_own_mailbox_without_impersonation() {
    let world = World::new().await;
    let app = allowed(&world, &[]).await;
    let person = world.sandbox.ready().users.iter().find(|user| user.address == ORDERS).unwrap().clone();
    let form = [
        ("grant_type", "password"),
        ("client_id", app.id.as_str()),
        ("client_secret", &app.secret),
        ("scope", "https://outlook.office365.com/EWS.AccessAsUser.All"),
        ("username", ORDERS),
        ("password", &person.password),
    ];
    let (status, body) = world.ask(world.tenant(), &form).await;
    if status != 200 {
        // Consent comes first.
        let admin = &world.sandbox.ready().admin;
        let form = [
            ("grant_type", "password"),
            ("client_id", app.id.as_str()),
            ("client_secret", &app.secret),
            ("scope", "https://outlook.office365.com/EWS.AccessAsUser.All"),
            ("username", &admin.user),
            ("password", &admin.password),
        ];
        let (again, why) = world.ask(world.tenant(), &form).await;
        panic!("{status} {body}; {again} {why}");
    }
    let token = body["access_token"].as_str().unwrap().to_owned();
    let mut ews = Ews { world: &world, token, acting_for: None };
    assert_eq!(ews.inbox().await, 200);
    ews.acting_for = Some("u1@contoso.example");
    assert_eq!(ews.fault(inbox()).await.code, "ErrorImpersonateUserDenied");
}

#[tokio::test]
async fn a_draft_is_sent_once_in_its_newest_version_and_its_copy_has_another_id() {
    let world = World::new().await;
    let app = allowed(&world, &["full_access_as_app"]).await;
    let ews = Ews::new(&world, &app, ORDERS).await;
    let made = only!(CreateItem, ews, save(DRAFT)).payload.items.remove(0);
    let draft = made.message.id.unwrap();
    let file = FileAttachment {
        name: Some("label.pdf".into()),
        content_type: Some("application/pdf".into()),
        content: Some(b"%PDF-1".to_vec().into()),
        ..FileAttachment::default()
    };
    let attached = only!(
        CreateAttachment,
        ews,
        CreateAttachment { parent: draft.clone(), attachments: vec![Attachment::File(file)] }
    );
    let Attachment::File(file) = &attached.payload.attachments[0] else { panic!() };
    let id = file.id.clone().unwrap();
    let stale = only!(SendItem, ews, send_item(&draft));
    assert_eq!(stale.code, "ErrorStaleObject");
    assert_eq!(only!(SendItem, ews, send_item(&ItemId::of(&draft.id))).code, "ErrorChangeKeyRequired");
    let newest = ItemId { id: draft.id.clone(), change_key: id.root_item_change_key.clone() };
    assert_eq!(only!(SendItem, ews, send_item(&newest)).code, "NoError");
    assert_eq!(only!(SendItem, ews, send_item(&newest)).code, "ErrorItemNotFound", "its id went with it");

    let shape = || ItemShape::id_and(vec![Path::field("item:IsDraft"), Path::header("X-Postroom-Id")]);
    let find = FindItem {
        traversal: Traversal::Shallow,
        shape: shape(),
        page: Some(PageView::first(10)),
        restriction: Some(Restriction::Equal(Comparison::with(
            Path::field("message:InternetMessageId"),
            "<D@contoso.example>",
        ))),
        sort: Vec::new(),
        parents: vec![FolderRef::distinguished("sentitems")],
        query: None,
    };
    let found = only!(FindItem, ews, find).payload.page.unwrap();
    assert_eq!((found.items.len(), found.is_last), (1, Some(true)));
    let copy = &found.items[0].message;
    assert_ne!(copy.id.as_ref().unwrap().id, draft.id);
    assert_eq!((copy.is_draft, copy.header_property("x-postroom-id")), (Some(false), Some("4711")));
    // Graph and the recipients see the same message, the blind copy is in nobody's.
    let outside = world.outside().await;
    assert_eq!(outside[0]["to"], json!(["ann@fabrikam.example"]));
    assert!(!outside[0]["raw"].as_str().unwrap().contains("Bcc"));
    let graph = world.app_token(&app).await;
    let received = world.get(&graph, "/v1.0/users/u1@contoso.example/mailFolders/inbox/messages").await;
    assert_eq!(received["value"][0]["subject"], "Shipped");

    let attachments = ItemShape::id_and(vec![Path::field("item:Attachments")]);
    let whole = only!(GetItem, ews, get(&copy.id.as_ref().unwrap().id, attachments)).payload.items.remove(0);
    let Attachment::File(listed) = &whole.message.attachments[0] else { panic!() };
    assert_eq!((listed.name.as_deref(), &listed.content), (Some("label.pdf"), &None));
    let request = GetAttachment { shape: None, ids: vec![listed.id.clone().unwrap()] };
    let file = only!(GetAttachment, ews, request).payload.attachments.remove(0);
    assert!(
        matches!(file, Attachment::File(FileAttachment { content: Some(content), .. }) if content == "%PDF-1")
    );

    // At once, and as somebody else.
    let both = MessageDisposition::SendAndSaveCopy;
    let at_once = CreateItem { disposition: Some(both), ..save(&DRAFT.replace("<d@", "<e@")) };
    let sent = only!(CreateItem, ews, at_once);
    assert_eq!((sent.code.as_str(), sent.payload.items.len()), ("NoError", 0), "no id is told");
    let other = DRAFT.replace("From: orders@", "From: u2@");
    let denied = only!(CreateItem, ews, CreateItem { disposition: Some(both), ..save(&other) });
    assert_eq!(denied.code, "ErrorSendAsDenied");
}

#[tokio::test]
async fn changes_come_page_by_page_each_once_until_the_state_is_lost() {
    let world = World::new().await;
    let app = allowed(&world, &["full_access_as_app"]).await;
    let ews = Ews::new(&world, &app, ORDERS).await;
    let mut ids = Vec::new();
    for number in 1..=3 {
        ids.push(world.deliver(ORDERS, &format!("Subject: {number}\r\n\r\nx\r\n")).await);
    }
    let first = ews.sync(None, 2).await.payload;
    assert_eq!((first.changes.len(), first.is_last), (2, Some(false)));
    let second = ews.sync(first.state, 2).await.payload;
    assert_eq!((second.changes.len(), second.is_last), (1, Some(true)));
    assert!(
        matches!(&second.changes[0], Change::Create(here) if here.item.message.subject.as_deref() == Some("3"))
    );

    // What happens by Graph is told by EWS.
    let graph = world.app_token(&app).await;
    let at = |number: usize| format!("/v1.0/users/{ORDERS}/messages/{}", encoded(&ids[number]["id"]));
    let patch = async |number: usize, body: Value| world.call(&graph, Method::PATCH, &at(number), body).await;
    patch(0, json!({"isRead": true})).await;
    patch(1, json!({"isRead": true, "categories": ["Red"]})).await;
    let moved = json!({"destinationId": "archive"});
    world.call(&graph, Method::POST, &format!("{}/move", at(2)), moved).await;
    let third = ews.sync(second.state, 512).await.payload;
    let kinds: Vec<&str> = third
        .changes
        .iter()
        .map(|change| match change {
            Change::Create(_) => "create",
            Change::Update(_) => "update",
            Change::Delete(_) => "delete",
            Change::ReadFlag(flag) if flag.is_read => "read",
            Change::ReadFlag(_) => "unread",
        })
        .collect();
    assert_eq!(kinds, ["read", "update", "delete"]);
    assert!(
        matches!(&third.changes[2], Change::Delete(gone) if gone.id.id == ids[2]["id"].as_str().unwrap())
    );
    assert!(ews.sync(third.state.clone(), 512).await.payload.changes.is_empty());

    let other = Ews { acting_for: Some("u1@contoso.example"), token: ews.token.clone(), world: &world };
    assert_eq!(other.sync(third.state.clone(), 5).await.code, "ErrorInvalidSyncStateData", "another mailbox");
    world.dial("expire-deltas", Value::Null).await;
    assert_eq!(ews.sync(third.state, 5).await.code, "ErrorInvalidSyncStateData");
    assert_eq!(ews.sync(None, 5).await.payload.changes.len(), 2);
}

#[tokio::test]
async fn items_are_marked_moved_and_deleted_in_three_ways() {
    let world = World::new().await;
    let app = allowed(&world, &["full_access_as_app"]).await;
    let ews = Ews::new(&world, &app, ORDERS).await;
    let text = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let id = text(&world.deliver(ORDERS, "Subject: a\r\n\r\nx\r\n").await);
    let set =
        |uri: &str, message: Message| Update::Set(SetField { path: Path::field(uri), item: message.into() });
    let update = |id: ItemId, conflict| UpdateItem {
        conflict,
        disposition: Some(MessageDisposition::SaveOnly),
        invitations: None,
        suppress_receipts: Some(true),
        folder: None,
        changes: vec![ItemChange {
            id,
            updates: vec![
                set("message:IsRead", Message { is_read: Some(true), ..Message::default() }),
                set("item:Categories", Message { categories: vec!["Imported".into()], ..Message::default() }),
            ],
        }],
    };
    let key = |item: &Item| item.message.id.clone().unwrap();
    let shape = || ItemShape::id_and(vec![Path::field("message:IsRead"), Path::field("item:Categories")]);
    let old = key(&only!(GetItem, ews, get(&id, shape())).payload.items[0]);
    let changed = only!(UpdateItem, ews, update(old.clone(), ConflictResolution::AutoResolve)).payload;
    assert_ne!(key(&changed.items[0]).change_key, old.change_key, "every change makes a version");
    let read = only!(GetItem, ews, get(&id, shape())).payload.items.remove(0).message;
    assert_eq!((read.is_read, read.categories), (Some(true), vec!["Imported".to_owned()]));
    let late = only!(UpdateItem, ews, update(old, ConflictResolution::NeverOverwrite));
    assert_eq!(late.code, "ErrorIrresolvableConflict");

    let folder = CreateFolder {
        parent: FolderRef::distinguished("inbox"),
        folders: vec![Folder {
            kind: FolderKind::Folder,
            properties: FolderProperties { display_name: Some("Done".into()), ..FolderProperties::default() },
        }],
    };
    let made = only!(CreateFolder, ews, folder.clone()).payload.folders.remove(0).properties.id.unwrap();
    assert_eq!(only!(CreateFolder, ews, folder).code, "ErrorFolderExists");
    let to = MoveItem { folder: FolderRef::Id(made), items: vec![ItemId::of(&id)], return_new_ids: None };
    let new = key(&only!(MoveItem, ews, to.clone()).payload.items[0]);
    assert_ne!(new.id, id);
    assert_eq!(only!(MoveItem, ews, to).code, "ErrorItemNotFound", "the old id leads nowhere");

    let delete = |id: &str, how| DeleteItem {
        how,
        cancellations: None,
        occurrences: None,
        suppress_receipts: None,
        items: vec![ItemId::of(id)],
    };
    assert_eq!(only!(DeleteItem, ews, delete(&new.id, DeleteType::HardDelete)).code, "NoError");
    assert_eq!(only!(GetItem, ews, get(&new.id, shape())).code, "ErrorItemNotFound");
    assert_eq!(only!(GetItem, ews, get("x", shape())).code, "ErrorInvalidIdMalformed");
    let graph = world.app_token(&app).await;
    for (how, folder) in [
        (DeleteType::SoftDelete, "recoverableitemsdeletions"),
        (DeleteType::MoveToDeletedItems, "deleteditems"),
    ] {
        let id = text(&world.deliver(ORDERS, "Subject: b\r\n\r\nx\r\n").await);
        assert_eq!(only!(DeleteItem, ews, delete(&id, how)).code, "NoError");
        let path = format!("/v1.0/users/{ORDERS}/mailFolders/{folder}/messages");
        assert_eq!(world.get(&graph, &path).await["value"].as_array().unwrap().len(), 1, "{folder}");
    }
    let names = ResolveNames {
        full_contact: false,
        scope: None,
        contact_shape: None,
        parents: Vec::new(),
        entry: "user".into(),
    };
    let several = only!(ResolveNames, ews, names.clone());
    assert_eq!(
        (several.class, several.code.as_str()),
        (ResponseClass::Warning, "ErrorNameResolutionMultipleResults")
    );
    assert_eq!(several.payload.set.unwrap().resolutions.len(), 2);
    let nobody = only!(ResolveNames, ews, ResolveNames { entry: "nobody".into(), ..names });
    assert_eq!(nobody.code, "ErrorNameResolutionNoResults");
    let zones = only!(GetServerTimeZones, ews, GetServerTimeZones { full: None, ids: vec!["UTC".into()] });
    assert_eq!(zones.payload.definitions.len(), 1);
}
