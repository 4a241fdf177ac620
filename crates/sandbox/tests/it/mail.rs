//! Mail: sent, delivered, read, changed, refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::support::{MAIL, World, answer, code, encoded, text};

const RAW: &str = "From: Orders <orders@contoso.example>\r\nTo: u1@contoso.example, ann@fabrikam.example\r\n\
     Bcc: u2@contoso.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <own-1@contoso.example>\r\n\
     In-Reply-To: <before@fabrikam.example>\r\nReferences: <before@fabrikam.example>\r\n\
     Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nMIME-Version: 1.0\r\n\
     Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n\
     --b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=label.pdf\r\n\
     Content-Transfer-Encoding: base64\r\n\r\nJVBERi0x\r\n--b--\r\n";

async fn send_raw(world: &World, token: &str, raw: &str) -> (u16, Value) {
    let request = world
        .request(token, Method::POST, "/v1.0/users/orders%40contoso.example/sendMail")
        .header(header::CONTENT_TYPE, "text/plain")
        .body(STANDARD.encode(raw));
    answer(request).await
}

#[tokio::test]
async fn a_mime_mail_arrives_inside_and_outside_without_its_bcc() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    assert_eq!(send_raw(&world, &token, RAW).await, (202, json!("")));
    for user in ["u1", "u2"] {
        let path = format!("/v1.0//users/{user}%40contoso.example/messages");
        let list = world.get(&token, &path).await;
        let mail = &list["value"][0];
        assert_eq!(mail["subject"], "Gr\u{fc}\u{df}e");
        assert_eq!(mail["internetMessageId"], "<own-1@contoso.example>");
        assert_eq!(mail["hasAttachments"], true);
        assert_eq!(mail["bccRecipients"], json!([]));
        assert_eq!(mail["body"]["contentType"], "html");
        let one = format!("/v1.0/users/{user}@contoso.example/messages/{}", encoded(&mail["id"]));
        let response = world.request(&token, Method::GET, &format!("{one}/$value")).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/plain");
        let raw = response.text().await.unwrap();
        assert!(raw.contains("In-Reply-To: <before@fabrikam.example>") && !raw.contains("Bcc"), "{raw}");
        let attachments = world.get(&token, &format!("{one}/attachments")).await;
        assert_eq!(attachments["value"][0]["name"], "label.pdf");
        assert_eq!(attachments["value"][0]["contentBytes"], "JVBERi0x");
    }
    let outside = world.outside().await;
    assert_eq!(outside[0]["to"], json!(["ann@fabrikam.example"]));
    assert!(!text(&outside[0]["raw"]).contains("Bcc"));
    let sent = world.get(&token, "/v1.0/users/orders@contoso.example/mailFolders/sentitems/messages").await;
    assert_eq!(sent["value"][0]["bccRecipients"][0]["emailAddress"]["address"], "u2@contoso.example");
    // Headers come with a list too, when they are asked for by name.
    let path = "/v1.0/users/orders@contoso.example/messages?$select=id,internetMessageHeaders&$filter=internetMessageId%20eq%20'%3Cown-1@contoso.example%3E'";
    let found = world.get(&token, path).await;
    let headers = found["value"][0]["internetMessageHeaders"].as_array().unwrap();
    assert!(
        headers.contains(&json!({"name":"In-Reply-To","value":"<before@fabrikam.example>"})),
        "{headers:?}"
    );
}

