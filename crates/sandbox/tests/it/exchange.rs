//! Permission at a mailbox: roles in the token, access policies and Exchange's role assignments, and how long each
//! takes to arrive.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{GRAPH_SCOPE, World, answer, code};

async fn script(world: &World, text: &str) -> (u16, Value) {
    answer(world.client.post(world.url("/_sandbox/exchange")).body(text.to_owned())).await
}

async fn ran(world: &World, text: &str) -> Value {
    let (status, body) = script(world, text).await;
    assert_eq!(status, 200, "{body}");
    body["results"].clone()
}

async fn read(world: &World, token: &str, mailbox: &str) -> (u16, Value) {
    let path = format!("/v1.0/users/{mailbox}@contoso.example/mailFolders/inbox");
    world.call(token, Method::GET, &path, Value::Null).await
}

async fn snapshot(world: &World) -> Value {
    answer(world.client.get(world.url("/_sandbox/snapshot"))).await.1
}

async fn advance(world: &World, seconds: u32) {
    let step = json!({"advance_seconds": seconds});
    assert_eq!(answer(world.client.post(world.url("/_sandbox/clock")).json(&step)).await.0, 200);
}

#[tokio::test]
async fn a_scoped_role_opens_its_mailboxes_and_a_tenant_wide_grant_all() {
    let world = World::new().await;
    let before = snapshot(&world).await;
    let (scoped, wide) = (world.app(&[]).await, world.app(&["Mail.Read"]).await);
    let token = world.app_token(&scoped).await;
    assert_eq!(read(&world, &token, "orders").await.0, 403);
    let text = format!(
        "Connect-ExchangeOnline -UserPrincipalName admin@contoso.example -ShowBanner:$false\n\
         $app = \"{}\" # the client id\n\
         New-ServicePrincipal -AppId $app -ObjectId {} -DisplayName \"Mail connector\"\n\
         $g = New-DistributionGroup -Name 'Connector mailboxes' -Type Security\n\
         Add-DistributionGroupMember -Identity \"Connector mailboxes\" -Member orders@contoso.example\n\
         New-ManagementScope -Name \"Connector scope\" `\n  -RecipientRestrictionFilter \"MemberOfGroup -eq '$($g.DistinguishedName)'\"\n\
         New-ManagementRoleAssignment -App $app -Role \"Application Mail.Read\" -CustomResourceScope \"Connector scope\"\n\
         Test-ServicePrincipalAuthorization -Identity $app -Resource orders@contoso.example | Format-Table\n\
         Test-ServicePrincipalAuthorization -Identity $app -Resource hr@contoso.example\n",
        scoped.id, scoped.principal
    );
    let results = ran(&world, &text).await;
    let shown = |back: usize| results[results.as_array().unwrap().len() - back]["output"][0].clone();
    assert_eq!((&shown(2)["InScope"], &shown(1)["InScope"]), (&json!("True"), &json!("False")));
    assert_eq!(shown(1)["GrantedPermissions"], "Mail.Read");
    assert_eq!(read(&world, &token, "orders").await.0, 200);
    let (status, body) = read(&world, &token, "hr").await;
    assert_eq!((status, code(&body)), (403, "ErrorAccessDenied"));
    // Sending was not assigned.
    let (status, _) =
        world.call(&token, Method::POST, "/v1.0/users/orders@contoso.example/sendMail", json!({})).await;
    assert_eq!(status, 403);
    assert_eq!(read(&world, &world.app_token(&wide).await, "hr").await.0, 200);

    let list = ran(&world, &format!("Get-ManagementRoleAssignment -RoleAssignee {}", scoped.id)).await;
    let name = list[0]["output"][0]["Identity"].as_str().unwrap().to_owned();
    ran(&world, &format!("Remove-ManagementRoleAssignment -Identity '{name}' -Confirm:$false\nRemove-ManagementScope -Identity 'Connector scope'\nRemove-ServicePrincipal -Identity {}", scoped.principal)).await;
    assert_eq!(read(&world, &token, "orders").await.0, 403);
    ran(&world, "Remove-DistributionGroup -Identity 'Connector mailboxes'").await;
    assert_ne!(snapshot(&world).await, before);
    for app in [scoped, wide] {
        let path = format!("/v1.0/applications/{}", app.object);
        assert_eq!(world.call(&world.admin, Method::DELETE, &path, Value::Null).await.0, 204);
    }
    assert_eq!(snapshot(&world).await, before);
}

