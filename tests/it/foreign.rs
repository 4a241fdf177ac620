//! The messages that CPython ships as test data of its `email` package, through the whole way.

use std::process::Command;

use serde_json::Value;

use crate::harness::{World, eventually};

#[tokio::test]
#[ignore = "needs CPython's test data; run by cargo xtask test"]
async fn every_message_of_cpythons_test_data_is_collected_and_shown() {
    let find =
        "import test.test_email, os; print(os.path.join(os.path.dirname(test.test_email.__file__), 'data'))";
    let folder = Command::new("python3").args(["-c", find]).output().unwrap();
    let folder = String::from_utf8(folder.stdout).unwrap();
    let mut files: Vec<_> = std::fs::read_dir(folder.trim())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 40, "{} files in {folder}", files.len());
    let world = World::new().await;
    world.connect().await;
    world.ok(&["user", "add", "orderdesk"]).await;
    world.ok(&["mailbox", "add", "orders@contoso.example", "--type", "customer-order"]).await;
    for file in &files {
        world.deliver("orders@contoso.example", &std::fs::read(file).unwrap()).await;
    }
    let server = world.serve().await;
    let listed = eventually("every message is processed", || async {
        let listed = world.ok(&["inbox", "--user", "orderdesk", "--json", "--limit", "500"]).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        (listed.as_array().unwrap().len() == files.len()).then_some(listed)
    })
    .await;
    for message in listed.as_array().unwrap() {
        assert_eq!(message["state"], "processed", "{message}");
        let shown =
            world.run(&["inbox", "show", message["id"].as_str().unwrap(), "--user", "orderdesk"]).await;
        assert!(shown.status.success(), "{message}: {}", String::from_utf8_lossy(&shown.stderr));
    }
    drop(server);
}
