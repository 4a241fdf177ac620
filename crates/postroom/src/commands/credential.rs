//! `postroom credential`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use postroom_engine::watch::expiry::days_left;
use postroom_engine::watch::remember_application_object_id;
use postroom_engine::watch::scope::ScopeWatch;
use postroom_entra::CertificateCredential;
use postroom_model::connection::{AuthenticationFlow, Connection, SecretField};
use postroom_model::credential::{Credential, CredentialState};
use postroom_model::failure::Failure;
use postroom_model::{CredentialId, EmailAddress, SecretString, Timestamp};
use postroom_store::NewCredential;
use serde::Serialize;

use super::connection::show;
use super::{ACTOR, read_secret};
use crate::app::App;
use crate::output::{self, hinted};

/// How long to wait for another process that has the turn to try mailboxes.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct CredentialArguments {
    #[command(subcommand)]
    command: CredentialCommand,
}

#[derive(Debug, Subcommand)]
enum CredentialCommand {
    /// List credentials with the days they have left
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Store the next credential beside the one in use
    Stage(StageArguments),
    /// Sign in with the next credential, else with the one in use, and open one mailbox
    Test {
        /// Connection; not needed when there is only one
        #[arg(long)]
        connection: Option<String>,
    },
    /// Put the next credential to use, if it passes a test. The one in use is kept, to return to
    Switch {
        /// Connection; not needed when there is only one
        #[arg(long)]
        connection: Option<String>,
        /// Return to the credential that was in use before; the one in use is kept in its place
        #[arg(long)]
        back: bool,
        /// Switch without testing first. Nothing proves then that it works
        #[arg(long)]
        without_test: bool,
    },
    /// Take back a credential that was staged, or give up the former one, and erase its secret
    Retire {
        /// Its id
        id: CredentialId,
    },
    /// Renew the credential in use now, or go on with the renewal that is under way
    Renew {
        /// Connection; not needed when there is only one
        #[arg(long)]
        connection: Option<String>,
        /// Object ID of the application (Entra, App registrations, Overview), remembered from then on. A certificate
        /// needs it to be renewed when the application may not look itself up
        #[arg(long, value_name = "ID")]
        application_object_id: Option<uuid::Uuid>,
    },
    /// Name mailboxes that the application must not be able to open, and try them now and every hour
    MustNotOpen {
        /// Connection; not needed when there is only one
        #[arg(long)]
        connection: Option<String>,
        /// Their addresses, in place of those named before; without any, what is watched is listed, and
        /// when it was last asked
        #[arg(conflicts_with = "none")]
        addresses: Vec<EmailAddress>,
        /// Watch no mailbox any more
        #[arg(long)]
        none: bool,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["secret_file", "certificate", "make_certificate"]))]
struct StageArguments {
    /// Connection; not needed when there is only one
    #[arg(long)]
    connection: Option<String>,
    /// File with the client secret or password, - for standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// When the secret stops working, such as 2027-05-22T00:00:00Z
    #[arg(long, value_name = "TIME", requires = "secret_file")]
    expires: Option<Timestamp>,
    /// Microsoft's id of it (Secret ID, or keyId of the certificate), with which it is removed after the next renewal
    #[arg(long, value_name = "ID", conflicts_with = "make_certificate")]
    key_id: Option<uuid::Uuid>,
    /// PEM or PFX file with certificate and private key
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// File with the password of the PFX file, - for standard input
    #[arg(long, value_name = "FILE", requires = "certificate")]
    password_file: Option<PathBuf>,
    /// Make a key and its certificate; the key never leaves this data folder
    #[arg(long)]
    make_certificate: bool,
    /// Days that the certificate is good for
    #[arg(long, value_name = "DAYS", requires = "make_certificate", default_value_t = 365,
          value_parser = clap::value_parser!(u32).range(1..=1_095))]
    valid_days: u32,
    /// File for the certificate without its key, to be uploaded in Entra
    #[arg(long, value_name = "FILE", requires = "make_certificate")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(app: &App, arguments: CredentialArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        CredentialCommand::List { json } => list(app, json).await?,
        CredentialCommand::Stage(stage) => stage_credential(app, stage).await?,
        CredentialCommand::Test { connection } => {
            let connection = app.connection(connection.as_deref()).await?;
            let credential = next_or_current(app, &connection).await?;
            output::data(test(app, &connection, &credential).await?);
        }
        CredentialCommand::Switch { connection, back, without_test } => {
            switch(app, connection.as_deref(), back, without_test).await?;
        }
        CredentialCommand::Retire { id } => {
            app.store.retire_credential(id, ACTOR).await?;
            output::talk(format!("retired {id}"));
        }
        CredentialCommand::Renew { connection, application_object_id } => {
            let connection = app.connection(connection.as_deref()).await?;
            if let Some(id) = application_object_id {
                remember_application_object_id(app.store.as_ref(), connection.id, &id.to_string()).await?;
            }
            renew(app, &connection).await?;
        }
        CredentialCommand::MustNotOpen { connection, addresses, none } => {
            let connection = app.connection(connection.as_deref()).await?;
            return must_not_open(app, &connection, addresses, none).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line of the list.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    credential: Credential,
    connection_name: String,
    /// Whole days, rounded up; none when the end is not known.
    days_left: Option<u32>,
}

