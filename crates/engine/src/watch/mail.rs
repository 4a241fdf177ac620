//! Notices by mail: accepted through the ordinary outbox, so that they survive what other mail survives. The same
//! notice is one mail, however often it is told: its key says which notice it is.
//!
//! A notice is about a connection that may be about to fail, so it leaves by another one where there is one.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use postroom_model::connection::Connection;
use postroom_model::draft::{Draft, MAX_SUBJECT};
use postroom_model::event::EventKind;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::outbox::IdempotencyKey;
use postroom_model::{EmailAddress, Env};
use postroom_store::{Store, StoreError};

use super::{Gravity, LogNotifier, Notice, Notifier};
use crate::intake::{Intake, Submitter};
use crate::own_failure;

/// Who hands the notices in.
const SUBMITTER: &str = "postroom";

/// Where notices go.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// To whom.
    pub to: EmailAddress,
    /// From whom: an address that every connection in question may send from.
    pub from: EmailAddress,
    /// Name of the connection they leave by; none means that of the outgoing settings. A notice about that very
    /// connection takes another that can send, where there is one.
    pub connection: Option<String>,
}

/// Tells the log, and sends a mail about what must be done and about what came right again.
pub struct MailNotifier {
    intake: Intake,
    store: Arc<dyn Store>,
    env: Env,
    settings: MailSettings,
}

impl std::fmt::Debug for MailNotifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailNotifier").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl MailNotifier {
    /// A notifier whose mails are accepted here.
    pub fn new(intake: Intake, store: Arc<dyn Store>, env: Env, settings: MailSettings) -> Self {
        Self { intake, store, env, settings }
    }

    /// The connections that can send, those that are to be tried first in front.
    async fn roads(&self, notice: &Notice) -> Result<Vec<Connection>, StoreError> {
        let outgoing = self.store.outgoing_settings().await?.and_then(|outgoing| outgoing.connection);
        let mut roads = self.store.connections().await?;
        roads.retain(|connection| self.intake.can_send(connection));
        let named = |connection: &Connection| {
            let name = self.settings.connection.as_deref();
            name.is_some_and(|name| connection.settings.display_name().eq_ignore_ascii_case(name.trim()))
        };
        // False comes before true.
        roads.sort_by_key(|one| (Some(one.id) == notice.connection, !named(one), Some(one.id) != outgoing));
        Ok(roads)
    }

    fn draft(&self, notice: &Notice) -> Draft {
        let Notice { connection_name, words, .. } = notice;
        let first = words.split(". ").next().unwrap_or_default();
        let subject: String = match notice.connection {
            Some(_) => format!("Postroom: {connection_name}: {first}"),
            None => format!("{connection_name}: {first}"),
        }
        .chars()
        .take(MAX_SUBJECT)
        .collect();
        let body = words.replace(". Next step: ", ".\n\nNext step: ");
        let about = if notice.connection.is_some() { "Connection " } else { "" };
        let text = format!(
            "{about}{connection_name}: {body}\n\n-- \nPostroom wrote this by itself, at {:.0}. It is one mail for each warning.\n",
            self.env.now()
        );
        Draft {
            from: self.settings.from.to_string(),
            to: vec![self.settings.to.to_string()],
            subject,
            text: Some(text),
            // RFC 3834, section 5: no machine answers it.
            headers: vec![("Auto-Submitted".to_owned(), "auto-generated".to_owned())],
            ..Draft::default()
        }
    }

    /// Which notice this is. The words of an ending credential name the day it ends; what happens again, such as a
    /// limit that is exceeded, is one mail a day.
    fn submitter(&self, notice: &Notice) -> Result<Submitter, Failure> {
        let day = match notice.kind {
            EventKind::CredentialExpiring => String::new(),
            _ => self.env.now().to_string().chars().take(10).collect(),
        };
        let about = notice.connection.map(|connection| connection.to_string()).unwrap_or_default();
        let what = format!("{about}\n{}\n{}\n{day}", notice.kind.as_str(), notice.words);
        let hash = digest(&SHA256, what.as_bytes());
        let mut request = [0; 32];
        request.copy_from_slice(hash.as_ref());
        let key: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
        let key: Result<IdempotencyKey, _> = format!("notice-{key}").parse();
        let key = key.map_err(|error| failed(error.to_string()))?;
        Ok(Submitter { name: SUBMITTER.to_owned(), idempotency: Some((key, request)) })
    }
}

/// Whether it says that something which was told came right again.
fn heals(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::ScopeHeld
            | EventKind::MailboxUp
            | EventKind::MailboxHeard
            | EventKind::ClockRight
            | EventKind::DiskFine
    )
}

fn failed(words: String) -> Failure {
    Failure::new("mail a notice", Origin::Ourselves, words, Decision::Hold)
}

#[async_trait]
impl Notifier for MailNotifier {
    async fn tell(&self, notice: &Notice) -> Result<(), Failure> {
        LogNotifier.tell(notice).await?;
        if notice.gravity == Gravity::Information && !heals(notice.kind) {
            return Ok(());
        }
        let roads = self.roads(notice).await.map_err(|error| own_failure("mail a notice", &error))?;
        let Some(road) = roads.into_iter().next() else {
            let mut failure = failed("there is no connection that can send it".to_owned());
            failure.advice = Some("Choose an e-mail method under Settings, E-mail.".to_owned());
            return Err(failure);
        };
        let submitter = self.submitter(notice)?;
        let accepted = self.intake.submit_draft_through(self.draft(notice), road, submitter).await;
        accepted.map(drop).map_err(|error| failed(error.to_string()))
    }
}
