use std::sync::Mutex;
use std::time::Duration;

use postroom_entra::AccessToken;
use postroom_entra::register::{
    AccountType, MICROSOFT_GRAPH, Patience, Permission, Plan, RegisterError, Registrar,
};
use postroom_model::{Env, ExposeSecret, Timestamp};
use serde_json::{Value, json};
use url::Url;

use crate::http;
use crate::stub::{Reply, Seen, Stub};

/// A directory of one tenant, as far as the registrar sees it.
#[derive(Default)]
struct Directory {
    application: Option<Value>,
    principal: Option<Value>,
    assigned: Vec<Value>,
    /// Answers 404 to this many more changes of what was just made.
    not_yet: u32,
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error":{"code":code,"message":message}})).with("request-id", "r-1")
}

fn page(values: &[Value]) -> Reply {
    Reply::json(200, &json!({ "value": values }))
}

impl Directory {
    fn answer(&mut self, seen: &Seen) -> Reply {
        let body: Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let target = seen.target.replace("%20", " ").replace("%27", "'");
        let some = |value: &Option<Value>| page(&value.iter().cloned().collect::<Vec<_>>());
        match (seen.line().as_str(), target.as_str()) {
            ("GET /v1.0/servicePrincipals", target) if target.contains(MICROSOFT_GRAPH) => page(&[json!(
                {"id":"sp-graph","appRoles":[{"id":"role-rw","value":"Mail.ReadWrite"},{"id":"role-send","value":"Mail.Send"},{"id":"x","value":null}]})]),
            ("GET /v1.0/servicePrincipals", _) => some(&self.principal),
            ("GET /v1.0/applications", _) => some(&self.application),
            ("POST /v1.0/applications", _) => {
                let mut made = body;
                made["id"] = json!("object-1");
                made["appId"] = json!("app-1");
                self.application = Some(made.clone());
                self.not_yet = 2;
                Reply::json(201, &made)
            }
            ("DELETE /v1.0/applications/object-1", _) => match self.application.take() {
                Some(_) => Reply::empty(204),
                None => refused(404, "Request_ResourceNotFound", "gone"),
            },
            _ if self.not_yet > 0 => {
                self.not_yet -= 1;
                refused(404, "Request_ResourceNotFound", "not replicated yet")
            }
            ("PATCH /v1.0/applications/object-1", _) => Reply::empty(204),
            ("POST /v1.0/servicePrincipals", _) => {
                let made = json!({"id":"sp-1","appId":body["appId"]});
                self.principal = Some(made.clone());
                Reply::json(201, &made)
            }
            ("POST /v1.0/servicePrincipals/sp-1/appRoleAssignments", _) if self.assigned.contains(&body) => {
                refused(400, "Request_BadRequest", "Permission being assigned already exists on the object")
            }
            ("POST /v1.0/servicePrincipals/sp-1/appRoleAssignments", _) => {
                self.assigned.push(body.clone());
                Reply::json(201, &body)
            }
            ("GET /v1.0/servicePrincipals/sp-1/appRoleAssignments", _) => page(&self.assigned),
            ("POST /v1.0/applications/object-1/addPassword", _) => Reply::json(
                200,
                &json!({"keyId":"key-1","secretText":"nQ3~HIDDEN","endDateTime":body["passwordCredential"]["endDateTime"]}),
            ),
            ("POST /v1.0/applications/object-1/removePassword", _) => Reply::empty(204),
            (line, _) => refused(405, "Unexpected", line),
        }
    }
}

pub(crate) fn plan() -> Plan {
    Plan {
        display_name: "Postroom's mail".into(),
        sign_in_audience: AccountType::ThisDirectory,
        permissions: Permission::for_mail(),
        secret_name: "postroom 2026-11".into(),
        secret_expires_at: "2027-05-22T00:00:00Z".parse().unwrap(),
    }
}

