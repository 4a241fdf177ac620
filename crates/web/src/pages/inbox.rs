//! `/inbox`: the list by mailbox and type, with search. What is in it is decided by the store, for this viewer.

use axum::extract::{Query, State};
use axum::response::Html;
use postroom_model::inbox::{InboxMessage, InboxState};
use postroom_model::mailbox::{MailType, Mailbox};
use postroom_store::{InboxFilter, Page, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::PageError;
use crate::session::SignedIn;
use crate::templates::{render, shell};
use crate::{App, shown};

/// Messages on one page.
const PAGE: u32 = 50;

/// What the address asks for. Blank fields are what a browser sends for an untouched form.
#[derive(Deserialize, Default)]
pub(super) struct ListQuery {
    #[serde(default)]
    mailbox: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    search: String,
    #[serde(default)]
    page: String,
}

impl ListQuery {
    fn filter(&self) -> InboxFilter {
        let search: String = self.search.trim().chars().take(200).collect();
        InboxFilter {
            mailbox: self.mailbox.parse().ok(),
            kind: self.kind.parse().ok(),
            state: (self.state == InboxState::Quarantined.as_str()).then_some(InboxState::Quarantined),
            search: Some(search).filter(|search| !search.is_empty()),
        }
    }

    fn page(&self) -> u32 {
        self.page.parse().unwrap_or(1).clamp(1, 10_000)
    }

    /// The address of another page of the same list.
    fn link(&self, page: u32) -> String {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let parts: Vec<String> = [
            ("mailbox", self.mailbox.as_str()),
            ("type", &self.kind),
            ("state", &self.state),
            ("search", &self.search),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .chain((page > 1).then(|| format!("page={page}")))
        .collect();
        if parts.is_empty() { "/inbox".to_owned() } else { format!("/inbox?{}", parts.join("&")) }
    }
}

/// `GET /inbox`.
pub(super) async fn page(
    user: SignedIn,
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<Html<String>, PageError> {
    let mut values = list(&app, &user, &query).await?;
    values["shell"] = shell(Some(&user), "inbox");
    values["m"] = Value::Null;
    render("inbox/page.html", &values)
}

/// The list with its filters.
pub(super) async fn list(app: &App, user: &SignedIn, query: &ListQuery) -> Result<Value, StoreError> {
    let viewer = user.user.viewer();
    let mailboxes = app.store.mailboxes_for(&viewer).await?;
    let filter = query.filter();
    let page = query.page();
    let wanted = Page { limit: PAGE, offset: (page - 1) * PAGE };
    let messages = app.store.inbox(&viewer, &filter, wanted).await?;
    let total = app.store.inbox_count(&viewer, &filter).await?;
    let now = app.env.now();
    let rows: Vec<Value> = messages.iter().map(|message| shown_row(message, &mailboxes, now)).collect();
    let last = u64::from(page) * u64::from(PAGE) >= total;
    Ok(json!({
        "rows": rows,
        "total": total,
        "filtered": filter.mailbox.is_some() || filter.kind.is_some() || filter.state.is_some() || filter.search.is_some(),
        "has_mailboxes": !mailboxes.is_empty(),
        "mailboxes": mailboxes.iter().map(|mailbox| json!({
            "value": mailbox.id, "label": mailbox_name(mailbox), "chosen": Some(mailbox.id) == filter.mailbox,
        })).collect::<Vec<_>>(),
        "types": MailType::ALL.iter().map(|kind| json!({
            "value": kind.as_str(), "label": kind.label(), "chosen": Some(*kind) == filter.kind,
        })).collect::<Vec<_>>(),
        "quarantined": filter.state.is_some(),
        "search": query.search,
        "page": page,
        "newer": (page > 1).then(|| query.link(page - 1)),
        "older": (!last).then(|| query.link(page + 1)),
    }))
}

fn shown_row(message: &InboxMessage, mailboxes: &[Mailbox], now: postroom_model::Timestamp) -> Value {
    let summary = &message.summary;
    let from =
        summary.from.as_ref().map(|from| from.name.clone().unwrap_or_else(|| from.address.to_string()));
    json!({
        "id": message.id,
        "from": from,
        "subject": summary.subject,
        "preview": summary.preview,
        "attachments": summary.attachments,
        "origin": summary.origin.as_str(),
        "quarantined": message.state == InboxState::Quarantined,
        "received": shown::time(message.received_at, now),
        "mailboxes": mailbox_names(message, mailboxes),
    })
}

/// The mailboxes of a message, as far as the viewer may see them.
pub(super) fn mailbox_names(message: &InboxMessage, mailboxes: &[Mailbox]) -> String {
    let known = |id| mailboxes.iter().find(|mailbox| mailbox.id == id);
    let names: Vec<String> = message.mailboxes.iter().filter_map(|id| known(*id)).map(mailbox_name).collect();
    names.join(", ")
}

/// A removed mailbox is still where its mail came to.
fn mailbox_name(mailbox: &Mailbox) -> String {
    let removed = if mailbox.removed_at.is_some() { " (removed)" } else { "" };
    format!("{}{removed}", mailbox.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_another_page_keeps_the_filter_and_escapes_it() {
        let query = ListQuery { kind: "case".into(), search: "a&b=c".into(), ..ListQuery::default() };
        assert_eq!(query.link(2), "/inbox?type=case&search=a%26b%3Dc&page=2");
        assert_eq!(ListQuery::default().link(1), "/inbox");
    }
}
