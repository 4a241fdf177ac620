//! One reading of one mailbox.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use jiff::SignedDuration;
use postroom_model::Timestamp;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::MailboxState;
use postroom_store::{ClaimedMailbox, CollectedBatch, PollFinish, Refetch, StoreError};
use postroom_transport::{RemoteMessage, Source};

use super::ahead::{self, Ahead};
use super::progress::Progress;
use super::storing::{Arriving, Fetched, Shelf};
use super::{bounded, pace, placeholder};
use crate::outbox::words;
use crate::watch::reconciliation::{MARGIN, Report};
use crate::worker::chain;
use crate::{Engine, own_failure};

/// How many leases of the outbox a reading may take.
pub(super) const LEASE_FACTOR: i32 = 5;
/// Failed readings in a row after which a provider's trouble with a single message counts as that message's own, and for
/// how long they must have failed: an interval of seconds must not make an hour of patience one of seconds.
const PATIENCE: Trouble = Trouble { failures: 5, lasting: SignedDuration::from_hours(1) };
/// The same for a line that is cut.
const PATIENCE_WITH_THE_NETWORK: Trouble = Trouble { failures: 10, lasting: SignedDuration::from_hours(6) };
/// Messages that are fetched and committed at once, few enough for one short transaction.
const BATCH: usize = 50;
/// Ids that are compared at once.
const COMPARED: usize = 500;
/// Most messages fetched once more in one reading.
const FETCHED_AGAIN: u32 = 50;
/// Statuses about rights and load, which may concern fetching and leave the probe alone: an application that may
/// read headers only, for instance.
const NEVER_A_MESSAGES_OWN: [u16; 3] = [401, 403, 429];

/// How long a mailbox has not been read to its end, for whatever reason.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    /// Failed readings in a row.
    failures: u32,
    /// Time since the last good one; without end when there was none.
    lasting: SignedDuration,
}

impl Trouble {
    /// As long as it gets: what is asked for by a person is told at once.
    const ENDLESS: Self = Self { failures: u32::MAX, lasting: SignedDuration::MAX };

    fn exceeds(self, patience: Self) -> bool {
        self.failures >= patience.failures && self.lasting >= patience.lasting
    }
}

