//! Old mail counted, taken and marked; processed mail marked at the provider; provider and store compared.

use serde_json::Value;

use crate::harness::{World, answer, eventually};

const ORDERS: &str = "orders@contoso.example";

fn mail(number: u32) -> Vec<u8> {
    format!(
        "Message-ID: <{number}@fabrikam.example>\r\nFrom: ann@fabrikam.example\r\nTo: {ORDERS}\r\nSubject: Order {number}\r\n\r\nHello\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn old_mail_is_counted_before_it_is_chosen_and_processed_mail_is_marked_at_the_provider() {
    let world = World::new().await;
    world.connect().await;
    for number in 1..=3 {
        world.deliver(ORDERS, &mail(number)).await;
    }
    let told = world.ok(&["mailbox", "old-mail", ORDERS, "--connection", "Contoso 365"]).await;
    assert!(told.contains("3 messages wait; the oldest was received on "), "{told}");
    let wrong = ["mailbox", "add", ORDERS, "--type", "customer-order", "--old-mail", "some"];
    assert!(world.fails(2, &wrong).await.contains("neither none, nor all, nor a date"));
    let right = ["mailbox", "add", ORDERS, "--type", "customer-order", "--old-mail", "all"];
    world.ok(&[right.as_slice(), &["--after-processing", "mark-read"]].concat()).await;
    let key = world.api_key("erp").await;
    let server = world.serve().await;
    let settled = eventually("every mail is marked", || async {
        let list = world.http.get(format!("{}/api/v1/mailboxes", server.url)).bearer_auth(&key);
        let (status, answer) = answer(list).await;
        assert_eq!(status, 200, "{answer}");
        let validated = world.ok(&["mailbox", "validate", ORDERS]).await;
        validated.contains("3 messages, 0 unread").then_some(answer)
    })
    .await;
    let mailbox = &settled["mailboxes"][0];
    assert_eq!((&mailbox["address"], &mailbox["after_processing"]), (&ORDERS.into(), &"mark-read".into()));
    assert_eq!((&mailbox["old_mail"], &mailbox["backlog"]), (&"all".into(), &Value::Null));
    let inbox: Value = serde_json::from_str(&world.ok(&["inbox", "list", "--json"]).await).unwrap();
    let is_old: Vec<_> = inbox.as_array().unwrap().iter().map(|one| one["is_old"].clone()).collect();
    assert_eq!(is_old.len(), 3, "{inbox}");
    let compared = world.ok(&["mailbox", "reconcile", ORDERS]).await;
    assert!(compared.contains("none is missing"), "{compared}");
}
