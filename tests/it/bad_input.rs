//! Each wrong input has its answer, and nothing is lost.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::harness::{World, answer, confirmation, eventually};

#[tokio::test]
async fn the_api_names_what_is_wrong_and_keeps_nothing_of_it() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    let server = world.serve().await;

    let mut wrong = confirmation(1);
    wrong["cc"] = json!(["fine@fabrikam.example", "no address"]);
    let (status, body) = server.submit(&key, None, &wrong).await;
    assert_eq!((status, &body["error"]["fields"][0]["field"]), (422, &json!("cc[1]")), "{body}");

    let mut large = confirmation(2);
    large["text"] = json!("x".repeat(3_500_000));
    let (status, body) = server.submit(&key, None, &large).await;
    assert_eq!(status, 413, "{body}");
    let limit = body["error"]["limit"].as_u64().unwrap();
    assert!(body["error"]["message"].as_str().unwrap().contains(&limit.to_string()), "{body}");

    let huge = world
        .http
        .post(format!("{}/api/v1/messages", server.url))
        .bearer_auth(&key)
        .header("content-type", "application/json")
        .body(vec![b' '; 51_000_000]);
    let (status, body) = answer(huge).await;
    assert_eq!(status, 413, "{body}");

    let (status, first) = server.submit(&key, Some("order-3"), &confirmation(3)).await;
    assert_eq!(status, 202);
    let (status, body) = server.submit(&key, Some("order-3"), &confirmation(4)).await;
    assert_eq!(status, 409, "{body}");

    let (status, _) = server.submit("pr_no_such_key", None, &confirmation(5)).await;
    assert_eq!(status, 401);

    let broken = world
        .http
        .post(format!("{}/api/v1/messages", server.url))
        .bearer_auth(&key)
        .header("content-type", "application/json")
        .body("{\"from\":\n 7}");
    let (status, body) = answer(broken).await;
    assert_eq!(status, 400, "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("line 2"), "{body}");

    server.reaches(&key, first["id"].as_str().unwrap(), "sent").await;
    let kept = world.ok(&["outbox", "--json"]).await;
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept.as_array().unwrap().len(), 1, "only the one accepted message is kept");
}

#[tokio::test]
async fn a_broken_configuration_line_is_named_by_file_line_and_key() {
    let world = World::new().await;
    let path = world.path("postroom.toml");
    std::fs::write(&path, "listen = \"127.0.0.1:0\"\n[engine]\nsend_paralel = 4\n").unwrap();
    for command in ["serve", "config"] {
        let arguments = if command == "config" { vec!["config", "check"] } else { vec!["serve"] };
        let words = world.fails(2, &arguments).await;
        assert!(words.contains("postroom.toml:3:1: key `send_paralel`: unknown field"), "{words}");
    }
}

#[tokio::test]
async fn a_key_file_that_cannot_be_used_stops_the_start_and_changes_nothing() {
    let world = World::new().await;
    world.connect().await;
    let key_file = world.path("data/postroom.key");
    let key = std::fs::read(&key_file).unwrap();
    assert_eq!(std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);

    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let words = world.fails(1, &["connection", "list"]).await;
    assert!(words.contains("postroom.key") && words.contains("chmod 600"), "{words}");
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();

    std::fs::write(&key_file, "not a key\n").unwrap();
    let words = world.fails(1, &["connection", "list"]).await;
    assert!(words.contains("postroom.key"), "{words}");

    std::fs::remove_file(&key_file).unwrap();
    let words = world.fails(1, &["connection", "list"]).await;
    assert!(words.contains("postroom.key"), "{words}");
    assert!(!key_file.exists(), "no new key may be made over sealed secrets");

    // An unreadable one: a folder stands where the file should be (root may read every file).
    std::fs::create_dir(&key_file).unwrap();
    let words = world.fails(1, &["connection", "list"]).await;
    assert!(words.contains("postroom.key"), "{words}");
    std::fs::remove_dir(&key_file).unwrap();

    std::fs::write(&key_file, key).unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let listed = world.ok(&["connection", "list"]).await;
    assert!(listed.contains("Contoso 365"), "{listed}");
}

#[tokio::test]
async fn a_data_folder_of_a_newer_version_is_left_alone() {
    let world = World::new().await;
    world.connect().await;
    let database = world.path("data/postroom.db");
    let statement = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); \
        c.execute(\"insert into _sqlx_migrations(version,description,success,checksum,execution_time) values(99990101,'newer',1,x'00',1)\"); \
        c.commit()";
    let written = Command::new("python3").args(["-c", statement]).arg(&database).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let words = world.fails(1, &["connection", "list"]).await;
    assert!(words.contains("newer Postroom"), "{words}");
    assert!(words.contains("hint:"), "{words}");
}

