use postroom_entra::http::{HttpSettings, ProxySettings, client};
use postroom_ews::Autodiscover;
use serde_json::json;

use crate::stub::{Reply, Stub};

async fn asked(stub: &Stub) -> Result<String, String> {
    ask(stub, false).await
}

async fn ask(stub: &Stub, inside: bool) -> Result<String, String> {
    let settings = HttpSettings { proxy: ProxySettings::default(), ..HttpSettings::default() };
    let autodiscover = Autodiscover::at(client(&settings).unwrap(), stub.url.clone()).reaching_inside(inside);
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

#[tokio::test]
async fn nobody_is_sent_to_this_machine_or_into_a_private_network_unless_the_server_was_configured_there() {
    let found = json!({"Url": "https://mail.contoso.example/EWS/Exchange.asmx"});
    let inside = Stub::start(move |_| Reply::json(200, &found)).await;
    let to = inside.url.to_string();
    let server = Stub::start(move |_| Reply::empty(302).with("location", &to)).await;
    let said = asked(&server).await.unwrap_err();
    assert!(said.contains(inside.url.as_str()) && said.contains("not followed"), "{said}");
    assert!(inside.lines().is_empty(), "it was not asked at all");
    let mail = "https://mail.contoso.example/EWS/Exchange.asmx";
    assert_eq!(ask(&server, true).await, Ok(mail.to_owned()));
    assert_eq!(inside.lines().len(), 1);

    for place in [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://mail.localhost/",
        "https://10.1.2.3/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://2130706433/",
        "https://user:password@mail.contoso.example/",
        "ftp://mail.contoso.example/",
    ] {
        let server = Stub::start(move |_| Reply::empty(302).with("location", place)).await;
        let said = asked(&server).await.unwrap_err();
        assert!(said.contains("not followed"), "{place}: {said}");
        let server = Stub::start(move |_| Reply::json(200, &json!({"Url": place}))).await;
        assert!(asked(&server).await.unwrap_err().contains("not JSON"), "{place} is not named to a person");
    }
}
