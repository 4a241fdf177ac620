//! The cmdlets: their parameters, and which file runs them. Groups, mailboxes and the organisation are here.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};

use super::script::{Command, Filled};
use super::{access, policies, rights, roles};
use crate::directory::users;
use crate::state::{DOMAIN, Tenant, random_guid, setting};

/// Why a cmdlet did nothing.
pub(super) enum Failure {
    /// The sentence the shell would print.
    Said(String),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

pub(super) type Output = Result<Vec<Value>, Failure>;

/// A refusal in a sentence.
pub(super) fn said<T>(what: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Said(what.into()))
}

/// A cmdlet: name, parameters it cannot do without, and the others.
struct Known {
    name: &'static str,
    needs: &'static [&'static str],
    takes: &'static [&'static str],
}

const fn cmdlet(name: &'static str, needs: &'static [&'static str], takes: &'static [&'static str]) -> Known {
    Known { name, needs, takes }
}

const CMDLETS: &[Known] = &[
    cmdlet(
        "Connect-ExchangeOnline",
        &[],
        &["UserPrincipalName", "AppId", "Organization", "ShowBanner", "CertificateThumbprint", "Device"],
    ),
    cmdlet("Disconnect-ExchangeOnline", &[], &[]),
    cmdlet("New-ServicePrincipal", &["AppId", "ObjectId"], &["DisplayName", "ServiceId"]),
    cmdlet("Get-ServicePrincipal", &[], &["Identity"]),
    cmdlet("Remove-ServicePrincipal", &["Identity"], &[]),
    cmdlet("New-ManagementScope", &["Name", "RecipientRestrictionFilter"], &[]),
    cmdlet("Set-ManagementScope", &["Identity", "RecipientRestrictionFilter"], &[]),
    cmdlet("Get-ManagementScope", &[], &["Identity"]),
    cmdlet("Remove-ManagementScope", &["Identity"], &[]),
    cmdlet("New-ManagementRoleAssignment", &["App", "Role"], &["Name", "CustomResourceScope"]),
    cmdlet("Get-ManagementRoleAssignment", &[], &["RoleAssignee", "Identity"]),
    cmdlet("Remove-ManagementRoleAssignment", &["Identity"], &[]),
    cmdlet("Test-ServicePrincipalAuthorization", &["Identity"], &["Resource"]),
    cmdlet(
        "New-DistributionGroup",
        &["Name"],
        &["Type", "Alias", "DisplayName", "PrimarySmtpAddress", "Members", "Notes"],
    ),
    cmdlet("Get-DistributionGroup", &["Identity"], &[]),
    cmdlet("Remove-DistributionGroup", &["Identity"], &[]),
    cmdlet("Add-DistributionGroupMember", &["Identity", "Member"], &["BypassSecurityGroupManagerCheck"]),
    cmdlet("Remove-DistributionGroupMember", &["Identity", "Member"], &["BypassSecurityGroupManagerCheck"]),
    cmdlet("Get-DistributionGroupMember", &["Identity"], &[]),
    cmdlet("Update-DistributionGroupMember", &["Identity", "Members"], &["BypassSecurityGroupManagerCheck"]),
    cmdlet("New-ApplicationAccessPolicy", &["AppId", "PolicyScopeGroupId", "AccessRight"], &["Description"]),
    cmdlet("Get-ApplicationAccessPolicy", &[], &["Identity"]),
    cmdlet("Test-ApplicationAccessPolicy", &["Identity", "AppId"], &[]),
    cmdlet("Remove-ApplicationAccessPolicy", &["Identity"], &[]),
    cmdlet(
        "Add-MailboxPermission",
        &["Identity", "User", "AccessRights"],
        &["InheritanceType", "AutoMapping"],
    ),
    cmdlet("Get-MailboxPermission", &["Identity"], &["User"]),
    cmdlet("Remove-MailboxPermission", &["Identity", "User", "AccessRights"], &[]),
    cmdlet("Add-RecipientPermission", &["Identity", "Trustee", "AccessRights"], &[]),
    cmdlet("Remove-RecipientPermission", &["Identity", "Trustee", "AccessRights"], &[]),
    cmdlet(
        "Set-OrganizationConfig",
        &[],
        &["EwsEnabled", "EwsAllowedAppIDs", "EwsApplicationAccessPolicy", "EwsAllowList", "EwsBlockList"],
    ),
    cmdlet("Get-OrganizationConfig", &[], &["RetrieveEwsOperationAccessPolicy"]),
    cmdlet(
        "Set-CASMailbox",
        &["Identity"],
        &["ImapEnabled", "PopEnabled", "EwsEnabled", "SmtpClientAuthenticationDisabled"],
    ),
    cmdlet("Get-CASMailbox", &["Identity"], &[]),
    cmdlet("Set-TransportConfig", &[], &["SmtpClientAuthenticationDisabled"]),
    cmdlet("Get-TransportConfig", &[], &[]),
];

/// Parameters every cmdlet takes and nothing depends on.
const COMMON: &[&str] = &["Confirm", "ErrorAction", "WhatIf", "Verbose", "WarningAction", "Force"];

/// Whether cmdlet and parameters are known; the sentence says which is not.
pub(super) fn known(command: &Command) -> Result<(), String> {
    if let Some(pipe) = &command.pipe {
        takes(&pipe.then, true)?;
    }
    if let Some(unless) = &command.unless {
        takes(&unless.asked, false)?;
    }
    takes(command, false)
}

/// `given` says that the identity comes down a pipe.
fn takes(command: &Command, given: bool) -> Result<(), String> {
    if command.cmdlet.is_empty() {
        return Ok(());
    }
    let Some(known) = CMDLETS.iter().find(|known| known.name.eq_ignore_ascii_case(&command.cmdlet)) else {
        return Err(format!("The term '{}' is not recognized as a name of a cmdlet.", command.cmdlet));
    };
    let has = |list: &[&str], name: &str| list.iter().any(|item| item.eq_ignore_ascii_case(name));
    for name in command.names() {
        if !has(known.needs, name) && !has(known.takes, name) && !has(COMMON, name) {
            return Err(format!(
                "A parameter cannot be found that matches parameter name '{name}' of {}.",
                known.name
            ));
        }
    }
    let missing =
        known.needs.iter().find(|name| !command.names().any(|have| have.eq_ignore_ascii_case(name)));
    // The deprecated name of `-ObjectId` still stands in older scripts.
    let missing =
        missing.filter(|name| **name != "ObjectId" || !command.names().any(|have| have == "ServiceId"));
    let missing = missing.filter(|name| !(given && **name == "Identity"));
    missing.map_or(Ok(()), |name| {
        Err(format!("{} cannot be run because the parameter '{name}' is missing.", known.name))
    })
}

/// Runs one command, and what it is piped into once for each object that passes the filter.
pub(super) async fn run_through(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    let found = run(tenant, db, command).await?;
    let Some(pipe) = &command.pipe else { return Ok(found) };
    let mut output = Vec::new();
    for then in found.iter().filter_map(|object| pipe.for_object(object)) {
        output.extend(run(tenant, db, &then).await?);
    }
    Ok(output)
}

/// Runs one command.
async fn run(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    if command.get("WhatIf").is_some_and(|value| value != "false") {
        return Ok(Vec::new());
    }
    match command.cmdlet.to_ascii_lowercase().as_str() {
        "" => Ok(vec![json!(command.text)]),
        "connect-exchangeonline" | "disconnect-exchangeonline" => Ok(Vec::new()),
        "new-distributiongroup" => new_group(tenant, db, command).await,
        "get-distributiongroup" => {
            let name = group(db, need(command, "Identity")?).await?;
            Ok(vec![group_view(db, &name).await?])
        }
        "remove-distributiongroup" => {
            let name = group(db, need(command, "Identity")?).await?;
            sqlx::query("DELETE FROM distribution_group WHERE name = ?").bind(name).execute(db).await?;
            Ok(Vec::new())
        }
        "add-distributiongroupmember" | "remove-distributiongroupmember" => member(db, command).await,
        "update-distributiongroupmember" => set_members(db, command).await,
        "get-distributiongroupmember" => members(db, command).await,
        "add-mailboxpermission" | "add-recipientpermission" => permit(db, command).await,
        "get-mailboxpermission" => permissions(db, command).await,
        "remove-mailboxpermission" | "remove-recipientpermission" => forbid(db, command).await,
        "set-organizationconfig" => configure(db, command).await,
        "get-organizationconfig" => Ok(vec![configuration(db).await?]),
        name if name.contains("casmailbox") || name.contains("transportconfig") => {
            rights::run(db, command).await
        }
        name if name.contains("applicationaccesspolicy") => policies::run(tenant, db, command).await,
        _ => roles::run(tenant, db, command).await,
    }
}

/// A parameter that must have a value.
pub(super) fn need<'a>(command: &'a Filled, name: &str) -> Result<&'a str, Failure> {
    match command.get(name) {
        Some(value) if value.len() <= 20_000 => Ok(value),
        Some(_) => said(format!("The value of '{name}' is too long.")),
        None => said(format!("The parameter '{name}' has no value.")),
    }
}

