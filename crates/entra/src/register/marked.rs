//! An application that belongs to one set-up: found again by a mark of its own, so that a set-up that was cut off
//! between question and answer makes none twice, and two set-ups never share one.

use reqwest::Method;
use serde_json::json;

use super::call::Call;
use super::error::RegisterError;
use super::plan::{Plan, TAG};
use super::steps::{RegisteredApplication, Registrar, Tagged, quoted};

impl Registrar {
    /// The application of this plan that carries `mark` among its tags, else a new one that does. Others of the same
    /// name are left alone.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn create_marked_application(
        &self,
        plan: &Plan,
        mark: &str,
    ) -> Result<RegisteredApplication, RegisterError> {
        let step = format!("create application {}", plan.display_name);
        let access = self.required_access(plan).await?;
        let filter = format!("displayName eq '{}'", quoted(&plan.display_name));
        let named: Vec<Tagged> = self.filtered(&step, "applications", &filter).await?;
        if let Some(ours) = named.into_iter().find(|found| found.tags.iter().any(|tag| tag == mark)) {
            return Ok(ours.application);
        }
        let mut body = json!({
            "displayName": plan.display_name,
            "signInAudience": plan.sign_in_audience.as_str(),
            "isFallbackPublicClient": false,
            "tags": [TAG, mark],
            "requiredResourceAccess": access,
        });
        if plan.sign_in_audience.personal() {
            body["api"] = json!({ "requestedAccessTokenVersion": 2 });
        }
        let address = self.caller.address(&step, &["applications"])?;
        self.caller.json(&Call { step: &step, method: Method::POST, address, body: Some(body) }).await
    }
}
