//! A set-up that somebody else runs: what comes back is not proved until it was tried, replaces nothing that works
//! unasked, and a list of mailboxes that changed meanwhile is set right whether the earlier lines ran or not.

use serde_json::{Value, json};

use crate::harness::{World, answer};
use crate::setup::{Administrator, CONNECTION, import, in_exchange, run_bash, says_ok, snapshot};

/// `setup script` for one mailbox.
async fn script(world: &World, administrator: &Administrator, more: &[&str]) -> String {
    let mut arguments = vec!["setup", "script", "--shell", "bash", "--connection", CONNECTION];
    arguments.extend(["--mailbox", "orders@contoso.example"]);
    arguments.extend(more);
    arguments.extend(administrator.cloud.iter().map(String::as_str));
    world.ok(&arguments).await
}

/// What a person does with printed lines: one after the other, passing over what is there already.
async fn line_by_line(world: &World, lines: &str) {
    let url = format!("{}/_sandbox/exchange", world.ready["graph"].as_str().unwrap());
    let known = |line: &&str| line.starts_with('#') || line.contains('-');
    for line in lines.lines().filter(known) {
        let (status, answer) = answer(world.http.post(&url).body(line.to_owned())).await;
        let words = answer.to_string();
        let there = words.contains("already exists") || words.contains("already being used");
        assert!(status == 200 || there, "{line}\n{answer}");
    }
}

#[tokio::test]
async fn what_is_imported_is_not_proved_until_it_was_tried() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let make = script(&world, &administrator, &["--limit", "none", "--secret"]).await;
    let line = run_bash(&world, &administrator, &make);

    world.fault(json!({"path_contains": "/token", "status": 401, "code": "AADSTS7000215", "count": 1})).await;
    let (code, words) = import(&world, &line, &[]);
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains(&format!("saved {CONNECTION}, not proved: ")), "{words}");
    world.no_faults().await;
    let (code, words) = import(&world, &line, &[]);
    assert!(code == Some(0) && !words.contains("not proved"), "{words}");
    says_ok(&world).await;

    // Another application, or another credential, takes the place of what works only when it is asked for.
    let again = run_bash(&world, &administrator, &make);
    let (code, words) = import(&world, &again, &[]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("credential") && words.contains("--replace"), "{words}");
    let (code, words) = import(&world, &again, &["--replace"]);
    assert_eq!(code, Some(0), "{words}");
    says_ok(&world).await;
    let undo = script(&world, &administrator, &["--limit", "none", "--secret", "--undo"]).await;
    run_bash(&world, &administrator, &undo);
    let other = run_bash(&world, &administrator, &make);
    let (code, words) = import(&world, &other, &[]);
    assert!(code == Some(1) && words.contains("application"), "{words}");
    assert_eq!(import(&world, &other, &["--replace"]).0, Some(0));
    says_ok(&world).await;
}

#[tokio::test]
async fn a_limited_set_up_is_imported_before_exchange_is_done_and_proved_after() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let make = script(&world, &administrator, &["--limit", "rbac"]).await;
    let line = run_bash(&world, &administrator, &make);
    let (code, words) = import(&world, &line, &[]);
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("mailbox orders@contoso.example does not open yet"), "{words}");
    let lines = world.ok(&["setup", "scope-script", "--connection", CONNECTION]).await;
    line_by_line(&world, &lines).await;
    let (code, words) = import(&world, &line, &[]);
    assert_eq!(code, Some(0), "{words}");
    says_ok(&world).await;
}

#[tokio::test]
async fn the_cloud_decides_where_a_script_and_a_plan_go() {
    let world = World::new().await;
    for (cloud, graph) in [
        ("china", "https://microsoftgraph.chinacloudapi.cn"),
        ("us-government", "https://graph.microsoft.us"),
        ("us-government-dod", "https://dod-graph.microsoft.us"),
    ] {
        let plan = ["setup", "--connection", CONNECTION, "--mailbox", "orders@contoso.example"];
        let plan = [plan.as_slice(), &["--cloud", cloud, "--dry-run", "--json"]].concat();
        let plan: Value = serde_json::from_str(&world.ok(&plan).await).unwrap();
        assert!(plan["cloud"].to_string().contains(cloud), "{plan}");
        let script = ["setup", "script", "--shell", "bash", "--secret", "--connection", cloud];
        let script = [script.as_slice(), &["--mailbox", "orders@contoso.example", "--cloud", cloud]].concat();
        let script = world.ok(&script).await;
        assert!(script.contains(graph) && !script.contains("graph.microsoft.com"), "{script}");
    }
    let words = world
        .fails(2, &["setup", "--mailbox", "orders@contoso.example", "--cloud", "moon", "--dry-run"])
        .await;
    assert!(words.contains("us-government-dod"), "{words}");
}