#[tokio::test]
async fn a_json_mail_is_written_as_asked_and_its_accepted_answer_is_empty() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let message = json!({"message": {
        "subject": "Order 4711 shipped",
        "body": {"contentType": "HTML", "content": "<p>On its way</p>"},
        "toRecipients": [{"emailAddress": {"address": "u1@contoso.example", "name": "U, One"}}],
        "internetMessageHeaders": [{"name": "x-ticket", "value": "4711"}],
        "attachments": [{"@odata.type": "#microsoft.graph.fileAttachment", "name": "label.pdf",
            "contentType": "application/pdf", "contentBytes": "JVBERi0x"}],
    }, "saveToSentItems": false});
    let path = "/v1.0/users/orders@contoso.example/sendMail";
    let response = world.request(&token, Method::POST, path).json(&message).send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert!(response.headers().get("content-type").is_none());
    assert!(response.headers().contains_key("request-id"));
    let list = world
        .get(&token, "/v1.0/users/u1@contoso.example/mailFolders/inbox/messages?$select=subject,internetMessageHeaders,toRecipients,hasAttachments")
        .await;
    let mail = &list["value"][0];
    assert_eq!(mail["toRecipients"][0]["emailAddress"]["name"], "U, One");
    assert_eq!(mail["hasAttachments"], true);
    let headers = mail["internetMessageHeaders"].as_array().unwrap();
    assert!(headers.iter().any(|header| header["name"] == "x-ticket" && header["value"] == "4711"));
    let sent = world.get(&token, "/v1.0/users/orders@contoso.example/mailFolders/sentitems/messages").await;
    assert_eq!(sent["value"], json!([]));
}

