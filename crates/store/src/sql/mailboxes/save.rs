//! Adding, changing, bringing back and removing one mailbox.

use std::collections::BTreeSet;

use postroom_model::event::{EventKind, Subject};
use postroom_model::mailbox::{AfterProcessing, Availability, Mailbox, MailboxSettings, MailboxState};
use postroom_model::{EmailAddress, MailboxId, SecretString, Timestamp};

use super::{find, subject};
use crate::seal::Place;
use crate::sql::db::{Db, query, query_scalar};
use crate::sql::events::append;
use crate::sql::fault::{Fault, one_row};
use crate::sql::open::compare_key;
use crate::sql::rows::{Cells, hex_list, key, micros, text_list};
use crate::sql::{SqlStore, connections};
use crate::{SaveMailbox, StoreError};

const OPERATION: &str = "save a mailbox";

/// Replaces types and availability.
async fn write_sets(db: &mut Db, id: MailboxId, settings: &MailboxSettings) -> Result<(), Fault> {
    let (no_groups, no_roles, no_users) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (groups, roles, users) = match &settings.availability {
        Availability::All => (&no_groups, &no_roles, &no_users),
        Availability::Only { groups, roles, users } => (groups, roles, users),
    };
    let sets = [
        (
            "DELETE FROM mailbox_types WHERE mailbox = $1",
            "INSERT INTO mailbox_types (mailbox, type) SELECT $1, value FROM json_each($2)",
            text_list(settings.types.iter().map(|kind| kind.as_str())),
        ),
        (
            "DELETE FROM mailbox_groups WHERE mailbox = $1",
            "INSERT INTO mailbox_groups (mailbox, member) SELECT $1, unhex(value) FROM json_each($2)",
            hex_list(groups.iter().map(|group| group.as_uuid())),
        ),
        (
            "DELETE FROM mailbox_roles WHERE mailbox = $1",
            "INSERT INTO mailbox_roles (mailbox, member) SELECT $1, value FROM json_each($2)",
            text_list(roles.iter().map(|role| role.as_str())),
        ),
        (
            "DELETE FROM mailbox_users WHERE mailbox = $1",
            "INSERT INTO mailbox_users (mailbox, member) SELECT $1, unhex(value) FROM json_each($2)",
            hex_list(users.iter().map(|user| user.as_uuid())),
        ),
    ];
    for (clear, fill, members) in sets {
        query(clear).bind(key(id.as_uuid())).execute(&mut *db).await?;
        query(fill).bind(key(id.as_uuid())).bind(members).execute(&mut *db).await?;
    }
    Ok(())
}

/// Refuses to let a mailbox with mail become another account: its mail would go on under the availability of that one.
async fn refuse_other_account(db: &mut Db, save: &SaveMailbox, address: &EmailAddress) -> Result<(), Fault> {
    let moved: Option<String> = query_scalar(
        "SELECT address FROM mailboxes b WHERE b.id = $1 AND (b.connection <> $2 OR b.address_key <> $3)
             AND EXISTS (SELECT 1 FROM inbox_mailboxes WHERE mailbox = b.id)",
    )
    .bind(key(save.id.as_uuid()))
    .bind(key(save.connection.as_uuid()))
    .bind(address.normalized())
    .fetch_optional(db)
    .await?;
    match moved {
        None => Ok(()),
        Some(old) => Err(StoreError::Refused {
            what: format!("the address and connection of {old} cannot be changed: it has collected mail"),
            hint: "remove it and add another",
        }
        .into()),
    }
}

/// Where another account is meant from now on, and nothing was collected yet: the cursor is worthless, a reading in
/// progress must not commit, and the password of the old account is none of the new server's.
async fn forget_other_account(db: &mut Db, save: &SaveMailbox, address: &EmailAddress) -> Result<(), Fault> {
    query(
        "UPDATE mailboxes SET cursor = NULL, password = NULL, state = $1, last_error = NULL, failures = 0,
             lease_owner = NULL, lease_until = NULL
         WHERE id = $2 AND (connection <> $3 OR address_key <> $4)",
    )
    .bind(MailboxState::New.as_str())
    .bind(key(save.id.as_uuid()))
    .bind(key(save.connection.as_uuid()))
    .bind(address.normalized())
    .execute(db)
    .await?;
    Ok(())
}

/// Another answer to how much old mail is taken begins anew: what is known is not fetched again, and a reading in
/// progress must not commit a cursor that was made for the old answer. What was still to be done with mail at the
/// provider is dropped where it is to be left alone from now on.
async fn begin_anew(db: &mut Db, id: MailboxId, settings: &MailboxSettings) -> Result<(), Fault> {
    query(
        "UPDATE mailboxes SET cursor = NULL, lease_owner = NULL, lease_until = NULL WHERE id = $1 AND old_mail <> $2",
    )
    .bind(key(id.as_uuid()))
    .bind(String::from(settings.old_mail))
    .execute(&mut *db)
    .await?;
    if settings.after_processing == AfterProcessing::Leave {
        query("UPDATE provider_messages SET settle_at = NULL WHERE mailbox = $1 AND settle_at IS NOT NULL")
            .bind(key(id.as_uuid()))
            .execute(db)
            .await?;
    }
    Ok(())
}

