//! `/settings/incoming`: *Settings for incoming e-mail*. A box *Server settings* for each connection that receives,
//! with its table *E-mail accounts*. The connection of the outgoing settings is one of them: one record serves both.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use postroom_model::connection::{Connection, ConnectionKind};
use postroom_model::mailbox::Mailbox;
use postroom_model::people::Role;
use postroom_store::StoreError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::email::save_connection;
use super::mailbox::{Names, shown_row};
use crate::App;
use crate::connection_form::ConnectionForm;
use crate::error::PageError;
use crate::fields::Fields;
use crate::session::{Administrator, Manager, SignedIn};
use crate::templates::{render, shell};

/// Stands for a connection that is not saved yet.
const NEW: &str = "new";

#[derive(Deserialize)]
pub(super) struct PageQuery {
    new: Option<String>,
    saved: Option<String>,
    removed: Option<String>,
    switched: Option<String>,
}

/// One box with its table.
async fn shown_box(
    app: &App,
    form: &ConnectionForm,
    mailboxes: &[Mailbox],
    names: &Names,
    administrator: bool,
) -> Result<Value, StoreError> {
    let stored = form.stored.as_ref();
    let id = stored.map_or_else(|| NEW.to_owned(), |stored| stored.id.to_string());
    let outgoing = app.store.outgoing_settings().await?.and_then(|outgoing| outgoing.connection);
    let own = mailboxes.iter().filter(|mailbox| stored.is_some_and(|stored| stored.id == mailbox.connection));
    let standings = app.engine.standings().await?;
    let row = |mailbox: &Mailbox| {
        shown_row(mailbox, &form.settings, names, standings.get(&mailbox.id), app.env.now())
    };
    let rows: Vec<Value> = own.map(row).collect();
    Ok(json!({
        "id": id,
        "title": form.settings.display_name(),
        "saved": stored.is_some(),
        "outgoing": stored.is_some_and(|stored| Some(stored.id) == outgoing),
        "administrator": administrator,
        "c": form.shown(),
        "rows": rows,
    }))
}

/// The page. `posted` takes the place of the box it belongs to.
async fn page_values(
    app: &App,
    user: &SignedIn,
    posted: Option<ConnectionForm>,
    notice: Option<&str>,
) -> Result<Value, StoreError> {
    let names = Names::load(app).await?;
    let mailboxes = app.store.mailboxes().await?;
    let administrator = user.user.has(Role::Administrator);
    let mut posted = posted;
    let mut boxes = Vec::new();
    for connection in
        app.store.connections().await?.into_iter().filter(|known| known.settings.kind.receives())
    {
        let ours =
            |form: &ConnectionForm| form.stored.as_ref().is_some_and(|stored| stored.id == connection.id);
        let form = match posted.take_if(|form| ours(form)) {
            Some(form) => form,
            None => {
                let kind = connection.settings.kind;
                ConnectionForm::open(app.store.as_ref(), kind, Some(connection)).await?
            }
        };
        boxes.push(shown_box(app, &form, &mailboxes, &names, administrator).await?);
    }
    if let Some(form) = posted {
        boxes.push(shown_box(app, &form, &[], &names, administrator).await?);
    }
    Ok(json!({
        "shell": shell(Some(user), "incoming"),
        "administrator": administrator,
        "boxes": boxes,
        "notice": notice,
    }))
}

/// `GET /settings/incoming`.
pub(super) async fn page(
    Manager(user): Manager,
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Html<String>, PageError> {
    let wanted = query.new.is_some() && user.user.has(Role::Administrator);
    let fresh = if wanted {
        Some(ConnectionForm::open(app.store.as_ref(), ConnectionKind::ExchangeOnline, None).await?)
    } else {
        None
    };
    let notice = match (query.switched, query.removed, query.saved) {
        (Some(_), _, _) => {
            Some("Switched to Microsoft Graph. Every mailbox is compared once from the beginning.")
        }
        (None, Some(_), _) => Some("Removed. Collected mail stays with those who could see it."),
        (None, None, Some(_)) => Some("Saved."),
        (None, None, None) => None,
    };
    render("incoming/page.html", &page_values(&app, &user, fresh, notice).await?)
}

/// The connection a path names; none for a new one.
pub(super) async fn connection(app: &App, id: &str) -> Result<Option<Connection>, PageError> {
    if id == NEW {
        return Ok(None);
    }
    let id = id.parse().map_err(|_| PageError::not_found())?;
    app.store.connection(id).await?.map(Some).ok_or_else(PageError::not_found)
}

async fn posted(app: &App, id: &str, fields: &Fields) -> Result<ConnectionForm, PageError> {
    let stored = connection(app, id).await?;
    // The service of a saved connection stays: its mailboxes and the outgoing settings count on it.
    let kind: ConnectionKind = match &stored {
        Some(stored) => stored.settings.kind,
        None => fields.get("kind").parse().map_err(|_| PageError::wrong_form("The service is not known."))?,
    };
    if !kind.receives() {
        return Err(PageError::wrong_form("Nothing can be received by this service."));
    }
    let store = app.store.as_ref();
    // Another service begins with its own usual server, not with the one of the service before.
    if stored.is_none() && fields.get("shown_kind") != kind.as_str() {
        return Ok(ConnectionForm::open(store, kind, None).await?);
    }
    Ok(ConnectionForm::posted(store, kind, stored, fields).await?)
}

/// `POST /settings/incoming/connections/{id}/draft`.
pub(super) async fn draft(
    Administrator(user): Administrator,
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Html<String>, PageError> {
    let form = posted(&app, &id, &fields).await?;
    if !headers.contains_key("hx-request") {
        return render("incoming/page.html", &page_values(&app, &user, Some(form), None).await?);
    }
    let shown = shown_box(&app, &form, &[], &Names::load(&app).await?, true).await?;
    render("incoming/server.html", &json!({ "box": shown }))
}

/// `POST /settings/incoming/connections/{id}`.
pub(super) async fn save(
    Administrator(user): Administrator,
    State(app): State<App>,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Response, PageError> {
    let form = posted(&app, &id, &fields).await?;
    if form.problems().blocks() {
        let page = render("incoming/page.html", &page_values(&app, &user, Some(form), None).await?)?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    save_connection(&app, &form, &user.actor()).await?;
    app.engine.nudge();
    Ok(Redirect::to("/settings/incoming?saved=1").into_response())
}

/// `POST /settings/incoming/connections/{id}/remove`.
pub(super) async fn remove(
    Administrator(user): Administrator,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Redirect, PageError> {
    let Some(known) = connection(&app, &id).await? else { return Err(PageError::not_found()) };
    match app.store.remove_connection(known.id, &user.actor()).await {
        Ok(()) => Ok(Redirect::to("/settings/incoming?saved=1")),
        Err(StoreError::InUse { .. }) => Err(PageError::new(
            StatusCode::CONFLICT,
            "This connection is still used.",
            "Remove its mailboxes first, and wait until its messages in the outbox are sent.",
        )),
        Err(error) => Err(error.into()),
    }
}
