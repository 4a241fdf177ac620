//! The tenant, looked up without any credential.

use postroom_entra::discovery;
use postroom_model::connection::is_guid;

use super::{Means, ids, nothing_to_go_on};
use crate::finding::Finding;
use crate::ladder::Probed;
use crate::{CheckRequest, Verdict};

pub(crate) async fn probe(request: &CheckRequest, means: Option<&Means>) -> Probed<()> {
    let Some(means) = means else { return nothing_to_go_on().into() };
    let settings = &request.settings;
    let asked = settings.tenant_id.trim();
    let did = format!("Looked up tenant {asked} without signing in.");
    let authority = settings.cloud.endpoints().authority;
    let found = match discovery::tenant(&means.http, &authority, asked).await {
        Ok(found) => found,
        Err(error) => {
            return Finding::refused(did, &error.failure("look up the tenant"), &ids(request)).into();
        }
    };
    let region = found.region.map(|region| format!(", region {region}")).unwrap_or_default();
    let got = format!("Tenant {}{region}.", found.tenant_id);
    if is_guid(asked) && !found.tenant_id.eq_ignore_ascii_case(asked) {
        let next_step = "Copy Directory (tenant) ID from the app registration's Overview page.";
        return Finding::wrong(Verdict::Warn, did, got, "Another tenant answered.", next_step).into();
    }
    Finding::pass(did, got).into()
}
