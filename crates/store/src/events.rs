//! Append-only facts.

use async_trait::async_trait;
use postroom_model::event::{Event, Subject};
use serde::Serialize;

use crate::StoreError;

/// An event with its place in the order of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredEvent {
    /// Place in the order, from 1, growing; the cursor of the feed.
    pub sequence: i64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// Which events a list shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFilter {
    /// Only this subject: its timeline.
    pub subject: Option<Subject>,
    /// Only what came after this place.
    pub after: i64,
}

/// Keeps events. There is no method that changes or removes one.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Appends events that belong to no other change.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Full`].
    async fn append_events(&self, events: Vec<Event>) -> Result<(), StoreError>;

    /// Up to `limit` events, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    async fn events(&self, filter: &EventFilter, limit: u32) -> Result<Vec<StoredEvent>, StoreError>;
}
