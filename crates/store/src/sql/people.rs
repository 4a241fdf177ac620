//! Users, groups, sessions, API keys.

use async_trait::async_trait;
use postroom_model::event::{EventKind, Subject};
use postroom_model::people::{ApiKey, Group, Role, User};
use postroom_model::{ApiKeyId, EmailAddress, UserId};

use super::SqlStore;
use super::db::{Cell as _, Db, Row, query, query_scalar};
use super::events::append;
use super::fault::{Fault, one_row};
use super::rows::{Cells, hex_list, key, micros, text_list};
use crate::{NewUser, PeopleStore, Session, StoreError};

/// Users with their roles and groups beside them.
macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT u.*,
                (SELECT json_group_array(role) FROM user_roles WHERE \"user\" = u.id) AS roles,
                (SELECT json_group_array(hex(\"group\")) FROM user_groups WHERE \"user\" = u.id) AS groups
             FROM users u ",
            $rest
        )
    };
}

fn user(row: &Row) -> Result<User, Fault> {
    let cells = Cells::new("users", row);
    let address = cells.opt_text("address")?;
    Ok(User {
        id: cells.id("id")?,
        name: cells.text("name")?,
        display_name: cells.text("display_name")?,
        address: address.map(|text| cells.word_of::<EmailAddress>("address", text)).transpose()?,
        roles: cells.json("roles")?,
        groups: cells.id_list("groups")?,
    })
}

fn api_key(row: &Row) -> Result<ApiKey, Fault> {
    let cells = Cells::new("api_keys", row);
    Ok(ApiKey {
        id: cells.id("id")?,
        name: cells.text("name")?,
        created_at: cells.time("created_at")?,
        revoked_at: cells.opt_time("revoked_at")?,
    })
}

async fn write_memberships(db: &mut Db, new: &NewUser) -> Result<(), Fault> {
    let id = key(new.id.as_uuid());
    for clear in ["DELETE FROM user_roles WHERE \"user\" = $1", "DELETE FROM user_groups WHERE \"user\" = $1"]
    {
        query(clear).bind(&id).execute(&mut *db).await?;
    }
    query(
        "INSERT INTO user_roles (\"user\", role) SELECT $1, value FROM json_each($2) WHERE true
         ON CONFLICT (\"user\", role) DO NOTHING",
    )
    .bind(&id)
    .bind(text_list(new.roles.iter().map(|role| role.as_str())))
    .execute(&mut *db)
    .await?;
    query(
        "INSERT INTO user_groups (\"user\", \"group\") SELECT $1, unhex(value) FROM json_each($2) WHERE true
         ON CONFLICT (\"user\", \"group\") DO NOTHING",
    )
    .bind(&id)
    .bind(hex_list(new.groups.iter().map(|group| group.as_uuid())))
    .execute(db)
    .await?;
    Ok(())
}

async fn end_sessions(db: &mut Db, user: UserId) -> Result<(), Fault> {
    query("DELETE FROM sessions WHERE \"user\" = $1").bind(key(user.as_uuid())).execute(db).await?;
    Ok(())
}

/// Refuses the name of a removed user: what was done under it stays that user's.
async fn refuse_kept_name(db: &mut Db, new: &NewUser) -> Result<(), Fault> {
    let kept: bool = query_scalar(
        "SELECT EXISTS (SELECT 1 FROM users WHERE name = $1 AND id <> $2 AND removed_at IS NOT NULL)",
    )
    .bind(&new.name)
    .bind(key(new.id.as_uuid()))
    .fetch_one(db)
    .await?;
    if kept {
        let what = format!("the user {} (removed; the name stays with what was done under it)", new.name);
        return Err(StoreError::Taken { what }.into());
    }
    Ok(())
}

/// Refuses to take the last administrator away: nobody could change settings any more.
async fn refuse_last_administrator(db: &mut Db, id: UserId) -> Result<(), Fault> {
    let row = query(
        "SELECT EXISTS (SELECT 1 FROM user_roles WHERE role = $2 AND \"user\" = $1),
                EXISTS (SELECT 1 FROM user_roles r JOIN users u ON u.id = r.\"user\"
                        WHERE r.role = $2 AND r.\"user\" <> $1 AND u.removed_at IS NULL)",
    )
    .bind(key(id.as_uuid()))
    .bind(Role::Administrator.as_str())
    .fetch_one(db)
    .await?;
    if bool::read(&row, 0)? && !bool::read(&row, 1)? {
        let what = "the last administrator cannot be removed".to_owned();
        return Err(
            StoreError::Refused { what, hint: "give another user the role administrator first" }.into()
        );
    }
    Ok(())
}

impl SqlStore {
    async fn write_removed_user(&self, id: UserId, actor: &str) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        refuse_last_administrator(&mut transaction, id).await?;
        let touched = query(
            "UPDATE users SET removed_at = $1, password_hash = NULL WHERE id = $2 AND removed_at IS NULL",
        )
        .bind(micros(self.env.now()))
        .bind(key(id.as_uuid()))
        .execute(&mut *transaction)
        .await?;
        one_row(touched, "remove a user", || format!("user {id}"))?;
        end_sessions(&mut transaction, id).await?;
        let event = self.event(Subject::User(id), EventKind::UserRemoved);
        append(&mut transaction, &event.actor(actor)).await?;
        transaction.commit().await
    }

    async fn write_user(&self, new: &NewUser) -> Result<User, Fault> {
        let mut transaction = self.begin().await?;
        refuse_kept_name(&mut transaction, new).await?;
        let touched = query(
            "INSERT INTO users (id, name, display_name, address, password_hash) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, display_name = excluded.display_name,
                 address = excluded.address, password_hash = coalesce(excluded.password_hash, users.password_hash)
                 WHERE users.removed_at IS NULL",
        )
        .bind(key(new.id.as_uuid()))
        .bind(&new.name)
        .bind(&new.display_name)
        .bind(new.address.as_ref().map(EmailAddress::as_str))
        .bind(&new.password_hash)
        .execute(&mut *transaction)
        .await
        .map_err(|error| Fault::or_taken(error, || format!("the user {}", new.name)))?
        ;
        one_row(touched, "save a user", || format!("user {}", new.id))?;
        if new.password_hash.is_some() {
            end_sessions(&mut transaction, new.id).await?;
        }
        write_memberships(&mut transaction, new).await?;
        let event = self.event(Subject::User(new.id), EventKind::UserSaved);
        append(&mut transaction, &event.actor(&new.actor)).await?;
        let row = query(select_users!("WHERE u.id = $1 AND u.removed_at IS NULL"))
            .bind(key(new.id.as_uuid()))
            .fetch_one(&mut *transaction)
            .await?;
        let saved = user(&row)?;
        transaction.commit().await?;
        Ok(saved)
    }
}

#[async_trait]
impl PeopleStore for SqlStore {
    async fn save_user(&self, new: NewUser) -> Result<User, StoreError> {
        self.write("save a user", || self.write_user(&new)).await
    }

    async fn remove_user(&self, id: UserId, actor: &str) -> Result<(), StoreError> {
        self.write("remove a user", || self.write_removed_user(id, actor)).await
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        let work = async {
            let rows = query(select_users!("WHERE u.removed_at IS NULL ORDER BY u.name"))
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(user).collect()
        };
        self.tell("list users", work.await)
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let work = async {
            let query =
                query(select_users!("WHERE u.id = $1 AND u.removed_at IS NULL")).bind(key(id.as_uuid()));
            query.fetch_optional(&self.readers).await?.as_ref().map(user).transpose()
        };
        self.tell("read a user", work.await)
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<(User, Option<String>)>, StoreError> {
        let work = async {
            let query = query(select_users!("WHERE u.name = $1 AND u.removed_at IS NULL")).bind(name);
            let Some(row) = query.fetch_optional(&self.readers).await? else { return Ok(None) };
            Ok(Some((user(&row)?, Cells::new("users", &row).opt_text("password_hash")?)))
        };
        self.tell("read a user", work.await)
    }

    async fn save_group(&self, group: &Group) -> Result<(), StoreError> {
        group.validate().into_result().map_err(StoreError::Invalid)?;
        let work = || async {
            let mut transaction = self.begin().await?;
            query(
                "INSERT INTO people_groups (id, name) VALUES ($1, $2)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            )
            .bind(key(group.id.as_uuid()))
            .bind(&group.name)
            .execute(&mut *transaction)
            .await
            .map_err(|error| Fault::or_taken(error, || format!("the group {}", group.name)))?;
            transaction.commit().await
        };
        self.write("save a group", work).await
    }

    async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        let work = async {
            let rows = query("SELECT * FROM people_groups ORDER BY name").fetch_all(&self.readers).await?;
            let group = |row| {
                let cells = Cells::new("people_groups", row);
                Ok(Group { id: cells.id("id")?, name: cells.text("name")? })
            };
            rows.iter().map(group).collect()
        };
        self.tell("list groups", work.await)
    }

    async fn save_session(&self, session: &Session) -> Result<(), StoreError> {
        let work = || async {
            let mut transaction = self.begin().await?;
            // Sessions that have ended are swept by whoever signs in next.
            query("DELETE FROM sessions WHERE expires_at <= $1")
                .bind(micros(self.env.now()))
                .execute(&mut *transaction)
                .await?;
            query("INSERT INTO sessions (id_hash, \"user\", created_at, expires_at) VALUES ($1, $2, $3, $4)")
                .bind(session.id_hash.as_slice())
                .bind(key(session.user.as_uuid()))
                .bind(micros(session.created_at))
                .bind(micros(session.expires_at))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        };
        self.write("store a session", work).await
    }

    async fn session(&self, id_hash: &[u8; 32]) -> Result<Option<Session>, StoreError> {
        let work = async {
            let row = query("SELECT * FROM sessions WHERE id_hash = $1 AND expires_at > $2")
                .bind(id_hash.as_slice())
                .bind(micros(self.env.now()))
                .fetch_optional(&self.readers)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let cells = Cells::new("sessions", &row);
            let (user, created_at) = (cells.id("user")?, cells.time("created_at")?);
            Ok(Some(Session { id_hash: *id_hash, user, created_at, expires_at: cells.time("expires_at")? }))
        };
        self.tell("read a session", work.await)
    }

    async fn end_session(&self, id_hash: &[u8; 32]) -> Result<(), StoreError> {
        let work = || async {
            let mut transaction = self.begin().await?;
            query("DELETE FROM sessions WHERE id_hash = $1")
                .bind(id_hash.as_slice())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        };
        self.write("end a session", work).await
    }

    async fn save_api_key(&self, key_: &ApiKey, key_hash: &[u8; 32], actor: &str) -> Result<(), StoreError> {
        let work = || async {
            let mut transaction = self.begin().await?;
            query(
                "INSERT INTO api_keys (id, key_hash, name, created_at, revoked_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(key(key_.id.as_uuid()))
            .bind(key_hash.as_slice())
            .bind(&key_.name)
            .bind(micros(key_.created_at))
            .bind(key_.revoked_at.map(micros))
            .execute(&mut *transaction)
            .await
            .map_err(|error| Fault::or_taken(error, || format!("the API key {}", key_.name)))?;
            let event = self.event(Subject::ApiKey(key_.id), EventKind::ApiKeyCreated);
            append(&mut transaction, &event.words(&key_.name).actor(actor)).await?;
            transaction.commit().await
        };
        self.write("add an API key", work).await
    }

    async fn api_key(&self, key_hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let work = async {
            let row = query("SELECT * FROM api_keys WHERE key_hash = $1 AND revoked_at IS NULL")
                .bind(key_hash.as_slice())
                .fetch_optional(&self.readers)
                .await?;
            row.as_ref().map(api_key).transpose()
        };
        self.tell("read an API key", work.await)
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let work = async {
            let rows = query("SELECT * FROM api_keys ORDER BY name, created_at, id")
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(api_key).collect()
        };
        self.tell("list API keys", work.await)
    }

    async fn revoke_api_key(&self, id: ApiKeyId, actor: &str) -> Result<(), StoreError> {
        let work = || async {
            let mut transaction = self.begin().await?;
            let revoked = query("UPDATE api_keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
                .bind(micros(self.env.now()))
                .bind(key(id.as_uuid()))
                .execute(&mut *transaction)
                .await?;
            one_row(revoked, "revoke an API key", || format!("API key {id}"))?;
            let event = self.event(Subject::ApiKey(id), EventKind::ApiKeyRevoked);
            append(&mut transaction, &event.actor(actor)).await?;
            transaction.commit().await
        };
        self.write("revoke an API key", work).await
    }
}
