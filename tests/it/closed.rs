//! The limit of an application: proved by a mailbox that stays closed, watched, and told when a right defeats it.

use serde_json::json;

use crate::credential::{administrator, by_app_id, call, graph};
use crate::harness::World;
use crate::secrets::log_on;
use crate::setup::{Administrator, CONNECTION, in_exchange};

/// Grants this application a permission of Microsoft Graph for the whole tenant.
async fn grant(world: &World, application: &str, permission: &str) {
    let token = administrator(world).await;
    let principal = by_app_id(world, &token, "servicePrincipals", application).await;
    let resource =
        by_app_id(world, &token, "servicePrincipals", "00000003-0000-0000-c000-000000000000").await;
    let roles = resource["appRoles"].as_array().unwrap();
    let role = roles.iter().find(|role| role["value"] == permission).unwrap();
    let path = format!("servicePrincipals/{}/appRoleAssignments", principal["id"].as_str().unwrap());
    let grant =
        json!({"principalId": principal["id"], "resourceId": resource["id"], "appRoleId": role["id"]});
    graph(world, &token, &path, Some(grant)).await;
}

#[tokio::test]
async fn a_closed_mailbox_is_part_of_the_plan_proved_at_the_end_and_watched() {
    let world = World::new().await;
    let admin = Administrator::of(&world).await;
    let closed = ["--must-not-open", "hr@contoso.example"];
    let limited = ["--wait", "0", "--limit", "rbac"];
    let arguments = admin.setup(&[closed.as_slice(), &limited].concat());
    let plan = world.ok(&[arguments.as_slice(), &["--dry-run"]].concat()).await;
    assert!(plan.contains("Must stay shut hr@contoso.example"), "{plan}");
    let words = world.fails(2, &admin.setup(&[closed.as_slice(), &["--limit", "none"]].concat())).await;
    assert!(words.contains("Without a limit no mailbox stays closed"), "{words}");

    assert_eq!(world.run(&arguments).await.status.code(), Some(3));
    let lines = world.ok(&["setup", "scope-script", "--connection", CONNECTION]).await;
    let proof = in_exchange(&world, &lines).await.to_string();
    assert!(proof.contains("True") && proof.contains("False"), "{proof}");
    // What is not named again stays planned.
    let again = world.run(&admin.setup(&limited)).await;
    let words = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.success(), "{words}");
    assert!(words.contains("mailbox hr@contoso.example is refused, as it should be"), "{words}");
    assert_eq!(world.ok(&["credential", "must-not-open"]).await, "hr@contoso.example  refused\n");

    // A click in the portal that defeats the limit, and a mailbox that is not there.
    let application = admin.application(&world, &format!("Postroom {CONNECTION}")).await;
    grant(&world, application["appId"].as_str().unwrap(), "Mail.Read").await;
    let said =
        world.run(&["credential", "must-not-open", "hr@contoso.example", "nobody@contoso.example"]).await;
    let lines = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(1), "{lines}");
    assert!(lines.contains("hr@contoso.example  OPENS"), "{lines}");
    assert!(lines.contains("Mail.Read  GRANTED for the whole tenant"), "{lines}");
    let server = world.serve().await;
    let cookie = log_on(&world, &server, "a password of this test, 4711").await;
    let page =
        world.http.get(&server.url).header("cookie", &cookie).send().await.unwrap().text().await.unwrap();
    for words in [
        "Contoso orders can open hr@contoso.example, and must not.",
        "Contoso orders is granted Mail.Read for the whole tenant",
        "nobody@contoso.example is to be refused to Contoso orders, and there is no such mailbox.",
    ] {
        assert!(page.contains(words), "{words} is missing: {page}");
    }
    drop(server);

    // Taken back, all is well again, and an undo ends the watch.
    let token = administrator(&world).await;
    let principal =
        by_app_id(&world, &token, "servicePrincipals", application["appId"].as_str().unwrap()).await;
    let path = format!("servicePrincipals/{}/appRoleAssignments", principal["id"].as_str().unwrap());
    let granted = graph(&world, &token, &path, None).await["value"][0]["id"].as_str().unwrap().to_owned();
    call(&world, &token, reqwest::Method::DELETE, &format!("{path}/{granted}"), None).await;
    assert_eq!(
        world.ok(&["credential", "must-not-open", "hr@contoso.example"]).await,
        "hr@contoso.example  refused\n"
    );
    assert_eq!(world.run(&admin.undo()).await.status.code(), Some(3));
}
