//! Signing in: a token for Microsoft Graph.

use postroom_entra::AccessToken;

use super::{Client, ids, nothing_to_go_on};
use crate::CheckRequest;
use crate::finding::Finding;
use crate::ladder::Probed;

pub(crate) async fn probe(request: &CheckRequest, client: Option<&Client>) -> Probed<AccessToken> {
    let Some(client) = client else { return nothing_to_go_on().into() };
    let settings = &request.settings;
    let did = format!("Asked for a token for Microsoft Graph by {}.", settings.flow.label());
    match client.graph.token().await {
        Ok(token) => {
            let got = format!("A token until {}.", token.expires_at().strftime("%Y-%m-%d %H:%M:%S UTC"));
            Probed::with(Finding::pass(did, got), token)
        }
        Err(error) => Finding::refused(did, &error.failure("sign in"), &ids(request)).into(),
    }
}
