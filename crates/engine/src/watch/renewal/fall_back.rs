//! The way back: a new credential that is refused after the switch, while the old one still works, is put out of use
//! again by itself, before a message fails for it.
//!
//! A failure alone proves nothing: it only makes both credentials be tried. They are switched when the provider refuses
//! the new one and takes the old one at the same time. That happens once in a renewal, because its next stage takes the
//! new credential away, and another renewal begins hours later with a credential of its own.

use jiff::SignedDuration;
use postroom_model::connection::Connection;
use postroom_model::credential::CredentialState;
use postroom_model::event::{EventKind, Subject};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{CredentialId, Timestamp};
use postroom_store::StoreError;
use postroom_transport::CredentialOffice;

use super::super::turn::Turn;
use super::super::{ACTOR, Gravity, limited};
use super::{HOLD, Next, Renewal, Stage, Step, Trouble, advance, presented};
use crate::Engine;
use crate::worker::chain;

/// Pause between two trials of both credentials: each costs two sign-ins.
const LOOK_BACK_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// How long after the way back a refusal is put down to the credential that was in use before.
const STILL_MEANS_THE_OTHER: SignedDuration = SignedDuration::from_mins(5);
/// What the refusals of Microsoft Entra begin with.
const REFUSED_SIGN_IN: &str = "AADSTS";

/// Whether a failure can come from the credential: the sign-in was refused, or the token of it.
fn may_blame_the_credential(failure: &Failure) -> bool {
    let sign_in = failure.code.as_deref().is_some_and(|code| code.starts_with(REFUSED_SIGN_IN));
    failure.origin == Origin::Provider && (sign_in || failure.status == Some(401))
}

impl Engine {
    /// Whether what failed is worth another try at once, because the connection has just returned to the credential
    /// before its renewal. That is decided here: see the head of this module. Cheap when no renewal is in its last hour.
    pub(crate) async fn fell_back(&self, connection: &Connection, failure: &Failure) -> bool {
        if !may_blame_the_credential(failure) {
            return false;
        }
        let Some(office) = self.office.clone() else { return false };
        match self.fall_back(office.as_ref(), connection).await {
            Ok(fell_back) => fell_back,
            Err(error) => {
                let (connection, error) = (connection.id, chain(&error));
                tracing::error!(%connection, error, "whether the renewal was right could not be seen");
                false
            }
        }
    }

    async fn fall_back(
        &self,
        office: &dyn CredentialOffice,
        connection: &Connection,
    ) -> Result<bool, StoreError> {
        if !self.renewal(connection.id).await?.is_some_and(|renewal| renewal.may_fall_back()) {
            return Ok(false);
        }
        // All messages that are refused at the same time wait here for the first of them.
        let _first = self.nudges.falling_back.lock().await;
        let Some(renewal) = self.renewal(connection.id).await? else { return Ok(false) };
        if renewal.fell_back_lately(self.env.now()) {
            return Ok(true);
        }
        let Some(turn) = Turn::take(self, format!("credentials/{}", connection.id)).await? else {
            return Ok(false);
        };
        let done = self.fall_back_under(office, connection, &turn).await;
        turn.end().await;
        done
    }

    async fn fall_back_under(
        &self,
        office: &dyn CredentialOffice,
        connection: &Connection,
        turn: &Turn<'_>,
    ) -> Result<bool, StoreError> {
        let now = self.env.now();
        let Some(mut renewal) = self.renewal(connection.id).await? else { return Ok(false) };
        if renewal.stage != Stage::Removing || !renewal.may_look_back(now) {
            return Ok(renewal.fell_back_lately(now));
        }
        let step = Step { engine: self, office, connection, fresh: None };
        let returns = step.looks_back(&mut renewal).await?;
        self.save_renewal(connection.id, &renewal).await?;
        if !returns {
            return Ok(false);
        }
        let stands = advance(self, office, connection, renewal, turn).await?;
        self.nudges.credentials.notify_waiters();
        Ok(stands.is_some_and(|renewal| renewal.fell_back_lately(now)))
    }
}

