//! Lists and single messages, as far as the viewer may see them.

use postroom_model::InboxMessageId;
use postroom_model::inbox::InboxMessage;
use postroom_model::people::Viewer;
use sqlx::AssertSqlSafe;

use super::{message, message_columns};
use crate::sql::SqlStore;
use crate::sql::broken::readable;
use crate::sql::db::{Pool, Query, Row, query};
use crate::sql::fault::Fault;
use crate::sql::rows::{Cells, key};
use crate::sql::search::{condition, search_words};
use crate::sql::visible::{for_viewer, mailbox_is_visible, message_is_visible};
use crate::{BlobRef, InboxFilter, Page};

/// A filter as SQL made of constant pieces, with its values in $4 to $7.
struct Filtered {
    from: &'static str,
    conditions: Vec<&'static str>,
    order: &'static str,
    search: Option<String>,
}

impl Filtered {
    fn new(pool: &Pool, filter: &InboxFilter) -> Self {
        let search = filter.search.as_deref().and_then(|typed| search_words(pool, typed));
        let mut conditions =
            vec![if filter.state.is_some() { "m.state = $5" } else { "m.state <> 'stored'" }];
        if search.is_some() {
            conditions.push(condition(pool));
        }
        // One mailbox is walked along its own index, everything along the inbox's.
        let (from, order) = if filter.mailbox.is_some() {
            conditions.push(concat!("b.id = $4 AND l.mailbox = b.id AND ", mailbox_is_visible!()));
            if filter.kind.is_some() {
                conditions
                    .push("EXISTS (SELECT 1 FROM mailbox_types t WHERE t.mailbox = b.id AND t.type = $6)");
            }
            (
                "mailboxes b CROSS JOIN inbox_mailboxes l JOIN inbox m ON m.sequence = l.message",
                "l.received_at DESC, l.message DESC",
            )
        } else {
            conditions.push(if filter.kind.is_some() {
                concat!(
                    "EXISTS (SELECT 1 FROM inbox_mailboxes p JOIN mailboxes b ON b.id = p.mailbox
                             JOIN mailbox_types t ON t.mailbox = b.id AND t.type = $6
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
        format!("{} ORDER BY {} LIMIT $8 OFFSET $9", self.text(message_columns!()), self.order)
    }

    fn bind(&self, text: String, viewer: &Viewer, filter: &InboxFilter) -> Query {
        // Every piece of the text is a constant of this file; what people typed is bound.
        for_viewer(query(AssertSqlSafe(text)), viewer)
            .bind(filter.mailbox.map(|mailbox| key(mailbox.as_uuid())))
            .bind(filter.state.map(|state| state.as_str()))
            .bind(filter.kind.map(|kind| kind.as_str()))
            .bind(self.search.clone())
    }
}

impl SqlStore {
    pub(super) async fn list_inbox(
        &self,
        viewer: &Viewer,
        filter: &InboxFilter,
        page: Page,
    ) -> Result<Vec<InboxMessage>, Fault> {
        let filtered = Filtered::new(&self.readers, filter);
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
        let filtered = Filtered::new(&self.readers, filter);
        let text = filtered.text("count(*) AS messages");
        let row = filtered.bind(text, viewer, filter).fetch_one(&self.readers).await?;
        Cells::new("inbox", &row).count("messages")
    }

    pub(super) async fn find_inbox(
        &self,
        viewer: &Viewer,
        id: InboxMessageId,
    ) -> Result<Option<InboxMessage>, Fault> {
        let query = query(concat!(
            "SELECT ",
            message_columns!(),
            " FROM inbox m WHERE m.id = $4 AND ",
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
        let query = query(concat!(
            "SELECT m.id, m.raw_sha256, m.raw_size FROM inbox m WHERE m.id = $4 AND ",
            message_is_visible!()
        ));
        let row = for_viewer(query, viewer).bind(key(id.as_uuid())).fetch_optional(&self.readers).await?;
        row.as_ref().map(|row: &Row| Cells::new("inbox", row).raw()).transpose()
    }
}

/// The text of a list, for a look at its plan.
#[cfg(test)]
pub(in crate::sql) fn list_for_plan(pool: &Pool, of_one_mailbox: bool) -> String {
    let mailbox = of_one_mailbox.then(|| uuid::Uuid::nil().into());
    Filtered::new(pool, &InboxFilter { mailbox, ..InboxFilter::default() }).page()
}