async fn list(app: &App, json: bool) -> anyhow::Result<()> {
    let now = app.env.now();
    let mut listed = Vec::new();
    for connection in app.store.connections().await? {
        for credential in app.store.credentials(connection.id).await? {
            listed.push(Listed {
                connection_name: connection.settings.display_name().to_owned(),
                days_left: credential.expires_at.map(|end| days_left(end, now)),
                credential,
            });
        }
        if let Some(renewal) = app.engine.renewal(connection.id).await? {
            let name = connection.settings.display_name();
            output::talk(format!("renewal of {name}: {}", renewal.sentence(now)));
        }
    }
    if json {
        return output::json(&listed);
    }
    let rows = listed.into_iter().map(|one| {
        let days = match (one.credential.state, one.days_left) {
            (CredentialState::Retired, _) => String::new(),
            (_, Some(days)) => days.to_string(),
            (_, None) => "not known".to_owned(),
        };
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let kind = word(serde_json::to_value(one.credential.kind).unwrap_or_default());
        let state = word(serde_json::to_value(one.credential.state).unwrap_or_default());
        [one.credential.id.to_string(), one.connection_name, kind, state, days]
    });
    output::table(["ID", "CONNECTION", "KIND", "STATE", "DAYS LEFT"], rows.collect());
    Ok(())
}

async fn stage_credential(app: &App, stage: StageArguments) -> anyhow::Result<()> {
    let connection = app.connection(stage.connection.as_deref()).await?;
    let settings = &connection.settings;
    let by_certificate = stage.secret_file.is_none();
    if by_certificate != (settings.flow == AuthenticationFlow::Certificate) {
        let message = format!("{} signs in by {}", settings.display_name(), settings.flow.label());
        let hint =
            "stage what this flow signs in with, or change the flow with `postroom connection save --flow`";
        return Err(hinted(message, hint));
    }
    let (secret, expires_at) = match &stage.secret_file {
        Some(path) => (read_secret(path)?, stage.expires),
        None => {
            let certificate = certificate(app, &stage).await?;
            say_certificate(&certificate, stage.out.as_deref(), stage.make_certificate)?;
            (certificate.to_pem(), Some(certificate.not_after()))
        }
    };
    let problems = settings.validate(SecretField::Typed(&secret));
    show(&problems);
    problems.into_result().context("the credential is not staged")?;
    let kind = settings.credential_kind();
    let mut new = NewCredential { kind, secret, expires_at, key_id: None };
    new.key_id = stage.key_id.map(|id| id.to_string());
    let staged = app.store.stage_credential(connection.id, new, ACTOR).await?;
    app.engine.nudge();
    output::talk("staged; next: `postroom credential test`, then `postroom credential switch`");
    output::data(staged.id.to_string());
    Ok(())
}

