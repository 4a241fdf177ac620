//! IMAP: the same mailboxes as Graph, read by Python's imaplib and by hand.

use reqwest::Method;
use serde_json::{Value, json};

use crate::doors::{self, EXCHANGE_SCOPE, Line, ORDERS, opened, python, xoauth2};
use crate::support::{World, answer, encoded};

const ROLE: &[&str] = &["IMAP.AccessAsApp"];
const RAW: &str = "From: =?utf-8?q?J=C3=B6rg?= <joerg@fabrikam.example>\r\nTo: orders@contoso.example\r\n\
    Subject: Order 4711\r\nMessage-ID: <one@fabrikam.example>\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\
    Hello\r\n--b\r\nContent-Type: application/pdf; name=label.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0x\r\n\
    --b--\r\n";

/// Signs in, looks around, reads, marks, moves, appends and removes.
const CLIENT: &str = r#"
import imaplib, json, sys
host, port, user, token, certificate = sys.argv[1:6]
if certificate:
    import ssl
    imap = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=certificate))
else:
    imap = imaplib.IMAP4(host, int(port))
out = {"capabilities": imap.capabilities}
imap.authenticate("XOAUTH2", lambda _: f"user={user}\x01auth=Bearer {token}\x01\x01".encode())
text = lambda data: [line.decode() if isinstance(line, bytes) else [part.decode() for part in line] for line in data if line]
def do(name, *arguments):
    kind, data = getattr(imap, name)(*arguments)
    assert kind == "OK", (name, kind, data)
    return text(data)
out["list"] = do("list")
out["namespace"] = do("namespace")
out["created"] = do("create", '"Erledigt &APw-ber 2026/&AMQ-"')
out["lsub"] = do("lsub", '""', '"Erl*"')
out["count"] = do("select", "INBOX")
out["status"] = do("status", "INBOX", "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)")
(uid,) = do("uid", "SEARCH", "HEADER", "Message-ID", "one@fabrikam.example")
for key in ["UNSEEN", "SUBJECT 4711 FROM fabrikam", "SINCE 1-Jan-2020 TEXT hello", "OR SEEN UID 1:*", "NOT DELETED", "BODY Hello"]:
    assert uid in do("uid", "SEARCH", key)[0].split(), key