/// The sentence for an object that is not there.
pub(super) fn absent<T>(identity: &str) -> Result<T, Failure> {
    let shown: String = identity.chars().take(200).collect();
    said(format!("The operation couldn't be performed because object '{shown}' couldn't be found."))
}

/// A mailbox by address or id.
pub(super) async fn mailbox(db: &mut SqliteConnection, key: &str) -> Result<(String, String), Failure> {
    match users::find(db, key).await? {
        Some(row) => Ok((row.get("id"), row.get("address"))),
        None => absent(key),
    }
}

/// Distinguished name of a group.
pub(super) fn dn(name: &str) -> String {
    format!(
        "CN={name},OU={DOMAIN},OU=Microsoft Exchange Hosted Organizations,DC=EURPR01A001,DC=PROD,DC=OUTLOOK,DC=COM"
    )
}

/// Name of a group by name, address, id or distinguished name.
pub(super) async fn group(db: &mut SqliteConnection, key: &str) -> Result<String, Failure> {
    let named =
        key.strip_prefix("CN=").and_then(|rest| rest.split_once(",OU=")).map_or(key, |(name, _)| name);
    let name: Option<String> =
        sqlx::query_scalar("SELECT name FROM distribution_group WHERE name = ?1 OR address = ?1 OR id = ?1")
            .bind(named)
            .fetch_optional(db)
            .await?;
    name.map_or_else(|| absent(key), Ok)
}

