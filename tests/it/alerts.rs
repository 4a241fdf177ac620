//! Warnings by mail: each threshold of a credential's life is one mail in the administrator's mailbox.

use postroom_model::Timestamp;
use serde_json::{Value, json};

use crate::credential::graph;
use crate::harness::{World, answer as answer_of, eventually};

/// Subjects of the warnings that arrived, with the header that marks them.
async fn arrived(world: &World, token: &str) -> Vec<(String, Value)> {
    let path = "users/service@contoso.example/mailFolders/inbox/messages?$select=subject,internetMessageHeaders&$top=50";
    let list = graph(world, token, path, None).await["value"].clone();
    let mut found = Vec::new();
    for message in list.as_array().unwrap() {
        let headers = message["internetMessageHeaders"].as_array().cloned().unwrap_or_default();
        let mark = headers.iter().find(|one| one["name"] == "Auto-Submitted");
        let mark = mark.map(|one| one["value"].clone()).unwrap_or_default();
        found.push((message["subject"].as_str().unwrap_or_default().to_owned(), mark));
    }
    found
}

#[tokio::test]
async fn one_mail_for_each_threshold_arrives_in_the_administrators_mailbox() {
    let world = World::new().await;
    let text = |name: &str| world.ready[name].as_str().unwrap().to_owned();
    let address = format!("{}/{}/oauth2/v2.0/token", text("authority"), text("tenant_id"));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &world.application_id),
        ("client_secret", &world.secret),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let answer: Value = world.http.post(address).form(&form).send().await.unwrap().json().await.unwrap();
    let token = answer["access_token"].as_str().unwrap().to_owned();
    let clock = world.http.post(format!("{}/_sandbox/clock", text("graph")));
    let (_, clock) = answer_of(clock.json(&json!({"advance_seconds": 0}))).await;
    let now: Timestamp = clock["now"].as_str().unwrap().parse().unwrap();
    let server = || {
        let mut command = world.command();
        // A renewal that cannot go on is a warning of its own.
        command.env("POSTROOM_CREDENTIALS_RENEW", "false");
        command.env("POSTROOM_ALERTS_MAIL_TO", "service@contoso.example");
        command.env("POSTROOM_ALERTS_MAIL_FROM", "orders@contoso.example");
        command
    };
    let days_and_words =
        [(55, "55 days"), (25, "25 days"), (12, "12 days"), (6, "6 days"), (1, "within one day")];
    for (count, (days, words)) in days_and_words.into_iter().enumerate() {
        world.connect().await;
        // Postroom's own clock is not moved: the credential's end comes nearer instead.
        let end = Timestamp::from_second(now.as_second() + days * 86_400 - 3_600).unwrap().to_string();
        let file = world.path("secret.txt");
        let save = ["connection", "save", "--name", "Contoso 365", "--secret-file", file.to_str().unwrap()];
        world.ok(&[save.as_slice(), &["--secret-expires", &end]].concat()).await;
        for again in [false, true] {
            let process = world.serve_with(server()).await;
            let found = eventually("the warning arrives", || async {
                let found = arrived(&world, &token).await;
                (found.len() > count).then_some(found)
            })
            .await;
            assert_eq!(found.len(), count + 1, "again: {again}; {found:?}\n{}", process.process.log());
            assert!(found.iter().any(|(subject, _)| subject.contains(words)), "{words}: {found:?}");
            assert!(found.iter().all(|(_, mark)| mark == "auto-generated"), "{found:?}");
        }
    }
    let mut half = world.command();
    half.env("POSTROOM_ALERTS_MAIL_TO", "service@contoso.example").args(["config", "check"]);
    let output = half.output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && words.contains("mail_from is missing"), "{words}");
}
