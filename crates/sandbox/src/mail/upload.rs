//! Attachments added to a draft: small ones in one call, large ones by an upload session
//! (<https://learn.microsoft.com/graph/outlook-large-attachments>).

use axum::http::header;
use mail_builder::headers::content_type::ContentType;
use mail_builder::mime::MimePart;
use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};

use super::store::{self, Stored};
use super::{Desk, attachments, headers};
use crate::answer::{Answer, Refusal, empty_answer, iso, json_answer};
use crate::call::Call;
use crate::state::Tenant;

/// Largest attachment of a session.
const MOST: i64 = 150 * 1024 * 1024;
/// How long a session can be used.
const LIFETIME: i64 = 3600;

fn invalid(what: &str) -> Refusal {
    Refusal::new(400, "ErrorPropertyValidationFailure", format!("The attachment's '{what}' is not valid."))
}

/// The draft of this id.
async fn draft(desk: &mut Desk<'_>, id: &str) -> Result<Stored, Refusal> {
    let stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    if stored.is_draft { Ok(stored) } else { Err(Refusal::access_denied()) }
}

/// `POST messages/{id}/attachments`: one attachment in JSON.
pub(super) async fn add(desk: &mut Desk<'_>, id: &str) -> Answer {
    let mut stored = draft(desk, id).await?;
    let item = attachments::Item::read(&Value::Object(desk.call.json()?))?;
    attach(desk.tenant, desk.db, &mut stored, item).await?;
    attachments::last(&stored, desk.immutable)
}

pub(crate) async fn attach(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    stored: &mut Stored,
    item: attachments::Item,
) -> Result<(), Refusal> {
    let raw = stored.raw.take().unwrap_or_default();
    stored.raw = Some(wrapped(&raw, item, &tenant.env.new_token(24)));
    store::update(tenant, db, stored).await
}

/// The message with one more part: what it was becomes the first part of a `multipart/mixed`.
fn wrapped(raw: &[u8], item: attachments::Item, boundary: &str) -> Vec<u8> {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n").map_or(raw.len(), |at| at + 2);
    let (mut head, body) = (raw[..end].to_vec(), &raw[end..]);
    let mut inner = String::new();
    for name in ["Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID"] {
        if let Some(value) = headers::value(&head, name) {
            inner.push_str(&format!("{name}: {value}\r\n"));
            head = headers::without(&head, name);
        }
    }
    let mut out = headers::without(&head, "MIME-Version");
    let kind = format!("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(format!("--{boundary}\r\n{inner}").as_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
    part(item).write_part(&mut out);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// The attachment as a part of a message.
fn part(item: attachments::Item) -> MimePart<'static> {
    match item.cid {
        Some(cid) => {
            let kind = ContentType::new(item.kind).attribute("name", item.name.clone());
            let inline = ContentType::new("inline").attribute("filename", item.name);
            MimePart::new(kind, item.bytes).header("Content-Disposition", inline).cid(cid)
        }
        None => MimePart::new(item.kind, item.bytes).attachment(item.name),
    }
}

/// `POST messages/{id}/attachments/createUploadSession`.
pub(super) async fn open(desk: &mut Desk<'_>, id: &str) -> Answer {
    let stored = draft(desk, id).await?;
    let json = desk.call.json()?;
    let item =
        json.iter().find(|(name, _)| name.eq_ignore_ascii_case("AttachmentItem")).map(|(_, item)| item);
    let item = item.ok_or_else(|| invalid("AttachmentItem"))?;
    let size =
        item["size"].as_i64().filter(|size| (1..=MOST).contains(size)).ok_or_else(|| invalid("size"))?;
    // Read as an attachment without bytes: the same rules for name and type.
    let mut checked = item.clone();
    checked["contentBytes"] = json!("");
    attachments::Item::read(&checked)?;
    // The address carries no token: whose upload it is stands with it.
    checked["@app"] = json!(desk.app_id);
    checked["@mailbox"] = json!(desk.mailbox.id);
    // What was never finished goes when the next one begins.
    sqlx::query("DELETE FROM upload WHERE expires_at <= ?")
        .bind(desk.tenant.now())
        .execute(&mut *desk.db)
        .await?;
    let session = desk.tenant.env.new_token(40);
    let expires = desk.tenant.now() + LIFETIME;
    sqlx::query("INSERT INTO upload (id, message, item, size, expires_at) VALUES (?, ?, ?, ?, ?)")
        .bind(&session)
        .bind(stored.seq)
        .bind(checked.to_string())
        .bind(size)
        .bind(expires)
        .execute(&mut *desk.db)
        .await?;
    Ok(json_answer(
        201,
        &json!({
            "@odata.context": format!("{}/v1.0/$metadata#microsoft.graph.uploadSession", desk.call.base),
            "uploadUrl": format!("{}/_upload/{session}?authtoken={}", desk.call.base, desk.tenant.env.new_token(40)),
            "expirationDateTime": iso(expires),
            "nextExpectedRanges": ["0-"],
        }),
    ))
}

/// `Content-Range: bytes 0-99/1000`.
fn range(call: &Call) -> Option<(i64, i64, i64)> {
    let text = call.header(header::CONTENT_RANGE)?.trim().strip_prefix("bytes ")?;
    let (span, total) = text.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total.trim().parse().ok()?))
}

