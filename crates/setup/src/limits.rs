//! What keeps an application to its mailboxes, as lines for Exchange Online PowerShell: RBAC for Applications
//! (<https://learn.microsoft.com/exchange/permissions-exo/application-rbac>), the older application access policies
//! (<https://learn.microsoft.com/exchange/permissions-exo/application-access-policies>), and for IMAP and SMTP the
//! permission on each mailbox.
//!
//! One cmdlet per line, values as single-quoted literals: a person can review it, and a line that says "already
//! exists" or "already being used" may be passed over.

use postroom_entra::register::Grant;
use postroom_model::EmailAddress;
use serde::Serialize;

use crate::plan::{Api, Limit, Plan};
use crate::quote;

/// How the script names what Entra gave ids to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Application (client) ID, as an expression of PowerShell.
    pub application: String,
    /// Object id of the service principal (*Enterprise applications*, not *App registrations*).
    pub principal: String,
}

impl Names {
    /// Ids that are known.
    pub fn known(application_id: &str, principal_id: &str) -> Self {
        Self { application: quote::powershell(application_id), principal: quote::powershell(principal_id) }
    }
}

/// A tenant-wide grant that the plan does not want, and how to take it away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// The permission: `Mail.ReadWrite`.
    pub value: String,
    /// What it does.
    pub words: String,
    /// The command that removes exactly this grant (Microsoft Graph PowerShell).
    pub command: String,
}

/// Tenant-wide grants that open mailboxes and are not in the plan. Rights add up: while one of these stands, a scope
/// in Exchange limits nothing.
pub fn leftover(grants: &[Grant], principal_id: &str, plan: &Plan) -> Vec<Leftover> {
    let wanted = plan.permissions();
    let families = ["Mail.", "Mailbox", "Mail-Advanced.", "Calendars.", "Contacts."];
    let protocols = ["full_access_as_app", "IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp"];
    let opens =
        |value: &str| families.iter().any(|family| value.starts_with(family)) || protocols.contains(&value);
    let is_wanted = |grant: &Grant| {
        wanted.iter().any(|one| one.resource_app_id == grant.resource_app_id && one.value == grant.value)
    };
    let unwanted = grants.iter().filter(|grant| opens(&grant.value) && !is_wanted(grant));
    unwanted
        .map(|grant| Leftover {
            value: grant.value.clone(),
            words: format!(
                "{} is granted for the whole tenant and defeats the limit to the mailboxes",
                grant.value
            ),
            command: removal(grant, principal_id),
        })
        .collect()
}

/// The command that takes one grant away. Ids of roles are looked up by value.
fn removal(grant: &Grant, principal_id: &str) -> String {
    let principal = quote::powershell(principal_id);
    let api = quote::powershell(&format!("appId eq '{}'", quote::filter(&grant.resource_app_id)));
    let value = quote::powershell(&grant.value);
    format!(
        "Get-MgServicePrincipalAppRoleAssignment -All -ServicePrincipalId {principal} | Where-Object {{ $_.AppRoleId -eq \
         ((Get-MgServicePrincipal -Filter {api}).AppRoles | Where-Object Value -eq {value}).Id }} | ForEach-Object {{ \
         Remove-MgServicePrincipalAppRoleAssignment -ServicePrincipalId {principal} -AppRoleAssignmentId $_.Id }}"
    )
}

/// What Exchange must be told for this plan; empty when nothing. `unlisted` is a mailbox outside the plan, to see
/// that it is refused.
pub fn script(plan: &Plan, names: &Names, unlisted: Option<&EmailAddress>) -> Vec<String> {
    let mut lines = match (plan.api, plan.limit) {
        (Api::ImapSmtp, _) => mailbox_permissions(plan, names),
        (_, Limit::Rbac) => rbac(plan, names, unlisted),
        (_, Limit::AccessPolicy) => access_policy(plan, names, unlisted),
        (_, Limit::None) => Vec::new(),
    };
    if plan.api == Api::Ews {
        lines.extend(ews_allow_list(names));
    }
    lines
}

/// What Exchange was told before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// Nothing, or just what it is to be told now.
    Nothing,
    /// Lines for these mailboxes, and nobody knows whether they ran.
    Perhaps(&'a [EmailAddress]),
    /// Lines that ran, and perhaps others after them.
    Ran {
        /// The mailboxes that were seen to open by them.
        applied: &'a [EmailAddress],
        /// Those that later lines named.
        superseded: &'a [EmailAddress],
    },
}

