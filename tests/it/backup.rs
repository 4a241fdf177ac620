//! Backup and restore by command line, while the server accepts, sends and collects.

use crate::harness::{World, confirmation, eventually};

#[tokio::test]
async fn a_backup_of_a_working_server_is_restored_elsewhere_and_nothing_is_sent_twice() {
    let world = World::new().await;
    world.connect().await;
    let key = world.api_key("erp").await;
    let server = world.serve().await;
    let mut accepted = Vec::new();
    for number in 0..5 {
        let (status, message) = server.submit(&key, None, &confirmation(number)).await;
        assert_eq!(status, 202, "{message}");
        accepted.push((
            message["id"].as_str().unwrap().to_owned(),
            message["message_id"].as_str().unwrap().to_owned(),
        ));
    }
    let (to, elsewhere) = (world.path("backup"), world.path("elsewhere"));
    let (to, elsewhere) = (to.to_str().unwrap(), elsewhere.to_str().unwrap());
    let output = world.run(&["backup", to]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("the key is not in it"), "{said}");
    // The installation goes on after its backup: all are sent.
    for (id, _) in &accepted {
        server.reaches(&key, id, "sent").await;
    }
    drop(server);

    let words = world.fails(1, &["restore", to]).await;
    assert!(words.contains("is not empty"), "the data folder is in use: {words}");
    let said = world.run(&["--data", elsewhere, "restore", to]).await;
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let key_file = std::path::Path::new(elsewhere).join("postroom.key");
    let words = world.fails(1, &["--data", elsewhere, "outbox", "list"]).await;
    assert!(words.contains("key"), "without its key it is not opened: {words}");
    std::fs::copy(world.path("data").join("postroom.key"), key_file).unwrap();
    let mut command = world.command();
    command.args(["--data", elsewhere]);
    let server = world.serve_with(command).await;
    for (id, message_id) in &accepted {
        server.reaches(&key, id, "sent").await;
        eventually("it left once", async || (world.left(message_id).await == 1).then_some(())).await;
    }
    let janitor = world.ok(&["--data", elsewhere, "janitor", "--dry-run"]).await;
    assert_eq!(janitor.trim(), "would remove 0 raw messages that nothing names (0 bytes)");
}