/// Reads a claimed mailbox and ends the claim. Gives the number of messages not known before.
pub(super) async fn read(engine: &Engine, claimed: ClaimedMailbox) -> Result<u32, Failure> {
    let begun = engine.env.now();
    let mut reading = Reading::new(engine, &claimed);
    let mut ended = guarded(&mut reading).await;
    // A credential that has just been renewed and is refused: the connection has returned to the one before it.
    if let Err(Stopped::Failed(failure)) = &ended
        && engine.fell_back(&claimed.connection, failure).await
    {
        ended = guarded(&mut reading).await;
    }
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

/// Reads all pages; a panic is a failure of our own.
async fn guarded(reading: &mut Reading<'_>) -> Result<bool, Stopped> {
    AssertUnwindSafe(reading.pages()).catch_unwind().await.unwrap_or_else(|_| Err(Stopped::from(fault())))
}

/// Reads a claimed mailbox, compares what the provider has received since `since` with what is stored, fetches what is
/// missing, and ends the claim.
pub(super) async fn reconcile(
    engine: &Engine,
    claimed: ClaimedMailbox,
    since: Timestamp,
) -> Result<Report, Failure> {
    let mut reading = Reading::new(engine, &claimed);
    let compared = match AssertUnwindSafe(reading.compare_all(since)).catch_unwind().await {
        Ok(compared) => compared,
        Err(_) => Err(Stopped::from(fault())),
    };
    let events = std::mem::take(&mut reading.events);
    match compared {
        Ok(report) => {
            let mut end = succeeded(engine, &claimed, false, events);
            end.events.push(event(engine, &claimed, EventKind::MailboxReconciled).words(report.words()));
            finish(engine, &claimed, end).await;
            Ok(report)
        }
        Err(Stopped::Failed(failure)) => {
            finish(engine, &claimed, failed(engine, &claimed, &failure, events)).await;
            Err(*failure)
        }
        Err(Stopped::LeaseLost(error)) => Err(own_failure("compare with the provider", &error)),
    }
}

fn fault() -> Failure {
    let words = "a fault of Postroom ended the reading";
    Failure::new("read the mailbox", Origin::Ourselves, words, Decision::Retry { after: None })
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
    /// What is to be fetched once more: with the first batch, whose commit covers it.
    again: Vec<RemoteMessage>,
    stored: u32,
    events: Vec<Event>,
    progress: Progress,
}

/// What is committed at once.
#[derive(Default)]
struct Batch {
    fresh: Vec<RemoteMessage>,
    present: Vec<String>,
    removed: Vec<String>,
    cursor: Option<String>,
}

impl<'a> Reading<'a> {
    fn new(engine: &'a Engine, claimed: &'a ClaimedMailbox) -> Self {
        let progress = Progress::begin();
        Self { engine, claimed, again: Vec::new(), stored: 0, events: Vec::new(), progress }
    }

    /// Page after page. Gives whether more waits, because the reading gave way.
    async fn pages(&mut self) -> Result<bool, Stopped> {
        let source = self.source().await?;
        let mut cursor = self.claimed.cursor.clone();
        self.pages_of(&*source, &mut cursor).await
    }

    async fn pages_of(&mut self, source: &dyn Source, cursor: &mut Option<String>) -> Result<bool, Stopped> {
        let engine = self.engine;
        let gives_way_at = engine.after(super::lease(engine) / 2);
        self.again = self.to_fetch_again().await?;
        loop {
            let (ahead, next, more) = self.gather(source, cursor.clone()).await?;
            let came = self.take(source, ahead, cursor, next, more, gives_way_at).await?;
            if !came {
                return Ok(true);
            }
            if !more {
                return Ok(false);
            }
            if engine.env.now() >= gives_way_at {
                return Ok(true);
            }
        }
    }

    /// Reads, lists what the provider received since `since`, and fetches what is missing. The cursor stays where
    /// reading left it.
    async fn compare_all(&mut self, since: Timestamp) -> Result<Report, Stopped> {
        let source = self.source().await?;
        let mut cursor = self.claimed.cursor.clone();
        self.pages_of(&*source, &mut cursor).await?;
        let now = self.engine.env.now();
        let until = now.saturating_sub(MARGIN).unwrap_or(now);
        let floor = self.claimed.mailbox.floor().unwrap_or(since).max(since);
        let mut listed = bounded("list what was received", source.received_since(floor)).await?;
        listed.retain(|message| message.received_at >= floor && message.received_at < until);
        let mut report =
            Report { at: now, since: floor, at_provider: listed.len() as u64, ..Report::default() };
        let mut ahead = Ahead::default();
        for some in listed.chunks(COMPARED) {
            self.compare(&mut ahead, some.to_vec()).await?;
        }
        let (mut fresh, _, _) = ahead.into_parts();
        report.missing = fresh.len() as u64;
        let name =
            |message: &RemoteMessage| message.message_id.clone().unwrap_or(message.provider_id.clone());
        let named = fresh.iter().take(Report::LISTED).map(|message| (message.received_at, name(message)));
        report.listed = named.collect();
        while !fresh.is_empty() {
            let rest = fresh.split_off(BATCH.min(fresh.len()));
            let fresh_now = std::mem::replace(&mut fresh, rest);
            let batch = Batch { fresh: fresh_now, cursor: cursor.clone(), ..Batch::default() };
            report.fetched += self.batch(&*source, cursor.clone(), batch).await?;
        }
        Ok(report)
    }

    /// The source, told from when on it matters.
    async fn source(&self) -> Result<Box<dyn Source>, Failure> {
        let mailbox = &self.claimed.mailbox;
        let mut source = self.engine.transports.source(&self.claimed.connection, mailbox).await?;
        if let Some(floor) = mailbox.floor() {
            source.begin_at(floor);
        }
        Ok(source)
    }

    /// What is new: one page where pages come in order, else so many that the oldest of a backlog is among them. Gives
    /// it with the cursor behind it and whether more follows.
    async fn gather(
        &mut self,
        source: &dyn Source,
        mut cursor: Option<String>,
    ) -> Result<(Ahead, String, bool), Stopped> {
        let mut ahead = Ahead::default();
        loop {
            let page = bounded("read the mailbox", source.changes(cursor.as_deref())).await?;
            if page.resync && self.events.is_empty() {
                self.events.push(self.event(EventKind::MailboxResync));
            }
            let more = page.more && cursor.as_deref() != Some(page.cursor.as_str());
            self.compare(&mut ahead, page.messages).await?;
            for id in page.removed {
                ahead.removed(id);
            }
            if !more || source.in_order() || ahead.len() >= ahead::MOST {
                return Ok((ahead, page.cursor, more));
            }
            cursor = Some(page.cursor);
        }
    }

    /// Fetches and commits what was gathered, batch by batch, oldest first. The cursor moves with the last one only: cut
    /// off before, the next reading gathers anew and passes over what is stored by then. Gives whether it came to the
    /// end, and did not give way.
    async fn take(
        &mut self,
        source: &dyn Source,
        ahead: Ahead,
        cursor: &mut Option<String>,
        next: String,
        more: bool,
        gives_way_at: Timestamp,
    ) -> Result<bool, Stopped> {
        let (mut fresh, present, removed) = ahead.into_parts();
        while fresh.len() > BATCH {
            let rest = fresh.split_off(BATCH);
            let batch = Batch {
                fresh: std::mem::replace(&mut fresh, rest),
                cursor: cursor.clone(),
                ..Batch::default()
            };
            let collected = self.batch(source, cursor.clone(), batch).await?;
            self.note_progress(source, collected, fresh.len(), more).await;
            if self.engine.env.now() >= gives_way_at {
                return Ok(false);
            }
        }
        let batch = Batch { fresh, present, removed, cursor: Some(next.clone()) };
        let collected = self.batch(source, cursor.clone(), batch).await?;
        *cursor = Some(next);
        self.note_progress(source, collected, 0, more).await;
        Ok(true)
    }

    /// What waits: the rest of what was gathered, what the source knows to follow, and at least one when more follows.
    async fn note_progress(&mut self, source: &dyn Source, collected: u64, rest: usize, more: bool) {
        if collected == 0 {
            return;
        }
        let behind = source.waiting().await.unwrap_or(u64::from(more));
        let (store, now) = (self.engine.store.as_ref(), self.engine.env.now());
        self.progress.note(store, self.claimed.mailbox.id, now, collected, rest as u64 + behind).await;
    }

    /// One batch: fetch what is new, commit it with the cursor. Gives the number of messages that were fetched.
    async fn batch(
        &mut self,
        source: &dyn Source,
        before: Option<String>,
        batch: Batch,
    ) -> Result<u64, Stopped> {
        let mailbox = &self.claimed.mailbox;
        let mut shelf = Shelf::new(self.engine.store.clone());
        let Batch { mut fresh, present, removed, cursor } = batch;
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
        let collected = messages.len() as u64;
        // What changes seldom is written seldom: an idle poll commits nothing. A mail that came back moves the cursor.
        if messages.is_empty() && removed.is_empty() && cursor == before {
            return Ok(collected);
        }
        let lease = self.claimed.lease.clone();
        let batch = CollectedBatch { mailbox: mailbox.id, lease, cursor, messages, present, removed };
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
        if report.delivered > 0 {
            self.engine.nudges.settling.notify_waiters();
        }
        Ok(collected)
    }

    /// Adds a page's messages: those that the store does not hold, and those that it holds. Old mail that is not wanted
    /// is passed over.
    async fn compare(&self, ahead: &mut Ahead, mut messages: Vec<RemoteMessage>) -> Result<(), Stopped> {
        if let Some(floor) = self.claimed.mailbox.floor() {
            messages.retain(|message| message.received_at >= floor);
        }
        if messages.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = messages.iter().map(|message| message.provider_id.clone()).collect();
        let known = self
            .engine
            .store
            .known_provider_ids(self.claimed.mailbox.id, &ids)
            .await
            .map_err(|error| store_failed("compare with what is known", error))?;
        for message in messages {
            if known.contains(&message.provider_id) {
                ahead.present(message.provider_id);
            } else {
                ahead.fresh(message);
            }
        }
        Ok(())
    }

    /// The raw message, or a placeholder when it alone cannot be had; none when it is gone.
    async fn fetch(&self, source: &dyn Source, remote: &RemoteMessage) -> Result<Option<Content>, Stopped> {
        let failure = match self.ask_for(source, remote).await {
            Ok(raw) => return Ok(raw.map(Content::Mail)),
            Err(NotFetched::NotStored(failure)) => return Err(failure.into()),
            Err(NotFetched::Refused(failure)) => failure,
        };
        if !may_be_the_messages_own(&failure, self.trouble()) {
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
                if may_be_the_messages_own(&failure, Trouble::ENDLESS)
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
            Some(size) if size != arriving.size() => {
                let words = format!("the message has {size} bytes, and {} came", arriving.size());
                let decision = Decision::Retry { after: None };
                Err(NotFetched::Refused(Failure::new("fetch a message", Origin::Network, words, decision)))
            }
            Some(_) => arriving.finish().await.map(Some).map_err(NotFetched::NotStored),
            None => Ok(None),
        }
    }

    fn trouble(&self) -> Trouble {
        let mailbox = &self.claimed.mailbox;
        let since = |good| self.engine.env.now().duration_since(good);
        Trouble {
            failures: mailbox.failures,
            lasting: mailbox.last_success_at.map_or(SignedDuration::MAX, since),
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
fn may_be_the_messages_own(failure: &Failure, before: Trouble) -> bool {
    if failure.status.is_some_and(|status| NEVER_A_MESSAGES_OWN.contains(&status)) {
        return false;
    }
    match (failure.origin, failure.decision()) {
        // By contract of the source: larger than the limit. What could not be stored never comes here.
        (Origin::Ourselves, _) | (Origin::Provider, Decision::Fail) => true,
        (Origin::Provider, _) => before.exceeds(PATIENCE),
        // A message so large that the line is cut each time must not block the mailbox for ever either.
        (Origin::Network, _) => before.exceeds(PATIENCE_WITH_THE_NETWORK),
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
    let changed = !finish.events.is_empty();
    let finished = engine.store.finish_poll(finish).await;
    if changed {
        engine.nudges.alarms.notify_waiters();
    }
    if let Err(error) = finished {
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
            let after = |failures, lasting| may_be_the_messages_own(&failure, Trouble { failures, lasting });
            let first = (0..100).find(|failures| after(*failures, SignedDuration::from_hours(6)));
            assert_eq!(first, from, "{failure:?}");
            let seconds = (0..100).find(|failures| after(*failures, SignedDuration::from_secs(40)));
            assert_eq!(
                seconds,
                from.filter(|from| *from == 0),
                "a short interval is no trouble: {failure:?}"
            );
        }
    }
}
