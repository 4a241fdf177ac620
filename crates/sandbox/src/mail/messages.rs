//! Messages: listed, read, created as drafts.

use axum::http::header;
use serde_json::{Map, Value, json};
use sqlx::{QueryBuilder, Sqlite};

use super::store::{self, Arrival, COLUMNS, Stored};
use super::{Desk, attachments, mime, view};
use crate::answer::{Answer, Refusal, bytes_answer, json_answer};
use crate::odata::{self, Clause};

/// Largest page (<https://learn.microsoft.com/graph/api/user-list-messages>); 10 without `$top`.
const MOST: u32 = 1000;

/// Properties of a message that a client may write when it creates one.
const WRITABLE: &[&str] = &[
    "subject",
    "body",
    "from",
    "sender",
    "toRecipients",
    "ccRecipients",
    "bccRecipients",
    "replyTo",
    "importance",
    "internetMessageHeaders",
    "internetMessageId",
    "attachments",
    "categories",
    "flag",
    "isRead",
    "isDraft",
    "inferenceClassification",
    "isReadReceiptRequested",
    "isDeliveryReceiptRequested",
    "singleValueExtendedProperties",
    "multiValueExtendedProperties",
];

/// How a property is kept: its SQL expression, and the kind of its literals.
fn column(property: &str) -> Option<(&'static str, char)> {
    Some(match property {
        "internetMessageId" => ("internet_message_id", 't'),
        "isRead" => ("is_read", 'b'),
        "isDraft" => ("is_draft", 'b'),
        "receivedDateTime" => ("received_at", 'd'),
        "createdDateTime" => ("created_at", 'd'),
        "lastModifiedDateTime" => ("modified_at", 'd'),
        "sentDateTime" => ("coalesce(json_extract(facts, '$.sentAt'), created_at)", 'd'),
        "hasAttachments" => ("json_extract(facts, '$.hasAttachments')", 'b'),
        "subject" => ("json_extract(facts, '$.subject') COLLATE NOCASE", 't'),
        "conversationId" => ("json_extract(facts, '$.conversationId')", 't'),
        "importance" => ("json_extract(facts, '$.importance')", 't'),
        "parentFolderId" => ("folder", 't'),
        "from/emailAddress/address" => {
            ("json_extract(facts, '$.from.emailAddress.address') COLLATE NOCASE", 't')
        }
        _ => return None,
    })
}

/// Adds the clauses of a filter to a query that already has a `WHERE`.
pub(super) fn restrict(query: &mut QueryBuilder<Sqlite>, clauses: &[Clause]) -> Result<(), Refusal> {
    for clause in clauses {
        let refuse = || {
            let property: String = clause.property.chars().take(80).collect();
            Refusal::new(
                400,
                "ErrorInvalidProperty",
                format!("The property '{property}' does not support this filter."),
            )
        };
        let (column, kind) = column(&clause.property).ok_or_else(refuse)?;
        query.push(" AND ").push(column).push(clause.operator.sql());
        match kind {
            'b' => query.push_bind(clause.value.parse::<bool>().map_err(|_| refuse())?),
            'd' => {
                let instant = clause.value.parse::<postroom_model::Timestamp>().map_err(|_| refuse())?;
                query.push_bind(instant.as_second())
            }
            _ => query.push_bind(clause.value.clone()),
        };
    }
    Ok(())
}

/// `$orderby`: column and direction; the newest first when nothing is asked.
fn order(orderby: Option<&str>, clauses: &[Clause]) -> Result<(&'static str, bool), Refusal> {
    let Some(text) = orderby else { return Ok(("received_at", true)) };
    let first = text.split(',').next().unwrap_or_default().trim();
    let (property, direction) = first.split_once(' ').unwrap_or((first, "asc"));
    let (column, _) = column(property)
        .ok_or_else(|| Refusal::new(400, "ErrorInvalidProperty", "The property cannot be sorted by."))?;
    // A sorted property must be the first of the filter when both are given.
    if clauses.first().is_some_and(|clause| clause.property != property) {
        return Err(Refusal::new(
            400,
            "InefficientFilter",
            "The restriction or sort order is too complex for this operation.",
        ));
    }
    Ok((column, direction.trim().eq_ignore_ascii_case("desc")))
}

