//! exchangelib from PyPI, unchanged, against the door of EWS.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::doors::ORDERS;
use crate::ews::allowed;
use crate::support::{World, answer};

const RAW: &str = "From: =?utf-8?q?J=C3=B6rg?= <joerg@fabrikam.example>\r\nTo: orders@contoso.example\r\n\
    Subject: Order 4711\r\nMessage-ID: <one@fabrikam.example>\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\
    Hello\r\n--b\r\nContent-Type: application/pdf; name=label.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0x\r\n\
    --b--\r\n";

/// Signs in by client secret, looks around, reads, sends, synchronises, moves, listens.
const CLIENT: &str = r#"
import json, sys, threading, urllib.request, ssl, os
from exchangelib import (Account, Configuration, Credentials, FileAttachment, HTMLBody, IMPERSONATION, Identity,
    Mailbox, Message, OAUTH2, OAuth2Credentials, Folder)
from exchangelib.errors import ErrorInvalidSyncStateData
from exchangelib.properties import NewMailEvent, CreatedEvent
task = json.load(sys.stdin)
class Here(OAuth2Credentials):
    @property
    def token_url(self):
        return task["token_url"]
def account(address):
    credentials = Here(client_id=task["client_id"], client_secret=task["secret"], tenant_id=task["tenant"],
        identity=Identity(primary_smtp_address=address))
    config = Configuration(service_endpoint=task["ews"], credentials=credentials, auth_type=OAUTH2)
    return Account(primary_smtp_address=address, config=config, autodiscover=False, access_type=IMPERSONATION)
def post(path, body):
    context = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
    request = urllib.request.Request(task["base"] + path, data=body.encode(), method="POST")
    urllib.request.urlopen(request, context=context).read()
out = {}
me = account("orders@contoso.example")
out["version"] = str(me.version.build)
inbox = me.inbox
out["inbox"] = [inbox.name, inbox.total_count, inbox.unread_count]
out["folders"] = sorted(folder.name for folder in me.root.walk())
item = inbox.all().order_by("-datetime_received")[0]
out["subject"], out["sender"], out["mime"] = item.subject, [item.sender.name, item.sender.email_address], item.mime_content.decode()
out["attachments"] = [[one.name, one.content.decode()] for one in item.attachments]
out["found"] = [one.message_id for one in inbox.filter(subject__contains="order", is_read=False).only("message_id")]
out["nothing"] = inbox.filter(subject="nothing").count()
changes = list(inbox.sync_items(only_fields=["subject"]))
out["first_sync"] = [kind for kind, _ in changes]
item.is_read = True
item.save(update_fields=["is_read"])
out["read_sync"] = [kind for kind, _ in inbox.sync_items(only_fields=["subject"])]
item.categories = ["Imported"]
item.save(update_fields=["categories"])
out["category_sync"] = [kind for kind, _ in inbox.sync_items(only_fields=["subject"])]
done = Folder(parent=inbox, name="Done")
done.save()
before = item.id
item.move(done)
out["moved"] = item.id != before
out["move_sync"] = [kind for kind, _ in inbox.sync_items(only_fields=["subject"])]
out["done"] = [one.subject for one in done.all()]
message = Message(account=me, folder=me.sent, subject="Shipped", body=HTMLBody("<p>On its way.</p>"),
    to_recipients=[Mailbox(name="Ann", email_address="ann@fabrikam.example")], cc_recipients=["u1@contoso.example"])
message.attach(FileAttachment(name="note.txt", content=b"a note"))
message.send_and_save()
out["sent"] = [[one.subject, [file.name for file in one.attachments]] for one in me.sent.all()]
other = account("u1@contoso.example")
got = other.inbox.all()[0]
out["received"] = [got.subject, [file.content.decode() for file in got.attachments], got.cc_recipients[0].email_address]
got.move_to_trash()
out["trash"] = other.trash.all().count()
with inbox.streaming_subscription() as subscription:
    threading.Timer(0.2, post, ("/_sandbox/deliver?to=orders@contoso.example", "Subject: news\r\n\r\nx\r\n")).start()
    for notification in inbox.get_streaming_events(subscription, connection_timeout=1):
        out["told"] = sorted({type(event).__name__ for event in notification.events})
        break
