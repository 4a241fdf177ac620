//! SMTP submission: what Python's smtplib sends is what Graph sees, and every refusal by hand.

use reqwest::Method;
use serde_json::{Value, json};

use crate::doors::{self, EXCHANGE_SCOPE, Line, ORDERS, opened, python, xoauth2};
use crate::support::{MAIL, World, answer};

const ROLE: &[&str] = &["SMTP.SendAsApp"];
const HEAD: &str = "From: Orders <orders@contoso.example>\r\nTo: u1@contoso.example\r\nSubject: s\r\n\
    Message-ID: <own-1@contoso.example>\r\n\r\n";

/// Sends two messages; prints the replies to their ends.
const CLIENT: &str = r#"
import base64, json, smtplib, sys
host, port, user, token, certificate = sys.argv[1:6]
smtp = smtplib.SMTP(host, int(port), local_hostname="client.example")
smtp.ehlo()
before = sorted(smtp.esmtp_features)
if certificate:
    import ssl
    smtp.starttls(context=ssl.create_default_context(cafile=certificate))
    smtp.ehlo()
secret = f"user={user}\x01auth=Bearer {token}\x01\x01"
code, words = smtp.docmd("AUTH", "XOAUTH2")
assert (code, words) == (334, b""), (code, words)
code, words = smtp.docmd(base64.b64encode(secret.encode()).decode())
assert code == 235, (code, words)
message = (f"From: Orders <{user}>\r\nTo: u1@contoso.example, ann@fabrikam.example\r\nSubject: Gr\xfc\xdfe\r\n"
  "Message-ID: <own-1@contoso.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n.dots\r\n..\r\n").encode()
refused = smtp.sendmail(user, ["u1@contoso.example", "ann@fabrikam.example", "u2@contoso.example"], message, ["SMTPUTF8", "BODY=8BITMIME"])
out = {"before": before, "after": sorted(smtp.esmtp_features), "refused": refused}
smtp.mail(user); smtp.rcpt("nobody@contoso.example")
code, words = smtp.data(b"Subject: to nobody\r\n\r\nx\r\n")
out["reply"] = [code, words.decode()]
smtp.quit()
print(json.dumps(out))
"#;

async fn sent(world: &World, tls: &str) -> Value {
    let (_, token) = opened(world, ROLE, ORDERS).await;
    let (host, port) = world.sandbox.ready().smtp.rsplit_once(':').unwrap();
    python(CLIENT, &[host, port, ORDERS, &token, tls]).await
}

#[tokio::test]
#[ignore = "needs Python; run by cargo xtask test"]
async fn what_a_foreign_client_sends_is_in_sent_items_in_the_inbox_and_outside() {
    let world = World::new().await;
    let out = sent(&world, "").await;
    for wanted in ["auth", "size", "8bitmime", "chunking", "smtputf8", "pipelining"] {
        assert!(out["before"].as_array().unwrap().contains(&json!(wanted)), "{out}");
    }
    assert_eq!(out["refused"], json!({}));
    assert!(out["reply"][1].as_str().unwrap().contains("[Hostname="), "{out}");
    let token = world.token_with(MAIL).await;
    for (user, folder) in [("orders", "sentitems"), ("u1", "inbox"), ("u2", "inbox")] {
        let path = format!(
            "/v1.0/users/{user}@contoso.example/mailFolders/{folder}/messages?$filter=internetMessageId%20eq%20'%3Cown-1@contoso.example%3E'"
        );
        let mail = &world.get(&token, &path).await["value"][0];
        assert_eq!(mail["subject"], "Gr\u{fc}\u{df}e", "{user}");
        assert_eq!(mail["body"]["content"].as_str().unwrap().trim_end(), ".dots\r\n..");
        assert_eq!(mail["isRead"], json!(folder == "sentitems"));
    }
    let outside = world.outside().await;
    assert_eq!((&outside[0]["from"], &outside[0]["to"]), (&json!(ORDERS), &json!(["ann@fabrikam.example"])));
    // Nobody is nobody's mailbox: the sender is told.
    let path = format!("/v1.0/users/{ORDERS}/mailFolders/inbox/messages");
    let report = &world.get(&token, &path).await["value"][0];
    assert_eq!(report["subject"], "Undeliverable: to nobody");
}

