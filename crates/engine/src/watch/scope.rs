//! Least privilege, proved again and again: mailboxes that the application must not be able to open are tried, and
//! one that opens is told at once; so is a right for the whole tenant that defeats the limit of the application. Without
//! a list nothing is tried, without a limit no right is looked for. Only a refusal proves anything: a mailbox that was
//! not asked, or that does not exist, is never counted as refused.

use std::str::FromStr;

use jiff::SignedDuration;
use postroom_model::connection::Connection;
use postroom_model::event::{EventKind, Subject};
use postroom_model::{ConnectionId, EmailAddress, Timestamp};
use postroom_store::StoreError;
use postroom_transport::{CredentialOffice, Opening, WideRight};
use serde::{Deserialize, Serialize};

use super::turn::Turn;
use super::{Gravity, limited, read_journal, sooner, write_journal};
use crate::Engine;

const PREFIX: &str = "scope/";

/// What one connection must not open, and what the last look found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScopeWatch {
    /// Mailboxes that must be refused.
    pub must_not_open: Vec<EmailAddress>,
    /// Rights for the whole tenant that the limit of the application leaves it; none where it is not limited.
    #[serde(default)]
    pub wanted: Option<Vec<String>>,
    /// Other rights to mail for the whole tenant that the last look found: they defeat the limit.
    #[serde(default)]
    pub leftover: Vec<String>,
    /// Whether the last look could see the rights.
    #[serde(default)]
    pub rights_seen: bool,
    /// Those of them that opened when they were last asked.
    #[serde(default)]
    pub opened: Vec<EmailAddress>,
    /// Those of them that were refused when they were last asked.
    #[serde(default)]
    pub refused: Vec<EmailAddress>,
    /// Those of them that do not exist, so that nothing is proved by them.
    #[serde(default)]
    pub missing: Vec<EmailAddress>,
    /// Whether it was told that one opens, and not yet that all are refused again.
    #[serde(default)]
    pub exceeded: bool,
    /// When the last look was; none before the first.
    #[serde(default)]
    pub looked_at: Option<Timestamp>,
    /// Why the last look left a question open.
    #[serde(default)]
    pub trouble: Option<String>,
}

impl ScopeWatch {
    /// Whether the limit holds: yes only when every mailbox of the list was asked and refused, and the rights of a
    /// limited application were seen; no when a mailbox opens or a right defeats the limit; none while that is not known.
    pub fn held(&self) -> Option<bool> {
        if !self.opened.is_empty() || !self.leftover.is_empty() {
            return Some(false);
        }
        let refused = self.must_not_open.iter().all(|mailbox| self.refused.contains(mailbox));
        let seen = self.wanted.is_none() || self.rights_seen;
        (self.looked_at.is_some() && !self.idle() && refused && seen).then_some(true)
    }

    /// Whether there is nothing to watch.
    fn idle(&self) -> bool {
        self.must_not_open.is_empty() && self.wanted.is_none()
    }
}

fn journal_of(connection: ConnectionId) -> String {
    format!("{PREFIX}{connection}")
}

/// Looks where it is due. Gives when it is due next.
pub(crate) async fn look(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    let mut next = None;
    for (name, content) in engine.store.journals(PREFIX).await? {
        let Ok(id) = ConnectionId::from_str(name.strip_prefix(PREFIX).unwrap_or_default()) else { continue };
        let watch: ScopeWatch = read_journal(&name, Some(&content));
        let mut next_look = due(engine, &watch);
        if next_look.is_some_and(|due| due <= engine.env.now()) {
            look_at(engine, id).await?;
            next_look = due(engine, &engine.scope_watch(id).await?);
        }
        next = sooner(next, next_look);
    }
    Ok(next)
}

/// When the next look is due; never without something to watch.
fn due(engine: &Engine, watch: &ScopeWatch) -> Option<Timestamp> {
    if watch.idle() || engine.office.is_none() {
        return None;
    }
    let every = SignedDuration::from_mins(i64::from(engine.settings.watch.scope_minutes.max(1)));
    let last = watch.looked_at.unwrap_or(Timestamp::UNIX_EPOCH);
    Some(last.saturating_add(every).unwrap_or(Timestamp::MAX))
}

