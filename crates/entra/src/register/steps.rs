//! The steps.

use std::fmt;

use jiff::Timestamp;
use postroom_model::{Env, SecretString};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::call::{Call, Caller, Patience};
use super::error::RegisterError;
use super::plan::{Permission, Plan, TAG};
use crate::http;
use crate::token::AccessToken;

/// Pages of a list that are read at most.
const MAX_PAGES: usize = 50;

/// Registers applications with an administrator's token.
pub struct Registrar {
    pub(super) caller: Caller,
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registrar({})", self.caller.graph)
    }
}

/// An application object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RegisteredApplication {
    /// Object id: used in addresses of Microsoft Graph.
    #[serde(rename = "id")]
    pub object_id: String,
    /// Application (client) ID: used for tokens.
    #[serde(rename = "appId")]
    pub app_id: String,
}

/// The application's presence in the tenant (*Enterprise applications*).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServicePrincipal {
    /// Object id; Exchange's `New-ServicePrincipal -ObjectId` wants this one.
    #[serde(rename = "id")]
    pub object_id: String,
    /// Application (client) ID.
    #[serde(rename = "appId")]
    pub app_id: String,
}

/// A secret that was just made. Its value is shown by Microsoft only this once: store it before anything else.
#[derive(Debug)]
pub struct NewSecret {
    /// Microsoft's id of it (*Secret ID*).
    pub key_id: String,
    /// Its value.
    pub secret: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A user of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DirectoryUser {
    /// Object id.
    pub id: String,
    /// Name shown to people.
    #[serde(rename = "displayName", default)]
    pub display_name: Option<String>,
    /// User name (UPN).
    #[serde(rename = "userPrincipalName", default)]
    pub user_principal_name: Option<String>,
    /// Primary address; none without a mailbox.
    #[serde(default)]
    pub mail: Option<String>,
}

/// The tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Directory (tenant) ID.
    pub tenant_id: String,
    /// Its name.
    pub display_name: String,
    /// Its domains.
    pub verified_domains: Vec<String>,
}

/// An application with its tags.
#[derive(Deserialize)]
struct Tagged {
    #[serde(flatten)]
    application: RegisteredApplication,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Page<T> {
    value: Vec<T>,
    #[serde(rename = "@odata.nextLink", default)]
    next: Option<String>,
}

/// An API of the tenant with its roles.
#[derive(Deserialize)]
pub(super) struct Resource {
    pub(super) id: String,
    #[serde(rename = "appId", default)]
    pub(super) app_id: String,
    #[serde(rename = "appRoles", default)]
    pub(super) roles: Vec<Role>,
}

#[derive(Deserialize)]
pub(super) struct Role {
    pub(super) id: String,
    #[serde(default)]
    pub(super) value: Option<String>,
}

#[derive(Deserialize)]
struct RawOrganization {
    id: String,
    #[serde(rename = "displayName", default)]
    display_name: Option<String>,
    #[serde(rename = "verifiedDomains", default)]
    verified_domains: Vec<RawDomain>,
}

#[derive(Deserialize)]
struct RawDomain {
    name: String,
}

impl Registrar {
    /// A registrar that acts as the administrator of `admin_token`, which needs `Application.ReadWrite.All` and
    /// `AppRoleAssignment.ReadWrite.All`. `graph` is without version: `https://graph.microsoft.com`.
    pub fn new(http: reqwest::Client, env: Env, graph: Url, admin_token: AccessToken) -> Self {
        Self { caller: Caller { http, env, graph, token: admin_token, patience: Patience::default() } }
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.caller.patience = patience;
        self
    }

    /// The tenant the token belongs to; proves that the token works.
    ///
    /// # Errors
    /// [`RegisterError`], as from every step.
    pub async fn organization(&self) -> Result<Organization, RegisterError> {
        let step = "read the organization";
        let address = self.caller.address(step, &["organization"])?;
        let found = self.list::<RawOrganization>(step, address).await?.into_iter().next();
        let found = found
            .ok_or_else(|| RegisterError::Unknown { step: step.into(), what: "any organization".into() })?;
        Ok(Organization {
            tenant_id: found.id,
            display_name: found.display_name.unwrap_or_default(),
            verified_domains: found.verified_domains.into_iter().map(|domain| domain.name).collect(),
        })
    }

