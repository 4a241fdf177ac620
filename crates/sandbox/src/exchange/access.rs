//! Whether an application may do something at a mailbox. Three sources are asked: the roles in its token, the access
//! policies that cut them, and role assignments of Exchange that are in no token. Grants add up.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};

use super::filter;
use crate::answer::Refusal;
use crate::state::Tenant;

/// A mailbox that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) id: &'a str,
    pub(crate) address: &'a str,
}

/// What the access policies say.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Verdict {
    Granted,
    Denied,
}

/// What the role `Application X` of Exchange gives, in Graph's names.
pub(super) fn gives(role: &str) -> Vec<&str> {
    let Some(bare) = role.strip_prefix("Application ") else { return Vec::new() };
    match bare {
        "Mail Full Access" | "Exchange Full Access" => {
            vec!["Mail.Read", "Mail.ReadBasic", "Mail.ReadWrite", "Mail.Send", "MailboxSettings.ReadWrite"]
        }
        one => vec![one],
    }
}

/// Decides for an application without a person.
pub(crate) async fn check(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    app_id: &str,
    token_grants: bool,
    wanted: &[&str],
    target: Target<'_>,
) -> Result<(), Refusal> {
    let verdict = match token_grants {
        true => Some(policies(db, app_id, target, tenant.now()).await?),
        false => None,
    };
    if verdict == Some(Verdict::Granted) {
        return Ok(());
    }
    let in_scope = assignments(db, app_id, target, Some(tenant.now())).await?;
    if in_scope
        .iter()
        .any(|grant| grant.in_scope && gives(&grant.role).iter().any(|have| wanted.contains(have)))
    {
        return Ok(());
    }
    match verdict {
        Some(Verdict::Denied) => Err(Refusal::new(
            403,
            "ErrorAccessDenied",
            "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
        )),
        _ => Err(Refusal::access_denied()),
    }
}

/// Whether a role of Exchange gives `wanted` at a mailbox, whatever the token says.
pub(crate) async fn assigned(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    app_id: &str,
    wanted: &str,
    target: Target<'_>,
) -> sqlx::Result<bool> {
    let grants = assignments(db, app_id, target, Some(tenant.now())).await?;
    Ok(grants.iter().any(|grant| grant.in_scope && gives(&grant.role).contains(&wanted)))
}

/// Whether a role of Exchange gives one of `wanted` anywhere, be it not at this mailbox.
pub(crate) async fn holds(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    app_id: &str,
    wanted: &[&str],
    target: Target<'_>,
) -> sqlx::Result<bool> {
    let grants = assignments(db, app_id, target, Some(tenant.now())).await?;
    Ok(grants.iter().any(|grant| gives(&grant.role).iter().any(|have| wanted.contains(have))))
}

/// A denial wins; then a restriction that meets grants; a restriction that does not meet denies; nothing grants.
pub(super) async fn policies(
    db: &mut SqliteConnection,
    app_id: &str,
    target: Target<'_>,
    now: i64,
) -> sqlx::Result<Verdict> {
    let rows = sqlx::query(
        "SELECT p.access_right, p.scope = ?1 COLLATE NOCASE OR EXISTS (
           SELECT 1 FROM group_member m WHERE m.name = p.scope COLLATE NOCASE AND m.mailbox = ?2) AS meets
         FROM access_policy p WHERE p.app_id = ?3 AND p.since <= ?4 AND (p.until IS NULL OR p.until > ?4)",
    )
    .bind(target.address)
    .bind(target.id)
    .bind(app_id)
    .bind(now)
    .fetch_all(db)
    .await?;
    let (mut restricted, mut granted) = (false, false);
    for row in &rows {
        let meets: bool = row.get("meets");
        if row.get::<&str, _>("access_right") == "DenyAccess" {
            if meets {
                return Ok(Verdict::Denied);
            }
        } else {
            restricted = true;
            granted |= meets;
        }
    }
    Ok(if restricted && !granted { Verdict::Denied } else { Verdict::Granted })
}

/// A role assignment, held against a mailbox.
pub(super) struct Grant {
    pub(super) role: String,
    pub(super) scope: Option<String>,
    pub(super) in_scope: bool,
}

impl Grant {
    /// A row of `Test-ServicePrincipalAuthorization`.
    pub(super) fn shown(&self, asked: bool) -> Value {
        let in_scope = match (asked, self.in_scope) {
            (false, _) => "Not Run",
            (true, true) => "True",
            (true, false) => "False",
        };
        json!({
            "RoleName": self.role,
            "GrantedPermissions": gives(&self.role).join(", "),
            "AllowedResourceScope": self.scope.as_deref().unwrap_or("Organization"),
            "ScopeType": if self.scope.is_some() { "CustomRecipientScope" } else { "Organization" },
            "InScope": in_scope,
        })
    }
}

/// The role assignments of an application; those effective at `now`, or all that stand when there is none. The
/// pointer in Exchange must name the application's real service principal.
pub(super) async fn assignments(
    db: &mut SqliteConnection,
    app_id: &str,
    target: Target<'_>,
    now: Option<i64>,
) -> sqlx::Result<Vec<Grant>> {
    let rows = sqlx::query(
        "SELECT r.role, r.scope, s.filter FROM management_role_assignment r
         JOIN exchange_principal e ON e.object_id = r.principal
         JOIN service_principal p ON p.id = e.object_id AND p.app_id = e.app_id
         LEFT JOIN management_scope s ON s.name = r.scope
         WHERE e.app_id = ?1 AND ((?2 IS NULL AND r.until IS NULL)
           OR (r.since <= ?2 AND (r.until IS NULL OR r.until > ?2))) ORDER BY r.rowid",
    )
    .bind(app_id)
    .bind(now)
    .fetch_all(&mut *db)
    .await?;
    let mut grants = Vec::new();
    for row in &rows {
        let scope: Option<String> = row.get("scope");
        let filter: Option<String> = row.get("filter");
        let in_scope = match (&scope, filter) {
            (None, _) => true,
            (Some(_), Some(text)) => filter::meets(db, &text, target.id, target.address).await?,
            (Some(_), None) => false,
        };
        grants.push(Grant { role: row.get("role"), scope, in_scope });
    }
    Ok(grants)
}
