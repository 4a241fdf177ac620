//! Mailboxes, and the claim to read one.

use std::collections::BTreeSet;

use async_trait::async_trait;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::mailbox::{Availability, Mailbox, MailboxSettings, MailboxState, Validation};
use postroom_model::people::Viewer;
use postroom_model::{EmailAddress, MailboxId, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::events::append;
use super::fault::{Fault, one_row, still_held};
use super::rows::{Cells, hex_list, key, micros, text_list, time, to_json};
use super::visible::{for_viewer, mailbox_is_visible};
use super::{SqliteStore, connections};
use crate::{ClaimedMailbox, Lease, MailboxStore, NodeId, PollFinish, SaveMailbox, StoreError};

/// Mailboxes with their types and availability beside them.
macro_rules! select_mailboxes {
    ($($rest:expr),*) => {
        concat!(
            "SELECT b.*,
                (SELECT json_group_array(type) FROM mailbox_types WHERE mailbox = b.id) AS types,
                (SELECT json_group_array(hex(member)) FROM mailbox_groups WHERE mailbox = b.id) AS groups,
                (SELECT json_group_array(member) FROM mailbox_roles WHERE mailbox = b.id) AS roles,
                (SELECT json_group_array(hex(member)) FROM mailbox_users WHERE mailbox = b.id) AS users
             FROM mailboxes b ",
            $($rest),*
        )
    };
}

pub(super) const DUE: &str =
    "SELECT id FROM mailboxes WHERE claimable_at <= ? ORDER BY claimable_at, sequence LIMIT ?";
pub(super) const NEXT_DUE: &str = "SELECT min(claimable_at) FROM mailboxes WHERE claimable_at IS NOT NULL";

fn mailbox(row: &SqliteRow) -> Result<Mailbox, Fault> {
    let cells = Cells::new("mailboxes", row);
    let availability = if cells.int("available_to_all")? == 1 {
        Availability::All
    } else {
        Availability::Only {
            groups: cells.id_list("groups")?.into_iter().collect(),
            roles: cells.json("roles")?,
            users: cells.id_list("users")?.into_iter().collect(),
        }
    };
    let address: EmailAddress = cells.word("address")?;
    Ok(Mailbox {
        id: cells.id("id")?,
        connection: cells.id("connection")?,
        settings: MailboxSettings {
            address: address.as_str().to_owned(),
            user_name: cells.text("user_name")?,
            types: cells.json("types")?,
            availability,
            polling_interval: cells.word("polling_interval")?,
        },
        address,
        state: cells.word("state")?,
        last_error: cells.opt_text("last_error")?,
        failures: cells.count("failures")?,
        last_success_at: cells.opt_time("last_success_at")?,
        next_due_at: cells.opt_time("next_due_at")?,
        validation: cells.opt_json("validation")?,
    })
}

async fn find(db: &mut SqliteConnection, id: MailboxId) -> Result<Option<Mailbox>, Fault> {
    let query = sqlx::query(select_mailboxes!("WHERE b.id = ?")).bind(key(id.as_uuid()));
    query.fetch_optional(db).await?.as_ref().map(mailbox).transpose()
}

/// Replaces types and availability.
async fn write_sets(
    db: &mut SqliteConnection,
    id: MailboxId,
    settings: &MailboxSettings,
) -> Result<(), Fault> {
    let (no_groups, no_roles, no_users) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (groups, roles, users) = match &settings.availability {
        Availability::All => (&no_groups, &no_roles, &no_users),
        Availability::Only { groups, roles, users } => (groups, roles, users),
    };
    let sets = [
        (
            "DELETE FROM mailbox_types WHERE mailbox = ?",
            "INSERT INTO mailbox_types (mailbox, type) SELECT ?, value FROM json_each(?)",
            text_list(settings.types.iter().map(|kind| kind.as_str())),
        ),
        (
            "DELETE FROM mailbox_groups WHERE mailbox = ?",
            "INSERT INTO mailbox_groups (mailbox, member) SELECT ?, unhex(value) FROM json_each(?)",
            hex_list(groups.iter().map(|group| group.as_uuid())),
        ),
        (
            "DELETE FROM mailbox_roles WHERE mailbox = ?",
            "INSERT INTO mailbox_roles (mailbox, member) SELECT ?, value FROM json_each(?)",
            text_list(roles.iter().map(|role| role.as_str())),
        ),
        (
            "DELETE FROM mailbox_users WHERE mailbox = ?",
            "INSERT INTO mailbox_users (mailbox, member) SELECT ?, unhex(value) FROM json_each(?)",
            hex_list(users.iter().map(|user| user.as_uuid())),
        ),
    ];
    for (clear, fill, members) in sets {
        sqlx::query(clear).bind(key(id.as_uuid())).execute(&mut *db).await?;
        sqlx::query(fill).bind(key(id.as_uuid())).bind(members).execute(&mut *db).await?;
    }
    Ok(())
}

/// Where another account is meant from now on: the cursor and the provider's ids are worthless (an id may even come
/// back for another mail), and a reading in progress must not commit. The messages stay.
async fn forget_other_account(
    db: &mut SqliteConnection,
    save: &SaveMailbox,
    address: &EmailAddress,
) -> Result<(), Fault> {
    let moved = sqlx::query(
        "UPDATE mailboxes SET cursor = NULL, state = ?, last_error = NULL, failures = 0,
             lease_owner = NULL, lease_until = NULL
         WHERE id = ? AND (connection <> ? OR address_key <> ?)",
    )
    .bind(MailboxState::New.as_str())
    .bind(key(save.id.as_uuid()))
    .bind(key(save.connection.as_uuid()))
    .bind(address.normalized())
    .execute(&mut *db)
    .await?
    .rows_affected();
    if moved > 0 {
        sqlx::query("DELETE FROM provider_messages WHERE mailbox = ?")
            .bind(key(save.id.as_uuid()))
            .execute(db)
            .await?;
    }
    Ok(())
}

fn subject(id: MailboxId) -> impl FnOnce() -> String {
    move || format!("mailbox {id}")
}

impl SqliteStore {
    async fn write_mailbox(&self, save: &SaveMailbox) -> Result<Mailbox, Fault> {
        let settings = &save.settings;
        let address: EmailAddress =
            settings.address.parse().map_err(|error: postroom_model::address::InvalidAddress| {
                StoreError::Contradiction {
                    table: "mailboxes",
                    row: save.id.to_string(),
                    what: error.to_string(),
                }
            })?;
        let mut transaction = self.begin().await?;
        let connection = connections::find(&mut transaction, save.connection).await?.ok_or_else(|| {
            StoreError::Untouched {
                operation: "save a mailbox",
                subject: format!("connection {}", save.connection),
            }
        })?;
        let polled = settings.polling_interval.resolve(connection.settings.polling_interval).is_some();
        forget_other_account(&mut transaction, save, &address).await?;
        sqlx::query(
            "INSERT INTO mailboxes (id, connection, address, address_key, user_name, polling_interval,
                                    available_to_all, state, next_due_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (id) DO UPDATE SET
                 connection = ?2, address = ?3, address_key = ?4, user_name = ?5, polling_interval = ?6,
                 available_to_all = ?7, next_due_at = ?9",
        )
        .bind(key(save.id.as_uuid()))
        .bind(key(save.connection.as_uuid()))
        .bind(address.as_str())
        .bind(address.normalized())
        .bind(&settings.user_name)
        .bind(String::from(settings.polling_interval))
        .bind(settings.availability == Availability::All)
        .bind(MailboxState::New.as_str())
        .bind(polled.then(|| micros(self.env.now())))
        .execute(&mut *transaction)
        .await
        .map_err(|error| Fault::or_taken(error, || format!("the mailbox {address}")))?;
        write_sets(&mut transaction, save.id, settings).await?;
        let event = self.event(Subject::Mailbox(save.id), EventKind::MailboxSaved);
        append(&mut transaction, &event.actor(&save.actor)).await?;
        let saved = find(&mut transaction, save.id).await?;
        transaction.commit().await?;
        saved.ok_or_else(|| {
            StoreError::Untouched { operation: "save a mailbox", subject: subject(save.id)() }.into()
        })
    }

    /// Writes the lease of one mailbox that nobody holds; none when somebody does.
    async fn lease_mailbox(
        &self,
        db: &mut SqliteConnection,
        id: MailboxId,
        owner: &NodeId,
        until: Timestamp,
    ) -> Result<Option<ClaimedMailbox>, Fault> {
        let leased = sqlx::query(
            "UPDATE mailboxes SET lease_owner = ?1, lease_until = ?2, fence = fence + 1
             WHERE id = ?3 AND (lease_until IS NULL OR lease_until <= ?4) RETURNING cursor, fence",
        )
        .bind(owner.as_str())
        .bind(micros(until))
        .bind(key(id.as_uuid()))
        .bind(micros(self.env.now()))
        .fetch_optional(&mut *db)
        .await?;
        let Some(leased) = leased else { return Ok(None) };
        let cells = Cells::new("mailboxes", &leased);
        let lease = Lease { owner: owner.clone(), fence: cells.int("fence")?, until };
        let gone = || StoreError::Contradiction {
            table: "mailboxes",
            row: id.to_string(),
            what: "its connection is missing".to_owned(),
        };
        let mailbox = find(&mut *db, id).await?.ok_or_else(gone)?;
        let connection = connections::find(db, mailbox.connection).await?.ok_or_else(gone)?;
        Ok(Some(ClaimedMailbox { mailbox, connection, cursor: cells.opt_text("cursor")?, lease }))
    }

    async fn write_poll_finish(&self, finish: &PollFinish) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let success = (finish.state == MailboxState::Running).then(|| micros(self.env.now()));
        let touched = sqlx::query(
            "UPDATE mailboxes SET lease_owner = NULL, lease_until = NULL, state = ?, last_error = ?, failures = ?,
                 next_due_at = ?, last_success_at = coalesce(?, last_success_at)
             WHERE id = ? AND lease_owner = ? AND fence = ?",
        )
        .bind(finish.state.as_str())
        .bind(&finish.error)
        .bind(finish.failures)
        .bind(finish.next_due_at.map(micros))
        .bind(success)
        .bind(key(finish.mailbox.as_uuid()))
        .bind(finish.lease.owner.as_str())
        .bind(finish.lease.fence)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        still_held(touched, "finish a reading", subject(finish.mailbox))?;
        for event in &finish.events {
            append(&mut transaction, event).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// One change of one mailbox and its event.
    async fn change_mailbox(
        &self,
        operation: &'static str,
        id: MailboxId,
        change: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
        event: Event,
    ) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let touched = change.execute(&mut *transaction).await?.rows_affected();
        one_row(touched, operation, subject(id))?;
        append(&mut transaction, &event).await?;
        Ok(transaction.commit().await?)
    }
}

#[async_trait]
impl MailboxStore for SqliteStore {
    async fn save_mailbox(&self, save: SaveMailbox) -> Result<Mailbox, StoreError> {
        self.tell("save a mailbox", self.write_mailbox(&save).await)
    }

    async fn remove_mailbox(&self, id: MailboxId, actor: &str) -> Result<(), StoreError> {
        // What it holds goes with it; the messages stay.
        let change = sqlx::query("DELETE FROM mailboxes WHERE id = ?").bind(key(id.as_uuid()));
        let event = self.event(Subject::Mailbox(id), EventKind::MailboxRemoved).actor(actor);
        let operation = "remove a mailbox";
        self.tell(operation, self.change_mailbox(operation, id, change, event).await)
    }

    async fn mailbox(&self, id: MailboxId) -> Result<Option<Mailbox>, StoreError> {
        let work = async { find(&mut *self.readers.acquire().await?, id).await };
        self.tell("read a mailbox", work.await)
    }

    async fn mailboxes_by_address(&self, address: &EmailAddress) -> Result<Vec<Mailbox>, StoreError> {
        let work = async {
            let query = sqlx::query(select_mailboxes!("WHERE b.address_key = ? ORDER BY b.sequence"));
            query.bind(address.normalized()).fetch_all(&self.readers).await?.iter().map(mailbox).collect()
        };
        self.tell("find a mailbox by its address", work.await)
    }

    async fn mailboxes(&self) -> Result<Vec<Mailbox>, StoreError> {
        let work = async {
            let query = sqlx::query(select_mailboxes!("ORDER BY b.address_key, b.sequence"));
            query.fetch_all(&self.readers).await?.iter().map(mailbox).collect()
        };
        self.tell("list mailboxes", work.await)
    }

    async fn mailboxes_for(&self, viewer: &Viewer) -> Result<Vec<Mailbox>, StoreError> {
        let work = async {
            let query = sqlx::query(select_mailboxes!(
                "WHERE ",
                mailbox_is_visible!(),
                " ORDER BY b.address_key, b.sequence"
            ));
            for_viewer(query, viewer).fetch_all(&self.readers).await?.iter().map(mailbox).collect()
        };
        self.tell("list mailboxes", work.await)
    }

    async fn save_validation(
        &self,
        id: MailboxId,
        validation: &Validation,
        actor: &str,
    ) -> Result<(), StoreError> {
        let operation = "remember a validation";
        let work = async {
            let change = sqlx::query("UPDATE mailboxes SET validation = ? WHERE id = ?")
                .bind(to_json("mailboxes", validation)?)
                .bind(key(id.as_uuid()));
            let event = self.event(Subject::Mailbox(id), EventKind::MailboxValidated);
            self.change_mailbox(operation, id, change, event.actor(actor).words(&validation.words)).await
        };
        self.tell(operation, work.await)
    }

    async fn claim_mailboxes(
        &self,
        owner: &NodeId,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedMailbox>, StoreError> {
        let work = async {
            let mut transaction = self.begin().await?;
            let due = sqlx::query(DUE)
                .bind(micros(self.env.now()))
                .bind(limit)
                .fetch_all(&mut *transaction)
                .await?;
            let mut claimed = Vec::with_capacity(due.len());
            for row in &due {
                let id = Cells::new("mailboxes", row).id("id")?;
                claimed.extend(self.lease_mailbox(&mut transaction, id, owner, until).await?);
            }
            transaction.commit().await?;
            Ok(claimed)
        };
        self.tell("claim mailboxes", work.await)
    }

    async fn claim_mailbox(
        &self,
        id: MailboxId,
        owner: &NodeId,
        until: Timestamp,
    ) -> Result<Option<ClaimedMailbox>, StoreError> {
        let work = async {
            let mut transaction = self.begin().await?;
            let known: u64 = sqlx::query("SELECT 1 FROM mailboxes WHERE id = ?")
                .bind(key(id.as_uuid()))
                .fetch_all(&mut *transaction)
                .await?
                .len() as u64;
            one_row(known, "claim a mailbox", subject(id))?;
            let claimed = self.lease_mailbox(&mut transaction, id, owner, until).await?;
            transaction.commit().await?;
            Ok(claimed)
        };
        self.tell("claim a mailbox", work.await)
    }

    async fn finish_poll(&self, finish: PollFinish) -> Result<(), StoreError> {
        self.tell("finish a reading", self.write_poll_finish(&finish).await)
    }

    async fn next_mailbox_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let work = async {
            let due: Option<i64> = sqlx::query_scalar(NEXT_DUE).fetch_one(&self.readers).await?;
            Ok(due.map(|due| time("mailboxes", due)).transpose()?)
        };
        self.tell("ask when the next mailbox is due", work.await)
    }
}
