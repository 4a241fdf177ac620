//! Signing in: a token for the service that has the mail.

use postroom_entra::AccessToken;

use super::{Means, ids, nothing_to_go_on};
use crate::CheckRequest;
use crate::finding::{Finding, Way};
use crate::ladder::Probed;

pub(crate) async fn probe(request: &CheckRequest, means: Option<&Means>) -> Probed<AccessToken> {
    let Some(means) = means else { return nothing_to_go_on().into() };
    let settings = &request.settings;
    let target = match means.service.way {
        Way::Graph => "Microsoft Graph",
        Way::Ews | Way::Imap | Way::Smtp => "Exchange Online",
    };
    let did = format!("Asked for a token for {target} by {}.", settings.flow.label());
    match means.wire.token_for(settings, request.secret.clone()).await {
        Ok(token) => {
            let got = format!("A token until {}.", token.expires_at().strftime("%Y-%m-%d %H:%M:%S UTC"));
            Probed::with(Finding::pass(did, got), token)
        }
        Err(failure) => Finding::refused(did, &failure, &ids(request)).into(),
    }
}
