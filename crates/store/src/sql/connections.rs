//! Connections and the outgoing settings.

use async_trait::async_trait;
use postroom_model::connection::{Connection, ExchangeApi, OutgoingSettings};
use postroom_model::event::{EventKind, Subject};
use postroom_model::{ConnectionId, PollingInterval, Timestamp};

use super::SqlStore;
use super::db::{Cell as _, Db, Row, query, query_scalar};
use super::events::append;
use super::fault::{Fault, one_row};
use super::rows::{Cells, key, micros, to_json};
use super::switch;
use crate::{ConnectionStore, InterfaceSwitch, SaveConnection, StoreError};

pub(super) fn connection(row: &Row) -> Result<Connection, Fault> {
    let cells = Cells::new("connections", row);
    Ok(Connection {
        id: cells.id("id")?,
        settings: cells.json("settings")?,
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
    })
}

/// One connection, read where the caller is.
pub(super) async fn find(db: &mut Db, id: ConnectionId) -> Result<Option<Connection>, Fault> {
    let row = query("SELECT * FROM connections WHERE id = $1 AND removed_at IS NULL")
        .bind(key(id.as_uuid()))
        .fetch_optional(db)
        .await?;
    row.as_ref().map(connection).transpose()
}

impl SqlStore {
    async fn write_connection(&self, save: &SaveConnection) -> Result<Connection, Fault> {
        let now = micros(self.env.now());
        let mut transaction = self.begin().await?;
        let before = find(&mut transaction, save.id).await?;
        let row = query(
            "INSERT INTO connections (id, settings, created_at, updated_at) VALUES ($1, $2, $3, $3)
             ON CONFLICT (id) DO UPDATE SET settings = excluded.settings, updated_at = excluded.updated_at,
                 revision = connections.revision + 1
                 WHERE connections.removed_at IS NULL
             RETURNING *",
        )
        .bind(key(save.id.as_uuid()))
        .bind(to_json("connections", &save.settings)?)
        .bind(now)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or_else(|| StoreError::Untouched {
            operation: "save a connection",
            subject: format!("connection {}", save.id),
        })?;
        let saved = connection(&row)?;
        if let Some(before) = &before {
            self.carry_over(&mut transaction, save.id, &before.settings, &saved.settings).await?;
        }
        let interval = saved.settings.polling_interval;
        if before.as_ref().is_some_and(|before| !saved.settings.may_keep_secret_of(&before.settings)) {
            self.forget_secrets(&mut transaction, save.id).await?;
        }
        if before.is_some_and(|before| before.settings.polling_interval != interval) {
            self.pace_mailboxes(&mut transaction, save.id, interval).await?;
        }
        let event = self.event(Subject::Connection(save.id), EventKind::ConnectionSaved);
        append(&mut transaction, &event.actor(&save.actor)).await?;
        if let Some(new) = &save.credential {
            self.put_current(&mut transaction, save.id, new, &save.actor).await?;
        }
        transaction.commit().await?;
        Ok(saved)
    }

    /// The secrets were entered for another server, another cloud or a protected line. What the caller stores with the
    /// new settings comes after this.
    async fn forget_secrets(&self, db: &mut Db, id: ConnectionId) -> Result<(), Fault> {
        self.retire(&mut *db, id, "current").await?;
        self.retire(&mut *db, id, "next").await?;
        self.retire(&mut *db, id, "former").await?;
        query("UPDATE mailboxes SET password = NULL WHERE connection = $1 AND password IS NOT NULL")
            .bind(key(id.as_uuid()))
            .execute(db)
            .await?;
        Ok(())
    }

    /// Another polling interval of the connection, for its mailboxes that have none of their own: off ends their due
    /// time, on again makes them due now, and shorter makes them due no later than the new interval from now.
    async fn pace_mailboxes(
        &self,
        db: &mut Db,
        id: ConnectionId,
        interval: PollingInterval,
    ) -> Result<(), Fault> {
        let now = self.env.now();
        let latest = interval
            .resolve(PollingInterval::Default)
            .map(|interval| micros(now.saturating_add(interval).unwrap_or(Timestamp::MAX)));
        query(
            "UPDATE mailboxes SET next_due_at =
                 CASE WHEN $2 IS NULL THEN NULL WHEN coalesce(next_due_at, $1) < $2 THEN coalesce(next_due_at, $1)
                      ELSE $2 END
             WHERE connection = $3 AND polling_interval = $4 AND removed_at IS NULL",
        )
        .bind(micros(now))
        .bind(latest)
        .bind(key(id.as_uuid()))
        .bind(String::from(PollingInterval::Default))
        .execute(db)
        .await?;
        Ok(())
    }