assert do("uid", "SEARCH", "BEFORE", "1-Jan-2020") == [] and do("search", None, "SUBJECT", '"nothing"') == []
whole = do("uid", "FETCH", uid, "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
out["flags"], out["raw"] = whole[0][0], whole[0][1]
out["envelope"] = do("uid", "FETCH", uid, "(ENVELOPE)")
out["structure"] = do("uid", "FETCH", uid, "(BODYSTRUCTURE)")
out["header"] = do("uid", "FETCH", uid, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[0][1]
out["part"] = do("uid", "FETCH", uid, "(BODY.PEEK[2]<2.3>)")[0]
out["seen"] = do("uid", "FETCH", uid, "(BODY[1])")
out["stored"] = do("uid", "STORE", uid, "+FLAGS", "(\\Flagged)")
out["copied"] = do("uid", "COPY", uid, "Archive")
kind, data = imap.uid("MOVE", uid, '"Erledigt &APw-ber 2026/&AMQ-"')
assert kind == "OK", data
out["copyuid"] = text(imap.untagged_responses.get("OK", []) or data)
kind, data = imap.append("Drafts", "(\\Draft \\Seen)", imaplib.Time2Internaldate(1790000000), b"Subject: draft\r\n\r\ntext\r\n")
assert kind == "OK", data
out["appended"] = text(data)
out["archive"] = do("select", "Archive")
do("store", "1", "+FLAGS.SILENT", "(\\Deleted)")
out["expunged"] = do("expunge")
imap.unselect() if hasattr(imap, "unselect") else None
kind, data = imap.select("Nowhere")
assert kind == "NO", data
imap.logout()
print(json.dumps(out))
"#;

async fn graph(world: &World, token: &str, path: &str) -> Value {
    world.get(token, &format!("/v1.0/users/{ORDERS}/{path}")).await
}

#[tokio::test]
#[ignore = "needs Python; run by cargo xtask test"]
async fn a_foreign_client_works_in_the_mailbox_that_graph_sees() {
    let world = World::new().await;
    let (app, token) = opened(&world, ROLE, ORDERS).await;
    world.deliver(ORDERS, RAW).await;
    let (host, port) = world.sandbox.ready().imap.rsplit_once(':').unwrap();
    let out = python(CLIENT, &[host, port, ORDERS, &token, ""]).await;

    let capabilities = out["capabilities"].as_array().unwrap();
    for wanted in ["IMAP4REV1", "AUTH=XOAUTH2", "SASL-IR", "UIDPLUS", "MOVE", "IDLE", "LITERAL+"] {
        assert!(capabilities.contains(&json!(wanted)), "{capabilities:?}");
    }
    let list = out["list"].as_array().unwrap();
    assert!(list.contains(&json!("(\\HasNoChildren \\Sent) \"/\" \"Sent Items\"")), "{list:?}");
    assert!(list.contains(&json!("(\\HasNoChildren) \"/\" \"INBOX\"")), "{list:?}");
    assert_eq!(out["namespace"], json!(["((\"\" \"/\")) NIL NIL"]));
    assert_eq!(out["lsub"].as_array().unwrap().len(), 2);
    assert_eq!(out["count"], json!(["1"]));
    let status = out["status"][0].as_str().unwrap();
    assert!(status.contains("MESSAGES 1") && status.contains("UNSEEN 1"), "{status}");
    assert!(out["flags"].as_str().unwrap().contains("FLAGS ()"), "{}", out["flags"]);
    assert!(out["raw"].as_str().unwrap().ends_with(RAW));
    let envelope = out["envelope"].to_string();
    assert!(
        envelope.contains("=?utf-8?B?SsO2cmc=?=") && envelope.contains("<one@fabrikam.example>"),
        "{envelope}"
    );
    let structure = out["structure"].to_string();
    assert!(structure.contains("PDF") && structure.contains("MIXED"), "{structure}");
    assert_eq!(out["header"], "Subject: Order 4711\r\n\r\n");
    assert!(out["part"][0].as_str().unwrap().contains("BODY[2]<2> {3}") && out["part"][1] == "BER");
    assert!(out["seen"].to_string().contains("\\\\Seen"), "{}", out["seen"]);
    assert!(out["stored"].to_string().contains("\\\\Flagged"), "{}", out["stored"]);
    assert!(out["appended"].to_string().contains("APPENDUID"), "{}", out["appended"]);
    assert_eq!((&out["archive"], &out["expunged"]), (&json!(["1"]), &json!(["1"])));

    // Graph sees what was done: moved with its marks, the draft with its date, the archive empty again.
    let token = world.app_token(&app).await;
    assert_eq!(graph(&world, &token, "mailFolders/inbox").await["totalItemCount"], 0);
    assert_eq!(graph(&world, &token, "mailFolders/archive").await["totalItemCount"], 0);
    let folders =
        graph(&world, &token, "mailFolders?$filter=displayName%20eq%20'Erledigt%20%C3%BCber%202026'").await;
    let path = format!("mailFolders/{}/childFolders", encoded(&folders["value"][0]["id"]));
    let inner = graph(&world, &token, &path).await;
    assert_eq!(inner["value"][0]["displayName"], "\u{c4}");
    let path = format!("mailFolders/{}/messages", encoded(&inner["value"][0]["id"]));
    let moved = &graph(&world, &token, &path).await["value"][0];
    assert_eq!((&moved["isRead"], &moved["flag"]["flagStatus"]), (&json!(true), &json!("flagged")));
    assert_eq!(moved["internetMessageId"], "<one@fabrikam.example>");
    let draft = &graph(&world, &token, "mailFolders/drafts/messages").await["value"][0];
    assert_eq!(
        (&draft["isDraft"], &draft["receivedDateTime"]),
        (&json!(true), &json!("2026-09-21T14:13:20Z"))
    );
}

#[tokio::test]
async fn idle_wakes_when_mail_comes_from_another_door() {
    let world = World::new().await;
    let (app, token) = opened(&world, ROLE, ORDERS).await;
    let mut line = Line::imap(&world, ORDERS, &token).await;
    assert!(line.ask("a2 SELECT INBOX").await.contains(&"* 0 EXISTS".to_owned()));
    assert!(line.reply("a3 IDLE").await.starts_with("+ IDLE accepted"));
    let delivered = world.deliver(ORDERS, RAW).await;
    assert_eq!(line.read().await, "* 1 EXISTS");
    // Read and moved away by Graph.
    let token = world.app_token(&app).await;
    let path = format!("/v1.0/users/{ORDERS}/messages/{}", encoded(&delivered["id"]));
    assert_eq!(world.call(&token, Method::PATCH, &path, json!({"isRead": true})).await.0, 200);
    assert_eq!(line.read().await, "* 1 FETCH (FLAGS (\\Seen))");
    let archive = json!({"destinationId": "archive"});
    assert_eq!(world.call(&token, Method::POST, &format!("{path}/move"), archive).await.0, 201);
    assert_eq!(line.read().await, "* 1 EXPUNGE");
    assert_eq!(line.reply("DONE").await, "a3 OK IDLE completed.");
}

#[tokio::test]
async fn what_graph_and_smtp_send_is_fetched_by_imap() {
    let world = World::new().await;
    let (app, token) = opened(&world, &["IMAP.AccessAsApp", "SMTP.SendAsApp"], ORDERS).await;
    let mut line = Line::imap(&world, ORDERS, &token).await;
    line.ask("a2 SELECT INBOX").await;
    line.reply("a3 IDLE").await;
    let mut smtp = Line::smtp(&world, ORDERS, &token).await;
    for command in ["MAIL FROM:<orders@contoso.example>", "RCPT TO:<orders@contoso.example>", "DATA"] {
        smtp.reply(command).await;
    }
    let mail = "From: orders@contoso.example\r\nMessage-ID: <smtp@contoso.example>\r\n\r\n..one\r\n.";
    assert!(smtp.reply(mail).await.starts_with("250 2.0.0 OK <smtp@contoso.example> "));
    assert_eq!(line.read().await, "* 1 EXISTS");
    let message = json!({"message": {"subject": "by Graph", "internetMessageId": "<graph@contoso.example>",
        "toRecipients": [{"emailAddress": {"address": ORDERS}}]}});
    let path = format!("/v1.0/users/{ORDERS}/sendMail");
    let graph = world.app_token(&app).await;
    assert_eq!(world.call(&graph, Method::POST, &path, message).await.0, 202);
    assert_eq!(line.read().await, "* 2 EXISTS");
    assert_eq!(line.reply("DONE").await, "a3 OK IDLE completed.");
    let fetched = line.ask("a4 FETCH 1:* (BODY.PEEK[HEADER.FIELDS (Message-ID)])").await.join("\n");
    assert!(fetched.starts_with("* 1 FETCH (BODY[HEADER.FIELDS (MESSAGE-ID)] {"), "{fetched}");
    assert!(
        fetched.contains("<smtp@contoso.example>") && fetched.contains("<graph@contoso.example>"),
        "{fetched}"
    );
    assert!(line.ask("a5 FETCH 1 BODY[TEXT]").await.contains(&".one".to_owned()));
    let sent = line.ask("a6 STATUS \"Sent Items\" (MESSAGES UNSEEN)").await;
    assert_eq!(sent[0], "* STATUS \"Sent Items\" (MESSAGES 2 UNSEEN 0)");
}

#[tokio::test]
async fn numbers_are_stable_until_the_folder_is_numbered_anew() {
    let world = World::new().await;
    let (_, token) = opened(&world, ROLE, ORDERS).await;
    for _ in 0..3 {
        world.deliver(ORDERS, RAW).await;
    }
    let mut line = Line::imap(&world, ORDERS, &token).await;
    let selected = line.ask("a2 SELECT INBOX").await;
    let value = |lines: &[String], name: &str| {
        let line = lines.iter().find(|line| line.contains(name)).unwrap();
        line.split(name).nth(1).unwrap().trim_start().split(']').next().unwrap().parse::<u32>().unwrap()
    };
    let (validity, next) = (value(&selected, "UIDVALIDITY"), value(&selected, "UIDNEXT"));
    let uids = line.ask("a3 UID SEARCH ALL").await;
    let list: Vec<u32> = uids[0].split(' ').skip(2).map(|uid| uid.parse().unwrap()).collect();
    assert!(list.is_sorted() && list.len() == 3 && list[2] < next, "{uids:?}");
    // What happens in another folder changes nothing here.
    world.deliver("hr@contoso.example", RAW).await;
    assert_eq!(value(&line.ask("a4 SELECT INBOX").await, "UIDNEXT"), next);
    assert_eq!(line.ask("a5 UID SEARCH ALL").await[0], uids[0]);
    // Moved out and back: new numbers.
    let moved = line.ask(&format!("a6 UID MOVE {} Archive", list[0])).await;
    assert!(
        moved[0].starts_with("* OK [COPYUID ") && moved[0].contains(&format!(" {} ", list[0])),
        "{moved:?}"
    );
    assert_eq!(moved[1], "* 1 EXPUNGE");
    line.ask("a7 SELECT Archive").await;
    line.ask("a8 MOVE 1 INBOX").await;
    line.ask("a9 SELECT INBOX").await;
    let again = line.ask("b1 UID SEARCH ALL").await;
    let again: Vec<u32> = again[0].split(' ').skip(2).map(|uid| uid.parse().unwrap()).collect();
    assert!(again[..2] == list[1..] && again[2] >= next, "{list:?} {again:?}");

    let fresh = world.dial("uidvalidity", json!({"mailbox": ORDERS, "folder": "inbox"})).await;
    assert!(line.ask("b2 NOOP").await.iter().any(|line| line.starts_with("* BYE ")));
    let mut line = Line::imap(&world, ORDERS, &token).await;
    let selected = line.ask("a2 SELECT INBOX").await;
    assert_eq!(json!(value(&selected, "UIDVALIDITY")), fresh["uidValidity"]);
    assert!(value(&selected, "UIDVALIDITY") > validity);
    assert!(line.ask("a3 UID SEARCH ALL").await[0].starts_with("* SEARCH 1 "));
}

#[tokio::test]
async fn what_is_wrong_with_a_sign_in_is_not_told_apart() {
    let world = World::new().await;
    let (app, token) = opened(&world, ROLE, ORDERS).await;
    let graph = world.app_token(&app).await;
    let (_, roleless) = opened(&world, &["SMTP.SendAsApp"], ORDERS).await;
    let unknown = world.app(&[]).await;
    world.grant(&unknown, doors::EXCHANGE, ROLE).await;
    let unknown = world.app_token_for(&unknown, EXCHANGE_SCOPE).await;
    for token in [graph.as_str(), &roleless, &unknown, "nonsense"] {
        let mut line = Line::to(&world.sandbox.ready().imap).await;
        line.read().await;
        let answer = line.ask(&format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ORDERS, token))).await;
        assert_eq!(answer, ["a NO AUTHENTICATE failed."]);
    }
    let mut line = Line::to(&world.sandbox.ready().imap).await;
    line.read().await;
    assert_eq!(line.ask("a LOGIN orders@contoso.example secret").await, ["a NO LOGIN failed."]);
    assert_eq!(line.reply("b AUTHENTICATE PLAIN").await, "+ ");
    assert_eq!(line.reply("AG9yZGVycwBzZWNyZXQ=").await, "b NO AUTHENTICATE failed.");
    assert_eq!(line.ask("c SELECT INBOX").await, ["c BAD Command received in Invalid state."]);
    // By continuation; then the session is over with its token.
    assert_eq!(line.reply("d AUTHENTICATE XOAUTH2").await, "+ ");
    assert_eq!(line.reply(&xoauth2(ORDERS, &token)).await, "d OK AUTHENTICATE completed.");
    assert_eq!(line.ask("e NOOP").await, ["e OK NOOP completed."]);
    world.dial("clock", json!({"advance_seconds": 6000})).await;
    assert_eq!(line.ask("f NOOP").await, ["* BYE Session invalidated - AccessTokenExpired"]);
    let (_, log) = answer(world.client.get(world.url("/_sandbox/requests"))).await;
    let shown = log.to_string();
    assert!(shown.contains("AUTHENTICATE XOAUTH2 ***") && shown.contains("LOGIN ***"), "{shown}");
    assert!(!shown.contains("secret") && !shown.contains(&token[..20]), "{shown}");
}