async fn group_view(db: &mut SqliteConnection, name: &str) -> sqlx::Result<Value> {
    let row = sqlx::query("SELECT id, address FROM distribution_group WHERE name = ?")
        .bind(name)
        .fetch_one(db)
        .await?;
    Ok(json!({
        "Name": name,
        "Identity": name,
        "DisplayName": name,
        "Guid": row.get::<String, _>("id"),
        "ExternalDirectoryObjectId": row.get::<String, _>("id"),
        "PrimarySmtpAddress": row.get::<String, _>("address"),
        "DistinguishedName": dn(name),
        "RecipientTypeDetails": "MailUniversalSecurityGroup",
    }))
}

async fn new_group(tenant: &Tenant, db: &mut SqliteConnection, command: &Filled) -> Output {
    let name = need(command, "Name")?;
    if name.chars().count() > 64 || name.contains([',', '=', '\'', '"']) {
        return said("The name of a group has at most 64 characters and no comma, quote or equals sign.");
    }
    let alias = command.get("Alias").unwrap_or(name);
    let alias: String = alias.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    let default = format!("{}@{DOMAIN}", alias.to_ascii_lowercase());
    let address = command.get("PrimarySmtpAddress").unwrap_or(&default);
    if address.parse::<postroom_model::EmailAddress>().is_err() {
        return said(format!("The address '{address}' is not valid."));
    }
    let done = sqlx::query(
        "INSERT INTO distribution_group (name, id, address) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .bind(random_guid(&tenant.env))
    .bind(address)
    .execute(&mut *db)
    .await?;
    if done.rows_affected() == 0 {
        return said(format!("The name '{name}' or the address '{address}' is already being used."));
    }
    for member in
        command.get("Members").unwrap_or_default().split(',').map(str::trim).filter(|m| !m.is_empty())
    {
        let (id, _) = mailbox(db, member).await?;
        join(db, name, &id).await?;
    }
    Ok(vec![group_view(db, name).await?])
}

async fn join(db: &mut SqliteConnection, group: &str, mailbox: &str) -> sqlx::Result<u64> {
    sqlx::query("INSERT INTO group_member (name, mailbox) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(group)
        .bind(mailbox)
        .execute(db)
        .await
        .map(|done| done.rows_affected())
}

async fn member(db: &mut SqliteConnection, command: &Filled) -> Output {
    let name = group(db, need(command, "Identity")?).await?;
    let (id, address) = mailbox(db, need(command, "Member")?).await?;
    let adds = command.cmdlet.to_ascii_lowercase().starts_with("add");
    let changed = if adds {
        join(db, &name, &id).await?
    } else {
        let query =
            sqlx::query("DELETE FROM group_member WHERE name = ? AND mailbox = ?").bind(&name).bind(&id);
        query.execute(db).await?.rows_affected()
    };
    match (changed, adds) {
        (0, true) => said(format!("The recipient '{address}' is already a member of the group '{name}'.")),
        (0, false) => said(format!("The recipient '{address}' isn't a member of the group '{name}'.")),
        _ => Ok(Vec::new()),
    }
}

/// The list as a whole: who is not in it leaves.
async fn set_members(db: &mut SqliteConnection, command: &Filled) -> Output {
    let name = group(db, need(command, "Identity")?).await?;
    sqlx::query("DELETE FROM group_member WHERE name = ?").bind(&name).execute(&mut *db).await?;
    for member in need(command, "Members")?.split(',').map(str::trim).filter(|member| !member.is_empty()) {
        let (id, _) = mailbox(db, member).await?;
        join(db, &name, &id).await?;
    }
    Ok(Vec::new())
}

async fn members(db: &mut SqliteConnection, command: &Filled) -> Output {
    let name = group(db, need(command, "Identity")?).await?;
    let rows = sqlx::query(
        "SELECT u.address, u.display_name FROM group_member m JOIN user u ON u.id = m.mailbox
         WHERE m.name = ? ORDER BY u.address LIMIT 5000",
    )
    .bind(name)
    .fetch_all(db)
    .await?;
    let view = |row: &sqlx::sqlite::SqliteRow| json!({"Name": row.get::<String, _>("display_name"), "PrimarySmtpAddress": row.get::<String, _>("address")});
    Ok(rows.iter().map(view).collect())
}

/// Who is given a permission: the two families of cmdlets name it differently.
fn trustee(command: &Filled) -> Result<&str, Failure> {
    match command.get("User") {
        Some(user) => Ok(user),
        None => need(command, "Trustee"),
    }
}

async fn permit(db: &mut SqliteConnection, command: &Filled) -> Output {
    let (id, address) = mailbox(db, need(command, "Identity")?).await?;
    let trustee = trustee(command)?.to_ascii_lowercase();
    let rights = need(command, "AccessRights")?;
    // The service principal must have been made known to Exchange first.
    let known = sqlx::query("SELECT 1 FROM exchange_principal WHERE object_id = ?").bind(&trustee);
    if known.fetch_optional(&mut *db).await?.is_none() && users::find(db, &trustee).await?.is_none() {
        return said(format!(
            "Couldn't find object '{trustee}'. Please make sure that it was spelled correctly."
        ));
    }
    sqlx::query(
        "INSERT INTO mailbox_permission (mailbox, trustee, rights) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(&trustee)
    .bind(rights)
    .execute(db)
    .await?;
    Ok(vec![json!({"Identity": address, "User": trustee, "AccessRights": rights})])
}

async fn permissions(db: &mut SqliteConnection, command: &Filled) -> Output {
    let (id, address) = mailbox(db, need(command, "Identity")?).await?;
    let rows = sqlx::query(
        "SELECT trustee, rights FROM mailbox_permission WHERE mailbox = ? ORDER BY rowid LIMIT 1000",
    )
    .bind(id)
    .fetch_all(db)
    .await?;
    let wanted = command.get("User").map(str::to_ascii_lowercase);
    let shown =
        rows.iter().filter(|row| wanted.as_deref().is_none_or(|user| user == row.get::<&str, _>("trustee")));
    Ok(shown
        .map(|row| {
            json!({
                "Identity": address, "User": row.get::<String, _>("trustee"),
                "AccessRights": row.get::<String, _>("rights"),
            })
        })
        .collect())
}

async fn forbid(db: &mut SqliteConnection, command: &Filled) -> Output {
    let (id, _) = mailbox(db, need(command, "Identity")?).await?;
    let user = trustee(command)?;
    let done = sqlx::query("DELETE FROM mailbox_permission WHERE mailbox = ? AND trustee = ? AND rights = ?")
        .bind(id)
        .bind(user.to_ascii_lowercase())
        .bind(need(command, "AccessRights")?)
        .execute(db)
        .await?;
    if done.rows_affected() == 0 { absent(user) } else { Ok(Vec::new()) }
}

const ORGANIZATION: [&str; 5] =
    ["EwsEnabled", "EwsAllowedAppIDs", "EwsApplicationAccessPolicy", "EwsAllowList", "EwsBlockList"];

/// A new tenant is one whose turn has come: EWS is off until an administrator switches it on for listed applications
/// (<https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/deprecation-of-ews-exchange-online>).
pub(super) async fn configuration(db: &mut SqliteConnection) -> sqlx::Result<Value> {
    let stored = setting(db, "organization_config").await?.unwrap_or_default();
    Ok(serde_json::from_slice(&stored)
        .unwrap_or_else(|_| json!({"EwsEnabled": false, "EwsAllowedAppIDs": null})))
}

async fn configure(db: &mut SqliteConnection, command: &Filled) -> Output {
    let mut stored = configuration(db).await?;
    for name in ORGANIZATION {
        if let Some(value) = command.get(name) {
            stored[name] = match value {
                "true" | "false" => json!(value == "true"),
                "null" => Value::Null,
                text => json!(text.chars().take(4000).collect::<String>()),
            };
        }
    }
    sqlx::query("INSERT OR REPLACE INTO setting (name, value) VALUES ('organization_config', ?)")
        .bind(stored.to_string().into_bytes())
        .execute(db)
        .await?;
    Ok(Vec::new())
}

/// A mailbox as the rules see it.
pub(super) fn target<'a>((id, address): &'a (String, String)) -> access::Target<'a> {
    access::Target { id, address }
}
