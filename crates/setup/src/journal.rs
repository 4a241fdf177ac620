//! What a set-up remembers: written before each next step, so that a run that was cut off goes on from there, and
//! `undo` removes exactly what was made. Ids only, never a secret.

use postroom_entra::register::{Permission, RegisteredApplication, ServicePrincipal};
use postroom_model::{ConnectionId, EmailAddress, MailboxId, Timestamp};
use postroom_store::Store;
use serde::{Deserialize, Serialize};

use crate::error::SetupError;
use crate::limits::{self, Names, Told};
use crate::plan::Plan;

/// What was made so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The plan it was made by.
    pub plan: Plan,
    /// When it began.
    pub began_at: Timestamp,
    /// Directory (tenant) ID.
    #[serde(default)]
    pub tenant_id: Option<String>,
    /// Connections; their ids are written before they are saved.
    #[serde(default)]
    pub connections: Vec<ConnectionId>,
    /// The application.
    #[serde(default)]
    pub application: Option<ApplicationIds>,
    /// Object id of the service principal.
    #[serde(default)]
    pub principal_id: Option<String>,
    /// Grants for the whole tenant.
    #[serde(default)]
    pub granted: Vec<Granted>,
    /// The credential, once Microsoft knows it.
    #[serde(default)]
    pub key_id: Option<String>,
    /// Mailboxes that were added.
    #[serde(default)]
    pub mailboxes: Vec<MailboxId>,
    /// When everything worked.
    #[serde(default)]
    pub ready_at: Option<Timestamp>,
    /// The mailboxes Exchange lets the application open, once all of them were seen to open.
    #[serde(default)]
    pub applied: Option<Vec<EmailAddress>>,
    /// Mailboxes that lines for Exchange named since then although they are planned otherwise now: nobody knows
    /// whether those lines ran.
    #[serde(default)]
    pub superseded: Vec<EmailAddress>,
    /// What is left in Exchange after the Entra side was taken back.
    #[serde(default)]
    pub remnant: Option<Remnant>,
}

/// What must still be taken back in Exchange. The scope's name and the mailboxes are those of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remnant {
    /// Application (client) ID.
    pub application_id: String,
    /// Object id of the service principal.
    pub principal_id: String,
}

/// Ids of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationIds {
    /// Object id.
    pub object_id: String,
    /// Application (client) ID.
    pub application_id: String,
}

/// A grant for the whole tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// `appId` of the API.
    pub api: String,
    /// Its value: `Mail.Send`.
    pub value: String,
}

impl Granted {
    pub(crate) fn permission(&self) -> Permission {
        Permission { resource_app_id: self.api.clone(), value: self.value.clone(), why: String::new() }
    }
}

impl From<Permission> for Granted {
    fn from(permission: Permission) -> Self {
        Self { api: permission.resource_app_id, value: permission.value }
    }
}

impl Journal {
    /// A journal of nothing yet.
    pub fn new(plan: Plan, began_at: Timestamp) -> Self {
        Self {
            plan,
            began_at,
            tenant_id: None,
            connections: Vec::new(),
            application: None,
            principal_id: None,
            granted: Vec::new(),
            key_id: None,
            mailboxes: Vec::new(),
            ready_at: None,
            applied: None,
            superseded: Vec::new(),
            remnant: None,
        }
    }