#[tokio::test]
async fn a_draft_keeps_its_immutable_id_when_sent_and_cannot_be_sent_twice() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let base = "/v1.0/users/orders@contoso.example";
    let immutable = |request: reqwest::RequestBuilder| request.header("Prefer", "IdType=\"ImmutableId\"");
    let request = immutable(world.request(&token, Method::POST, &format!("{base}/messages")))
        .header(header::CONTENT_TYPE, "text/plain")
        .body(STANDARD.encode(RAW));
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["preference-applied"], "IdType=\"ImmutableId\"");
    let draft: Value = response.json().await.unwrap();
    assert_eq!(
        (&draft["isDraft"], &draft["internetMessageId"]),
        (&json!(true), &json!("<own-1@contoso.example>"))
    );
    let ordinary = world.get(&token, &format!("{base}/messages")).await["value"][0]["id"].clone();
    let id = encoded(&draft["id"]);
    let send = format!("{base}/messages/{id}/send");
    assert_eq!(answer(immutable(world.request(&token, Method::POST, &send))).await, (202, json!("")));
    let (_, sent) =
        answer(immutable(world.request(&token, Method::GET, &format!("{base}/messages/{id}")))).await;
    assert_eq!(sent["isDraft"], false);
    let folder = world.get(&token, &format!("{base}/mailFolders/sentitems")).await;
    assert_eq!(sent["parentFolderId"], folder["id"]);
    assert_eq!(answer(world.request(&token, Method::POST, &send)).await.0, 400);
    let by_ordinary = format!("{base}/messages/{}/send", encoded(&ordinary));
    let (status, body) = answer(world.request(&token, Method::POST, &by_ordinary)).await;
    assert_eq!((status, code(&body)), (404, "ErrorItemNotFound"));
    let arrived = world.get(&token, "/v1.0/users/u1@contoso.example/mailFolders/inbox/messages").await;
    assert_eq!(arrived["value"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn drafts_can_be_changed_and_other_messages_only_marked() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let path = "/v1.0/users/orders@contoso.example/messages";
    let draft = json!({"subject": "first", "body": {"contentType": "text", "content": "one"}});
    let (status, draft) = world.call(&token, Method::POST, path, draft).await;
    assert_eq!(status, 201, "{draft}");
    let change = json!({"subject": "second", "body": {"contentType": "html", "content": "<b>two</b>"},
        "toRecipients": [{"emailAddress": {"address": "u1@contoso.example"}}]});
    let one = format!("{path}/{}", encoded(&draft["id"]));
    let (status, changed) = world.call(&token, Method::PATCH, &one, change).await;
    assert_eq!(status, 200, "{changed}");
    assert_eq!(changed["subject"], "second");
    assert_eq!(changed["body"], json!({"contentType": "html", "content": "<b>two</b>"}));
    assert_eq!(changed["internetMessageId"], draft["internetMessageId"]);
    assert_eq!(changed["toRecipients"][0]["emailAddress"]["address"], "u1@contoso.example");

    let mail = world.deliver("orders@contoso.example", "From: ann@fabrikam.example\n\nhello").await;
    let one = format!("{path}/{}", encoded(&mail["id"]));
    let marks = json!({"isRead": true, "categories": ["Imported"]});
    let (status, body) = world.call(&token, Method::PATCH, &one, marks).await;
    assert_eq!((status, &body["isRead"], &body["categories"]), (200, &json!(true), &json!(["Imported"])));
    let (status, body) = world.call(&token, Method::PATCH, &one, json!({"subject": "x"})).await;
    assert_eq!((status, code(&body)), (403, "ErrorAccessDenied"));
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    for number in 0..5 {
        let raw = format!(
            "From: ann@fabrikam.example\r\nMessage-ID: <m{number}@fabrikam.example>\r\nSubject: {number}\r\n\r\nhello"
        );
        world.deliver("orders@contoso.example", &raw).await;
        world.clock.advance(jiff::SignedDuration::from_secs(60));
    }
    let base = "/v1.0/users/orders@contoso.example/mailFolders('Inbox')/messages";
    let page =
        world.get(&token, &format!("{base}?$select=subject&$top=2&$orderby=receivedDateTime%20desc")).await;
    let subjects = |page: &Value| -> Vec<String> {
        page["value"].as_array().unwrap().iter().map(|mail| text(&mail["subject"])).collect()
    };
    assert_eq!(subjects(&page), ["4", "3"]);
    let next = text(&page["@odata.nextLink"]);
    let (_, page) = answer(world.client.get(next).bearer_auth(&token)).await;
    assert_eq!(subjects(&page), ["2", "1"]);
    let by_id = format!("{base}?$filter=internetMessageId%20eq%20'%3Cm1%40fabrikam.example%3E'");
    assert_eq!(subjects(&world.get(&token, &by_id).await), ["1"]);
    let since = format!(
        "{base}?$filter=receivedDateTime%20ge%202026-11-23T10:02:00Z%20and%20isRead%20eq%20false&$orderby=receivedDateTime"
    );
    assert_eq!(subjects(&world.get(&token, &since).await), ["2", "3", "4"]);
    let inefficient = format!("{base}?$filter=isRead%20eq%20false&$orderby=receivedDateTime");
    let (status, body) = world.call(&token, Method::GET, &inefficient, Value::Null).await;
    assert_eq!((status, code(&body)), (400, "InefficientFilter"));
}

#[tokio::test]
async fn moving_changes_the_ordinary_id_and_deleting_goes_by_the_bin() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let base = "/v1.0/users/orders@contoso.example";
    let mail = world.deliver("orders@contoso.example", "From: ann@fabrikam.example\n\nhello").await;
    let folder = json!({"displayName": "Imported"});
    let children = format!("{base}/mailFolders/inbox/childFolders");
    let (status, folder) = world.call(&token, Method::POST, &children, folder).await;
    assert_eq!(status, 201, "{folder}");
    let (status, body) =
        world.call(&token, Method::POST, &children, json!({"displayName": "imported"})).await;
    assert_eq!((status, code(&body)), (409, "ErrorFolderExists"));
    let old = format!("{base}/messages/{}", encoded(&mail["id"]));
    let (status, moved) = world
        .call(&token, Method::POST, &format!("{old}/move"), json!({"destinationId": folder["id"]}))
        .await;
    assert_eq!((status, moved["id"] != mail["id"]), (201, true));
    let (status, body) = world.call(&token, Method::GET, &old, Value::Null).await;
    assert_eq!((status, code(&body)), (404, "ErrorItemNotFound"));
    let by_immutable = format!("{base}/messages/{}", encoded(&mail["immutableId"]));
    assert_eq!(world.get(&token, &by_immutable).await["id"], moved["id"]);
    assert_eq!(world.call(&token, Method::DELETE, &by_immutable, Value::Null).await.0, 204);
    let bin = world.get(&token, &format!("{base}/mailFolders/deleteditems")).await;
    assert_eq!(world.get(&token, &by_immutable).await["parentFolderId"], bin["id"]);
    assert_eq!(world.call(&token, Method::DELETE, &by_immutable, Value::Null).await.0, 204);
    assert_eq!(world.call(&token, Method::GET, &by_immutable, Value::Null).await.0, 404);
}

