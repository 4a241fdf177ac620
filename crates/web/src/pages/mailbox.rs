//! The rows of *E-mail accounts*: show, add, change, validate, read now, remove. Each request is about one row and
//! touches no other.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use postroom_engine::collector::progress::Backlog;
use postroom_engine::collector::standing::Standing;
use postroom_model::connection::{Connection, ConnectionSettings};
use postroom_model::mailbox::{
    AfterProcessing, Availability, MailType, Mailbox, MailboxSettings, MailboxState, OldMail,
};
use postroom_model::people::Role;
use postroom_model::{
    ConnectionId, EmailAddress, GroupId, MailboxId, Problems, SecretString, Timestamp, UserId,
};
use postroom_store::{SaveMailbox, StoreError};
use serde_json::{Value, json};

use crate::error::{PageError, sentence};
use crate::fields::Fields;
use crate::session::{Manager, SignedIn};
use crate::templates::{render, shell};
use crate::{App, shown};

const FIELDS: [&str; 8] = [
    "address",
    "user_name",
    "password",
    "types",
    "availability",
    "polling_interval",
    "old_mail",
    "after_processing",
];

/// Names of groups and users, for availability.
pub(super) struct Names {
    groups: BTreeMap<GroupId, String>,
    users: BTreeMap<UserId, String>,
}

impl Names {
    pub(super) async fn load(app: &App) -> Result<Self, StoreError> {
        let groups = app.store.groups().await?.into_iter().map(|group| (group.id, group.name)).collect();
        let users = app.store.users().await?.into_iter().map(|user| (user.id, user.display_name)).collect();
        Ok(Self { groups, users })
    }

    fn availability(&self, availability: &Availability) -> String {
        let Availability::Only { groups, roles, users } = availability else { return "All".to_owned() };
        let unknown = || "(removed)".to_owned();
        let groups = groups.iter().map(|id| self.groups.get(id).cloned().unwrap_or_else(unknown));
        let users = users.iter().map(|id| self.users.get(id).cloned().unwrap_or_else(unknown));
        let names: Vec<String> =
            groups.chain(roles.iter().map(|role| role.label().to_owned())).chain(users).collect();
        if names.is_empty() { "Nobody".to_owned() } else { names.join(", ") }
    }
}

/// A row as it is read.
pub(super) fn shown_row(
    mailbox: &Mailbox,
    connection: &ConnectionSettings,
    names: &Names,
    standing: Option<&Standing>,
    now: Timestamp,
) -> Value {
    let (verdict, reason) = verdict(mailbox);
    let backlog = standing.and_then(|known| known.backlog.as_ref());
    let settles = mailbox.settings.after_processing != AfterProcessing::Leave;
    let unsettled = standing.and_then(|known| known.unsettled.as_ref()).filter(|_| settles);
    let report = standing.and_then(|known| known.reconciliation.as_ref());
    let types: Vec<&str> = mailbox.settings.types.iter().map(|kind| kind.label()).collect();
    json!({
        "id": mailbox.id,
        "address": mailbox.address,
        "user_name": mailbox.settings.user_name,
        "password": password_words(mailbox, connection),
        "types": types.join(", "),
        "available": names.availability(&mailbox.settings.availability),
        "verdict": verdict,
        "reason": reason,
        "backlog": backlog.map(Backlog::words),
        "unsettled": unsettled.map(|known| known.words.clone()),
        "compared": report.map(|report| json!({
            "at": shown::time(report.at, now),
            "words": report.words(),
            "missing": report.missing,
        })),
        "validated_at": shown::maybe_time(mailbox.validation.as_ref().map(|known| known.at), now),
        "last_success": shown::maybe_time(mailbox.last_success_at, now),
        "next_due": shown::maybe_time(mailbox.next_due_at, now),
    })
}

