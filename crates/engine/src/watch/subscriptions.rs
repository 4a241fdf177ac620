//! Subscriptions: where Postroom has an address that the provider can reach, the provider calls it when a mailbox has
//! something new, and the mailbox is read at once. A call only wakes; polling goes on, and nothing is lost when a
//! subscription fails.
//!
//! One subscription per polled mailbox, in the journal `subscription/<mailbox id>`. Before one is made, whatever still
//! calls our address for this mailbox is ended: a kill between "made" and "written down" leaves no second one. What a
//! call is known by is random, and only its digest is kept. It begins with the mailbox's id, so a call costs one look into
//! one journal for each mailbox it names, however many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::SignedDuration;
use postroom_model::failure::Failure;
use postroom_model::mailbox::Mailbox;
use postroom_model::{ConnectionId, EmailAddress, ExposeSecret, MailboxId, SecretString, Timestamp};
use postroom_store::StoreError;
use postroom_transport::{Subscribed, Subscriber};
use serde::{Deserialize, Serialize};

use super::turn::Turn;
use super::{limited, read_journal, sooner, write_journal};
use crate::Engine;

const PREFIX: &str = "subscription/";
/// How long a subscription is made to last. Microsoft Graph allows 10,080 minutes; an hour less, because its clock is
/// not ours.
const LIFE: SignedDuration = SignedDuration::from_mins(10_080 - 60);
/// How long before its end it is renewed: long enough that a weekend without the provider does not end it.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(72);
/// First wait after a failure; doubled up to the last.
const FIRST_WAIT: SignedDuration = SignedDuration::from_mins(1);
const LAST_WAIT: SignedDuration = SignedDuration::from_hours(6);
/// Where the provider calls, below the public address.
const PATH: &str = "/api/v1/notifications/graph";
/// Most entries of one call that are looked at.
const MAX_ENTRIES: usize = 1_000;
/// Most entries of one call that may not prove where they come from: the rest is not looked at.
const MAX_STRANGE: usize = 20;
/// Random characters that a call is known by.
const STATE_LENGTH: usize = 64;

/// What is remembered of one mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    connection: Option<ConnectionId>,
    mailbox: Option<EmailAddress>,
    /// Where it calls.
    address: String,
    /// The provider's id; none while there is no subscription.
    id: Option<String>,
    /// SHA-256 of what its calls are known by.
    state: Vec<u8>,
    until: Option<Timestamp>,
    /// The provider asked for a renewal.
    renew: bool,
    failures: u32,
    /// Not before this instant after a failure.
    wait_until: Option<Timestamp>,
    trouble: Option<String>,
}

/// What a call tells of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// Something came, or may have come without being told.
    Arrived,
    /// The subscription must be renewed soon.
    Renew,
    /// The subscription is gone.
    Gone,
}

/// One entry of a call to our address. It may come from anybody.
pub struct Notified {
    /// The provider's id of the subscription.
    pub subscription: String,
    /// What the call proves with that it comes from the provider.
    pub state: SecretString,
    /// What it tells.
    pub news: News,
}

fn journal_of(mailbox: MailboxId) -> String {
    format!("{PREFIX}{mailbox}")
}

/// Looks where something is due. Gives when it is due next.
pub(crate) async fn look(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    let journals = engine.store.journals(PREFIX).await?;
    let address = engine.notices_address();
    if journals.is_empty() && address.is_none() {
        return Ok(None);
    }
    let mut kept: BTreeMap<MailboxId, Kept> = BTreeMap::new();
    for (name, content) in &journals {
        if let Ok(id) = MailboxId::from_str(name.strip_prefix(PREFIX).unwrap_or_default()) {
            kept.insert(id, read_journal(name, Some(content)));
        }
    }
    let mut next = None;
    if let Some(address) = &address {
        for mailbox in wanted(engine).await? {
            let known = kept.remove(&mailbox.id).unwrap_or_default();
            let mut due = due(engine, &known, address);
            if due <= engine.env.now() {
                due = keep(engine, &mailbox, address).await?;
            }
            next = sooner(next, Some(due));
        }
    }
    for (id, known) in kept {
        let mut due = known.wait_until.unwrap_or(Timestamp::UNIX_EPOCH);
        if due <= engine.env.now() {
            due = end(engine, id).await?;
        }
        next = sooner(next, Some(due));
    }
    Ok(next)
}

