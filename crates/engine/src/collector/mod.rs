//! The worker that reads mailboxes: raw MIME and cursor are committed together, page by page.
//!
//! # What one reading does
//!
//! 1. Ask the provider what changed since the cursor, page by page; where pages do not come in the order of arrival,
//!    several at once (`ahead`), so that a backlog after an outage is taken oldest first. Old mail that is not wanted
//!    ([`postroom_model::mailbox::OldMail`]) is passed over.
//! 2. Fetch what the store does not hold yet, oldest first, straight to the disk; small messages are stored several at a
//!    time while the next ones are fetched.
//! 3. When all of a batch is stored and synced, commit its messages in one transaction, with the last batch also the
//!    cursor, and wake the router.
//! 4. End the reading: when it is due next, and what is to be told.
//!
//! A failure before step 3 loses nothing: the cursor has not moved, and stored content is found again by its name. How
//! far a large backlog has come is kept beside it ([`progress`]).
//!
//! After it was processed, a message is marked or moved at the provider where the mailbox wants that (`settling`).
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

mod ahead;
pub(crate) mod listening;
pub mod pace;
pub(crate) mod placeholder;
pub mod progress;
mod reading;
pub(crate) mod settling;
pub mod standing;
mod storing;

use std::time::Duration;

use jiff::SignedDuration;
use postroom_model::connection::Connection;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::{Mailbox, Validation};
use postroom_model::{MailboxId, Timestamp};
use postroom_store::{ClaimedMailbox, StoreError};
use postroom_transport::Survey;
use tokio::sync::Notify;

use crate::outbox::words;
use crate::signals::Signals;
use crate::watch::reconciliation::{self, Report};
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
        // Without room nothing is fetched: it waits at the provider.
        if self.0.nudges.is_full() {
            return Ok(Vec::new());
        }
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
    match claim(engine, mailbox).await? {
        Some(claimed) => reading::read(engine, claimed).await,
        None => Err(Failure::new(
            "claim the mailbox",
            Origin::Ourselves,
            "the mailbox is being read at this moment; what it brings will appear by itself",
            Decision::Retry { after: None },
        )),
    }
}

/// Claims one mailbox; none when another reading holds it for longer than is waited for.
async fn claim(engine: &Engine, mailbox: MailboxId) -> Result<Option<ClaimedMailbox>, Failure> {
    for _ in 0..CLAIM_TRIES {
        let until = engine.after(lease(engine));
        let claimed = engine
            .store
            .claim_mailbox(mailbox, &engine.node, until)
            .await
            .map_err(|error| own_failure("claim the mailbox", &error))?;
        if claimed.is_some() {
            return Ok(claimed);
        }
        tokio::time::sleep(CLAIM_PAUSE).await;
    }
    Ok(None)
}

/// Reads one mailbox, compares provider and store over the days that are set, fetches what is missing, and remembers
/// what was found. With `due` it does nothing where that was done since.
pub(crate) async fn reconcile(
    engine: &Engine,
    mailbox: MailboxId,
    due: Option<Timestamp>,
) -> Result<Option<Report>, Failure> {
    let own = |error: StoreError| own_failure("compare with the provider", &error);
    // Being read for longer: the next look finds it.
    let Some(claimed) = claim(engine, mailbox).await? else { return Ok(None) };
    let name = reconciliation::journal(mailbox);
    let known = engine.store.journal(&name).await.map_err(own)?;
    let known: Option<Report> = known.and_then(|known| serde_json::from_str(&known).ok());
    if let (Some(due), Some(known)) = (due, &known)
        && known.at >= due
    {
        // Another was faster between the look and the claim: the claim ends with an ordinary reading.
        reading::read(engine, claimed).await?;
        return Ok(None);
    }
    let days = i64::from(engine.settings.watch.reconcile_days.max(1));
    let now = engine.env.now();
    let since = now.saturating_sub(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::UNIX_EPOCH);
    let report = reading::reconcile(engine, claimed, since).await?;
    if report.missing > 0 {
        tracing::warn!(%mailbox, missing = report.missing, fetched = report.fetched, "mail was missing");
    }
    let content = serde_json::to_string(&report).unwrap_or_default();
    engine.store.save_journal(&name, Some(&content)).await.map_err(own)?;
    Ok(Some(report))
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

/// How much mail waits in a mailbox, saved or not: what a person wants to know before choosing how much of it is taken.
/// Clocks differ, and providers count in seconds, so what comes within the next two minutes counts.
pub(crate) async fn old_mail(
    engine: &Engine,
    connection: &Connection,
    mailbox: &Mailbox,
) -> Result<Survey, Failure> {
    let source = engine.transports.source(connection, mailbox).await?;
    bounded("count the old mail", source.survey(engine.after(SignedDuration::from_mins(2)))).await
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
