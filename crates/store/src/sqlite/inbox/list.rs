//! Lists and single messages, as far as the viewer may see them.

use postroom_model::InboxMessageId;
use postroom_model::inbox::InboxMessage;
use postroom_model::people::Viewer;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Sqlite};

use super::{message, message_columns};
use crate::sqlite::SqliteStore;
use crate::sqlite::broken::readable;
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{Cells, key};
use crate::sqlite::visible::{for_viewer, mailbox_is_visible, message_is_visible};
use crate::{BlobRef, InboxFilter, Page};

/// Words of a search that count; more make no list shorter.
const MAX_WORDS: usize = 32;

/// The words of a search as an FTS5 query that holds nothing but quoted strings, so that no word is syntax. None when
/// there is nothing to search for.
fn search_words(typed: &str) -> Option<String> {
    let words: Vec<String> = typed
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .take(MAX_WORDS)
        .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// A filter as SQL made of constant pieces, with its values in ?4 to ?7.
struct Filtered {
    from: &'static str,
    conditions: Vec<&'static str>,
    order: &'static str,
    search: Option<String>,
}

impl Filtered {
    fn new(filter: &InboxFilter) -> Self {
        let search = filter.search.as_deref().and_then(search_words);
        let mut conditions =
            vec![if filter.state.is_some() { "m.state = ?5" } else { "m.state <> 'stored'" }];
        if search.is_some() {
            conditions.push("m.sequence IN (SELECT rowid FROM inbox_search WHERE inbox_search MATCH ?7)");
        }
        // One mailbox is walked along its own index, everything along the inbox's.
        let (from, order) = if filter.mailbox.is_some() {
            conditions.push(concat!("b.id = ?4 AND ", mailbox_is_visible!()));
            if filter.kind.is_some() {
                conditions
                    .push("EXISTS (SELECT 1 FROM mailbox_types t WHERE t.mailbox = b.id AND t.type = ?6)");
            }
            (
                "mailboxes b CROSS JOIN inbox_mailboxes l ON l.mailbox = b.id JOIN inbox m ON m.sequence = l.message",
                "l.received_at DESC, l.message DESC",
            )
        } else {
            conditions.push(if filter.kind.is_some() {
                concat!(
                    "EXISTS (SELECT 1 FROM inbox_mailboxes p JOIN mailboxes b ON b.id = p.mailbox
                             JOIN mailbox_types t ON t.mailbox = b.id AND t.type = ?6
                             WHERE p.message = m.sequence AND ",
                    mailbox_is_visible!(),
                    ")"
                )
            } else {
                message_is_visible!()
            });
            ("inbox m", "m.received_at DESC, m.sequence DESC")
        };
        Self { from, conditions, order, search }
    }

    fn text(&self, columns: &str) -> String {
        format!("SELECT {columns} FROM {} WHERE {}", self.from, self.conditions.join(" AND "))
    }

    fn page(&self) -> String {
        format!("{} ORDER BY {} LIMIT ?8 OFFSET ?9", self.text(message_columns!()), self.order)
    }

    fn bind<'q>(&self, text: String, viewer: &Viewer, filter: &InboxFilter) -> Bound<'q> {
        // Every piece of the text is a constant of this file; what people typed is bound.
        for_viewer(sqlx::query(AssertSqlSafe(text)), viewer)
            .bind(filter.mailbox.map(|mailbox| key(mailbox.as_uuid())))
            .bind(filter.state.map(|state| state.as_str()))
            .bind(filter.kind.map(|kind| kind.as_str()))
            .bind(self.search.clone())
    }
}

type Bound<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

impl SqliteStore {
    pub(super) async fn list_inbox(
        &self,
        viewer: &Viewer,
        filter: &InboxFilter,
        page: Page,
    ) -> Result<Vec<InboxMessage>, Fault> {
        let filtered = Filtered::new(filter);
        let text = filtered.page();
        let rows = filtered
            .bind(text, viewer, filter)
            .bind(page.bounded_limit())
            .bind(page.offset)
            .fetch_all(&self.readers)
            .await?;
        readable(&rows, message)
    }

    pub(super) async fn count_inbox(&self, viewer: &Viewer, filter: &InboxFilter) -> Result<u64, Fault> {
        let filtered = Filtered::new(filter);
        let text = filtered.text("count(*) AS messages");
        let row = filtered.bind(text, viewer, filter).fetch_one(&self.readers).await?;
        Cells::new("inbox", &row).count("messages")
    }

    pub(super) async fn find_inbox(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
    ) -> Result<Option<InboxMessage>, Fault> {
        let query = sqlx::query(concat!(
            "SELECT ",
            message_columns!(),
            " FROM inbox m WHERE m.id = ?4 AND ",
            message_is_visible!()
        ));
        let row = for_viewer(query, viewer).bind(key(id.as_uuid())).fetch_optional(&self.readers).await?;
        row.as_ref().map(message).transpose()
    }

    pub(super) async fn raw_of_inbox(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
    ) -> Result<Option<BlobRef>, Fault> {
        let query = sqlx::query(concat!(
            "SELECT m.id, m.raw_sha256, m.raw_size FROM inbox m WHERE m.id = ?4 AND ",
            message_is_visible!()
        ));
        let row = for_viewer(query, viewer).bind(key(id.as_uuid())).fetch_optional(&self.readers).await?;
        row.as_ref().map(|row: &SqliteRow| Cells::new("inbox", row).raw()).transpose()
    }
}

/// The text of a list, for a look at its plan.
#[cfg(test)]
pub(in crate::sqlite) fn list_for_plan(of_one_mailbox: bool) -> String {
    let mailbox = of_one_mailbox.then(|| uuid::Uuid::nil().into());
    Filtered::new(&InboxFilter { mailbox, ..InboxFilter::default() }).page()
}

#[cfg(test)]
mod tests {
    use super::search_words;

    #[test]
    fn typed_words_are_never_syntax() {
        assert_eq!(search_words("  "), None);
        assert_eq!(search_words("\0"), None);
        assert_eq!(search_words("order 4711").as_deref(), Some("\"order\" \"4711\""));
        assert_eq!(search_words("a\" OR subject:*").as_deref(), Some("\"a\"\"\" \"OR\" \"subject:*\""));
    }
}
