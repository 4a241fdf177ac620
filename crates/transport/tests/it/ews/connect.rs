use postroom_ews::wire::*;
use postroom_model::credential::CredentialKind;
use postroom_model::failure::{Decision, Failure};
use postroom_transport::{Account, CredentialOffice, Opening, Presented};

use super::{exchange, fault, found, ok, on_premises, online, says, source};
use crate::certificate::certificate;
use crate::stub::{Reply, Stub};
use crate::{FROM, SECRET, address, connection, graph, wire};

fn inbox() -> Reply {
    let properties = FolderProperties { total: Some(12), unread: Some(3), ..FolderProperties::default() };
    let folders = vec![Folder { kind: FolderKind::Folder, properties }];
    says(Response::GetFolder(ok(Folders { folders })))
}

fn basic(text: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

#[tokio::test]
async fn an_application_acts_for_the_mailbox_and_a_user_opens_its_folder() {
    let stub = exchange(|request, _| match request {
        Request::GetFolder(_) => inbox(),
        _ => found(&[]),
    })
    .await;
    let said = source(&stub).probe().await.unwrap();
    assert_eq!(said, format!("Inbox of {FROM} opened: 12 messages, 3 unread."));
    let seen = stub.seen().pop().unwrap();
    let header = parse_request(seen.body.as_bytes()).unwrap().header;
    assert_eq!(header.impersonation.unwrap().who, ConnectingSid::PrimarySmtpAddress(FROM.into()));
    assert_eq!((seen.header("authorization"), seen.header("x-anchormailbox")), ("Bearer T1", FROM));
    assert!(
        !seen.header("client-request-id").is_empty() && seen.header("user-agent").starts_with("Postroom/")
    );
    assert!(!seen.body.contains("<t:EmailAddress>"));

    for (account, user) in [
        (Account::of(address(FROM)), "CONTOSO\\service:one"),
        (
            Account {
                user_name: "orders".into(),
                password: Some("two".to_owned().into()),
                ..Account::of(address(FROM))
            },
            "orders:two",
        ),
    ] {
        let source = wire().source_for(&on_premises(&stub), Some("one".to_owned().into()), &account).unwrap();
        source.probe().await.unwrap();
        let seen = stub.seen().pop().unwrap();
        assert_eq!(seen.header("authorization"), basic(user));
        assert_eq!(parse_request(seen.body.as_bytes()).unwrap().header.impersonation, None);
        assert!(seen.body.contains(&format!("<t:EmailAddress>{FROM}</t:EmailAddress>")));
    }
}

#[tokio::test]
async fn a_password_is_not_sent_without_one() {
    let stub = exchange(|_, _| panic!("asked")).await;
    let account = Account::of(address(FROM));
    let mut settings = on_premises(&stub);
    let failure = wire().source_for(&settings, None, &account).err().unwrap();
    assert_eq!(failure.words, "Password is missing");
    settings.user_name = String::new();
    let failure = wire().sender_for(&settings, None).err().unwrap();
    assert_eq!(failure.words, "User name is missing");
}

async fn refused(reply: Reply) -> Failure {
    let stub = graph(move |_| reply.clone()).await;
    let failure = source(&stub).probe().await.unwrap_err();
    assert!(!format!("{failure:?}").contains(SECRET));
    failure
}

#[tokio::test]
async fn a_policy_over_ews_leads_to_microsoft_graph() {
    for reason in
        ["EWS is disabled for this user or tenant", "EWS is blocked by policy for this user or tenant"]
    {
        let failure = refused(Reply::empty(403).with("x-ews-policy-reason", reason)).await;
        assert_eq!((failure.words.as_str(), failure.decision()), (reason, Decision::Hold));
        let advice = failure.advice.unwrap();
        assert!(advice.contains("`postroom connection migrate \"Contoso mail\" --to graph`"), "{advice}");
        assert!(advice.contains("Set-OrganizationConfig"), "{advice}");
    }
    let failure = refused(Reply::empty(403)).await;
    assert!(!failure.advice.unwrap().contains("migrate"));
}

#[tokio::test]
async fn answers_that_are_none_of_ews_are_told_apart() {
    let retry = Decision::Retry { after: None };
    let diagnosis =
        "2000003;reason=\"The audience claim value is invalid\";error_category=\"invalid_resource\"";
    for (reply, words, decision) in [
        (
            Reply::empty(401).with("x-ms-diagnostics", diagnosis),
            "The audience claim value is invalid",
            Decision::Hold,
        ),
        (Reply::empty(302).with("location", "/ews/genericerrorpage.htm"), "error page", retry),
        (
            Reply::empty(302).with("location", "https://sso.contoso.example/"),
            "redirects to https://sso.",
            Decision::Hold,
        ),
        (Reply::empty(440), "timed out", Decision::Hold),
        (Reply::empty(456), "blocked", Decision::Hold),
        (Reply::text(200, "<html>captive portal</html>"), "no SOAP envelope", retry),
        (Reply::text(502, "<html>Bad Gateway</html>"), "Bad Gateway", retry),
    ] {
        let failure = refused(reply).await;
        assert!(failure.words.contains(words), "{failure}");
        assert_eq!(failure.decision(), decision, "{failure}");
    }
    let seconds = |failure: Failure| match failure.decision() {
        Decision::Retry { after } => after.map(|after| after.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!(seconds(refused(Reply::empty(503).with("retry-after", "17")).await), Some(17));
    assert_eq!(seconds(refused(fault("ErrorServerBusy", Some("297749"))).await), Some(297));
}

#[tokio::test]
async fn a_server_that_only_speaks_ntlm_is_recognised() {
    let stub = Stub::start(|_| {
        Reply::empty(401).with("www-authenticate", "Negotiate").with("www-authenticate", "NTLM")
    })
    .await;
    let account = Account::of(address(FROM));
    let source = wire().source_for(&on_premises(&stub), Some("one".to_owned().into()), &account).unwrap();
    let failure = source.probe().await.unwrap_err();
    assert_eq!(failure.decision(), Decision::Hold);
    assert!(failure.advice.unwrap().contains("Set-WebServicesVirtualDirectory"));
}

#[tokio::test]
async fn where_there_is_no_ews_the_address_that_autodiscover_names_is_told() {
    let stub = Stub::start(|seen| match seen.line().split_once("autodiscover.json") {
        Some(("GET /autodiscover/", address)) => {
            assert_eq!(seen.header("authorization"), "");
            assert_eq!(address, "/v1.0/orders%40contoso.example".replace("%40", "@"));
            let url = "https://mail.contoso.example/EWS/Exchange.asmx";
            Reply::json(200, &serde_json::json!({"Protocol":"EWS","Url":url,"ServerLocation":"x"}))
        }
        _ => Reply::empty(404),
    })
    .await;
    let account = Account::of(address(FROM));
    let source = wire().source_for(&on_premises(&stub), Some("one".to_owned().into()), &account).unwrap();
    let advice = source.probe().await.unwrap_err().advice.unwrap();
    assert!(advice.contains("https://mail.contoso.example/EWS/Exchange.asmx"), "{advice}");
}

#[tokio::test]
async fn autodiscover_follows_to_no_server_whose_certificate_is_not_valid() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    for (name, trusted) in [("127.0.0.1", true), ("127.0.0.1", false), ("mail.contoso.example", true)] {
        let shown = certificate(&[name]);
        let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown.der.clone().into()], shown.key.clone().try_into().unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.ok()?;
            let mut asked = vec![0; 4_096];
            let read = stream.read(&mut asked).await.ok().filter(|read| *read > 0)?;
            let body = r#"{"Url":"https://mail.contoso.example/EWS/Exchange.asmx"}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.ok()?;
            stream.shutdown().await.ok()?;
            Some(String::from_utf8_lossy(&asked[..read]).into_owned())
        });
        let to = format!("https://127.0.0.1:{port}/");
        let stub = Stub::start(move |_| Reply::empty(302).with("location", &to)).await;
        let mut http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        if trusted {
            http = http.tls_certs_only([reqwest::Certificate::from_der(&shown.authority).unwrap()]);
        }
        let autodiscover =
            postroom_ews::Autodiscover::at(http.build().unwrap(), stub.url.clone()).reaching_inside(true);
        let found = autodiscover.ews(FROM).await;
        let asked = server.await.unwrap();
        if trusted && name == "127.0.0.1" {
            assert_eq!(found.unwrap().host_str(), Some("mail.contoso.example"));
            assert!(!asked.unwrap().to_ascii_lowercase().contains("authorization"));
        } else {
            assert_eq!(found.unwrap_err().to_string(), "Autodiscover: no answer", "{name} {trusted}");
            assert_eq!(asked, None, "nothing was asked: {name} {trusted}");
        }
    }
}