async fn look_at(engine: &Engine, id: ConnectionId) -> Result<(), StoreError> {
    let Some(connection) = engine.store.connection(id).await? else {
        return engine.store.save_journal(&journal_of(id), None).await;
    };
    let Some(turn) = Turn::take(engine, journal_of(id)).await? else { return Ok(()) };
    let looked = try_all(engine, &connection).await;
    turn.end().await;
    looked
}

/// Tries every mailbox of the list and tells what has changed.
async fn try_all(engine: &Engine, connection: &Connection) -> Result<(), StoreError> {
    let Some(office) = &engine.office else { return Ok(()) };
    let before = engine.scope_watch(connection.id).await?;
    // Another process may have looked while this one waited for its turn.
    if due(engine, &before).is_none_or(|due| due > engine.env.now()) {
        return Ok(());
    }
    let mut now = ScopeWatch {
        must_not_open: before.must_not_open.clone(),
        wanted: before.wanted.clone(),
        exceeded: before.exceeded,
        ..Default::default()
    };
    let wide = rights(office.as_ref(), connection, &before, &mut now).await;
    for mailbox in &before.must_not_open {
        let operation = format!("try to open {mailbox}");
        match limited(&operation, office.opens(connection, mailbox)).await {
            Ok(Opening::Opens) => now.opened.push(mailbox.clone()),
            Ok(Opening::Refused) => now.refused.push(mailbox.clone()),
            Ok(Opening::NoSuchMailbox) => {
                now.missing.push(mailbox.clone());
                if !before.missing.contains(mailbox) {
                    tracing::warn!(%mailbox, "there is no such mailbox: that it is not opened proves nothing");
                }
            }
            Err(failure) => {
                // The question stays open; what was known stays known.
                now.trouble = Some(failure.to_string());
                now.opened.extend(before.opened.iter().filter(|known| *known == mailbox).cloned());
                tracing::info!(%mailbox, %failure, "whether the mailbox is refused could not be found out");
            }
        }
    }
    if !now.missing.is_empty() {
        let words = format!(
            "there is no mailbox {}, so nothing is proved by it. Next step: name one that exists and must stay closed",
            listed(&now.missing)
        );
        now.trouble =
            Some(now.trouble.map_or_else(|| words.clone(), |trouble| format!("{trouble}; {words}")));
    }
    now.looked_at = Some(engine.env.now());
    tell(engine, connection, &before, &mut now, &wide).await?;
    // The list may have been changed while the mailboxes were tried: then what is new was not asked yet.
    let kept = engine.scope_watch(connection.id).await?;
    if (&kept.must_not_open, &kept.wanted) != (&now.must_not_open, &now.wanted) {
        for answers in [&mut now.opened, &mut now.refused, &mut now.missing] {
            answers.retain(|mailbox| kept.must_not_open.contains(mailbox));
        }
        now.looked_at = None;
        (now.must_not_open, now.wanted) = (kept.must_not_open, kept.wanted);
    }
    engine.save_scope_watch(connection.id, &now).await
}

/// Looks for rights that defeat the limit, and gives them with what they open.
async fn rights(
    office: &dyn CredentialOffice,
    connection: &Connection,
    before: &ScopeWatch,
    now: &mut ScopeWatch,
) -> Vec<WideRight> {
    let Some(wanted) = &before.wanted else { return Vec::new() };
    match limited("look at the rights of the application", office.tenant_wide(connection)).await {
        Ok(mut wide) => {
            wide.retain(|right| !wanted.contains(&right.value));
            now.rights_seen = true;
            now.leftover = wide.iter().map(|right| right.value.clone()).collect();
            wide
        }
        Err(failure) => {
            // The question stays open; what was known stays known.
            now.trouble = Some(failure.to_string());
            now.leftover.clone_from(&before.leftover);
            tracing::info!(connection = %connection.id, %failure, "the rights of the application could not be seen");
            Vec::new()
        }
    }
}

