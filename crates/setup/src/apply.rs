//! The plan carried out, step by step. Each step looks into the journal first and writes there last, so the same
//! call goes on where an earlier one was cut off, and nothing is made twice.

use jiff::SignedDuration;
use postroom_entra::register::{self, ApplicationCredentialKind, RedirectPlatform, RegisterError, Registrar};
use postroom_model::{ConnectionId, EmailAddress, Env, SecretString};
use postroom_store::Store;
use serde::Serialize;

use crate::error::SetupError;
use crate::journal::{ApplicationIds, Granted, Journal};
use crate::limits::{self, Leftover, Names};
use crate::local::{self, failed};
use crate::plan::{Api, KeyKind, Plan};
use crate::wait;

/// What the engine works with.
pub struct Means<'a> {
    /// Where connection, credential and journal are kept.
    pub store: &'a dyn Store,
    /// Time and chance.
    pub env: &'a Env,
    /// For the new application's own sign-in.
    pub http: &'a reqwest::Client,
    /// How long things are waited for.
    pub patience: Patience,
    /// Who does it, in events.
    pub actor: &'a str,
}

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the application can sign in with its rights.
    pub sign_in: SignedDuration,
    /// Until the mailboxes open.
    pub mailboxes: SignedDuration,
    /// Between two tries.
    pub pause: SignedDuration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            sign_in: SignedDuration::from_mins(10),
            mailboxes: SignedDuration::from_mins(15),
            pause: SignedDuration::from_secs(10),
        }
    }
}

/// What is told while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A step was done now.
    Done(String),
    /// A step was done by an earlier run.
    There(String),
    /// Lines for Exchange Online PowerShell that somebody must run now.
    Exchange(Vec<String>),
    /// Waiting; told at each try.
    Waiting {
        /// For what.
        what: String,
        /// What the last try said.
        why: String,
        /// How long it may take, as Microsoft says, where it is known.
        may_take: Option<SignedDuration>,
        /// How long it is waited for at most from now.
        left: SignedDuration,
    },
}

/// Sees progress as it is made.
pub type Tell<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// What a set-up ended with.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Name of the connection.
    pub connection: String,
    /// Ids of the connections: one, or two where reading and sending are two protocols.
    pub connections: Vec<ConnectionId>,
    /// Directory (tenant) ID.
    pub tenant_id: String,
    /// Application (client) ID.
    pub application_id: String,
    /// Object id of the application.
    pub object_id: String,
    /// Object id of the service principal.
    pub principal_id: String,
    /// Microsoft's id of the credential.
    pub key_id: String,
    /// Why the application could not sign in, where it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unproved: Option<String>,
    /// How mail is read and sent.
    pub api: Api,
    /// Mailboxes that do not open yet, with the reason.
    pub waiting: Vec<Waiting>,
    /// Tenant-wide grants that defeat the limit.
    pub leftover: Vec<Leftover>,
    /// Mailboxes that must stay closed.
    pub must_not_open: Vec<EmailAddress>,
    /// What is to be watched for a limited application: the rights for the whole tenant that it may have.
    #[serde(skip)]
    pub limited_to: Option<Vec<String>>,
}

/// A mailbox that does not open yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Its address.
    pub mailbox: EmailAddress,
    /// What was said last.
    pub why: String,
}