out["names"] = [one.email_address for one in me.protocol.resolve_names(["smtp:orders@contoso.example"])]
post("/_sandbox/expire-deltas", "")
try:
    list(inbox.sync_items(only_fields=["subject"]))
    out["lost"] = False
except ErrorInvalidSyncStateData:
    out["lost"] = True
print(json.dumps(out))
"#;

#[tokio::test]
#[ignore = "needs exchangelib; run by cargo xtask test"]
async fn exchangelib_works_in_the_mailbox_that_graph_sees() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("tenant.pem");
    let world = World::with(|options| options.tls_certificate = Some(certificate.clone())).await;
    let app = allowed(&world, &["full_access_as_app"]).await;
    world.deliver(ORDERS, RAW).await;
    let task = json!({
        "ews": world.sandbox.ready().ews,
        "base": world.sandbox.ready().graph,
        "token_url": world.url(&format!("/{}/oauth2/v2.0/token", world.tenant())),
        "tenant": world.tenant(),
        "client_id": app.id,
        "secret": app.secret,
    });
    let tools = std::env::var_os("XTASK_TOOLS").expect("`cargo xtask test` names the folder of the tools");
    let program = PathBuf::from(tools).join("python/bin/python");
    let run = move || {
        let mut child = Command::new(program)
            .args(["-c", CLIENT])
            .env("REQUESTS_CA_BUNDLE", certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        serde_json::to_writer(child.stdin.take().unwrap(), &task).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let out: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words}"));

    assert_eq!(out["version"], "15.20.9343.11");
    assert_eq!(out["inbox"], json!(["Inbox", 1, 1]));
    let folders = out["folders"].as_array().unwrap();
    assert!(
        ["Drafts", "Sent Items", "Deleted Items"].iter().all(|name| folders.contains(&json!(name))),
        "{out}"
    );
    assert_eq!(
        (&out["subject"], &out["sender"]),
        (&json!("Order 4711"), &json!(["J\u{f6}rg", "joerg@fabrikam.example"]))
    );
    assert!(out["mime"].as_str().unwrap().ends_with(RAW.rsplit_once("MIME-Version").unwrap().1), "{out}");
    assert_eq!(out["attachments"], json!([["label.pdf", "%PDF-1"]]));
    assert_eq!((&out["found"], &out["nothing"]), (&json!(["<one@fabrikam.example>"]), &json!(0)));
    assert_eq!(out["first_sync"], json!(["create"]));
    assert_eq!(
        (&out["read_sync"], &out["category_sync"]),
        (&json!(["read_flag_change"]), &json!(["update"]))
    );
    assert_eq!(
        (&out["moved"], &out["move_sync"], &out["done"]),
        (&json!(true), &json!(["delete"]), &json!(["Order 4711"]))
    );
    assert_eq!(out["sent"], json!([["Shipped", ["note.txt"]]]));
    assert_eq!(out["received"], json!(["Shipped", ["a note"], "u1@contoso.example"]));
    assert_eq!(out["trash"], 1);
    assert_eq!(out["told"], json!(["CreatedEvent", "NewMailEvent"]));
    assert_eq!(out["names"], json!([ORDERS]));
    assert_eq!(out["lost"], true, "an expired sync state");
    let outside = world.outside().await;
    assert_eq!(outside[0]["to"], json!(["ann@fabrikam.example"]));

    let log = answer(world.client.get(world.url("/_sandbox/requests"))).await.1;
    let operations: Vec<&str> =
        log.as_array().unwrap().iter().filter_map(|one| one["operation"].as_str()).collect();
    for wanted in ["ConvertId", "FindItem", "GetStreamingEvents", "SendItem"] {
        assert!(operations.contains(&wanted), "{operations:?}");
    }
}
