//! Mailboxes, and the claim to read one.

mod save;

use std::time::Duration;

use async_trait::async_trait;
use postroom_model::connection::ConnectionSettings;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::mailbox::{Availability, Mailbox, MailboxSettings, MailboxState, Validation};
use postroom_model::people::Viewer;
use postroom_model::{EmailAddress, MailboxId, PollingInterval, SecretString, Timestamp};

use super::db::{Db, Query, Row, query, query_scalar};
use super::dialect::Work;
use super::events::append;
use super::fault::{Fault, one_row, still_held};
use super::rows::{Cells, key, micros, time, to_json};
use super::visible::{for_viewer, mailbox_is_visible};
use super::{SqlStore, connections};
use crate::{
    ClaimedMailbox, FailingMailbox, Lease, MailboxStore, NodeId, PollFinish, PolledMailbox, SaveMailbox,
    StoreError,
};

/// Mailboxes with their types and availability beside them.
macro_rules! select_mailboxes {
    ($($rest:expr),*) => {
        concat!(
            "SELECT b.*, b.password IS NOT NULL AS has_password,
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
    "SELECT id FROM mailboxes WHERE claimable_at <= $1 ORDER BY claimable_at, sequence LIMIT $2";
pub(super) const NEXT_DUE: &str = "SELECT min(claimable_at) FROM mailboxes WHERE claimable_at IS NOT NULL";

/// Since when is told by the event with which it began.
const FAILING: &str = "SELECT b.id, b.connection, b.address, b.last_error,
        coalesce((SELECT max(e.at) FROM events e
                  WHERE e.subject_id = b.id AND e.subject_kind = 'mailbox' AND e.kind = $2),
                 b.last_success_at, b.begun_at) AS since
     FROM mailboxes b WHERE b.state = $1 AND b.removed_at IS NULL ORDER BY b.sequence";

/// How long a mailbox rests whose row cannot be read.
const SET_APART: Duration = Duration::from_secs(60 * 60);

fn mailbox(row: &Row) -> Result<Mailbox, Fault> {
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
            old_mail: cells.word("old_mail")?,
            after_processing: cells.word("after_processing")?,
        },
        address,
        has_password: cells.int("has_password")? == 1,
        begun_at: cells.time("begun_at")?,
        state: cells.word("state")?,
        last_error: cells.opt_text("last_error")?,
        failures: cells.count("failures")?,
        last_success_at: cells.opt_time("last_success_at")?,
        next_due_at: cells.opt_time("next_due_at")?,
        validation: cells.opt_json("validation")?,
        removed_at: cells.opt_time("removed_at")?,
    })
}

fn polled(row: &Row) -> Result<PolledMailbox, Fault> {
    let cells = Cells::new("mailboxes", row);
    Ok(PolledMailbox {
        id: cells.id("id")?,
        connection: cells.id("connection")?,
        revision: cells.int("revision")?,
        connection_revision: cells.int("connection_revision")?,
        credential: cells.bytes("credential")?.map(|_| cells.id("credential")).transpose()?,
    })
}

fn failing(row: &Row) -> Result<FailingMailbox, Fault> {
    let cells = Cells::new("mailboxes", row);
    Ok(FailingMailbox {
        id: cells.id("id")?,
        connection: cells.id("connection")?,
        address: cells.word("address")?,
        since: cells.time("since")?,
        error: cells.opt_text("last_error")?,
    })
}

/// The mailboxes of a list.
fn readable(rows: &[Row]) -> Result<Vec<Mailbox>, Fault> {
    readable_with(rows, mailbox)
}