/// What the column *Val.* shows, and why. What happened last counts, be it a validation or a reading.
fn verdict(mailbox: &Mailbox) -> (&'static str, String) {
    if mailbox.state == MailboxState::Failing {
        let why = mailbox.last_error.clone().unwrap_or_else(|| "the last reading failed".to_owned());
        return ("fail", format!("{why} ({} failed readings in a row)", mailbox.failures));
    }
    match (&mailbox.validation, mailbox.state) {
        (Some(validation), _) if !validation.ok => ("fail", validation.words.clone()),
        (Some(validation), _) => ("pass", validation.words.clone()),
        (None, MailboxState::Running) => ("pass", "The last reading worked.".to_owned()),
        (None, _) => ("new", "Not validated yet.".to_owned()),
    }
}

/// The column *Password*: where the connection's credential opens all mailboxes, which one that is.
fn password_words(mailbox: &Mailbox, connection: &ConnectionSettings) -> &'static str {
    match (connection.mailboxes_sign_in(), mailbox.has_password) {
        (false, _) => connection.flow.label(),
        (true, true) => "stored",
        (true, false) => "of the connection",
    }
}

/// A row as it is edited.
struct Editor {
    id: Option<MailboxId>,
    connection: Connection,
    settings: MailboxSettings,
    interval: String,
    old_mail: OldMailChoice,
    after: AfterChoice,
    /// How much mail waits, when that was asked for; or why it could not be counted.
    waiting: Option<Result<String, String>>,
    /// The password typed now; blank leaves the stored one alone.
    password: Option<SecretString>,
    has_password: bool,
    problems: Problems,
}

impl Editor {
    fn of(mailbox: &Mailbox, connection: Connection) -> Self {
        let settings = mailbox.settings.clone();
        let interval = settings.polling_interval.to_string().replace('.', ",");
        Self {
            id: Some(mailbox.id),
            connection,
            interval,
            old_mail: OldMailChoice::of(settings.old_mail),
            after: AfterChoice::of(&settings.after_processing),
            waiting: None,
            settings,
            password: None,
            has_password: mailbox.has_password,
            problems: Problems::new(),
        }
    }

    fn fresh(connection: Connection) -> Self {
        Self {
            id: None,
            connection,
            settings: MailboxSettings::new("", []),
            interval: String::new(),
            old_mail: OldMailChoice::default(),
            after: AfterChoice::of(&AfterProcessing::Leave),
            waiting: None,
            password: None,
            has_password: false,
            problems: Problems::new(),
        }
    }

    /// What was posted. A field that was not shown keeps its stored value.
    fn posted(mailbox: Option<&Mailbox>, connection: Connection, fields: &Fields) -> Self {
        let mut problems = Problems::new();
        let interval = fields.get("polling_interval").trim().to_owned();
        let polling_interval = interval.parse().unwrap_or_else(|error| {
            problems.error("polling_interval", format!("Polling interval: {error}"));
            Default::default()
        });
        let known = mailbox.map(|mailbox| mailbox.settings.user_name.as_str()).unwrap_or_default();
        let old_mail = OldMailChoice::posted(mailbox, fields);
        let after = AfterChoice::posted(mailbox, fields);
        let settings = MailboxSettings {
            address: fields.get("address").trim().to_owned(),
            user_name: fields.find("user_name").unwrap_or(known).trim().to_owned(),
            types: fields.all("type").filter_map(|text| text.parse().ok()).collect(),
            availability: availability(fields),
            polling_interval,
            old_mail: old_mail.chosen(&mut problems),
            after_processing: after.chosen(),
        };
        problems.extend(settings.validate());
        let password = fields.secret("password");
        if let Some(password) = &password {
            problems.extend(MailboxSettings::validate_password(&connection.settings, password));
        }
        let (id, has_password) =
            (mailbox.map(|mailbox| mailbox.id), mailbox.is_some_and(|mailbox| mailbox.has_password));
        let waiting = None;
        Self {
            id,
            connection,
            settings,
            interval,
            old_mail,
            after,
            waiting,
            password,
            has_password,
            problems,
        }
    }