    /// The journal of a connection's set-up.
    ///
    /// # Errors
    /// [`SetupError::Store`], [`SetupError::Journal`].
    pub async fn load(store: &dyn Store, connection: &str) -> Result<Option<Self>, SetupError> {
        let text = store
            .journal(&name(connection))
            .await
            .map_err(|source| SetupError::Store { operation: "read the journal of the set-up", source })?;
        text.map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|source| SetupError::Journal { connection: connection.to_owned(), source })
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`SetupError::Store`].
    pub async fn save(&self, store: &dyn Store) -> Result<(), SetupError> {
        let text = serde_json::to_string(self)
            .map_err(|source| SetupError::Journal { connection: self.plan.connection.clone(), source })?;
        store
            .save_journal(&name(&self.plan.connection), Some(&text))
            .await
            .map_err(|source| SetupError::Store { operation: "write the journal of the set-up", source })
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`SetupError::Store`].
    pub async fn forget(&self, store: &dyn Store) -> Result<(), SetupError> {
        store
            .save_journal(&name(&self.plan.connection), None)
            .await
            .map_err(|source| SetupError::Store { operation: "remove the journal of the set-up", source })
    }

    /// What exists in the tenant and here, for people.
    pub fn exists(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(application) = &self.application {
            all.push(format!("application {} ({})", self.plan.application, application.application_id));
        }
        all.extend(self.principal_id.iter().map(|id| format!("service principal {id}")));
        all.extend(self.granted.iter().map(|grant| format!("grant of {}", grant.value)));
        all.extend(self.key_id.iter().map(|id| format!("{} {id}", self.plan.key.kind)));
        if !self.connections.is_empty() {
            all.push(format!("connection {}", self.plan.connection));
        }
        if self.remnant.is_some() {
            all.push(format!("in Exchange: what the lines for {} made", limits::scope_name(&self.plan)));
        }
        all
    }

    /// What is left to do, for people. Nothing where everything worked.
    pub fn left(&self) -> Vec<String> {
        let mut all = Vec::new();
        let plan = &self.plan;
        if self.application.is_none() {
            all.push(format!("application {}", plan.application));
        }
        if self.principal_id.is_none() {
            all.push("service principal".to_owned());
        }
        let missing = plan.permissions().into_iter().map(Granted::from);
        let missing = missing.filter(|one| !self.granted.contains(one));
        all.extend(missing.map(|one| format!("grant of {}", one.value)));
        if self.key_id.is_none() {
            all.push(format!("{} in Entra", plan.key.kind));
        }
        if self.exchange_left() {
            all.push("lines for Exchange, run by an Exchange administrator".to_owned());
        }
        if self.ready_at.is_none() {
            all.push("waiting until the mailboxes open".to_owned());
        }
        all
    }

    /// The plan with every mailbox that Exchange may know of: those of the plan, and those that were to leave.
    pub fn left_in_exchange(&self) -> Plan {
        let mut plan = self.plan.clone();
        plan.mailboxes.extend(self.leaving());
        plan
    }

    /// Mailboxes that Exchange may let the application open, and the plan does not name.
    pub fn leaving(&self) -> Vec<EmailAddress> {
        let mut all: Vec<EmailAddress> = Vec::new();
        for mailbox in self.applied.iter().flatten().chain(&self.superseded) {
            if !self.plan.mailboxes.contains(mailbox) && !all.contains(mailbox) {
                all.push(mailbox.clone());
            }
        }
        all
    }

    /// Whether lines for Exchange are still to be run.
    pub fn exchange_left(&self) -> bool {
        let applied = self.applied.as_ref() == Some(&self.plan.mailboxes);
        self.plan.needs_exchange() && (!applied || !self.superseded.is_empty())
    }

    /// What Exchange was told so far.
    pub fn told(&self) -> Told<'_> {
        match &self.applied {
            Some(applied) => Told::Ran { applied, superseded: &self.superseded },
            None if self.superseded.is_empty() => Told::Nothing,
            None => Told::Perhaps(&self.superseded),
        }
    }

    /// The journal as it would be with this plan.
    pub fn planned_as(&self, plan: &Plan) -> Self {
        let mut journal = self.clone();
        journal.replan(plan.clone());
        journal
    }

    /// Plans anew. What the lines of the plan until now named is kept, because they may have been run.
    pub(crate) fn replan(&mut self, plan: Plan) {
        let printed = self.applied.as_ref() != Some(&self.plan.mailboxes);
        if self.plan.needs_exchange() && printed && self.plan.mailboxes != plan.mailboxes {
            for mailbox in &self.plan.mailboxes {
                if !self.superseded.contains(mailbox) {
                    self.superseded.push(mailbox.clone());
                }
            }
        }
        self.plan = plan;
    }

    /// How Exchange knows the application, also after the Entra side was taken back.
    pub fn names(&self) -> Option<Names> {
        let known = self.application.as_ref().zip(self.principal_id.as_ref());
        let known = known.map(|(ids, principal)| Names::known(&ids.application_id, principal));
        let left = || self.remnant.as_ref();
        known.or_else(|| left().map(|one| Names::known(&one.application_id, &one.principal_id)))
    }

    pub(crate) fn registered(&self) -> Option<RegisteredApplication> {
        self.application.as_ref().map(|ids| RegisteredApplication {
            object_id: ids.object_id.clone(),
            app_id: ids.application_id.clone(),
        })
    }

    pub(crate) fn principal(&self) -> Option<ServicePrincipal> {
        let application = self.application.as_ref()?;
        self.principal_id
            .as_ref()
            .map(|id| ServicePrincipal { object_id: id.clone(), app_id: application.application_id.clone() })
    }
}

/// Names do not differ by case, as those of connections do not.
fn name(connection: &str) -> String {
    format!("setup/{}", connection.trim().to_lowercase())
}
