//! Tokens: what they hold, and every refusal with its status and number.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{GRAPH_SCOPE, TOOLS, World, days, text};

fn claims(token: &Value) -> Value {
    jsonwebtoken::dangerous::insecure_decode::<Value>(token.as_str().unwrap()).unwrap().claims
}

fn number(body: &Value) -> u64 {
    body["error_codes"][0].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn an_application_token_names_the_granted_roles_and_is_signed_by_the_published_key() {
    let world = World::new().await;
    let app = world.app(&["Mail.Send", "Mail.ReadWrite"]).await;
    let form = [("grant_type", "client_credentials"), ("scope", GRAPH_SCOPE)];
    let url = world.url("/contoso.example/oauth2/v2.0/token?dc=ESTS-PUB-SANDBOX");
    let request =
        world.client.post(url).basic_auth(&app.id, Some(&app.secret.replace('~', "%7E"))).form(&form);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store, no-cache");
    let body: Value = response.json().await.unwrap();
    let lifetime = body["expires_in"].as_i64().unwrap();
    assert!((3599..5399).contains(&lifetime), "{lifetime}");
    let claims = claims(&body["access_token"]);
    assert_eq!(claims["roles"], json!(["Mail.Send", "Mail.ReadWrite"]));
    assert_eq!(claims["aud"], "https://graph.microsoft.com");
    assert_eq!(claims["iss"], format!("https://sts.windows.net/{}/", world.tenant()));
    assert_eq!(claims["oid"], app.principal);
    assert!(claims["exp"].as_i64().unwrap() > 1_795_428_000);

    let discovery: Value = world.get("", "/contoso.example/v2.0/.well-known/openid-configuration").await;
    assert_eq!(discovery["issuer"], world.url(&format!("/{}/v2.0", world.tenant())));
    let keys: Value =
        world.client.get(text(&discovery["jwks_uri"])).send().await.unwrap().json().await.unwrap();
    let key = &keys["keys"][0];
    let key = jsonwebtoken::DecodingKey::from_rsa_components(&text(&key["n"]), &text(&key["e"])).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    rules.validate_exp = false;
    rules.validate_aud = false;
    jsonwebtoken::decode::<Value>(body["access_token"].as_str().unwrap(), &key, &rules).unwrap();
}

#[tokio::test]
async fn without_a_grant_the_roles_claim_is_absent() {
    let world = World::new().await;
    let app = world.app(&[]).await;
    let token = world.app_token(&app).await;
    assert!(claims(&json!(token)).get("roles").is_none());
}

#[tokio::test]
async fn the_administrator_signs_in_and_gets_scopes_and_the_directory_role() {
    let world = World::new().await;
    let claims = claims(&json!(world.admin));
    assert_eq!(
        claims["scp"],
        "Application.ReadWrite.All AppRoleAssignment.ReadWrite.All User.ReadWrite.All Directory.ReadWrite.All"
    );
    assert_eq!(claims["wids"], json!(["62e90394-69f5-4237-9190-012177145e10"]));
    assert_eq!(claims["upn"], "admin@contoso.example");
}

#[tokio::test]
async fn every_refusal_has_the_status_and_number_of_entra() {
    let world = World::new().await;
    let app = world.app(&[]).await;
    let (id, secret) = (app.id.as_str(), app.secret.as_str());
    let good = [
        ("grant_type", "client_credentials"),
        ("client_id", id),
        ("client_secret", secret),
        ("scope", GRAPH_SCOPE),
    ];
    let changed = |name: &str, value: Option<&'static str>| -> Vec<(String, String)> {
        let kept =
            good.iter().filter(|(key, _)| *key != name).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        kept.chain(value.map(|value| (name.to_owned(), value.to_owned()))).collect()
    };
    let ours = world.tenant().to_owned();
    let other = "11111111-2222-4333-8444-555555555555";
    type Case<'a> = (&'a str, Vec<(String, String)>, u16, &'static str, u64);
    let cases: [Case<'_>; 16] = [
        (&ours, changed("grant_type", None), 400, "invalid_request", 900_144),
        (&ours, changed("client_id", None), 400, "invalid_request", 900_144),
        (&ours, changed("scope", None), 400, "invalid_request", 900_144),
        (&ours, changed("grant_type", Some("implicit")), 400, "unsupported_grant_type", 70_003),
        (other, changed("", None), 400, "invalid_request", 90_002),
        ("fabrikam.example", changed("", None), 400, "invalid_request", 90_002),
        ("no tenant", changed("", None), 400, "invalid_request", 900_023),
        ("common", changed("", None), 400, "invalid_request", 50_059),
        (&ours, changed("client_id", Some(other)), 400, "unauthorized_client", 700_016),
        (&ours, changed("client_secret", None), 401, "invalid_client", 7_000_218),
        (&ours, changed("client_secret", Some("wrong")), 401, "invalid_client", 7_000_215),
        (
            &ours,
            changed("scope", Some("https://graph.microsoft.com/Mail.Send")),
            400,
            "invalid_scope",
            1_002_012,
        ),
        (
            &ours,
            changed("scope", Some("https://a.example/.default https://b.example/.default")),
            400,
            "invalid_scope",
            1_002_012,
        ),
        (&ours, changed("scope", Some("/.default")), 400, "invalid_scope", 70_011),
        (
            &ours,
            changed("scope", Some("https://graph.microsoft.us/.default")),
            400,
            "invalid_resource",
            500_011,
        ),
        (&ours, changed("client_id", Some(TOOLS)), 400, "unauthorized_client", 700_016),
    ];
    for (tenant, form, status, error, expected) in cases {
        let form: Vec<(&str, &str)> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let (got, body) = world.ask(tenant, &form).await;
        assert_eq!(
            (got.as_u16(), body["error"].as_str(), number(&body)),
            (status, Some(error), expected),
            "{body}"
        );
        let start = format!("AADSTS{expected}: ");
        assert!(body["error_description"].as_str().unwrap().starts_with(&start), "{body}");
        assert_eq!(body["error_uri"], world.url(&format!("/error?code={expected}")));
        assert_eq!(body["timestamp"], "2026-11-23 10:00:00Z");
    }
}