    async fn values(&self, app: &App, user: &SignedIn) -> Result<Value, StoreError> {
        let names = Names::load(app).await?;
        let (groups, roles, users) = match &self.settings.availability {
            Availability::All => Default::default(),
            Availability::Only { groups, roles, users } => (groups.clone(), roles.clone(), users.clone()),
        };
        let choice = |value: String, label: &str, chosen: bool| json!({ "value": value, "label": label, "chosen": chosen });
        let key = self.id.map_or_else(|| format!("new-{}", self.connection.id), |id| id.to_string());
        Ok(json!({
            "shell": shell(Some(user), "incoming"),
            "e": {
                "key": key,
                "id": self.id,
                "connection": self.connection.id,
                "signs_in": self.connection.settings.mailboxes_sign_in(),
                "has_password": self.has_password,
                "address": self.settings.address,
                "user_name": self.settings.user_name,
                "polling_interval": self.interval,
                "old_mail": self.old_mail.which,
                "old_mail_since": self.old_mail.since,
                "after_processing": self.after.which,
                "move_to": self.after.folder,
                "waiting": self.waiting.as_ref().and_then(|known| known.as_ref().ok()),
                "not_counted": self.waiting.as_ref().and_then(|known| known.as_ref().err()),
                "types": MailType::ALL.iter().map(|kind| {
                    choice(kind.as_str().to_owned(), kind.label(), self.settings.types.contains(kind))
                }).collect::<Vec<_>>(),
                "all": self.settings.availability == Availability::All,
                "groups": names.groups.iter().map(|(id, name)| {
                    choice(id.to_string(), name, groups.contains(id))
                }).collect::<Vec<_>>(),
                "roles": Role::ALL.iter().map(|role| {
                    choice(role.as_str().to_owned(), role.label(), roles.contains(role))
                }).collect::<Vec<_>>(),
                "users": names.users.iter().map(|(id, name)| {
                    choice(id.to_string(), name, users.contains(id))
                }).collect::<Vec<_>>(),
                "problems": shown::problems(&self.problems, &FIELDS, str::to_owned),
            },
        }))
    }

    async fn render(&self, app: &App, user: &SignedIn, fragment: bool) -> Result<Html<String>, PageError> {
        let template = if fragment { "incoming/editor.html" } else { "incoming/editor-page.html" };
        render(template, &self.values(app, user).await?)
    }
}

/// The answer to how much old mail is taken, as it stands in the form: none is chosen for a new mailbox, so that a person
/// decides.
#[derive(Default)]
struct OldMailChoice {
    which: String,
    since: String,
}

impl OldMailChoice {
    fn of(old_mail: OldMail) -> Self {
        let (which, since) = match old_mail {
            OldMail::None => ("none", String::new()),
            OldMail::Since(day) => ("since", day.to_string()),
            OldMail::All => ("all", String::new()),
        };
        Self { which: which.to_owned(), since }
    }

    fn posted(mailbox: Option<&Mailbox>, fields: &Fields) -> Self {
        match (fields.find("old_mail"), mailbox) {
            (None, Some(mailbox)) => Self::of(mailbox.settings.old_mail),
            (which, _) => Self {
                which: which.unwrap_or_default().to_owned(),
                since: fields.get("old_mail_since").trim().to_owned(),
            },
        }
    }

    fn chosen(&self, problems: &mut Problems) -> OldMail {
        let text = if self.which == "since" { &self.since } else { &self.which };
        text.parse().unwrap_or_else(|_| {
            match self.which.as_str() {
                "since" => problems.error("old_mail", "Old mail: the date is missing or is none"),
                _ => problems.error("old_mail", "Old mail: choose how much of it is taken"),
            }
            .hint("Old mail is marked as old, and nobody is answered for it.");
            OldMail::None
        })
    }
}

/// What becomes of processed mail, as it stands in the form.
struct AfterChoice {
    which: String,
    folder: String,
}

impl AfterChoice {
    fn of(after: &AfterProcessing) -> Self {
        let (which, folder) = match after {
            AfterProcessing::Leave => ("leave", ""),
            AfterProcessing::MarkRead => ("mark-read", ""),
            AfterProcessing::Move(folder) => ("move", folder.as_str()),
        };
        Self { which: which.to_owned(), folder: folder.to_owned() }
    }