/// `GET messages`, of one folder or of all.
pub(super) async fn list(desk: &mut Desk<'_>, folder: Option<&str>) -> Answer {
    let call = desk.call;
    if call.param("$search").is_some() {
        return Err(Refusal::new(400, "ErrorInvalidRequest", "$search is not served by the sandbox."));
    }
    let clauses = call.param("$filter").map(odata::filter).transpose()?.unwrap_or_default();
    let (column, descending) = order(call.param("$orderby"), &clauses)?;
    let selected = odata::select(call);
    let prefer = call.prefer();
    let (top, skip) = odata::page(call, prefer.page_size.unwrap_or(10).min(MOST), MOST)?;
    let raw = if view::needs_raw(selected.as_deref()) { "raw" } else { "NULL AS raw" };
    let folder = match folder {
        Some(folder) => Some(store::folder(desk.db, &desk.mailbox.id, folder).await?),
        None => None,
    };
    let mailbox = desk.mailbox.id.clone();
    let meant = |what: &str| -> Result<QueryBuilder<Sqlite>, Refusal> {
        let mut query = QueryBuilder::new(format!("SELECT {what} FROM message WHERE mailbox = "));
        query.push_bind(mailbox.clone());
        if let Some(folder) = &folder {
            query.push(" AND folder = ").push_bind(folder.clone());
        }
        restrict(&mut query, &clauses)?;
        Ok(query)
    };
    let count = match call.param("$count") {
        Some(wanted) if wanted.eq_ignore_ascii_case("true") => {
            Some(meant("count(*)")?.build_query_scalar::<i64>().fetch_one(&mut *desk.db).await?)
        }
        _ => None,
    };
    let mut query = meant(&format!("{COLUMNS}, {raw}"))?;
    let direction = if descending { " DESC" } else { " ASC" };
    query.push(" ORDER BY ").push(column).push(direction).push(", seq").push(direction);
    query.push(" LIMIT ").push_bind(i64::from(top) + 1).push(" OFFSET ").push_bind(i64::from(skip));
    let rows = query.build().fetch_all(&mut *desk.db).await?;
    let more = rows.len() > top as usize;
    let shown = rows.iter().take(top as usize).map(Stored::read);
    let value: Vec<Value> = shown
        .map(|stored| view::message(&stored, desk.immutable, prefer.body.as_deref(), selected.as_deref()))
        .map(Value::Object)
        .collect();
    let mut answer = json!({"@odata.context": context(desk), "value": value});
    if let Some(count) = count {
        answer["@odata.count"] = json!(count);
    }
    if more {
        answer["@odata.nextLink"] = json!(next_link(desk, u64::from(skip) + u64::from(top)));
    }
    Ok(json_answer(200, &answer))
}

/// The same request with a larger `$skip`.
fn next_link(desk: &Desk<'_>, skip: u64) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in desk.call.query.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("$skip")) {
        pairs.append_pair(name, value);
    }
    pairs.append_pair("$skip", &skip.to_string());
    format!("{}?{}", desk.call.address(), pairs.finish())
}

/// `@odata.context` of messages in this mailbox.
pub(super) fn context(desk: &Desk<'_>) -> String {
    format!("{}/v1.0/$metadata#users('{}')/messages", desk.call.base, desk.mailbox.id)
}

/// One message as an answer.
pub(super) fn shown(desk: &Desk<'_>, status: u16, stored: &Stored) -> Answer {
    let prefer = desk.call.prefer();
    let mut object =
        view::message(stored, desk.immutable, prefer.body.as_deref(), odata::select(desk.call).as_deref());
    object.insert("@odata.context".to_owned(), json!(format!("{}/$entity", context(desk))));
    Ok(json_answer(status, &Value::Object(object)))
}

/// `GET messages/{id}`.
pub(super) async fn get(desk: &mut Desk<'_>, id: &str) -> Answer {
    let stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    shown(desk, 200, &stored)
}

/// `GET messages/{id}/$value`: the message itself.
pub(super) async fn raw(desk: &mut Desk<'_>, id: &str) -> Answer {
    let stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    Ok(bytes_answer(200, "text/plain", stored.raw.unwrap_or_default()))
}

/// `GET messages/{id}/attachments[/{id}[/$value]]`.
pub(super) async fn attachments(desk: &mut Desk<'_>, id: &str, rest: &[&str]) -> Answer {
    let stored = store::message(desk.db, &desk.mailbox.id, id).await?;
    match rest {
        [] => attachments::list(desk.call, &stored, desk.immutable),
        [attachment] => attachments::get(desk.call, &stored, desk.immutable, attachment, false),
        [attachment, "$value"] => attachments::get(desk.call, &stored, desk.immutable, attachment, true),
        _ => Err(Refusal::no_route(desk.call)),
    }
}

/// `POST messages` and `POST mailFolders/{f}/messages`: a draft, from JSON or MIME.
pub(super) async fn create(desk: &mut Desk<'_>, folder: &str) -> Answer {
    let (raw, marks) = if desk.call.is_mime() {
        let raw = mime::from_base64(&desk.call.body)?;
        (mime::completed(desk.tenant, &raw, Some(&desk.mailbox.address)), Value::Null)
    } else {
        let json = desk.call.json()?;
        known(&json)?;
        (mime::compose(desk.tenant, &json, &desk.mailbox.address)?, marks(&json))
    };
    let arrival = Arrival { mailbox: &desk.mailbox.id, folder, raw, is_draft: true, is_read: true, marks };
    let stored = store::insert(desk.tenant, desk.db, arrival).await?;
    let mut response = shown(desk, 201, &stored)?;
    let location =
        format!("{}/v1.0/users/{}/messages/{}", desk.call.base, desk.mailbox.id, stored.id(desk.immutable));
    if let Ok(location) = location.replace('=', "%3D").parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Refuses properties that no message has.
pub(super) fn known(json: &Map<String, Value>) -> Result<(), Refusal> {
    match json.keys().find(|name| !name.starts_with('@') && !WRITABLE.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let shown: String = name.chars().take(80).collect();
            Err(Refusal::new(
                400,
                "RequestBodyRead",
                format!(
                    "The property '{shown}' does not exist on type 'microsoft.graph.message'. Make sure to only use \
                     property names that are defined by the type."
                ),
            ))
        }
    }
}

/// What only the mailbox knows of a message.
pub(super) fn marks(json: &Map<String, Value>) -> Value {
    let names = ["categories", "flag", "inferenceClassification"];
    let kept =
        names.iter().filter_map(|name| json.get(*name).map(|value| ((*name).to_owned(), value.clone())));
    Value::Object(kept.collect())
}
