//! Rungs that need more than a fault: what a mailbox is, a large file that is removed whatever happens, a subscription that
//! is really made.

use postroom_check::{Mode, Rung, Verdict};
use serde_json::{Value, json};

use super::tenant::{Door, ORDERS, Tenant};

impl Tenant {
    /// One rung of a check through Graph.
    async fn rung(&self, name: &str, change: impl Fn(&mut postroom_check::CheckRequest)) -> Rung {
        let mut request = self.request(Door::Graph);
        change(&mut request);
        let report = postroom_check::run(&request, &self.env, &mut |_| {}).await;
        report.rungs.into_iter().find(|rung| rung.name == name).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_mailbox_is_named_with_verdict_and_cause_or_said_not_to_be_checked() {
    let tenant = Tenant::start().await;
    let rung = format!("mailbox:{ORDERS}");
    // Without the rights to ask: said, and no verdict hangs on it.
    let plain = tenant.rung(&rung, |_| {}).await;
    assert_eq!(plain.verdict, Verdict::Pass, "{plain:?}");
    assert!(plain.got.contains("cannot be checked: that needs MailboxSettings.Read"), "{plain:?}");
    tenant.kind(ORDERS, "group").await;
    let plain = tenant.rung(&rung, |_| {}).await;
    assert!(plain.got.contains("cannot be checked: that needs Directory.Read.All"), "{plain:?}");

    let rights = ["Mail.ReadWrite", "MailboxSettings.Read", "Directory.Read.All"];
    let (application, secret) = tenant.another(&rights).await;
    for (kind, verdict, words) in [
        ("user", Verdict::Pass, "the mailbox of a user"),
        ("shared", Verdict::Pass, "a shared mailbox"),
        ("linked", Verdict::Pass, "another forest"),
        ("others", Verdict::Pass, "calls its type others"),
        ("room", Verdict::Warn, "belongs to a room"),
        ("equipment", Verdict::Warn, "belongs to a piece of equipment"),
        ("group", Verdict::Fail, "is a group"),
        ("unlicensed", Verdict::Fail, "without any licence"),
        ("inactive", Verdict::Fail, "is inactive"),
    ] {
        tenant.kind(ORDERS, kind).await;
        let found = tenant
            .rung(&rung, |request| {
                request.settings.application_id.clone_from(&application);
                request.secret = Some(secret.clone().into());
            })
            .await;
        assert_eq!(found.verdict, verdict, "{kind}: {found:?}");
        let said = if verdict == Verdict::Pass { &found.got } else { found.cause.as_ref().unwrap() };
        assert!(said.contains(words), "{kind}: {found:?}");
        assert_eq!(found.next_step.is_some(), verdict != Verdict::Pass, "{kind}");
    }

    // Where the interface cannot tell, that is said by name.
    for (door, who) in [(Door::Ews, "Exchange Web Services"), (Door::Imap, "IMAP")] {
        let report = postroom_check::run(&tenant.request(door), &tenant.env, &mut |_| {}).await;
        let found = report.rungs.into_iter().find(|found| found.name == rung).unwrap();
        assert_eq!(found.verdict, Verdict::Skipped);
        assert!(found.got.contains("cannot be checked") && found.got.contains(who), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_draft_is_compared_and_removed_also_when_something_fails_half_way() {
    let tenant = Tenant::start().await;
    let full = |request: &mut postroom_check::CheckRequest| request.mode = Mode::Full;
    let found = tenant.rung("send-large", full).await;
    assert_eq!(found.verdict, Verdict::Pass, "{found:?}");
    assert!(found.got.contains("the same when read back; nothing is left"), "{found:?}");
    assert_eq!(tenant.drafts().await, 0);
    let once = |more: Value| {
        let mut fault = json!({"status": 503, "count": 1});
        fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fault
    };
    let many = |more: Value| {
        let mut fault = json!({"status": 400, "code": "ErrorInvalidRequest", "count": 50});
        fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fault
    };
    for (fault, verdict) in [
        // Before the session, in its middle, when it is read back; and when the removal fails at first.
        (many(json!({"path_contains": "createUploadSession"})), Verdict::Fail),
        (many(json!({"path_contains": "_upload"})), Verdict::Fail),
        (many(json!({"path_contains": "/attachments/"})), Verdict::Fail),
        (once(json!({"path_contains": "permanentDelete"})), Verdict::Pass),
    ] {
        tenant.fault(&fault).await;
        let found = tenant.rung("send-large", full).await;
        let as_expected = match verdict {
            Verdict::Pass => found.verdict == Verdict::Pass,
            _ => found.verdict != Verdict::Pass && found.next_step.is_some(),
        };
        assert!(as_expected, "{fault}: {found:?}");
        tenant.clear_faults().await;
        assert_eq!(tenant.drafts().await, 0, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_made_and_ended_where_microsoft_can_call_and_said_to_be_needless_elsewhere() {
    let tenant = Tenant::start().await;
    let none = tenant.rung("notice", |_| {}).await;
    assert_eq!(none.verdict, Verdict::Pass);
    assert!(none.got.contains("none is needed") && none.got.contains("`public_url` is not set"), "{none:?}");

    let address = tenant.receiver().await;
    let made = tenant.rung("notice", |request| request.notify_at = Some(address.clone())).await;
    assert_eq!(made.verdict, Verdict::Pass, "{made:?}");
    assert!(made.got.contains("a subscription was made") && made.got.contains("Polling every"), "{made:?}");
    assert_eq!(tenant.subscriptions().await, json!([]));

    let gone: url::Url = "http://127.0.0.1:9/api/v1/notifications/graph".parse().unwrap();
    let refused = tenant.rung("notice", |request| request.notify_at = Some(gone.clone())).await;
    assert_eq!(refused.verdict, Verdict::Warn, "{refused:?}");
    assert!(refused.cause.unwrap().contains("could not call http://127.0.0.1:9/"));
    assert!(refused.next_step.unwrap().contains("polling goes on either way"));
}
