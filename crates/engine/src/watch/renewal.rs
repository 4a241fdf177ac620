//! The renewal of a credential: a second one is staged, tested until it works everywhere, switched to, and the old one
//! is removed at the provider when nobody can be using it any more.
//!
//! ```text
//! begun ──> making ──> made ──> testing ──> switching ──> removing ──> (done)
//!   │     (certificate only)      ^  │
//!   └── client secret, or one ────┘  └──> discarding ──> begun
//!       that was staged by hand
//!
//! removing ──> returning ──> discarding     (the new one is refused while the old one works)
//! ```
//!
//! Each stage is written down before its work begins, and its work may be done twice: a process that is killed at any
//! line leaves a journal from which the next one goes on. A key made here is stored before the provider hears of it,
//! so none is lost; a secret made by the provider bears this renewal's mark, so that one whose answer was lost is
//! found and removed. Whether a renewal is possible is asked before anything is made, and a key that the provider
//! refused to take is retired at once: what is staged is known there.
//!
//! The credential in use stays in use until the next one has passed several tests spread over a minute: one test may
//! meet a front end that knows the new credential while others do not know it yet. After the switch
//! the old one stays for another hour, at the provider for processes that have read it before, and here so that a person
//! can return to it; then it is removed there and its secret erased here. A renewal that somebody took back that way
//! begins anew after hours, when it still is time. When a sign-in is refused after the switch, both credentials are tried; if
//! only the new one is refused, the old one is put to use again, once in a renewal, and the message that met the refusal
//! leaves by it in the same attempt (`fall_back`). Where another connection signs in with the same credential, it stays.

mod fall_back;
mod removal;

use jiff::SignedDuration;
use postroom_model::connection::{Connection, ConnectionKind};
use postroom_model::credential::{Credential, CredentialKind, CredentialState};
use postroom_model::event::{EventKind, Subject};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{ConnectionId, CredentialId, SecretString, Timestamp};
use postroom_store::{NewCredential, StoreError};
use postroom_transport::{CredentialOffice, Presented, RenewalOrder};
use serde::{Deserialize, Serialize};

use super::turn::Turn;
use super::{ACTOR, Gravity, expiry, limited, sentences, write_journal};
use crate::Engine;

pub(super) const PREFIX: &str = "renewal/";

/// How long the old credential stays at the provider after the switch. Whoever read it before the switch has long
/// got its token, or given up, by then.
const REMOVE_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// Tests in a row that a new credential must pass before it is put to use.
const PASSES: u32 = 3;
/// Pause between two of them: together they take a minute.
const PASS_GAP: SignedDuration = SignedDuration::from_secs(30);
/// Refusals of a new credential within this time are put down to propagation.
const PROPAGATION: SignedDuration = SignedDuration::from_hours(1);
/// A new credential that never worked for so long is given up, and another is made.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Until a renewal that waits for a person, or was given up, is tried again.
const HOLD: SignedDuration = SignedDuration::from_hours(6);
/// Failures of a passing kind that are not told.
const QUIET_TRIES: u32 = 3;
/// Pause between two tellings of the same trouble.
const TELL_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// Where a renewal stands. What is named here is what is being done, not what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "stage")]
pub enum Stage {
    /// Another credential is to be had.
    Begun,
    /// A key is made here and stored; the provider does not know it.
    Making,
    /// The provider is given the key that was made.
    Made {
        /// The key.
        next: CredentialId,
    },
    /// The next credential is tried until it works.
    Testing {
        /// The next credential.
        next: CredentialId,
    },
    /// It passed; it becomes the current one.
    Switching {
        /// The next credential.
        next: CredentialId,
    },
    /// It is in use; the old one is removed at the provider.
    Removing,
    /// It is refused while the old one works: the old one is put to use again.
    Returning {
        /// The credential that is refused.
        next: CredentialId,
    },
    /// It never worked, or works no more: it is taken away again.
    Discarding {
        /// The credential that is given up.
        next: CredentialId,
    },
}

