//! Where a sent message goes: into the mailboxes of the tenant, or outside.

use mail_parser::Address;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::store::{self, Arrival, Mailbox};
use super::{headers, mime};
use crate::answer::Refusal;
use crate::state::{DOMAIN, Tenant, random_guid};

/// Most recipients of one message.
const MAX_RECIPIENTS: usize = 500;

/// Who sends, and to whom.
pub(crate) struct Envelope {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
}

impl Envelope {
    /// Reads the envelope from the message, and checks that the mailbox may send it: as itself, or in the name of a
    /// mailbox on which it has the right `SendAs` or `SendOnBehalf`.
    pub(crate) async fn of(
        db: &mut SqliteConnection,
        mailbox: &Mailbox,
        raw: &[u8],
    ) -> Result<Self, Refusal> {
        let message = mime::parse(raw).ok_or_else(|| {
            Refusal::new(400, "ErrorMimeContentInvalid", "The MIME content is not a message.")
        })?;
        let addresses = |field: Option<&Address<'_>>| -> Vec<String> {
            field
                .into_iter()
                .flat_map(Address::iter)
                .filter_map(|one| one.address.as_deref().map(str::to_owned))
                .collect()
        };
        let from = addresses(message.from());
        // A `From` that cannot be read is nobody's.
        let mut allowed = !from.is_empty();
        for address in from.iter().chain(&addresses(message.sender())) {
            allowed &=
                address.eq_ignore_ascii_case(&mailbox.address) || may_send(db, mailbox, address).await?;
        }
        if !allowed {
            return Err(Refusal::new(
                403,
                "ErrorSendAsDenied",
                "The user account which was used to submit this request does not have the right to send mail on behalf \
                 of the specified sending account.",
            ));
        }
        let mut to: Vec<String> = Vec::new();
        for field in [message.to(), message.cc(), message.bcc()] {
            for address in addresses(field) {
                if address.parse::<postroom_model::EmailAddress>().is_err() {
                    return Err(unresolved(&address));
                }
                if !to.iter().any(|have| have.eq_ignore_ascii_case(&address)) {
                    to.push(address);
                }
            }
        }
        if to.is_empty() {
            return Err(unresolved(""));
        }
        if to.len() > MAX_RECIPIENTS {
            return Err(Refusal::new(
                400,
                "ErrorExceededMaxRecipientLimit",
                "The message has more recipients than the mailbox may address.",
            ));
        }
        Ok(Self { from: mailbox.address.clone(), to })
    }
}

/// Whether the mailbox may send in the name of this address.
async fn may_send(db: &mut SqliteConnection, mailbox: &Mailbox, address: &str) -> Result<bool, Refusal> {
    let Some(other) = store::mailbox(db, address).await? else { return Ok(false) };
    let right: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM mailbox_permission WHERE mailbox = ? AND trustee IN (?, ?)
         AND rights COLLATE NOCASE IN ('SendAs', 'SendOnBehalf')",
    )
    .bind(&other.id)
    .bind(mailbox.address.to_ascii_lowercase())
    .bind(&mailbox.id)
    .fetch_optional(db)
    .await?;
    Ok(right.is_some())
}

fn unresolved(address: &str) -> Refusal {
    let shown: String = address.chars().take(120).collect();
    let message = if shown.is_empty() {
        "At least one recipient is not valid., Recipient list is empty.".to_owned()
    } else {
        format!(
            "At least one recipient is not valid., Recipient '{shown}' is not resolved. All recipients must be resolved \
             before a message can be submitted."
        )
    };
    Refusal::new(400, "ErrorInvalidRecipients", message)
}

/// Hands the message to every recipient. Bcc is honoured and not passed on.
pub(crate) async fn submit(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    envelope: &Envelope,
    raw: &[u8],
) -> Result<(), Refusal> {
    let stripped = headers::without(raw, "Bcc");
    let mut outside = Vec::new();
    for address in &envelope.to {
        let here = address.rsplit_once('@').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(DOMAIN));
        if !here {
            outside.push(address.clone());
            continue;
        }
        match store::mailbox(db, address).await? {
            Some(mailbox) => {
                drop_in(tenant, db, &mailbox, &stripped).await?;
            }
            None => bounce(tenant, db, envelope, address, &stripped).await?,
        }
    }
    if !outside.is_empty() {
        leave(tenant, db, &envelope.from, &outside, &stripped).await?;
    }
    Ok(())
}

