//! Named faults: each common mistake and refusal is induced on a tenant of this machine and must be recognised by name
//! in the ladder, with its cause and next step. `cargo xtask faults` prints the table that this test makes.
//!
//! | module | what is inside |
//! |---|---|
//! | here | runs the cases and prints the table |
//! | `cases` | what is induced, and what must be said |
//! | `protocols` | the same for EWS, IMAP and SMTP |
//! | `rungs` | what a mailbox is, a large file and its removal, a subscription |
//! | `tenant` | the tenant, with two applications in it |

#![expect(clippy::unwrap_used, reason = "a test says by it what must be there")]

mod cases;
mod protocols;
mod rungs;
mod tenant;

use postroom_check::{CheckRequest, Incoming, Report, Rung, Verdict};
use postroom_entra::{Ids, cause};
use postroom_model::connection::Cloud;
use postroom_transport::Account;

use cases::{Case, Expected};
use tenant::{Door, Tenant};

/// Rows of the table that must be there at least.
const LEAST: usize = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_induced_fault_is_recognised_by_name() {
    let tenant = Tenant::start().await;
    let cases = cases::all();
    assert!(cases.len() >= LEAST, "{} cases", cases.len());
    let mut wrong = Vec::new();
    println!("\n| name | induced | rung | said | next step |\n|---|---|---|---|---|");
    for case in &cases {
        tenant.clear_faults().await;
        for fault in &case.faults {
            tenant.fault(fault).await;
        }
        let mut request = tenant.request(case.door);
        if let (Some(reason), Cloud::Custom(endpoints)) = (case.policy, &mut request.settings.cloud) {
            endpoints.exchange = Some(tenant.closed_front(reason).await);
        }
        (case.change)(&mut request);
        let report = postroom_check::run(&request, &tenant.env, &mut |_| {}).await;
        match recognised(case, &report, &request) {
            Ok(rung) => println!("{}", line(case, rung)),
            Err(words) => wrong.push(words),
        }
    }
    println!("\n{} faults induced, {} not recognised\n", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Through every door a check in which nothing is wrong says `OK!`, and leaves nothing behind where it can remove it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_in_which_nothing_is_wrong_says_ok_through_every_door() {
    let tenant = Tenant::start().await;
    for door in [Door::Graph, Door::Ews, Door::Imap, Door::Smtp] {
        let mut request = tenant.request(door);
        cases::message(&mut request);
        request.must_not_open = vec!["hr@contoso.example".parse().unwrap()];
        if let Door::Graph | Door::Ews = door {
            // This application may open every mailbox.
            request.must_not_open.clear();
        }
        if door == Door::Smtp {
            let CheckRequest { settings, secret, mailboxes, .. } = tenant.request(Door::Imap);
            request.incoming =
                Some(Incoming { settings, secret, account: Account::of(mailboxes[0].clone()) });
        }
        let report = postroom_check::run(&request, &tenant.env, &mut |_| {}).await;
        assert_eq!(report.summary(), "OK!", "{door:?}: {report:#?}");
        let back = report.rungs.iter().find(|rung| rung.name == "round-trip").map(|rung| rung.verdict);
        assert_eq!(back, (door != Door::Imap).then_some(Verdict::Pass), "{report:#?}");
    }
}

/// The rung that names the fault, or what was said instead.
fn recognised<'a>(case: &Case, report: &'a Report, request: &CheckRequest) -> Result<&'a Rung, String> {
    let rung = report.rungs.iter().find(|rung| rung.name == case.rung);
    let Some(rung) = rung else { return Err(format!("{}: there is no rung {}", case.name, case.rung)) };
    let said = rung.cause.as_deref().unwrap_or_default();
    let named = match case.expected {
        Expected::Row(code) => {
            let settings = &request.settings;
            let ids = Ids::of(&settings.tenant_id, &settings.application_id);
            let ids =
                request.mailboxes.first().map_or(ids.clone(), |mailbox| ids.with_mailbox(mailbox.as_str()));
            cause::explain(code, &ids).is_some_and(|advice| said == advice.cause)
        }
        Expected::Words(words) => said.contains(words),
    };
    let helped = rung.next_step.as_deref().is_some_and(|step| !step.is_empty());
    if named && helped {
        return Ok(rung);
    }
    Err(format!("{} was not recognised: {rung:?}", case.name))
}

/// Every row of the table of causes stands among the cases.
#[test]
fn no_row_is_left_out() {
    let cases = cases::all();
    for row in cause::rows() {
        assert!(cases.iter().any(|case| case.name == row.name), "{} is not induced", row.name);
    }
}

fn line(case: &Case, rung: &Rung) -> String {
    let cell = |text: &Option<String>| text.as_deref().unwrap_or_default().replace('|', "\\|");
    let Case { name, induced, .. } = case;
    format!("| {name} | {induced} | {} | {} | {} |", rung.title, cell(&rung.cause), cell(&rung.next_step))
}
