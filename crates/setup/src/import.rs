//! When somebody else runs the script: what is prepared before, and what comes back as one line.

use postroom_entra::certificate::CertificateCredential;
use postroom_model::connection::Cloud;

use crate::apply::{self, Means, Outcome, Tell};
use crate::error::SetupError;
use crate::journal::{ApplicationIds, Granted, Journal};
use crate::line::Line;
use crate::local;
use crate::plan::{KeyKind, Plan};
use crate::wait;

/// What a script or a hand-over page is made of.
pub struct Prepared {
    /// What is remembered: the plan, with the mark of an earlier preparation where there was one, and what Exchange
    /// was told before.
    pub journal: Journal,
    /// The certificate; its private key is sealed in the connection already.
    pub certificate: Option<CertificateCredential>,
}

/// Prepares a plan that somebody else carries out: makes the certificate, seals its private key in the connection,
/// which waits for its application. Prepared again, the same certificate is used.
///
/// # Errors
/// [`SetupError`].
pub async fn prepare(plan: &Plan, means: &Means<'_>) -> Result<Prepared, SetupError> {
    let mut journal = apply::begin(plan, means).await?;
    let certificate = match journal.plan.key.kind {
        KeyKind::Certificate => {
            Some(local::certificate(means.store, means.env, &mut journal, means.actor).await?)
        }
        KeyKind::Secret => None,
    };
    Ok(Prepared { journal, certificate })
}

/// Takes in what a script has made: settings, credential and mailboxes. Then it signs in and opens the mailboxes, once;
/// what did not work stands in [`Outcome::unproved`] and [`Outcome::waiting`]. `replace` lets the ids of a set-up that
/// works be replaced.
///
/// # Errors
/// [`SetupError::Line`] when the line belongs to a certificate whose key is not here, or to another plan;
/// [`SetupError::Works`].
pub async fn import(
    line: &Line,
    replace: bool,
    means: &Means<'_>,
    tell: Tell<'_>,
) -> Result<Outcome, SetupError> {
    let known = Journal::load(means.store, &line.connection).await?;
    let mut journal = match known {
        Some(journal) if journal.plan.mark == line.mark => journal,
        Some(_) => {
            let reason = "it belongs to another set-up of a connection of this name".to_owned();
            return Err(SetupError::Line { reason });
        }
        None if line.kind == KeyKind::Certificate => {
            let reason =
                "the private key of its certificate is not here; import it where the script was written";
            return Err(SetupError::Line { reason: reason.to_owned() });
        }
        None => fresh(line, means).await?,
    };
    if journal.remnant.is_some() {
        return Err(SetupError::Remnant { name: journal.plan.connection });
    }
    let planned = (journal.plan.api, journal.plan.limit, journal.plan.key.kind);
    if planned != (line.api, line.limit, line.kind) || !same_cloud(&journal.plan.cloud, &line.cloud) {
        let reason = "its API, limit, credential or cloud is not that of the set-up here".to_owned();
        return Err(SetupError::Line { reason });
    }
    if let Some(what) = replaced(&journal, line).filter(|_| !replace) {
        return Err(SetupError::Works { name: journal.plan.connection, what });
    }
    journal.ready_at = None;
    journal.tenant_id = Some(line.tenant_id.clone());
    journal.application = Some(ApplicationIds {
        object_id: line.object_id.clone(),
        application_id: line.application_id.clone(),
    });
    journal.principal_id = Some(line.principal_id.clone());
    journal.granted = journal.plan.permissions().into_iter().map(Granted::from).collect();
    journal.key_id = Some(line.key_id.clone());
    let mut plan = journal.plan.clone();
    plan.mailboxes.clone_from(&line.mailboxes);
    journal.replan(plan);
    journal.save(means.store).await?;
    let credential = line.secret.as_ref().map(|secret| (secret, line.expires_at));
    local::save_connections(means.store, means.env, &mut journal, credential, means.actor).await?;
    apply::learn(&mut journal, means, &line.key_id).await?;
    local::add_mailboxes(means.store, means.env, &mut journal, means.actor).await?;
    local::choose_outgoing(means.store, &journal, means.actor).await?;
    let mut outcome = apply::outcome(&journal);
    if let Some(secret) = local::stored(means.store, &journal).await? {
        let now = wait::end(means, jiff::SignedDuration::ZERO);
        match wait::sign_in(&journal, &secret, means, now, tell).await {
            Ok(()) => outcome.waiting = wait::mailboxes(&journal, &secret, means, now, tell).await?,
            Err(error @ (SetupError::SignIn { .. } | SetupError::Rights { .. })) => {
                let said = std::error::Error::source(&error).map(|source| format!(": {source}"));
                outcome.unproved = Some(format!("{error}{}", said.unwrap_or_default()));
                return Ok(outcome);
            }
            Err(error) => return Err(error),
        }
    }
    apply::seen(&mut journal, means, &outcome).await?;
    Ok(outcome)
}

/// Whether a line comes from the planned cloud. It does not say where Exchange is: no script asks it.
fn same_cloud(planned: &Cloud, told: &Cloud) -> bool {
    let (planned_at, told_at) = (planned.endpoints(), told.endpoints());
    planned.as_str() == told.as_str()
        && (planned_at.authority, planned_at.graph) == (told_at.authority, told_at.graph)
}

/// What of a set-up that works the line would replace.
fn replaced(journal: &Journal, line: &Line) -> Option<&'static str> {
    journal.ready_at?;
    let other =
        |known: Option<&String>, new: &str| known.is_some_and(|known| !known.eq_ignore_ascii_case(new));
    let ids = journal.application.as_ref();
    if other(journal.tenant_id.as_ref(), &line.tenant_id) {
        Some("tenant")
    } else if other(ids.map(|ids| &ids.application_id), &line.application_id)
        || other(ids.map(|ids| &ids.object_id), &line.object_id)
        || other(journal.principal_id.as_ref(), &line.principal_id)
    {
        Some("application")
    } else {
        other(journal.key_id.as_ref(), &line.key_id).then_some("credential")
    }
}

/// A set-up that was not prepared here: possible where the line itself brings the secret.
async fn fresh(line: &Line, means: &Means<'_>) -> Result<Journal, SetupError> {
    let mut plan = Plan::new(means.env, &line.connection, line.mailboxes.clone());
    plan.mark.clone_from(&line.mark);
    (plan.api, plan.limit) = (line.api, line.limit);
    plan.cloud.clone_from(&line.cloud);
    plan.key.kind = line.kind;
    plan.key.expires_at = line.expires_at;
    if let Some(taken) = local::foreign(means.store, &plan, None).await? {
        return Err(SetupError::Taken { name: taken.settings.display_name().to_owned() });
    }
    Ok(Journal::new(plan, means.env.now()))
}