#[tokio::test]
#[ignore = "needs Python; run by cargo xtask test"]
async fn under_tls_a_sign_in_needs_the_handshake_first() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("authority.pem");
    let world = World::with(|options| options.tls_certificate = Some(certificate.clone())).await;
    let out = sent(&world, certificate.to_str().unwrap()).await;
    let has = |list: &Value, name: &str| list.as_array().unwrap().contains(&json!(name));
    assert!(has(&out["before"], "starttls") && !has(&out["before"], "auth"), "{out}");
    assert!(has(&out["after"], "auth") && !has(&out["after"], "starttls"), "{out}");
    assert_eq!(out["refused"], json!({}));
    let mut line = Line::to(&world.sandbox.ready().smtp).await;
    line.read().await;
    line.say("EHLO x").await;
    while line.read().await.starts_with("250-") {}
    assert!(line.reply("AUTH XOAUTH2 eA==").await.starts_with("530 5.7.0 "));
}

/// The reply to one sign-in on a line of its own.
async fn sign_in(world: &World, mailbox: &str, token: &str) -> String {
    let mut line = Line::to(&world.sandbox.ready().smtp).await;
    line.read().await;
    line.say("EHLO x").await;
    while line.read().await.starts_with("250-") {}
    line.reply(&format!("AUTH XOAUTH2 {}", xoauth2(mailbox, token))).await
}

#[tokio::test]
async fn only_role_and_permission_or_a_role_of_exchange_open_submission() {
    let world = World::new().await;
    let app = doors::app(&world, ROLE).await;
    let token = world.app_token_for(&app, EXCHANGE_SCOPE).await;
    let graph = world.app_token(&app).await;
    for token in [token.as_str(), &graph, "nonsense"] {
        assert!(sign_in(&world, ORDERS, token).await.starts_with("535 5.7.3 Authentication unsuccessful ["));
    }
    doors::permit(&world, &app, ORDERS).await;
    assert!(sign_in(&world, ORDERS, &token).await.starts_with("235 "));
    // A token without the role is held to the role of Exchange.
    let scoped = doors::app(&world, &[]).await;
    let bare = world.app_token_for(&scoped, EXCHANGE_SCOPE).await;
    assert!(sign_in(&world, ORDERS, &bare).await.starts_with("535 5.7.3 "));
    world
        .script(&format!(
            "$g = New-DistributionGroup -Name Desk -Members {ORDERS}\n\
             New-ManagementScope -Name Desk -RecipientRestrictionFilter \"MemberOfGroup -eq '$($g.DistinguishedName)'\"\n\
             New-ManagementRoleAssignment -App {} -Role \"Application SMTP.SendAsApp\" -CustomResourceScope Desk",
            scoped.id
        ))
        .await;
    assert!(sign_in(&world, ORDERS, &bare).await.starts_with("235 "));
    assert!(sign_in(&world, "hr@contoso.example", &bare).await.starts_with("535 5.7.3 "));
    // Switched off for all, and on again for one.
    world.script("Set-TransportConfig -SmtpClientAuthenticationDisabled $true").await;
    let off = sign_in(&world, ORDERS, &token).await;
    assert!(off.starts_with(
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant."
    ));
    world
        .script(&format!("Set-CASMailbox -Identity {ORDERS} -SmtpClientAuthenticationDisabled $false"))
        .await;
    assert!(sign_in(&world, ORDERS, &token).await.starts_with("235 "));
    world.script(&format!("Set-CASMailbox -Identity {ORDERS} -SmtpClientAuthenticationDisabled $true")).await;
    assert!(sign_in(&world, ORDERS, &token).await.contains("disabled for the Mailbox."));
}