/// What the rows say. One that contradicts itself is logged and left out: it must not hide the others.
fn readable_with<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let mut list = Vec::with_capacity(rows.len());
    for row in rows {
        match read(row) {
            Ok(mailbox) => list.push(mailbox),
            Err(Fault::Store(error @ StoreError::Contradiction { .. })) => {
                tracing::error!(%error, "a mailbox is left out of the list");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(list)
}

async fn find(db: &mut Db, id: MailboxId) -> Result<Option<Mailbox>, Fault> {
    let query = query(select_mailboxes!("WHERE b.id = $1 AND b.removed_at IS NULL")).bind(key(id.as_uuid()));
    query.fetch_optional(db).await?.as_ref().map(mailbox).transpose()
}

fn subject(id: MailboxId) -> impl FnOnce() -> String {
    move || format!("mailbox {id}")
}

impl SqlStore {
    /// Writes the lease of one mailbox that nobody holds; none when somebody does.
    async fn lease_mailbox(
        &self,
        db: &mut Db,
        id: MailboxId,
        owner: &NodeId,
        until: Timestamp,
    ) -> Result<Option<ClaimedMailbox>, Fault> {
        let leased = query(
            "UPDATE mailboxes SET lease_owner = $1, lease_until = $2, fence = fence + 1, woken = 0
             WHERE id = $3 AND removed_at IS NULL AND (lease_until IS NULL OR lease_until <= $4)
             RETURNING cursor, fence",
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

    /// Ends the lease of a mailbox whose row cannot be read, and says so at the mailbox: it must not hold up the others,
    /// nor be tried at every look.
    async fn set_apart(&self, db: &mut Db, id: MailboxId, reason: &StoreError) -> Result<(), Fault> {
        tracing::error!(mailbox = %id, error = %reason, "a mailbox is set apart");
        let now = self.env.now();
        let fails = MailboxState::Failing.as_str();
        let was: Option<String> = query_scalar("SELECT state FROM mailboxes WHERE id = $1")
            .bind(key(id.as_uuid()))
            .fetch_optional(&mut *db)
            .await?;
        query(
            "UPDATE mailboxes SET lease_owner = NULL, lease_until = NULL, state = $1, last_error = $2,
                 failures = failures + 1, next_due_at = $3 WHERE id = $4",
        )
        .bind(fails)
        .bind(reason.to_string())
        .bind(micros(now.saturating_add(SET_APART).unwrap_or(Timestamp::MAX)))
        .bind(key(id.as_uuid()))
        .execute(&mut *db)
        .await?;
        if was.as_deref() != Some(fails) {
            let event = self.event(Subject::Mailbox(id), EventKind::MailboxFailing);
            append(db, &event.words(reason.to_string())).await?;
        }
        Ok(())
    }

    /// When a mailbox is read next, where its settings were changed or it was woken during the reading: none while
    /// polling is off, and never none while it is on.
    async fn next_due(&self, db: &mut Db, finish: &PollFinish) -> Result<Option<Timestamp>, Fault> {
        let row = query(
            "SELECT b.id, b.polling_interval, b.woken, c.settings FROM mailboxes b JOIN connections c ON c.id = b.connection
             WHERE b.id = $1",
        )
        .bind(key(finish.mailbox.as_uuid()))
        .fetch_optional(db)
        .await?;
        let Some(row) = row else { return Ok(finish.next_due_at) };
        let cells = Cells::new("mailboxes", &row);
        let own = cells.word::<PollingInterval>("polling_interval");
        let (Ok(own), Ok(settings)) = (own, cells.json::<ConnectionSettings>("settings")) else {
            return Ok(finish.next_due_at); // the next claim says what is wrong with the row
        };
        let woken = cells.int("woken")? == 1 && finish.state == MailboxState::Running;
        Ok(own.resolve(settings.polling_interval).map(|interval| match finish.next_due_at {
            _ if woken => self.env.now(),
            Some(due) => due,
            None => self.env.now().saturating_add(interval).unwrap_or(Timestamp::MAX),
        }))
    }

    async fn write_poll_finish(&self, finish: &PollFinish) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let next_due_at = self.next_due(&mut transaction, finish).await?;
        let success = (finish.state == MailboxState::Running).then(|| micros(self.env.now()));
        let touched = query(
            "UPDATE mailboxes SET lease_owner = NULL, lease_until = NULL, state = $1, last_error = $2, failures = $3,
                 next_due_at = $4, last_success_at = coalesce($5, last_success_at)
             WHERE id = $6 AND lease_owner = $7 AND fence = $8",
        )
        .bind(finish.state.as_str())
        .bind(&finish.error)
        .bind(finish.failures)
        .bind(next_due_at.map(micros))
        .bind(success)
        .bind(key(finish.mailbox.as_uuid()))
        .bind(finish.lease.owner.as_str())
        .bind(finish.lease.fence)
        .execute(&mut *transaction)
        .await?;
        still_held(touched, "finish a reading", subject(finish.mailbox))?;
        for event in &finish.events {
            append(&mut transaction, event).await?;
        }
        transaction.commit().await
    }

    /// One change of one mailbox and its event.
    async fn change_mailbox(
        &self,
        operation: &'static str,
        id: MailboxId,
        change: Query,
        event: Event,
    ) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let touched = change.execute(&mut *transaction).await?;
        one_row(touched, operation, subject(id))?;
        append(&mut transaction, &event).await?;
        transaction.commit().await
    }
}

#[async_trait]
impl MailboxStore for SqlStore {
    async fn save_mailbox(&self, save: SaveMailbox) -> Result<Mailbox, StoreError> {
        self.write("save a mailbox", || self.write_mailbox(&save)).await
    }

    async fn remove_mailbox(&self, id: MailboxId, actor: &str) -> Result<(), StoreError> {
        self.write("remove a mailbox", || self.retire_mailbox(id, actor)).await
    }

    async fn mailbox_password(&self, id: MailboxId) -> Result<Option<SecretString>, StoreError> {
        self.tell("read a mailbox's password", self.open_password(id).await)
    }

    async fn mailbox(&self, id: MailboxId) -> Result<Option<Mailbox>, StoreError> {
        let work = async { find(&mut self.readers.acquire().await?, id).await };
        self.tell("read a mailbox", work.await)
    }

    async fn mailboxes_by_address(&self, address: &EmailAddress) -> Result<Vec<Mailbox>, StoreError> {
        let work = async {
            let query = query(select_mailboxes!("WHERE b.address_key = $1 ORDER BY b.sequence"));
            query.bind(address.normalized()).fetch_all(&self.readers).await?.iter().map(mailbox).collect()
        };
        self.tell("find a mailbox by its address", work.await)
    }

    async fn mailboxes(&self) -> Result<Vec<Mailbox>, StoreError> {
        let work = async {
            let query =
                query(select_mailboxes!("WHERE b.removed_at IS NULL ORDER BY b.address_key, b.sequence"));
            readable(&query.fetch_all(&self.readers).await?)
        };
        self.tell("list mailboxes", work.await)
    }

    async fn mailboxes_for(&self, viewer: &Viewer) -> Result<Vec<Mailbox>, StoreError> {
        let work = async {
            let query = query(select_mailboxes!(
                "WHERE ",
                mailbox_is_visible!(),
                " ORDER BY b.address_key, b.sequence"
            ));
            readable(&for_viewer(query, viewer).fetch_all(&self.readers).await?)
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
        let work = || async {
            let change = query("UPDATE mailboxes SET validation = $1 WHERE id = $2 AND removed_at IS NULL")
                .bind(to_json("mailboxes", validation)?)
                .bind(key(id.as_uuid()));
            let event = self.event(Subject::Mailbox(id), EventKind::MailboxValidated);
            self.change_mailbox(operation, id, change, event.actor(actor).words(&validation.words)).await
        };
        self.write(operation, work).await
    }

    async fn claim_mailboxes(
        &self,
        owner: &NodeId,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedMailbox>, StoreError> {
        let work = || async {
            let mut transaction = self.begin_to(Work::ClaimMailboxes).await?;
            let due =
                query(DUE).bind(micros(self.env.now())).bind(limit).fetch_all(&mut *transaction).await?;
            let mut claimed = Vec::with_capacity(due.len());
            for row in &due {
                let id = Cells::new("mailboxes", row).id("id")?;
                match self.lease_mailbox(&mut transaction, id, owner, until).await {
                    Ok(one) => claimed.extend(one),
                    Err(Fault::Store(error @ StoreError::Contradiction { .. })) => {
                        self.set_apart(&mut transaction, id, &error).await?;
                    }
                    Err(fault) => return Err(fault),
                }
            }
            transaction.commit().await?;
            Ok(claimed)
        };
        self.write("claim mailboxes", work).await
    }

    async fn claim_mailbox(
        &self,
        id: MailboxId,
        owner: &NodeId,
        until: Timestamp,
    ) -> Result<Option<ClaimedMailbox>, StoreError> {
        let work = || async {
            let mut transaction = self.begin_to(Work::ClaimMailboxes).await?;
            let known: u64 = query("SELECT 1 FROM mailboxes WHERE id = $1 AND removed_at IS NULL")
                .bind(key(id.as_uuid()))
                .fetch_all(&mut *transaction)
                .await?
                .len() as u64;
            one_row(known, "claim a mailbox", subject(id))?;
            let claimed = self.lease_mailbox(&mut transaction, id, owner, until).await;
            if let Err(Fault::Store(error @ StoreError::Contradiction { .. })) = &claimed {
                self.set_apart(&mut transaction, id, error).await?;
            }
            transaction.commit().await?;
            claimed
        };
        self.write("claim a mailbox", work).await
    }

    async fn finish_poll(&self, finish: PollFinish) -> Result<(), StoreError> {
        self.write("finish a reading", || self.write_poll_finish(&finish)).await
    }

    async fn wake_mailbox(&self, id: MailboxId) -> Result<(), StoreError> {
        let work = || async {
            let mut transaction = self.begin().await?;
            query(
                "UPDATE mailboxes SET woken = 1, next_due_at = 
                     CASE WHEN state = $1 OR next_due_at < $2 THEN next_due_at ELSE $2 END
                 WHERE id = $3 AND removed_at IS NULL AND woken = 0 AND next_due_at IS NOT NULL",
            )
            .bind(MailboxState::Failing.as_str())
            .bind(micros(self.env.now()))
            .bind(key(id.as_uuid()))
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await
        };
        self.write("wake a mailbox", work).await
    }

    async fn polled_mailboxes(&self) -> Result<Vec<PolledMailbox>, StoreError> {
        let work = async {
            let rows = query(
                "SELECT b.id, b.connection, b.revision, c.revision AS connection_revision,
                     (SELECT id FROM credentials WHERE connection = c.id AND state = 'current') AS credential
                 FROM mailboxes b JOIN connections c ON c.id = b.connection
                 WHERE b.removed_at IS NULL AND b.next_due_at IS NOT NULL ORDER BY b.sequence",
            )
            .fetch_all(&self.readers)
            .await?;
            rows.iter().map(polled).collect()
        };
        self.tell("list what is polled", work.await)
    }

    async fn failing_mailboxes(&self) -> Result<Vec<FailingMailbox>, StoreError> {
        let work = async {
            let rows = query(FAILING)
                .bind(MailboxState::Failing.as_str())
                .bind(EventKind::MailboxFailing.as_str())
                .fetch_all(&self.readers)
                .await?;
            readable_with(&rows, failing)
        };
        self.tell("list failing mailboxes", work.await)
    }

    async fn next_mailbox_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let work = async {
            let due: Option<i64> = query_scalar(NEXT_DUE).fetch_one(&self.readers).await?;
            Ok(due.map(|due| time("mailboxes", due)).transpose()?)
        };
        self.tell("ask when the next mailbox is due", work.await)
    }
}