#[tokio::test]
async fn after_a_401_a_new_token_is_taken_once() {
    let stub = Stub::start(|seen| match seen.target.ends_with("/oauth2/v2.0/token") {
        true => Reply::json(200, &serde_json::json!({"expires_in":3600,"access_token":"T1"})),
        false => Reply::empty(401),
    })
    .await;
    let account = Account::of(address(FROM));
    let source = wire().source_for(&online(&stub), Some(SECRET.to_owned().into()), &account).unwrap();
    assert_eq!(source.probe().await.unwrap_err().status, Some(401));
    let lines = stub.lines();
    assert_eq!(lines.iter().filter(|line| line.ends_with("Exchange.asmx")).count(), 2);
    assert_eq!(lines.iter().filter(|line| line.ends_with("token")).count(), 2);
    let asked = stub.seen().into_iter().find(|seen| seen.target.ends_with("token")).unwrap();
    assert!(asked.body.contains("outlook.office365.com"), "{}", asked.body);
}

#[tokio::test]
async fn a_credential_is_tried_and_a_scope_is_watched_through_ews() {
    let refusal = |code: &'static str| fault(code, None);
    let policy = Reply::empty(403).with("x-ews-policy-reason", "EWS is disabled for this user or tenant");
    for (reply, expected) in [
        (inbox(), Some(Opening::Opens)),
        (refusal("ErrorImpersonateUserDenied"), Some(Opening::Refused)),
        (Reply::empty(403), Some(Opening::Refused)),
        (refusal("ErrorNonExistentMailbox"), Some(Opening::NoSuchMailbox)),
        (policy, None),
        (Reply::empty(503), None),
    ] {
        let stub = exchange(move |_, _| reply.clone()).await;
        let opened = wire().opens(&connection(online(&stub)), &address(FROM)).await;
        assert_eq!(opened.ok(), expected);
    }
    let stub = exchange(|request, _| match request {
        Request::GetFolder(_) => inbox(),
        _ => found(&[]),
    })
    .await;
    let secret = SECRET.to_owned().into();
    let presented = Presented { kind: CredentialKind::ClientSecret, secret: &secret };
    let said = wire().test(&connection(online(&stub)), presented, Some(&address(FROM))).await.unwrap();
    assert!(said.contains("12 messages"), "{said}");
}
