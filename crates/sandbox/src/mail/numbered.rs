//! A mailbox as IMAP numbers it: folders by path, messages by UID, marks as flags.
//!
//! The number of the change that brought a message into its folder is its UID: it grows with every arrival, stays while
//! the message does, and a move gives a new one. A folder that was numbered anew takes a fixed amount off.

use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::store::{self, Arrival, Mailbox, Stored};
use super::{headers, ids};
use crate::answer::Refusal;
use crate::state::Tenant;

/// Most messages of a folder that are shown.
const MOST: i64 = 100_000;
/// Deepest folder that is shown.
const DEEPEST: usize = 30;

/// Flags of a message, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(pub(crate) u8);

/// Name and bit of every flag there is.
pub(crate) const FLAGS: [(&str, u8); 6] = [
    ("\\Seen", Flags::SEEN),
    ("\\Answered", 2),
    ("\\Flagged", Flags::FLAGGED),
    ("\\Deleted", Flags::DELETED),
    ("\\Draft", Flags::DRAFT),
    ("$MDNSent", 32),
];

impl Flags {
    pub(crate) const SEEN: u8 = 1;
    pub(crate) const ANSWERED: u8 = 2;
    pub(crate) const FLAGGED: u8 = 4;
    pub(crate) const DELETED: u8 = 8;
    pub(crate) const DRAFT: u8 = 16;
    /// Those the mailbox knows by no name of its own.
    const OTHER: u8 = !(Self::SEEN | Self::FLAGGED | Self::DRAFT);

    pub(crate) fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// The bit of a flag's name; unknown ones are taken and forgotten, as in the service.
    pub(crate) fn bit(name: &str) -> u8 {
        FLAGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or(0, |(_, bit)| *bit)
    }

    /// As a list in parentheses.
    pub(crate) fn shown(self) -> String {
        let names: Vec<&str> =
            FLAGS.iter().filter(|(_, bit)| self.has(*bit)).map(|(name, _)| *name).collect();
        format!("({})", names.join(" "))
    }
}

/// A folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) well_known: Option<String>,
    pub(crate) has_children: bool,
}

/// The folders of a mailbox, each after the one it is in.
pub(crate) async fn folders(db: &mut SqliteConnection, mailbox: &str) -> sqlx::Result<Vec<Folder>> {
    let rows = sqlx::query(
        "SELECT id, parent, well_known, display_name FROM folder WHERE mailbox = ? AND hidden = 0
         ORDER BY display_name LIMIT 5000",
    )
    .bind(mailbox)
    .fetch_all(db)
    .await?;
    let root = rows.iter().find(|row| row.get::<Option<&str>, _>("well_known") == Some("msgfolderroot"));
    let mut found: Vec<Folder> = Vec::new();
    let mut level: Vec<(String, String)> =
        root.map(|row| (row.get("id"), String::new())).into_iter().collect();
    for _ in 0..DEEPEST {
        let mut next = Vec::new();
        for (parent, prefix) in &level {
            let inside = rows.iter().filter(|row| row.get::<Option<&str>, _>("parent") == Some(parent));
            for row in inside {
                let (id, well_known): (String, Option<String>) = (row.get("id"), row.get("well_known"));
                let name = match well_known.as_deref() {
                    Some("inbox") => "INBOX",
                    _ => row.get("display_name"),
                };
                let path = format!("{prefix}{name}");
                let children = rows.iter().any(|row| row.get::<Option<&str>, _>("parent") == Some(&id));
                next.push((id.clone(), format!("{path}/")));
                found.push(Folder { id, path, well_known, has_children: children });
            }
        }
        level = next;
    }
    Ok(found)
}

/// The folder of a path; the inbox in any case.
pub(crate) async fn folder(
    db: &mut SqliteConnection,
    mailbox: &str,
    path: &str,
) -> sqlx::Result<Option<Folder>> {
    let wanted = path.trim_end_matches('/');
    let folders = folders(db, mailbox).await?;
    Ok(folders.into_iter().find(|folder| folder.path.to_lowercase() == wanted.to_lowercase()))
}

/// Makes a folder and those above it; false when it is there.
pub(crate) async fn create(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    mailbox: &Mailbox,
    path: &str,
) -> Result<bool, Refusal> {
    let mut parent = store::folder(db, &mailbox.id, "msgfolderroot").await?;
    let (mut sofar, mut made) = (String::new(), false);
    for name in path.trim_end_matches('/').split('/').take(DEEPEST) {
        sofar = if sofar.is_empty() { name.to_owned() } else { format!("{sofar}/{name}") };
        if let Some(folder) = folder(db, &mailbox.id, &sofar).await? {
            parent = folder.id;
            made = false;
            continue;
        }
        let id = ids::folder(&tenant.env);
        sqlx::query("INSERT INTO folder (id, mailbox, parent, display_name, hidden) VALUES (?, ?, ?, ?, 0)")
            .bind(&id)
            .bind(&mailbox.id)
            .bind(&parent)
            .bind(name)
            .execute(&mut *db)
            .await?;
        (parent, made) = (id, true);
    }
    Ok(made)
}