    fn posted(mailbox: Option<&Mailbox>, fields: &Fields) -> Self {
        match (fields.find("after_processing"), mailbox) {
            (Some(which), _) => {
                Self { which: which.to_owned(), folder: fields.get("move_to").trim().to_owned() }
            }
            (None, Some(mailbox)) => Self::of(&mailbox.settings.after_processing),
            (None, None) => Self::of(&AfterProcessing::Leave),
        }
    }

    fn chosen(&self) -> AfterProcessing {
        match self.which.as_str() {
            "mark-read" => AfterProcessing::MarkRead,
            "move" => AfterProcessing::Move(self.folder.clone()),
            _ => AfterProcessing::Leave,
        }
    }
}

fn availability(fields: &Fields) -> Availability {
    if fields.find("available_to_all").is_some() {
        return Availability::All;
    }
    Availability::Only {
        groups: fields.all("group").filter_map(|text| text.parse().ok()).collect(),
        roles: fields.all("role").filter_map(|text| text.parse().ok()).collect(),
        users: fields.all("user").filter_map(|text| text.parse().ok()).collect(),
    }
}

fn is_fragment(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request")
}

async fn receiving(app: &App, id: ConnectionId) -> Result<Connection, PageError> {
    let known = app.store.connection(id).await?.filter(|known| known.settings.kind.receives());
    known.ok_or_else(PageError::not_found)
}

async fn mailbox(app: &App, id: MailboxId) -> Result<Mailbox, PageError> {
    app.store.mailbox(id).await?.ok_or_else(PageError::not_found)
}

/// The row as it stands now, or the page for a browser without scripts.
async fn answer_row(app: &App, id: MailboxId, fragment: bool) -> Result<Response, PageError> {
    if !fragment {
        return Ok(Redirect::to("/settings/incoming?saved=1").into_response());
    }
    let mailbox = mailbox(app, id).await?;
    let connection = receiving(app, mailbox.connection).await?;
    let names = Names::load(app).await?;
    let standing = app.engine.standings().await?.remove(&id);
    let row = shown_row(&mailbox, &connection.settings, &names, standing.as_ref(), app.env.now());
    Ok(render("incoming/row.html", &json!({ "row": row }))?.into_response())
}

/// `GET /settings/incoming/connections/{id}/mailboxes/new`.
pub(super) async fn new(
    Manager(user): Manager,
    State(app): State<App>,
    Path(id): Path<ConnectionId>,
    headers: HeaderMap,
) -> Result<Html<String>, PageError> {
    Editor::fresh(receiving(&app, id).await?).render(&app, &user, is_fragment(&headers)).await
}

