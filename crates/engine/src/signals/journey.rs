//! The steps of a message on its way out, for whoever writes traces.
//!
//! A step carries ids, words of closed lists and instants. There is no field in which an address, a subject or the words
//! of a person could travel: what is not here cannot reach a trace.

use postroom_model::{OutboxMessageId, Timestamp};

/// A step that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The message.
    pub message: OutboxMessageId,
    /// Which step.
    pub step: Step,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Number of the attempt, from 1; none before the first.
    pub attempt: Option<u32>,
    /// What came of it: a state of the outbox, or `ok`.
    pub outcome: &'static str,
    /// Whether it ended in what nobody wanted.
    pub failed: bool,
}

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Stored and committed.
    Accept,
    /// Claimed by a worker.
    Claim,
    /// Handed to the provider, with the look-ups before it.
    Send,
    /// The end of the attempt, committed.
    Outcome,
}

impl Step {
    /// Name of its span.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Claim => "claim",
            Self::Send => "send",
            Self::Outcome => "outcome",
        }
    }
}

/// Is told of every step.
pub trait Journeys: Send + Sync {
    /// A step was made. Must not wait: it is called in the middle of the work.
    fn passed(&self, passed: &Passed);
}