impl Renewal {
    fn may_fall_back(&self) -> bool {
        self.stage == Stage::Removing || self.fell_back_at.is_some()
    }

    fn may_look_back(&self, now: Timestamp) -> bool {
        self.looked_back_at.is_none_or(|looked| now.duration_since(looked) >= LOOK_BACK_EVERY)
    }

    fn fell_back_lately(&self, now: Timestamp) -> bool {
        self.fell_back_at.is_some_and(|fell| now.duration_since(fell) < STILL_MEANS_THE_OTHER)
    }
}

impl Step<'_> {
    /// Tries the new credential, and when it is refused the old one. When that one works the renewal goes on to
    /// [`Stage::Returning`], and this is true.
    pub(super) async fn looks_back(&self, renewal: &mut Renewal) -> Result<bool, StoreError> {
        renewal.looked_back_at = Some(self.engine.env.now());
        let Some((current, secret)) = self.current().await? else { return Ok(false) };
        let held = self.engine.store.credentials(self.connection.id).await?;
        let former = held.iter().find(|one| one.id == renewal.old && one.state == CredentialState::Former);
        let Some(former) = former else { return Ok(false) };
        let Some(old_secret) = self.engine.store.secret_of(former.id).await? else { return Ok(false) };
        let mailbox = self.engine.test_mailbox(self.connection.id).await?;
        let test = self.office.test(self.connection, presented(&current, &secret), mailbox.as_ref());
        let refusal = match limited("test the new credential", test).await {
            Err(failure) if failure.origin == Origin::Provider && failure.decision() == Decision::Hold => {
                failure
            }
            // It works, or nobody said that it does not.
            _ => return Ok(false),
        };
        let test = self.office.test(self.connection, presented(former, &old_secret), mailbox.as_ref());
        if let Err(failure) = limited("test the old credential", test).await {
            tracing::warn!(connection = %self.connection.id, new = %refusal, old = %failure, "neither the new credential nor the old one works");
            return Ok(false);
        }
        renewal.go(self.engine, Stage::Returning { next: current.id });
        renewal.fell_back_at = Some(self.engine.env.now());
        renewal.trouble = Some(refusal.to_string());
        Ok(true)
    }

    /// Puts the old credential to use again, and tells it.
    pub(super) async fn returning(&self, renewal: &mut Renewal, next: CredentialId) -> Result<Next, Trouble> {
        let held = self.engine.store.credentials(self.connection.id).await?;
        let is = |id, state| held.iter().any(|one| one.id == id && one.state == state);
        if is(next, CredentialState::Current) && is(renewal.old, CredentialState::Former) {
            self.engine.store.switch_credential_back(self.connection.id, ACTOR).await?;
        } else if !is(renewal.old, CredentialState::Current) {
            return Ok(Next::Done); // replaced by hand meanwhile
        }
        let refusal = renewal.trouble.clone().unwrap_or_default();
        let until = held.iter().find(|one| one.id == renewal.old).and_then(|one| one.expires_at);
        let until = until.map_or_else(String::new, |end| format!(", which works until {end:.0}"));
        let by_hand = super::stage_by_hand(self.connection, self.kind_of(&held, renewal.old));
        let words = format!(
            "the new credential was refused after the switch, so the old one{until}, is in use again and no message \
             failed: {refusal}. Another is made in {} hours. Next step: see who removed the new one in Entra, App \
             registrations, Certificates & secrets; or {by_hand}",
            HOLD.as_hours()
        );
        let (subject, kind) = (Subject::Credential(next), EventKind::CredentialRenewalFailed);
        self.engine.announce_once(self.connection, subject, kind, Gravity::Error, words).await?;
        renewal.told_at = Some(self.engine.env.now());
        Ok(renewal.go(self.engine, Stage::Discarding { next }))
    }
}