/// Carries the plan out, or goes on with it.
///
/// # Errors
/// [`SetupError`]; what was made until then is remembered.
pub async fn apply(
    plan: &Plan,
    registrar: &Registrar,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<Outcome, SetupError> {
    let mut journal = begin(plan, means).await?;
    let plan = journal.plan.clone();
    tenant(&mut journal, registrar, means, tell).await?;
    application(&mut journal, registrar, means, tell).await?;
    principal(&mut journal, registrar, means, tell).await?;
    grants(&mut journal, registrar, means, tell).await?;
    let secret = match plan.key.kind {
        KeyKind::Certificate => certificate(&mut journal, registrar, means, tell).await?,
        KeyKind::Secret => secret(&mut journal, registrar, means, tell).await?,
    };
    let mut outcome = outcome(&journal);
    // Who may use EWS at all is told besides, whatever the limit is.
    if journal.exchange_left() || (plan.api == Api::Ews && journal.ready_at.is_none()) {
        let names = Names::known(&outcome.application_id, &outcome.principal_id);
        tell(Progress::Exchange(limits::lines(&plan, &names, journal.told(), plan.must_not_open.first())));
    }
    if let Some(principal) = journal.principal() {
        let all = registrar.all_grants(&principal).await.map_err(|source| refused(&journal, source))?;
        outcome.leftover = limits::leftover(&all, &principal.object_id, &plan);
    }
    let end = wait::end(means, means.patience.mailboxes);
    wait::sign_in(&journal, &secret, means, end, tell).await?;
    outcome.waiting = wait::mailboxes(&journal, &secret, means, end, tell).await?;
    local::add_mailboxes(means.store, means.env, &mut journal, means.actor).await?;
    local::choose_outgoing(means.store, &journal, means.actor).await?;
    seen(&mut journal, means, &outcome).await?;
    Ok(outcome)
}

/// Writes down what was seen to work.
pub(crate) async fn seen(
    journal: &mut Journal,
    means: &Means<'_>,
    outcome: &Outcome,
) -> Result<(), SetupError> {
    if outcome.waiting.is_empty() {
        journal.ready_at.get_or_insert(means.env.now());
        journal.applied = Some(journal.plan.mailboxes.clone());
        journal.superseded.clear();
    } else {
        journal.ready_at = None;
    }
    journal.save(means.store).await
}

/// The plan as it would be carried out: with the name, the mark and the credential of what an earlier set-up has made,
/// and the journal of that.
///
/// # Errors
/// [`SetupError::Differs`] when an earlier set-up was made by another plan, [`SetupError::Remnant`] when it is not yet
/// taken back in Exchange.
pub async fn reconcile(plan: &Plan, store: &dyn Store) -> Result<(Plan, Option<Journal>), SetupError> {
    let mut plan = plan.clone();
    let Some(old) = Journal::load(store, &plan.connection).await? else { return Ok((plan, None)) };
    if old.remnant.is_some() {
        return Err(SetupError::Remnant { name: old.plan.connection });
    }
    let differences = differences(&old.plan, &plan);
    if !differences.is_empty() {
        let differences = differences.join("; ");
        return Err(SetupError::Differs { name: old.plan.connection, differences });
    }
    // What was made keeps its name, its mark and its credential.
    plan.connection.clone_from(&old.plan.connection);
    plan.application.clone_from(&old.plan.application);
    plan.mark.clone_from(&old.plan.mark);
    plan.key.clone_from(&old.plan.key);
    if plan.must_not_open.is_empty() {
        plan.must_not_open.clone_from(&old.plan.must_not_open);
        let open = plan.mailboxes.clone();
        plan.must_not_open.retain(|one| !open.contains(one));
    }
    Ok((plan, Some(old)))
}

/// What cannot be changed without taking the earlier set-up back.
fn differences(old: &Plan, new: &Plan) -> Vec<String> {
    let rows = [
        ("API", old.api.label(), new.api.label()),
        ("limit", old.limit.as_str(), new.limit.as_str()),
        ("credential", old.key.kind.as_str(), new.key.kind.as_str()),
        ("cloud", old.cloud.as_str(), new.cloud.as_str()),
    ];
    let differ = rows.into_iter().filter(|(_, old, new)| old != new);
    let mut all: Vec<String> = differ.map(|(what, old, new)| format!("{what} {old}, not {new}")).collect();
    // The name of the connection, which the usual name holds, may be written in other case.
    if !old.application.eq_ignore_ascii_case(&new.application) {
        all.push(format!("application {}, not {}", old.application, new.application));
    }
    all
}

/// The journal of this connection: the one that is there, with what the plan says anew, or a fresh one.
pub(crate) async fn begin(plan: &Plan, means: &Means<'_>) -> Result<Journal, SetupError> {
    let (plan, old) = reconcile(plan, means.store).await?;
    if let Some(taken) = local::foreign(means.store, &plan, old.as_ref()).await? {
        return Err(SetupError::Taken { name: taken.settings.display_name().to_owned() });
    }
    let resumed = old.as_ref().is_some_and(|old| old.key_id.is_some());
    let checked =
        if resumed { old.as_ref().map_or(means.env.now(), |old| old.began_at) } else { means.env.now() };
    plan.validate(checked)
        .into_result()
        .map_err(|problems| SetupError::Plan { connection: plan.connection.clone(), problems })?;
    let mut journal = old.unwrap_or_else(|| Journal::new(plan.clone(), means.env.now()));
    journal.replan(plan);
    journal.save(means.store).await?;
    Ok(journal)
}

fn refused(journal: &Journal, source: RegisterError) -> SetupError {
    SetupError::Register { connection: journal.plan.connection.clone(), source }
}

/// The plan as the registration takes it.
fn registration(plan: &Plan) -> register::Plan {
    register::Plan {
        display_name: plan.application.clone(),
        sign_in_audience: plan.accounts.entra(),
        permissions: plan.permissions(),
        secret_name: plan.key.name.clone(),
        secret_expires_at: plan.key.expires_at,
    }
}

async fn tenant(
    journal: &mut Journal,
    registrar: &Registrar,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<(), SetupError> {
    let found = registrar.organization().await.map_err(|source| refused(journal, source))?;
    match &journal.tenant_id {
        Some(began) if !began.eq_ignore_ascii_case(&found.tenant_id) => {
            return Err(SetupError::OtherTenant {
                connection: journal.plan.connection.clone(),
                began: began.clone(),
                signed_in: found.tenant_id,
            });
        }
        Some(_) => {}
        None => {
            journal.tenant_id = Some(found.tenant_id.clone());
            journal.save(means.store).await?;
        }
    }
    tell(Progress::There(format!("tenant {} ({})", found.display_name, found.tenant_id)));
    Ok(())
}

async fn application(
    journal: &mut Journal,
    registrar: &Registrar,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<(), SetupError> {
    if let Some(ids) = journal.application.clone() {
        let found =
            registrar.application(&ids.application_id).await.map_err(|source| refused(journal, source))?;
        if found.is_some() {
            tell(Progress::There(format!("application {}", ids.application_id)));
            return Ok(());
        }
        // Somebody removed it, and everything that hung on it went with it.
        (journal.application, journal.principal_id, journal.key_id) = (None, None, None);
        journal.granted.clear();
        // In Exchange the scope may stand, and nothing that pointed to the application does.
        journal.superseded = journal.left_in_exchange().mailboxes;
        journal.applied = None;
        journal.save(means.store).await?;
    }
    let plan = registration(&journal.plan);
    let made = registrar
        .create_marked_application(&plan, &journal.plan.mark)
        .await
        .map_err(|source| refused(journal, source))?;
    if !journal.plan.redirect_uris.is_empty() {
        registrar
            .set_redirect_uris(&made, RedirectPlatform::Web, &journal.plan.redirect_uris)
            .await
            .map_err(|source| refused(journal, source))?;
    }
    tell(Progress::Done(format!("application {} ({})", plan.display_name, made.app_id)));
    journal.application = Some(ApplicationIds { object_id: made.object_id, application_id: made.app_id });
    journal.save(means.store).await
}

async fn principal(
    journal: &mut Journal,
    registrar: &Registrar,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<(), SetupError> {
    if let Some(id) = &journal.principal_id {
        tell(Progress::There(format!("service principal {id}")));
        return Ok(());
    }
    let Some(application) = journal.registered() else { return Ok(()) };
    let made =
        registrar.create_service_principal(&application).await.map_err(|source| refused(journal, source))?;
    tell(Progress::Done(format!("service principal {}", made.object_id)));
    journal.principal_id = Some(made.object_id);
    journal.save(means.store).await
}

async fn grants(
    journal: &mut Journal,
    registrar: &Registrar,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<(), SetupError> {
    let Some(principal) = journal.principal() else { return Ok(()) };
    for permission in journal.plan.permissions() {
        let granted = Granted::from(permission.clone());
        // Granting what is granted is a success; a revoked one comes back.
        registrar.grant(&principal, &permission).await.map_err(|source| refused(journal, source))?;
        let words = format!("{} granted for the whole tenant", permission.value);
        if journal.granted.contains(&granted) {
            tell(Progress::There(words));
            continue;
        }
        journal.granted.push(granted);
        journal.save(means.store).await?;
        tell(Progress::Done(words));
    }
    Ok(())
}

async fn certificate(
    journal: &mut Journal,
    registrar: &Registrar,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<SecretString, SetupError> {
    let credential = local::certificate(means.store, means.env, journal, means.actor).await?;
    // The connection may have been saved before the application's id was known.
    local::save_connections(means.store, means.env, journal, None, means.actor).await?;
    let Some(application) = journal.registered() else { return Ok(credential.to_pem()) };
    let key_id = registrar
        .add_certificate(&application, credential.public())
        .await
        .map_err(|source| refused(journal, source))?;
    let words = format!("certificate {} until {}", credential.thumbprint_sha1_hex(), credential.not_after());
    let known = journal.key_id.as_ref() == Some(&key_id);
    tell(if known { Progress::There(words) } else { Progress::Done(words) });
    learn(journal, means, &key_id).await?;
    Ok(credential.to_pem())
}

async fn secret(
    journal: &mut Journal,
    registrar: &Registrar,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<SecretString, SetupError> {
    if let (Some(secret), Some(key_id)) = (local::stored(means.store, journal).await?, &journal.key_id) {
        tell(Progress::There(format!("secret {key_id}")));
        return Ok(secret);
    }
    let Some(application) = journal.registered() else {
        return Err(SetupError::Unknown { name: journal.plan.connection.clone() });
    };
    // One whose answer was lost is known to nobody: it is taken away before another is made.
    let all = registrar.credentials(&application).await.map_err(|source| refused(journal, source))?;
    let lost = all.into_iter().filter(|one| {
        one.kind == ApplicationCredentialKind::Secret && one.name.as_deref() == Some(&journal.plan.key.name)
    });
    for one in lost.collect::<Vec<_>>() {
        registrar
            .remove_secret(&application, &one.key_id)
            .await
            .map_err(|source| refused(journal, source))?;
    }
    let made = registrar
        .add_secret(&application, &journal.plan.key.name, journal.plan.key.expires_at)
        .await
        .map_err(|source| refused(journal, source))?;
    local::save_connections(
        means.store,
        means.env,
        journal,
        Some((&made.secret, made.expires_at)),
        means.actor,
    )
    .await?;
    tell(Progress::Done(format!("secret {} until {}", made.key_id, made.expires_at)));
    learn(journal, means, &made.key_id).await?;
    Ok(made.secret)
}

/// Writes down Microsoft's id of the credential, in the journal and beside the credential.
pub(crate) async fn learn(journal: &mut Journal, means: &Means<'_>, key_id: &str) -> Result<(), SetupError> {
    for connection in &journal.connections {
        let stored = means
            .store
            .credential_secret(*connection)
            .await
            .map_err(|source| failed("open the credential", source))?;
        if let Some((credential, _)) = stored {
            means
                .store
                .learn_credential(credential.id, credential.expires_at, Some(key_id))
                .await
                .map_err(|source| failed("learn the credential's id", source))?;
        }
    }
    journal.key_id = Some(key_id.to_owned());
    journal.save(means.store).await
}

pub(crate) fn outcome(journal: &Journal) -> Outcome {
    let application = journal.application.clone();
    let (object_id, application_id) =
        application.map_or_else(Default::default, |ids| (ids.object_id, ids.application_id));
    Outcome {
        connection: journal.plan.connection.clone(),
        connections: journal.connections.clone(),
        tenant_id: journal.tenant_id.clone().unwrap_or_default(),
        application_id,
        object_id,
        principal_id: journal.principal_id.clone().unwrap_or_default(),
        key_id: journal.key_id.clone().unwrap_or_default(),
        unproved: None,
        api: journal.plan.api,
        waiting: Vec::new(),
        leftover: Vec::new(),
        must_not_open: journal.plan.must_not_open.clone(),
        limited_to: journal.plan.limited_to(),
    }
}
