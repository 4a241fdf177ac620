//! Credentials through the real binary: staged, tested, switched, renewed; and mailboxes that must be refused.

use std::cell::Cell;
use std::time::{Duration, Instant};

use postroom_entra::CertificateCredential;
use postroom_model::{Env, ExposeSecret, Timestamp};
use postroom_store::JournalStore;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{World, confirmation, eventually, within};

const CONNECTION: &str = "Contoso 365";
/// A new credential is tested for a minute before it is put to use.
pub(crate) const RENEWED_WITHIN: Duration = Duration::from_secs(180);

/// The token of the tenant's administrator.
pub(crate) async fn administrator(world: &World) -> String {
    let tenant = world.ready["tenant_id"].as_str().unwrap();
    let address = format!("{}/{tenant}/oauth2/v2.0/token", world.ready["authority"].as_str().unwrap());
    let form = [
        ("grant_type", "password"),
        ("client_id", "14d82eec-204b-4c2f-b7e8-296a70dab67e"),
        ("scope", "https://graph.microsoft.com/.default"),
        ("username", world.ready["admin"]["user"].as_str().unwrap()),
        ("password", world.ready["admin"]["password"].as_str().unwrap()),
    ];
    let answer: Value = world.http.post(address).form(&form).send().await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// What the administrator's call to Microsoft Graph gives.
pub(crate) async fn graph(world: &World, token: &str, path: &str, body: Option<Value>) -> Value {
    let method = if body.is_some() { Method::POST } else { Method::GET };
    call(world, token, method, path, body).await
}

pub(crate) async fn call(
    world: &World,
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Value {
    let address = format!("{}/v1.0/{path}", world.ready["graph"].as_str().unwrap());
    let mut request = world.http.request(method, address);
    if let Some(body) = &body {
        request = request.json(body);
    }
    let answer = request.bearer_auth(token).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

/// The object id of the application.
pub(crate) async fn object_id(world: &World, token: &str) -> String {
    let path = format!("applications?$filter=appId%20eq%20'{}'", world.application_id);
    graph(world, token, &path, None).await["value"][0]["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn credentials(world: &World) -> Vec<Value> {
    serde_json::from_str(&world.ok(&["credential", "list", "--json"]).await).unwrap()
}

/// State and days left, in the order of the list.
async fn states(world: &World) -> Vec<(String, Option<u64>)> {
    let list = credentials(world).await;
    list.iter().map(|one| (one["state"].as_str().unwrap().to_owned(), one["days_left"].as_u64())).collect()
}

#[tokio::test]
async fn a_secret_is_staged_tested_and_switched_while_mail_leaves() {
    let world = World::new().await;
    world.connect().await;
    world.ok(&["mailbox", "add", "orders@contoso.example", "--type", "customer-order"]).await;
    let server = world.serve().await;
    let key = world.api_key("erp").await;
    let send = async |number: u32| {
        let (status, message) = server.submit(&key, None, &confirmation(number)).await;
        assert_eq!(status, 202, "{message}");
        server.reaches(&key, message["id"].as_str().unwrap(), "sent").await;
    };
    send(1).await;
    let advice = world.fails(1, &["credential", "renew"]).await;
    assert!(
        advice.contains("may not make a client secret") && advice.contains("credential stage"),
        "{advice}"
    );

    let token = administrator(&world).await;
    let path = format!("applications/{}/addPassword", object_id(&world, &token).await);
    let made =
        graph(&world, &token, &path, Some(json!({"passwordCredential": {"displayName": "next"}}))).await;
    let file = world.path("next.txt");
    let file = file.to_str().unwrap();

    // What is wrong is said, and the credential in use stays in use.
    std::fs::write(file, made["keyId"].as_str().unwrap()).unwrap();
    let said = world.fails(1, &["credential", "stage", "--secret-file", file]).await;
    assert!(said.contains("Secret ID"), "{said}");
    std::fs::write(file, "no~such-secret-of-this-application-0001").unwrap();
    world.ok(&["credential", "stage", "--secret-file", file]).await;
    let said = world.fails(1, &["credential", "switch"]).await;
    assert!(said.contains("AADSTS7000215") && said.contains("stays in use"), "{said}");
    send(2).await;

    std::fs::write(file, made["secretText"].as_str().unwrap()).unwrap();
    let end = made["endDateTime"].as_str().unwrap();
    let key_id = made["keyId"].as_str().unwrap();
    let stage = [
        "credential",
        "stage",
        "--connection",
        CONNECTION,
        "--secret-file",
        file,
        "--expires",
        end,
        "--key-id",
        key_id,
    ];
    world.ok(&stage).await;
    let said = world.ok(&["credential", "test"]).await;
    assert!(said.contains("Inbox of orders@contoso.example opened"), "{said}");
    world.ok(&["credential", "switch"]).await;
    let now = states(&world).await;
    assert_eq!((now[0].0.as_str(), now.len()), ("current", 3), "{now:?}");
    assert!(now[0].1.is_some_and(|days| days > 300), "{now:?}");
    let list = credentials(&world).await;
    send(3).await;

    // Back to the former one, forth again by the same way, and no way back once it is retired.
    world.ok(&["credential", "switch", "--back"]).await;
    let in_use = |list: &[Value], state: &str| {
        list.iter().find(|one| one["state"] == state).map(|one| one["id"].as_str().unwrap().to_owned())
    };
    let (before, after) = (in_use(&list, "current"), credentials(&world).await);
    assert_eq!(
        (in_use(&after, "former"), in_use(&after, "current")),
        (before.clone(), in_use(&list, "former"))
    );
    send(4).await;
    world.ok(&["credential", "switch", "--back"]).await;
    let former = in_use(&list, "former").unwrap();
    assert_eq!(in_use(&credentials(&world).await, "former").as_ref(), Some(&former));
    send(5).await;
    world.ok(&["credential", "retire", &former]).await;
    let said = world.fails(1, &["credential", "switch", "--back"]).await;
    assert!(said.contains("has no former credential"), "{said}");
    assert_eq!(in_use(&credentials(&world).await, "current"), before);
    send(6).await;
    let all = world.ok(&["credential", "list"]).await + &server.process.log();
    for secret in [made["secretText"].as_str().unwrap(), &world.secret] {
        assert!(!all.contains(secret));
    }
}

#[tokio::test]
async fn mailboxes_that_must_be_refused_are_tried() {
    let world = World::new().await;
    world.connect().await;
    let said =
        world.run(&["credential", "must-not-open", "orders@contoso.example", "nobody@contoso.example"]).await;
    assert_eq!(said.status.code(), Some(1));
    let lines = String::from_utf8(said.stdout).unwrap();
    let nobody = "nobody@contoso.example  there is no such mailbox: proves nothing\n";
    assert_eq!(lines, format!("orders@contoso.example  OPENS, and must not\n{nobody}"));
    let words = String::from_utf8(said.stderr).unwrap();
    assert!(words.contains("limit the application to its mailboxes"), "{words}");

    // What does not exist proves nothing, and without addresses that is what is listed.
    for arguments in
        [&["credential", "must-not-open", "nobody@contoso.example"][..], &["credential", "must-not-open"]]
    {
        let said = world.run(arguments).await;
        assert_eq!((said.status.code(), String::from_utf8(said.stdout).unwrap().as_str()), (Some(1), nobody));
    }
    world.fault(json!({"path_contains": "mailFolders/inbox", "status": 403, "count": 1})).await;
    let said = world.ok(&["credential", "must-not-open", "hr@contoso.example"]).await;
    assert_eq!(said, "hr@contoso.example  refused\n");
    let said = world.run(&["credential", "must-not-open"]).await;
    assert!(said.status.success() && String::from_utf8(said.stderr).unwrap().contains("last asked at "));
    world.ok(&["credential", "must-not-open", "--none"]).await;
    assert_eq!(world.ok(&["credential", "must-not-open"]).await, "");
}

#[tokio::test]
async fn a_mailbox_that_was_not_asked_is_not_said_to_be_refused() {
    let world = World::new().await;
    world.connect().await;
    let connections: Value =
        serde_json::from_str(&world.ok(&["connection", "list", "--json"]).await).unwrap();
    let connection = connections[0]["id"].as_str().unwrap();
    // What a process leaves behind that is killed while it asks.
    let data = world.path("data");
    let key_file = postroom_store::KeyFile(data.join("postroom.key"));
    let options = postroom_store::SqliteOptions { folder: data, key_file, env: Env::for_test(1).0 };
    let store = postroom_store::SqlStore::open(options).await.unwrap();
    let claim = format!("turn/scope/{connection}/of-one-that-was-killed");
    store.save_journal(&claim, Some(r#"{"until":"2100-01-01T00:00:00Z"}"#)).await.unwrap();

    for arguments in
        [&["credential", "must-not-open", "hr@contoso.example"][..], &["credential", "must-not-open"]]
    {
        let said = world.run(arguments).await;
        let lines = String::from_utf8(said.stdout).unwrap();
        assert_eq!((said.status.code(), lines.as_str()), (Some(3), "hr@contoso.example  not asked yet\n"));
    }
    store.save_journal(&claim, None).await.unwrap();
    let said = world.run(&["credential", "must-not-open", "hr@contoso.example"]).await;
    assert!(String::from_utf8(said.stdout).unwrap().contains("OPENS"));
}

#[tokio::test]
async fn a_certificate_does_not_fit_a_connection_with_a_secret() {
    let world = World::new().await;
    world.connect().await;
    let said = world.fails(1, &["credential", "stage", "--make-certificate"]).await;
    assert!(said.contains("signs in by Client secret") && said.contains("--flow"), "{said}");
    world.fails(2, &["credential", "stage"]).await;
    world.fails(2, &["credential", "stage", "--make-certificate", "--valid-days", "0"]).await;
}

/// The first object of a kind with this application id.
pub(crate) async fn by_app_id(world: &World, token: &str, kind: &str, app_id: &str) -> Value {
    let path = format!("{kind}?$filter=appId%20eq%20'{app_id}'");
    graph(world, token, &path, None).await["value"][0].clone()
}

/// Grants the application a permission of Microsoft Graph.
pub(crate) async fn grant(world: &World, token: &str, permission: &str) {
    let principal = by_app_id(world, token, "servicePrincipals", &world.application_id).await;
    let resource = by_app_id(world, token, "servicePrincipals", "00000003-0000-0000-c000-000000000000").await;
    let roles = resource["appRoles"].as_array().unwrap();
    let role = roles.iter().find(|role| role["value"] == permission).unwrap();
    let path = format!("servicePrincipals/{}/appRoleAssignments", principal["id"].as_str().unwrap());
    let grant =
        json!({"principalId": principal["id"], "resourceId": resource["id"], "appRoleId": role["id"]});
    graph(world, token, &path, Some(grant)).await;
}

/// A certificate that ends in 20 days, registered at the tenant. Gives its PEM.
pub(crate) async fn short_certificate(world: &World, token: &str, object: &str) -> String {
    let path = format!("applications/{object}/addPassword");
    let made = graph(world, token, &path, Some(json!({"passwordCredential": {}}))).await;
    let now: Timestamp = made["startDateTime"].as_str().unwrap().parse().unwrap();
    let end = Timestamp::from_second(now.as_second() + 20 * 86_400).unwrap();
    let begin = Timestamp::from_second(now.as_second() - 86_400).unwrap();
    let certificate = CertificateCredential::generate("Postroom", begin, end, &Env::for_test(1).0).unwrap();
    let key = certificate.certificate_pem().lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let keys = json!({"keyCredentials": [{
        "type": "AsymmetricX509Cert", "usage": "Verify", "displayName": "first", "key": key,
        "startDateTime": begin.to_string(), "endDateTime": end.to_string(),
    }]});
    call(world, token, Method::PATCH, &format!("applications/{object}"), Some(keys)).await;
    certificate.to_pem().expose_secret().to_owned()
}

#[tokio::test]
async fn a_certificate_is_not_made_before_it_is_known_where_it_goes() {
    let world = World::new().await;
    let token = administrator(&world).await;
    let object = object_id(&world, &token).await;
    let pem = world.path("first.pem");
    std::fs::write(&pem, short_certificate(&world, &token, &object).await).unwrap();
    world.connect().await;
    let pem = pem.to_str().unwrap();
    world
        .ok(&["connection", "save", "--name", CONNECTION, "--flow", "certificate", "--secret-file", pem])
        .await;
    let said = world.fails(1, &["credential", "renew"]).await;
    assert!(said.contains("--application-object-id") && said.contains("waits for you"), "{said}");
    assert!(!said.contains("by itself"), "{said}");
    let states_of = async || states(&world).await.into_iter().map(|(state, _)| state).collect::<Vec<_>>();
    assert!(!states_of().await.contains(&"next".to_owned()));
    // Nor does one stay that Microsoft refused to take.
    let wrong = "00000000-0000-4000-8000-000000000001";
    world.fails(1, &["credential", "renew", "--application-object-id", wrong]).await;
    assert!(!states_of().await.contains(&"next".to_owned()));
    let said = world.fails(1, &["credential", "switch", "--without-test"]).await;
    assert!(said.contains("has no next credential"), "{said}");
    world.ok(&["credential", "renew", "--application-object-id", &object]).await;
    assert!(states_of().await.contains(&"next".to_owned()), "it is tested before it is put to use");
    let switched = world.run(&["credential", "switch", "--without-test"]).await;
    let said = String::from_utf8(switched.stderr).unwrap();
    assert!(switched.status.success() && said.contains("not tested"), "{said}");
}

#[tokio::test]
async fn a_certificate_renews_itself_before_it_ends_and_no_send_fails() {
    let world = World::new().await;
    let token = administrator(&world).await;
    let object = object_id(&world, &token).await;
    grant(&world, &token, "Application.Read.All").await;
    let pem = world.path("first.pem");
    std::fs::write(&pem, short_certificate(&world, &token, &object).await).unwrap();
    world.connect().await;
    let pem = pem.to_str().unwrap();
    world
        .ok(&["connection", "save", "--name", CONNECTION, "--flow", "certificate", "--secret-file", pem])
        .await;
    let server = world.serve().await;
    let key = world.api_key("erp").await;
    let number = Cell::new(0);
    let send = async || {
        number.set(number.get() + 1);
        let (status, message) = server.submit(&key, None, &confirmation(number.get())).await;
        assert_eq!(status, 202, "{message}");
        let id = message["id"].as_str().unwrap();
        let ended = eventually("the message has ended its first attempt", || async {
            let (_, message) = server.message(&key, id).await;
            (message["state"] != "accepted" && message["state"] != "sending").then_some(message)
        })
        .await;
        assert_eq!((&ended["state"], &ended["attempts"]), (&json!("sent"), &json!(1)), "{ended}");
    };
    // The server finds by itself when the certificate ends, and that it is time.
    let begun = Instant::now();
    within(RENEWED_WITHIN, "the certificate is renewed", || async {
        send().await;
        (states(&world).await[0] == ("current".to_owned(), Some(365))).then_some(())
    })
    .await;
    assert!(
        begun.elapsed() >= Duration::from_secs(55),
        "one test alone put it to use: {:?}",
        begun.elapsed()
    );
    let path = format!("applications/{object}?$select=id,keyCredentials");
    let keys = graph(&world, &token, &path, None).await["keyCredentials"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 2, "the old one stays for an hour: {keys}");
    let list = credentials(&world).await;
    assert!(list[0]["key_id"].is_string(), "{list:?}");

    // Without the old one the new one does what is needed.
    let old = keys.as_array().unwrap().iter().find(|known| known["keyId"] != list[0]["key_id"]).unwrap();
    let only_new: Vec<&Value> =
        keys.as_array().unwrap().iter().filter(|known| known["keyId"] != old["keyId"]).collect();
    let path = format!("applications/{object}");
    call(&world, &token, Method::PATCH, &path, Some(json!({"keyCredentials": only_new}))).await;
    world.ok(&["credential", "test"]).await;
    send().await;
    eventually("the renewal is told", || async {
        server.process.log().contains("credential.renewed").then_some(())
    })
    .await;
    assert!(!server.process.log().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn a_secret_renews_itself_where_the_application_may_and_its_end_is_not_felt() {
    let world = World::new().await;
    let token = administrator(&world).await;
    let object = object_id(&world, &token).await;
    grant(&world, &token, "Application.ReadWrite.OwnedBy").await;
    let path = format!("applications/{object}/addPassword");
    let any = graph(&world, &token, &path, Some(json!({"passwordCredential": {}}))).await;
    let now: Timestamp = any["startDateTime"].as_str().unwrap().parse().unwrap();
    let end = Timestamp::from_second(now.as_second() + 20 * 86_400).unwrap().to_string();
    let short = json!({"passwordCredential": {"displayName": "short", "endDateTime": end}});
    let short = graph(&world, &token, &path, Some(short)).await;
    let file = world.path("short.txt");
    std::fs::write(&file, short["secretText"].as_str().unwrap()).unwrap();
    world.connect().await;
    let file = file.to_str().unwrap();
    world
        .ok(&["connection", "save", "--name", CONNECTION, "--secret-file", file, "--secret-expires", &end])
        .await;
    let server = world.serve().await;
    within(RENEWED_WITHIN, "the secret is renewed", || async {
        (states(&world).await[0] == ("current".to_owned(), Some(180))).then_some(())
    })
    .await;
    // The tenant's clock passes the end of the old one.
    let clock = format!("{}/_sandbox/clock", world.ready["graph"].as_str().unwrap());
    let moved = world.http.post(clock).json(&json!({"advance_seconds": 21 * 86_400})).send().await.unwrap();
    assert!(moved.status().is_success());
    let key = world.api_key("erp").await;
    let (status, message) = server.submit(&key, None, &confirmation(1)).await;
    assert_eq!(status, 202, "{message}");
    let sent = server.reaches(&key, message["id"].as_str().unwrap(), "sent").await;
    assert_eq!(sent["attempts"], 1, "{sent}");
    let log = server.process.log();
    assert!(log.contains("credential.renewed") && !log.contains(short["secretText"].as_str().unwrap()));
}