/// `POST /settings/incoming/connections/{id}/mailboxes`.
pub(super) async fn add(
    Manager(user): Manager,
    State(app): State<App>,
    Path(id): Path<ConnectionId>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, PageError> {
    let connection = receiving(&app, id).await?;
    save(&app, &user, Editor::posted(None, connection, &fields), is_fragment(&headers)).await
}

/// `POST /settings/incoming/connections/{id}/mailboxes/count`: how much mail waits in the mailbox that is typed, before
/// it is chosen how much of it is taken. Nothing is saved.
pub(super) async fn count(
    Manager(user): Manager,
    State(app): State<App>,
    Path(id): Path<ConnectionId>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Html<String>, PageError> {
    let connection = receiving(&app, id).await?;
    let known = match fields.get("mailbox").parse() {
        Ok(known) => app.store.mailbox(known).await?.filter(|known| known.connection == id),
        Err(_) => None,
    };
    let mut editor = Editor::posted(known.as_ref(), connection.clone(), &fields);
    editor.problems = Problems::new();
    editor.waiting = Some(match editor.settings.address.parse::<EmailAddress>() {
        Err(error) => Err(sentence(&error.to_string())),
        Ok(address) => {
            let mailbox_id = editor.id.unwrap_or_else(|| app.env.new_id());
            let mut mailbox = Mailbox::unsaved(mailbox_id, id, address, app.env.now());
            mailbox.settings.user_name.clone_from(&editor.settings.user_name);
            let counted = app.engine.old_mail(&connection, &mailbox).await;
            counted.map(|found| sentence(&found.words())).map_err(|failure| failure.to_string())
        }
    });
    editor.render(&app, &user, is_fragment(&headers)).await
}

/// `GET /settings/incoming/mailboxes/{id}`.
pub(super) async fn edit(
    Manager(user): Manager,
    State(app): State<App>,
    Path(id): Path<MailboxId>,
    headers: HeaderMap,
) -> Result<Html<String>, PageError> {
    let mailbox = mailbox(&app, id).await?;
    let connection = receiving(&app, mailbox.connection).await?;
    Editor::of(&mailbox, connection).render(&app, &user, is_fragment(&headers)).await
}

/// `POST /settings/incoming/mailboxes/{id}`.
pub(super) async fn change(
    Manager(user): Manager,
    State(app): State<App>,
    Path(id): Path<MailboxId>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, PageError> {
    let mailbox = mailbox(&app, id).await?;
    let connection = receiving(&app, mailbox.connection).await?;
    save(&app, &user, Editor::posted(Some(&mailbox), connection, &fields), is_fragment(&headers)).await
}

async fn save(app: &App, user: &SignedIn, mut editor: Editor, fragment: bool) -> Result<Response, PageError> {
    if !editor.problems.blocks() {
        let id = editor.id.unwrap_or_else(|| app.env.new_id());
        let (connection, settings, actor) = (editor.connection.id, editor.settings.clone(), user.actor());
        let password = editor.password.clone();
        match app.store.save_mailbox(SaveMailbox { id, connection, settings, password, actor }).await {
            Ok(saved) => {
                app.engine.nudge();
                // A mailbox that was removed before comes back under its own id.
                return answer_row(app, saved.id, fragment).await;
            }
            Err(StoreError::Taken { what }) => {
                editor.problems.error("address", format!("{what} is already there"));
            }
            Err(StoreError::Refused { what, hint }) => {
                editor.problems.error("address", sentence(&what)).hint(sentence(hint));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let html = editor.render(app, user, fragment).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, html).into_response())
}

/// `GET /settings/incoming/mailboxes/{id}/row`: back from the editor without a change.
pub(super) async fn row(
    Manager(_): Manager,
    State(app): State<App>,
    Path(id): Path<MailboxId>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    answer_row(&app, id, is_fragment(&headers)).await
}

/// `POST /settings/incoming/mailboxes/{id}/validate`: *Validate selected address*.
pub(super) async fn validate(
    Manager(user): Manager,
    State(app): State<App>,
    Path(id): Path<MailboxId>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    mailbox(&app, id).await?;
    app.engine.validate_mailbox(id, &user.actor()).await?;
    answer_row(&app, id, is_fragment(&headers)).await
}

/// `POST /settings/incoming/mailboxes/{id}/read`: *Check now*. A refusal is remembered at the mailbox and shown there.
pub(super) async fn read_now(
    Manager(_): Manager,
    State(app): State<App>,
    Path(id): Path<MailboxId>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    mailbox(&app, id).await?;
    if let Err(failure) = app.engine.collect_now(id).await {
        tracing::info!(mailbox = %id, %failure, "could not be read now");
    }
    answer_row(&app, id, is_fragment(&headers)).await
}

/// `POST /settings/incoming/mailboxes/{id}/remove`.
pub(super) async fn remove(
    Manager(user): Manager,
    State(app): State<App>,
    Path(id): Path<MailboxId>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    app.store.remove_mailbox(id, &user.actor()).await?;
    if is_fragment(&headers) {
        return Ok(Html("").into_response());
    }
    Ok(Redirect::to("/settings/incoming?removed=1").into_response())
}
