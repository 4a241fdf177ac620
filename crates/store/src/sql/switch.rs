//! A connection of Exchange Online switched to its other interface: Exchange Web Services and Microsoft Graph name the
//! same message by different ids, and neither knows the other's cursor. The ids noted so far are marked as *former*; the
//! first reading by the other interface finds the message of each again (`inbox/commit.rs`). The same happens when a
//! connection leads to another server.

use postroom_model::ConnectionId;
use postroom_model::connection::{ConnectionKind, ConnectionSettings, ExchangeApi};
use postroom_model::event::{EventKind, Subject};
use postroom_model::mailbox::MailboxState;

use super::SqlStore;
use super::connections;
use super::db::{Cell as _, Db, query};
use super::events::append;
use super::fault::Fault;
use super::rows::{Cells, key, micros, to_json};
use crate::{InterfaceSwitch, StoreError};

pub(super) const OPERATION: &str = "switch the interface of a connection";

/// What would be touched, read where the caller is.
pub(super) async fn plan(db: &mut Db, id: ConnectionId) -> Result<InterfaceSwitch, Fault> {
    let row = key(id.as_uuid());
    let counts = query(
        "SELECT (SELECT count(*) FROM mailboxes WHERE connection = $1 AND removed_at IS NULL),
                (SELECT count(*) FROM provider_messages p JOIN mailboxes b ON b.id = p.mailbox
                 WHERE b.connection = $1 AND p.former = 0),
                (SELECT count(*) FROM outbox WHERE connection = $1 AND provider_id IS NOT NULL
                 AND state IN ('accepted', 'held', 'scheduled', 'deferred'))",
    )
    .bind(&row)
    .fetch_one(&mut *db)
    .await?;
    let count = |place: usize| i64::read(&counts, place).map(i64::unsigned_abs);
    let (mailboxes, messages, drafts) = (count(0)?, count(1)?, count(2)?);
    let open = query(
        "SELECT id FROM outbox WHERE connection = $1 AND state IN ('sending', 'unknown') ORDER BY sequence LIMIT 20",
    )
    .bind(&row)
    .fetch_all(db)
    .await?;
    let open = open.iter().map(|row| Cells::new("outbox", row).id("id")).collect::<Result<_, _>>()?;
    Ok(InterfaceSwitch { mailboxes, messages, drafts, open })
}

/// Whether ids and cursors of the mailboxes mean something else after this change of settings.
fn leads_elsewhere(before: &ConnectionSettings, after: &ConnectionSettings) -> bool {
    let server = |settings: &ConnectionSettings| {
        (settings.server.trim().to_ascii_lowercase(), settings.effective_port())
    };
    before.kind != after.kind || (after.kind == ConnectionKind::Imap && server(before) != server(after))
}

impl SqlStore {
    /// What a plain save of a connection does to its mailboxes. Another server knows neither the ids nor the cursors of
    /// the one before.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for another interface of Exchange Online while anything is known by the ids of the one in
    /// use: only [`SqlStore::write_switch`] keeps that.
    pub(super) async fn carry_over(
        &self,
        db: &mut Db,
        id: ConnectionId,
        before: &ConnectionSettings,
        after: &ConnectionSettings,
    ) -> Result<(), Fault> {
        if leads_elsewhere(before, after) {
            // UIDs are small numbers: those of the other server may be the same and name other messages.
            query(
                "UPDATE provider_messages SET provider_id = $1 || provider_id
                 WHERE former = 0 AND mailbox IN (SELECT id FROM mailboxes WHERE connection = $2)",
            )
            .bind(format!("former {} ", micros(self.env.now())))
            .bind(key(id.as_uuid()))
            .execute(&mut *db)
            .await?;
            return self.start_mailboxes_anew(db, id).await;
        }
        if after.kind != ConnectionKind::ExchangeOnline || before.api == after.api {
            return Ok(());
        }
        let InterfaceSwitch { mailboxes, messages, drafts, open } = plan(db, id).await?;
        if mailboxes + messages + drafts == 0 && open.is_empty() {
            return Ok(());
        }
        Err(StoreError::Refused {
            what: format!("mail of this connection is known by its ids in {}", before.api.label()),
            hint: "`postroom connection migrate` switches to the other interface and keeps it",
        }
        .into())
    }

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
        query("UPDATE connections SET settings = $1, updated_at = $2, revision = revision + 1 WHERE id = $3")
            .bind(to_json("connections", &connection.settings)?)
            .bind(micros(self.env.now()))
            .bind(key(id.as_uuid()))
            .execute(&mut *transaction)
            .await?;
        self.start_mailboxes_anew(&mut transaction, id).await?;
        // None of these was sent, that is certain; released or tried again, each makes a draft of its own. A failed one
        // keeps its id, because whether it was sent may never have been found out: released, it is looked up first.
        query(
            "UPDATE outbox SET provider_id = NULL
             WHERE connection = $1 AND state IN ('accepted', 'held', 'scheduled', 'deferred')",
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
    async fn start_mailboxes_anew(&self, db: &mut Db, id: ConnectionId) -> Result<(), Fault> {
        let row = key(id.as_uuid());
        query(
            "UPDATE provider_messages SET former = 1
             WHERE mailbox IN (SELECT id FROM mailboxes WHERE connection = $1)",
        )
        .bind(&row)
        .execute(&mut *db)
        .await?;
        query(
            "UPDATE mailboxes SET cursor = NULL, state = $1, last_error = NULL, failures = 0, lease_owner = NULL,
                 lease_until = NULL, fence = fence + 1, next_due_at = CASE WHEN next_due_at IS NULL THEN NULL ELSE $2 END
             WHERE connection = $3",
        )
        .bind(MailboxState::New.as_str())
        .bind(micros(self.env.now()))
        .bind(&row)
        .execute(db)
        .await?;
        Ok(())
    }
}
