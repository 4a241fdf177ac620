//! The worker that reads mailboxes: raw MIME and cursor are committed together, page by page.
//!
//! # What one reading does
//!
//! 1. Ask the provider what changed since the cursor, one page at a time.
//! 2. Fetch what the store does not hold yet, oldest first, straight to the disk; small messages are stored several at a
//!    time while the next ones are fetched.
//! 3. When all of the page is stored and synced, commit its messages and its cursor in one transaction, and wake the router.
//! 4. End the reading: when it is due next, and what is to be told.
//!
//! A failure before step 3 loses nothing: the cursor has not moved, and stored content is found again by its name.
//!
//! # A message that cannot be fetched
//!
//! | failure | what is done |
//! |---|---|
//! | gone meanwhile | passed over |
//! | a missing right, or too many requests | the reading ends; the mailbox is failing and read again later |
//! | larger than `max_collect_bytes`, or refused for good | a placeholder is stored in its place, once the mailbox has proven readable by a probe |
//! | it cannot be stored | the reading ends, as for any trouble of our own: the message is not to blame |
//! | any other trouble of the provider | the reading ends; after 5 failed readings in a row: a placeholder |
//! | no answer | the reading ends; after 10 failed readings in a row: a placeholder |
//!
//! A placeholder is a small message of our own under the provider's id. The router puts it into quarantine with the
//! reason, so a person sees it; the mail itself stays at the provider, untouched. It never blocks the next one. When
//! the person runs it again, the next reading fetches the mail by that id, and it takes the place of the placeholder;
//! a failure of that ends no reading.
//!
//! # How long a reading may take
//!
//! A reading holds its mailbox for five leases (`lease_seconds`), because a page with large attachments takes its
//! time and the store cannot extend this lease. When half of it is over after a page, the reading gives way: the
//! mailbox is due again at once, and others get their turn.
//!
//! # News
//!
//! Beside the timer a provider may tell that a mailbox has something new ([`Engine::wake`]): by a transport that waits
//! for it (`listening`) or by a notification from outside. That makes the next reading early and nothing else: what is
//! new is found by reading, and a wake that is lost costs one polling interval.

pub(crate) mod listening;
pub mod pace;
pub(crate) mod placeholder;
mod reading;
mod storing;

use std::time::Duration;

use jiff::SignedDuration;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::Validation;
use postroom_model::{MailboxId, Timestamp};
use postroom_store::{ClaimedMailbox, StoreError};
use tokio::sync::Notify;

use crate::outbox::words;
use crate::signals::Signals;
use crate::worker::Desk;
use crate::{Engine, PROVIDER_LIMIT, own_failure};

/// How often, and how far apart, a mailbox that another reading holds is asked for by *Check now*.
const CLAIM_TRIES: u32 = 100;
const CLAIM_PAUSE: Duration = Duration::from_millis(100);

/// The mailboxes as a [`Desk`].
#[derive(Clone)]
pub(crate) struct Collector(pub(crate) Engine);

impl Desk for Collector {
    type Work = ClaimedMailbox;

    const NAME: &'static str = "collector";

    fn parallel(&self) -> u32 {
        self.0.settings.collect_parallel
    }

    fn nudge(&self) -> &Notify {
        &self.0.nudges.collector
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

    async fn claim(&self, free: u32) -> Result<Vec<ClaimedMailbox>, StoreError> {
        let until = self.0.after(lease(&self.0));
        let claimed = self.0.store.claim_mailboxes(&self.0.node, until, free).await?;
        self.0.signals.leases(Self::NAME, "claimed", claimed.len());
        Ok(claimed)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.0.store.next_mailbox_due().await
    }

    async fn work(self, claimed: ClaimedMailbox) {
        // The failure is in the mailbox's state, its event and the log already.
        let _ = reading::read(&self.0, claimed).await;
    }
}

/// How long a reading may hold its mailbox.
fn lease(engine: &Engine) -> SignedDuration {
    engine.lease().saturating_mul(reading::LEASE_FACTOR)
}

/// Reads one mailbox whether it is due or not. Waits a little when another reading holds it.
pub(crate) async fn collect_now(engine: &Engine, mailbox: MailboxId) -> Result<u32, Failure> {
    for _ in 0..CLAIM_TRIES {
        let until = engine.after(lease(engine));
        let claimed = engine
            .store
            .claim_mailbox(mailbox, &engine.node, until)
            .await
            .map_err(|error| own_failure("claim the mailbox", &error))?;
        if let Some(claimed) = claimed {
            return reading::read(engine, claimed).await;
        }
        tokio::time::sleep(CLAIM_PAUSE).await;
    }
    Err(Failure::new(
        "claim the mailbox",
        Origin::Ourselves,
        "the mailbox is being read at this moment; what it brings will appear by itself",
        Decision::Retry { after: None },
    ))
}

/// Opens the mailbox, reads one header, remembers the result.
pub(crate) async fn validate(
    engine: &Engine,
    mailbox: MailboxId,
    actor: &str,
) -> Result<Validation, StoreError> {
    let untouched = || StoreError::Untouched { operation: "validate", subject: format!("mailbox {mailbox}") };
    let found = engine.store.mailbox(mailbox).await?.ok_or_else(untouched)?;
    let connection = engine.store.connection(found.connection).await?.ok_or_else(untouched)?;
    let probed = async {
        let source = engine.transports.source(&connection, &found).await?;
        bounded("open the mailbox", source.probe()).await
    };
    let (ok, words) = match probed.await {
        Ok(words) => (true, words),
        Err(failure) => (false, words(&failure)),
    };
    let validation = Validation { at: engine.env.now(), ok, words };
    engine.store.save_validation(mailbox, &validation, actor).await?;
    Ok(validation)
}

/// A call to the provider, or a failure when there is no answer in time.
async fn bounded<T>(operation: &str, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(PROVIDER_LIMIT, call).await {
        Ok(answer) => answer,
        Err(_) => {
            let words = format!("no answer within {} seconds", PROVIDER_LIMIT.as_secs());
            Err(Failure::new(operation, Origin::Network, words, Decision::Retry { after: None }))
        }
    }
}
