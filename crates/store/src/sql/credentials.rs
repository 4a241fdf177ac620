//! Credentials, each sealed under its own row.

use async_trait::async_trait;
use postroom_model::credential::Credential;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::{ConnectionId, CredentialId, SecretString, Timestamp};

use super::SqlStore;
use super::db::{Db, Row, query};
use super::events::append;
use super::fault::{Fault, one_row};
use super::rows::{Cells, key, micros, to_word};
use crate::seal::Place;
use crate::{CredentialStore, NewCredential, StoreError};

fn credential(row: &Row) -> Result<Credential, Fault> {
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

impl SqlStore {
    /// Stores a credential as the current one. The one before is retired, and its secret erased, and so is the former
    /// one: nothing asks for them any more.
    pub(super) async fn put_current(
        &self,
        db: &mut Db,
        connection: ConnectionId,
        new: &NewCredential,
        actor: &str,
    ) -> Result<(), Fault> {
        self.retire(db, connection, "current").await?;
        self.retire(db, connection, "former").await?;
        let stored = self.insert(db, connection, new, "current").await?;
        let event = self.event(Subject::Credential(stored.id), EventKind::CredentialStored);
        append(db, &event.actor(actor)).await
    }

    /// Retires what is in `state`, if anything is.
    pub(super) async fn retire(
        &self,
        db: &mut Db,
        connection: ConnectionId,
        state: &str,
    ) -> Result<(), Fault> {
        query("UPDATE credentials SET state = 'retired', sealed = NULL WHERE connection = $1 AND state = $2")
            .bind(key(connection.as_uuid()))
            .bind(state)
            .execute(db)
            .await?;
        Ok(())
    }

    async fn insert(
        &self,
        db: &mut Db,
        connection: ConnectionId,
        new: &NewCredential,
        state: &str,
    ) -> Result<Credential, Fault> {
        // The key file may have been made anew since this process opened the folder.
        super::open::compare_key(db, &self.sealer).await?;
        let id: CredentialId = self.env.new_id();
        let row = key(id.as_uuid());
        let sealed = self.sealer.seal(place(&row), &new.secret)?;
        let inserted = query(
            "INSERT INTO credentials (id, connection, kind, state, expires_at, key_id, created_at, sealed)
             SELECT $1, id, $3, $4, $5, $6, $7, $8 FROM connections WHERE id = $2 AND removed_at IS NULL
             RETURNING *",
        )
        .bind(row)
        .bind(key(connection.as_uuid()))
        .bind(to_word("credentials", &new.kind)?)
        .bind(state)
        .bind(new.expires_at.map(micros))
        .bind(&new.key_id)
        .bind(micros(self.env.now()))
        .bind(sealed)
        .fetch_optional(&mut *db)
        .await?;
        let Some(inserted) = inserted else {
            let subject = format!("connection {connection}");
            return Err(StoreError::Untouched { operation: "store a credential", subject }.into());
        };
        credential(&inserted)
    }

    async fn stage(
        &self,
        connection: ConnectionId,
        new: &NewCredential,
        actor: &str,
    ) -> Result<Credential, Fault> {
        let mut transaction = self.begin().await?;
        self.retire(&mut transaction, connection, "next").await?;
        let staged = self.insert(&mut transaction, connection, new, "next").await?;
        self.told(&mut transaction, staged.id, EventKind::CredentialStaged, actor).await?;
        transaction.commit().await?;
        Ok(staged)
    }

    async fn switch(&self, connection: ConnectionId, actor: &str) -> Result<Credential, Fault> {
        let mut transaction = self.begin().await?;
        let erased = self.in_state(&mut transaction, connection, "former").await?;
        self.retire(&mut transaction, connection, "former").await?;
        let before = self.move_to(&mut transaction, connection, "current", "former").await?;
        let Some(switched) = self.move_to(&mut transaction, connection, "next", "current").await? else {
            let subject = format!("the next credential of connection {connection}");
            return Err(StoreError::Untouched { operation: "switch the credential", subject }.into());
        };
        if let Some(erased) = erased {
            self.told(&mut transaction, erased.id, EventKind::CredentialRetired, actor).await?;
        }
        if let Some(before) = before {
            self.told(&mut transaction, before.id, EventKind::CredentialFormer, actor).await?;
        }
        self.told(&mut transaction, switched.id, EventKind::CredentialSwitched, actor).await?;
        transaction.commit().await?;
        Ok(switched)
    }

    async fn switch_back(&self, connection: ConnectionId, actor: &str) -> Result<Credential, Fault> {
        let mut transaction = self.begin().await?;
        let before = self.in_state(&mut transaction, connection, "current").await?;
        // Out of the way for a moment: no two are in one state.
        self.move_to(&mut transaction, connection, "current", "retired").await?;
        let Some(switched) = self.move_to(&mut transaction, connection, "former", "current").await? else {
            let subject = format!("the former credential of connection {connection}");
            return Err(StoreError::Untouched { operation: "switch the credential back", subject }.into());
        };
        if let Some(before) = before {
            query("UPDATE credentials SET state = 'former' WHERE id = $1")
                .bind(key(before.id.as_uuid()))
                .execute(&mut *transaction)
                .await?;
            self.told(&mut transaction, before.id, EventKind::CredentialFormer, actor).await?;
        }
        self.told(&mut transaction, switched.id, EventKind::CredentialSwitchedBack, actor).await?;
        transaction.commit().await?;
        Ok(switched)
    }

    /// The credential in this state, if there is one. For states in which there is one at most.
    async fn in_state(
        &self,
        db: &mut Db,
        connection: ConnectionId,
        state: &str,
    ) -> Result<Option<Credential>, Fault> {
        let row = query("SELECT * FROM credentials WHERE connection = $1 AND state = $2")
            .bind(key(connection.as_uuid()))
            .bind(state)
            .fetch_optional(db)
            .await?;
        row.as_ref().map(credential).transpose()
    }

    /// Moves the one in state `from`, if there is one, and leaves its secret.
    async fn move_to(
        &self,
        db: &mut Db,
        connection: ConnectionId,
        from: &str,
        to: &str,
    ) -> Result<Option<Credential>, Fault> {
        let row = query("UPDATE credentials SET state = $1 WHERE connection = $2 AND state = $3 RETURNING *")
            .bind(to)
            .bind(key(connection.as_uuid()))
            .bind(from)
            .fetch_optional(db)
            .await?;
        row.as_ref().map(credential).transpose()
    }

    async fn told(&self, db: &mut Db, id: CredentialId, kind: EventKind, actor: &str) -> Result<(), Fault> {
        let event: Event = self.event(Subject::Credential(id), kind);
        append(db, &event.actor(actor)).await
    }
}

#[async_trait]
impl CredentialStore for SqlStore {
    async fn credentials(&self, connection: ConnectionId) -> Result<Vec<Credential>, StoreError> {
        let work = async {
            let rows = query(
                "SELECT id, connection, kind, state, expires_at, key_id, created_at FROM credentials
                 WHERE connection = $1 ORDER BY sequence DESC",
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
            let row = query(
                "SELECT * FROM credentials WHERE connection = $1 AND state = 'current' AND sealed IS NOT NULL",
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

    async fn stage_credential(
        &self,
        connection: ConnectionId,
        credential: NewCredential,
        actor: &str,
    ) -> Result<Credential, StoreError> {
        self.write("stage a credential", || self.stage(connection, &credential, actor)).await
    }

    async fn switch_credential(
        &self,
        connection: ConnectionId,
        actor: &str,
    ) -> Result<Credential, StoreError> {
        self.write("switch the credential", || self.switch(connection, actor)).await
    }

    async fn switch_credential_back(
        &self,
        connection: ConnectionId,
        actor: &str,
    ) -> Result<Credential, StoreError> {
        self.write("switch the credential back", || self.switch_back(connection, actor)).await
    }

    async fn retire_credential(&self, id: CredentialId, actor: &str) -> Result<(), StoreError> {
        let work = || async {
            let mut transaction = self.begin().await?;
            let done = query(
                "UPDATE credentials SET state = 'retired', sealed = NULL
                 WHERE id = $1 AND state IN ('next', 'former')",
            )
            .bind(key(id.as_uuid()))
            .execute(&mut *transaction)
            .await?;
            one_row(done, "retire a credential", || format!("next or former credential {id}"))?;
            self.told(&mut transaction, id, EventKind::CredentialRetired, actor).await?;
            transaction.commit().await
        };
        self.write("retire a credential", work).await
    }

    async fn secret_of(&self, id: CredentialId) -> Result<Option<SecretString>, StoreError> {
        let work = async {
            let row = query("SELECT sealed FROM credentials WHERE id = $1 AND sealed IS NOT NULL")
                .bind(key(id.as_uuid()))
                .fetch_optional(&self.readers)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let sealed = Cells::new("credentials", &row).bytes("sealed")?.unwrap_or_default();
            Ok(Some(self.sealer.open(place(id.as_uuid().as_bytes()), &sealed)?))
        };
        self.tell("read a credential", work.await)
    }

    async fn learn_credential(
        &self,
        id: CredentialId,
        expires_at: Option<Timestamp>,
        key_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let work = || async {
            let mut transaction = self.begin().await?;
            let done = query(
                "UPDATE credentials SET expires_at = coalesce($2, expires_at), key_id = coalesce($3, key_id)
                 WHERE id = $1",
            )
            .bind(key(id.as_uuid()))
            .bind(expires_at.map(micros))
            .bind(key_id)
            .execute(&mut *transaction)
            .await?;
            one_row(done, "learn of a credential", || format!("credential {id}"))?;
            transaction.commit().await
        };
        self.write("learn of a credential", work).await
    }
}