#[tokio::test]
async fn what_a_token_does_not_allow_is_refused() {
    let world = World::new().await;
    let reader = world.token_with(&["Mail.Read"]).await;
    let sender = world.token_with(&["Mail.Send"]).await;
    let inbox = "/v1.0/users/orders@contoso.example/messages";
    let (status, body) = world.call(&sender, Method::GET, inbox, Value::Null).await;
    assert_eq!((status, code(&body)), (403, "ErrorAccessDenied"));
    let (status, body) = world.call(&reader, Method::POST, inbox, json!({"subject": "x"})).await;
    assert_eq!((status, code(&body)), (403, "ErrorAccessDenied"));
    let (status, body) = send_raw(&world, &reader, RAW).await;
    assert_eq!((status, code(&body)), (403, "ErrorAccessDenied"));
    let forged = RAW.replace("orders@contoso.example", "hr@contoso.example");
    let (status, body) = send_raw(&world, &sender, &forged).await;
    assert_eq!((status, code(&body)), (403, "ErrorSendAsDenied"));
    let unknown = "/v1.0/users/nobody@contoso.example/messages";
    let (status, body) = world.call(&reader, Method::GET, unknown, Value::Null).await;
    assert_eq!((status, code(&body)), (404, "ErrorInvalidUser"));
    world.clock.advance(jiff::SignedDuration::from_secs(5400));
    let response = world.request(&reader, Method::GET, inbox).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer "));
}

#[tokio::test]
async fn faulty_bodies_are_refused_by_name() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let path = "/v1.0/users/orders@contoso.example/sendMail";
    let plain = |body: String| {
        world.request(&token, Method::POST, path).header(header::CONTENT_TYPE, "text/plain").body(body)
    };
    let (status, body) = answer(plain("no base64!".to_owned())).await;
    assert_eq!((status, code(&body)), (400, "ErrorMimeContentInvalidBase64String"));
    let (status, _) = answer(plain("A".repeat(4 * 1024 * 1024 + 4))).await;
    assert_eq!(status, 413);
    let (status, body) =
        world.call(&token, Method::POST, path, json!({"message": {"subject": "nobody"}})).await;
    assert_eq!((status, code(&body)), (400, "ErrorInvalidRecipients"));
    let headers: Vec<Value> = (0..6).map(|n| json!({"name": format!("x-{n}"), "value": "v"})).collect();
    let message = json!({"message": {"internetMessageHeaders": headers}});
    let (status, body) = world.call(&token, Method::POST, path, message).await;
    assert_eq!((status, code(&body)), (400, "InvalidInternetMessageHeaderCollection"));
    let (status, body) = world.call(&token, Method::POST, "/v1.0/users/x/nothing", Value::Null).await;
    assert_eq!((status, code(&body)), (400, "BadRequest"));
}

#[tokio::test]
async fn an_unknown_address_of_the_tenant_comes_back_as_undeliverable() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let raw = RAW.replace("u1@contoso.example", "nobody@contoso.example");
    assert_eq!(send_raw(&world, &token, &raw).await.0, 202);
    let inbox = world.get(&token, "/v1.0/users/orders@contoso.example/mailFolders/inbox/messages").await;
    assert!(text(&inbox["value"][0]["subject"]).starts_with("Undeliverable: "), "{inbox}");
}