/// The certificate out of a file, or a new one.
async fn certificate(app: &App, stage: &StageArguments) -> anyhow::Result<CertificateCredential> {
    let Some(path) = stage.certificate.clone() else {
        let from = app.env.now();
        let days = SignedDuration::from_hours(24 * i64::from(stage.valid_days));
        let until = from.saturating_add(days).context("the certificate lasts too long")?;
        let env = app.env.clone();
        let made = tokio::task::spawn_blocking(move || {
            CertificateCredential::generate("Postroom", from, until, &env)
        });
        return made.await.context("make a certificate")?.context("make a certificate");
    };
    let password = stage.password_file.as_deref().map(read_secret).transpose()?;
    let bytes =
        std::fs::read(&path).with_context(|| format!("read the certificate from {}", path.display()))?;
    let name = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || match String::from_utf8(bytes) {
        Ok(text) => CertificateCredential::from_pem(&SecretString::from(text)),
        Err(binary) => {
            let password = password.unwrap_or_else(|| SecretString::from(String::new()));
            CertificateCredential::from_pfx(binary.as_bytes(), &password)
        }
    });
    read.await
        .context("read the certificate")?
        .map_err(|error| hinted(format!("read the certificate {name}: {error}"), error.hint()))
}

/// Tells what to upload, and writes it where it was asked for.
fn say_certificate(
    certificate: &CertificateCredential,
    out: Option<&Path>,
    made: bool,
) -> anyhow::Result<()> {
    output::talk(format!(
        "certificate {}, until {:.0}",
        certificate.thumbprint_sha1_hex(),
        certificate.not_after()
    ));
    match (made, out) {
        (true, Some(path)) => {
            std::fs::write(path, certificate.certificate_pem())
                .with_context(|| format!("write the certificate to {}", path.display()))?;
            output::talk(format!(
                "upload {} in Entra: App registrations, Certificates & secrets",
                path.display()
            ));
        }
        (true, None) => {
            output::talk("upload this in Entra: App registrations, Certificates & secrets");
            output::talk(certificate.certificate_pem());
        }
        (false, _) => {}
    }
    Ok(())
}

async fn in_state(
    app: &App,
    connection: &Connection,
    state: CredentialState,
) -> anyhow::Result<Option<Credential>> {
    let held = app.store.credentials(connection.id).await?;
    Ok(held.into_iter().find(|one| one.state == state))
}

async fn next_or_current(app: &App, connection: &Connection) -> anyhow::Result<Credential> {
    if let Some(next) = in_state(app, connection, CredentialState::Next).await? {
        return Ok(next);
    }
    let current = in_state(app, connection, CredentialState::Current).await?;
    current.ok_or_else(|| {
        let message = format!("{} has no credential", connection.settings.display_name());
        hinted(message, "`postroom connection save --secret-file FILE` stores the first one")
    })
}

async fn test(app: &App, connection: &Connection, credential: &Credential) -> anyhow::Result<String> {
    app.engine.test_credential(connection, credential).await.map_err(told)
}

/// A failure with its advice as the hint.
fn told(failure: Failure) -> anyhow::Error {
    match failure.advice.clone() {
        Some(advice) => hinted(failure.to_string(), advice),
        None => failure.into(),
    }
}

async fn switch(app: &App, named: Option<&str>, back: bool, without_test: bool) -> anyhow::Result<()> {
    let connection = app.connection(named).await?;
    let name = connection.settings.display_name();
    let (state, called, hint) = match back {
        true => (
            CredentialState::Former,
            "former",
            "it is kept from a switch until it is retired, or removed by a renewal; `postroom connection save --secret-file FILE` stores another",
        ),
        false => (CredentialState::Next, "next", "`postroom credential stage` stores one"),
    };
    let Some(wanted) = in_state(app, &connection, state).await? else {
        return Err(hinted(format!("{name} has no {called} credential"), hint));
    };
    if without_test {
        output::talk(
            "not tested: if the provider does not know it, no mail leaves and none is collected until `postroom credential switch --back`",
        );
    } else {
        output::talk(test(app, &connection, &wanted).await.context("the credential in use stays in use")?);
    }
    let before = in_state(app, &connection, CredentialState::Current).await?;
    let switched = match back {
        true => app.store.switch_credential_back(connection.id, ACTOR).await?,
        false => app.store.switch_credential(connection.id, ACTOR).await?,
    };
    app.engine.nudge();
    match before {
        Some(before) => output::talk(format!(
            "switched; `postroom credential switch --back` returns to the one before. When nothing needs it any more, remove it in Entra, and here with `postroom credential retire {}`",
            before.id
        )),
        None => output::talk("switched"),
    }
    output::data(switched.id.to_string());
    Ok(())
}