    /// Users of the directory, to choose mailboxes from.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn users(&self) -> Result<Vec<DirectoryUser>, RegisterError> {
        let step = "list users";
        let address = self.caller.address(step, &["users"])?;
        let query = [("$select", "id,displayName,userPrincipalName,mail"), ("$top", "999")];
        self.list(step, http::with_query(address, &query)).await
    }

    /// The application with this Application (client) ID, as remembered from an earlier run.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn application(&self, app_id: &str) -> Result<Option<RegisteredApplication>, RegisterError> {
        let step = format!("find application {app_id}");
        self.first(&step, "applications", &format!("appId eq '{}'", quoted(app_id))).await
    }

    /// The application of this plan: found by name and our tag, else made. One of the same name without the tag is
    /// somebody else's and is left alone.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn create_application(&self, plan: &Plan) -> Result<RegisteredApplication, RegisterError> {
        let step = format!("create application {}", plan.display_name);
        let access = self.required_access(plan).await?;
        // The tag is compared here: filters over `tags` need an advanced query, which sees new objects late.
        let filter = format!("displayName eq '{}'", quoted(&plan.display_name));
        let named: Vec<Tagged> = self.filtered(&step, "applications", &filter).await?;
        let ours = named.into_iter().find(|found| found.tags.iter().any(|tag| tag == TAG));
        if let Some(Tagged { application: found, .. }) = ours {
            let address = self.caller.address(&step, &["applications", &found.object_id])?;
            self.send(&step, Method::PATCH, address, json!({ "requiredResourceAccess": access })).await?;
            return Ok(found);
        }
        let mut body = json!({
            "displayName": plan.display_name,
            "signInAudience": plan.sign_in_audience.as_str(),
            "isFallbackPublicClient": false,
            "tags": [TAG],
            "requiredResourceAccess": access,
        });
        if plan.sign_in_audience.personal() {
            body["api"] = json!({ "requestedAccessTokenVersion": 2 });
        }
        let address = self.caller.address(&step, &["applications"])?;
        self.caller.json(&Call { step: &step, method: Method::POST, address, body: Some(body) }).await
    }

    /// The service principal of an application, where it is present in this tenant.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn service_principal(&self, app_id: &str) -> Result<Option<ServicePrincipal>, RegisterError> {
        let step = format!("find the service principal of {app_id}");
        self.first(&step, "servicePrincipals", &format!("appId eq '{}'", quoted(app_id))).await
    }

    /// Removes a service principal and with it every grant. One that is already gone is a success.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn delete_service_principal(&self, principal: &ServicePrincipal) -> Result<(), RegisterError> {
        let step = format!("delete the service principal of {}", principal.app_id);
        let address = self.caller.address(&step, &["servicePrincipals", &principal.object_id])?;
        let call = Call { step: &step, method: Method::DELETE, address, body: None };
        gone_is_fine(self.caller.bytes(&call).await)
    }

    /// The application's service principal: found, else made.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn create_service_principal(
        &self,
        application: &RegisteredApplication,
    ) -> Result<ServicePrincipal, RegisterError> {
        let step = format!("create the service principal of {}", application.app_id);
        let filter = format!("appId eq '{}'", quoted(&application.app_id));
        if let Some(found) = self.first(&step, "servicePrincipals", &filter).await? {
            return Ok(found);
        }
        let address = self.caller.address(&step, &["servicePrincipals"])?;
        let body = Some(json!({ "appId": application.app_id }));
        let made = self.caller.patient(&Call { step: &step, method: Method::POST, address, body }).await;
        match made {
            // Somebody else was faster, or an earlier answer was lost.
            Err(RegisterError::Refused { ref code, .. })
                if code.eq_ignore_ascii_case("Request_MultipleObjectsWithSameKeyValue") =>
            {
                match self.first(&step, "servicePrincipals", &filter).await? {
                    Some(found) => Ok(found),
                    None => made,
                }
            }
            other => other,
        }
    }

    /// Sets *Allow public client flows* to No: without it nobody signs in with a user's password.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn disable_public_client_flows(
        &self,
        application: &RegisteredApplication,
    ) -> Result<(), RegisterError> {
        let step = format!("disable public client flows of {}", application.app_id);
        let address = self.caller.address(&step, &["applications", &application.object_id])?;
        self.send(&step, Method::PATCH, address, json!({ "isFallbackPublicClient": false })).await
    }

    /// Undoes the registration: service principal, grants and secrets go with the application, which Microsoft keeps
    /// for 30 days. One that is already gone is a success.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn delete_application(&self, application: &RegisteredApplication) -> Result<(), RegisterError> {
        let step = format!("delete application {}", application.app_id);
        let address = self.caller.address(&step, &["applications", &application.object_id])?;
        let call = Call { step: &step, method: Method::DELETE, address, body: None };
        gone_is_fine(self.caller.bytes(&call).await)
    }

    /// `requiredResourceAccess`: one entry per API.
    async fn required_access(&self, plan: &Plan) -> Result<Vec<Value>, RegisterError> {
        let mut apis: Vec<(String, Vec<Value>)> = Vec::new();
        for permission in &plan.permissions {
            let step = format!("look up {}", permission.value);
            let (_, role) = self.role(&step, permission).await?;
            let entry = json!({ "id": role, "type": "Role" });
            match apis.iter_mut().find(|(api, _)| *api == permission.resource_app_id) {
                Some((_, roles)) => roles.push(entry),
                None => apis.push((permission.resource_app_id.clone(), vec![entry])),
            }
        }
        let entry = |(api, roles)| json!({ "resourceAppId": api, "resourceAccess": Value::Array(roles) });
        Ok(apis.into_iter().map(entry).collect())
    }

    /// Ids of the API's service principal and of the role, looked up by value: public lists hold invented ids.
    pub(super) async fn role(
        &self,
        step: &str,
        permission: &Permission,
    ) -> Result<(String, String), RegisterError> {
        let unknown = |what: String| RegisterError::Unknown { step: step.to_owned(), what };
        let filter = format!("appId eq '{}'", quoted(&permission.resource_app_id));
        let resource: Option<Resource> = self.first(step, "servicePrincipals", &filter).await?;
        let resource = resource.ok_or_else(|| unknown(format!("the API {}", permission.resource_app_id)))?;
        let role = resource.roles.into_iter().find(|role| role.value.as_deref() == Some(&permission.value));
        let role = role.ok_or_else(|| unknown(format!("the permission {}", permission.value)))?;
        Ok((resource.id, role.id))
    }

    pub(super) async fn send(
        &self,
        step: &str,
        method: Method,
        address: Url,
        body: Value,
    ) -> Result<(), RegisterError> {
        let call = Call { step, method, address, body: Some(body) };
        self.caller.patient_bytes(&call).await.map(drop)
    }

    pub(super) async fn first<T: DeserializeOwned>(
        &self,
        step: &str,
        collection: &str,
        filter: &str,
    ) -> Result<Option<T>, RegisterError> {
        Ok(self.filtered(step, collection, filter).await?.into_iter().next())
    }

    pub(super) async fn filtered<T: DeserializeOwned>(
        &self,
        step: &str,
        collection: &str,
        filter: &str,
    ) -> Result<Vec<T>, RegisterError> {
        let address = self.caller.address(step, &[collection])?;
        self.list(step, http::with_query(address, &[("$filter", filter)])).await
    }

    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        step: &str,
        first: Url,
    ) -> Result<Vec<T>, RegisterError> {
        let mut all = Vec::new();
        let mut address = Some(first);
        for _ in 0..MAX_PAGES {
            let Some(next) = address.take() else { break };
            let call = Call { step, method: Method::GET, address: next, body: None };
            let page: Page<T> = self.caller.json(&call).await?;
            all.extend(page.value);
            let link = |text: String| {
                Url::parse(&text).map_err(|_| RegisterError::Address { step: step.to_owned() })
            };
            address = page.next.map(link).transpose()?;
        }
        Ok(all)
    }
}

/// A text inside the quotes of an OData filter: a quote is written twice.
pub(super) fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

pub(super) fn gone_is_fine(answer: Result<Vec<u8>, RegisterError>) -> Result<(), RegisterError> {
    match answer {
        Ok(_) | Err(RegisterError::Refused { status: 404, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