/// The id under which a mailbox is saved: that of a removed one when its account is added again.
async fn id_to_save(
    db: &mut Db,
    save: &SaveMailbox,
    address: &EmailAddress,
    now: Timestamp,
) -> Result<MailboxId, Fault> {
    let own: Option<bool> = query_scalar("SELECT removed_at IS NULL FROM mailboxes WHERE id = $1")
        .bind(key(save.id.as_uuid()))
        .fetch_optional(&mut *db)
        .await?;
    if own == Some(false) {
        return Err(StoreError::Untouched { operation: OPERATION, subject: subject(save.id)() }.into());
    }
    let removed = query(
        "SELECT id FROM mailboxes WHERE connection = $1 AND address_key = $2 AND removed_at IS NOT NULL",
    )
    .bind(key(save.connection.as_uuid()))
    .bind(address.normalized())
    .fetch_optional(&mut *db)
    .await?;
    let Some(removed) = removed else { return Ok(save.id) };
    if own.is_some() {
        return Err(StoreError::Refused {
            what: format!("{address} was removed from this connection before, and its mail is kept"),
            hint: "add it as a mailbox of its own: that brings it back",
        }
        .into());
    }
    let id: MailboxId = Cells::new("mailboxes", &removed).id("id")?;
    query(
        "UPDATE mailboxes SET removed_at = NULL, state = $1, last_error = NULL, failures = 0, validation = NULL,
             begun_at = $2
         WHERE id = $3",
    )
    .bind(MailboxState::New.as_str())
    .bind(micros(begun(now)))
    .bind(key(id.as_uuid()))
    .execute(db)
    .await?;
    Ok(id)
}

/// When a mailbox that is added now begins. Providers tell whole seconds: what came within this one is not old.
fn begun(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn place(row: &[u8]) -> Place<'_> {
    Place { table: "mailboxes", column: "password", row }
}

fn address_of(save: &SaveMailbox) -> Result<EmailAddress, StoreError> {
    save.settings.address.parse().map_err(|error: postroom_model::address::InvalidAddress| {
        StoreError::Contradiction { table: "mailboxes", row: save.id.to_string(), what: error.to_string() }
    })
}

impl SqlStore {
    pub(super) async fn write_mailbox(&self, save: &SaveMailbox) -> Result<Mailbox, Fault> {
        let settings = &save.settings;
        let address = address_of(save)?;
        let mut transaction = self.begin().await?;
        let connection = connections::find(&mut transaction, save.connection).await?.ok_or_else(|| {
            let subject = format!("connection {}", save.connection);
            StoreError::Untouched { operation: OPERATION, subject }
        })?;
        let id = id_to_save(&mut transaction, save, &address, self.env.now()).await?;
        refuse_other_account(&mut transaction, save, &address).await?;
        forget_other_account(&mut transaction, save, &address).await?;
        begin_anew(&mut transaction, id, settings).await?;
        let sealed = match &save.password {
            Some(password) => {
                // The key file may have been made anew since this process opened the folder.
                compare_key(&mut transaction, &self.sealer).await?;
                Some(self.sealer.seal(place(&key(id.as_uuid())), password)?)
            }
            None => None,
        };
        let polled = settings.polling_interval.resolve(connection.settings.polling_interval).is_some();
        query(
            "INSERT INTO mailboxes (id, connection, address, address_key, user_name, polling_interval,
                                    available_to_all, state, next_due_at, password, old_mail, after_processing, begun_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT (id) DO UPDATE SET
                 connection = $2, address = $3, address_key = $4, user_name = $5, polling_interval = $6,
                 available_to_all = $7, next_due_at = $9, password = coalesce($10, mailboxes.password),
                 old_mail = $11, after_processing = $12, revision = mailboxes.revision + 1",
        )
        .bind(key(id.as_uuid()))
        .bind(key(save.connection.as_uuid()))
        .bind(address.as_str())
        .bind(address.normalized())
        .bind(&settings.user_name)
        .bind(String::from(settings.polling_interval))
        .bind(settings.availability == Availability::All)
        .bind(MailboxState::New.as_str())
        .bind(polled.then(|| micros(self.env.now())))
        .bind(sealed)
        .bind(String::from(settings.old_mail))
        .bind(settings.after_processing.to_string())
        .bind(micros(begun(self.env.now())))
        .execute(&mut *transaction)
        .await
        .map_err(|error| Fault::or_taken(error, || format!("the mailbox {address}")))?;
        write_sets(&mut transaction, id, settings).await?;
        let event = self.event(Subject::Mailbox(id), EventKind::MailboxSaved);
        append(&mut transaction, &event.actor(&save.actor)).await?;
        let saved = find(&mut transaction, id).await?;
        transaction.commit().await?;
        saved.ok_or_else(|| StoreError::Untouched { operation: OPERATION, subject: subject(id)() }.into())
    }

    pub(super) async fn open_password(&self, id: MailboxId) -> Result<Option<SecretString>, Fault> {
        let row = key(id.as_uuid());
        let sealed: Option<Option<Vec<u8>>> =
            query_scalar("SELECT password FROM mailboxes WHERE id = $1 AND removed_at IS NULL")
                .bind(&row)
                .fetch_optional(&self.readers)
                .await?;
        Ok(sealed.flatten().map(|sealed| self.sealer.open(place(&row), &sealed)).transpose()?)
    }

    /// Retires a mailbox. Reads nothing of its row: one that contradicts itself can be removed too.
    pub(super) async fn retire_mailbox(&self, id: MailboxId, actor: &str) -> Result<(), Fault> {
        let mut transaction = self.begin().await?;
        let touched = query(
            "UPDATE mailboxes SET removed_at = $1, password = NULL, next_due_at = NULL, lease_owner = NULL, lease_until = NULL
             WHERE id = $2 AND removed_at IS NULL",
        )
        .bind(micros(self.env.now()))
        .bind(key(id.as_uuid()))
        .execute(&mut *transaction)
        .await?;
        one_row(touched, "remove a mailbox", subject(id))?;
        let event = self.event(Subject::Mailbox(id), EventKind::MailboxRemoved);
        append(&mut transaction, &event.actor(actor)).await?;
        transaction.commit().await
    }
}