/// `PUT`, `GET` and `DELETE` of an upload address. It needs no token: the address is the permission.
pub(crate) async fn answer(tenant: &Tenant, db: &mut SqliteConnection, call: &Call, session: &str) -> Answer {
    let row =
        sqlx::query("SELECT message, item, size, expires_at FROM upload WHERE id = ? AND expires_at > ?")
            .bind(session)
            .bind(tenant.now())
            .fetch_optional(&mut *db)
            .await?
            .ok_or_else(Refusal::item_not_found)?;
    let have: i64 =
        sqlx::query_scalar("SELECT coalesce(sum(length(bytes)), 0) FROM upload_chunk WHERE upload = ?")
            .bind(session)
            .fetch_one(&mut *db)
            .await?;
    let progress = |have: i64| {
        json_answer(
            200,
            &json!({"ExpirationDateTime": iso(row.get("expires_at")), "NextExpectedRanges": [have.to_string()]}),
        )
    };
    match call.method.as_str() {
        "GET" => Ok(progress(have)),
        "DELETE" => {
            close(db, session).await?;
            Ok(empty_answer(204))
        }
        "PUT" => {
            let size: i64 = row.get("size");
            let length = i64::try_from(call.body.len()).unwrap_or(i64::MAX);
            let item: Value = serde_json::from_str(row.get("item")).unwrap_or_default();
            let whose = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
            crate::limits::uploading(tenant, &whose("@app"), &whose("@mailbox"), call.body.len())?;
            let fits = range(call).is_some_and(|(first, last, total)| {
                first == have && total == size && last - first + 1 == length && last < size
            });
            if !fits {
                return Err(Refusal::new(
                    416,
                    "ErrorInvalidRange",
                    format!("The next expected byte is {have} of {size}."),
                ));
            }
            sqlx::query("INSERT INTO upload_chunk (upload, start, bytes) VALUES (?, ?, ?)")
                .bind(session)
                .bind(have)
                .bind(call.body.as_ref())
                .execute(&mut *db)
                .await?;
            if have + length < size {
                return Ok(progress(have + length));
            }
            finish(tenant, db, call, session, row.get("message"), row.get("item")).await
        }
        _ => Err(Refusal::no_route(call)),
    }
}

/// The last piece is there: the attachment joins the draft.
async fn finish(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    session: &str,
    message: i64,
    item: &str,
) -> Answer {
    let rows = sqlx::query("SELECT bytes FROM upload_chunk WHERE upload = ? ORDER BY start")
        .bind(session)
        .fetch_all(&mut *db)
        .await?;
    let item: Value = serde_json::from_str(item).unwrap_or_default();
    let mut item = attachments::Item::read(&item)?;
    item.bytes = rows.iter().flat_map(|row| row.get::<Vec<u8>, _>("bytes")).collect();
    let mut stored = store::by_seq(db, message).await?;
    if !stored.is_draft {
        return Err(Refusal::item_not_found());
    }
    attach(tenant, db, &mut stored, item).await?;
    close(db, session).await?;
    let mut response = empty_answer(201);
    let location = format!(
        "{}/v1.0/users/{}/messages/{}/attachments",
        call.base,
        stored.mailbox,
        stored.immutable_id.replace('=', "%3D")
    );
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn close(db: &mut SqliteConnection, session: &str) -> Result<(), Refusal> {
    sqlx::query("DELETE FROM upload WHERE id = ?").bind(session).execute(db).await?;
    Ok(())
}
