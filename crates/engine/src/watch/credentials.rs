//! When credentials end: learned where nobody said, told in time, and renewed before.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use postroom_model::connection::Connection;
use postroom_model::credential::{Credential, CredentialState};
use postroom_model::event::{EventKind, Subject};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{ConnectionId, CredentialId, EmailAddress, Timestamp};
use postroom_store::StoreError;
use postroom_transport::{CredentialOffice, Presented};
use serde::{Deserialize, Serialize};

use super::renewal::{self, Renewal, is_time, renewable};
use super::turn::Turn;
use super::{Gravity, expiry, limited, read_journal, sentences, sooner, write_journal};
use crate::worker::chain;
use crate::{Engine, own_failure};

/// How long an unknown end stays unasked for.
const ASK_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// What was told and asked, per credential of a connection.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Notes(BTreeMap<CredentialId, Note>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// The last warning: days before the end.
    told: Option<u32>,
    /// When the provider was last asked for the end.
    asked_at: Option<Timestamp>,
}

/// All that is known of one connection's credentials.
struct Desk<'a> {
    engine: &'a Engine,
    connection: &'a Connection,
    /// Those in use or staged.
    credentials: Vec<Credential>,
    notes: Notes,
    renewal: Option<Renewal>,
}

/// Looks at every connection. Gives when the next renewal goes on.
pub(crate) async fn look(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    let mut next = None;
    for connection in engine.store.connections().await? {
        match look_at(engine, &connection).await {
            Ok(due) => next = sooner(next, due),
            // One connection never holds up another.
            Err(error) => tracing::error!(
                connection = %connection.id,
                error = chain(&error),
                "its credentials could not be looked at"
            ),
        }
    }
    Ok(next)
}

async fn look_at(engine: &Engine, connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let desk = Desk::read(engine, connection).await?;
    if !desk.has_work() {
        return Ok(desk.renewal.map(|renewal| renewal.not_before));
    }
    let Some(turn) = Turn::take(engine, format!("credentials/{}", connection.id)).await? else {
        return Ok(None);
    };
    // Read again: another process may have done it while this one waited for its turn.
    let worked = match Desk::read(engine, connection).await {
        Ok(desk) => desk.work(&turn).await,
        Err(error) => Err(error),
    };
    turn.end().await;
    worked
}

impl<'a> Desk<'a> {
    async fn read(engine: &'a Engine, connection: &'a Connection) -> Result<Self, StoreError> {
        let mut credentials = engine.store.credentials(connection.id).await?;
        // What was in use before is asked and told of again when somebody returns to it.
        credentials.retain(|one| !matches!(one.state, CredentialState::Former | CredentialState::Retired));
        let name = notes_of(connection.id);
        let notes = read_journal(&name, engine.store.journal(&name).await?.as_deref());
        let renewal = engine.renewal(connection.id).await?;
        Ok(Self { engine, connection, credentials, notes, renewal })
    }

    fn has_work(&self) -> bool {
        let now = self.engine.env.now();
        self.credentials.iter().any(|one| self.to_ask(one) || self.to_tell(one).is_some())
            || self.renewal.as_ref().is_some_and(|renewal| renewal.not_before <= now)
                && self.engine.office.is_some()
            || self.to_renew().is_some()
    }

    /// Whether the end, or the provider's id, of a credential is to be asked for.
    fn to_ask(&self, credential: &Credential) -> bool {
        let asked = self.notes.0.get(&credential.id).and_then(|note| note.asked_at);
        let long_ago = |asked| self.engine.env.now().duration_since(asked) >= ASK_EVERY;
        self.engine.office.is_some()
            && renewable(self.connection, credential)
            && (credential.expires_at.is_none() || credential.key_id.is_none())
            && asked.is_none_or(long_ago)
    }

    /// The warning that is due for a credential and was not told.
    fn to_tell(&self, credential: &Credential) -> Option<u32> {
        let left = credential.expires_at?.duration_since(self.engine.env.now());
        let told = self.notes.0.get(&credential.id).and_then(|note| note.told);
        expiry::warning(left).filter(|days| told.is_none_or(|told| *days < told))
    }

    /// The credential that is to be renewed, when no renewal is under way.
    fn to_renew(&self) -> Option<&Credential> {
        let current = self.credentials.iter().find(|one| one.state == CredentialState::Current)?;
        let due = self.engine.settings.watch.renew
            && self.engine.office.is_some()
            && self.renewal.is_none()
            && renewable(self.connection, current)
            && is_time(self.engine, current);
        due.then_some(current)
    }

    async fn work(mut self, turn: &Turn<'_>) -> Result<Option<Timestamp>, StoreError> {
        self.learn().await?;
        self.tell().await?;
        self.renew(turn).await
    }