async fn renew(app: &App, connection: &Connection) -> anyhow::Result<()> {
    let renewal = app.engine.renew_credential(connection).await.map_err(told)?;
    let Some(renewal) = renewal else {
        output::talk("renewed");
        return Ok(());
    };
    output::talk(renewal.sentence(app.env.now()));
    let by_itself = "`postroom serve` goes on with it by itself; so does this command when it is run again";
    if renewal.for_person {
        let name = connection.settings.display_name();
        let hint = format!(
            "do what the next step above says; then `postroom credential renew --connection \"{name}\"` goes on"
        );
        return Err(hinted("the renewal waits for you", hint));
    }
    if renewal.trouble.is_some() {
        return Err(hinted("the renewal is not done yet", by_itself));
    }
    output::talk(by_itself);
    Ok(())
}

async fn must_not_open(
    app: &App,
    connection: &Connection,
    addresses: Vec<EmailAddress>,
    none: bool,
) -> anyhow::Result<ExitCode> {
    if addresses.is_empty() && !none {
        let watch = app.engine.scope_watch(connection.id).await?;
        match (watch.must_not_open.is_empty() && watch.wanted.is_none(), watch.looked_at) {
            (true, _) => {
                output::talk("no mailbox is watched: name at least one address that must be refused");
                return Ok(ExitCode::SUCCESS);
            }
            (false, Some(at)) => output::talk(format!("last asked at {at:.0}")),
            (false, None) => output::talk("not asked yet"),
        }
        return Ok(verdicts(&watch));
    }
    let begun = app.env.now();
    app.engine.must_not_open(connection.id, addresses).await?;
    let patience = tokio::time::Instant::now() + LOOK_PATIENCE;
    let watch = loop {
        app.engine.watch_scope().await?;
        let watch = app.engine.scope_watch(connection.id).await?;
        let asked = watch.looked_at.is_some_and(|at| at >= begun);
        if asked || none {
            break watch;
        }
        if tokio::time::Instant::now() >= patience {
            for mailbox in &watch.must_not_open {
                output::data(format!("{mailbox}  not asked yet"));
            }
            output::talk(
                "not known yet: another process has the turn to ask, or was killed while it asked. In five minutes at most its turn ends; `postroom serve` asks then, and so does this command",
            );
            return Ok(ExitCode::from(3));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    if none {
        output::talk("no mailbox is watched any more");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(verdicts(&watch))
}

/// Prints what is known of every mailbox, and gives the exit code for it.
fn verdicts(watch: &ScopeWatch) -> ExitCode {
    for mailbox in &watch.must_not_open {
        let verdict = match () {
            () if watch.opened.contains(mailbox) => "OPENS, and must not",
            () if watch.missing.contains(mailbox) => "there is no such mailbox: proves nothing",
            () if watch.refused.contains(mailbox) => "refused",
            () if watch.looked_at.is_none() => "not asked yet",
            () => "not found out",
        };
        output::data(format!("{mailbox}  {verdict}"));
    }
    for right in &watch.leftover {
        output::data(format!("{right}  GRANTED for the whole tenant, and defeats the limit"));
    }
    if let Some(trouble) = &watch.trouble {
        output::talk(format!("at least one question stayed open: {trouble}"));
    }
    match watch.held() {
        Some(true) => ExitCode::SUCCESS,
        None if watch.looked_at.is_none() => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    }
}
