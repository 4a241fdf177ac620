//! The other ways to sign in: certificate, federated credential, device code, code and refresh token.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{App, GRAPH_SCOPE, TOOLS, World, answer, code, days, text};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// 2026-11-23T10:00:00Z, where the test clock stands.
const NOW: i64 = 1_795_428_000;

/// A key with its certificate.
struct Holder {
    der: Vec<u8>,
    signer: EncodingKey,
}

impl Holder {
    fn new() -> Self {
        let key =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let mut wanted = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        wanted.not_before = rcgen::date_time_ymd(2026, 11, 1);
        wanted.not_after = rcgen::date_time_ymd(2027, 11, 1);
        let der = wanted.self_signed(&key).unwrap().der().to_vec();
        let signer = EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).unwrap();
        Self { der, signer }
    }

    /// As it goes into `keyCredentials`.
    fn credential(&self) -> Value {
        json!({"type": "AsymmetricX509Cert", "usage": "Verify", "key": STANDARD.encode(&self.der)})
    }

    fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let mut header = Header::new(algorithm);
        let print =
            |algorithm| URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(algorithm, &self.der).as_ref());
        match algorithm {
            Algorithm::PS256 => header.x5t_s256 = Some(print(&aws_lc_rs::digest::SHA256)),
            _ => header.x5t = Some(print(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY)),
        }
        jsonwebtoken::encode(&header, claims, &self.signer).unwrap()
    }

    fn assertion(&self, world: &World, app: &App, shift: i64) -> String {
        let now = NOW + shift;
        let audience = world.url(&format!("/{}/oauth2/v2.0/token?dc=X", world.tenant()));
        self.sign(
            Algorithm::PS256,
            &json!({"aud": audience, "iss": app.id, "sub": app.id, "nbf": now, "iat": now, "exp": now + 600, "jti": "1"}),
        )
    }
}

async fn ask(world: &World, app: &App, assertion: &str) -> (u16, Value) {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &app.id),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
        ("scope", GRAPH_SCOPE),
    ];
    let (status, body) = world.ask(world.tenant(), &form).await;
    (status.as_u16(), body)
}

fn number(body: &Value) -> u64 {
    body["error_codes"][0].as_u64().unwrap_or_default()
}

fn claims(token: &Value) -> Value {
    jsonwebtoken::dangerous::insecure_decode::<Value>(token.as_str().unwrap()).unwrap().claims
}

async fn patch_keys(world: &World, app: &App, keys: Value) -> (u16, Value) {
    let path = format!("/v1.0/applications/{}", app.object);
    world.call(&world.admin, Method::PATCH, &path, json!({"keyCredentials": keys})).await
}

#[tokio::test]
async fn a_certificate_signs_in_and_each_refusal_has_its_reason() {
    let world = World::new().await;
    let app = world.app(&["Mail.Send"]).await;
    let (holder, other) = (Holder::new(), Holder::new());
    let (status, body) = patch_keys(&world, &app, json!([holder.credential()])).await;
    assert_eq!(status, 204, "{body}");
    let (_, body) = ask(&world, &app, &holder.assertion(&world, &app, 0)).await;
    let token = claims(&body["access_token"]);
    assert_eq!((&token["appidacr"], &token["roles"]), (&json!("2"), &json!(["Mail.Send"])));
    // RS256 with a SHA-1 thumbprint and the issuer as audience is what older libraries send.
    let old = json!({"aud": world.url(&format!("/{}/v2.0", world.tenant())), "iss": app.id, "sub": app.id, "exp": NOW + 60});
    assert_eq!(ask(&world, &app, &holder.sign(Algorithm::RS256, &old)).await.0, 200);

    let foreign =
        json!({"aud": "https://elsewhere.example/token", "iss": app.id, "sub": app.id, "exp": NOW + 60});
    let stranger = json!({"aud": old["aud"], "iss": "x", "sub": app.id, "exp": NOW + 60});
    let mut forged = holder.assertion(&world, &app, 0);
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    for (assertion, expected, reason) in [
        (other.assertion(&world, &app, 0), 700_027, "The key was not found."),
        (forged, 700_027, "use of the key to verify the signature failed"),
        (holder.assertion(&world, &app, 3600), 700_024, "not within its valid time range"),
        (holder.assertion(&world, &app, -3600), 700_024, "not within its valid time range"),
        (holder.sign(Algorithm::PS256, &foreign), 700_023, "audience claim"),
        (holder.sign(Algorithm::PS256, &stranger), 700_021, "doesn't match 'client_id'"),
        ("nonsense".to_owned(), 50_027, "malformed"),
    ] {
        let (status, body) = ask(&world, &app, &assertion).await;
        assert_eq!((status, number(&body)), (401, expected), "{body}");
        assert!(body["error_description"].as_str().unwrap().contains(reason), "{body}");
    }
    // Four minutes ahead is within the tolerance.
    assert_eq!(ask(&world, &app, &holder.assertion(&world, &app, 240)).await.0, 200);

    let year = json!({"advance_seconds": 366 * 86_400});
    assert_eq!(answer(world.client.post(world.url("/_sandbox/clock")).json(&year)).await.0, 200);
    let (_, body) = ask(&world, &app, &holder.assertion(&world, &app, 366 * 86_400)).await;
    assert!(body["error_description"].as_str().unwrap().contains("The key used is expired."), "{body}");
}

