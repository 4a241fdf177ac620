//! Credentials, grants and policies of a registered application.

use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroom_entra::PublicCertificate;
use postroom_entra::cause::Ids;
use postroom_entra::register::{
    AccountType, ApplicationCredentialKind, EXCHANGE, FederatedCredential, Grant, MICROSOFT_GRAPH,
    Permission, PolicyRefusal, RedirectPlatform, RegisterError, RegisteredApplication, Registrar,
    ServicePrincipal,
};
use postroom_model::failure::Decision;
use serde_json::{Value, json};
use url::Url;

use crate::certificate::{certificate, made, parts};
use crate::register::{plan, registrar};
use crate::stub::{Reply, Seen, Stub};

fn application() -> RegisteredApplication {
    RegisteredApplication { object_id: "object-1".into(), app_id: "app-1".into() }
}

fn principal() -> ServicePrincipal {
    ServicePrincipal { object_id: "sp-1".into(), app_id: "app-1".into() }
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error":{"code":code,"message":message}})).with("request-id", "r-1")
}

/// One application with credentials, as Graph keeps it.
struct Store {
    keys: Vec<Value>,
    federated: Vec<Value>,
    assigned: Vec<Value>,
    made: u32,
}

impl Store {
    fn new() -> Self {
        let assigned = [
            ("a-1", "sp-graph", "role-rw"),
            ("a-2", "sp-exo", "role-full"),
            ("a-3", "sp-gone", "r-9"),
            ("a-4", "sp-graph", "role-user"),
        ];
        let assigned = assigned
            .iter()
            .map(|(id, resource, role)| json!({"id":id,"resourceId":resource,"appRoleId":role}))
            .collect();
        Self {
            keys: vec![json!({"keyId":"old","customKeyIdentifier":"b3RoZXI=","key":"AAAA","unknown":7})],
            federated: vec![],
            assigned,
            made: 0,
        }
    }

    fn numbered(&mut self, mut key: Value) -> Value {
        self.made += 1;
        let der = STANDARD.decode(key["key"].as_str().unwrap()).unwrap();
        let sha1 = PublicCertificate::from_der(&der).unwrap().thumbprint_sha1_base64();
        key["keyId"] = json!(format!("key-{}", self.made));
        key["customKeyIdentifier"] = json!(sha1);
        key
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        let body: Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let target = seen.target.replace("%20", " ").replace("%27", "'");
        let graph = json!({"id":"sp-graph","appId":MICROSOFT_GRAPH,"appRoles":[{"id":"role-rw","value":"Mail.ReadWrite"},{"id":"role-user","value":"User.Read.All"}]});
        let exchange = json!({"id":"sp-exo","appId":EXCHANGE,"appRoles":[{"id":"role-full","value":"full_access_as_app"}]});
        match seen.line().as_str() {
            "GET /v1.0/applications/object-1" => Reply::json(
                200,
                &json!({"id":"object-1","keyCredentials":self.keys,
                "passwordCredentials":[{"keyId":"S-1","displayName":"postroom 2026-11","startDateTime":"2026-11-23T10:00:00Z","endDateTime":"2027-05-22T00:00:00Z","hint":"nQ3","secretText":null}]}),
            ),
            "PATCH /v1.0/applications/object-1" => {
                if let Some(keys) = body["keyCredentials"].as_array() {
                    let keys = keys.clone();
                    self.keys = keys
                        .into_iter()
                        .map(|key| if key["keyId"].is_null() { self.numbered(key) } else { key })
                        .collect();
                }
                Reply::empty(204)
            }
            "POST /v1.0/applications/object-1/addKey" => {
                let key = self.numbered(body["keyCredential"].clone());
                self.keys.push(key.clone());
                Reply::json(200, &key)
            }
            "POST /v1.0/applications/object-1/removeKey" => {
                let before = self.keys.len();
                self.keys.retain(|key| key["keyId"] != body["keyId"]);
                if self.keys.len() < before {
                    Reply::empty(204)
                } else {
                    refused(404, "Request_ResourceNotFound", "gone")
                }
            }
            "GET /v1.0/applications/object-1/federatedIdentityCredentials" => {
                Reply::json(200, &json!({"value":self.federated}))
            }
            "POST /v1.0/applications/object-1/federatedIdentityCredentials" => {
                if self
                    .federated
                    .iter()
                    .any(|known| known["name"] == body["name"] || known["subject"] == body["subject"])
                {
                    return refused(409, "Request_MultipleObjectsWithSameKeyValue", "exists");
                }
                self.federated.push(body.clone());
                Reply::json(201, &body)
            }
            "DELETE /v1.0/applications/object-1/federatedIdentityCredentials/prod" => Reply::empty(204),
            "GET /v1.0/servicePrincipals/sp-graph" => Reply::json(200, &graph),
            "GET /v1.0/servicePrincipals/sp-exo" => Reply::json(200, &exchange),
            "GET /v1.0/servicePrincipals" => {
                let found: Vec<Value> = if target.contains(MICROSOFT_GRAPH) {
                    vec![graph]
                } else if target.contains(EXCHANGE) {
                    vec![exchange]
                } else {
                    vec![]
                };
                Reply::json(200, &json!({"value":found}))
            }
            "GET /v1.0/servicePrincipals/sp-1/appRoleAssignments" => {
                Reply::json(200, &json!({"value":self.assigned}))
            }
            line if line.starts_with("DELETE /v1.0/servicePrincipals/sp-1/appRoleAssignments/") => {
                self.assigned.retain(|known| !line.ends_with(known["id"].as_str().unwrap()));
                Reply::empty(204)
            }
            "DELETE /v1.0/servicePrincipals/sp-1" => Reply::empty(204),
            _ => refused(404, "Request_ResourceNotFound", "not here"),
        }
    }
}