/// Gives a folder another name and place; `above` is the path of the folder it comes to lie in.
pub(crate) async fn rename(
    db: &mut SqliteConnection,
    mailbox: &str,
    id: &str,
    path: &str,
) -> Result<bool, Refusal> {
    let (above, name) = path.rsplit_once('/').map_or(("", path), |(above, name)| (above, name));
    let parent = match above {
        "" => store::folder(db, mailbox, "msgfolderroot").await?,
        above => match folder(db, mailbox, above).await? {
            Some(folder) => folder.id,
            None => return Ok(false),
        },
    };
    // A folder cannot come to lie in itself.
    let mut at = Some(parent.clone());
    for _ in 0..DEEPEST {
        let Some(here) = at else { break };
        if here == id {
            return Ok(false);
        }
        at = sqlx::query_scalar("SELECT parent FROM folder WHERE id = ?")
            .bind(here)
            .fetch_one(&mut *db)
            .await?;
    }
    let done = sqlx::query("UPDATE OR IGNORE folder SET parent = ?, display_name = ? WHERE id = ?")
        .bind(parent)
        .bind(name)
        .bind(id)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Removes a folder with everything in it.
pub(crate) async fn delete(db: &mut SqliteConnection, id: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM folder WHERE id = ? AND well_known IS NULL").bind(id).execute(db).await?;
    Ok(())
}

/// How a folder numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) validity: u32,
    pub(crate) next: u32,
    shift: i64,
}

impl Numbers {
    fn uid(self, entered: i64) -> u32 {
        u32::try_from(entered - self.shift).unwrap_or(u32::MAX)
    }
}

/// UIDVALIDITY and UIDNEXT of a folder; none when the folder is gone.
pub(crate) async fn numbers(db: &mut SqliteConnection, folder: &str) -> sqlx::Result<Option<Numbers>> {
    let row = sqlx::query(
        "SELECT coalesce(n.validity, f.rowid) AS validity, coalesce(n.shift, 0) AS shift,
         max(coalesce(n.last, 0), coalesce((SELECT max(entered) FROM message WHERE folder = f.id), 0)) AS last
         FROM folder f LEFT JOIN numbering n ON n.folder = f.id WHERE f.id = ?",
    )
    .bind(folder)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let shift: i64 = row.get("shift");
        let last: i64 = row.get("last");
        let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        Numbers { validity: number(row.get("validity")), next: number((last - shift).max(0) + 1), shift }
    }))
}

/// Numbers a folder anew: a higher UIDVALIDITY, and UIDs from 1 on. Gives the UIDVALIDITY.
pub(crate) async fn renumber(
    db: &mut SqliteConnection,
    mailbox: &Mailbox,
    key: &str,
) -> Result<u32, Refusal> {
    let id = store::folder(db, &mailbox.id, key).await?;
    sqlx::query("INSERT INTO numbering (folder, last) VALUES (?1, 0) ON CONFLICT DO NOTHING")
        .bind(&id)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "UPDATE numbering SET
         validity = 1 + max((SELECT max(rowid) FROM folder), (SELECT max(coalesce(validity, 0)) FROM numbering)),
         shift = coalesce((SELECT min(entered) - 1 FROM message WHERE folder = ?1), last) WHERE folder = ?1",
    )
    .bind(&id)
    .execute(&mut *db)
    .await?;
    numbers(db, &id).await?.map(|numbers| numbers.validity).ok_or_else(Refusal::item_not_found)
}

/// A message in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Number in the database.
    pub(crate) seq: i64,
    pub(crate) uid: u32,
    pub(crate) flags: Flags,
}

