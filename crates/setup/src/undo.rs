//! Takes back exactly what the journal says was made, in reverse order, and only that. What is gone already counts
//! as taken back, and each removal is written down before the next, so `undo` too may be cut off and run again.

use postroom_entra::register::{RegisterError, Registrar};

use crate::apply::{Means, Progress, Tell};
use crate::error::SetupError;
use crate::journal::{Journal, Remnant};
use crate::limits;
use crate::local::{self, failed};
use crate::plan::KeyKind;

/// What taking back came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// Everything is taken back and forgotten.
    Everything,
    /// The Entra side is; the lines for Exchange are still to be run, and what they need is remembered.
    ExchangeLeft,
}

/// Takes back the set-up of a connection. `exchange_done` says that the lines for Exchange ran. `registrar` is needed where something was made in a tenant.
///
/// # Errors
/// [`SetupError::Unknown`] without a journal; [`SetupError::InUse`] when mailboxes that others added use the
/// connection: then nothing at all is removed.
pub async fn undo(
    connection: &str,
    registrar: Option<&Registrar>,
    exchange_done: bool,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<Undone, SetupError> {
    let unknown = || SetupError::Unknown { name: connection.to_owned() };
    let mut journal = Journal::load(means.store, connection).await?.ok_or_else(unknown)?;
    if let (Some(registrar), Some(began)) = (registrar, journal.tenant_id.clone()) {
        let found = registrar.organization().await.map_err(|source| refused(&journal, source))?;
        if !found.tenant_id.eq_ignore_ascii_case(&began) {
            return Err(SetupError::OtherTenant {
                connection: connection.to_owned(),
                began,
                signed_in: found.tenant_id,
            });
        }
    }
    unused(&journal, means).await?;
    if let (Some(application), Some(principal), true) =
        (&journal.application, &journal.principal_id, journal.plan.needs_exchange())
    {
        journal.remnant = Some(Remnant {
            application_id: application.application_id.clone(),
            principal_id: principal.clone(),
        });
        journal.save(means.store).await?;
    }
    if let (Some(names), true, false) = (journal.names(), journal.remnant.is_some(), exchange_done) {
        tell(Progress::Exchange(limits::undo(&journal.left_in_exchange(), &names)));
    }
    here(&mut journal, means, tell).await?;
    if let Some(registrar) = registrar {
        in_tenant(&mut journal, registrar, means, tell).await?;
    }
    if journal.remnant.is_some() && !exchange_done {
        return Ok(Undone::ExchangeLeft);
    }
    journal.forget(means.store).await?;
    Ok(Undone::Everything)
}

/// What a set-up has made so far: to be shown before it is taken back.
///
/// # Errors
/// [`SetupError::Unknown`] without a journal.
pub async fn journal_of(connection: &str, means: &Means<'_>) -> Result<Journal, SetupError> {
    let journal = Journal::load(means.store, connection).await?;
    journal.ok_or_else(|| SetupError::Unknown { name: connection.to_owned() })
}

fn refused(journal: &Journal, source: RegisterError) -> SetupError {
    SetupError::Register { connection: journal.plan.connection.clone(), source }
}

async fn unused(journal: &Journal, means: &Means<'_>) -> Result<(), SetupError> {
    let all = means.store.mailboxes().await.map_err(|source| failed("list mailboxes", source))?;
    let others: Vec<String> = all
        .into_iter()
        .filter(|one| journal.connections.contains(&one.connection) && !journal.mailboxes.contains(&one.id))
        .map(|one| one.address.to_string())
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(SetupError::InUse { name: journal.plan.connection.clone(), mailboxes: others.join(", ") })
}

/// Mailboxes and connections on our side.
async fn here(journal: &mut Journal, means: &Means<'_>, tell: Tell<'_>) -> Result<(), SetupError> {
    let known = means.store.mailboxes().await.map_err(|source| failed("list mailboxes", source))?;
    while let Some(id) = journal.mailboxes.last().copied() {
        if let Some(mailbox) = known.iter().find(|one| one.id == id) {
            means
                .store
                .remove_mailbox(id, means.actor)
                .await
                .map_err(|source| failed("remove a mailbox", source))?;
            tell(Progress::Done(format!("mailbox {} removed", mailbox.address)));
        }
        journal.mailboxes.pop();
        journal.save(means.store).await?;
    }
    while let Some(id) = journal.connections.last().copied() {
        let found =
            means.store.connection(id).await.map_err(|source| failed("read the connection", source))?;
        if let Some(connection) = found {
            means
                .store
                .remove_connection(id, means.actor)
                .await
                .map_err(|source| failed("remove the connection", source))?;
            tell(Progress::Done(format!("connection {} removed", connection.settings.display_name())));
        }
        local::remember_object_id(means.store, id, None).await?;
        journal.connections.pop();
        journal.save(means.store).await?;
    }
    Ok(())
}

/// Credential, grants, service principal and application.
async fn in_tenant(
    journal: &mut Journal,
    registrar: &Registrar,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<(), SetupError> {
    let Some(application) = journal.registered() else { return Ok(()) };
    let exists = registrar
        .application(&application.app_id)
        .await
        .map_err(|source| refused(journal, source))?
        .is_some();
    if let (Some(key_id), true) = (journal.key_id.clone(), exists) {
        let removed = match journal.plan.key.kind {
            KeyKind::Certificate => registrar.remove_certificate(&application, &key_id).await,
            KeyKind::Secret => registrar.remove_secret(&application, &key_id).await,
        };
        removed.map_err(|source| refused(journal, source))?;
        tell(Progress::Done(format!("{} {key_id} removed", journal.plan.key.kind)));
    }
    journal.key_id = None;
    journal.save(means.store).await?;
    if let (Some(principal), true) = (journal.principal(), exists) {
        while let Some(granted) = journal.granted.last().cloned() {
            registrar
                .revoke(&principal, &granted.permission())
                .await
                .map_err(|source| refused(journal, source))?;
            tell(Progress::Done(format!("{} revoked", granted.value)));
            journal.granted.pop();
            journal.save(means.store).await?;
        }
        registrar.delete_service_principal(&principal).await.map_err(|source| refused(journal, source))?;
        tell(Progress::Done(format!("service principal {} removed", principal.object_id)));
    }
    journal.granted.clear();
    journal.principal_id = None;
    journal.save(means.store).await?;
    registrar.delete_application(&application).await.map_err(|source| refused(journal, source))?;
    tell(Progress::Done(format!("application {} removed", application.app_id)));
    journal.application = None;
    journal.save(means.store).await
}