/// Puts a message into a mailbox's inbox; gives its ids as JSON.
pub(crate) async fn drop_in(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    mailbox: &Mailbox,
    raw: &[u8],
) -> Result<Value, Refusal> {
    let raw = mime::completed(tenant, raw, None);
    let received = format!(
        "by sandbox.{DOMAIN} with HTTP id {}\r\n for <{}>; {}",
        tenant.env.new_token(12),
        mailbox.address,
        mime::rfc5322_date(tenant.now()),
    );
    let raw = headers::with_first(&raw, "Received", &received);
    let arrival = Arrival {
        mailbox: &mailbox.id,
        folder: "inbox",
        raw,
        is_draft: false,
        is_read: false,
        marks: Value::Null,
    };
    let stored = store::insert(tenant, db, arrival).await?;
    Ok(json!({
        "id": stored.ordinary_id,
        "immutableId": stored.immutable_id,
        "internetMessageId": stored.internet_message_id,
        "mailbox": mailbox.address,
    }))
}

/// Writes a message that leaves the tenant.
async fn leave(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    from: &str,
    to: &[String],
    raw: &[u8],
) -> Result<(), Refusal> {
    let file = match &tenant.outside {
        None => None,
        Some(folder) => {
            let path = folder.join(format!("{}.eml", tenant.env.new_uuid()));
            let marked = headers::with_first(raw, "X-Sandbox-Envelope-To", &to.join(",\r\n "));
            tokio::fs::write(&path, marked).await.map_err(|error| {
                tracing::error!(%error, path = %path.display(), "a mail that left the tenant cannot be written");
                Refusal::new(500, "ErrorInternalServerError", "An internal server error occurred. The operation failed.")
            })?;
            path.file_name().map(|name| name.to_string_lossy().into_owned())
        }
    };
    sqlx::query(
        "INSERT INTO outside (envelope_from, envelope_to, file, raw, created_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(from)
    .bind(json!(to).to_string())
    .bind(file)
    .bind(raw)
    .bind(tenant.now())
    .execute(db)
    .await?;
    Ok(())
}

/// Tells the sender that an address of the tenant does not exist (RFC 3464, with Exchange's words).
async fn bounce(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    envelope: &Envelope,
    address: &str,
    raw: &[u8],
) -> Result<(), Refusal> {
    let Some(sender) = store::mailbox(db, &envelope.from).await? else { return Ok(()) };
    let boundary = random_guid(&tenant.env);
    let id = headers::value(raw, "Message-ID").unwrap_or_default();
    let subject = headers::value(raw, "Subject").unwrap_or_default();
    let head_end = raw.windows(4).position(|window| window == b"\r\n\r\n").map_or(raw.len(), |at| at + 2);
    let head = String::from_utf8_lossy(&raw[..head_end.min(64 * 1024)]);
    let report = format!(
        "From: Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@{DOMAIN}>\r\n\
         To: <{from}>\r\n\
         Subject: Undeliverable: {subject}\r\n\
         In-Reply-To: {id}\r\n\
         References: {id}\r\n\
         Auto-Submitted: auto-replied\r\n\
         X-MS-Exchange-Message-Is-Ndr:\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"{boundary}\"\r\n\
         \r\n\
         --{boundary}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         \r\n\
         Delivery has failed to these recipients or groups:\r\n\
         \r\n\
         {address}\r\n\
         The email address you entered couldn't be found.\r\n\
         \r\n\
         --{boundary}\r\n\
         Content-Type: message/delivery-status\r\n\
         \r\n\
         Reporting-MTA: dns; sandbox.{DOMAIN}\r\n\
         \r\n\
         Final-Recipient: rfc822; {address}\r\n\
         Action: failed\r\n\
         Status: 5.1.10\r\n\
         Diagnostic-Code: smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup\r\n\
         \r\n\
         --{boundary}\r\n\
         Content-Type: text/rfc822-headers\r\n\
         \r\n\
         {head}\r\n\
         --{boundary}--\r\n",
        from = envelope.from,
    );
    drop_in(tenant, db, &sender, report.as_bytes()).await.map(|_| ())
}