/// The messages of a folder, by UID.
pub(crate) async fn entries(
    db: &mut SqliteConnection,
    folder: &str,
    numbers: Numbers,
) -> sqlx::Result<Vec<Entry>> {
    let rows = sqlx::query(
        "SELECT seq, entered, is_read, is_draft, json_extract(marks, '$.flag.flagStatus') = 'flagged' AS flagged,
         coalesce(json_extract(marks, '$.imapFlags'), 0) AS other
         FROM message WHERE folder = ? ORDER BY entered LIMIT ?",
    )
    .bind(folder)
    .bind(MOST)
    .fetch_all(db)
    .await?;
    let entry = |row: &sqlx::sqlite::SqliteRow| {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let other = u8::try_from(row.get::<i64, _>("other")).unwrap_or(0) & Flags::OTHER;
        let flags = other
            | bit(row.get("is_read"), Flags::SEEN)
            | bit(row.get("is_draft"), Flags::DRAFT)
            | bit(row.get::<Option<bool>, _>("flagged") == Some(true), Flags::FLAGGED);
        Entry { seq: row.get("seq"), uid: numbers.uid(row.get("entered")), flags: Flags(flags) }
    };
    Ok(rows.iter().map(entry).collect())
}

/// What a message is beside its flags.
pub(crate) struct Content {
    pub(crate) received_at: i64,
    pub(crate) size: i64,
    /// The message; empty when it was not asked for.
    pub(crate) raw: Vec<u8>,
}

/// Reads a message; none when it went meanwhile.
pub(crate) async fn content(db: &mut SqliteConnection, seq: i64, raw: bool) -> sqlx::Result<Option<Content>> {
    let query = if raw {
        "SELECT received_at, length(raw) AS size, raw FROM message WHERE seq = ?"
    } else {
        "SELECT received_at, length(raw) AS size, x'' AS raw FROM message WHERE seq = ?"
    };
    let row = sqlx::query(query).bind(seq).fetch_optional(db).await?;
    Ok(row.map(|row| Content {
        received_at: row.get("received_at"),
        size: row.get("size"),
        raw: row.get("raw"),
    }))
}

/// Puts flags on a message; that of a draft stays as it is.
pub(crate) async fn mark(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    seq: i64,
    flags: Flags,
) -> Result<(), Refusal> {
    let mut stored = store::by_seq(db, seq).await?;
    apply(&mut stored, flags);
    store::update(tenant, db, &mut stored).await
}

fn apply(stored: &mut Stored, flags: Flags) {
    stored.is_read = flags.has(Flags::SEEN);
    let was = stored.marks["flag"]["flagStatus"] == "flagged";
    if was != flags.has(Flags::FLAGGED) {
        let status = if was { "notFlagged" } else { "flagged" };
        stored.marks["flag"] = json!({"flagStatus": status});
    }
    stored.marks["imapFlags"] = json!(flags.0 & Flags::OTHER);
}

/// Adds a message to a folder; gives its UID.
pub(crate) async fn append(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    mailbox: &Mailbox,
    folder: &str,
    raw: &[u8],
    flags: Flags,
    received_at: Option<i64>,
) -> Result<u32, Refusal> {
    let arrival = Arrival {
        mailbox: &mailbox.id,
        folder,
        raw: headers::with_crlf(raw),
        is_draft: flags.has(Flags::DRAFT),
        is_read: flags.has(Flags::SEEN),
        marks: json!({}),
    };
    let mut stored = store::insert(tenant, db, arrival).await?;
    apply(&mut stored, flags);
    stored.received_at = received_at.unwrap_or(stored.received_at);
    store::update(tenant, db, &mut stored).await?;
    uid(db, &stored).await
}

async fn uid(db: &mut SqliteConnection, stored: &Stored) -> Result<u32, Refusal> {
    let numbers = numbers(db, &stored.folder).await?.ok_or_else(Refusal::item_not_found)?;
    Ok(numbers.uid(stored.entered))
}

/// Copies a message into a folder; gives the copy's UID.
pub(crate) async fn copy(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    seq: i64,
    folder: &str,
) -> Result<u32, Refusal> {
    let stored = store::by_seq(db, seq).await?;
    let arrival = Arrival {
        mailbox: &stored.mailbox,
        folder,
        raw: stored.raw.clone().unwrap_or_default(),
        is_draft: stored.is_draft,
        is_read: stored.is_read,
        marks: stored.marks.clone(),
    };
    let mut copied = store::insert(tenant, db, arrival).await?;
    copied.received_at = stored.received_at;
    store::update(tenant, db, &mut copied).await?;
    uid(db, &copied).await
}

/// Moves a message into another folder; gives its new UID.
pub(crate) async fn relocate(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    seq: i64,
    folder: &str,
) -> Result<u32, Refusal> {
    let mut stored = store::by_seq(db, seq).await?;
    store::relocate(tenant, db, &mut stored, folder).await?;
    uid(db, &stored).await
}

/// Removes a message for good.
pub(crate) async fn remove(db: &mut SqliteConnection, seq: i64) -> Result<(), Refusal> {
    let stored = store::by_seq(db, seq).await?;
    store::remove(db, &stored).await
}
