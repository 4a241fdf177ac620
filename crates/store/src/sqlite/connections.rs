//! Connections, their credentials, and the outgoing settings.

use async_trait::async_trait;
use postroom_model::connection::{Connection, OutgoingSettings};
use postroom_model::credential::Credential;
use postroom_model::event::{EventKind, Subject};
use postroom_model::{ConnectionId, CredentialId, SecretString};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::events::append;
use super::fault::{Fault, one_row};
use super::rows::{Cells, key, micros, to_json, to_word};
use crate::seal::Place;
use crate::{ConnectionStore, NewCredential, SaveConnection, StoreError};

pub(super) fn connection(row: &SqliteRow) -> Result<Connection, Fault> {
    let cells = Cells::new("connections", row);
    Ok(Connection {
        id: cells.id("id")?,
        settings: cells.json("settings")?,
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
    })
}

fn credential(row: &SqliteRow) -> Result<Credential, Fault> {
    let cells = Cells::new("credentials", row);
    Ok(Credential {
        id: cells.id("id")?,
        connection: cells.id("connection")?,
        kind: cells.word("kind")?,
        state: cells.word("state")?,
        expires_at: cells.opt_time("expires_at")?,
        key_id: cells.opt_text("key_id")?,
        created_at: cells.time("created_at")?,
    })
}

fn place(row: &[u8]) -> Place<'_> {
    Place { table: "credentials", column: "sealed", row }
}

/// One connection, read where the caller is.
pub(super) async fn find(db: &mut SqliteConnection, id: ConnectionId) -> Result<Option<Connection>, Fault> {
    let row = sqlx::query("SELECT * FROM connections WHERE id = ?")
        .bind(key(id.as_uuid()))
        .fetch_optional(db)
        .await?;
    row.as_ref().map(connection).transpose()
}

impl SqliteStore {
    async fn write_connection(&self, save: &SaveConnection) -> Result<Connection, Fault> {
        let now = micros(self.env.now());
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "INSERT INTO connections (id, settings, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)
             ON CONFLICT (id) DO UPDATE SET settings = excluded.settings, updated_at = excluded.updated_at
             RETURNING *",
        )
        .bind(key(save.id.as_uuid()))
        .bind(to_json("connections", &save.settings)?)
        .bind(now)
        .fetch_one(&mut *transaction)
        .await?;
        let saved = connection(&row)?;
        let event = self.event(Subject::Connection(save.id), EventKind::ConnectionSaved);
        append(&mut transaction, &event.actor(&save.actor)).await?;
        if let Some(new) = &save.credential {
            self.write_credential(&mut transaction, save, new).await?;
        }
        transaction.commit().await?;
        Ok(saved)
    }

    /// The credential before is retired, and its secret erased: nothing asks for it any more.
    async fn write_credential(
        &self,
        db: &mut SqliteConnection,
        save: &SaveConnection,
        new: &NewCredential,
    ) -> Result<(), Fault> {
        // The key file may have been made anew since this process opened the folder.
        super::open::compare_key(db, &self.sealer).await?;
        let id: CredentialId = self.env.new_id();
        let row = key(id.as_uuid());
        let sealed = self.sealer.seal(place(&row), &new.secret)?;
        sqlx::query(
            "UPDATE credentials SET state = 'retired', sealed = NULL WHERE connection = ? AND state = 'current'",
        )
        .bind(key(save.id.as_uuid()))
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "INSERT INTO credentials (id, connection, kind, state, expires_at, key_id, created_at, sealed)
             VALUES (?, ?, ?, 'current', ?, ?, ?, ?)",
        )
        .bind(row)
        .bind(key(save.id.as_uuid()))
        .bind(to_word("credentials", &new.kind)?)
        .bind(new.expires_at.map(micros))
        .bind(&new.key_id)
        .bind(micros(self.env.now()))
        .bind(sealed)
        .execute(&mut *db)
        .await?;
        let event = self.event(Subject::Credential(id), EventKind::CredentialStored);
        append(db, &event.actor(&save.actor)).await
    }

    async fn delete_connection(&self, id: ConnectionId, actor: &str) -> Result<(), Fault> {
        let row = key(id.as_uuid());
        let mut transaction = self.begin().await?;
        let (mailboxes, messages): (bool, bool) = sqlx::query_as(
            "SELECT EXISTS (SELECT 1 FROM mailboxes WHERE connection = ?1),
                    EXISTS (SELECT 1 FROM outbox WHERE connection = ?1
                            AND state NOT IN ('sent', 'failed', 'cancelled'))",
        )
        .bind(&row)
        .fetch_one(&mut *transaction)
        .await?;
        if mailboxes || messages {
            let user = if mailboxes { "a mailbox" } else { "a message still to be sent" };
            return Err(StoreError::Taken { what: format!("{user} that needs connection {id}") }.into());
        }
        let gone = sqlx::query("DELETE FROM connections WHERE id = ?")
            .bind(&row)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        one_row(gone, "remove a connection", || format!("connection {id}"))?;
        if outgoing(&mut transaction).await?.is_some_and(|settings| settings.connection == Some(id)) {
            sqlx::query("DELETE FROM house WHERE name = 'outgoing'").execute(&mut *transaction).await?;
        }
        let event = self.event(Subject::Connection(id), EventKind::ConnectionRemoved);
        append(&mut transaction, &event.actor(actor)).await?;
        Ok(transaction.commit().await?)
    }
}

