//! Folders of a mailbox (<https://learn.microsoft.com/graph/api/resources/mailfolder>).

use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Desk, ids, store};
use crate::answer::{Answer, Refusal, empty_answer, json_answer};
use crate::odata;

const COLUMNS: &str = "f.id, f.display_name, f.parent, f.hidden, f.well_known,
     (SELECT count(*) FROM folder c WHERE c.parent = f.id AND c.hidden = 0) AS children,
     (SELECT count(*) FROM message m WHERE m.folder = f.id) AS total,
     (SELECT count(*) FROM message m WHERE m.folder = f.id AND m.is_read = 0) AS unread,
     (SELECT coalesce(sum(length(m.raw)), 0) FROM message m WHERE m.folder = f.id) AS size";

fn view(row: &SqliteRow) -> Value {
    json!({
        "id": row.get::<String, _>("id"),
        "displayName": row.get::<String, _>("display_name"),
        "parentFolderId": row.get::<Option<String>, _>("parent").unwrap_or_else(|| row.get("id")),
        "childFolderCount": row.get::<i64, _>("children"),
        "unreadItemCount": row.get::<i64, _>("unread"),
        "totalItemCount": row.get::<i64, _>("total"),
        "sizeInBytes": row.get::<i64, _>("size"),
        "isHidden": row.get::<bool, _>("hidden"),
    })
}

/// `GET mailFolders` and `GET mailFolders/{id}/childFolders`.
pub(super) async fn list(desk: &mut Desk<'_>, parent: Option<&str>) -> Answer {
    let call = desk.call;
    let parent = store::folder(desk.db, &desk.mailbox.id, parent.unwrap_or("msgfolderroot")).await?;
    let hidden = call.param("includeHiddenFolders").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let clauses = call.param("$filter").map(odata::filter).transpose()?.unwrap_or_default();
    let selected = odata::select(call);
    let (top, skip) = odata::page(call, 10, 1000)?;
    let query = format!(
        "SELECT {COLUMNS} FROM folder f WHERE f.parent = ? AND (? OR f.hidden = 0) ORDER BY f.display_name LIMIT 5000"
    );
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(query)).bind(parent).bind(hidden).fetch_all(&mut *desk.db).await?;
    let mut folders = Vec::new();
    for row in &rows {
        let folder = view(row);
        if odata::meets(&folder, &clauses)? {
            folders.push(folder);
        }
    }
    let more = folders.len() > (skip + top) as usize;
    let mut value: Vec<Value> = folders.into_iter().skip(skip as usize).take(top as usize).collect();
    for folder in value.iter_mut().filter_map(Value::as_object_mut) {
        odata::narrow(folder, selected.as_deref());
    }
    let mut answer = json!({"@odata.context": context(desk), "value": value});
    if more {
        let hidden = if hidden { "includeHiddenFolders=true&" } else { "" };
        let skip = skip + top;
        answer["@odata.nextLink"] = json!(format!("{}?{hidden}%24top={top}&%24skip={skip}", call.address()));
    }
    Ok(json_answer(200, &answer))
}

fn context(desk: &Desk<'_>) -> String {
    format!("{}/v1.0/$metadata#users('{}')/mailFolders", desk.call.base, desk.mailbox.id)
}

/// `GET mailFolders/{id or name}`.
pub(super) async fn get(desk: &mut Desk<'_>, key: &str) -> Answer {
    one(desk, key, 200).await
}

async fn one(desk: &mut Desk<'_>, key: &str, status: u16) -> Answer {
    let id = store::folder(desk.db, &desk.mailbox.id, key).await?;
    let query = format!("SELECT {COLUMNS} FROM folder f WHERE f.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).fetch_one(&mut *desk.db).await?;
    let mut folder = view(&row);
    if let Some(object) = folder.as_object_mut() {
        odata::narrow(object, odata::select(desk.call).as_deref());
        object.insert("@odata.context".to_owned(), json!(format!("{}/$entity", context(desk))));
    }
    Ok(json_answer(status, &folder))
}

/// `POST mailFolders` and `POST mailFolders/{id}/childFolders`.
pub(super) async fn create(desk: &mut Desk<'_>, parent: &str) -> Answer {
    let json = desk.call.json()?;
    let name = json.get("displayName").and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if name.is_empty() || name.chars().count() > 255 || name.chars().any(char::is_control) {
        return Err(Refusal::new(
            400,
            "ErrorInvalidFolderName",
            "The folder's display name is missing or not valid.",
        ));
    }
    let hidden = json.get("isHidden") == Some(&Value::Bool(true));
    let parent = store::folder(desk.db, &desk.mailbox.id, parent).await?;
    let id = ids::folder(&desk.tenant.env);
    let done = sqlx::query(
        "INSERT INTO folder (id, mailbox, parent, display_name, hidden) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&id)
    .bind(&desk.mailbox.id)
    .bind(parent)
    .bind(name)
    .bind(hidden)
    .execute(&mut *desk.db)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Refusal::new(
            409,
            "ErrorFolderExists",
            "A folder with the specified name already exists.",
        ));
    }
    one(desk, &id, 201).await
}

/// `DELETE mailFolders/{id}`: with everything in it; well-known folders stay.
pub(super) async fn delete(desk: &mut Desk<'_>, key: &str) -> Answer {
    let id = store::folder(desk.db, &desk.mailbox.id, key).await?;
    let done = sqlx::query("DELETE FROM folder WHERE id = ? AND well_known IS NULL")
        .bind(id)
        .execute(&mut *desk.db)
        .await?;
    if done.rows_affected() == 0 {
        return Err(Refusal::new(
            400,
            "ErrorDeleteDistinguishedFolder",
            "Distinguished folders cannot be deleted.",
        ));
    }
    Ok(empty_answer(204))
}
