//! The last stage: the old credential is removed at the provider and its secret erased here, unless a person returned to
//! it meanwhile.

use postroom_model::SecretString;
use postroom_model::Timestamp;
use postroom_model::credential::{Credential, CredentialState};
use postroom_model::event::{EventKind, Subject};
use postroom_store::StoreError;

use super::super::{ACTOR, Gravity, limited};
use super::{HOLD, Next, Renewal, Step, TELL_EVERY, Trouble, is_time, presented};

impl Step<'_> {
    pub(super) async fn removing(&self, renewal: &mut Renewal) -> Result<Next, Trouble> {
        let Some((current, secret)) = self.current().await? else { return Ok(Next::Done) };
        if current.id == renewal.old {
            return Ok(self.taken_back(renewal, &current));
        }
        // The last moment at which the old one can still help.
        if self.looks_back(renewal).await? {
            return Ok(Next::GoOn);
        }
        self.remove_old(renewal, &current, &secret).await?;
        let held = self.engine.store.credentials(self.connection.id).await?;
        if held.iter().any(|one| one.id == renewal.old && one.state == CredentialState::Former) {
            self.engine.store.retire_credential(renewal.old, ACTOR).await?;
        }
        Ok(Next::Done)
    }

    /// A person returned to the old credential: it stays, and what made them do it is given time.
    fn taken_back(&self, renewal: &mut Renewal, current: &Credential) -> Next {
        if !self.engine.settings.watch.renew || !is_time(self.engine, current) {
            return Next::Done;
        }
        *renewal = Renewal::begin(self.engine, current);
        renewal.not_before = self.engine.after(HOLD);
        Next::Wait
    }

    /// Removes the old credential at the provider, where that is known and nobody else signs in with it.
    async fn remove_old(
        &self,
        renewal: &Renewal,
        current: &Credential,
        secret: &SecretString,
    ) -> Result<(), Trouble> {
        let Some(key_id) = &renewal.old_key_id else { return Ok(()) };
        // A day after its end it harms nobody, and removing it was tried often enough.
        let ended =
            renewal.old_expires_at.map(|end| end.saturating_add(TELL_EVERY).unwrap_or(Timestamp::MAX));
        if renewal.tries > 0 && ended.is_some_and(|end| end < self.engine.env.now()) {
            return Ok(());
        }
        if let Some(other) = self.shared_with(current, key_id).await? {
            let words = format!(
                "the old credential stays at the provider, because {other} signs in with it too. Next step: stage the new one there, then remove {key_id} in Entra, App registrations, Certificates & secrets"
            );
            let subject = Subject::Credential(current.id);
            let kind = EventKind::CredentialRenewed;
            self.engine.announce_once(self.connection, subject, kind, Gravity::Warning, words).await?;
            return Ok(());
        }
        let remove = self.office.remove(self.connection, presented(current, secret), key_id);
        limited("remove the old credential", remove).await?;
        Ok(())
    }

    /// Another connection that signs in with this key of the same application, or may do so.
    pub(super) async fn shared_with(
        &self,
        like: &Credential,
        key_id: &str,
    ) -> Result<Option<String>, StoreError> {
        let own = &self.connection.settings;
        for other in self.engine.store.connections().await? {
            let known = &other.settings;
            let same_application = known.kind == own.kind
                && known.application_id.trim().eq_ignore_ascii_case(own.application_id.trim());
            if other.id == self.connection.id || !same_application {
                continue;
            }
            let held = self.engine.store.credentials(other.id).await?;
            let uses = |one: &Credential| match one.key_id.as_deref() {
                Some(known) => known.eq_ignore_ascii_case(key_id),
                None => one.kind == like.kind, // nobody knows which: it may be this one
            };
            if held.iter().any(|one| one.state != CredentialState::Retired && uses(one)) {
                return Ok(Some(known.display_name().to_owned()));
            }
        }
        Ok(None)
    }
}