#[tokio::test]
async fn the_key_list_is_replaced_and_an_entry_written_back_without_its_bytes_stays() {
    let world = World::new().await;
    let app = world.app(&[]).await;
    let (first, second) = (Holder::new(), Holder::new());
    patch_keys(&world, &app, json!([first.credential()])).await;
    let path = format!("/v1.0/applications/{}", app.object);
    let listed = world.get(&world.admin, &path).await["keyCredentials"].clone();
    assert_eq!(
        (&listed[0]["key"], &listed[0]["endDateTime"]),
        (&Value::Null, &json!("2027-11-01T00:00:00Z"))
    );
    assert!(listed[0]["customKeyIdentifier"].is_string());
    let bytes = world.get(&world.admin, &format!("{path}?$select=keyCredentials")).await;
    assert_eq!(bytes["keyCredentials"][0]["key"], STANDARD.encode(&first.der));

    let mut late = second.credential();
    late["endDateTime"] = json!("2028-01-01T00:00:00Z");
    assert_eq!(patch_keys(&world, &app, json!([listed[0], late])).await.0, 400);
    assert_eq!(patch_keys(&world, &app, json!([listed[0], second.credential()])).await.0, 204);
    assert_eq!(ask(&world, &app, &first.assertion(&world, &app, 0)).await.0, 200);
    assert_eq!(patch_keys(&world, &app, json!([])).await.0, 204);
    assert_eq!(number(&ask(&world, &app, &second.assertion(&world, &app, 0)).await.1), 700_027);
}

