//! What every operation works on, and how folders and items are looked up in it.

use std::sync::Arc;

use postroom_ews::wire::{FolderRef, Item, ItemId, Message, ResponseMessage};
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::gate;
use super::refusal::{Refused, Trouble};
use crate::entra::bearer::Caller;
use crate::mail::store::{self, Stored};
use crate::mail::{Mailbox, ids, view};
use crate::state::Tenant;

/// Most parts of one request; Exchange has limits of its own that are not published.
pub(super) const MOST_PARTS: usize = 1000;

/// Whose mailbox is worked in, and by whom.
pub(super) struct Desk {
    pub(super) tenant: Arc<Tenant>,
    pub(super) mailbox: Mailbox,
    pub(super) caller: Caller,
}

/// A folder that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: String,
    /// Object id of the mailbox it is in.
    pub(super) mailbox: String,
    /// The root above everything, which is in no database.
    pub(super) is_root: bool,
}

/// Id of the root above the folders people see, made of the id of the topmost of these.
pub(super) fn root_id(top: &str) -> String {
    format!("AQMkAR{}", top.get(6..).unwrap_or_default())
}

impl Desk {
    /// One part's transaction.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Refused> {
        Ok(self.tenant.begin().await?)
    }

    /// Keeps what a part did, or takes it back.
    pub(super) async fn end<T: Default>(
        &self,
        tx: Transaction<'static, Sqlite>,
        done: Result<T, Trouble>,
    ) -> Result<ResponseMessage<T>, Refused> {
        match done {
            Ok(payload) => {
                tx.commit().await?;
                Ok(ResponseMessage::success(payload))
            }
            Err(trouble) => Ok(trouble.message()),
        }
    }

    /// Refuses more parts than one request may have.
    pub(super) fn bounded(&self, parts: usize) -> Result<(), Refused> {
        if parts > MOST_PARTS {
            let text = "You have exceeded the maximum number of objects that can be opened at the same time.";
            return Err(Refused::fault("ErrorTooManyObjectsOpened", text));
        }
        Ok(())
    }

    /// The folder that is meant.
    pub(super) async fn folder(
        &self,
        db: &mut SqliteConnection,
        folder: &FolderRef,
    ) -> Result<Found, Trouble> {
        match folder {
            FolderRef::Distinguished(named) => {
                let other = named.mailbox.as_ref().and_then(|mailbox| mailbox.address.as_deref());
                let mailbox =
                    match other.filter(|address| !address.eq_ignore_ascii_case(&self.mailbox.address)) {
                        None => self.mailbox.id.clone(),
                        Some(address) => self.other(db, address).await?,
                    };
                let is_root = named.id == "root";
                let name = if is_root { "msgfolderroot" } else { named.id.as_str() };
                let id: Option<String> =
                    sqlx::query_scalar("SELECT id FROM folder WHERE mailbox = ? AND well_known = ?")
                        .bind(&mailbox)
                        .bind(name)
                        .fetch_optional(db)
                        .await?;
                let id = id.ok_or_else(Trouble::folder_not_found)?;
                Ok(Found { id, mailbox, is_root })
            }
            FolderRef::Id(id) => self.folder_by_id(db, &id.id).await,
        }
    }

    async fn folder_by_id(&self, db: &mut SqliteConnection, id: &str) -> Result<Found, Trouble> {
        if !ids::well_formed(id) {
            return Err(Trouble::malformed_id());
        }
        let is_root = id.starts_with("AQMkAR");
        let id = if is_root { id.replacen("AQMkAR", "AQMkAD", 1) } else { id.to_owned() };
        let mailbox: Option<String> = sqlx::query_scalar("SELECT mailbox FROM folder WHERE id = ?")
            .bind(&id)
            .fetch_optional(&mut *db)
            .await?;
        let mailbox = mailbox.ok_or_else(Trouble::folder_not_found)?;
        if !self.sees(db, &mailbox).await? {
            return Err(Trouble::folder_not_found());
        }
        Ok(Found { id, mailbox, is_root })
    }

    /// The folder that holds items: not the root.
    pub(super) async fn holder(
        &self,
        db: &mut SqliteConnection,
        folder: &FolderRef,
    ) -> Result<Found, Trouble> {
        let found = self.folder(db, folder).await?;
        if found.is_root { Err(Trouble::folder_not_found()) } else { Ok(found) }
    }

    /// Another's mailbox, named by its address.
    async fn other(&self, db: &mut SqliteConnection, address: &str) -> Result<String, Trouble> {
        let Some(other) = store::mailbox(db, address).await? else {
            let text = "The SMTP address has no mailbox associated with it.";
            return Err(Trouble::new("ErrorNonExistentMailbox", text));
        };
        if gate::opens(db, &self.caller, &other.id).await? {
            Ok(other.id)
        } else {
            Err(Trouble::new("ErrorAccessDenied", "Access is denied. Check credentials and try again."))
        }
    }

    async fn sees(&self, db: &mut SqliteConnection, mailbox: &str) -> sqlx::Result<bool> {
        Ok(mailbox == self.mailbox.id || gate::opens(db, &self.caller, mailbox).await?)
    }

    /// An item, in whichever of its mailboxes the caller may open.
    pub(super) async fn item(&self, db: &mut SqliteConnection, id: &str) -> Result<Stored, Trouble> {
        if id.is_empty() {
            return Err(Trouble::new("ErrorInvalidIdEmpty", "Id must be non-empty."));
        }
        if !ids::well_formed(id) {
            return Err(Trouble::malformed_id());
        }
        let owner: Option<String> =
            sqlx::query_scalar("SELECT mailbox FROM message WHERE ordinary_id = ?1 OR immutable_id = ?1")
                .bind(id)
                .fetch_optional(&mut *db)
                .await?;
        let owner = owner.ok_or_else(Trouble::item_not_found)?;
        if !self.sees(db, &owner).await? {
            return Err(Trouble::item_not_found());
        }
        Ok(store::message(db, &owner, id).await?)
    }

    /// An item in the version that is named.
    ///
    /// # Errors
    /// None is named, or another one than the newest.
    pub(super) async fn newest(&self, db: &mut SqliteConnection, id: &ItemId) -> Result<Stored, Trouble> {
        let stored = self.item(db, &id.id).await?;
        match id.change_key.as_deref() {
            Some(key) if key == view::change_key(&stored) => Ok(stored),
            Some(_) => Err(Trouble::new(
                "ErrorStaleObject",
                "The send or update operation could not be performed because the change key passed in the request does \
                 not match the current change key for the item.",
            )),
            None => Err(Trouble::new(
                "ErrorChangeKeyRequired",
                "The change key is required for this operation. This includes operations such as send.",
            )),
        }
    }
}

/// Id and version of an item.
pub(super) fn id_of(stored: &Stored) -> ItemId {
    ItemId { id: stored.ordinary_id.clone(), change_key: Some(view::change_key(stored)) }
}

/// An item with nothing but its id and version.
pub(super) fn bare(stored: &Stored) -> Item {
    Message { id: Some(id_of(stored)), ..Message::default() }.into()
}