async fn stored() -> (Stub, Registrar) {
    let store = Mutex::new(Store::new());
    let stub = Stub::start(move |seen| store.lock().unwrap().answer(seen)).await;
    let registrar = registrar(&stub.url);
    (stub, registrar)
}

#[tokio::test]
async fn certificates_come_beside_those_that_are_there() {
    let (stub, registrar) = stored().await;
    let (first, second) = (certificate(), made("Next"));
    let key = registrar.add_certificate(&application(), first.public()).await.unwrap();
    assert_eq!(registrar.add_certificate(&application(), first.public()).await.unwrap(), key);
    let body: Value = serde_json::from_str(&stub.seen()[1].body).unwrap();
    assert_eq!(body["keyCredentials"][0]["unknown"], 7, "what is not understood is kept");
    assert_eq!(body["keyCredentials"][1]["endDateTime"], "2027-11-23T10:00:00Z");
    assert!(!stub.seen().iter().any(|seen| seen.body.contains("PRIVATE")));

    let next = registrar.roll_key("object-1", first, second.public()).await.unwrap();
    let body: Value = serde_json::from_str(&stub.seen().pop().unwrap().body).unwrap();
    assert_eq!(parts(body["proof"].as_str().unwrap()).1["iss"], "object-1");
    registrar.remove_key_with_proof("object-1", &second, &key).await.unwrap();
    registrar.remove_key_with_proof("object-1", &second, &key).await.unwrap();
    let listed = registrar.credentials(&application()).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|one| (one.kind, one.key_id.as_str())).collect();
    let (secret, certificate) = (ApplicationCredentialKind::Secret, ApplicationCredentialKind::Certificate);
    assert_eq!(ids, [(secret, "S-1"), (certificate, "old"), (certificate, next.as_str())]);
    registrar.remove_certificate(&application(), "old").await.unwrap();
    registrar.remove_certificate(&application(), "old").await.unwrap();
    assert_eq!(registrar.credentials(&application()).await.unwrap().len(), 2);
    let info = registrar.secret_info(&application(), "s-1").await.unwrap().unwrap();
    assert_eq!(
        (info.hint.as_deref(), info.ends),
        (Some("nQ3"), Some("2027-05-22T00:00:00Z".parse().unwrap()))
    );
    assert_eq!(registrar.secret_info(&application(), "old").await.unwrap(), None);
}

#[tokio::test]
async fn grants_are_listed_by_name_and_taken_back() {
    let (_stub, registrar) = stored().await;
    let grant = |api: &str, value: &str| Grant { resource_app_id: api.into(), value: value.into() };
    assert_eq!(
        registrar.all_grants(&principal()).await.unwrap(),
        [
            grant(EXCHANGE, "full_access_as_app"),
            grant(MICROSOFT_GRAPH, "Mail.ReadWrite"),
            grant(MICROSOFT_GRAPH, "User.Read.All"),
            grant("sp-gone", "r-9"),
        ]
    );
    let left = |found: Vec<postroom_entra::register::Leftover>| -> Vec<String> {
        found.into_iter().map(|one| one.grant.value).collect()
    };
    let found = registrar.find_leftover_grants(&principal(), &[]).await.unwrap();
    assert_eq!(left(found), ["full_access_as_app", "Mail.ReadWrite"]);
    let found = registrar.find_leftover_grants(&principal(), &Permission::for_mail()).await.unwrap();
    assert_eq!(left(found), ["full_access_as_app"]);
    for _ in 0..2 {
        registrar.revoke(&principal(), &Permission::for_ews()[0]).await.unwrap();
    }
    assert_eq!(registrar.all_grants(&principal()).await.unwrap().len(), 3);
    assert_eq!(registrar.service_principal("app-9").await.unwrap(), None);
    assert_eq!(registrar.service_principal(EXCHANGE).await.unwrap().unwrap().object_id, "sp-exo");
    registrar.delete_service_principal(&principal()).await.unwrap();
}