/// The mailboxes that are polled through a connection that can be subscribed to.
async fn wanted(engine: &Engine) -> Result<Vec<Mailbox>, StoreError> {
    let connections = engine.store.connections().await?;
    let able: BTreeSet<ConnectionId> = connections
        .iter()
        .filter(|connection| engine.transports.can_subscribe(&connection.settings))
        .map(|connection| connection.id)
        .collect();
    let mut mailboxes = engine.store.mailboxes().await?;
    mailboxes.retain(|mailbox| {
        mailbox.removed_at.is_none() && mailbox.next_due_at.is_some() && able.contains(&mailbox.connection)
    });
    Ok(mailboxes)
}

/// When the next step for a mailbox is due.
fn due(engine: &Engine, kept: &Kept, address: &str) -> Timestamp {
    let fits = kept.id.is_some() && kept.address == address && !kept.renew;
    let due = match kept.until.filter(|_| fits) {
        Some(until) => until.saturating_sub(RENEW_BEFORE).unwrap_or(Timestamp::MIN),
        None => engine.env.now(),
    };
    due.max(kept.wait_until.unwrap_or(Timestamp::MIN))
}

async fn load(engine: &Engine, id: MailboxId) -> Result<Kept, StoreError> {
    let name = journal_of(id);
    Ok(read_journal(&name, engine.store.journal(&name).await?.as_deref()))
}

async fn save(engine: &Engine, id: MailboxId, kept: &Kept) -> Result<(), StoreError> {
    let name = journal_of(id);
    engine.store.save_journal(&name, Some(&write_journal(&name, kept)?)).await
}

/// Makes or renews the subscription of a mailbox. Gives when the next step is due.
async fn keep(engine: &Engine, mailbox: &Mailbox, address: &str) -> Result<Timestamp, StoreError> {
    let later = engine.after(FIRST_WAIT);
    let Some(turn) = Turn::take(engine, journal_of(mailbox.id)).await? else { return Ok(later) };
    let kept = keep_in_turn(engine, mailbox, address).await;
    turn.end().await;
    Ok(due(engine, &kept?, address).max(engine.after(SignedDuration::from_secs(1))))
}

async fn keep_in_turn(engine: &Engine, mailbox: &Mailbox, address: &str) -> Result<Kept, StoreError> {
    let mut kept = load(engine, mailbox.id).await?;
    // Another process may have done it while this one waited for its turn.
    if due(engine, &kept, address) > engine.env.now() {
        return Ok(kept);
    }
    let Some(connection) = engine.store.connection(mailbox.connection).await? else { return Ok(kept) };
    let moved = kept.address != address
        || kept.mailbox.as_ref() != Some(&mailbox.address)
        || kept.connection != Some(connection.id);
    if moved && kept.id.is_some() {
        end_in_turn(engine, mailbox.id, &kept).await?;
        kept = Kept::default();
    }
    let until = engine.after(LIFE);
    let subscriber = match engine.transports.subscriber(&connection, &mailbox.address).await {
        Ok(Some(subscriber)) => subscriber,
        Ok(None) => return Ok(Kept { wait_until: Some(engine.after(LAST_WAIT)), ..kept }),
        Err(failure) => return failed(engine, mailbox.id, kept, &failure).await,
    };
    if let Some(id) = kept.id.clone() {
        match limited("renew a subscription", subscriber.renew(&id, until)).await {
            Ok(Some(renewed)) => return made(engine, mailbox.id, kept, renewed).await,
            Ok(None) => {
                tracing::info!(mailbox = %mailbox.address, "the subscription is gone; a new one is made")
            }
            Err(failure) => return failed(engine, mailbox.id, kept, &failure).await,
        }
    }
    let state = SecretString::from(format!("{}.{}", mailbox.id, engine.env.new_token(STATE_LENGTH)));
    kept = Kept {
        connection: Some(connection.id),
        mailbox: Some(mailbox.address.clone()),
        address: address.to_owned(),
        id: None,
        state: digest_of(&state),
        until: None,
        ..kept
    };
    save(engine, mailbox.id, &kept).await?;
    match limited("subscribe", begin(&*subscriber, address, &state, until)).await {
        Ok(subscribed) => {
            tracing::info!(mailbox = %mailbox.address, until = %subscribed.until, "the provider tells of new messages");
            made(engine, mailbox.id, kept, subscribed).await
        }
        Err(failure) => failed(engine, mailbox.id, kept, &failure).await,
    }
}