#[tokio::test]
async fn each_step_is_refused_in_the_words_of_the_service() {
    let world = World::with(|options| options.limits.message_bytes = 2000).await;
    let (_, token) = opened(&world, ROLE, ORDERS).await;
    let mut line = Line::to(&world.sandbox.ready().smtp).await;
    line.read().await;
    assert!(line.reply("MAIL FROM:<orders@contoso.example>").await.starts_with("503 "));
    line.say("EHLO x").await;
    while line.read().await.starts_with("250-") {}
    for (command, reply) in [
        ("MAIL FROM:<orders@contoso.example>", "530 5.7.57 "),
        ("AUTH LOGIN", "535 5.7.139 "),
        ("AUTH XOAUTH2 !", "535 5.7.3 "),
        ("VRFY orders", "252 "),
        ("HELP", "502 "),
        ("NONSENSE", "500 5.3.3 "),
    ] {
        let answer = line.reply(command).await;
        assert!(answer.starts_with(reply), "{command}: {answer}");
    }
    assert_eq!(line.reply("AUTH XOAUTH2").await, "334 ");
    assert!(line.reply(&xoauth2(ORDERS, &token)).await.starts_with("235 "));
    for (command, reply) in [
        ("RCPT TO:<u1@contoso.example>", "503 "),
        ("MAIL FROM:<orders@contoso.example> SIZE=2001", "552 5.3.4 "),
        ("MAIL FROM:<orders@contoso.example> SIZE=100 BODY=8BITMIME", "250 2.1.0 "),
        ("DATA", "503 "),
        ("RCPT TO:<u1@no_such..domain>", "501 5.1.3 "),
        ("RCPT TO:<u1@contoso.example>", "250 2.1.5 "),
        ("RSET", "250 "),
        ("DATA", "503 "),
        ("NOOP", "250 "),
    ] {
        let answer = line.reply(command).await;
        assert!(answer.starts_with(reply), "{command}: {answer}");
    }
    line.say("MAIL FROM:<orders@contoso.example>").await;
    line.read().await;
    for index in 0..500 {
        assert!(line.reply(&format!("RCPT TO:<r{index}@fabrikam.example>")).await.starts_with("250 "));
    }
    assert_eq!(line.reply("RCPT TO:<r500@fabrikam.example>").await, "452 4.5.3 Too many recipients");
    assert!(line.reply("DATA").await.starts_with("354 "));
    let large = format!("{HEAD}{}\r\n.", "x".repeat(2001));
    assert!(line.reply(&large).await.starts_with("552 5.3.4 "));
    assert_eq!(world.outside().await, json!([]));
    // By chunks.
    line.say("MAIL FROM:<orders@contoso.example>\r\nRCPT TO:<ann@fabrikam.example>").await;
    for _ in 0..2 {
        assert!(line.read().await.starts_with("250 "));
    }
    line.send(format!("BDAT {}\r\n{HEAD}", HEAD.len()).as_bytes()).await;
    assert!(line.read().await.starts_with("250 2.6.0 "));
    line.send(b"BDAT 4 LAST\r\n.\r\nx").await;
    assert!(line.read().await.starts_with("250 2.0.0 OK <own-1@contoso.example> [Hostname="));
    assert!(world.outside().await[0]["raw"].as_str().unwrap().ends_with("\r\n\r\n.\r\nx"));
    assert!(line.reply("QUIT").await.starts_with("221 "));
    assert_eq!(line.rest().await, "");
}

/// One message on an open line; gives the reply to its end.
async fn send(line: &mut Line, from: &str) -> String {
    for command in ["MAIL FROM:<orders@contoso.example>", "RCPT TO:<ann@fabrikam.example>"] {
        let answer = line.reply(command).await;
        assert!(answer.starts_with("250 "), "{answer}");
    }
    assert!(line.reply("DATA").await.starts_with("354 "));
    line.reply(&format!("From: {from}\r\nMessage-ID: <own-1@contoso.example>\r\n\r\nx\r\n.")).await
}

#[tokio::test]
async fn another_sender_needs_the_permission() {
    let world = World::new().await;
    let (app, token) = opened(&world, ROLE, ORDERS).await;
    let mut line = Line::smtp(&world, ORDERS, &token).await;
    let denied = send(&mut line, "hr@contoso.example").await;
    assert!(
        denied.starts_with("554 5.2.252 SendAsDenied; orders@contoso.example not allowed to send as hr@contoso.example; STOREDRV"),
        "{denied}"
    );
    assert_eq!(world.outside().await, json!([]));
    let text = format!(
        "Add-RecipientPermission -Identity hr@contoso.example -Trustee {} -AccessRights SendAs",
        app.principal
    );
    world.script(&text).await;
    assert!(send(&mut line, "hr@contoso.example").await.starts_with("250 2.0.0 OK "));
    assert!(send(&mut line, "ann@fabrikam.example").await.starts_with("554 5.2.252 "));
}

