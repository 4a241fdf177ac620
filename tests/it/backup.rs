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
    let to = world.path("backup");
    let to = to.to_str().unwrap();
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
    let elsewhere = |arguments: &[&str]| {
        let output = world.command_on("elsewhere").args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, _, said) = elsewhere(&["restore", to]);
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = elsewhere(&["outbox"]);
    assert!(code == Some(1) && said.contains("key"), "without its key it is not opened: {said}");
    std::fs::copy(world.path("data").join("postroom.key"), world.path("elsewhere").join("postroom.key"))
        .unwrap();
    let server = world.serve_with(world.command_on("elsewhere")).await;
    for (id, message_id) in &accepted {
        server.reaches(&key, id, "sent").await;
        eventually("it left once", async || (world.left(message_id).await == 1).then_some(())).await;
    }
    let (_, said, _) = elsewhere(&["janitor", "--dry-run"]);
    assert_eq!(said.trim(), "would remove 0 raw messages that nothing names (0 bytes)");
}