/// A real full disk: a small tmpfs in a mount namespace of its own.
#[tokio::test]
#[ignore = "needs unshare and mount; run by cargo xtask test"]
async fn on_a_full_disk_the_answer_is_503_and_the_outbox_stays_intact() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    let data = world.path("data");
    // The folder's present content moves into a tmpfs that is mounted over it, with a hole to fill it through.
    let script = "set -e; cp -a \"$DATA\" \"$DATA.copy\"; mount -t tmpfs -o size=8m tmpfs \"$DATA\"; \
        cp -a \"$DATA.copy/.\" \"$DATA\"; exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    let map: &[&str] = if is_root() { &["-m"] } else { &["-Urm"] };
    command.args(map).args(["sh", "-c", script, env!("CARGO_BIN_EXE_postroom")]);
    // The watch over the disk would refuse long before it is full: here what the disk itself refuses is meant.
    command.env("POSTROOM_WATCH_DISK_REFUSE_MB", "0");
    command.env("DATA", &data).current_dir(world.path(".")).arg("--data").arg(&data);
    let server = world.serve_with(command).await;
    let mut accepted = Vec::new();
    let body = |number: u32| {
        let mut body = confirmation(number);
        // Not compressible, not repeated: each takes its own place on the disk.
        body["text"] = json!(format!("{number} ").repeat(60_000));
        body
    };
    // Nothing can be sent meanwhile, so that the disk fills with what waits.
    world.fault(json!({"path_contains": "/messages", "status": 503, "count": 100_000})).await;
    let mut refused = None;
    for number in 0..200 {
        let (status, answer) = server.submit(&key, None, &body(number)).await;
        if status == 202 {
            accepted.push(answer["id"].as_str().unwrap().to_owned());
        } else {
            refused = Some((status, answer));
            break;
        }
    }
    let (status, answer) = refused.expect("the disk was filled");
    assert_eq!(status, 503, "{answer}");
    assert!(!accepted.is_empty());
    for id in &accepted {
        let (status, message) = server.message(&key, id).await;
        assert_eq!(status, 200, "{message}");
    }
    let (status, page) = {
        let page = world.http.get(format!("{}/healthz", server.url)).send().await.unwrap();
        (page.status().as_u16(), page.text().await.unwrap())
    };
    assert_eq!((status, page.trim()), (200, "ok"));
    // Still refused politely, and still the same messages: nothing half-done.
    let (status, _) = server.submit(&key, None, &body(999)).await;
    assert_eq!(status, 503);
    eventually("the server still answers for every accepted message", || async {
        let mut all = true;
        for id in &accepted {
            all &= server.message(&key, id).await.0 == 200;
        }
        all.then_some(())
    })
    .await;
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim() == "0"
}

#[tokio::test]
async fn what_is_not_named_stays_and_a_stored_secret_goes_nowhere_else() {
    let world = World::new().await;
    world.connect().await;
    let save = ["connection", "save", "--name", "Contoso 365"];
    let words =
        world.fails(1, &[&save[..], &["--kind", "imap", "--server", "imap.example.com"]].concat()).await;
    assert!(words.contains("Service of a saved connection cannot be changed"), "{words}");
    let elsewhere = ["--authority", "http://127.0.0.1:1", "--graph", "http://127.0.0.1:1"];
    let words = world.fails(1, &[&save[..], &elsewhere[..]].concat()).await;
    assert!(words.contains("Client secret is missing"), "{words}");

    world.ok(&["user", "add", "servicedesk"]).await;
    world.ok(&["mailbox", "add", "service@contoso.example", "--type", "case", "--user", "servicedesk"]).await;
    let availability = async || {
        let listed = world.ok(&["mailbox", "list", "--json"]).await;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        listed[0]["settings"]["availability"].clone()
    };
    let before = availability().await;
    assert_ne!(before, "all");
    world.ok(&["mailbox", "add", "service@contoso.example", "--polling-interval", "5,00"]).await;
    assert_eq!(availability().await, before, "a mailbox that is changed stays as closed as it was");
    let words =
        world.fails(1, &["mailbox", "add", "hr@contoso.example", "--type", "personnel", "--all"]).await;
    assert!(words.contains("A Personnel mailbox cannot be available to all"), "{words}");
}

#[tokio::test]
async fn the_first_password_is_shown_once_and_not_used_up_by_a_start_that_fails() {
    let world = World::new().await;
    world.ok(&["user", "add", "orderdesk"]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = world.fails(1, &["serve", "--listen", &address]).await;
    assert!(words.contains(&format!("listen on {address}")), "{words}");
    let mut server = world.serve().await;
    let file = world.path("data/first-password");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let password = std::fs::read_to_string(&file).unwrap();
    assert!(!server.process.log().contains(password.trim()), "the log keeps what it is told");
    let login = world.http.post(format!("{}/login", server.url));
    let login = login.header("origin", &server.url).header("sec-fetch-site", "same-origin");
    let answer = login.form(&[("name", "admin"), ("password", password.trim())]).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 303);
    assert_eq!(server.process.terminate(), Some(0));
}
