//! GetFolder, FindFolder, CreateFolder.

use postroom_ews::wire::{
    BaseShape, CreateFolder, FindFolder, Folder, FolderId, FolderKind, FolderPage, FolderProperties,
    FolderShape, Folders, FoundFolders, GetFolder, PageView, Path, ResponseMessage, Traversal,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::desk::{Desk, Found, root_id};
use super::refusal::{Refused, Trouble};
use super::restrict::{self, Known};
use crate::mail::ids;

/// Largest page.
const MOST: usize = 1000;

const COLUMNS: &str = "f.id, f.display_name, f.parent, f.well_known,
     (SELECT count(*) FROM folder c WHERE c.parent = f.id AND c.hidden = 0) AS children,
     (SELECT count(*) FROM message m WHERE m.folder = f.id) AS total,
     (SELECT count(*) FROM message m WHERE m.folder = f.id AND m.is_read = 0) AS unread";

/// Version of a folder. Nothing here changes one.
fn id(id: &str) -> FolderId {
    FolderId { id: id.to_owned(), change_key: Some("AQAAAA==".to_owned()) }
}

/// Everything that is known of a folder.
fn whole(row: &SqliteRow) -> FolderProperties {
    let own: String = row.get("id");
    let count = |name: &str| u32::try_from(row.get::<i64, _>(name)).ok();
    FolderProperties {
        id: Some(id(&own)),
        // Above the topmost is the root.
        parent: Some(
            row.get::<Option<String>, _>("parent").map_or_else(|| id(&root_id(&own)), |above| id(&above)),
        ),
        class: Some("IPF.Note".to_owned()),
        display_name: Some(row.get("display_name")),
        total: count("total"),
        child_folders: count("children"),
        distinguished: row.get("well_known"),
        unread: count("unread"),
        ..FolderProperties::default()
    }
}

fn root(top: &str) -> FolderProperties {
    FolderProperties {
        id: Some(id(&root_id(top))),
        display_name: Some(String::new()),
        total: Some(0),
        child_folders: Some(1),
        distinguished: Some("root".to_owned()),
        unread: Some(0),
        ..FolderProperties::default()
    }
}

/// What was asked for of it.
fn shaped(all: FolderProperties, shape: &FolderShape) -> Folder {
    let wants = |name: &str, by_default: bool| {
        shape.base == BaseShape::AllProperties
            || (by_default && shape.base == BaseShape::Default)
            || shape.additional.iter().any(
                |path| matches!(path, Path::Field(field) if field.uri.strip_prefix("folder:") == Some(name)),
            )
    };
    let properties = FolderProperties {
        id: all.id,
        parent: all.parent.filter(|_| wants("ParentFolderId", false)),
        class: all.class.filter(|_| wants("FolderClass", false)),
        display_name: all.display_name.filter(|_| wants("DisplayName", true)),
        total: all.total.filter(|_| wants("TotalCount", true)),
        child_folders: all.child_folders.filter(|_| wants("ChildFolderCount", true)),
        distinguished: all.distinguished.filter(|_| wants("DistinguishedFolderId", false)),
        unread: all.unread.filter(|_| wants("UnreadCount", true)),
        ..FolderProperties::default()
    };
    Folder { kind: FolderKind::Folder, properties }
}

async fn one(db: &mut SqliteConnection, found: &Found) -> Result<FolderProperties, Trouble> {
    if found.is_root {
        return Ok(root(&found.id));
    }
    let query = format!("SELECT {COLUMNS} FROM folder f WHERE f.id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(&found.id).fetch_one(db).await?;
    Ok(whole(&row))
}

pub(super) async fn get(desk: &Desk, request: &GetFolder) -> Result<Vec<ResponseMessage<Folders>>, Refused> {
    desk.bounded(request.folders.len())?;
    let mut messages = Vec::new();
    for folder in &request.folders {
        let mut tx = desk.begin().await?;
        let found = match desk.folder(&mut tx, folder).await {
            Ok(found) => one(&mut tx, &found).await,
            Err(trouble) => Err(trouble),
        };
        let folders = found.map(|folder| Folders { folders: vec![shaped(folder, &request.shape)] });
        messages.push(desk.end(tx, folders).await?);
    }
    Ok(messages)
}

/// The folders below one, near ones first.
async fn below(
    db: &mut SqliteConnection,
    above: &Found,
    deep: bool,
) -> Result<Vec<FolderProperties>, Trouble> {
    let query = format!(
        "SELECT {COLUMNS} FROM folder f WHERE f.mailbox = ? AND f.hidden = 0 ORDER BY f.rowid LIMIT 5000"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(&above.mailbox).fetch_all(db).await?;
    let all: Vec<FolderProperties> = rows.iter().map(whole).collect();
    let start = if above.is_root { root_id(&above.id) } else { above.id.clone() };
    let mut found: Vec<FolderProperties> = Vec::new();
    let mut edge = vec![start];
    while let Some(parent) = edge.pop() {
        let is_child =
            |folder: &&FolderProperties| folder.parent.as_ref().is_some_and(|above| above.id == parent);
        for child in all.iter().filter(is_child) {
            if deep && found.len() < all.len() {
                edge.extend(child.id.as_ref().map(|id| id.id.clone()));
            }
            found.push(child.clone());
        }
    }
    Ok(found)
}

fn known(folder: &FolderProperties, path: &Path) -> Option<Known> {
    let Path::Field(field) = path else { return None };
    let number = |count: Option<u32>| count.map(|count| Known::Number(i64::from(count)));
    match field.uri.as_str() {
        "folder:DisplayName" => folder.display_name.clone().map(Known::Text),
        "folder:FolderClass" => folder.class.clone().map(Known::Text),
        "folder:TotalCount" => number(folder.total),
        "folder:UnreadCount" => number(folder.unread),
        "folder:ChildFolderCount" => number(folder.child_folders),
        _ => None,
    }
}

pub(super) async fn find(
    desk: &Desk,
    request: &FindFolder,
) -> Result<Vec<ResponseMessage<FoundFolders>>, Refused> {
    desk.bounded(request.parents.len())?;
    let mut messages = Vec::new();
    for parent in &request.parents {
        let mut tx = desk.begin().await?;
        let found = match desk.folder(&mut tx, parent).await {
            Ok(found) if request.traversal == Traversal::SoftDeleted => Ok((found, Vec::new())),
            Ok(found) => {
                let all = below(&mut tx, &found, request.traversal == Traversal::Deep).await;
                all.map(|all| (found, all))
            }
            Err(trouble) => Err(trouble),
        };
        let page = found.and_then(|(_, mut all)| {
            if let Some(restriction) = &request.restriction {
                restrict::check(restriction)?;
                all.retain(|folder| restrict::meets(restriction, &|path| known(folder, path)));
            }
            let (all, cut) = paged(all, request.page.as_ref(), MOST);
            let folders = all.into_iter().map(|folder| shaped(folder, &request.shape)).collect();
            let page = FolderPage {
                next_offset: Some(cut.next),
                total: Some(cut.total),
                is_last: Some(cut.is_last),
                folders,
            };
            Ok(FoundFolders { page: Some(page) })
        });
        messages.push(desk.end(tx, page).await?);
    }
    Ok(messages)
}

/// Where a page stands in its list.
pub(super) struct Cut {
    pub(super) next: u32,
    pub(super) total: u32,
    pub(super) is_last: bool,
}

/// One page of a list, with at most `most` entries.
pub(super) fn paged<T>(all: Vec<T>, page: Option<&PageView>, most: usize) -> (Vec<T>, Cut) {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let total = all.len();
    let wanted = page.and_then(|page| page.max).map_or(most, |max| most.min(max as usize));
    let passed = page.map_or(0, |page| page.offset as usize).min(total);
    let from_end = page.is_some_and(|page| page.base_point == postroom_ews::wire::BasePoint::End);
    let (start, end) = match from_end {
        true => ((total - passed).saturating_sub(wanted), total - passed),
        false => (passed, (passed + wanted).min(total)),
    };
    let is_last = if from_end { start == 0 } else { end == total };
    let next = if from_end { passed + (end - start) } else { end };
    let page = all.into_iter().skip(start).take(end - start).collect();
    (page, Cut { next: number(next), total: number(total), is_last })
}

pub(super) async fn create(
    desk: &Desk,
    request: &CreateFolder,
) -> Result<Vec<ResponseMessage<Folders>>, Refused> {
    desk.bounded(request.folders.len())?;
    let mut messages = Vec::new();
    for folder in &request.folders {
        let mut tx = desk.begin().await?;
        let made = make(desk, &mut tx, request, folder).await;
        messages.push(desk.end(tx, made).await?);
    }
    Ok(messages)
}

async fn make(
    desk: &Desk,
    db: &mut SqliteConnection,
    request: &CreateFolder,
    folder: &Folder,
) -> Result<Folders, Trouble> {
    let parent = desk.holder(db, &request.parent).await?;
    let name = folder.properties.display_name.as_deref().map(str::trim).unwrap_or_default();
    if name.is_empty() || name.chars().count() > 255 || name.chars().any(char::is_control) {
        return Err(Trouble::new(
            "ErrorInvalidRequest",
            "The folder's display name is missing or not valid.",
        ));
    }
    let own = ids::folder(&desk.tenant.env);
    let done = sqlx::query(
        "INSERT INTO folder (id, mailbox, parent, display_name, hidden) VALUES (?, ?, ?, ?, 0) ON CONFLICT DO NOTHING",
    )
    .bind(&own)
    .bind(&parent.mailbox)
    .bind(&parent.id)
    .bind(name)
    .execute(db)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Trouble::new("ErrorFolderExists", "A folder with the specified name already exists."));
    }
    let properties = FolderProperties { id: Some(id(&own)), ..FolderProperties::default() };
    Ok(Folders { folders: vec![Folder { kind: FolderKind::Folder, properties }] })
}