/// What Exchange must be told now: everything, or, where lines were run before and other mailboxes are planned, only
/// the change. Where nobody knows whether the earlier lines ran, both: each line of the first part may say that its
/// object exists already, and then the second part sets it right.
pub fn lines(plan: &Plan, names: &Names, told: Told<'_>, unlisted: Option<&EmailAddress>) -> Vec<String> {
    match told {
        Told::Ran { applied, superseded }
            if applied != plan.mailboxes.as_slice() || !superseded.is_empty() =>
        {
            change(plan, names, (applied, superseded), unlisted)
        }
        Told::Perhaps(superseded) if plan.needs_exchange() => {
            let mut lines = script(plan, names, None);
            lines.push(
                "# Earlier lines named other mailboxes. Whether they ran or not, these set the list right"
                    .to_owned(),
            );
            lines.extend(change(plan, names, (plan.mailboxes.as_slice(), superseded), unlisted));
            lines
        }
        _ => script(plan, names, unlisted),
    }
}

/// Sets the mailboxes to those of the plan. `before` are those that were applied, and those that may have been.
fn change(
    plan: &Plan,
    names: &Names,
    before: (&[EmailAddress], &[EmailAddress]),
    unlisted: Option<&EmailAddress>,
) -> Vec<String> {
    let (applied, superseded) = before;
    let join: Vec<&EmailAddress> = plan.mailboxes.iter().filter(|one| !applied.contains(one)).collect();
    let late = superseded.iter().filter(|one| !applied.contains(one));
    let leave = applied.iter().chain(late).filter(|one| !plan.mailboxes.contains(one));
    let leave: Vec<&EmailAddress> = leave.collect();
    let mut lines: Vec<String> = join.iter().map(|one| format!("# {one} joins")).collect();
    lines.extend(leave.iter().map(|one| format!("# {one} leaves: the application cannot open it any more")));
    let scope = quote::powershell(&scope_name(plan));
    match (plan.api, plan.limit) {
        (Api::ImapSmtp, _) => {
            let only = |mailboxes: &[&EmailAddress]| {
                let mut plan = plan.clone();
                plan.mailboxes = mailboxes.iter().map(|one| (*one).clone()).collect();
                plan
            };
            lines.extend(join.iter().flat_map(|one| mailbox_rights(one, names)));
            lines.extend(mailbox_removals(&only(&leave), names));
        }
        (_, Limit::Rbac) => {
            let filter = quote::powershell(&filter(plan));
            lines.push(format!("Set-ManagementScope -Identity {scope} -RecipientRestrictionFilter {filter}"));
            lines.push("# The proof: InScope is True for a listed mailbox, False for another".to_owned());
            let test = |address: &EmailAddress| {
                let address = quote::powershell(address.as_str());
                format!(
                    "Test-ServicePrincipalAuthorization -Identity {} -Resource {address} | Format-Table",
                    names.principal
                )
            };
            lines.extend(join.iter().chain(&leave).copied().chain(unlisted).map(test));
        }
        (_, Limit::AccessPolicy) => {
            // The list as a whole, so that it is right whatever ran before.
            lines.push(format!(
                "Update-DistributionGroupMember -Identity {scope} -Members {} -BypassSecurityGroupManagerCheck -Confirm:$false",
                members(plan)
            ));
        }
        (_, Limit::None) => lines.clear(),
    }
    lines
}

/// Takes back what [`script`] makes, in reverse order, and nothing else.
pub fn undo(plan: &Plan, names: &Names) -> Vec<String> {
    let principal = &names.principal;
    let name = scope_name(plan);
    let quoted = quote::powershell(&name);
    let remove_principal = format!("Remove-ServicePrincipal -Identity {principal} -Confirm:$false");
    match (plan.api, plan.limit) {
        (Api::ImapSmtp, _) => {
            let mut lines = mailbox_removals(plan, names);
            lines.push(remove_principal);
            lines
        }
        (_, Limit::Rbac) => {
            let mut lines: Vec<String> = plan
                .rights()
                .iter()
                .rev()
                .map(|right| {
                    let assignment = quote::powershell(&assignment_name(plan, &right.value));
                    format!("Remove-ManagementRoleAssignment -Identity {assignment} -Confirm:$false")
                })
                .collect();
            lines.push(format!("Remove-ManagementScope -Identity {quoted} -Confirm:$false"));
            lines.push(remove_principal);
            lines
        }
        // Another policy of this application is somebody else's: its description is not the plan's mark.
        (_, Limit::AccessPolicy) => vec![
            format!(
                "Get-ApplicationAccessPolicy | {} | Remove-ApplicationAccessPolicy -Confirm:$false",
                described(&quoted)
            ),
            format!("Remove-DistributionGroup -Identity {quoted} -Confirm:$false"),
        ],
        (_, Limit::None) => Vec::new(),
    }
}

/// Name of the management scope, or of the group of an access policy: unique by the plan's mark.
pub fn scope_name(plan: &Plan) -> String {
    format!("Postroom {}", plan.short_mark())
}

