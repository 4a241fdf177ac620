//! Application permissions granted for the whole tenant: given, listed, taken back, and those found that defeat a scope.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::call::Call;
use super::error::RegisterError;
use super::plan::{EXCHANGE, MICROSOFT_GRAPH, Permission};
use super::steps::{Registrar, Resource, ServicePrincipal, gone_is_fine};
use crate::http;

/// An application permission that is granted for the whole tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// `appId` of the API; its object id when the API is no longer in the tenant.
    pub resource_app_id: String,
    /// Its value: `Mail.ReadWrite`; the role's id when the API no longer knows it.
    pub value: String,
}

/// A grant for the whole tenant that opens mailboxes which a scope was meant to keep shut: grants and scopes add up,
/// so the scope limits nothing while it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The grant.
    pub grant: Grant,
    /// What it lets the application do, in words.
    pub opens: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assignment {
    #[serde(default)]
    id: String,
    resource_id: String,
    app_role_id: String,
}

/// Permissions that reach into every mailbox, by API and beginning of their value.
const REACHING: &[(&str, &str, &str)] = &[
    (MICROSOFT_GRAPH, "Mail.ReadBasic", "to list the messages of every mailbox"),
    (MICROSOFT_GRAPH, "Mail.ReadWrite", "to read and change every mailbox"),
    (MICROSOFT_GRAPH, "Mail.Read", "to read every mailbox"),
    (MICROSOFT_GRAPH, "Mail.Send", "to send as every mailbox"),
    (MICROSOFT_GRAPH, "Mail-Advanced.", "to change sent and received messages of every mailbox"),
    (MICROSOFT_GRAPH, "MailboxSettings.", "to read the settings of every mailbox"),
    (MICROSOFT_GRAPH, "MailboxItem.", "to export every mailbox"),
    (MICROSOFT_GRAPH, "MailboxFolder.", "to list the folders of every mailbox"),
    (MICROSOFT_GRAPH, "Calendars.", "to read every calendar"),
    (MICROSOFT_GRAPH, "Contacts.", "to read all contacts of every mailbox"),
    (EXCHANGE, "full_access_as_app", "to read, change and send from every mailbox through EWS"),
    (EXCHANGE, "SMTP.SendAsApp", "to send by SMTP, judged by mailbox permissions and not by the scope"),
    (EXCHANGE, "Mail.", "to read every mailbox"),
    (EXCHANGE, "Calendars.", "to read every calendar"),
    (EXCHANGE, "Contacts.", "to read all contacts of every mailbox"),
];

/// What a permission of this API, granted for the whole tenant, lets an application do with mailboxes; none where it
/// does not reach into them.
pub fn reaches(resource_app_id: &str, value: &str) -> Option<&'static str> {
    let row = REACHING.iter().find(|(api, start, _)| *api == resource_app_id && value.starts_with(start));
    row.map(|(_, _, opens)| *opens)
}

