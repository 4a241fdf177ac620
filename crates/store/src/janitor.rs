//! What is over and may go: messages by age, and raw messages that nothing names.
//!
//! # What is never removed
//!
//! Whatever has no final state: outgoing messages that are accepted, held, scheduled, sending, deferred or unknown;
//! collected ones that wait to be processed or are in quarantine; and collected ones that are filed on a record. Events
//! stay: they hold no content.

use std::collections::BTreeMap;

use async_trait::async_trait;
use postroom_model::mailbox::MailType;
use uuid::Uuid;

use crate::StoreError;
use crate::backup::UpkeepLock;

/// How many days each kind is kept; none for ever. Nothing is removed by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Sent and cancelled messages, since they were accepted. At least 7, as long as idempotency keys are remembered.
    pub sent_days: Option<u32>,
    /// Failed messages, since they were accepted. At least 7.
    pub failed_days: Option<u32>,
    /// Collected messages, since they were received.
    pub received_days: Option<u32>,
    /// The same for mailboxes of a type, instead of `received_days`. A message in several mailboxes, or in one with several
    /// types, is kept for the longest of them.
    pub types: BTreeMap<MailType, Option<u32>>,
}

impl Retention {
    /// Whether anything may be removed at all.
    pub fn removes(&self, kind: Kind) -> bool {
        match kind {
            Kind::Sent | Kind::Cancelled => self.sent_days.is_some(),
            Kind::Failed => self.failed_days.is_some(),
            Kind::Received => self.shortest_received().is_some(),
        }
    }

    /// The shortest time that any collected message is kept.
    pub(crate) fn shortest_received(&self) -> Option<u32> {
        self.types.values().chain([&self.received_days]).flatten().min().copied()
    }

    /// How long a collected message is kept that came to mailboxes with these types, one entry for each; none stands for a
    /// mailbox without a type.
    pub(crate) fn received(&self, types: &[Option<MailType>]) -> Option<u32> {
        let of = |kind: &Option<MailType>| {
            kind.and_then(|kind| self.types.get(&kind).copied()).unwrap_or(self.received_days)
        };
        let mut longest = of(types.first().unwrap_or(&None));
        for kind in types {
            longest = longest.zip(of(kind)).map(|(one, other)| one.max(other));
        }
        longest
    }
}

/// What may be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sent messages.
    Sent,
    /// Cancelled messages.
    Cancelled,
    /// Failed messages.
    Failed,
    /// Collected and processed messages.
    Received,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Cancelled, Self::Failed, Self::Received];

    /// Its name, and the state that a message must still be in when it is removed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Received => "processed",
        }
    }
}

/// A page of what is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// The messages.
    pub ids: Vec<Uuid>,
    /// Size of their raw messages, in bytes; the same content counts each time.
    pub bytes: u64,
    /// Where the next page begins; none when there is no more.
    pub next: Option<Place>,
}

/// A place between two pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Instant of the last one, in microseconds.
    pub(crate) at: i64,
    /// Its number.
    pub(crate) sequence: i64,
}

/// Raw messages that nothing names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Orphans {
    /// How many.
    pub blobs: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
}

/// Clears away.
#[async_trait]
pub trait JanitorStore: Send + Sync {
    /// The right to clear away; none while a backup or another janitor has it.
    ///
    /// # Errors
    /// [`StoreError::File`].
    async fn upkeep_lock(&self) -> Result<Option<UpkeepLock>, StoreError>;

    /// A page of what is over, of at most `limit` looked at, oldest first; it may be empty and still have a next one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn expired(
        &self,
        kind: Kind,
        retention: &Retention,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Expired, StoreError>;

    /// Removes these in one transaction, but none whose state has changed meanwhile or that was filed on a record. Gives
    /// how many were removed. Their raw messages stay until nothing names them, see [`JanitorStore::orphans`].
    ///
    /// # Errors
    /// [`StoreError::Database`]: nothing was removed.
    async fn remove_expired(&self, kind: Kind, ids: &[Uuid]) -> Result<u64, StoreError>;

    /// Counts the raw messages that nothing names for a day, and removes them when `remove` says so. To be called with the
    /// lock held.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::File`]: some may have been removed.
    async fn orphans(&self, remove: bool) -> Result<Orphans, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_all_mailboxes_and_types_counts_and_for_ever_is_longest() {
        let types =
            [(MailType::Personnel, Some(30)), (MailType::CustomerOrder, Some(3_650)), (MailType::Crm, None)];
        let retention = Retention { received_days: Some(90), types: types.into(), ..Retention::default() };
        let kept = |types: &[Option<MailType>]| retention.received(types);
        assert_eq!(kept(&[Some(MailType::Personnel)]), Some(30));
        assert_eq!(kept(&[Some(MailType::Personnel), Some(MailType::Quote)]), Some(90));
        assert_eq!(kept(&[Some(MailType::Personnel), None]), Some(90));
        assert_eq!(kept(&[Some(MailType::Personnel), Some(MailType::CustomerOrder)]), Some(3_650));
        assert_eq!(kept(&[Some(MailType::Personnel), Some(MailType::Crm)]), None);
        assert_eq!(kept(&[]), Some(90));
        assert_eq!(Retention::default().received(&[None]), None);
    }
}
