use postroom_entra::http::{HttpSettings, ProxySettings, client};
use postroom_ews::Autodiscover;
use serde_json::json;

use crate::stub::{Reply, Stub};

async fn asked(stub: &Stub) -> Result<String, String> {
    let settings = HttpSettings { proxy: ProxySettings::default(), ..HttpSettings::default() };
    let autodiscover = Autodiscover::at(client(&settings).unwrap(), stub.url.clone());
    let found = autodiscover.ews("orders@contoso.example").await;
    found.map(|url| url.to_string()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn redirects_are_followed_without_a_credential_and_counted() {
    let there = Stub::start(|seen| {
        assert!(seen.header("authorization").is_empty());
        match seen.target.as_str() {
            "/autodiscover/autodiscover.json/v1.0/orders@contoso.example?Protocol=EWS" => {
                Reply::empty(302).with("location", "/elsewhere?Protocol=EWS")
            }
            "/elsewhere?Protocol=EWS" => Reply::json(
                200,
                &json!({"Protocol":"EWS","Url":"https://mail.contoso.example/EWS/Exchange.asmx"}),
            ),
            other => panic!("{other}"),
        }
    })
    .await;
    assert_eq!(asked(&there).await, Ok("https://mail.contoso.example/EWS/Exchange.asmx".to_owned()));

    let round = Stub::start(|_| Reply::empty(302).with("location", "/again")).await;
    assert!(asked(&round).await.unwrap_err().contains("not followed"));
    assert_eq!(round.lines().len(), 11);
}

#[tokio::test]
async fn what_is_not_https_or_no_answer_of_autodiscover_is_refused() {
    for (reply, words) in [
        (Reply::empty(302).with("location", "http://mail.contoso.example/"), "http://mail.contoso.example/"),
        (Reply::json(200, &json!({"Url":"http://mail.contoso.example/EWS/Exchange.asmx"})), "not JSON"),
        (Reply::json(200, &json!({"Protocol":"EWS"})), "not JSON"),
        (Reply::text(200, "<html></html>"), "not JSON"),
        (Reply::text(200, &"x".repeat(70_000)), "not JSON"),
        (
            Reply::json(404, &json!({"ErrorCode":"UserNotFound","ErrorMessage":"no such user"})),
            "404 UserNotFound no such user",
        ),
    ] {
        let stub = Stub::start(move |_| reply.clone()).await;
        let said = asked(&stub).await.unwrap_err();
        assert!(said.contains(words), "{said}");
    }
}
