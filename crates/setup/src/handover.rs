//! A page for the tenant's administrator with exactly the steps of the plan. Self-contained: no program, nothing
//! fetched from elsewhere.

use postroom_model::Env;
use serde_json::json;

use crate::error::SetupError;
use crate::limits::{self, Names, Told};
use crate::plan::{Api, KeyKind, Limit, Plan};
use crate::script::{Ask, Purpose, Shell, script};
use crate::templates;

/// The public half of a certificate, in both forms the page needs.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// DER, for the scripts.
    pub der: &'a [u8],
    /// PEM, for the upload by hand.
    pub pem: &'a str,
}

/// The page. `told` is what Exchange was told before.
///
/// # Errors
/// As [`script`].
pub fn handover(
    plan: &Plan,
    told: Told<'_>,
    env: &Env,
    certificate: Option<Certificate<'_>>,
) -> Result<String, SetupError> {
    let made = |shell, purpose| {
        let ask = Ask {
            shell,
            purpose,
            certificate: certificate.map(|one| one.der),
            unlisted: plan.must_not_open.first(),
            told,
        };
        script(plan, env, ask)
    };
    let warnings: Vec<_> = plan
        .validate(env.now())
        .warnings()
        .map(|warning| json!({ "message": warning.message, "hint": warning.hint }))
        .collect();
    let permissions: Vec<_> = plan.permissions().iter().map(|one| json!({ "value": one.value })).collect();
    let names = Names::known("<Application (client) ID>", "<Object ID of the enterprise application>");
    let until = plan.key.expires_at.to_string();
    templates::fill(
        "handover.html",
        &json!({
            "plan": plan,
            "accounts": plan.accounts.label(),
            "rights": plan.rights(),
            "limit": plan.limit_words(),
            "until": until.get(..10).unwrap_or(&until),
            "warnings": warnings,
            "permissions": permissions,
            "api": if plan.api == Api::Graph { "Microsoft Graph" } else { "APIs my organization uses, Office 365 Exchange Online" },
            "secret": plan.key.kind == KeyKind::Secret,
            "certificate_pem": certificate.filter(|_| plan.key.kind == KeyKind::Certificate).map(|one| one.pem),
            "exchange": limits::lines(plan, &names, told, plan.must_not_open.first()),
            "consent": consent_url(plan, None),
            "consent_known": false,
            "opens_all": plan.limit == Limit::None && plan.api != Api::ImapSmtp,
            "links": {
                "create": "https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/CreateApplicationBlade",
                "enterprise": "https://entra.microsoft.com/#view/Microsoft_AAD_IAM/StartboardApplicationsMenuBlade/~/AppAppsPreview",
                "cloud_shell": "https://shell.azure.com/bash",
            },
            "powershell": made(Shell::PowerShell, Purpose::Make)?,
            "bash": made(Shell::Bash, Purpose::Make)?,
            "powershell_undo": made(Shell::PowerShell, Purpose::Undo)?,
            "bash_undo": made(Shell::Bash, Purpose::Undo)?,
        }),
    )
}

/// Where an administrator consents for the whole tenant
/// (<https://learn.microsoft.com/entra/identity/enterprise-apps/grant-admin-consent>).
pub fn consent_url(plan: &Plan, application_id: Option<&str>) -> String {
    let mut url = plan.cloud.endpoints().authority;
    let tenant = plan.tenant.as_deref().unwrap_or("organizations");
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend([tenant, "adminconsent"]);
    }
    url.query_pairs_mut().append_pair("client_id", application_id.unwrap_or_default());
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{APPLICATION, plan};

    #[test]
    fn the_page_is_self_contained_and_keeps_hostile_names_as_text() {
        let env = Env::for_test(1).0;
        let mut plan = plan();
        plan.application = "</pre><script>alert(1)</script>'&\"".to_owned();
        plan.limit = Limit::None;
        let certificate = Certificate { der: b"certificate", pem: "-----BEGIN CERTIFICATE-----\nAA==\n" };
        let page = handover(&plan, Told::Nothing, &env, Some(certificate)).unwrap();
        assert!(!page.contains("<script"), "a script got into the page");
        for outside in ["src=", "<link", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        for words in ["open every mailbox", "Mail.ReadWrite", "BEGIN CERTIFICATE", "adminconsent?client_id="]
        {
            assert!(page.contains(words), "{words} is missing");
        }
        plan.limit = Limit::Rbac;
        let page = handover(&plan, Told::Nothing, &env, Some(certificate)).unwrap();
        assert!(page.contains("New-ManagementScope") && page.contains("Grant nothing here"));
    }

    #[test]
    fn consent_is_asked_for_in_the_plans_tenant_and_cloud() {
        let mut plan = plan();
        plan.tenant = Some("contoso.example".into());
        assert_eq!(
            consent_url(&plan, Some(APPLICATION)),
            format!("https://login.microsoftonline.com/contoso.example/adminconsent?client_id={APPLICATION}")
        );
    }
}
