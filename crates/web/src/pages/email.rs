//! `/settings/email`: *System settings - E-mail*, rows 13 to 23.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use postroom_model::connection::{Connection, EmailMethod, OutgoingSettings};
use postroom_model::credential::CredentialState;
use postroom_store::{SaveConnection, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::connection_form::ConnectionForm;
use crate::error::PageError;
use crate::fields::Fields;
use crate::session::{Administrator, SignedIn};
use crate::templates::{render, shell};

#[derive(Deserialize)]
pub(super) struct PageQuery {
    saved: Option<String>,
}

/// The page's form: the method, and the connection it sends through.
pub(super) struct OutgoingForm {
    pub(super) method: EmailMethod,
    pub(super) connection: Option<ConnectionForm>,
}

impl OutgoingForm {
    async fn open(app: &App) -> Result<Self, StoreError> {
        let outgoing = app.store.outgoing_settings().await?;
        // Microsoft 365 is what most people come to set up.
        let method = outgoing.as_ref().map_or(EmailMethod::ExchangeOnline, |known| known.method);
        Self::of(app, method, None).await
    }

    /// The form for `method`, with what was posted where something was.
    async fn of(app: &App, method: EmailMethod, fields: Option<&Fields>) -> Result<Self, StoreError> {
        let Some(kind) = method.connection_kind() else { return Ok(Self { method, connection: None }) };
        let store = app.store.as_ref();
        let stored = connection_of(app, method).await?;
        let connection = match fields {
            Some(fields) => ConnectionForm::posted(store, kind, stored, fields).await?,
            None => ConnectionForm::open(store, kind, stored).await?,
        };
        Ok(Self { method, connection: Some(connection) })
    }

    /// What was posted. Fields that were filled in for another method stay with that method: its own values come.
    pub(super) async fn posted(app: &App, fields: &Fields) -> Result<Self, PageError> {
        let method: EmailMethod = fields
            .get("method")
            .parse()
            .map_err(|_| PageError::wrong_form("The e-mail method is not known."))?;
        let same = fields.get("shown_method") == method.as_str();
        Ok(Self::of(app, method, same.then_some(fields)).await?)
    }

    fn blocked(&self) -> bool {
        self.connection.as_ref().is_some_and(|form| form.problems().blocks())
    }

    fn values(&self, user: &SignedIn, saved: bool) -> Value {
        let methods: Vec<Value> = EmailMethod::ALL
            .iter()
            .map(|method| {
                json!({ "value": method.as_str(), "label": method.label(), "chosen": *method == self.method })
            })
            .collect();
        json!({
            "shell": shell(Some(user), "email"),
            "saved": saved,
            "method": self.method.as_str(),
            "methods": methods,
            "c": self.connection.as_ref().map(ConnectionForm::shown),
        })
    }
}

/// The saved connection that `method` uses: the one of the outgoing settings, else the first of its kind.
pub(super) async fn connection_of(app: &App, method: EmailMethod) -> Result<Option<Connection>, StoreError> {
    let Some(kind) = method.connection_kind() else { return Ok(None) };
    let named = app.store.outgoing_settings().await?.and_then(|outgoing| outgoing.connection);
    let of_kind = app.store.connections().await?.into_iter().filter(|known| known.settings.kind == kind);
    let of_kind: Vec<Connection> = of_kind.collect();
    Ok(of_kind.iter().find(|known| Some(known.id) == named).or(of_kind.first()).cloned())
}

/// `GET /settings/email`.
pub(super) async fn page(
    Administrator(user): Administrator,
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Html<String>, PageError> {
    let form = OutgoingForm::open(&app).await?;
    render("email/page.html", &form.values(&user, query.saved.is_some()))
}

/// `POST /settings/email/draft`: the form as it is being filled in. Nothing is saved.
pub(super) async fn draft(
    Administrator(user): Administrator,
    State(app): State<App>,
    headers: axum::http::HeaderMap,
    fields: Fields,
) -> Result<Html<String>, PageError> {
    let form = OutgoingForm::posted(&app, &fields).await?;
    let whole = !headers.contains_key("hx-request");
    render(if whole { "email/page.html" } else { "email/form.html" }, &form.values(&user, false))
}

/// `POST /settings/email`.
pub(super) async fn save(
    Administrator(user): Administrator,
    State(app): State<App>,
    fields: Fields,
) -> Result<Response, PageError> {
    let form = OutgoingForm::posted(&app, &fields).await?;
    if form.blocked() {
        let page = render("email/page.html", &form.values(&user, false))?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    let connection = match &form.connection {
        Some(connection) => Some(save_connection(&app, connection, &user.actor()).await?.id),
        None => None,
    };
    let outgoing = OutgoingSettings { method: form.method, connection };
    app.store.save_outgoing_settings(&outgoing, &user.actor()).await?;
    app.engine.nudge();
    Ok(Redirect::to("/settings/email?saved=1").into_response())
}

/// Saves what a valid form holds.
pub(super) async fn save_connection(
    app: &App,
    form: &ConnectionForm,
    actor: &str,
) -> Result<Connection, StoreError> {
    let id = form.stored.as_ref().map_or_else(|| app.env.new_id(), |stored| stored.id);
    let settings = form.settings.clone();
    let save = SaveConnection { id, settings, credential: form.new_credential(), actor: actor.to_owned() };
    let saved = app.store.save_connection(save).await?;
    // A secret that was stored before keeps its seal; only its end is learned.
    if let Some(end) = form.expires_at() {
        let credentials = app.store.credentials(saved.id).await?;
        if let Some(current) = credentials.iter().find(|known| known.state == CredentialState::Current)
            && current.expires_at != Some(end)
        {
            app.store.learn_credential(current.id, Some(end), None).await?;
        }
    }
    Ok(saved)
}