#[tokio::test]
async fn attachments_join_a_draft_in_one_call_or_piece_by_piece() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let path = "/v1.0/users/orders@contoso.example/messages";
    let draft = json!({"subject": "s", "body": {"contentType": "html", "content": "<p>text</p>"},
        "toRecipients": [{"emailAddress": {"address": "u1@contoso.example"}}]});
    let (_, draft) = world.call(&token, Method::POST, path, draft).await;
    let one = format!("{path}/{}", encoded(&draft["id"]));
    let small = json!({"@odata.type": "#microsoft.graph.fileAttachment", "name": "small.txt",
        "contentType": "text/plain", "contentBytes": "aGVsbG8="});
    let (status, added) = world.call(&token, Method::POST, &format!("{one}/attachments"), small).await;
    assert_eq!((status, added["name"].as_str()), (201, Some("small.txt")), "{added}");

    let session = json!({"AttachmentItem": {"attachmentType": "file", "name": "scan.pdf", "size": 5_000_000,
        "contentType": "application/pdf"}});
    let open = format!("{one}/attachments/createUploadSession");
    let (status, session) = world.call(&token, Method::POST, &open, session).await;
    assert_eq!((status, &session["nextExpectedRanges"]), (201, &json!(["0-"])), "{session}");
    let put = |range: &str, length: usize| {
        let request = world.client.put(text(&session["uploadUrl"])).header("Content-Range", range.to_owned());
        answer(request.body(vec![7_u8; length]))
    };
    assert_eq!(put("bytes 1-3/5000000", 3).await.0, 416);
    let (status, body) = put("bytes 0-2999999/5000000", 3_000_000).await;
    assert_eq!((status, &body["NextExpectedRanges"]), (200, &json!(["3000000"])));
    assert_eq!(put("bytes 3000000-4999999/5000000", 2_000_000).await.0, 201);
    assert_eq!(put("bytes 0-1/5000000", 2).await.0, 404);

    assert_eq!(answer(world.request(&token, Method::POST, &format!("{one}/send"))).await.0, 202);
    let inbox = world.get(&token, "/v1.0/users/u1@contoso.example/mailFolders/inbox/messages").await;
    let mail = &inbox["value"][0];
    assert!(text(&mail["body"]["content"]).contains("<p>text</p>"), "{}", mail["body"]);
    let list = format!(
        "/v1.0/users/u1@contoso.example/messages/{}/attachments?$select=name,size",
        encoded(&mail["id"])
    );
    let list = world.get(&token, &list).await;
    let parts: Vec<_> = list["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["name"].as_str().unwrap(), p["size"].as_u64().unwrap()))
        .collect();
    assert_eq!(parts, [("small.txt", 5), ("scan.pdf", 5_000_000)]);
}

#[tokio::test]
async fn a_persons_token_opens_the_persons_mailbox_only() {
    let world = World::new().await;
    let app = world.app(&[]).await;
    let user = world.sandbox.ready().users.iter().find(|user| user.address.starts_with("u1@")).unwrap();
    let form = [
        ("grant_type", "password"),
        ("client_id", app.id.as_str()),
        ("client_secret", app.secret.as_str()),
        ("scope", "https://graph.microsoft.com/Mail.Read offline_access"),
        ("username", user.address.as_str()),
        ("password", user.password.as_str()),
    ];
    let (_, body) = world.ask(world.tenant(), &form).await;
    let token = text(&body["access_token"]);
    assert_eq!(body["scope"], "Mail.Read");
    assert_eq!(world.get(&token, "/v1.0/me/messages").await["value"], json!([]));
    let other = "/v1.0/users/u2@contoso.example/messages";
    let (status, body) = world.call(&token, Method::GET, other, Value::Null).await;
    assert_eq!((status, code(&body)), (403, "ErrorAccessDenied"));
}

#[tokio::test]
async fn a_message_nested_without_end_is_kept_and_read_by_its_header() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(20_000);
    world.deliver("u1@contoso.example", &format!("Subject: deep\r\nFrom: a@b.example\r\n{nested}")).await;
    let list = world.get(&token, "/v1.0/users/u1@contoso.example/messages").await;
    assert_eq!(list["value"][0]["subject"], "deep");
}