#[tokio::test]
async fn an_expired_secret_and_a_secret_id_are_told_apart() {
    let world = World::new().await;
    let app = world.app(&[]).await;
    let path = format!("/v1.0/applications/{}", app.object);
    let listed = world.get(&world.admin, &path).await;
    let ask = async |secret: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", app.id.as_str()),
            ("client_secret", secret),
            ("scope", GRAPH_SCOPE),
        ];
        world.ask(world.tenant(), &form).await
    };
    let (_, body) = ask(listed["passwordCredentials"][0]["keyId"].as_str().unwrap()).await;
    assert!(body["error_description"].as_str().unwrap().contains("not the client secret ID"), "{body}");
    world.clock.advance(days(731));
    let (status, body) = ask(&app.secret).await;
    assert_eq!((status, number(&body)), (StatusCode::UNAUTHORIZED, 7_000_222));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_told_apart() {
    let world = World::new().await;
    for (user, expected) in [("u1@contoso.example", 50_126), ("nobody@contoso.example", 50_034)] {
        let form = [
            ("grant_type", "password"),
            ("client_id", TOOLS),
            ("scope", GRAPH_SCOPE),
            ("username", user),
            ("password", "wrong"),
        ];
        let (status, body) = world.ask("organizations", &form).await;
        assert_eq!((status, number(&body)), (StatusCode::BAD_REQUEST, expected), "{body}");
        assert_eq!(body["error"], "invalid_grant");
    }
}

#[tokio::test]
async fn a_disabled_user_and_one_with_a_second_factor_are_refused_until_they_are_allowed_again() {
    let world = World::new().await;
    let created = json!({"displayName": "Ann", "userPrincipalName": "ann@contoso.example", "mailNickname": "ann",
        "accountEnabled": true, "passwordProfile": {"password": "a password of 4711"}});
    let (status, body) = world.call(&world.admin, reqwest::Method::POST, "/v1.0/users", created).await;
    assert_eq!(status, 201, "{body}");
    let form = [
        ("grant_type", "password"),
        ("client_id", TOOLS),
        ("scope", GRAPH_SCOPE),
        ("username", "ann@contoso.example"),
        ("password", "a password of 4711"),
    ];
    for (state, expected) in [("disabled", 50_057), ("mfa", 50_076), ("allowed", 0)] {
        let change = json!({"user": "ann@contoso.example", "sign_in": state});
        let answer = world.client.post(world.url("/_sandbox/users")).json(&change).send().await.unwrap();
        assert_eq!(answer.status(), 204, "{state}");
        let (_, body) = world.ask("organizations", &form).await;
        assert_eq!(body["error_codes"][0].as_u64().unwrap_or(0), expected, "{state}: {body}");
    }
}

#[tokio::test]
async fn the_date_of_an_answer_is_that_of_the_tenants_clock() {
    let world = World::new().await;
    let date = async || {
        let answer = world.client.get(world.url("/common/discovery/instance?api-version=1.1"));
        let answer = answer.send().await.unwrap();
        let date = answer.headers()["date"].to_str().unwrap().to_owned();
        jiff::fmt::rfc2822::parse(&date.replace("GMT", "+0000")).unwrap().timestamp()
    };
    let before = date().await;
    let step = json!({"advance_seconds": 130});
    world.client.post(world.url("/_sandbox/clock")).json(&step).send().await.unwrap();
    assert_eq!(date().await.as_second() - before.as_second(), 130);
}

#[tokio::test]
async fn instance_discovery_names_the_host_that_was_asked() {
    let world = World::new().await;
    let body = world.get("", "/common/discovery/instance?api-version=1.1").await;
    let host = world.sandbox.address().to_string();
    assert_eq!(body["metadata"][0]["aliases"], json!([host]));
    assert_eq!(body["tenant_discovery_endpoint"], world.url("/common/v2.0/.well-known/openid-configuration"));
}