fn assignment_name(plan: &Plan, role: &str) -> String {
    format!("{} {}", scope_name(plan), role.strip_prefix("Application ").unwrap_or(role))
}

fn new_service_principal(plan: &Plan, names: &Names) -> String {
    format!(
        "New-ServicePrincipal -AppId {} -ObjectId {} -DisplayName {}",
        names.application,
        names.principal,
        quote::powershell(&plan.application)
    )
}

fn rbac(plan: &Plan, names: &Names, unlisted: Option<&EmailAddress>) -> Vec<String> {
    let scope = quote::powershell(&scope_name(plan));
    let mut lines = vec![
        "# The application, as Exchange knows it".to_owned(),
        new_service_principal(plan, names),
        "# The scope: exactly these mailboxes (in a new organization run Enable-OrganizationCustomization once before)".to_owned(),
        format!("New-ManagementScope -Name {scope} -RecipientRestrictionFilter {}", quote::powershell(&filter(plan))),
        "# One assignment per right, within the scope".to_owned(),
    ];
    for right in plan.rights() {
        lines.push(format!(
            "New-ManagementRoleAssignment -Name {} -App {} -Role {} -CustomResourceScope {scope}",
            quote::powershell(&assignment_name(plan, &right.value)),
            names.principal,
            quote::powershell(&right.value)
        ));
    }
    lines.push("# The proof: InScope is True for a listed mailbox, False for another".to_owned());
    let test = |address: &EmailAddress| {
        let address = quote::powershell(address.as_str());
        format!(
            "Test-ServicePrincipalAuthorization -Identity {} -Resource {address} | Format-Table",
            names.principal
        )
    };
    lines.extend(plan.mailboxes.first().map(test));
    match unlisted {
        Some(address) => lines.push(test(address)),
        None => lines.push(format!(
            "# Test-ServicePrincipalAuthorization -Identity {} -Resource <any other mailbox> | Format-Table",
            names.principal
        )),
    }
    lines
}

/// The mailboxes as an OPATH filter.
fn filter(plan: &Plan) -> String {
    let one =
        |address: &EmailAddress| format!("PrimarySmtpAddress -eq '{}'", quote::filter(address.as_str()));
    plan.mailboxes.iter().map(one).collect::<Vec<_>>().join(" -or ")
}

fn access_policy(plan: &Plan, names: &Names, unlisted: Option<&EmailAddress>) -> Vec<String> {
    let group = quote::powershell(&scope_name(plan));
    let alias = quote::powershell(&format!("postroom-{}", plan.short_mark()));
    let mut lines = vec![
        "# A mail-enabled security group with exactly these mailboxes".to_owned(),
        format!(
            "New-DistributionGroup -Name {group} -Alias {alias} -Type Security -Members {}",
            members(plan)
        ),
        "# The policy: the application opens these mailboxes and no other".to_owned(),
        // Exchange takes the same policy twice, and never says that it is there already.
        format!(
            "if (-not (Get-ApplicationAccessPolicy | {})) {{ New-ApplicationAccessPolicy -AppId {} -PolicyScopeGroupId {group} -AccessRight RestrictAccess -Description {group} }}",
            described(&group),
            names.application
        ),
        "# The proof: Granted for a listed mailbox, Denied for another".to_owned(),
    ];
    for address in plan.mailboxes.first().into_iter().chain(unlisted) {
        let address = quote::powershell(address.as_str());
        lines.push(format!("Test-ApplicationAccessPolicy -Identity {address} -AppId {}", names.application));
    }
    lines
}

/// The policy of a plan among all: by its description, which is unique by the plan's mark.
fn described(group: &str) -> String {
    format!("Where-Object {{ $_.Description -eq {group} }}")
}

/// The mailboxes as a list of PowerShell.
fn members(plan: &Plan) -> String {
    let all: Vec<String> = plan.mailboxes.iter().map(|address| quote::powershell(address.as_str())).collect();
    all.join(",")
}

fn mailbox_permissions(plan: &Plan, names: &Names) -> Vec<String> {
    let mut lines =
        vec!["# The application, as Exchange knows it".to_owned(), new_service_principal(plan, names)];
    lines.extend(plan.mailboxes.iter().flat_map(|address| mailbox_rights(address, names)));
    lines
}

fn mailbox_rights(address: &EmailAddress, names: &Names) -> Vec<String> {
    let (principal, mailbox) = (&names.principal, quote::powershell(address.as_str()));
    vec![
        format!(
            "# {address}: read, send, and the two protocols switched on. Note what the next line prints, for an undo"
        ),
        format!(
            "Get-CASMailbox -Identity {mailbox} | Format-List ImapEnabled,SmtpClientAuthenticationDisabled"
        ),
        format!("Add-MailboxPermission -Identity {mailbox} -User {principal} -AccessRights FullAccess"),
        format!(
            "Add-RecipientPermission -Identity {mailbox} -Trustee {principal} -AccessRights SendAs -Confirm:$false"
        ),
        format!(
            "Set-CASMailbox -Identity {mailbox} -ImapEnabled $true -SmtpClientAuthenticationDisabled $false"
        ),
    ]
}