#[tokio::test]
async fn a_mailbox_that_does_not_open_is_not_connected() {
    let world = World::new().await;
    let app = doors::app(&world, ROLE).await;
    let token = world.app_token_for(&app, EXCHANGE_SCOPE).await;
    let refused = ["a2 BAD User is authenticated but not connected."];
    for mailbox in [ORDERS, "nobody@contoso.example"] {
        let mut line = Line::imap(&world, mailbox, &token).await;
        assert_eq!(line.ask("a2 SELECT INBOX").await, refused);
    }
    doors::permit(&world, &app, ORDERS).await;
    let mut line = Line::imap(&world, ORDERS, &token).await;
    assert!(line.ask("a2 SELECT INBOX").await.last().unwrap().starts_with("a2 OK"));
    world.script(&format!("Set-CASMailbox -Identity {ORDERS} -ImapEnabled $false")).await;
    let mut line = Line::imap(&world, ORDERS, &token).await;
    assert_eq!(line.ask("a2 SELECT INBOX").await, refused);
}

#[tokio::test]
async fn the_object_id_of_the_application_opens_nothing() {
    let world = World::new().await;
    let app = world.app(&[]).await;
    world.grant(&app, doors::EXCHANGE, ROLE).await;
    world
        .script(&format!(
            "New-ServicePrincipal -AppId {} -ObjectId {1}\n\
             Add-MailboxPermission -Identity {ORDERS} -User {1} -AccessRights FullAccess",
            app.id, app.object
        ))
        .await;
    let token = world.app_token_for(&app, EXCHANGE_SCOPE).await;
    let mut line = Line::imap(&world, ORDERS, &token).await;
    assert_eq!(line.ask("a2 LIST \"\" *").await, ["a2 BAD User is authenticated but not connected."]);
}