/// A renewal under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Its name at the provider.
    pub mark: String,
    /// The credential that is replaced.
    pub old: CredentialId,
    /// The provider's id of it; without one it cannot be removed there.
    pub old_key_id: Option<String>,
    /// When it stops working anyway.
    pub old_expires_at: Option<Timestamp>,
    /// Whether this renewal made the next credential; false for one staged by hand.
    #[serde(default)]
    pub own: bool,
    /// Where it stands.
    #[serde(flatten)]
    pub stage: Stage,
    /// When this stage was reached.
    pub since: Timestamp,
    /// Failures in this stage.
    pub tries: u32,
    /// Tests that the next credential has passed since the last one that it failed.
    #[serde(default)]
    pub passes: u32,
    /// Whether it waits for something that only a person can do.
    #[serde(default)]
    pub for_person: bool,
    /// Not to be gone on with before.
    pub not_before: Timestamp,
    /// The last failure, with its next step.
    pub trouble: Option<String>,
    /// When trouble was last told.
    pub told_at: Option<Timestamp>,
    /// When both credentials were last tried after the switch.
    #[serde(default)]
    pub looked_back_at: Option<Timestamp>,
    /// When the old credential was put to use again, in this renewal or the one before it.
    #[serde(default)]
    pub fell_back_at: Option<Timestamp>,
}

impl Renewal {
    /// A renewal of `old` that begins now.
    pub(super) fn begin(engine: &Engine, old: &Credential) -> Self {
        let now = engine.env.now();
        Self {
            mark: format!("Postroom {}", engine.env.new_uuid()),
            old: old.id,
            old_key_id: old.key_id.clone(),
            old_expires_at: old.expires_at,
            own: false,
            stage: Stage::Begun,
            since: now,
            tries: 0,
            passes: 0,
            for_person: false,
            not_before: now,
            trouble: None,
            told_at: None,
            looked_back_at: None,
            fell_back_at: None,
        }
    }

    fn go(&mut self, engine: &Engine, stage: Stage) -> Next {
        self.stage = stage;
        self.since = engine.env.now();
        (self.tries, self.passes, self.for_person) = (0, 0, false);
        (self.not_before, self.trouble) = (self.since, None);
        Next::GoOn
    }
}

/// Whether Postroom can renew this credential by itself, given the right.
pub(super) fn renewable(connection: &Connection, credential: &Credential) -> bool {
    connection.settings.kind == ConnectionKind::ExchangeOnline
        && matches!(credential.kind, CredentialKind::ClientSecret | CredentialKind::Certificate)
}

/// The whole command that stages a credential of this kind by hand.
pub(super) fn stage_by_hand(connection: &Connection, kind: CredentialKind) -> String {
    let what = match kind {
        CredentialKind::Certificate => "--make-certificate --out FILE",
        _ => "--secret-file FILE",
    };
    let name = connection.settings.display_name();
    format!("stage a new one by hand: postroom credential stage --connection \"{name}\" {what}")
}

pub(super) fn journal_of(connection: ConnectionId) -> String {
    format!("{PREFIX}{connection}")
}

/// What follows a step.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Wait,
    Done,
}