    async fn learn(&mut self) -> Result<(), StoreError> {
        let Some(office) = self.engine.office.clone() else { return Ok(()) };
        let asked: Vec<Credential> =
            self.credentials.iter().filter(|one| self.to_ask(one)).cloned().collect();
        for credential in asked {
            let Some(secret) = self.engine.store.secret_of(credential.id).await? else { continue };
            let presented = Presented { kind: credential.kind, secret: &secret };
            match limited("ask when the credential ends", office.expiry(self.connection, presented)).await {
                Ok(known) => {
                    let expires_at = credential.expires_at.is_none().then_some(known.expires_at).flatten();
                    let key_id = known.key_id.as_deref().filter(|_| credential.key_id.is_none());
                    if expires_at.is_some() || key_id.is_some() {
                        self.engine.store.learn_credential(credential.id, expires_at, key_id).await?;
                    }
                    let place = self.credentials.iter_mut().find(|one| one.id == credential.id);
                    if let Some(place) = place {
                        place.expires_at = place.expires_at.or(expires_at);
                        place.key_id = place.key_id.take().or(known.key_id);
                    }
                }
                Err(failure) => tracing::info!(%failure, "when the credential ends could not be asked"),
            }
            let now = self.engine.env.now();
            self.note(credential.id, |note| note.asked_at = Some(now)).await?;
        }
        Ok(())
    }

    async fn tell(&mut self) -> Result<(), StoreError> {
        let due: Vec<(Credential, u32)> = self
            .credentials
            .iter()
            .filter_map(|one| self.to_tell(one).map(|days| (one.clone(), days)))
            .collect();
        for (credential, days) in due {
            let Some(end) = credential.expires_at else { continue };
            let when = expiry::words(end, self.engine.env.now());
            let which =
                if credential.state == CredentialState::Next { "next credential" } else { "credential" };
            let words = format!("the {which} {when}. {}", self.what_follows(&credential).await?);
            let gravity = if days <= 7 { Gravity::Error } else { Gravity::Warning };
            let subject = Subject::Credential(credential.id);
            let kind = EventKind::CredentialExpiring;
            self.engine.announce_once(self.connection, subject, kind, gravity, words).await?;
            self.note(credential.id, |note| note.told = Some(days)).await?;
        }
        Ok(())
    }

    /// What happens next, or what is to be done. A renewal is promised only when the provider was asked just now and
    /// the application may.
    async fn what_follows(&self, credential: &Credential) -> Result<String, StoreError> {
        let settings = &self.engine.settings.watch;
        let by_hand = || format!("Next step: {}", renewal::stage_by_hand(self.connection, credential.kind));
        let office = self.engine.office.clone().filter(|_| {
            settings.renew
                && renewable(self.connection, credential)
                && credential.state == CredentialState::Current
        });
        let Some(office) = office else { return Ok(by_hand()) };
        let Some(secret) = self.engine.store.secret_of(credential.id).await? else { return Ok(by_hand()) };
        let presented = Presented { kind: credential.kind, secret: &secret };
        let asked = office.can_renew(self.connection, presented);
        Ok(match limited("ask whether the credential can be renewed", asked).await {
            Ok(()) if is_time(self.engine, credential) => "Postroom renews it now".to_owned(),
            Ok(()) => format!("Postroom renews it {} days before its end", settings.renew_days_before),
            Err(failure) => sentences(&failure, &renewal::stage_by_hand(self.connection, credential.kind)),
        })
    }

    async fn renew(&mut self, turn: &Turn<'_>) -> Result<Option<Timestamp>, StoreError> {
        let Some(office) = self.engine.office.clone() else { return Ok(None) };
        if let Some(current) = self.to_renew() {
            let begun = Renewal::begin(self.engine, current);
            self.engine.save_renewal(self.connection.id, &begun).await?;
            self.renewal = Some(begun);
        }
        let Some(renewal) = self.renewal.take() else { return Ok(None) };
        let stands = renewal::advance(self.engine, office.as_ref(), self.connection, renewal, turn).await?;
        Ok(stands.map(|renewal| renewal.not_before))
    }

    /// Changes the note of a credential and writes all notes down, without those of credentials that are retired.
    async fn note(
        &mut self,
        credential: CredentialId,
        change: impl FnOnce(&mut Note),
    ) -> Result<(), StoreError> {
        change(self.notes.0.entry(credential).or_default());
        self.notes.0.retain(|id, _| self.credentials.iter().any(|one| one.id == *id));
        let name = notes_of(self.connection.id);
        self.engine.store.save_journal(&name, Some(&write_journal(&name, &self.notes)?)).await
    }
}

