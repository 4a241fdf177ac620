//! `/`: what needs attention now, else one quiet line.

use axum::extract::State;
use axum::response::Html;
use postroom_engine::watch::expiry::{self, days_left};
use postroom_engine::watch::scope::ScopeWatch;
use postroom_model::EmailAddress;
use postroom_model::credential::CredentialState;
use postroom_model::mailbox::{Mailbox, MailboxState};
use postroom_model::outbox::OutboxState;
use postroom_model::people::Role;
use serde_json::{Value, json};

use super::outbox;
use crate::App;
use crate::error::PageError;
use crate::session::SignedIn;
use crate::templates::{render, shell};

/// One thing that needs attention: how bad, a sentence, why, and where to go.
fn item(grave: bool, sentence: &str, detail: Option<&str>, link: &str, action: &str) -> Value {
    json!({ "grave": grave, "sentence": sentence, "detail": detail, "link": link, "action": action })
}

/// `GET /`.
pub(super) async fn page(user: SignedIn, State(app): State<App>) -> Result<Html<String>, PageError> {
    let mut items = Vec::new();
    next_step(&app, &user, &mut items).await?;
    mailboxes(&app, &user, &mut items).await?;
    credentials(&app, &user, &mut items).await?;
    for state in [OutboxState::Failed, OutboxState::Unknown, OutboxState::Held] {
        let count = outbox::visible(&app, &user, Some(state), 100, 0).await?.len();
        if count > 0 {
            items.push(outbox_item(state, count));
        }
    }
    let values = json!({ "shell": shell(Some(&user), "start"), "items": items });
    render("start.html", &values)
}

fn outbox_item(state: OutboxState, count: usize) -> Value {
    let messages = match count {
        1 => "1 message".to_owned(),
        100 => "100 messages or more".to_owned(),
        more => format!("{more} messages"),
    };
    let (grave, what) = match state {
        OutboxState::Failed => (true, "not sent"),
        OutboxState::Unknown => {
            (true, "with unknown outcome: looked up at the provider before anything is sent again")
        }
        _ => (false, "held"),
    };
    item(grave, &format!("{messages} {what}."), None, &format!("/outbox?state={state}"), "Show them")
}

/// What is still to be set up, told to those who can.
async fn next_step(app: &App, user: &SignedIn, items: &mut Vec<Value>) -> Result<(), PageError> {
    let connections = app.store.connections().await?;
    let outgoing = app.store.outgoing_settings().await?;
    let receives = connections.iter().any(|known| known.settings.kind.receives());
    if connections.is_empty() && outgoing.is_none() {
        let (link, action) =
            if user.user.has(Role::Administrator) { ("/settings/email", "Set up e-mail") } else { ("", "") };
        let detail = "Nothing can be sent or collected until an administrator enters a server.";
        items.push(item(false, "There is no connection yet.", Some(detail), link, action));
    } else if user.manages() && receives && app.store.mailboxes().await?.is_empty() {
        let detail = "Add an e-mail account to collect mail.";
        items.push(item(false, "No mailbox is read yet.", Some(detail), "/settings/incoming", "Add one"));
    }
    Ok(())
}

fn fails(mailbox: &Mailbox) -> bool {
    mailbox.removed_at.is_none() && mailbox.state == MailboxState::Failing
}

/// Days before a credential's end at which it stands here, and at which it is grave.
const CREDENTIAL_DAYS: (u32, u32) = (30, 7);

/// Credentials that end soon, renewals that cannot go on, and mailboxes that open and must not; for administrators.
async fn credentials(app: &App, user: &SignedIn, items: &mut Vec<Value>) -> Result<(), PageError> {
    if !user.user.has(Role::Administrator) {
        return Ok(());
    }
    let now = app.env.now();
    let (link, action) = ("/settings/email", "Open settings");
    for connection in app.store.connections().await? {
        let name = connection.settings.display_name();
        let held = app.store.credentials(connection.id).await?;
        let current = held.iter().find(|one| one.state == CredentialState::Current);
        let renewal = app.engine.renewal(connection.id).await?;
        let trouble = renewal.and_then(|renewal| renewal.trouble);
        if let Some(end) = current.and_then(|one| one.expires_at)
            && days_left(end, now) <= CREDENTIAL_DAYS.0
        {
            let sentence = format!("The credential of {name} {}.", expiry::words(end, now));
            let grave = days_left(end, now) <= CREDENTIAL_DAYS.1;
            items.push(item(grave, &sentence, trouble.as_deref(), link, action));
        }
        let scope = app.engine.scope_watch(connection.id).await?;
        scope_items(name, &scope, items);
    }
    Ok(())
}

/// What the watch over the limit of an application found.
fn scope_items(name: &str, scope: &ScopeWatch, items: &mut Vec<Value>) {
    let list = |all: &[EmailAddress]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !scope.opened.is_empty() {
        let sentence = format!("{name} can open {}, and must not.", list(&scope.opened));
        items.push(item(true, &sentence, None, "", ""));
    }
    if !scope.leftover.is_empty() {
        let rights = scope.leftover.join(", ");
        let sentence = format!("{name} is granted {rights} for the whole tenant, which defeats its limit.");
        let detail = "Revoke it in Entra, Enterprise applications, Permissions.";
        items.push(item(true, &sentence, Some(detail), "", ""));
    }
    if !scope.missing.is_empty() {
        let missing = list(&scope.missing);
        let sentence = format!("{missing} is to be refused to {name}, and there is no such mailbox.");
        let detail = "Nothing is proved by it: name a mailbox that exists and must stay closed.";
        items.push(item(false, &sentence, Some(detail), "", ""));
    }
}

/// Failing mailboxes: all of them for those who can mend them, else those the user reads.
async fn mailboxes(app: &App, user: &SignedIn, items: &mut Vec<Value>) -> Result<(), PageError> {
    let known = if user.manages() {
        app.store.mailboxes().await?
    } else {
        app.store.mailboxes_for(&user.user.viewer()).await?
    };
    let (link, action) = if user.manages() { ("/settings/incoming", "Open settings") } else { ("", "") };
    for mailbox in known.iter().filter(|known| fails(known)) {
        let sentence = format!("{} cannot be read.", mailbox.address);
        items.push(item(true, &sentence, mailbox.last_error.as_deref(), link, action));
    }
    Ok(())
}