/// Why a step did not succeed.
enum Trouble {
    Store(StoreError),
    Refused(Failure),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// Goes on with a renewal until it waits or is done. Gives it as it then stands; none when it is done.
pub(super) async fn advance(
    engine: &Engine,
    office: &dyn CredentialOffice,
    connection: &Connection,
    mut renewal: Renewal,
    turn: &Turn<'_>,
) -> Result<Option<Renewal>, StoreError> {
    let name = journal_of(connection.id);
    let mut fresh = None;
    loop {
        if renewal.not_before > engine.env.now() || !turn.keep().await? {
            return Ok(Some(renewal));
        }
        let making = renewal.stage == Stage::Making;
        let step = Step { engine, office, connection, fresh };
        let next = match step.take(&mut renewal).await {
            Ok(next) => next,
            Err(Trouble::Store(error)) => return Err(error),
            Err(Trouble::Refused(failure)) => step.refused(&mut renewal, &failure).await?,
        };
        if let (true, Stage::Made { next }) = (making, renewal.stage) {
            fresh = Some(next);
        }
        if next == Next::Done {
            engine.store.save_journal(&name, None).await?;
            return Ok(None);
        }
        engine.store.save_journal(&name, Some(&write_journal(&name, &renewal)?)).await?;
        if next == Next::Wait {
            return Ok(Some(renewal));
        }
    }
}

/// One step of one renewal.
struct Step<'a> {
    engine: &'a Engine,
    office: &'a dyn CredentialOffice,
    connection: &'a Connection,
    /// A key that was made a moment ago in this very process: the provider cannot have heard of it before.
    fresh: Option<CredentialId>,
}