pub(crate) fn registrar(graph: &Url) -> Registrar {
    let (env, _clock) = Env::for_test(1);
    let token = AccessToken::new("ADMINTOKEN".to_owned().into(), Timestamp::UNIX_EPOCH);
    let patience = Patience { tries: 3, pause: Duration::from_millis(1) };
    Registrar::new(http(), env, graph.clone(), token).with_patience(patience)
}

#[tokio::test]
async fn the_whole_registration_may_be_repeated_and_undone() {
    let directory = Mutex::new(Directory::default());
    let stub = Stub::start(move |seen| directory.lock().unwrap().answer(seen)).await;
    let (registrar, plan) = (registrar(&stub.url), plan());
    for _ in 0..2 {
        let application = registrar.create_application(&plan).await.unwrap();
        assert_eq!((application.object_id.as_str(), application.app_id.as_str()), ("object-1", "app-1"));
        let principal = registrar.create_service_principal(&application).await.unwrap();
        for permission in &plan.permissions {
            registrar.grant(&principal, permission).await.unwrap();
        }
        let granted = registrar.granted_roles(&principal, &plan.permissions).await.unwrap();
        assert_eq!(granted, ["Mail.ReadWrite", "Mail.Send"]);
        registrar.disable_public_client_flows(&application).await.unwrap();
        let secret =
            registrar.add_secret(&application, &plan.secret_name, plan.secret_expires_at).await.unwrap();
        assert_eq!((secret.key_id.as_str(), secret.secret.expose_secret()), ("key-1", "nQ3~HIDDEN"));
        assert_eq!(secret.expires_at, plan.secret_expires_at);
        assert!(!format!("{secret:?} {registrar:?}").contains("HIDDEN"));
        registrar.remove_secret(&application, &secret.key_id).await.unwrap();
    }
    let made = stub.lines().iter().filter(|line| *line == "POST /v1.0/applications").count();
    assert_eq!(made, 1);
    let application = registrar.create_application(&plan).await.unwrap();
    registrar.delete_application(&application).await.unwrap();
    registrar.delete_application(&application).await.unwrap();
    assert!(stub.seen().iter().all(|seen| seen.header("authorization") == "Bearer ADMINTOKEN"));
}

#[tokio::test]
async fn somebody_elses_application_of_the_same_name_is_left_alone() {
    let directory = Mutex::new(Directory {
        application: Some(json!({"id":"foreign","appId":"foreign","tags":["other"]})),
        ..Directory::default()
    });
    let stub = Stub::start(move |seen| directory.lock().unwrap().answer(seen)).await;
    let application = registrar(&stub.url).create_application(&plan()).await.unwrap();
    assert_eq!(application.object_id, "object-1");
}

#[tokio::test]
async fn patience_ends_and_a_refusal_is_told_in_microsofts_words() {
    let stub = Stub::start(|seen| match seen.method.as_str() {
        "GET" => refused(403, "Authorization_RequestDenied", "Insufficient privileges."),
        _ => refused(404, "Request_ResourceNotFound", "Resource 'x' does not exist."),
    })
    .await;
    let registrar = registrar(&stub.url);
    let error = registrar.organization().await.unwrap_err();
    let failure = error.failure("register");
    assert_eq!(failure.code.as_deref(), Some("Authorization_RequestDenied"));
    assert!(failure.advice.unwrap().contains("Administrator"));
    assert!(!format!("{error:?}").contains("ADMINTOKEN"));
    let application =
        postroom_entra::register::RegisteredApplication { object_id: "o".into(), app_id: "a".into() };
    registrar.disable_public_client_flows(&application).await.unwrap_err();
    assert_eq!(stub.seen().len(), 1 + 3);
}

#[tokio::test]
async fn a_page_elsewhere_does_not_get_the_token() {
    let stub = Stub::start(|_| {
        Reply::json(200, &json!({"value":[],"@odata.nextLink":"https://elsewhere.example/v1.0/users"}))
    })
    .await;
    let error = registrar(&stub.url).users().await.unwrap_err();
    assert!(matches!(error, RegisterError::Address { .. }), "{error:?}");
}