    async fn delete_connection(&self, id: ConnectionId, actor: &str) -> Result<(), Fault> {
        let row = key(id.as_uuid());
        let mut transaction = self.begin().await?;
        let used = query(
            "SELECT EXISTS (SELECT 1 FROM mailboxes WHERE connection = $1 AND removed_at IS NULL),
                    EXISTS (SELECT 1 FROM mailboxes WHERE connection = $1 AND removed_at IS NOT NULL),
                    EXISTS (SELECT 1 FROM outbox WHERE connection = $1
                            AND state NOT IN ('sent', 'failed', 'cancelled'))",
        )
        .bind(&row)
        .fetch_one(&mut *transaction)
        .await?;
        let used = |place: usize| bool::read(&used, place);
        let (mailboxes, removed, messages) = (used(0)?, used(1)?, used(2)?);
        if mailboxes || messages {
            let by = if mailboxes { "a mailbox" } else { "a message still to be sent" };
            return Err(StoreError::InUse { what: format!("connection {id}"), by }.into());
        }
        // The row stays for removed mailboxes, whose mail stays and whose passwords went with them; its credentials go in
        // either case.
        let gone = if removed {
            query("DELETE FROM credentials WHERE connection = $1")
                .bind(&row)
                .execute(&mut *transaction)
                .await?;
            query("UPDATE connections SET removed_at = $1 WHERE id = $2 AND removed_at IS NULL")
                .bind(micros(self.env.now()))
        } else {
            query("DELETE FROM connections WHERE id = $1")
        };
        let gone = gone.bind(&row).execute(&mut *transaction).await?;
        one_row(gone, "remove a connection", || format!("connection {id}"))?;
        if outgoing(&mut transaction).await?.is_some_and(|settings| settings.connection == Some(id)) {
            query("DELETE FROM house WHERE name = 'outgoing'").execute(&mut *transaction).await?;
        }
        let event = self.event(Subject::Connection(id), EventKind::ConnectionRemoved);
        append(&mut transaction, &event.actor(actor)).await?;
        transaction.commit().await
    }
}

async fn outgoing(db: &mut Db) -> Result<Option<OutgoingSettings>, Fault> {
    let stored: Option<Vec<u8>> =
        query_scalar("SELECT value FROM house WHERE name = 'outgoing'").fetch_optional(db).await?;
    let read = |stored: Vec<u8>| {
        serde_json::from_slice(&stored).map_err(|error| StoreError::Contradiction {
            table: "house",
            row: "outgoing".to_owned(),
            what: error.to_string(),
        })
    };
    Ok(stored.map(read).transpose()?)
}

#[async_trait]
impl ConnectionStore for SqlStore {
    async fn save_connection(&self, save: SaveConnection) -> Result<Connection, StoreError> {
        self.write("save a connection", || self.write_connection(&save)).await
    }

    async fn plan_interface_switch(&self, id: ConnectionId) -> Result<InterfaceSwitch, StoreError> {
        let work = async { switch::plan(&mut self.readers.acquire().await?, id).await };
        self.tell("plan the switch of an interface", work.await)
    }

    async fn switch_interface(
        &self,
        id: ConnectionId,
        to: ExchangeApi,
        actor: &str,
    ) -> Result<InterfaceSwitch, StoreError> {
        self.write(switch::OPERATION, || self.write_switch(id, to, actor)).await
    }

    async fn remove_connection(&self, id: ConnectionId, actor: &str) -> Result<(), StoreError> {
        self.write("remove a connection", || self.delete_connection(id, actor)).await
    }

    async fn connection(&self, id: ConnectionId) -> Result<Option<Connection>, StoreError> {
        let work = async { find(&mut self.readers.acquire().await?, id).await };
        self.tell("read a connection", work.await)
    }

    async fn connections(&self) -> Result<Vec<Connection>, StoreError> {
        let work = async {
            let rows = query("SELECT * FROM connections WHERE removed_at IS NULL ORDER BY sequence")
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(connection).collect()
        };
        self.tell("list connections", work.await)
    }

    async fn outgoing_settings(&self) -> Result<Option<OutgoingSettings>, StoreError> {
        let work = async { outgoing(&mut self.readers.acquire().await?).await };
        self.tell("read the outgoing settings", work.await)
    }

    async fn save_outgoing_settings(
        &self,
        settings: &OutgoingSettings,
        actor: &str,
    ) -> Result<(), StoreError> {
        let work = || async {
            let mut transaction = self.begin().await?;
            query(
                "INSERT INTO house (name, value) VALUES ('outgoing', $1)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )
            .bind(to_json("house", settings)?.into_bytes())
            .execute(&mut *transaction)
            .await?;
            // The settings have no id of their own: their event is told of the connection they name.
            if let Some(connection) = settings.connection {
                let event = self.event(Subject::Connection(connection), EventKind::ConnectionSaved);
                let event = event
                    .actor(actor)
                    .words(format!("used for outgoing e-mail: {}", settings.method.as_str()));
                append(&mut transaction, &event).await?;
            }
            transaction.commit().await
        };
        self.write("save the outgoing settings", work).await
    }
}
