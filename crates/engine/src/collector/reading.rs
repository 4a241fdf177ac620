//! One reading of one mailbox.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use jiff::SignedDuration;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::MailboxState;
use postroom_store::{ClaimedMailbox, CollectedBatch, PollFinish, Refetch, StoreError};
use postroom_transport::{Changes, RemoteMessage, Source};

use super::storing::{Arriving, Fetched, Shelf};
use super::{bounded, pace, placeholder};
use crate::outbox::words;
use crate::worker::chain;
use crate::{Engine, own_failure};

/// How many leases of the outbox a reading may take.
pub(super) const LEASE_FACTOR: i32 = 5;
/// Failed readings in a row after which a provider's trouble with a single message counts as that message's own:
/// about an hour at the usual interval.
const PATIENCE: u32 = 5;
/// The same for a line that is cut: about six hours.
const PATIENCE_WITH_THE_NETWORK: u32 = 10;
/// Most messages fetched once more in one reading.
const FETCHED_AGAIN: u32 = 50;
/// Statuses about rights and load, which may concern fetching and leave the probe alone: an application that may
/// read headers only, for instance.
const NEVER_A_MESSAGES_OWN: [u16; 3] = [401, 403, 429];

/// Reads a claimed mailbox and ends the claim. Gives the number of messages not known before.
pub(super) async fn read(engine: &Engine, claimed: ClaimedMailbox) -> Result<u32, Failure> {
    let begun = engine.env.now();
    let mut reading = Reading { engine, claimed: &claimed, again: Vec::new(), stored: 0, events: Vec::new() };
    let ended = match AssertUnwindSafe(reading.pages()).catch_unwind().await {
        Ok(ended) => ended,
        Err(_) => Err(Stopped::from(Failure::new(
            "read the mailbox",
            Origin::Ourselves,
            "a fault of Postroom ended the reading",
            Decision::Retry { after: None },
        ))),
    };
    let Reading { stored, events, .. } = reading;
    let outcome = match &ended {
        Ok(_) => "read",
        Err(Stopped::Failed(_)) => "failed",
        Err(Stopped::LeaseLost(_)) => "lost",
    };
    engine.signals.fetched(outcome, engine.env.now().duration_since(begun));
    if stored > 0 {
        tracing::info!(mailbox = %claimed.mailbox.id, stored, "collected");
    }
    match ended {
        Ok(more) => {
            finish(engine, &claimed, succeeded(engine, &claimed, more, events)).await;
            Ok(stored)
        }
        Err(Stopped::Failed(failure)) => {
            tracing::warn!(
                mailbox = %claimed.mailbox.id,
                failures = claimed.mailbox.failures.saturating_add(1),
                failure = %failure,
                "the mailbox could not be read"
            );
            finish(engine, &claimed, failed(engine, &claimed, &failure, events)).await;
            Err(*failure)
        }
        Err(Stopped::LeaseLost(error)) => {
            engine.signals.leases("collector", "lost", 1);
            tracing::warn!(mailbox = %claimed.mailbox.id, "the lease was lost; whoever took over goes on");
            Err(own_failure("read the mailbox", &error))
        }
    }
}

/// Why a reading ended early.
enum Stopped {
    Failed(Box<Failure>),
    /// Nothing more may be written, not even the end.
    LeaseLost(StoreError),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

fn store_failed(operation: &str, error: StoreError) -> Stopped {
    match error {
        StoreError::LeaseLost { .. } => Stopped::LeaseLost(error),
        error => own_failure(operation, &error).into(),
    }
}

/// What is stored of a message.
enum Content {
    Mail(Fetched),
    /// A small message of our own in its place.
    Placeholder(Fetched),
}

/// Why a message was not fetched.
enum NotFetched {
    /// The provider or the network said no, or it is too large.
    Refused(Failure),
    /// It came, and could not be stored: that is never the message's own.
    NotStored(Failure),
}

struct Reading<'a> {
    engine: &'a Engine,
    claimed: &'a ClaimedMailbox,
    /// What is to be fetched once more: with the first page, whose commit covers it.
    again: Vec<RemoteMessage>,
    stored: u32,
    events: Vec<Event>,
}

