//! Sending: `sendMail` and a draft's `send`. Both answer 202 without a body.

use serde_json::Value;

use super::deliver::{self, Envelope};
use super::store::{self, Arrival};
use super::{Desk, messages, mime};
use crate::answer::{Answer, Refusal, empty_answer};

/// `POST sendMail` (<https://learn.microsoft.com/graph/api/user-sendmail>).
pub(super) async fn send_mail(desk: &mut Desk<'_>) -> Answer {
    let (raw, marks, save) = if desk.call.is_mime() {
        let raw = mime::from_base64(&desk.call.body)?;
        (mime::completed(desk.tenant, &raw, Some(&desk.mailbox.address)), Value::Null, true)
    } else {
        let mut json = desk.call.json()?;
        let mut take = |name: &str| {
            let key = json.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()?;
            json.remove(&key)
        };
        let Some(Value::Object(message)) = take("message") else {
            return Err(Refusal::new(
                400,
                "ErrorInvalidParameter",
                "The parameter 'Message' is missing or no object.",
            ));
        };
        let save =
            take("saveToSentItems").is_none_or(|value| value != Value::Bool(false) && value != "false");
        messages::known(&message)?;
        (mime::compose(desk.tenant, &message, &desk.mailbox.address)?, messages::marks(&message), save)
    };
    let envelope = Envelope::of(desk.db, &desk.mailbox, &raw).await?;
    crate::limits::sending(desk.tenant, &desk.mailbox.id)?;
    deliver::submit(desk.tenant, desk.db, &envelope, &raw).await?;
    if save {
        let arrival = Arrival {
            mailbox: &desk.mailbox.id,
            folder: "sentitems",
            raw,
            is_draft: false,
            is_read: true,
            marks,
        };
        store::insert(desk.tenant, desk.db, arrival).await?;
    }
    Ok(empty_answer(202))
}

/// `POST messages/{id}/send`: the draft goes out and becomes the sent copy.
pub(super) async fn send_draft(desk: &mut Desk<'_>, id: &str) -> Answer {
    let mut stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    if !stored.is_draft {
        return Err(Refusal::new(
            400,
            "ErrorInvalidRequest",
            "The message has been sent before: only a draft can be sent.",
        ));
    }
    let raw = stored.raw.clone().unwrap_or_default();
    let envelope = Envelope::of(desk.db, &desk.mailbox, &raw).await?;
    crate::limits::sending(desk.tenant, &desk.mailbox.id)?;
    deliver::submit(desk.tenant, desk.db, &envelope, &raw).await?;
    stored.is_draft = false;
    stored.received_at = desk.tenant.now();
    let sent = store::folder(desk.db, &desk.mailbox.id, "sentitems").await?;
    store::relocate(desk.tenant, desk.db, &mut stored, &sent).await?;
    Ok(empty_answer(202))
}
