use std::collections::HashSet;

use super::*;

#[test]
fn every_row_has_a_name_is_found_by_its_example_and_fills_in_its_ids() {
    assert!(rows().count() >= 60, "{}", rows().count());
    let mut names = HashSet::new();
    for row in rows() {
        assert!(names.insert(row.name), "{} stands twice", row.name);
        for ids in [Ids::of("tenant-1", "app-1").with_mailbox("orders@contoso.example"), Ids::default()] {
            let advice = explain(row.example, &ids).unwrap_or_else(|| panic!("{} is not found", row.name));
            assert_eq!(advice.row, row.name, "its example is another row's");
            assert_eq!(advice.waiting, row.may_take.is_some());
            let text = advice.to_string();
            assert!(!text.contains(['{', '}']) && !text.contains("  "), "{text}");
            assert!(advice.cause.ends_with('.') && advice.next_step.ends_with('.'), "{text}");
            assert_eq!(text.matches('`').count() % 2, 0, "{text}");
        }
    }
}

#[test]
fn no_code_stands_in_two_rows() {
    let mut seen = HashSet::new();
    for row in all() {
        let codes: Vec<String> = match row.says {
            Says::Aadsts(numbers) => numbers.iter().map(u32::to_string).collect(),
            Says::Graph(codes, _) => codes.iter().map(|code| format!("graph {code}")).collect(),
            Says::Ews(codes, _) => codes.iter().map(|code| format!("ews {code}")).collect(),
            Says::GraphWords(words) | Says::Imap(words) | Says::Smtp(words) => {
                words.iter().map(|word| (*word).to_owned()).collect()
            }
        };
        for code in codes {
            assert!(seen.insert(code.clone()), "{code} stands in two rows");
        }
    }
}

#[test]
fn the_guides_first_mistake_names_its_field_and_links_to_the_page() {
    let ids = Ids::of("contoso.example", "5a1b2c3d-0000-4000-8000-00000000a001");
    let advice = explain(Code::Aadsts(7_000_215), &ids).unwrap();
    assert_eq!(advice.field, Some("secret"));
    assert!(advice.next_step.contains(
        "https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationMenuBlade/~/Credentials/appId/5a1b2c3d-0000-4000-8000-00000000a001"
    ));
    let china = ids.clone().with_authority("login.partner.microsoftonline.cn");
    let advice = explain(Code::Aadsts(7_000_215), &china).unwrap();
    assert!(advice.next_step.contains("https://portal.azure.cn/#view"));
    assert_eq!(ids.clone().with_authority("login.example").portal, None);
    assert_eq!(ids.with_cloud(&Cloud::UsGovernment).portal, Some("https://portal.azure.us"));
}

#[test]
fn denied_may_be_propagation() {
    let advice = explain(Code::Graph { status: 403, code: "erroraccessdenied" }, &Ids::default()).unwrap();
    assert!(advice.waiting && advice.may_take == Some(SignedDuration::from_hours(2)));
    assert_eq!(explain(Code::Graph { status: 418, code: "Teapot" }, &Ids::default()), None);
    assert_eq!(explain(Code::Aadsts(1), &Ids::default()), None);
}

#[test]
fn no_advice_for_a_closed_mailbox_asks_for_rights_in_the_whole_tenant() {
    let ids = Ids::of("contoso.example", "app-1").with_mailbox("desk@contoso.example");
    for code in [
        Code::Graph { status: 403, code: "ErrorAccessDenied" },
        Code::Graph { status: 403, code: "Unheard" },
        Code::Ews { status: 403, code: "" },
    ] {
        let step = explain(code, &ids).unwrap().next_step;
        assert!(
            step.contains("scope-script") && step.contains("nothing is to be granted in Entra"),
            "{step}"
        );
        assert!(!step.contains("consent"), "{step}");
    }
}

#[test]
fn real_replies_are_recognised() {
    let ids = Ids::of("contoso.example", "app-1").with_mailbox("desk@contoso.example");
    let raop =
        "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.";
    for (code, row) in [
        (Code::GraphSaid { status: 403, code: "ErrorAccessDenied", message: raop }, "graph-access-policy"),
        (
            Code::GraphSaid {
                status: 403,
                code: "ErrorAccessDenied",
                message: "Access to OData is disabled.",
            },
            "graph-odata-disabled",
        ),
        (Code::Ews { status: 500, code: "a:ErrorServerBusy" }, "ews-busy"),
        (Code::Ews { status: 403, code: "EWS is disabled for this user or tenant" }, "ews-switched-off"),
        (Code::Ews { status: 403, code: "" }, "ews-status-403"),
        (Code::Imap("a2 NO AUTHENTICATE failed."), "imap-sign-in-refused"),
        (Code::Imap("a3 BAD User is authenticated but not connected."), "imap-not-connected"),
        (
            Code::Imap("BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds"),
            "imap-throttled",
        ),
        (Code::Imap("* BYE Session invalidated - AccessTokenExpired"), "imap-token-expired"),
        (Code::Smtp("535 5.7.3 Authentication unsuccessful [AM0PR01CA0001]"), "smtp-sign-in-refused"),
        (
            Code::Smtp(
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.",
            ),
            "smtp-off-for-tenant",
        ),
        (
            Code::Smtp(
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
            ),
            "smtp-off-for-mailbox",
        ),
        (
            Code::Smtp("535 5.7.139 Authentication unsuccessful, the user credentials were incorrect."),
            "smtp-basic-off",
        ),
        (Code::Smtp("432 4.3.2 Concurrent connections limit exceeded."), "smtp-too-many"),
        (
            Code::Smtp(
                "554 5.2.252 SendAsDenied; desk@contoso.example not allowed to send as x@contoso.example",
            ),
            "smtp-send-as-denied",
        ),
        (
            Code::Smtp("554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; ..."),
            "smtp-sending-limit",
        ),
        (Code::Smtp("550 5.1.8 Access denied, bad outbound sender"), "smtp-blocked"),
        (Code::Smtp("550-5.1.10 RESOLVER.ADR.RecipientNotFound"), "smtp-recipient-unknown"),
        (Code::Smtp("451 4.7.500 Server busy"), "smtp-transient"),
        (Code::Smtp("421 4.7.66 TLS 1.0 and 1.1 are not supported."), "smtp-tls-old"),
    ] {
        assert_eq!(explain(code, &ids).map(|advice| advice.row), Some(row), "{code:?}");
    }
    // A number inside another is none.
    assert_eq!(explain(Code::Smtp("554 15.2.25 message 4210 refused"), &ids), None);
    assert_eq!(explain(Code::Smtp(""), &ids), None);
}