impl Reading<'_> {
    /// Page after page. Gives whether more waits, because the reading gave way.
    async fn pages(&mut self) -> Result<bool, Stopped> {
        let engine = self.engine;
        let mailbox = &self.claimed.mailbox;
        let source = engine.transports.source(&self.claimed.connection, mailbox).await?;
        let gives_way_at = engine.after(super::lease(engine) / 2);
        let mut cursor = self.claimed.cursor.clone();
        self.again = self.to_fetch_again().await?;
        loop {
            let page = bounded("read the mailbox", source.changes(cursor.as_deref())).await?;
            if page.resync && self.events.is_empty() {
                self.events.push(self.event(EventKind::MailboxResync));
            }
            let more = page.more && cursor.as_deref() != Some(page.cursor.as_str());
            cursor = self.page(&*source, cursor, page).await?;
            if !more {
                return Ok(false);
            }
            if engine.env.now() >= gives_way_at {
                return Ok(true);
            }
        }
    }

    /// One page: fetch what is new, commit it with the cursor. Gives the cursor that is now committed.
    async fn page(
        &mut self,
        source: &dyn Source,
        cursor: Option<String>,
        page: Changes,
    ) -> Result<Option<String>, Stopped> {
        let mailbox = &self.claimed.mailbox;
        let mut shelf = Shelf::new(self.engine.store.clone());
        let (mut fresh, present) = self.compared(page.messages).await?;
        for remote in std::mem::take(&mut self.again) {
            fresh.retain(|named| named.provider_id != remote.provider_id);
            let Some(content) = self.fetch_again(source, &remote).await? else { continue };
            keep(&mut shelf, remote, content).await?;
        }
        for remote in fresh {
            let Some(content) = self.fetch(source, &remote).await? else { continue };
            keep(&mut shelf, remote, content).await?;
        }
        let messages = shelf.finish().await?;
        // What changes seldom is written seldom: an idle poll commits nothing. A mail that came back moves the cursor.
        if messages.is_empty() && page.removed.is_empty() && cursor.as_ref() == Some(&page.cursor) {
            return Ok(cursor);
        }
        let batch = CollectedBatch {
            mailbox: mailbox.id,
            lease: self.claimed.lease.clone(),
            cursor: page.cursor.clone(),
            messages,
            present,
            removed: page.removed,
        };
        let report = self
            .engine
            .store
            .commit_batch(batch)
            .await
            .map_err(|error| store_failed("commit the page", error))?;
        self.stored += report.stored;
        if report.stored > 0 {
            self.engine.nudges.router.notify_waiters();
        }
        Ok(Some(page.cursor))
    }

    /// The messages that the store does not hold, each once, oldest first; and the ids of those that it holds.
    async fn compared(
        &self,
        messages: Vec<RemoteMessage>,
    ) -> Result<(Vec<RemoteMessage>, Vec<String>), Stopped> {
        if messages.is_empty() {
            return Ok((messages, Vec::new()));
        }
        let ids: Vec<String> = messages.iter().map(|message| message.provider_id.clone()).collect();
        let mut known: HashSet<String> = self
            .engine
            .store
            .known_provider_ids(self.claimed.mailbox.id, &ids)
            .await
            .map_err(|error| store_failed("compare with what is known", error))?;
        let present = known.iter().cloned().collect();
        let mut fresh: Vec<_> =
            messages.into_iter().filter(|message| known.insert(message.provider_id.clone())).collect();
        fresh.sort_by_key(|message| message.received_at);
        Ok((fresh, present))
    }

    /// The raw message, or a placeholder when it alone cannot be had; none when it is gone.
    async fn fetch(&self, source: &dyn Source, remote: &RemoteMessage) -> Result<Option<Content>, Stopped> {
        let failure = match self.ask_for(source, remote).await {
            Ok(raw) => return Ok(raw.map(Content::Mail)),
            Err(NotFetched::NotStored(failure)) => return Err(failure.into()),
            Err(NotFetched::Refused(failure)) => failure,
        };
        if !may_be_the_messages_own(&failure, self.claimed.mailbox.failures) {
            return Err(failure.into());
        }
        // A refusal for the whole mailbox must not turn its mail into placeholders: the mailbox has to answer now.
        bounded("open the mailbox", source.probe()).await?;
        Ok(Some(self.set_apart(remote, &format!("it could not be fetched: {}", words(&failure)))))
    }

    /// The same for a message that a person asked for. Nothing that the provider says of it ends the reading: while the
    /// mailbox is in trouble it waits for the next one, and a failure of its own is told at once.
    async fn fetch_again(
        &self,
        source: &dyn Source,
        remote: &RemoteMessage,
    ) -> Result<Option<Content>, Stopped> {
        match self.ask_for(source, remote).await {
            Ok(Some(raw)) => Ok(Some(Content::Mail(raw))),
            Ok(None) => Ok(Some(self.set_apart(remote, "it is no longer at the provider"))),
            Err(NotFetched::NotStored(failure)) => Err(failure.into()),
            Err(NotFetched::Refused(failure))
                if may_be_the_messages_own(&failure, u32::MAX)
                    && bounded("open the mailbox", source.probe()).await.is_ok() =>
            {
                Ok(Some(self.set_apart(remote, &format!("it could not be fetched: {}", words(&failure)))))
            }
            Err(NotFetched::Refused(failure)) => {
                tracing::warn!(mailbox = %self.claimed.mailbox.id, failure = %failure, "fetching again is left for later");
                Ok(None)
            }
        }
    }

    async fn ask_for(
        &self,
        source: &dyn Source,
        remote: &RemoteMessage,
    ) -> Result<Option<Fetched>, NotFetched> {
        let limit = self.engine.settings.max_collect_bytes;
        let mut arriving = Arriving::new(&*self.engine.store, limit);
        let asked = source.fetch(&remote.provider_id, limit, &mut arriving);
        let found = bounded("fetch a message", asked).await;
        if let Some(failure) = arriving.not_stored.take() {
            return Err(NotFetched::NotStored(failure));
        }
        match found.map_err(NotFetched::Refused)? {
            Some(_) => arriving.finish().await.map(Some).map_err(NotFetched::NotStored),
            None => Ok(None),
        }
    }

    fn set_apart(&self, remote: &RemoteMessage, reason: &str) -> Content {
        tracing::warn!(mailbox = %self.claimed.mailbox.id, reason, "a message is set apart");
        let raw = placeholder::make(&self.claimed.mailbox.address, remote, reason);
        Content::Placeholder(Fetched::of(raw))
    }

    /// Placeholders that a person wants to be fetched once more; the provider will not name them by itself.
    async fn to_fetch_again(&self) -> Result<Vec<RemoteMessage>, Stopped> {
        let wanted = self
            .engine
            .store
            .to_refetch(self.claimed.mailbox.id, FETCHED_AGAIN)
            .await
            .map_err(|error| store_failed("ask what is to be fetched once more", error))?;
        let remote = |Refetch { provider_id, message_id, received_at }| RemoteMessage {
            provider_id,
            message_id,
            received_at,
        };
        Ok(wanted.into_iter().map(remote).collect())
    }

    fn event(&self, kind: EventKind) -> Event {
        event(self.engine, self.claimed, kind)
    }
}

