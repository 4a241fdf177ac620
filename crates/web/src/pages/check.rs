//! `/settings/email/check`: the dialog *Check e-mail settings*. Tests what stands in the form, saved or not.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Html;
use postroom_check::{Account, CheckRequest, Incoming, Report, TestMessage, Verdict};
use postroom_model::connection::EmailMethod;
use postroom_model::mailbox::Mailbox;
use postroom_model::{ConnectionId, EmailAddress, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::email::connection_of;
use crate::App;
use crate::connection_form::ConnectionForm;
use crate::error::PageError;
use crate::fields::Fields;
use crate::session::{Administrator, SignedIn};
use crate::templates::{render, shell};

#[derive(Deserialize)]
pub(super) struct Opened {
    method: Option<String>,
}

fn values(user: &SignedIn, method: EmailMethod, recipient: &str, sender: &str, result: &Value) -> Value {
    let methods: Vec<Value> = EmailMethod::ALL
        .iter()
        .filter(|known| known.connection_kind().is_some())
        .map(|known| json!({ "value": known.as_str(), "label": known.label(), "chosen": *known == method }))
        .collect();
    json!({
        "shell": shell(Some(user), "email"),
        "methods": methods,
        "recipient": recipient,
        "sender": sender,
        "result": result,
    })
}

/// `GET /settings/email/check`.
pub(super) async fn page(
    Administrator(user): Administrator,
    State(app): State<App>,
    headers: HeaderMap,
    Query(opened): Query<Opened>,
) -> Result<Html<String>, PageError> {
    let saved = app.store.outgoing_settings().await?.map(|outgoing| outgoing.method);
    let method =
        opened.method.and_then(|text| text.parse().ok()).or(saved).unwrap_or(EmailMethod::ExchangeOnline);
    let own = user.user.address.as_ref().map_or("", EmailAddress::as_str);
    let values = values(&user, method, own, own, &Value::Null);
    let fragment = headers.contains_key("hx-request");
    render(if fragment { "email/check-dialog.html" } else { "email/check-page.html" }, &values)
}

/// `POST /settings/email/check`: runs the ladder and answers with the result.
pub(super) async fn run(
    Administrator(user): Administrator,
    State(app): State<App>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Html<String>, PageError> {
    let method: EmailMethod = fields
        .get("check_method")
        .parse()
        .map_err(|_| PageError::wrong_form("The e-mail method is not known."))?;
    let result = match request(&app, method, &fields).await? {
        Ok(asked) => {
            let report = app.checker.check(asked.request).await;
            if let Some(connection) = asked.connection {
                let event = report.event(&app.env, connection, asked.unsaved, &user.actor());
                app.store.append_events(vec![event]).await?;
            }
            shown(&report)
        }
        Err(sentence) => refusal(&sentence),
    };
    if headers.contains_key("hx-request") {
        return render("email/check-result.html", &json!({ "result": result }));
    }
    let (recipient, sender) = (fields.get("recipient"), fields.get("sender"));
    render("email/check-page.html", &values(&user, method, recipient, sender, &result))
}

/// What is to be checked, and what it is told of.
struct Asked {
    request: CheckRequest,
    /// The saved connection that the form is about.
    connection: Option<ConnectionId>,
    /// Whether something else is checked than what is saved there.
    unsaved: bool,
}

/// What is to be checked, or one sentence on what is missing.
async fn request(
    app: &App,
    method: EmailMethod,
    fields: &Fields,
) -> Result<Result<Asked, String>, PageError> {
    let Some(kind) = method.connection_kind() else {
        return Ok(Err("Drafts for Outlook need no server, so there is nothing to test.".to_owned()));
    };
    let address = |name: &str, label: &str| {
        fields.get(name).parse::<EmailAddress>().map_err(|error| format!("{label}: {error}."))
    };
    let (recipient, sender) = match (address("recipient", "Recipient"), address("sender", "Sender")) {
        (Ok(recipient), Ok(sender)) => (recipient, sender),
        (Err(sentence), _) | (_, Err(sentence)) => return Ok(Err(sentence)),
    };
    let store = app.store.as_ref();
    let stored = connection_of(app, method).await?;
    // The values of the settings form travel along when the dialog was opened from it, for the same method.
    let form = if fields.get("shown_method") == method.as_str() {
        ConnectionForm::posted(store, kind, stored, fields).await?
    } else {
        ConnectionForm::open(store, kind, stored).await?
    };
    if let Some(problem) = form.problems().errors().next() {
        let hint = problem.hint.as_deref().unwrap_or("Fill it in, then press Test again.");
        return Ok(Err(format!("{}. {hint}", problem.message)));
    }
    let secret = secret(app, &form).await?;
    let stored = form.stored.as_ref();
    let connection = stored.map(|stored| stored.id);
    let unsaved =
        form.typed_secret().is_some() || stored.is_some_and(|stored| stored.settings != form.settings);
    let mut request = CheckRequest::new(form.settings, secret);
    request.mailboxes = vec![sender.clone()];
    let mailboxes = store.mailboxes().await?;
    if let Some(own) =
        mailboxes.iter().find(|one| Some(one.connection) == connection && one.address == sender)
        && request.settings.mailboxes_sign_in()
    {
        request.accounts = vec![account(app, own).await?];
    }
    if let Some(read) = mailboxes.iter().find(|one| one.address == recipient)
        && !request.settings.kind.receives()
        && let Some(other) = store.connection(read.connection).await?
    {
        let secret = store.credential_secret(other.id).await?.map(|(_, secret)| secret);
        let account = account(app, read).await?;
        request.incoming = Some(Incoming { settings: other.settings, secret, account });
    }
    request.test_message = Some(TestMessage { sender, recipient });
    request.notify_at = app.engine.notices_address().and_then(|address| address.parse().ok());
    Ok(Ok(Asked { request, connection, unsaved }))
}

/// As whom a saved mailbox is opened.
async fn account(app: &App, mailbox: &Mailbox) -> Result<Account, PageError> {
    Ok(Account {
        address: mailbox.address.clone(),
        user_name: mailbox.settings.user_name.trim().to_owned(),
        password: app.store.mailbox_password(mailbox.id).await?,
    })
}

async fn secret(app: &App, form: &ConnectionForm) -> Result<Option<SecretString>, PageError> {
    match (form.typed_secret(), &form.stored) {
        (Some(typed), _) => Ok(Some(typed)),
        (None, Some(stored)) if form.may_reuse_secret() => {
            Ok(app.store.credential_secret(stored.id).await?.map(|(_, secret)| secret))
        }
        _ => Ok(None),
    }
}

fn refusal(sentence: &str) -> Value {
    json!({ "ok": false, "summary": sentence, "rungs": [] })
}

/// The ladder for the template. It ends in `OK!`, or in the first cause with its next step.
fn shown(report: &Report) -> Value {
    let rungs: Vec<Value> = report
        .rungs
        .iter()
        .map(|rung| {
            let verdict = match rung.verdict {
                Verdict::Pass => ("pass", "ok"),
                Verdict::Warn => ("warn", "note"),
                Verdict::Fail => ("fail", "failed"),
                Verdict::Waiting => ("wait", "waiting"),
                Verdict::Skipped => ("skip", "not checked"),
            };
            json!({
                "title": rung.title,
                "verdict": verdict.0,
                "verdict_words": verdict.1,
                "took_ms": rung.took_ms,
                "did": rung.did,
                "got": rung.got,
                "cause": rung.cause,
                "next_step": rung.next_step,
            })
        })
        .collect();
    json!({ "ok": report.ok(), "summary": report.summary(), "rungs": rungs })
}
