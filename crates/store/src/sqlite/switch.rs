//! A connection of Exchange Online switched to its other interface: Exchange Web Services and Microsoft Graph name the
//! same message by different ids, and neither knows the other's cursor. The ids noted so far are marked as *former*; the
//! first reading by the other interface finds the message of each again (`inbox/commit.rs`).

use postroom_model::ConnectionId;
use postroom_model::connection::{ConnectionKind, ExchangeApi};
use postroom_model::event::{EventKind, Subject};
use postroom_model::mailbox::MailboxState;
use sqlx::SqliteConnection;

use super::SqliteStore;
use super::connections;
use super::events::append;
use super::fault::Fault;
use super::rows::{Cells, key, micros, to_json};
use crate::{InterfaceSwitch, StoreError};

pub(super) const OPERATION: &str = "switch the interface of a connection";

/// What would be touched, read where the caller is.
pub(super) async fn plan(db: &mut SqliteConnection, id: ConnectionId) -> Result<InterfaceSwitch, Fault> {
    let row = key(id.as_uuid());
    let (mailboxes, messages, drafts): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM mailboxes WHERE connection = ?1 AND removed_at IS NULL),
                (SELECT count(*) FROM provider_messages p JOIN mailboxes b ON b.id = p.mailbox
                 WHERE b.connection = ?1 AND p.former = 0),
                (SELECT count(*) FROM outbox WHERE connection = ?1 AND provider_id IS NOT NULL
                 AND state IN ('accepted', 'held', 'scheduled', 'deferred'))",
    )
    .bind(&row)
    .fetch_one(&mut *db)
    .await?;
    let open = sqlx::query(
        "SELECT id FROM outbox WHERE connection = ? AND state IN ('sending', 'unknown') ORDER BY sequence LIMIT 20",
    )
    .bind(&row)
    .fetch_all(db)
    .await?;
    let open = open.iter().map(|row| Cells::new("outbox", row).id("id")).collect::<Result<_, _>>()?;
    let [mailboxes, messages, drafts] = [mailboxes, messages, drafts].map(i64::unsigned_abs);
    Ok(InterfaceSwitch { mailboxes, messages, drafts, open })
}

impl SqliteStore {
    pub(super) async fn write_switch(
        &self,
        id: ConnectionId,
        to: ExchangeApi,
        actor: &str,
    ) -> Result<InterfaceSwitch, Fault> {
        let mut transaction = self.begin().await?;
        let known = connections::find(&mut transaction, id).await?;
        let online = known.filter(|known| known.settings.kind == ConnectionKind::ExchangeOnline);
        let Some(mut connection) = online.filter(|known| known.settings.api != to) else {
            return Err(
                StoreError::Untouched { operation: OPERATION, subject: format!("connection {id}") }.into()
            );
        };
        let plan = plan(&mut transaction, id).await?;
        if !plan.open.is_empty() {
            let named: Vec<String> = plan.open.iter().map(ToString::to_string).collect();
            return Err(StoreError::Refused {
                what: format!("the outcome of messages of this connection is open: {}", named.join(", ")),
                hint: "wait until `postroom outbox list` shows none of them as sending or unknown",
            }
            .into());
        }
        connection.settings.api = to;
        sqlx::query(
            "UPDATE connections SET settings = ?, updated_at = ?, revision = revision + 1 WHERE id = ?",
        )
        .bind(to_json("connections", &connection.settings)?)
        .bind(micros(self.env.now()))
        .bind(key(id.as_uuid()))
        .execute(&mut *transaction)
        .await?;
        self.start_mailboxes_anew(&mut transaction, id).await?;
        // None of these was sent, that is certain; released or tried again, each makes a draft of its own. A failed one
        // keeps its id, because whether it was sent may never have been found out: released, it is looked up first.
        sqlx::query(
            "UPDATE outbox SET provider_id = NULL
             WHERE connection = ? AND state IN ('accepted', 'held', 'scheduled', 'deferred')",
        )
        .bind(key(id.as_uuid()))
        .execute(&mut *transaction)
        .await?;
        let event = self.event(Subject::Connection(id), EventKind::ConnectionSwitched).actor(actor);
        append(&mut transaction, &event.words(to.label())).await?;
        transaction.commit().await?;
        Ok(plan)
    }

    /// Removed mailboxes too: one that is added again goes on where it was. The lease ends, so that a reading by the
    /// interface used until now commits nothing any more.
    async fn start_mailboxes_anew(&self, db: &mut SqliteConnection, id: ConnectionId) -> Result<(), Fault> {
        let row = key(id.as_uuid());
        sqlx::query(
            "UPDATE provider_messages SET former = 1
             WHERE mailbox IN (SELECT id FROM mailboxes WHERE connection = ?)",
        )
        .bind(&row)
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "UPDATE mailboxes SET cursor = NULL, state = ?1, last_error = NULL, failures = 0, lease_owner = NULL,
                 lease_until = NULL, fence = fence + 1, next_due_at = iif(next_due_at IS NULL, NULL, ?2)
             WHERE connection = ?3",
        )
        .bind(MailboxState::New.as_str())
        .bind(micros(self.env.now()))
        .bind(&row)
        .execute(db)
        .await?;
        Ok(())
    }
}