async fn tell(
    engine: &Engine,
    connection: &Connection,
    before: &ScopeWatch,
    now: &mut ScopeWatch,
    wide: &[WideRight],
) -> Result<(), StoreError> {
    let subject = Subject::Connection(connection.id);
    if now.leftover.iter().any(|right| !before.leftover.contains(right)) {
        now.exceeded = true;
        let rights: Vec<String> =
            wide.iter().map(|right| format!("{} ({})", right.value, right.opens)).collect();
        let words = format!(
            "the application is granted {} for the whole tenant, which defeats its limit. Next step: in Entra, Enterprise applications, open the application {}, Permissions, and revoke it",
            rights.join(", "),
            connection.settings.application_id.trim()
        );
        engine.announce(connection, subject, EventKind::ScopeExceeded, Gravity::Error, words).await?;
    }
    if now.opened.iter().any(|mailbox| !before.opened.contains(mailbox)) {
        let mailboxes = listed(&now.opened);
        now.exceeded = true;
        let words = format!(
            "the application can open {mailboxes}, which must be refused. Next step: look for a permission that was granted for the whole tenant, and limit the application to its mailboxes"
        );
        return engine.announce(connection, subject, EventKind::ScopeExceeded, Gravity::Error, words).await;
    }
    let exceeded = before.exceeded || !before.opened.is_empty() || !before.leftover.is_empty();
    if now.held() == Some(true) && exceeded {
        now.exceeded = false;
        let words = match now.must_not_open.is_empty() {
            true => "no right for the whole tenant defeats the limit any more",
            false => "every mailbox that must be refused is refused again",
        };
        let words = words.to_owned();
        return engine.announce(connection, subject, EventKind::ScopeHeld, Gravity::Information, words).await;
    }
    Ok(())
}

fn listed(mailboxes: &[EmailAddress]) -> String {
    mailboxes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Engine {
    /// What the connection must not open, and what the last look found.
    ///
    /// # Errors
    /// The store's.
    pub async fn scope_watch(&self, connection: ConnectionId) -> Result<ScopeWatch, StoreError> {
        let name = journal_of(connection);
        let content = self.store.journal(&name).await?;
        Ok(read_journal(&name, content.as_deref()))
    }

    /// Sets the mailboxes that the connection must not be able to open, to be tried at the next look. An empty list
    /// ends the watch.
    ///
    /// # Errors
    /// The store's.
    pub async fn must_not_open(
        &self,
        connection: ConnectionId,
        mailboxes: Vec<EmailAddress>,
    ) -> Result<(), StoreError> {
        let mut watch = self.scope_watch(connection).await?;
        for answers in [&mut watch.opened, &mut watch.refused, &mut watch.missing] {
            answers.retain(|known| mailboxes.contains(known));
        }
        watch.must_not_open = mailboxes;
        watch.looked_at = None;
        self.save_scope_watch(connection, &watch).await?;
        self.nudges.scope.notify_waiters();
        Ok(())
    }

    /// Watches the limit of an application: rights to mail for the whole tenant that are not among `wanted` are
    /// looked for from now on. None ends that watch.
    ///
    /// # Errors
    /// The store's.
    pub async fn watch_limit(
        &self,
        connection: ConnectionId,
        wanted: Option<Vec<String>>,
    ) -> Result<(), StoreError> {
        let mut watch = self.scope_watch(connection).await?;
        if wanted.is_none() {
            watch.leftover.clear();
        }
        watch.wanted = wanted;
        (watch.rights_seen, watch.looked_at) = (false, None);
        self.save_scope_watch(connection, &watch).await?;
        self.nudges.scope.notify_waiters();
        Ok(())
    }

    /// Looks now at what is due: what the worker does on its timer.
    ///
    /// # Errors
    /// The store's.
    pub async fn watch_scope(&self) -> Result<Option<Timestamp>, StoreError> {
        look(self).await
    }

    async fn save_scope_watch(&self, connection: ConnectionId, watch: &ScopeWatch) -> Result<(), StoreError> {
        let name = journal_of(connection);
        let content = match watch.idle() {
            true => None,
            false => Some(write_journal(&name, watch)?),
        };
        self.store.save_journal(&name, content.as_deref()).await
    }
}