#[tokio::test]
async fn an_access_policy_cuts_a_tenant_wide_grant() {
    let world = World::new().await;
    let app = world.app(&["Mail.Read"]).await;
    let token = world.app_token(&app).await;
    let text = format!(
        "New-DistributionGroup -Name Allowed -Members orders@contoso.example\n\
         New-ApplicationAccessPolicy -AppId {0} -PolicyScopeGroupId Allowed -AccessRight RestrictAccess -Description \"only these\"\n\
         Test-ApplicationAccessPolicy -Identity hr@contoso.example -AppId {0}",
        app.id
    );
    let results = ran(&world, &text).await;
    assert_eq!(results[2]["output"][0]["AccessCheckResult"], "Denied");
    assert_eq!(read(&world, &token, "orders").await.0, 200);
    let (status, body) = read(&world, &token, "hr").await;
    assert_eq!(status, 403);
    assert!(body["error"]["message"].as_str().unwrap().contains("[RAOP]"), "{body}");
    let deny = format!(
        "New-ApplicationAccessPolicy -AppId {} -PolicyScopeGroupId orders@contoso.example -AccessRight DenyAccess",
        app.id
    );
    ran(&world, &deny).await;
    assert_eq!(read(&world, &token, "orders").await.0, 403);

    // The pipeline that takes an application's policies back takes no other's.
    let other = "11111111-2222-4333-8444-555555555555";
    let theirs = format!(
        "New-ApplicationAccessPolicy -AppId {other} -PolicyScopeGroupId Allowed -AccessRight RestrictAccess"
    );
    ran(&world, &theirs).await;
    let remove = format!(
        "Get-ApplicationAccessPolicy | Where-Object {{ $_.AppId -eq '{}' }} | Remove-ApplicationAccessPolicy -Confirm:$false",
        app.id
    );
    ran(&world, &remove).await;
    let left = snapshot(&world).await["applicationAccessPolicies"].clone();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["appId"]), (1, &json!(other)));
    ran(&world, "Update-DistributionGroupMember -Identity Allowed -Members hr@contoso.example").await;
    let members = snapshot(&world).await["distributionGroups"][0]["members"].clone();
    assert_eq!(members, json!(["hr@contoso.example"]));
}

#[tokio::test]
async fn what_a_script_may_not_hold_is_named_by_its_line_and_nothing_runs() {
    let world = World::new().await;
    for (text, line) in [
        ("# x\nGet-Mailbox -Identity a", 2),
        (
            "New-DistributionGroup -Name A\nNew-ManagementScope -Name x -Server y -RecipientRestrictionFilter z",
            2,
        ),
        ("New-DistributionGroup -Name A\nNew-DistributionGroup", 2),
        ("if (1) { }", 1),
    ] {
        let (status, body) = script(&world, text).await;
        assert_eq!((status, &body["error"]["line"]), (400, &json!(line)), "{body}");
    }
    // None of them made the group.
    let (status, body) = script(&world, "Get-DistributionGroup -Identity A").await;
    assert_eq!((status, body["error"]["line"].as_u64()), (400, Some(1)));
}

#[tokio::test]
async fn changes_arrive_late_on_the_tenants_own_clock() {
    let world = World::with(|options| options.propagation = Duration::from_secs(30)).await;
    let app = world.app(&["Mail.Read"]).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", app.id.as_str()),
        ("client_secret", app.secret.as_str()),
        ("scope", GRAPH_SCOPE),
    ];
    let (_, body) = world.ask(world.tenant(), &form).await;
    assert_eq!(body["error_codes"][0], 700_016, "{body}");
    advance(&world, 31).await;
    let path = format!("/v1.0/applications/{}/addPassword", app.object);
    let (_, fresh) = world.call(&world.admin, Method::POST, &path, Value::Null).await;
    let fresh = [form[0], form[1], ("client_secret", fresh["secretText"].as_str().unwrap()), form[3]];
    assert_eq!(world.ask(world.tenant(), &fresh).await.1["error_codes"][0], 7_000_215);
    let token = world.app_token(&app).await;
    assert_eq!(read(&world, &token, "hr").await.0, 200);
    let cut = format!(
        "New-ApplicationAccessPolicy -AppId {0} -PolicyScopeGroupId orders@contoso.example -AccessRight RestrictAccess\nTest-ApplicationAccessPolicy -Identity hr@contoso.example -AppId {0}",
        app.id
    );
    let results = ran(&world, &cut).await;
    assert_eq!(results[1]["output"][0]["AccessCheckResult"], "Denied");
    assert_eq!(read(&world, &token, "hr").await.0, 200);
    advance(&world, 31).await;
    assert_eq!(world.ask(world.tenant(), &fresh).await.0, 200);
    assert_eq!(read(&world, &token, "hr").await.0, 403);
}

#[tokio::test]
async fn requests_and_messages_are_counted() {
    let world = World::with(|options| {
        options.limits.requests_per_ten_minutes = 3;
        options.limits.messages_per_minute = 1;
    })
    .await;
    let token = world.token_with(&["Mail.Read", "Mail.Send"]).await;
    for expected in [200, 200, 200, 429] {
        let (status, body) = read(&world, &token, "hr").await;
        assert_eq!(status, expected, "{body}");
    }
    advance(&world, 600).await;
    assert_eq!(read(&world, &token, "hr").await.0, 200);
    let mail = json!({"message": {"toRecipients": [{"emailAddress": {"address": "ann@fabrikam.example"}}]}});
    let path = "/v1.0/users/orders@contoso.example/sendMail";
    assert_eq!(world.call(&token, Method::POST, path, mail.clone()).await.0, 202);
    let response = world.request(&token, Method::POST, path).json(&mail).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (429, &"60".parse().unwrap())
    );
}
