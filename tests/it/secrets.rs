//! No secret, token, assertion or password in any log, error, event, page, answer or file: found by searching all that
//! a run leaves behind for the values that went in.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Server, World, confirmation};

/// Every file below a folder with its content.
pub(crate) fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

pub(crate) fn holds(content: &[u8], value: &[u8]) -> bool {
    content.windows(value.len()).any(|window| window == value)
}

/// Whether something of the shape of a signed token is in it: two base64url parts that begin with `{"` and a dot.
pub(crate) fn holds_token(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    let starts = text.match_indices("eyJ").map(|(at, _)| at);
    starts.into_iter().any(|at| {
        let mut parts = text[at..].split('.');
        let long = |part: Option<&str>| {
            part.is_some_and(|part| {
                part.len() > 16
                    && part.bytes().take(16).all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            })
        };
        long(parts.next())
            && parts.next().is_some_and(|claims| claims.starts_with("eyJ"))
            && long(parts.next())
    })
}

/// Adds an administrator of Postroom and logs on; gives the session's cookie.
pub(crate) async fn log_on(world: &World, server: &Server, password: &str) -> String {
    let file = world.path("password.txt");
    std::fs::write(&file, password).unwrap();
    let file = file.to_str().unwrap();
    world.ok(&["user", "add", "orderdesk", "--role", "administrator", "--password-file", file]).await;
    let login = world
        .http
        .post(format!("{}/login", server.url))
        .header("origin", &server.url)
        .header("sec-fetch-site", "same-origin");
    let answer = login.form(&[("name", "orderdesk"), ("password", password)]).send().await.unwrap();
    answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_a_run_leaves_behind_holds_none_of_the_secrets_that_went_in() {
    let mut world = World::new().await;
    world.connect().await;
    let right = world.secret.clone();
    let password = "a password of this test, 4711";
    world.ok(&["mailbox", "add", "orders@contoso.example", "--type", "customer-order"]).await;
    let key = world.api_key("erp").await;
    let mut told: Vec<(String, Vec<u8>)> = Vec::new();

    // A run with everything logged: log-on, a message sent, a check that passes, and one with a wrong secret.
    let mut command = world.command();
    command.env("POSTROOM_LOG_LEVEL", "trace");
    let mut server = world.serve_with(command).await;
    let cookie = log_on(&world, &server, password).await;
    for page in ["/", "/settings/email", "/settings/incoming", "/inbox", "/outbox"] {
        let answer =
            world.http.get(format!("{}{page}", server.url)).header("cookie", &cookie).send().await.unwrap();
        assert!(answer.status().is_success(), "{page}: {}", answer.status());
        told.push((page.to_owned(), answer.bytes().await.unwrap().to_vec()));
    }
    let (_, accepted) = server.submit(&key, Some("order-1"), &confirmation(1)).await;
    let message = server.reaches(&key, accepted["id"].as_str().unwrap(), "sent").await;
    told.push(("the API".to_owned(), Value::to_string(&message).into_bytes()));
    let check = world
        .run(&[
            "check",
            "--json",
            "--sender",
            "orders@contoso.example",
            "--recipient",
            "orders@contoso.example",
        ])
        .await;
    told.push(("check".to_owned(), [check.stdout, check.stderr].concat()));
    world.secret = "nQ3~not.the_secret-of-this-application".to_owned();
    world.connect().await;
    for arguments in [
        vec!["check", "--json"],
        vec!["connection", "list", "--json"],
        vec!["mailbox", "list", "--json"],
        vec!["outbox", "--json"],
        vec!["user", "list", "--json"],
        vec!["apikey", "list", "--json"],
    ] {
        let output = world.run(&arguments).await;
        told.push((arguments.join(" "), [output.stdout, output.stderr].concat()));
    }
    assert_eq!(server.process.terminate(), Some(0));
    told.push(("the log".to_owned(), server.process.log().into_bytes()));
    let key_file = world.path("data/postroom.key");
    let sealing_key = std::fs::read_to_string(&key_file).unwrap();
    let mut left = Vec::new();
    files(&world.path("data"), &mut left);
    told.extend(left.into_iter().filter(|(name, _)| !name.ends_with("postroom.key")));

    let sealing_key = sealing_key.lines().last().unwrap().to_owned();
    let cookie_value = cookie.split_once('=').unwrap().1.to_owned();
    let secrets = [
        ("the client secret", right),
        ("the wrong client secret", world.secret.clone()),
        ("the password", password.to_owned()),
        ("the API key", key),
        ("the session cookie", cookie_value),
        ("the sealing key", sealing_key),
    ];
    let searched = |part: &str| told.iter().any(|(name, content)| name.contains(part) && content.len() > 100);
    for part in ["the log", "postroom.db", "blobs/", "/settings/email", "check"] {
        assert!(searched(part), "{part} was not searched");
    }
    assert!(server.process.log().contains("TRACE"), "everything was to be logged");
    for (place, content) in &told {
        for (what, value) in &secrets {
            assert!(value.len() >= 16, "{what} is too short to be searched for");
            assert!(!holds(content, value.as_bytes()), "{what} is in {place}");
        }
        assert!(!holds_token(content), "a token is in {place}");
    }
}

#[test]
fn the_search_finds_a_token_where_there_is_one() {
    let token = b"... eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJodHRwczovL2dyYXBoIn0.c2lnbmF0dXJlLW9mLXRoaXM-x ...";
    assert!(holds_token(token));
    assert!(!holds_token(b"eyJ is how tokens begin. eyJ."));
}
