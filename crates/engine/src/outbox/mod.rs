//! The worker that sends: claim, send, finish. What is unknown is looked up before anything is sent again.
//!
//! # What becomes of a message
//!
//! | the attempt ended | state | next |
//! |---|---|---|
//! | the provider took it | `sent` | |
//! | refused, and the provider says never | `failed` | |
//! | refused for now, or no answer before anything was handed over | `deferred` | [`retry::next_attempt`] |
//! | a person must set something right (`Hold`) | `deferred` | [`retry::next_attempt_on_hold`] |
//! | it may have been sent | `unknown` | looked up, then |
//! | looked up: still not known | `unknown` | looked up again |
//! | looked up: nobody can ever tell (SMTP), at most once | `failed`, and the words say so | |
//! | the same, at least once | `deferred`, and the words say that it may arrive twice | [`retry::next_attempt`] |
//! | refused for now, and the retry window is over | `failed` | |
//! | a failure of our own, and the retry window is over | `held` | a person's wish |
//! | looked up: not known, and the retry window is over | `failed`, and the words say so | |
//!
//! `Hold` is not the state `held`: a right or a credential that was set right must be enough for the mail to go on,
//! without anybody releasing each message. Only when the window is over and the reason is still our own (a setting
//! that is missing, a disk that is full) the message is held: it is not the provider's no, so it never becomes
//! `failed`, and mail of many days ago should leave by a person's wish.
//!
//! Recipients that were refused while others were taken are told by an event each; the message is `sent`, and nobody
//! gets it twice. Those who were refused for now get a message of their own, a *follow-up*: the same raw message, for them
//! alone, made in the transaction that ends the attempt and tried within the window of the first.
//!
//! A message that a person releases after its window gets one attempt. One that may have been sent before says so, in
//! its words and its events, to whoever releases it and from then on.
//!
//! A message is read into memory when its attempt begins, and only when it has room: [`memory`] bounds the bytes of all
//! attempts together.

mod attempt;
mod decide;
mod memory;
pub mod retry;

use std::time::Duration;

use postroom_model::Timestamp;
use postroom_model::outbox::OutboxState;
use postroom_store::{ClaimedMessage, StoreError};
use tokio::sync::Notify;

pub(crate) use decide::words;
pub(crate) use memory::Memory;

use crate::Engine;
use crate::signals::Signals;
use crate::signals::journey::{Passed, Step};
use crate::worker::Desk;

/// The outbox as a [`Desk`].
#[derive(Clone)]
pub(crate) struct Outbox(pub(crate) Engine);

impl Desk for Outbox {
    type Work = ClaimedMessage;

    const NAME: &'static str = "outbox";

    fn parallel(&self) -> u32 {
        self.0.settings.send_parallel
    }

    fn nudge(&self) -> &Notify {
        &self.0.nudges.outbox
    }

    fn idle(&self) -> Duration {
        self.0.idle()
    }

    fn now(&self) -> Timestamp {
        self.0.env.now()
    }

    fn signals(&self) -> &Signals {
        &self.0.signals
    }

    async fn claim(&self, free: u32) -> Result<Vec<ClaimedMessage>, StoreError> {
        let until = self.0.after(self.0.lease());
        let begun = self.0.env.now();
        let claimed = self.0.store.claim_outbox(&self.0.node, until, free).await?;
        let ended = self.0.env.now();
        for ClaimedMessage { message, previous, .. } in &claimed {
            // Claimed from `sending`: whoever had it died in the middle.
            let event = if *previous == OutboxState::Sending { "taken-over" } else { "claimed" };
            self.0.signals.leases(Self::NAME, event, 1);
            let (step, attempt, outcome) = (Step::Claim, Some(message.attempts), previous.as_str());
            let message = message.id;
            self.0.signals.passed(&Passed { message, step, begun, ended, attempt, outcome, failed: false });
        }
        Ok(claimed)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.0.store.next_outbox_due().await
    }

    async fn work(self, claimed: ClaimedMessage) {
        attempt::run(self.0, claimed).await;
    }
}
