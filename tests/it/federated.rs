//! Signing in with another identity provider's token: a second tenant issues it, the first one trusts it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::World;

/// An identity token of a user of `world`, with its claims.
async fn identity_token(world: &World) -> (String, Value) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let url =
        format!("{}/{}/oauth2/v2.0/token", text(&world.ready["authority"]), text(&world.ready["tenant_id"]));
    let form = [
        ("grant_type", "password".to_owned()),
        ("client_id", "14d82eec-204b-4c2f-b7e8-296a70dab67e".to_owned()),
        ("scope", "openid profile".to_owned()),
        ("username", text(&world.ready["admin"]["user"])),
        ("password", text(&world.ready["admin"]["password"])),
    ];
    let answer: Value = world.http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
    let token =
        answer["id_token"].as_str().unwrap_or_else(|| panic!("no identity token: {answer}")).to_owned();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    (token, serde_json::from_slice(&claims).unwrap())
}

#[tokio::test]
async fn a_token_of_another_provider_signs_in_where_issuer_subject_and_audience_are_expected() {
    let world = World::new().await;
    let provider = World::new().await;
    let (token, claims) = identity_token(&provider).await;
    let file = world.path("workload-token");
    std::fs::write(&file, &token).unwrap();
    world.connect_by("federated", &format!("file:{}", file.display())).await;
    world.ok(&["mailbox", "add", "orders@contoso.example", "--type", "customer-order"]).await;

    let before = world.run(&["check", "--json"]).await;
    let report: Value = serde_json::from_slice(&before.stdout).unwrap();
    let rung =
        report["rungs"].as_array().unwrap().iter().find(|rung| rung["name"] == "token").unwrap().clone();
    assert_ne!(rung["verdict"], "pass", "nobody trusts that provider yet: {rung}");
    assert!(rung["got"].as_str().unwrap().contains("AADSTS70021"), "{rung}");

    let trust = json!({
        "name": "workload", "issuer": claims["iss"], "subject": claims["sub"], "audiences": [claims["aud"]],
    });
    world.trust(&trust).await;
    let told = world
        .ok(&["check", "--sender", "orders@contoso.example", "--recipient", "orders@contoso.example"])
        .await;
    assert!(told.trim_end().ends_with("OK!"), "{told}");

    std::fs::remove_file(&file).unwrap();
    let words = world.run(&["check"]).await;
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("workload-token"), "the file that is missing is named: {words}");
}