impl Step<'_> {
    async fn take(&self, renewal: &mut Renewal) -> Result<Next, Trouble> {
        match renewal.stage {
            Stage::Begun => self.begun(renewal).await,
            Stage::Making => self.making(renewal).await,
            Stage::Made { next } => self.made(renewal, next).await,
            Stage::Testing { next } => self.testing(renewal, next).await,
            Stage::Switching { next } => self.switching(renewal, next).await,
            Stage::Removing => self.removing(renewal).await,
            Stage::Returning { next } => self.returning(renewal, next).await,
            Stage::Discarding { next } => self.discarding(renewal, next).await,
        }
    }

    /// The next credential that somebody staged, else a way to have one.
    async fn begun(&self, renewal: &mut Renewal) -> Result<Next, Trouble> {
        let held = self.engine.store.credentials(self.connection.id).await?;
        if let Some(next) = held.iter().find(|one| one.state == CredentialState::Next) {
            return Ok(renewal.go(self.engine, Stage::Testing { next: next.id }));
        }
        let Some((current, secret)) = self.current().await? else { return Ok(Next::Done) };
        if current.id != renewal.old {
            return Ok(Next::Done); // replaced by hand
        }
        // The journal may be older than what has been learned since.
        renewal.old_key_id = current.key_id.clone().or(renewal.old_key_id.take());
        if current.kind == CredentialKind::Certificate {
            let possible = self.office.can_renew(self.connection, presented(&current, &secret));
            limited("ask whether the credential can be renewed", possible).await?;
            return Ok(renewal.go(self.engine, Stage::Making));
        }
        let order = RenewalOrder { current: presented(&current, &secret), made: None, mark: &renewal.mark };
        let renewed = limited("renew the credential", self.office.renew(self.connection, order)).await?;
        let new = NewCredential {
            kind: renewed.kind,
            secret: renewed.secret,
            expires_at: renewed.expires_at,
            key_id: renewed.key_id,
        };
        let staged = self.engine.store.stage_credential(self.connection.id, new, ACTOR).await?;
        renewal.own = true;
        Ok(renewal.go(self.engine, Stage::Testing { next: staged.id }))
    }

    /// A key that an earlier try stored here is unknown to everybody; staging another retires it.
    async fn making(&self, renewal: &mut Renewal) -> Result<Next, Trouble> {
        let made = match limited("make a key", self.office.make_key(self.connection)).await {
            Ok(made) => made,
            Err(failure) => {
                renewal.stage = Stage::Begun; // so that one staged by hand meanwhile is taken
                return Err(failure.into());
            }
        };
        let new = NewCredential {
            kind: CredentialKind::Certificate,
            secret: made.secret,
            expires_at: Some(made.expires_at),
            key_id: None,
        };
        let staged = self.engine.store.stage_credential(self.connection.id, new, ACTOR).await?;
        renewal.own = true;
        Ok(renewal.go(self.engine, Stage::Made { next: staged.id }))
    }

    async fn made(&self, renewal: &mut Renewal, next: CredentialId) -> Result<Next, Trouble> {
        let Some(made) = self.still_next(next).await? else { return Ok(Next::Done) };
        let Some((current, secret)) = self.current().await? else {
            self.engine.store.retire_credential(next, ACTOR).await?;
            return Ok(Next::Done);
        };
        let order =
            RenewalOrder { current: presented(&current, &secret), made: Some(&made), mark: &renewal.mark };
        let renewed = limited("renew the credential", self.office.renew(self.connection, order)).await?;
        self.engine.store.learn_credential(next, renewed.expires_at, renewed.key_id.as_deref()).await?;
        Ok(renewal.go(self.engine, Stage::Testing { next }))
    }

    async fn testing(&self, renewal: &mut Renewal, next: CredentialId) -> Result<Next, Trouble> {
        if self.is_current(next).await? {
            return Ok(renewal.go(self.engine, Stage::Switching { next })); // switched by hand
        }
        let Some(secret) = self.still_next(next).await? else { return Ok(Next::Done) };
        let held = self.engine.store.credentials(self.connection.id).await?;
        let Some(credential) = held.iter().find(|one| one.id == next) else { return Ok(Next::Done) };
        let mailbox = self.engine.test_mailbox(self.connection.id).await?;
        let test = self.office.test(self.connection, presented(credential, &secret), mailbox.as_ref());
        limited("test the next credential", test).await?;
        renewal.passes = renewal.passes.saturating_add(1);
        if renewal.passes >= PASSES {
            return Ok(renewal.go(self.engine, Stage::Switching { next }));
        }
        (renewal.tries, renewal.trouble) = (0, None);
        renewal.not_before = self.engine.after(PASS_GAP);
        Ok(Next::Wait)
    }

    async fn switching(&self, renewal: &mut Renewal, next: CredentialId) -> Result<Next, Trouble> {
        if !self.is_current(next).await? {
            if self.still_next(next).await?.is_none() {
                return Ok(Next::Done); // retired by hand
            }
            self.engine.store.switch_credential(self.connection.id, ACTOR).await?;
        }
        self.told_renewed(renewal, next).await?;
        let next = renewal.go(self.engine, Stage::Removing);
        renewal.not_before = self.engine.after(REMOVE_AFTER);
        Ok(next)
    }

    /// Takes back what never worked or works no more, and begins anew later. What a person staged stays. What cannot be removed at the provider ends by itself.
    async fn discarding(&self, renewal: &mut Renewal, next: CredentialId) -> Result<Next, Trouble> {
        let held = self.engine.store.credentials(self.connection.id).await?;
        let given_up = held.iter().find(|one| one.id == next).filter(|_| renewal.own);
        if let (Some(key_id), Some((current, secret))) =
            (given_up.and_then(|one| one.key_id.as_deref()), self.current().await?)
        {
            let remove = self.office.remove(self.connection, presented(&current, &secret), key_id);
            if let Err(failure) = limited("remove the credential that never worked", remove).await {
                tracing::warn!(%failure, "it stays at the provider until it ends");
            }
        }
        let unused = |one: &Credential| matches!(one.state, CredentialState::Next | CredentialState::Former);
        if given_up.is_some_and(unused) {
            self.engine.store.retire_credential(next, ACTOR).await?;
        }
        let (told_at, fell_back_at) = (renewal.told_at, renewal.fell_back_at);
        let Some((current, _)) = self.current().await? else { return Ok(Next::Done) };
        *renewal = Renewal::begin(self.engine, &current);
        (renewal.told_at, renewal.fell_back_at) = (told_at, fell_back_at);
        renewal.not_before = self.engine.after(HOLD);
        Ok(Next::Wait)
    }

    /// Writes a failure down, tells it when it is time, and decides when to go on.
    async fn refused(&self, renewal: &mut Renewal, failure: &Failure) -> Result<Next, StoreError> {
        let now = self.engine.env.now();
        let age = now.duration_since(renewal.since);
        renewal.tries = renewal.tries.saturating_add(1);
        renewal.passes = 0;
        let held = self.engine.store.credentials(self.connection.id).await?;
        let by_hand = stage_by_hand(self.connection, self.kind_of(&held, renewal.old));
        let advice = format!("{by_hand}; the credential in use stays in use");
        let words = sentences(failure, &advice);
        renewal.trouble = Some(words.clone());
        let (wait, quiet) = match (renewal.stage, failure.decision()) {
            (Stage::Testing { .. }, _) => (propagation_gap(renewal.tries), age < PROPAGATION),
            (_, Decision::Retry { after: Some(after) }) => (after, renewal.tries <= QUIET_TRIES),
            (_, Decision::Retry { after: None }) => (retry_gap(renewal.tries), renewal.tries <= QUIET_TRIES),
            _ => (HOLD, false),
        };
        let passing = matches!(failure.decision(), Decision::Retry { .. });
        renewal.for_person = !passing && !matches!(renewal.stage, Stage::Testing { .. });
        tracing::info!(connection = %self.connection.id, stage = ?renewal.stage, %failure, "renewal waits");
        let told = renewal.told_at.is_some_and(|told| now.duration_since(told) < TELL_EVERY);
        if !quiet && !told {
            let subject = Subject::Credential(renewal.old);
            let kind = EventKind::CredentialRenewalFailed;
            self.engine.announce(self.connection, subject, kind, Gravity::Error, words).await?;
            renewal.told_at = Some(now);
        }
        // Only a credential that the provider refuses is given up; a network that fails says nothing about it.
        let hopeless = renewal.own && failure.origin == Origin::Provider && age >= GIVE_UP_AFTER;
        if let (Stage::Testing { next }, true) = (renewal.stage, hopeless) {
            return Ok(renewal.go(self.engine, Stage::Discarding { next }));
        }
        // A key that the provider refused to take must not wait here to be switched to.
        if let (Stage::Made { next }, false) = (renewal.stage, passing)
            && (self.fresh == Some(next) || age >= GIVE_UP_AFTER)
        {
            if held.iter().any(|one| one.id == next && one.state == CredentialState::Next) {
                self.engine.store.retire_credential(next, ACTOR).await?;
            }
            (renewal.stage, renewal.since, renewal.own) = (Stage::Begun, now, false);
        }
        renewal.not_before = self.engine.after(wait);
        Ok(Next::Wait)
    }

    async fn told_renewed(&self, renewal: &Renewal, next: CredentialId) -> Result<(), StoreError> {
        let held = self.engine.store.credentials(self.connection.id).await?;
        let day = |at: Timestamp| jiff::tz::TimeZone::UTC.to_datetime(at).date().to_string();
        let until = held.iter().find(|one| one.id == next).and_then(|one| one.expires_at);
        let until = until.map_or_else(|| "a time that is not known".to_owned(), day);
        let shared = match (held.iter().find(|one| one.id == next), &renewal.old_key_id) {
            (Some(like), Some(key_id)) => self.shared_with(like, key_id).await?,
            _ => None,
        };
        let old = match &renewal.old_key_id {
            Some(_) if shared.is_some() => {
                format!("the old one stays at the provider while {} signs in with it", shared.unwrap_or_default())
            }
            Some(_) => "the old one is removed at the provider in an hour".to_owned(),
            None => "the old one cannot be removed at the provider, because its key id is not known; it ends by itself"
                .to_owned(),
        };
        let words = format!("the new credential is in use and works until {until}; {old}");
        let kind = EventKind::CredentialRenewed;
        let subject = Subject::Credential(next);
        self.engine.announce_once(self.connection, subject, kind, Gravity::Information, words).await
    }

    fn kind_of(&self, held: &[Credential], id: CredentialId) -> CredentialKind {
        held.iter().find(|one| one.id == id).map_or(CredentialKind::ClientSecret, |one| one.kind)
    }

    async fn current(&self) -> Result<Option<(Credential, SecretString)>, StoreError> {
        self.engine.store.credential_secret(self.connection.id).await
    }

    async fn is_current(&self, id: CredentialId) -> Result<bool, StoreError> {
        let held = self.engine.store.credentials(self.connection.id).await?;
        Ok(held.iter().any(|one| one.id == id && one.state == CredentialState::Current))
    }

    /// The secret of the next credential; none when somebody retired it or staged another.
    async fn still_next(&self, id: CredentialId) -> Result<Option<SecretString>, StoreError> {
        let held = self.engine.store.credentials(self.connection.id).await?;
        match held.iter().any(|one| one.id == id && one.state == CredentialState::Next) {
            true => self.engine.store.secret_of(id).await,
            false => Ok(None),
        }
    }
}

