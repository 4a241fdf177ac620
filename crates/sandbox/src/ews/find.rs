//! FindItem: the items of a folder, restricted, sorted and paged.

use postroom_ews::wire::{
    FindItem, FoundItems, Item, ItemPage, Order, Path, ResponseMessage, Restriction, Traversal,
};
use serde_json::Value;
use sqlx::SqliteConnection;

use super::desk::Desk;
use super::folders::paged;
use super::refusal::{Refused, Trouble};
use super::restrict::{self, Known};
use super::shape::{self, Wanted};
use crate::mail::headers;
use crate::mail::store::{COLUMNS, Stored};

/// Largest page, and the largest with a restriction.
const MOST: usize = 1000;
const MOST_RESTRICTED: usize = 250;
/// Most items of a folder that are looked at.
const MOST_LOOKED_AT: i64 = 50_000;

pub(super) async fn find(
    desk: &Desk,
    request: &FindItem,
) -> Result<Vec<ResponseMessage<FoundItems>>, Refused> {
    desk.bounded(request.parents.len())?;
    let mut messages = Vec::new();
    for parent in &request.parents {
        let mut tx = desk.begin().await?;
        let found = match desk.folder(&mut tx, parent).await {
            Ok(folder) => in_folder(&mut tx, &folder.id, request).await,
            Err(trouble) => Err(trouble),
        };
        messages.push(desk.end(tx, found).await?);
    }
    Ok(messages)
}

async fn in_folder(
    db: &mut SqliteConnection,
    folder: &str,
    request: &FindItem,
) -> Result<FoundItems, Trouble> {
    if request.query.is_some() {
        return Err(Trouble::new("ErrorInvalidRequest", "A QueryString is not served by the sandbox."));
    }
    if let Some(restriction) = &request.restriction {
        restrict::check(restriction)?;
    }
    // Nothing is hidden here, and what was deleted softly lies in a folder of its own.
    let mut all = match request.traversal {
        Traversal::Shallow => listed(db, folder, request).await?,
        Traversal::Deep => {
            return Err(Trouble::new("ErrorInvalidRequest", "Items are not searched with Traversal Deep."));
        }
        Traversal::SoftDeleted | Traversal::Associated => Vec::new(),
    };
    sort(&mut all, request);
    let most = if request.restriction.is_some() { MOST_RESTRICTED } else { MOST };
    let (page, cut) = paged(all, request.page.as_ref(), most);
    let wanted = Wanted::in_list(&request.shape);
    let items = page.iter().map(|stored| Item::from(shape::message(stored, &wanted))).collect();
    let page =
        ItemPage { next_offset: Some(cut.next), total: Some(cut.total), is_last: Some(cut.is_last), items };
    Ok(FoundItems { page: Some(page) })
}

/// The items that are meant, newest first.
async fn listed(db: &mut SqliteConnection, folder: &str, request: &FindItem) -> Result<Vec<Stored>, Trouble> {
    let further = |path: &Path| !matches!(path, Path::Field(_));
    let searched = request.restriction.as_ref().is_some_and(|one| restrict::names(one, &further));
    let sorted = request.sort.iter().any(|order| further(&order.path));
    let raw =
        if searched || sorted || Wanted::in_list(&request.shape).needs_raw() { "raw" } else { "NULL AS raw" };
    let query = format!(
        "SELECT {COLUMNS}, {raw} FROM message WHERE folder = ? ORDER BY received_at DESC, seq DESC LIMIT ?"
    );
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(query)).bind(folder).bind(MOST_LOOKED_AT).fetch_all(db).await?;
    let all = rows.iter().map(Stored::read);
    let meets = |stored: &Stored| {
        let is = |restriction: &Restriction| restrict::meets(restriction, &|path| known(stored, path));
        request.restriction.as_ref().is_none_or(is)
    };
    Ok(all.filter(meets).collect())
}

fn sort(all: &mut [Stored], request: &FindItem) {
    // The last order is the least: a stable sort keeps what it finds.
    for order in request.sort.iter().take(10).rev() {
        all.sort_by(|one, other| {
            let way = restrict::order(known(one, &order.path).as_ref(), known(other, &order.path).as_ref());
            if order.order == Order::Descending { way.reverse() } else { way }
        });
    }
}

/// The value of a property that items are searched and sorted by.
fn known(stored: &Stored, path: &Path) -> Option<Known> {
    let facts = &stored.facts;
    let text = |value: &Value| value.as_str().map(|text| Known::Text(text.to_owned()));
    let uri = match path {
        Path::Field(field) => field.uri.as_str(),
        Path::Extended(uri) => {
            return shape::extended(stored, stored.raw.as_deref()?, uri).map(Known::Text);
        }
        Path::Indexed(indexed) => {
            let raw = stored.raw.as_deref().filter(|_| indexed.uri == "item:InternetMessageHeader")?;
            return headers::value(raw, &indexed.index).map(Known::Text);
        }
    };
    Some(match uri {
        "message:InternetMessageId" => Known::Text(stored.internet_message_id.clone()),
        "message:IsRead" => Known::Flag(stored.is_read),
        "message:From" | "message:Sender" => return text(&facts["from"]["emailAddress"]["address"]),
        "item:IsDraft" => Known::Flag(stored.is_draft),
        "item:HasAttachments" => Known::Flag(facts["hasAttachments"] == true),
        "item:DateTimeReceived" => Known::Time(stored.received_at),
        "item:DateTimeSent" => Known::Time(facts["sentAt"].as_i64().unwrap_or(stored.created_at)),
        "item:DateTimeCreated" => Known::Time(stored.created_at),
        "item:LastModifiedTime" => Known::Time(stored.modified_at),
        "item:ItemClass" => Known::Text("IPM.Note".to_owned()),
        "item:Subject" => return text(&facts["subject"]),
        "item:ConversationId" => return text(&facts["conversationId"]),
        "item:Categories" => {
            let kept = stored.marks["categories"].as_array()?;
            let kept: Vec<&str> = kept.iter().filter_map(Value::as_str).collect();
            Known::Text(kept.join("; "))
        }
        _ => return None,
    })
}