async fn outgoing(db: &mut SqliteConnection) -> Result<Option<OutgoingSettings>, Fault> {
    let stored: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT value FROM house WHERE name = 'outgoing'").fetch_optional(db).await?;
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
impl ConnectionStore for SqliteStore {
    async fn save_connection(&self, save: SaveConnection) -> Result<Connection, StoreError> {
        self.tell("save a connection", self.write_connection(&save).await)
    }

    async fn remove_connection(&self, id: ConnectionId, actor: &str) -> Result<(), StoreError> {
        self.tell("remove a connection", self.delete_connection(id, actor).await)
    }

    async fn connection(&self, id: ConnectionId) -> Result<Option<Connection>, StoreError> {
        let work = async { find(&mut *self.readers.acquire().await?, id).await };
        self.tell("read a connection", work.await)
    }

    async fn connections(&self) -> Result<Vec<Connection>, StoreError> {
        let work = async {
            let rows =
                sqlx::query("SELECT * FROM connections ORDER BY sequence").fetch_all(&self.readers).await?;
            rows.iter().map(connection).collect()
        };
        self.tell("list connections", work.await)
    }

    async fn credentials(&self, connection: ConnectionId) -> Result<Vec<Credential>, StoreError> {
        let work = async {
            let rows = sqlx::query(
                "SELECT id, connection, kind, state, expires_at, key_id, created_at FROM credentials
                 WHERE connection = ? ORDER BY sequence DESC",
            )
            .bind(key(connection.as_uuid()))
            .fetch_all(&self.readers)
            .await?;
            rows.iter().map(credential).collect()
        };
        self.tell("list credentials", work.await)
    }

    async fn credential_secret(
        &self,
        connection: ConnectionId,
    ) -> Result<Option<(Credential, SecretString)>, StoreError> {
        let work = async {
            let row = sqlx::query(
                "SELECT * FROM credentials WHERE connection = ? AND state = 'current' AND sealed IS NOT NULL",
            )
            .bind(key(connection.as_uuid()))
            .fetch_optional(&self.readers)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let credential = credential(&row)?;
            let sealed = Cells::new("credentials", &row).bytes("sealed")?.unwrap_or_default();
            let secret = self.sealer.open(place(credential.id.as_uuid().as_bytes()), &sealed)?;
            Ok(Some((credential, secret)))
        };
        self.tell("read a credential", work.await)
    }

    async fn outgoing_settings(&self) -> Result<Option<OutgoingSettings>, StoreError> {
        let work = async { outgoing(&mut *self.readers.acquire().await?).await };
        self.tell("read the outgoing settings", work.await)
    }

    async fn save_outgoing_settings(
        &self,
        settings: &OutgoingSettings,
        actor: &str,
    ) -> Result<(), StoreError> {
        let work = async {
            let mut transaction = self.begin().await?;
            sqlx::query(
                "INSERT INTO house (name, value) VALUES ('outgoing', ?)
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
            Ok(transaction.commit().await?)
        };
        self.tell("save the outgoing settings", work.await)
    }
}