/// Takes a message into the page.
async fn keep(shelf: &mut Shelf, remote: RemoteMessage, content: Content) -> Result<(), Failure> {
    match content {
        Content::Mail(raw) => shelf.add(remote, raw, false).await,
        Content::Placeholder(raw) => shelf.add(remote, raw, true).await,
    }
}

/// Whether a failure to fetch is about this message and would come again each time.
fn may_be_the_messages_own(failure: &Failure, failures_before: u32) -> bool {
    if failure.status.is_some_and(|status| NEVER_A_MESSAGES_OWN.contains(&status)) {
        return false;
    }
    match (failure.origin, failure.decision()) {
        // By contract of the source: larger than the limit. What could not be stored never comes here.
        (Origin::Ourselves, _) | (Origin::Provider, Decision::Fail) => true,
        (Origin::Provider, _) => failures_before >= PATIENCE,
        // A message so large that the line is cut each time must not block the mailbox for ever either.
        (Origin::Network, _) => failures_before >= PATIENCE_WITH_THE_NETWORK,
    }
}

fn event(engine: &Engine, claimed: &ClaimedMailbox, kind: EventKind) -> Event {
    Event::new(engine.env.new_id(), engine.env.now(), Subject::Mailbox(claimed.mailbox.id), kind)
}

