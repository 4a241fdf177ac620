//! `/settings/incoming/connections/{id}/migrate`: a connection that is read by Exchange Web Services goes on by
//! Microsoft Graph, with the same mailboxes. The way back is for the command line alone.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Redirect;
use postroom_check::CheckRequest;
use postroom_model::ConnectionId;
use postroom_model::connection::{ConnectionKind, ConnectionSettings, ExchangeApi};

use crate::App;
use crate::error::PageError;
use crate::session::Administrator;

/// `POST`: checks that Graph opens every mailbox, then switches.
pub(super) async fn run(
    Administrator(user): Administrator,
    State(app): State<App>,
    Path(id): Path<ConnectionId>,
) -> Result<Redirect, PageError> {
    let known = app.store.connection(id).await?.ok_or_else(PageError::not_found)?;
    if known.settings.kind != ConnectionKind::ExchangeOnline || known.settings.api == ExchangeApi::Graph {
        return Err(PageError::not_found());
    }
    let current = app.store.credential_secret(id).await?;
    let expires_at = current.as_ref().and_then(|(credential, _)| credential.expires_at);
    let settings = ConnectionSettings { api: ExchangeApi::Graph, ..known.settings };
    let mut request = CheckRequest::new(settings, current.map(|(_, secret)| secret));
    let mailboxes = app.store.mailboxes().await?;
    request.mailboxes = mailboxes
        .into_iter()
        .filter(|mailbox| mailbox.connection == id)
        .map(|mailbox| mailbox.address)
        .collect();
    request.credential_expires_at = expires_at;
    let report = app.checker.check(request).await;
    // What is still waited for may never come: a connection is switched to what was seen to work.
    if report.failed() || report.waiting() {
        return Err(PageError::new(
            StatusCode::CONFLICT,
            format!("Microsoft Graph does not work yet for this connection: {}", report.summary()),
            "Nothing was switched. Mend what is named here and press the button again.",
        ));
    }
    app.store.switch_interface(id, ExchangeApi::Graph, &user.actor()).await?;
    app.engine.nudge();
    Ok(Redirect::to("/settings/incoming?switched=1"))
}