/// Ends what is there and subscribes anew.
async fn begin(
    subscriber: &dyn Subscriber,
    address: &str,
    state: &SecretString,
    until: Timestamp,
) -> Result<Subscribed, Failure> {
    for stray in subscriber.subscribed(address).await? {
        subscriber.unsubscribe(&stray).await?;
    }
    subscriber.subscribe(address, state, until).await
}

async fn made(
    engine: &Engine,
    id: MailboxId,
    kept: Kept,
    subscribed: Subscribed,
) -> Result<Kept, StoreError> {
    let (until, subscription) = (Some(subscribed.until), Some(subscribed.id));
    let kept =
        Kept { id: subscription, until, renew: false, failures: 0, wait_until: None, trouble: None, ..kept };
    save(engine, id, &kept).await?;
    Ok(kept)
}

/// Remembers a failure; it is logged when it is another one than before.
async fn failed(engine: &Engine, id: MailboxId, kept: Kept, failure: &Failure) -> Result<Kept, StoreError> {
    let words = failure.to_string();
    if kept.trouble.as_ref() != Some(&words) {
        tracing::warn!(mailbox = %id, %failure, "the provider does not tell of new messages; polling goes on");
    }
    let wait = FIRST_WAIT.saturating_mul(1 << kept.failures.min(10)).min(LAST_WAIT);
    let kept = Kept {
        failures: kept.failures.saturating_add(1),
        wait_until: Some(engine.after(wait)),
        trouble: Some(words),
        ..kept
    };
    save(engine, id, &kept).await?;
    Ok(kept)
}

/// Ends the subscription of a mailbox that needs none. Gives when to look again.
async fn end(engine: &Engine, id: MailboxId) -> Result<Timestamp, StoreError> {
    let Some(turn) = Turn::take(engine, journal_of(id)).await? else { return Ok(engine.after(FIRST_WAIT)) };
    let ended = async {
        let kept = load(engine, id).await?;
        end_in_turn(engine, id, &kept).await
    };
    let ended = ended.await;
    turn.end().await;
    Ok(match ended? {
        Some(kept) => kept.wait_until.unwrap_or_else(|| engine.after(LAST_WAIT)),
        None => Timestamp::MAX,
    })
}

/// The journal that stays when the provider could not be asked: asked again until the subscription has ended by itself.
async fn end_in_turn(engine: &Engine, id: MailboxId, kept: &Kept) -> Result<Option<Kept>, StoreError> {
    let over = kept.until.is_none_or(|until| until <= engine.env.now());
    if let (Some(subscription), false) = (&kept.id, over) {
        let connection = match kept.connection {
            Some(connection) => engine.store.connection(connection).await?,
            None => None,
        };
        if let (Some(connection), Some(mailbox)) = (connection, &kept.mailbox) {
            let ended = async {
                match engine.transports.subscriber(&connection, mailbox).await? {
                    Some(subscriber) => subscriber.unsubscribe(subscription).await,
                    None => Ok(()),
                }
            };
            if let Err(failure) = limited("end a subscription", ended).await {
                return failed(engine, id, kept.clone(), &failure).await.map(Some);
            }
        }
    }
    engine.store.save_journal(&journal_of(id), None).await?;
    Ok(None)
}

