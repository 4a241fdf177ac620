//! Mail below `/users/{id or address}/` (<https://learn.microsoft.com/graph/api/resources/mail-api-overview>).

pub(crate) mod attachments;
pub(crate) mod change;
pub(crate) mod deliver;
mod delta;
mod folders;
pub(crate) mod headers;
pub(crate) mod ids;
pub(crate) mod kind;
mod messages;
pub(crate) mod mime;
pub(crate) mod numbered;
mod send;
pub(crate) mod store;
pub(crate) mod submission;
mod subscriptions;
pub(crate) mod upload;
pub(crate) mod view;

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Method};
use sqlx::SqliteConnection;

use crate::answer::{Answer, Refusal};
use crate::call::Call;
use crate::entra::bearer::Caller;
use crate::exchange::access::{self, Target};
use crate::state::Tenant;

pub(crate) use deliver::drop_in;
pub(crate) use headers::value as header_value;
pub(crate) use mime::parse;
pub(crate) use store::{Mailbox, mailbox};
pub(crate) use subscriptions::{answer as subscriptions, lifecycle, tell};
pub(crate) use upload::answer as upload;

const READ: &[&str] = &["Mail.Read", "Mail.ReadWrite"];
const CHANGE: &[&str] = &["Mail.ReadWrite"];
const SEND: &[&str] = &["Mail.Send"];
const SETTINGS: &[&str] = &["MailboxSettings.Read", "MailboxSettings.ReadWrite"];

/// What every function of this area works on.
struct Desk<'a> {
    tenant: &'a Tenant,
    db: &'a mut SqliteConnection,
    call: &'a Call,
    mailbox: Mailbox,
    immutable: bool,
    /// The application that calls.
    app_id: &'a str,
}

/// Answers everything below a mailbox.
pub(crate) async fn answer(
    tenant: &Arc<Tenant>,
    db: &mut SqliteConnection,
    call: &Call,
    caller: &Caller,
    user: &str,
    path: &[&str],
) -> Answer {
    let need = match (&call.method, path) {
        (&Method::POST, ["sendMail"] | ["messages", _, "send"]) => SEND,
        (&Method::GET, ["messages" | "mailFolders", ..]) => READ,
        (_, ["messages" | "mailFolders", ..]) => CHANGE,
        (&Method::GET, ["mailboxSettings", ..]) => SETTINGS,
        _ => return Err(Refusal::no_route(call)),
    };
    let granted = caller.has(need);
    let Some(mailbox) = mailbox(db, user).await? else {
        return Err(if granted { unknown_user(user) } else { Refusal::access_denied() });
    };
    match &caller.user {
        // A person's token opens the person's own mailbox only.
        Some(id) if !granted || *id != mailbox.id => return Err(Refusal::access_denied()),
        Some(_) => {}
        None => {
            let target = Target { id: &mailbox.id, address: &mailbox.address };
            access::check(tenant, db, &caller.app_id, granted, need, target).await?;
        }
    }
    kind::opens(db, &mailbox.id, user).await?;
    let prefer = call.prefer();
    crate::limits::uploading(tenant, &caller.app_id, &mailbox.id, call.body.len())?;
    let (immutable, app_id) = (prefer.immutable, caller.app_id.as_str());
    let mut desk = Desk { tenant, db, call, mailbox, immutable, app_id };
    let mut response = route(&mut desk, path).await?;
    if let Some(applied) = prefer.applied().and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(HeaderName::from_static("preference-applied"), applied);
    }
    Ok(response)
}

async fn route(desk: &mut Desk<'_>, path: &[&str]) -> Answer {
    let method = desk.call.method.clone();
    match (&method, path) {
        (_, ["mailboxSettings", rest @ ..]) => {
            kind::settings(desk.db, desk.call, &desk.mailbox.id, rest).await
        }
        (&Method::POST, ["sendMail"]) => send::send_mail(desk).await,
        (&Method::GET, ["messages"]) => messages::list(desk, None).await,
        (&Method::POST, ["messages"]) => messages::create(desk, "drafts").await,
        (&Method::GET, ["messages", id]) => messages::get(desk, id).await,
        (&Method::PATCH, ["messages", id]) => change::patch(desk, id).await,
        (&Method::DELETE, ["messages", id]) => change::delete(desk, id).await,
        (&Method::GET, ["messages", id, "$value"]) => messages::raw(desk, id).await,
        (&Method::POST, ["messages", id, "send"]) => send::send_draft(desk, id).await,
        (&Method::POST, ["messages", id, "move"]) => change::relocate(desk, id).await,
        (&Method::POST, ["messages", id, "copy"]) => change::copy(desk, id).await,
        (&Method::POST, ["messages", id, "permanentDelete"]) => change::purge(desk, id).await,
        (&Method::GET, ["messages", id, "attachments", rest @ ..]) => {
            messages::attachments(desk, id, rest).await
        }
        (&Method::POST, ["messages", id, "attachments"]) => upload::add(desk, id).await,
        (&Method::POST, ["messages", id, "attachments", "createUploadSession"]) => {
            upload::open(desk, id).await
        }
        (&Method::GET, ["mailFolders"]) => folders::list(desk, None).await,
        (&Method::POST, ["mailFolders"]) => folders::create(desk, "msgfolderroot").await,
        (&Method::GET, ["mailFolders", id]) => folders::get(desk, id).await,
        (&Method::DELETE, ["mailFolders", id]) => folders::delete(desk, id).await,
        (&Method::GET, ["mailFolders", id, "childFolders"]) => folders::list(desk, Some(id)).await,
        (&Method::POST, ["mailFolders", id, "childFolders"]) => folders::create(desk, id).await,
        (&Method::GET, ["mailFolders", id, "messages"]) => messages::list(desk, Some(id)).await,
        (&Method::POST, ["mailFolders", id, "messages"]) => messages::create(desk, id).await,
        (&Method::GET, ["mailFolders", id, "messages", "delta"]) => delta::answer(desk, id).await,
        (_, ["mailFolders", _, "messages", rest @ ..]) if !rest.is_empty() => {
            // `mailFolders/{f}/messages/{id}/…` is the same message by a longer way.
            let mut short = vec!["messages"];
            short.extend_from_slice(rest);
            Box::pin(route(desk, &short)).await
        }
        _ => Err(Refusal::no_route(desk.call)),
    }
}

fn unknown_user(user: &str) -> Refusal {
    let shown: String = user.chars().take(120).collect();
    Refusal::new(404, "ErrorInvalidUser", format!("The requested user '{shown}' is invalid."))
}
