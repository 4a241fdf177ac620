//! A message handed over by SMTP: envelope apart from the message, a copy in Sent Items, the client's `Message-ID` kept.

use sqlx::SqliteConnection;

use super::deliver::{self, Envelope};
use super::store::{self, Arrival};
use super::{headers, mime};
use crate::answer::Refusal;
use crate::doors::sign_in::{Opened, Trustee};
use crate::exchange::rights;
use crate::limits;
use crate::state::Tenant;

/// What became of a submission.
pub(crate) enum Submitted {
    /// Taken, under this `Message-ID`.
    Taken(String),
    /// The mailbox may not send as this address.
    Denied(String),
    /// Too many messages in this minute.
    Throttled,
}

/// Sends `raw` to `to` from the mailbox that signed in. `from` is the address of `MAIL FROM`, empty for none.
pub(crate) async fn submit(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    opened: &Opened,
    from: &str,
    to: Vec<String>,
    raw: &[u8],
) -> Result<Submitted, Refusal> {
    let mailbox = &opened.mailbox;
    let raw = mime::completed(tenant, raw, Some(&mailbox.address));
    for sender in senders(from, &raw) {
        if !may_send_as(db, opened, &sender).await? {
            return Ok(Submitted::Denied(sender));
        }
    }
    if limits::sending(tenant, &mailbox.id).is_err() {
        return Ok(Submitted::Throttled);
    }
    let id = headers::value(&raw, "Message-ID").unwrap_or_default();
    let envelope = Envelope { from: mailbox.address.clone(), to };
    deliver::submit(tenant, db, &envelope, &raw).await?;
    let arrival = Arrival {
        mailbox: &mailbox.id,
        folder: "sentitems",
        raw,
        is_draft: false,
        is_read: true,
        marks: serde_json::Value::Null,
    };
    store::insert(tenant, db, arrival).await?;
    Ok(Submitted::Taken(id))
}

/// Everybody the message says it comes from. A `From` that cannot be read is nobody's, and so denied.
fn senders(from: &str, raw: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let message = mime::parse(raw);
    let fields = message.iter().flat_map(|message| [message.from(), message.sender()]);
    let named = fields.flatten().flat_map(mail_parser::Address::iter);
    found.extend(named.map(|one| one.address.as_deref().unwrap_or_default().to_owned()));
    if found.is_empty() {
        found.push(String::new());
    }
    if !from.is_empty() {
        found.push(from.to_owned());
    }
    found
}

/// Whether the mailbox that signed in may use the address: its own, or one where it, or the application, has `SendAs`.
async fn may_send_as(db: &mut SqliteConnection, opened: &Opened, address: &str) -> sqlx::Result<bool> {
    if address.eq_ignore_ascii_case(&opened.mailbox.address) {
        return Ok(true);
    }
    let Some(other) = store::mailbox(db, address).await? else { return Ok(false) };
    let own = Trustee::Person(opened.mailbox.id.clone());
    Ok(rights::has(db, &opened.by, &other.id, "SendAs").await?
        || rights::has(db, &own, &other.id, "SendAs").await?)
}