#[tokio::test]
async fn an_application_rolls_its_own_key_with_a_proof_and_no_permission() {
    let world = World::new().await;
    let app = world.app(&[]).await;
    let (first, second) = (Holder::new(), Holder::new());
    patch_keys(&world, &app, json!([first.credential()])).await;
    let token = world.app_token(&app).await;
    let proof = |holder: &Holder, issuer: &str| {
        let claims = json!({"aud": "00000002-0000-0000-c000-000000000000", "iss": issuer, "nbf": NOW, "exp": NOW + 600});
        holder.sign(Algorithm::RS256, &claims)
    };
    let path = format!("/v1.0/applications/{}/addKey", app.object);
    let add = |proof: String| json!({"keyCredential": second.credential(), "passwordCredential": null, "proof": proof});
    for wrong in [proof(&second, &app.object), proof(&first, &app.id)] {
        let (status, body) = world.call(&token, Method::POST, &path, add(wrong)).await;
        assert_eq!((status, code(&body)), (401, "Authentication_MissingOrMalformed"));
    }
    let (status, made) = world.call(&token, Method::POST, &path, add(proof(&first, &app.object))).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(ask(&world, &app, &second.assertion(&world, &app, 0)).await.0, 200);
    let listed = world.get(&world.admin, &format!("/v1.0/applications/{}", app.object)).await;
    let path = format!("/v1.0/applications/{}/removeKey", app.object);
    let remove = json!({"keyId": listed["keyCredentials"][0]["keyId"], "proof": proof(&second, &app.object)});
    assert_eq!(world.call(&token, Method::POST, &path, remove).await.0, 204);
    assert_eq!(number(&ask(&world, &app, &first.assertion(&world, &app, 0)).await.1), 700_027);
    // Another application may not.
    let stranger = world.token_with(&[]).await;
    let (status, _) = world.call(&stranger, Method::POST, &path, json!({})).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn a_federated_credential_is_matched_letter_for_letter() {
    let (world, provider) = (World::new().await, World::new().await);
    let app = world.app(&["Mail.Send"]).await;
    // The issuer is another tenant: its id tokens are what a workload would present.
    let admin = provider.sandbox.ready().admin.clone();
    let form = [
        ("grant_type", "password"),
        ("client_id", TOOLS),
        ("scope", "openid offline_access User.Read"),
        ("username", &admin.user),
        ("password", &admin.password),
    ];
    let (_, body) = provider.ask(provider.tenant(), &form).await;
    let foreign = text(&body["id_token"]);
    let presented = claims(&body["id_token"]);
    assert_eq!(number(&ask(&world, &app, &foreign).await.1), 70_021);

    let path = format!("/v1.0/applications/{}/federatedIdentityCredentials", app.object);
    let record = json!({"name": "cluster", "issuer": presented["iss"], "subject": presented["sub"], "audiences": [TOOLS]});
    let (status, made) = world.call(&world.admin, Method::POST, &path, record.clone()).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(world.call(&world.admin, Method::POST, &path, record.clone()).await.0, 409);
    let (status, body) = ask(&world, &app, &foreign).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(claims(&body["access_token"])["appidacr"], "2");
    for (field, value, expected) in [
        ("issuer", json!("http://127.0.0.1:1/x"), 700_211),
        ("audiences", json!(["api://AzureADTokenExchange"]), 700_212),
        ("subject", json!("someone else"), 700_213),
    ] {
        let one = format!("{path}/cluster");
        let (status, body) = world.call(&world.admin, Method::PATCH, &one, json!({field: value})).await;
        assert_eq!(status, 204, "{body}");
        assert_eq!(number(&ask(&world, &app, &foreign).await.1), expected, "{field}");
        let back = json!({field: record[field]});
        world.call(&world.admin, Method::PATCH, &one, back).await;
    }
    provider.sandbox.stop().await;
    assert_eq!(number(&ask(&world, &app, &foreign).await.1), 50_166);
}

#[tokio::test]
async fn a_device_code_waits_for_its_person_and_is_used_once() {
    let world = World::new().await;
    let scope = "https://graph.microsoft.com/.default openid profile offline_access";
    let url = world.url("/organizations/oauth2/v2.0/devicecode");
    let start = [("client_id", TOOLS), ("scope", scope)];
    let (status, device) = answer(world.client.post(&url).form(&start)).await;
    assert_eq!(status, 200, "{device}");
    let (secret, user_code) = (text(&device["device_code"]), text(&device["user_code"]));
    let poll = async |secret: &str| {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", TOOLS),
            ("device_code", secret),
            ("client_info", "1"),
        ];
        world.ask("organizations", &form).await.1
    };
    assert_eq!(poll(&secret).await["error"], "authorization_pending");
    assert_eq!(poll(&secret).await["error"], "slow_down");
    let admin = &world.sandbox.ready().admin;
    let mut approval = json!({"user_code": user_code, "user": admin.user, "password": "wrong"});
    let approve = world.url("/_sandbox/approve");
    assert_eq!(answer(world.client.post(&approve).json(&approval)).await.0, 400);
    approval["password"] = json!(admin.password);
    assert_eq!(answer(world.client.post(&approve).json(&approval)).await.0, 204);
    let token = poll(&secret).await;
    assert!(token["id_token"].is_string() && token["client_info"].is_string(), "{token}");
    world.get(token["access_token"].as_str().unwrap(), "/v1.0/applications").await;
    assert_eq!(number(&poll(&secret).await), 70_018);

    let (_, device) = answer(world.client.post(&url).form(&start)).await;
    let page = text(&device["verification_uri"]);
    let decline = [
        ("user_code", text(&device["user_code"])),
        ("user", admin.user.clone()),
        ("password", admin.password.clone()),
        ("decline", "1".to_owned()),
    ];
    assert_eq!(answer(world.client.post(page).form(&decline)).await.0, 200);
    assert_eq!(poll(&text(&device["device_code"])).await["error"], "authorization_declined");
    let (_, device) = answer(world.client.post(&url).form(&start)).await;
    world.clock.advance(jiff::SignedDuration::from_mins(16));
    assert_eq!(number(&poll(&text(&device["device_code"])).await), 70_019);
    // The session goes on with its refresh token, until it idles too long or is revoked.
    let refresh = async |token: &str| {
        let form = [("grant_type", "refresh_token"), ("client_id", TOOLS), ("refresh_token", token)];
        world.ask("organizations", &form).await.1
    };
    let next = refresh(&text(&token["refresh_token"])).await;
    assert_ne!(next["refresh_token"], token["refresh_token"]);
    world.clock.advance(days(91));
    assert_eq!(number(&refresh(&text(&next["refresh_token"])).await), 700_082);
}