#[tokio::test]
async fn trust_in_another_provider_is_made_once() {
    let (_stub, registrar) = stored().await;
    let mut trust = FederatedCredential {
        name: "prod".into(),
        issuer: "https://oidc.contoso.example/cluster1".into(),
        subject: "system:serviceaccount:mail:postroom".into(),
        audience: "api://AzureADTokenExchange".into(),
        description: String::new(),
    };
    for _ in 0..2 {
        registrar.add_federated_credential(&application(), &trust).await.unwrap();
    }
    trust.subject = "system:serviceaccount:mail:other".into();
    let error = registrar.add_federated_credential(&application(), &trust).await.unwrap_err();
    assert!(matches!(error, RegisterError::Refused { status: 409, .. }), "{error:?}");
    registrar.remove_federated_credential(&application(), "prod").await.unwrap();
    registrar.remove_federated_credential(&application(), "gone").await.unwrap();
}

#[tokio::test]
async fn a_policy_of_the_tenant_is_told_apart_with_advice() {
    for (code, refusal) in [
        ("CredentialInvalidLifetimeAsPerAppPolicy", PolicyRefusal::Lifetime),
        ("CredentialTypeNotAllowedAsPerAppPolicy", PolicyRefusal::CredentialType),
        ("SignInAudienceNotAllowedAsPerAppPolicy", PolicyRefusal::AccountType),
        ("SomethingNewAsPerAppPolicy", PolicyRefusal::Other),
    ] {
        let stub = Stub::start(move |_| refused(400, code, "as per assigned policy 'p-1'.")).await;
        let registrar = registrar(&stub.url);
        let end = "2027-05-22T00:00:00Z".parse().unwrap();
        let error = registrar.add_secret(&application(), "postroom", end).await.unwrap_err();
        assert_eq!(error.policy(), Some(refusal));
        let ids = Ids::of("contoso.example", "app-1");
        assert_eq!(error.advice(&ids).is_some(), refusal != PolicyRefusal::Other);
        let failure = error.failure("set up");
        assert_eq!((failure.decision(), failure.status), (Decision::Hold, Some(400)));
        assert!(error.to_string().contains("policy") && error.to_string().contains("app-1"));
    }
}

#[tokio::test]
async fn each_account_type_is_asked_for_and_redirect_uris_only_when_given() {
    for (account, audience) in [
        (AccountType::ThisDirectory, "AzureADMyOrg"),
        (AccountType::AnyDirectory, "AzureADMultipleOrgs"),
        (AccountType::AnyDirectoryAndPersonal, "AzureADandPersonalMicrosoftAccount"),
        (AccountType::PersonalOnly, "PersonalMicrosoftAccount"),
    ] {
        let stub = Stub::start(|seen| match seen.method.as_str() {
            "GET" => Reply::json(200, &json!({"value":[]})),
            _ => Reply::json(201, &json!({"id":"object-1","appId":"app-1"})),
        })
        .await;
        let registrar = registrar(&stub.url);
        let mut plan = plan();
        plan.permissions.clear();
        plan.sign_in_audience = account;
        registrar.create_application(&plan).await.unwrap();
        let body: Value = serde_json::from_str(&stub.seen().pop().unwrap().body).unwrap();
        assert_eq!(body["signInAudience"], audience);
        let version = body["api"]["requestedAccessTokenVersion"].as_i64();
        assert_eq!(version, account.personal().then_some(2));
        assert!(!body.to_string().contains("redirectUris"));
        let uri = Url::parse("http://localhost").unwrap();
        registrar.set_redirect_uris(&application(), RedirectPlatform::PublicClient, &[uri]).await.unwrap();
        let body: Value = serde_json::from_str(&stub.seen().pop().unwrap().body).unwrap();
        assert_eq!(body, json!({"publicClient":{"redirectUris":["http://localhost"]}}));
    }
}
