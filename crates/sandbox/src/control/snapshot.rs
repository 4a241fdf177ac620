//! Everything an administrator can set up, as JSON: two snapshots are equal when nothing was left behind.

use serde_json::{Map, Value};

use crate::answer::{Answer, json_answer};
use crate::state::{Tenant, setting};

/// Name, and the query that gives one JSON object a row. No digest, no password.
const PARTS: &[(&str, &str)] = &[
    (
        "applications",
        "SELECT json_object('id', id, 'appId', app_id, 'body', json(body)) FROM application ORDER BY id",
    ),
    (
        "secrets",
        "SELECT json_object('application', application, 'keyId', key_id, 'displayName', display_name, 'hint', hint,
         'endsAt', ends_at) FROM secret ORDER BY key_id",
    ),
    (
        "federatedIdentityCredentials",
        "SELECT json_object('application', application, 'name', name, 'issuer', issuer, 'subject', subject,
         'audience', audience) FROM federated ORDER BY id",
    ),
    (
        "servicePrincipals",
        "SELECT json_object('id', id, 'appId', app_id, 'displayName', display_name) FROM service_principal ORDER BY id",
    ),
    (
        "appRoleAssignments",
        "SELECT json_object('principal', principal, 'resource', resource, 'role', role) FROM role_assignment
         ORDER BY principal, resource, role",
    ),
    ("users", "SELECT json_object('id', id, 'address', address) FROM user ORDER BY id"),
    (
        "exchangeServicePrincipals",
        "SELECT json_object('objectId', object_id, 'appId', app_id) FROM exchange_principal ORDER BY object_id",
    ),
    (
        "managementScopes",
        "SELECT json_object('name', name, 'filter', filter) FROM management_scope ORDER BY name",
    ),
    (
        "managementRoleAssignments",
        "SELECT json_object('name', name, 'principal', principal, 'role', role, 'scope', scope)
         FROM management_role_assignment WHERE until IS NULL ORDER BY name",
    ),
    (
        "distributionGroups",
        "SELECT json_object('name', g.name, 'address', g.address, 'members', (SELECT json_group_array(u.address)
         FROM group_member m JOIN user u ON u.id = m.mailbox WHERE m.name = g.name)) FROM distribution_group g
         ORDER BY g.name",
    ),
    (
        "applicationAccessPolicies",
        "SELECT json_object('appId', app_id, 'scope', scope, 'right', access_right) FROM access_policy
         WHERE until IS NULL ORDER BY app_id, scope, access_right",
    ),
    (
        "clientAccess",
        "SELECT json_object('mailbox', mailbox, 'imapOff', imap_off, 'smtpOff', smtp_off) FROM client_access
         WHERE imap_off OR smtp_off ORDER BY mailbox",
    ),
    (
        "mailboxPermissions",
        "SELECT json_object('mailbox', mailbox, 'trustee', trustee, 'rights', rights) FROM mailbox_permission
         ORDER BY mailbox, trustee, rights",
    ),
];

/// `GET snapshot`.
pub(super) async fn answer(tenant: &Tenant) -> Answer {
    let mut tx = tenant.begin().await?;
    let mut out = Map::new();
    for (name, query) in PARTS {
        let rows: Vec<String> = sqlx::query_scalar(*query).fetch_all(&mut *tx).await?;
        let objects = rows.iter().filter_map(|row| serde_json::from_str(row).ok());
        out.insert((*name).to_owned(), Value::Array(objects.collect()));
    }
    let organization = setting(&mut tx, "organization_config").await?.unwrap_or_default();
    out.insert("organizationConfig".to_owned(), serde_json::from_slice(&organization).unwrap_or_default());
    Ok(json_answer(200, &Value::Object(out)))
}