fn interval(claimed: &ClaimedMailbox) -> Option<SignedDuration> {
    claimed.mailbox.settings.polling_interval.resolve(claimed.connection.settings.polling_interval)
}

fn succeeded(engine: &Engine, claimed: &ClaimedMailbox, more: bool, mut events: Vec<Event>) -> PollFinish {
    if claimed.mailbox.state == MailboxState::Failing {
        events.push(event(engine, claimed, EventKind::MailboxRecovered));
    }
    let wait = if more { Some(SignedDuration::ZERO) } else { interval(claimed) };
    PollFinish {
        mailbox: claimed.mailbox.id,
        lease: claimed.lease.clone(),
        state: MailboxState::Running,
        error: None,
        failures: 0,
        next_due_at: wait.map(|wait| engine.after(wait)),
        events,
    }
}

fn failed(
    engine: &Engine,
    claimed: &ClaimedMailbox,
    failure: &Failure,
    mut events: Vec<Event>,
) -> PollFinish {
    let failures = claimed.mailbox.failures.saturating_add(1);
    let error = words(failure);
    if claimed.mailbox.state != MailboxState::Failing {
        let begun = event(engine, claimed, EventKind::MailboxFailing);
        events.push(begun.words(&error).request_id(failure.request_id.clone()));
    }
    let after = match failure.decision() {
        Decision::Retry { after } => after,
        Decision::Fail | Decision::Hold | Decision::Reconcile => None,
    };
    PollFinish {
        mailbox: claimed.mailbox.id,
        lease: claimed.lease.clone(),
        state: MailboxState::Failing,
        error: Some(error),
        failures,
        next_due_at: interval(claimed)
            .map(|interval| engine.after(pace::next_reading(interval, failures, after))),
        events,
    }
}

/// Ends the reading. When the store cannot, the lease ends by itself and the mailbox is read again: nothing is lost.
async fn finish(engine: &Engine, claimed: &ClaimedMailbox, finish: PollFinish) {
    if let Err(error) = engine.store.finish_poll(finish).await {
        tracing::warn!(
            mailbox = %claimed.mailbox.id,
            error = chain(&error),
            "the end of the reading was not recorded"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_failure_it_is() {
        let (provider, network, ours) = (Origin::Provider, Origin::Network, Origin::Ourselves);
        let retry = Decision::Retry { after: None };
        // origin, decision, status: failed readings before it counts as the message's own; none for never
        for (origin, decision, status, from) in [
            (ours, Decision::Hold, None, Some(0)),
            (provider, Decision::Fail, Some(400), Some(0)),
            (provider, Decision::Hold, Some(400), Some(5)),
            (provider, retry, Some(500), Some(5)),
            (network, retry, None, Some(10)),
            (provider, retry, Some(429), None),
            (provider, Decision::Hold, Some(403), None),
            (provider, Decision::Fail, Some(403), None),
            (provider, Decision::Hold, Some(401), None),
        ] {
            let mut failure = Failure::new("fetch", origin, "no", decision);
            failure.status = status;
            let first = (0..100).find(|failures| may_be_the_messages_own(&failure, *failures));
            assert_eq!(first, from, "{failure:?}");
        }
    }
}
