//! When somebody else runs the script: what is prepared before, and what comes back as one line.

use postroom_entra::certificate::CertificateCredential;

use crate::apply::{self, Means, Outcome};
use crate::error::SetupError;
use crate::journal::{ApplicationIds, Granted, Journal};
use crate::line::Line;
use crate::local;
use crate::plan::{KeyKind, Plan};

/// What a script or a hand-over page is made of.
pub struct Prepared {
    /// The plan, with the mark of an earlier preparation where there was one.
    pub plan: Plan,
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
    Ok(Prepared { plan: journal.plan, certificate })
}

/// Takes in what a script has made: settings, credential and mailboxes.
///
/// # Errors
/// [`SetupError::Line`] when the line belongs to a certificate whose key is not here.
pub async fn import(line: &Line, means: &Means<'_>) -> Result<Outcome, SetupError> {
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
    journal.tenant_id = Some(line.tenant_id.clone());
    journal.application = Some(ApplicationIds {
        object_id: line.object_id.clone(),
        application_id: line.application_id.clone(),
    });
    journal.principal_id = Some(line.principal_id.clone());
    journal.granted = journal.plan.permissions().into_iter().map(Granted::from).collect();
    journal.key_id = Some(line.key_id.clone());
    journal.plan.mailboxes.clone_from(&line.mailboxes);
    journal.save(means.store).await?;
    let credential = line.secret.as_ref().map(|secret| (secret, line.expires_at));
    local::save_connections(means.store, means.env, &mut journal, credential, means.actor).await?;
    apply::learn(&mut journal, means, &line.key_id).await?;
    local::add_mailboxes(means.store, means.env, &mut journal, means.actor).await?;
    Ok(apply::outcome(&journal))
}

/// A set-up that was not prepared here: possible where the line itself brings the secret.
async fn fresh(line: &Line, means: &Means<'_>) -> Result<Journal, SetupError> {
    let mut plan = Plan::new(means.env, &line.connection, line.mailboxes.clone());
    plan.mark.clone_from(&line.mark);
    plan.key.kind = line.kind;
    plan.key.expires_at = line.expires_at;
    if let Some(taken) = local::foreign(means.store, &line.connection, None).await? {
        return Err(SetupError::Taken { name: taken.settings.display_name().to_owned() });
    }
    Ok(Journal::new(plan, means.env.now()))
}