/// The mailbox that a call says it is about; it has yet to prove it.
fn claimed_by(state: &SecretString) -> Option<MailboxId> {
    MailboxId::from_str(state.expose_secret().split_once('.')?.0).ok()
}

fn digest_of(state: &SecretString) -> Vec<u8> {
    digest(&SHA256, state.expose_secret().as_bytes()).as_ref().to_vec()
}

impl Engine {
    /// Where the provider can call when something is new; none without a public address.
    pub fn notices_address(&self) -> Option<String> {
        self.settings.watch.public_url.as_deref().map(|url| format!("{}{PATH}", url.trim_end_matches('/')))
    }

    /// Takes a call to our address: what proves that it comes from the provider wakes its mailbox, once, and everything
    /// else changes nothing. Gives how many mailboxes were woken.
    ///
    /// # Errors
    /// The store's; the provider may call again.
    pub async fn notified(&self, entries: Vec<Notified>) -> Result<usize, StoreError> {
        let mut known: BTreeMap<MailboxId, Kept> = BTreeMap::new();
        let mut woken = BTreeSet::new();
        let mut strange = 0;
        for entry in entries.into_iter().take(MAX_ENTRIES) {
            if strange >= MAX_STRANGE {
                break;
            }
            let Some(mailbox) = claimed_by(&entry.state) else {
                strange += 1;
                continue;
            };
            if !known.contains_key(&mailbox) {
                known.insert(mailbox, load(self, mailbox).await?);
            }
            let Some(kept) = known.get_mut(&mailbox) else { continue };
            // Both are digests of one length, and compared in constant time.
            if verify_slices_are_equal(&digest_of(&entry.state), &kept.state).is_err() {
                strange += 1;
                continue;
            }
            if !self.note_news(mailbox, kept, &entry).await? {
                continue;
            }
            if entry.news != News::Renew && woken.insert(mailbox) {
                self.wake(mailbox).await?;
            }
        }
        if strange > 0 {
            tracing::warn!(
                entries = strange,
                "calls about subscriptions do not prove where they come from; nothing was done about them"
            );
        }
        Ok(woken.len())
    }

    /// Writes down what an entry that proved itself says of its subscription. False when it is about another one than
    /// the mailbox has now.
    async fn note_news(
        &self,
        mailbox: MailboxId,
        kept: &mut Kept,
        entry: &Notified,
    ) -> Result<bool, StoreError> {
        match (&kept.id, entry.news) {
            // It was made a moment ago, and its id is not written down yet.
            (None, News::Arrived) => return Ok(true),
            (Some(id), _) if *id == entry.subscription => {}
            _ => return Ok(false),
        }
        match entry.news {
            News::Arrived => return Ok(true),
            News::Renew if kept.renew => return Ok(true),
            News::Renew => kept.renew = true,
            News::Gone => kept.id = None,
        }
        save(self, mailbox, kept).await?;
        self.nudges.subscriptions.notify_waiters();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_is_known_by_fits_what_the_provider_keeps() {
        let (env, _clock) = postroom_model::Env::for_test(1);
        let mailbox: MailboxId = env.new_id();
        let state = SecretString::from(format!("{mailbox}.{}", env.new_token(STATE_LENGTH)));
        assert!(state.expose_secret().len() <= 128, "Microsoft Graph keeps 128 characters");
        assert_eq!(claimed_by(&state), Some(mailbox));
        for strange in ["", ".", "guessed", "guessed.more"] {
            assert_eq!(claimed_by(&strange.to_owned().into()), None, "{strange}");
        }
    }
}
