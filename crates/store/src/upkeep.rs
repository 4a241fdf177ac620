//! What the house itself needs: whether it can keep up, what waits in it, and what it is asked for the signals.

use async_trait::async_trait;
use postroom_model::Timestamp;
use postroom_model::event::EventKind;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::MailboxState;
use postroom_model::outbox::OutboxState;

use crate::StoreError;

/// What waits, as the store has it now. States that cost more to count the more is kept (`sent`, `cancelled`,
/// `processed`) are not among them: what was finished is counted by events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queues {
    /// Outgoing messages by state.
    pub outbox: Vec<Waiting<OutboxState>>,
    /// Collected messages by state.
    pub inbox: Vec<Waiting<InboxState>>,
    /// Mailboxes by state; removed ones are not counted.
    pub mailboxes: Vec<(MailboxState, u64)>,
    /// Since when the mailbox that is longest overdue could be read; none when none is due.
    pub overdue_since: Option<Timestamp>,
}

/// What waits in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting<S> {
    /// The state.
    pub state: S,
    /// How many.
    pub messages: u64,
    /// When the first of them was accepted or stored; none when there is none.
    pub oldest: Option<Timestamp>,
}

/// Events by kind after a place in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// The last place that is counted: what the next question begins after.
    pub last: i64,
    /// How many of each kind; kinds without any are left out.
    pub counts: Vec<(EventKind, u64)>,
}

/// Keeps the house.
#[async_trait]
pub trait UpkeepStore: Send + Sync {
    /// How many writers of this process wait for their turn at this moment.
    fn waiting_writers(&self) -> u32;

    /// Proves that the store takes writes and that the key opens what is sealed: a small synced write, a file that is
    /// begun and removed where raw messages are kept, and the key check value.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Database`], [`StoreError::File`], [`StoreError::Key`].
    async fn prove_writable(&self) -> Result<(), StoreError>;

    /// What waits. Every state in question is named, also with none.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn queues(&self) -> Result<Queues, StoreError>;

    /// Counts the events after the place `after`; with `None` only gives the last place, so that counting can begin.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn event_counts(&self, after: Option<i64>) -> Result<EventCounts, StoreError>;
}