#[tokio::test]
async fn what_is_too_much_ends_the_connection_and_is_not_read_as_commands() {
    let world = World::with(|options| options.limits.message_bytes = 1000).await;
    let (_, token) = opened(&world, ROLE, ORDERS).await;
    let mut line = Line::imap(&world, ORDERS, &token).await;
    line.say("a2 APPEND Drafts {1001}\r\na3 CREATE Smuggled").await;
    assert_eq!(line.rest().await, "* BYE Literal too large.\r\n");
    let mut line = Line::to(&world.sandbox.ready().imap).await;
    line.read().await;
    line.send(&vec![b'x'; 20_000]).await;
    assert_eq!(line.read().await, "* BYE Line too long.");
    let mut line = Line::to(&world.sandbox.ready().imap).await;
    line.read().await;
    line.send("a NOOP\r\n".repeat(21).as_bytes()).await;
    let answers = line.rest().await;
    assert!(answers.ends_with("* BYE Too many commands before authentication.\r\n"), "{answers}");
    // Nonsense is refused and the next command is still understood.
    let mut line = Line::imap(&world, ORDERS, &token).await;
    assert_eq!(line.ask("a2 FETCH").await, ["a2 BAD Command Argument Error. 12"]);
    assert_eq!(line.ask("a3 FETCH 1 FLAGS").await, ["a3 BAD Command received in Invalid state."]);
    assert_eq!(line.reply("a4 APPEND Drafts {3}").await, "+ Ready for additional command text.");
    assert!(line.reply("a\r\n").await.starts_with("a4 OK [APPENDUID "));
    let folders = line.ask("a5 LIST \"\" Smug*").await;
    assert_eq!(folders, ["a5 OK LIST completed."]);
}

