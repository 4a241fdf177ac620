//! The directory: provisioning as an administrator, and who may not.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{World, code, text};

#[tokio::test]
async fn provisioning_end_to_end_and_again_meets_what_exists() {
    let world = World::new().await;
    let organization = world.get(&world.admin, "/v1.0/organization").await;
    assert_eq!(organization["value"][0]["id"], world.tenant());
    assert_eq!(organization["value"][0]["verifiedDomains"][0]["name"], "contoso.example");

    let app = world.app(&["Mail.Send"]).await;
    let found = world
        .get(&world.admin, "/v1.0/applications?$filter=displayName%20eq%20'Mail%20connector'&$select=appId")
        .await;
    assert_eq!(found["value"][0]["appId"], app.id);
    assert!(found["value"][0].get("displayName").is_none());

    let (status, body) =
        world.call(&world.admin, Method::POST, "/v1.0/servicePrincipals", json!({"appId": app.id})).await;
    assert_eq!((status, code(&body)), (409, "Request_MultipleObjectsWithSameKeyValue"));

    let path = format!("/v1.0/servicePrincipals/{}/appRoleAssignments", app.principal);
    let grants = world.get(&world.admin, &path).await;
    let grant = &grants["value"][0];
    let again = json!({"principalId": app.principal, "resourceId": grant["resourceId"], "appRoleId": grant["appRoleId"]});
    let (status, body) = world.call(&world.admin, Method::POST, &path, again).await;
    assert_eq!((status, code(&body)), (400, "Request_BadRequest"));
    let assigned = format!("/v1.0/servicePrincipals/{}/appRoleAssignedTo", text(&grant["resourceId"]));
    assert_eq!(world.get(&world.admin, &assigned).await["value"][0]["principalId"], app.principal);

    let revoke = format!("{path}/{}", text(&grant["id"]));
    assert_eq!(world.call(&world.admin, Method::DELETE, &revoke, Value::Null).await.0, 204);
    assert_eq!(world.get(&world.admin, &path).await["value"], json!([]));
}

#[tokio::test]
async fn deleting_an_application_deletes_its_service_principal() {
    let world = World::new().await;
    let app = world.app(&["Mail.Send"]).await;
    let by_app_id = format!("/v1.0/applications(appId='{}')", app.id);
    assert_eq!(world.call(&world.admin, Method::DELETE, &by_app_id, Value::Null).await.0, 204);
    let path = format!("/v1.0/servicePrincipals(appId='{}')", app.id);
    let (status, body) = world.call(&world.admin, Method::GET, &path, Value::Null).await;
    assert_eq!((status, code(&body)), (404, "Request_ResourceNotFound"));
}

#[tokio::test]
async fn a_secret_is_shown_once_and_can_be_removed() {
    let world = World::new().await;
    let app = world.app(&[]).await;
    let path = format!("/v1.0/applications/{}", app.object);
    let body = world.get(&world.admin, &path).await;
    let listed = &body["passwordCredentials"][0];
    assert_eq!((&listed["secretText"], listed["hint"].as_str()), (&Value::Null, Some(&app.secret[..3])));
    let remove = json!({"keyId": listed["keyId"]});
    let path = format!("{path}/removePassword");
    assert_eq!(world.call(&world.admin, Method::POST, &path, remove.clone()).await.0, 204);
    assert_eq!(world.call(&world.admin, Method::POST, &path, remove).await.0, 400);
}

#[tokio::test]
async fn without_the_permission_the_directory_stays_closed() {
    let world = World::new().await;
    let token = world.token_with(&["Mail.Send"]).await;
    for path in ["/v1.0/applications", "/v1.0/users", "/v1.0/organization"] {
        let (status, body) = world.call(&token, Method::GET, path, Value::Null).await;
        assert_eq!((status, code(&body)), (403, "Authorization_RequestDenied"), "{path}");
    }
    let (status, body) = world.call("nonsense", Method::GET, "/v1.0/users", Value::Null).await;
    assert_eq!((status, code(&body)), (401, "InvalidAuthenticationToken"));
}

#[tokio::test]
async fn a_created_user_has_a_mailbox_at_once() {
    let world = World::new().await;
    let user = json!({"displayName": "Purchasing", "userPrincipalName": "purchasing@contoso.example",
        "accountEnabled": true, "mailNickname": "purchasing", "passwordProfile": {"password": "a long one"}});
    let (status, body) = world.call(&world.admin, Method::POST, "/v1.0/users", user.clone()).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(world.call(&world.admin, Method::POST, "/v1.0/users", user).await.0, 400);
    let token = world.token_with(&["Mail.Read"]).await;
    let folder = world.get(&token, "/v1.0/users/Purchasing@contoso.example/mailFolders/inbox").await;
    assert_eq!(folder["displayName"], "Inbox");
}