fn presented<'a>(credential: &Credential, secret: &'a SecretString) -> Presented<'a> {
    Presented { kind: credential.kind, secret }
}

impl Renewal {
    /// What is being done, in a sentence.
    pub fn sentence(&self, now: Timestamp) -> String {
        let doing = match self.stage {
            Stage::Begun | Stage::Making | Stage::Made { .. } => "a new credential is to be had",
            Stage::Testing { .. } => "the new credential is tested; the old one stays in use",
            Stage::Switching { .. } => "the new credential is put to use",
            Stage::Removing => "the new credential is in use; the old one is to be removed at the provider",
            Stage::Returning { .. } => "the new credential is refused; the old one is put to use again",
            Stage::Discarding { .. } => "a new credential that does not work is taken back",
        };
        let wait = match self.not_before > now {
            true => format!(", next step at {:.0}", self.not_before),
            false => String::new(),
        };
        let trouble = self.trouble.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
        format!("{doing}{wait}{trouble}")
    }
}

/// Gaps between two tests of a new credential: 15 s, doubled each time, at most an hour.
fn propagation_gap(tries: u32) -> SignedDuration {
    let doubled = 15_i64 << tries.saturating_sub(1).min(10);
    SignedDuration::from_secs(doubled).min(SignedDuration::from_hours(1))
}