/// A set-up that does not wait, for this mailbox: what it printed.
async fn for_mailbox(
    world: &World,
    administrator: &Administrator,
    limit: &str,
    mailbox: &str,
) -> (Option<i32>, String) {
    let mut arguments = administrator.setup(&["--wait", "0", "--limit", limit]);
    arguments[4] = mailbox;
    let output = world.run(&arguments).await;
    let words = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &words)
}

#[tokio::test]
async fn a_list_that_changed_before_it_was_ever_applied_is_set_right() {
    const SERVICE: &str = "service@contoso.example";
    for (limit, ran) in [("rbac", true), ("rbac", false), ("access-policy", true)] {
        let world = World::new().await;
        let administrator = Administrator::of(&world).await;
        // With a policy the grant is for the whole tenant, so the first list is kept from being seen to open.
        world.fault(json!({"path_contains": "mailFolders", "status": 403, "count": 1})).await;
        let (code, first) = for_mailbox(&world, &administrator, limit, "orders@contoso.example").await;
        assert_eq!(code, Some(3), "{first}");
        world.no_faults().await;
        if ran {
            let lines = world.ok(&["setup", "scope-script", "--connection", CONNECTION]).await;
            line_by_line(&world, &lines).await;
        }
        let (_, second) = for_mailbox(&world, &administrator, limit, SERVICE).await;
        let sets = if limit == "rbac" { "Set-ManagementScope" } else { "Update-DistributionGroupMember" };
        assert!(second.contains(sets) && second.contains("orders@contoso.example leaves"), "{second}");
        let lines = world.ok(&["setup", "scope-script", "--connection", CONNECTION]).await;
        assert!(lines.contains(sets), "{lines}");
        line_by_line(&world, &lines).await;
        let (code, third) = for_mailbox(&world, &administrator, limit, SERVICE).await;
        assert_eq!(code, Some(0), "{third}");
        assert!(third.contains("mailbox orders@contoso.example is refused"), "{third}");
        let now = snapshot(&world).await;
        let list = if limit == "rbac" { &now["managementScopes"] } else { &now["distributionGroups"] };
        assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
        assert!(list.to_string().contains(SERVICE) && !list.to_string().contains("orders@"), "{list}");
        assert!(!for_mailbox(&world, &administrator, limit, SERVICE).await.1.contains("ManagementScope"));
    }
}

#[tokio::test]
async fn the_lines_of_an_access_policy_run_twice_make_one_policy_and_their_undo_removes_that_one_alone() {
    let world = World::new().await;
    let administrator = Administrator::of(&world).await;
    let policy = |app: &str, why: &str| {
        format!(
            "New-ApplicationAccessPolicy -AppId {app} -PolicyScopeGroupId Staff -AccessRight RestrictAccess -Description '{why}'"
        )
    };
    let group = "New-DistributionGroup -Name Staff -Type Security -Members sales@contoso.example";
    in_exchange(&world, &format!("{group}\n{}", policy(&world.application_id, "of another application")))
        .await;
    let before = snapshot(&world).await;

    world.fault(json!({"path_contains": "mailFolders", "status": 403, "count": 1})).await;
    for_mailbox(&world, &administrator, "access-policy", "orders@contoso.example").await;
    world.no_faults().await;
    let lines = world.ok(&["setup", "scope-script", "--connection", CONNECTION]).await;
    let policies = async || snapshot(&world).await["applicationAccessPolicies"].as_array().unwrap().len();
    for round in 1..=2 {
        line_by_line(&world, &lines).await;
        assert_eq!(policies().await, 2, "round {round}");
    }
    // Another one of this very application is its administrator's own, and stays.
    let made = administrator.application(&world, &format!("Postroom {CONNECTION}")).await;
    in_exchange(&world, &policy(made["appId"].as_str().unwrap(), "by hand")).await;
    let undo = world.ok(&["setup", "scope-script", "--connection", CONNECTION, "--undo"]).await;
    in_exchange(&world, &undo).await;
    assert_eq!(policies().await, 2);
    let by_hand = "Get-ApplicationAccessPolicy | Where-Object { $_.Description -eq 'by hand' } | Remove-ApplicationAccessPolicy";
    in_exchange(&world, by_hand).await;
    world.ok(&[administrator.undo().as_slice(), &["--exchange-done"]].concat()).await;
    assert_eq!(snapshot(&world).await, before);
}