#[tokio::test]
async fn faults_meet_the_command_they_name() {
    let world = World::new().await;
    let (_, token) = opened(&world, ROLE, ORDERS).await;
    world.deliver(ORDERS, RAW).await;
    let mut line = Line::imap(&world, ORDERS, &token).await;
    line.ask("a2 SELECT INBOX").await;
    let throttled = "BAD Request is throttled. Suggested Backoff Time: 9241 milliseconds";
    world.fault(json!({"door": "imap", "command": "FETCH", "reply": throttled})).await;
    assert_eq!(line.ask("a3 NOOP").await, ["a3 OK NOOP completed."]);
    assert_eq!(line.ask("a4 UID FETCH 1:* FLAGS").await, [format!("a4 {throttled}")]);
    assert_eq!(line.ask("a5 UID FETCH 1:* FLAGS").await.len(), 2);
    // Done although nobody was told.
    world.fault(json!({"door": "imap", "command": "MOVE", "cut": true, "after": true})).await;
    line.say("a6 MOVE 1 Archive").await;
    assert_eq!(line.rest().await, "");
    let mut line = Line::imap(&world, ORDERS, &token).await;
    assert!(line.ask("a2 SELECT Archive").await.contains(&"* 1 EXISTS".to_owned()));
    world.fault(json!({"door": "imap", "command": "FETCH", "half": true})).await;
    line.say("a3 FETCH 1 BODY[]").await;
    let half = line.rest().await;
    assert!(half.starts_with("* 1 FETCH (BODY[] {") && !half.contains("a3 OK"), "{half}");
    world.fault(json!({"door": "imap", "command": "CONNECT", "reply": "* BYE Connection refused"})).await;
    let mut line = Line::to(&world.sandbox.ready().imap).await;
    assert_eq!(line.read().await, "* BYE Connection refused");
    for wrong in [
        json!({"door": "pop", "reply": "-ERR"}),
        json!({"door": "smtp", "reply": "no code"}),
        json!({"reply": "250 OK"}),
        json!({"door": "imap", "reply": "NO\r\na OK"}),
    ] {
        let (status, _) = answer(world.client.post(world.url("/_sandbox/faults")).json(&wrong)).await;
        assert_eq!(status, 400, "{wrong}");
    }
}

#[tokio::test]
#[ignore = "needs Python; run by cargo xtask test"]
async fn under_tls_the_same_client_trusts_the_certificate_and_nothing_is_said_in_the_open() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("authority.pem");
    let world = World::with(|options| options.tls_certificate = Some(certificate.clone())).await;
    let (_, token) = opened(&world, ROLE, ORDERS).await;
    world.deliver(ORDERS, RAW).await;
    let (host, port) = world.sandbox.ready().imap.rsplit_once(':').unwrap();
    let out = python(CLIENT, &[host, port, ORDERS, &token, certificate.to_str().unwrap()]).await;
    assert_eq!(out["count"], json!(["1"]));
    let mut line = Line::to(&world.sandbox.ready().imap).await;
    line.say("a CAPABILITY").await;
    assert!(!line.read().await.contains("CAPABILITY"));
}