impl Registrar {
    /// Grants a permission for the whole tenant (admin consent). One that is already there is a success.
    ///
    /// # Errors
    /// [`RegisterError`]; `Unknown` when the tenant does not know the API or the permission.
    pub async fn grant(
        &self,
        principal: &ServicePrincipal,
        permission: &Permission,
    ) -> Result<(), RegisterError> {
        let step = format!("grant {} to {}", permission.value, principal.app_id);
        let (resource, role) = self.role(&step, permission).await?;
        let address =
            self.caller.address(&step, &["servicePrincipals", &principal.object_id, "appRoleAssignments"])?;
        let body = json!({ "principalId": principal.object_id, "resourceId": resource, "appRoleId": role });
        let call = Call { step: &step, method: Method::POST, address, body: Some(body) };
        match self.caller.patient_bytes(&call).await {
            Ok(_) => Ok(()),
            // Only the sentence tells a duplicate from another bad request.
            Err(RegisterError::Refused { status: 400 | 409, message, .. })
                if message.to_ascii_lowercase().contains("already exists") =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Values of those of `permissions` that are granted.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn granted_roles(
        &self,
        principal: &ServicePrincipal,
        permissions: &[Permission],
    ) -> Result<Vec<String>, RegisterError> {
        let step = format!("list permissions of {}", principal.app_id);
        let address =
            self.caller.address(&step, &["servicePrincipals", &principal.object_id, "appRoleAssignments"])?;
        let assigned: Vec<Assignment> = self.list(&step, address).await?;
        let mut granted = Vec::new();
        for permission in permissions {
            let (resource, role) = self.role(&step, permission).await?;
            if assigned.iter().any(|known| known.resource_id == resource && known.app_role_id == role) {
                granted.push(permission.value.clone());
            }
        }
        Ok(granted)
    }

    /// Every application permission that is granted to a principal, whoever granted it.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn all_grants(&self, principal: &ServicePrincipal) -> Result<Vec<Grant>, RegisterError> {
        let step = format!("list permissions of {}", principal.app_id);
        let assigned = self.assignments(&step, principal).await?;
        let mut apis: Vec<Resource> = Vec::new();
        let mut grants = Vec::new();
        for Assignment { resource_id, app_role_id, .. } in assigned {
            if !apis.iter().any(|api| api.id == resource_id)
                && let Some(api) = self.api(&step, &resource_id).await?
            {
                apis.push(api);
            }
            let api = apis.iter().find(|api| api.id == resource_id);
            let role = api.and_then(|api| api.roles.iter().find(|role| role.id == app_role_id));
            let value = role.and_then(|role| role.value.clone());
            grants.push(Grant {
                resource_app_id: api.map(|api| api.app_id.clone()).unwrap_or(resource_id),
                value: value.unwrap_or(app_role_id),
            });
        }
        grants.sort();
        Ok(grants)
    }

    /// Grants for the whole tenant that reach into mailboxes, except those in `wanted`. With a scope of RBAC for
    /// Applications nothing is wanted, and each one found defeats that scope.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn find_leftover_grants(
        &self,
        principal: &ServicePrincipal,
        wanted: &[Permission],
    ) -> Result<Vec<Leftover>, RegisterError> {
        let all = self.all_grants(principal).await?;
        let is_wanted = |grant: &Grant| {
            wanted.iter().any(|one| one.resource_app_id == grant.resource_app_id && one.value == grant.value)
        };
        let reach = |grant: Grant| {
            let opens = reaches(&grant.resource_app_id, &grant.value)?;
            Some(Leftover { grant, opens })
        };
        Ok(all.into_iter().filter(|grant| !is_wanted(grant)).filter_map(reach).collect())
    }

    /// Takes a permission back. One that is not granted is a success. Tokens given out before keep it until they
    /// end.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn revoke(
        &self,
        principal: &ServicePrincipal,
        permission: &Permission,
    ) -> Result<(), RegisterError> {
        let step = format!("revoke {} from {}", permission.value, principal.app_id);
        let (resource, role) = self.role(&step, permission).await?;
        for assignment in self.assignments(&step, principal).await? {
            if assignment.resource_id != resource || assignment.app_role_id != role {
                continue;
            }
            let path = ["servicePrincipals", &principal.object_id, "appRoleAssignments", &assignment.id];
            let address = self.caller.address(&step, &path)?;
            let call = Call { step: &step, method: Method::DELETE, address, body: None };
            gone_is_fine(self.caller.bytes(&call).await)?;
        }
        Ok(())
    }

    async fn assignments(
        &self,
        step: &str,
        principal: &ServicePrincipal,
    ) -> Result<Vec<Assignment>, RegisterError> {
        let path = ["servicePrincipals", &principal.object_id, "appRoleAssignments"];
        let address = self.caller.address(step, &path)?;
        self.list(step, address).await
    }

    /// An API by its object id; none when it is not in the tenant any more.
    async fn api(&self, step: &str, object_id: &str) -> Result<Option<Resource>, RegisterError> {
        let address = self.caller.address(step, &["servicePrincipals", object_id])?;
        let address = http::with_query(address, &[("$select", "id,appId,appRoles")]);
        let call = Call { step, method: Method::GET, address, body: None };
        match self.caller.json(&call).await {
            Ok(api) => Ok(Some(api)),
            Err(RegisterError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