/// Takes the permission on each mailbox back. What the protocols were before is known to nobody here, and others may
/// use them by now, so they stay, and the lines say so.
fn mailbox_removals(plan: &Plan, names: &Names) -> Vec<String> {
    let principal = &names.principal;
    let mut lines = Vec::new();
    for address in plan.mailboxes.iter().rev() {
        let mailbox = quote::powershell(address.as_str());
        lines.push(format!("Remove-RecipientPermission -Identity {mailbox} -Trustee {principal} -AccessRights SendAs -Confirm:$false"));
        lines.push(format!("Remove-MailboxPermission -Identity {mailbox} -User {principal} -AccessRights FullAccess -Confirm:$false"));
        lines.push(format!("# IMAP and authenticated SMTP STAY SWITCHED ON for {address}. If they were off before, with the values noted then:"));
        lines.push(format!(
            "# Set-CASMailbox -Identity {mailbox} -ImapEnabled $false -SmtpClientAuthenticationDisabled $null"
        ));
    }
    lines
}

/// The organization's allow-list is replaced as a whole, so the lines stay comments until a person has looked.
fn ews_allow_list(names: &Names) -> Vec<String> {
    vec![
        "# Exchange Web Services end on 2027-04-01. Until then the application must be on the allow-list. Look first:".to_owned(),
        "# Get-OrganizationConfig -RetrieveEwsOperationAccessPolicy | Format-List EwsEnabled,EwsAllowedAppIDs".to_owned(),
        "# Then write the whole list, with what stands there already:".to_owned(),
        format!("# Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs (@('<those already listed>') + {} -join ',')", names.application),
    ]
}

#[cfg(test)]
mod tests {
    use postroom_entra::register::{EXCHANGE, MICROSOFT_GRAPH};

    use super::*;
    use crate::testing::{APPLICATION, PRINCIPAL, plan};

    fn names() -> Names {
        Names::known(APPLICATION, PRINCIPAL)
    }

    #[test]
    fn the_scope_names_exactly_the_mailboxes_and_undo_takes_back_each_line() {
        let plan = plan();
        let unlisted = "hr@contoso.example".parse().unwrap();
        insta::assert_snapshot!("rbac", script(&plan, &names(), Some(&unlisted)).join("\n"));
        insta::assert_snapshot!("rbac-undo", undo(&plan, &names()).join("\n"));
    }

    #[test]
    fn the_older_policy_and_the_mailbox_permissions() {
        let mut plan = plan();
        plan.limit = Limit::AccessPolicy;
        insta::assert_snapshot!("access-policy", script(&plan, &names(), None).join("\n"));
        insta::assert_snapshot!("access-policy-undo", undo(&plan, &names()).join("\n"));
        plan.api = Api::ImapSmtp;
        plan.limit = Limit::None;
        plan.mailboxes.truncate(1);
        insta::assert_snapshot!("mailbox-permissions", script(&plan, &names(), None).join("\n"));
        insta::assert_snapshot!("mailbox-permissions-undo", undo(&plan, &names()).join("\n"));
    }

    #[test]
    fn a_quote_in_an_address_ends_neither_the_filter_nor_the_literal() {
        let mut plan = plan();
        plan.mailboxes = vec!["o'brien@contoso.example".parse().unwrap()];
        let lines = script(&plan, &names(), None);
        let scope = lines.iter().find(|line| line.starts_with("New-ManagementScope")).unwrap();
        assert!(scope.ends_with("'PrimarySmtpAddress -eq ''o''''brien@contoso.example'''"), "{scope}");
    }

    #[test]
    fn a_tenant_wide_grant_beside_a_scope_is_named_with_its_removal() {
        let mut plan = plan();
        let grant = |api: &str, value: &str| Grant { resource_app_id: api.into(), value: value.into() };
        let grants = [
            grant(MICROSOFT_GRAPH, "Mail.Send"),
            grant(MICROSOFT_GRAPH, "User.Read.All"),
            grant(EXCHANGE, "full_access_as_app"),
        ];
        let found = leftover(&grants, PRINCIPAL, &plan);
        let values: Vec<&str> = found.iter().map(|one| one.value.as_str()).collect();
        assert_eq!(values, ["Mail.Send", "full_access_as_app"]);
        assert!(found[0].command.contains("Where-Object Value -eq 'Mail.Send'"), "{}", found[0].command);
        plan.limit = Limit::None;
        assert_eq!(leftover(&grants, PRINCIPAL, &plan).len(), 1);
    }
}