fn notes_of(connection: ConnectionId) -> String {
    format!("expiry/{connection}")
}

impl Engine {
    /// Looks now at the credentials of every connection and does what is due: what the worker does on its timer.
    /// Gives when the next renewal goes on.
    ///
    /// # Errors
    /// The store's.
    pub async fn watch_credentials(&self) -> Result<Option<Timestamp>, StoreError> {
        look(self).await
    }

    /// The renewal that is under way.
    ///
    /// # Errors
    /// The store's.
    pub async fn renewal(&self, connection: ConnectionId) -> Result<Option<Renewal>, StoreError> {
        let name = renewal::journal_of(connection);
        let content = self.store.journal(&name).await?;
        Ok(read_journal(&name, content.as_deref()))
    }

    /// Renews the current credential now, however long it still works, or goes on with the renewal that is under way.
    /// Gives the renewal when it waits for something; none when it is done.
    ///
    /// # Errors
    /// A failure when there is nothing to renew, when another process is at it, and of the store.
    pub async fn renew_credential(&self, connection: &Connection) -> Result<Option<Renewal>, Failure> {
        let operation = format!("renew the credential of {}", connection.settings.display_name());
        let own = |error: StoreError| own_failure(&operation, &error);
        let hold = |words: &str| Failure::new(&operation, Origin::Ourselves, words, Decision::Hold);
        let office = self.office.clone().ok_or_else(|| hold("this process cannot reach the provider"))?;
        let current = self.current_credential(connection.id).await.map_err(own)?;
        let current = current.ok_or_else(|| hold("the connection has no credential"))?;
        if !renewable(connection, &current) {
            let mut failure = hold("a credential of this kind is replaced by hand");
            failure.advice = Some(renewal::stage_by_hand(connection, current.kind));
            return Err(failure);
        }
        let turn = Turn::take(self, format!("credentials/{}", connection.id)).await.map_err(own)?;
        let turn = turn.ok_or_else(|| hold("another process is at work on it; try again in a moment"))?;
        let renewed = self.renew_under(office.as_ref(), connection, &current, &turn).await;
        turn.end().await;
        renewed.map_err(own)
    }

    async fn renew_under(
        &self,
        office: &dyn CredentialOffice,
        connection: &Connection,
        current: &Credential,
        turn: &Turn<'_>,
    ) -> Result<Option<Renewal>, StoreError> {
        let mut renewal = match self.renewal(connection.id).await? {
            Some(renewal) => renewal,
            None => Renewal::begin(self, current),
        };
        // Asked for by a person: what waits only because it failed is tried now.
        if renewal.tries > 0 {
            renewal.not_before = self.env.now();
        }
        self.save_renewal(connection.id, &renewal).await?;
        renewal::advance(self, office, connection, renewal, turn).await
    }

    /// Tries a credential: signs in anew with it and opens one mailbox of the connection. Gives one sentence.
    ///
    /// # Errors
    /// The provider's refusal, and a failure of our own.
    pub async fn test_credential(
        &self,
        connection: &Connection,
        credential: &Credential,
    ) -> Result<String, Failure> {
        let operation = format!("test the credential {}", credential.id);
        let hold = |words: &str| Failure::new(&operation, Origin::Ourselves, words, Decision::Hold);
        let own = |error: StoreError| own_failure(&operation, &error);
        let office = self.office.clone().ok_or_else(|| hold("this process cannot reach the provider"))?;
        let secret = self.store.secret_of(credential.id).await.map_err(own)?;
        let secret = secret.ok_or_else(|| hold("the credential is retired and its secret erased"))?;
        let mailbox = self.test_mailbox(connection.id).await.map_err(own)?;
        let presented = Presented { kind: credential.kind, secret: &secret };
        limited(&operation, office.test(connection, presented, mailbox.as_ref())).await
    }

    /// A mailbox to try credentials with: the first of the connection.
    pub(super) async fn test_mailbox(
        &self,
        connection: ConnectionId,
    ) -> Result<Option<EmailAddress>, StoreError> {
        let mailboxes = self.store.mailboxes().await?;
        Ok(mailboxes.into_iter().find(|known| known.connection == connection).map(|known| known.address))
    }

    async fn current_credential(&self, connection: ConnectionId) -> Result<Option<Credential>, StoreError> {
        let held = self.store.credentials(connection).await?;
        Ok(held.into_iter().find(|one| one.state == CredentialState::Current))
    }

    pub(super) async fn save_renewal(
        &self,
        connection: ConnectionId,
        renewal: &Renewal,
    ) -> Result<(), StoreError> {
        let name = renewal::journal_of(connection);
        self.store.save_journal(&name, Some(&write_journal(&name, renewal)?)).await
    }
}
