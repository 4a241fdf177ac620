//! Batches, and the budget for uploads. Subscriptions are tested through the client, in the transport's tests.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{MAIL, World, answer, code};

const AT: &str = "u1@contoso.example";

#[tokio::test]
async fn a_batch_answers_each_request_for_itself() {
    let world = World::new().await;
    let token = world.token_with(MAIL).await;
    world.deliver(AT, "Subject: one\r\nFrom: ann@fabrikam.example\r\n\r\nHello").await;
    let inbox = format!("/users/{AT}/mailFolders/inbox/messages?$select=subject");
    world.fault(json!({"path_contains": "drafts", "status": 429, "retry_after": 9})).await;
    let batch = json!({"requests": [
        {"id": "a", "method": "GET", "url": inbox, "headers": {"Prefer": "IdType=\"ImmutableId\""}},
        {"id": "b", "method": "get", "url": format!("users/{AT}/mailFolders/drafts/messages")},
        {"id": "c", "method": "GET", "url": format!("/users/{AT}/mailFolders/inbox"), "dependsOn": ["b"]},
        {"id": "d", "method": "POST", "url": format!("/users/{AT}/mailFolders"),
         "headers": {"Content-Type": "application/json"}, "body": {"displayName": "Imported"}, "dependsOn": ["a"]},
        {"id": "e", "method": "GET", "url": "/nowhere"}]});
    let (status, body) = world.call(&token, Method::POST, "/v1.0/$batch", batch).await;
    assert_eq!(status, 200, "{body}");
    let one =
        |id: &str| body["responses"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap().clone();
    assert_eq!((&one("a")["status"], &one("a")["body"]["value"][0]["subject"]), (&json!(200), &json!("one")));
    assert_eq!(one("a")["headers"]["Preference-Applied"], "IdType=\"ImmutableId\"");
    assert_eq!((&one("b")["status"], &one("b")["headers"]["Retry-After"]), (&json!(429), &json!("9")));
    let statuses = ["c", "d", "e"].map(|id| one(id)["status"].as_u64().unwrap());
    assert_eq!(statuses, [424, 201, 400]);

    let many: Vec<Value> =
        (0..21).map(|id| json!({"id": id.to_string(), "method": "GET", "url": inbox})).collect();
    let twice =
        json!([{"id": "1", "method": "GET", "url": inbox}, {"id": "1", "method": "GET", "url": inbox}]);
    for wrong in
        [json!(many), twice, json!([]), json!([{"id": "1", "method": "GET", "url": "https://x.example/"}])]
    {
        let (status, _) = world.call(&token, Method::POST, "/v1.0/$batch", json!({"requests": wrong})).await;
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn each_request_of_a_batch_counts_against_the_limits() {
    let world = World::with(|options| options.limits.requests_per_ten_minutes = 3).await;
    let token = world.token_with(MAIL).await;
    let one =
        |id: u32| json!({"id": id.to_string(), "method": "GET", "url": format!("/users/{AT}/messages")});
    let batch = json!({"requests": (0..5).map(one).collect::<Vec<_>>()});
    let (_, body) = world.call(&token, Method::POST, "/v1.0/$batch", batch).await;
    let answers = body["responses"].as_array().unwrap();
    assert_eq!(answers.iter().filter(|one| one["status"] == 429).count(), 2, "{body}");
}

#[tokio::test]
async fn uploads_have_a_budget_of_five_minutes() {
    let world = World::with(|options| options.limits.upload_per_five_minutes = 10_000).await;
    let token = world.token_with(MAIL).await;
    let path = "/v1.0/users/orders@contoso.example/messages";
    let draft =
        |size: usize| json!({"subject": "s", "body": {"contentType": "text", "content": "x".repeat(size)}});
    assert_eq!(world.call(&token, Method::POST, path, draft(6_000)).await.0, 201);
    let refused = world.request(&token, Method::POST, path).json(&draft(6_000)).send().await.unwrap();
    let wait: i64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let (status, body) = (refused.status().as_u16(), refused.json::<Value>().await.unwrap());
    assert_eq!((status, code(&body)), (429, "ApplicationThrottled"));
    assert!((1..=300).contains(&wait));
    assert_eq!(answer(world.request(&token, Method::GET, path)).await.0, 200, "reading is not uploading");
    world.clock.advance(jiff::SignedDuration::from_secs(wait));
    assert_eq!(world.call(&token, Method::POST, path, draft(6_000)).await.0, 201);
}