#[tokio::test]
async fn connections_and_messages_are_counted() {
    let world = World::with(|options| options.limits.messages_per_minute = 2).await;
    let (_, token) = opened(&world, ROLE, ORDERS).await;
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(Line::smtp(&world, ORDERS, &token).await);
    }
    let fourth = sign_in(&world, ORDERS, &token).await;
    assert!(fourth.starts_with("432 4.3.2 Concurrent connections limit exceeded."), "{fourth}");
    let mut gone = lines.pop().unwrap();
    assert!(gone.reply("QUIT").await.starts_with("221 "));
    assert_eq!(gone.rest().await, "");
    let mut line = Line::smtp(&world, ORDERS, &token).await;
    for reply in ["250 ", "250 ", "451 4.3.2 "] {
        let answer = send(&mut line, ORDERS).await;
        assert!(answer.starts_with(reply), "{answer}");
    }
    world.dial("clock", json!({"advance_seconds": 61})).await;
    assert!(send(&mut line, ORDERS).await.starts_with("250 "));
}

#[tokio::test]
async fn a_reply_that_never_comes_tells_nothing_of_the_message() {
    let world = World::new().await;
    let (_, token) = opened(&world, ROLE, ORDERS).await;
    let count = async || world.outside().await.as_array().unwrap().len();
    for (after, delivered) in [(false, 0), (true, 1)] {
        let mut line = Line::smtp(&world, ORDERS, &token).await;
        world.fault(json!({"door": "smtp", "at": "DATA-END", "cut": true, "after": after})).await;
        assert_eq!(send(&mut line, ORDERS).await, "");
        assert_eq!(count().await, delivered);
    }
    let mut line = Line::smtp(&world, ORDERS, &token).await;
    world.fault(json!({"door": "smtp", "at": "DATA-END", "reply": "451 4.7.0 later", "count": 2})).await;
    assert_eq!(send(&mut line, ORDERS).await, "451 4.7.0 later");
    assert_eq!(send(&mut line, ORDERS).await, "451 4.7.0 later");
    assert_eq!(count().await, 1);
    // The same reply after the work, on a line that goes on; the others meet the step they name.
    world.fault(json!({"door": "smtp", "at": "DATA-END", "reply": "451 4.7.0 later", "after": true})).await;
    assert_eq!(send(&mut line, ORDERS).await, "451 4.7.0 later");
    assert_eq!(count().await, 2);
    world.fault(json!({"door": "smtp", "at": "RCPT", "reply": "550 5.1.1 nobody"})).await;
    assert!(line.reply("MAIL FROM:<orders@contoso.example>").await.starts_with("250 "));
    assert_eq!(line.reply("RCPT TO:<ann@fabrikam.example>").await, "550 5.1.1 nobody");
    world.fault(json!({"door": "smtp", "at": "NOOP", "reply": "421 4.3.2 going down"})).await;
    assert_eq!(line.reply("NOOP").await, "421 4.3.2 going down");
    assert_eq!(line.rest().await, "");
    world.fault(json!({"door": "smtp", "at": "CONNECT", "reply": "554 5.7.1 not you"})).await;
    assert_eq!(Line::to(&world.sandbox.ready().smtp).await.rest().await, "554 5.7.1 not you\r\n");
    let (_, log) = answer(world.client.get(world.url("/_sandbox/requests"))).await;
    assert!(log.as_array().unwrap().contains(
        &json!({"door": "smtp", "command": "RCPT TO:<ann@fabrikam.example>", "reply": "550 5.1.1 nobody"})
    ));
    assert!(!log.to_string().contains(&xoauth2(ORDERS, &token)[..40]));
    // Graph was not met by any of them.
    let token = world.token_with(MAIL).await;
    let path = format!("/v1.0/users/{ORDERS}/mailFolders/sentitems");
    let (_, folder) = world.call(&token, Method::GET, &path, Value::Null).await;
    assert_eq!(folder["totalItemCount"], 2);
}
