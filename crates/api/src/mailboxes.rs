//! `GET /mailboxes`: how the mailboxes fare, without anything of their mail.

use axum::Json;
use axum::extract::State;
use postroom_engine::collector::progress::Backlog;
use postroom_model::mailbox::AfterProcessing;
use serde_json::{Value, json};

use crate::auth::Program;
use crate::{ApiError, ApiState};

pub(crate) async fn list(_: Program, State(state): State<ApiState>) -> Result<Json<Value>, ApiError> {
    let mut standings = state.engine.standings().await?;
    let mailboxes: Vec<Value> = state
        .store
        .mailboxes()
        .await?
        .into_iter()
        .map(|mailbox| {
            let known = standings.remove(&mailbox.id).unwrap_or_default();
            let wants = mailbox.settings.after_processing != AfterProcessing::Leave;
            let unsettled = known.unsettled.filter(|_| wants);
            json!({
                "id": mailbox.id,
                "address": mailbox.address,
                "types": mailbox.settings.types,
                "state": mailbox.state,
                "last_error": mailbox.last_error,
                "last_success_at": mailbox.last_success_at,
                "next_due_at": mailbox.next_due_at,
                "old_mail": mailbox.settings.old_mail,
                "after_processing": mailbox.settings.after_processing,
                "backlog": known.backlog.as_ref().map(|backlog| json!({
                    "waiting": backlog.waiting,
                    "per_minute": backlog.per_minute,
                    "minutes": Backlog::minutes(backlog),
                })),
                "unsettled": unsettled,
                "reconciliation": known.reconciliation,
            })
        })
        .collect();
    Ok(Json(json!({ "mailboxes": mailboxes })))
}