/// Gaps after passing failures: 1 min, doubled each time, at most six hours.
fn retry_gap(tries: u32) -> SignedDuration {
    SignedDuration::from_mins(1_i64 << tries.saturating_sub(1).min(10)).min(HOLD)
}

/// Whether it is time to renew.
pub(super) fn is_time(engine: &Engine, credential: &Credential) -> bool {
    let days = engine.settings.watch.renew_days_before;
    credential.expires_at.is_some_and(|end| expiry::days_left(end, engine.env.now()) <= days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_grow_and_are_bounded() {
        let seconds = |gap: SignedDuration| gap.as_secs();
        let tests: Vec<i64> = (1..=10).map(|tries| seconds(propagation_gap(tries))).collect();
        assert_eq!(tests, [15, 30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!(seconds(propagation_gap(u32::MAX)), 3_600);
        let retries: Vec<i64> = [1, 2, 3, 9, 10, u32::MAX].map(|tries| seconds(retry_gap(tries))).into();
        assert_eq!(retries, [60, 120, 240, 15_360, 21_600, 21_600]);
    }

    #[test]
    fn a_journal_reads_as_it_was_written() {
        let (env, _) = postroom_model::Env::for_test(3);
        let renewal = Renewal {
            mark: "Postroom 1".into(),
            old: env.new_id(),
            old_key_id: Some("k".into()),
            old_expires_at: Some(env.now()),
            own: true,
            stage: Stage::Testing { next: env.new_id() },
            since: env.now(),
            tries: 2,
            passes: 1,
            for_person: false,
            not_before: env.now(),
            trouble: None,
            told_at: None,
            looked_back_at: None,
            fell_back_at: Some(env.now()),
        };
        let text = serde_json::to_string(&renewal).unwrap();
        assert!(text.contains(r#""stage":"testing""#), "{text}");
        assert_eq!(serde_json::from_str::<Renewal>(&text).unwrap(), renewal);
    }
}
