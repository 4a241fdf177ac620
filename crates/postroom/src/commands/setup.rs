//! `postroom setup`: a connection from nothing, by plan. The engine is in `postroom-setup`; here are its words.

mod administrator;
mod told;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use postroom_entra::http::HttpSettings;
use postroom_model::connection::{Cloud, Endpoints};
use postroom_model::mailbox::MailType;
use postroom_model::{EmailAddress, ExposeSecret};
use postroom_setup::handover::Certificate;
use postroom_setup::limits::{self, Names};
use postroom_setup::{
    Accounts, Api, Ask, Journal, KeyKind, Limit, Line, Means, Patience, Plan, Prepared, Purpose, SetupError,
    Shell,
};
use url::Url;

use self::administrator::AdministratorArguments;
use super::{ACTOR, read_secret};
use crate::app::App;
use crate::cli::UsageError;
use crate::output;

/// Name of a connection when nobody gives one.
const CONNECTION: &str = "Microsoft 365";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SetupArguments {
    #[command(subcommand)]
    command: Option<SetupCommand>,
    #[command(flatten)]
    plan: PlanArguments,
    #[command(flatten)]
    administrator: AdministratorArguments,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before anything is changed
    #[arg(long)]
    yes: bool,
    /// Wait at most this long for mailboxes to open
    #[arg(long, value_name = "MINUTES", default_value_t = 15)]
    wait: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum SetupCommand {
    /// Take back exactly what a set-up has made
    Undo(Box<UndoArguments>),
    /// Print the plan as one block for an administrator who runs it elsewhere
    Script(Box<ScriptArguments>),
    /// Take in the line that the script printed
    Import {
        /// The line; - reads it from standard input, where others do not see it
        line: String,
    },
    /// Make a page for the tenant's administrator with exactly these steps
    Handover(Box<HandoverArguments>),
    /// Print the lines for Exchange that keep the application to its mailboxes
    ScopeScript(Box<ScopeArguments>),
}

/// What is to be made.
#[derive(Debug, Args)]
struct PlanArguments {
    /// How mail is read and sent: graph, ews or imap-smtp
    #[arg(long, default_value = "graph")]
    api: Api,
    /// Name of the application in the portal [default: Postroom and the connection's name]
    #[arg(long)]
    name: Option<String>,
    /// Name of the connection
    #[arg(long, default_value = CONNECTION)]
    connection: String,
    /// A mailbox the application may open; can be given several times
    #[arg(long = "mailbox", value_name = "ADDRESS")]
    mailboxes: Vec<EmailAddress>,
    /// Add the mailboxes with this type, such as customer-order; can be given several times
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<MailType>,
    /// Sign in with a secret made by Microsoft
    #[arg(long, conflicts_with = "certificate")]
    secret: bool,
    /// Sign in with a certificate made here (the default)
    #[arg(long)]
    certificate: bool,
    /// How long the credential is valid [default: 365 for a certificate, 180 for a secret]
    #[arg(long, value_name = "DAYS")]
    valid_days: Option<u32>,
    /// What keeps the application to its mailboxes: rbac, access-policy or none [default: rbac; none for imap-smtp]
    #[arg(long)]
    limit: Option<Limit>,
    /// Account type: single-tenant, multitenant, multitenant-and-personal or personal
    #[arg(long, default_value = "single-tenant")]
    accounts: Accounts,
    /// Redirect URI; an application that signs in by itself needs none
    #[arg(long = "redirect-uri", value_name = "URL")]
    redirect_uris: Vec<Url>,
    /// Tenant id or domain [default: the domain of the first mailbox]
    #[arg(long, value_name = "ID|DOMAIN")]
    tenant: Option<String>,
    /// Address of the sign-in service, for a cloud of one's own such as the sandbox
    #[arg(long, requires = "graph")]
    authority: Option<Url>,
    /// Address of Microsoft Graph, for a cloud of one's own such as the sandbox
    #[arg(long, requires = "authority")]
    graph: Option<Url>,
}

#[derive(Debug, Args)]
struct UndoArguments {
    /// Name of the connection
    name: String,
    #[command(flatten)]
    administrator: AdministratorArguments,
    /// Do not ask before anything is removed
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct ScriptArguments {
    #[command(flatten)]
    plan: PlanArguments,
    /// powershell or bash
    #[arg(long)]
    shell: Shell,
    /// The script that takes it back
    #[arg(long)]
    undo: bool,
}

#[derive(Debug, Args)]
struct HandoverArguments {
    #[command(flatten)]
    plan: PlanArguments,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ScopeArguments {
    #[command(flatten)]
    plan: PlanArguments,
    /// Application (client) ID [default: that of the connection's set-up]
    #[arg(long, requires = "principal_id")]
    application_id: Option<uuid::Uuid>,
    /// Object id of the enterprise application [default: that of the connection's set-up]
    #[arg(long, requires = "application_id")]
    principal_id: Option<uuid::Uuid>,
    /// A mailbox outside the scope, to see that it is refused
    #[arg(long, value_name = "ADDRESS")]
    unlisted: Option<EmailAddress>,
    /// The lines that take it back
    #[arg(long)]
    undo: bool,
}

pub(crate) async fn run(app: &App, arguments: SetupArguments) -> anyhow::Result<ExitCode> {
    let http = postroom_entra::http::client(&HttpSettings::default())?;
    let patience = Patience {
        mailboxes: SignedDuration::from_mins(i64::from(arguments.wait)),
        pause: SignedDuration::from_secs(5),
        ..Patience::default()
    };
    let means = Means { store: app.store.as_ref(), env: &app.env, http: &http, patience, actor: ACTOR };
    match arguments.command {
        None => set_up(app, &means, arguments).await,
        Some(SetupCommand::Undo(undo)) => take_back(app, &means, *undo).await,
        Some(SetupCommand::Script(script)) => print_script(app, &means, *script).await,
        Some(SetupCommand::Import { line }) => import(&means, line).await,
        Some(SetupCommand::Handover(handover)) => hand_over(app, &means, *handover).await,
        Some(SetupCommand::ScopeScript(scope)) => scope_script(app, *scope).await,
    }
}

impl PlanArguments {
    fn plan(&self, app: &App) -> Plan {
        let mut plan = Plan::new(&app.env, &self.connection, self.mailboxes.clone());
        if let Some(name) = &self.name {
            plan.application.clone_from(name);
        }
        plan.api = self.api;
        plan.limit = self.limit.unwrap_or_else(|| self.api.default_limit());
        plan.accounts = self.accounts;
        plan.redirect_uris.clone_from(&self.redirect_uris);
        plan.types = self.types.iter().copied().collect();
        plan.tenant.clone_from(&self.tenant);
        let kind = if self.secret { KeyKind::Secret } else { KeyKind::Certificate };
        let usual = if self.secret { 180 } else { 365 };
        plan.set_key(&app.env, kind, self.valid_days.unwrap_or(usual));
        if let (Some(authority), Some(graph)) = (&self.authority, &self.graph) {
            plan.cloud = Cloud::Custom(Endpoints { authority: authority.clone(), graph: graph.clone() });
        }
        plan
    }
}

async fn set_up(app: &App, means: &Means<'_>, arguments: SetupArguments) -> anyhow::Result<ExitCode> {
    let plan = arguments.plan.plan(app);
    let problems = plan.validate(app.env.now());
    super::connection::show(&problems);
    if problems.blocks() {
        return Err(UsageError("the plan cannot be carried out".to_owned()).into());
    }
    if arguments.dry_run {
        if arguments.json {
            output::json(&plan)?;
        } else {
            output::data(plan.render().trim_end());
        }
        return Ok(ExitCode::SUCCESS);
    }
    output::talk(format!("This will be made and granted:\n\n{}", plan.render()));
    told::confirm(arguments.yes)?;
    let registrar = administrator::sign_in(app, means.http, &arguments.administrator, &plan).await?;
    let tell = &mut told::progress(arguments.json);
    let outcome = postroom_setup::apply(&plan, &registrar, means, tell).await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            told::exists(app, &plan.connection).await;
            return Err(error.into());
        }
    };
    app.engine.nudge();
    told::outcome(&outcome, arguments.json)
}

async fn take_back(app: &App, means: &Means<'_>, undo: UndoArguments) -> anyhow::Result<ExitCode> {
    let journal = postroom_setup::undo::journal_of(&undo.name, means).await?;
    output::talk("This will be removed:");
    for what in journal.exists() {
        output::talk(format!("  {what}"));
    }
    told::confirm(undo.yes)?;
    let registrar = match journal.application {
        Some(_) => Some(administrator::sign_in(app, means.http, &undo.administrator, &journal.plan).await?),
        None => None,
    };
    let tell = &mut told::progress(false);
    postroom_setup::undo(&undo.name, registrar.as_ref(), means, tell).await?;
    output::talk(format!("the set-up of {} is taken back", undo.name));
    Ok(ExitCode::SUCCESS)
}

async fn print_script(app: &App, means: &Means<'_>, arguments: ScriptArguments) -> anyhow::Result<ExitCode> {
    // What is taken back was planned before; nothing new is prepared for it.
    let (plan, certificate) = if arguments.undo {
        (postroom_setup::undo::journal_of(&arguments.plan.connection, means).await?.plan, None)
    } else {
        let Prepared { plan, certificate } =
            postroom_setup::prepare(&arguments.plan.plan(app), means).await?;
        (plan, certificate)
    };
    let der = certificate.as_ref().map(|certificate| certificate.certificate_der());
    let purpose = if arguments.undo { Purpose::Undo } else { Purpose::Make };
    let ask = Ask { shell: arguments.shell, purpose, certificate: der, unlisted: None };
    output::data(postroom_setup::script(&plan, &app.env, ask)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn import(means: &Means<'_>, line: String) -> anyhow::Result<ExitCode> {
    let typed = line != "-";
    let line = if typed { line.into() } else { read_secret(std::path::Path::new("-"))? };
    let line = Line::parse(line.expose_secret())?;
    if typed && line.secret.is_some() {
        let words = "this line holds a secret, and others see a command line: hand it in by standard input, `postroom setup import -`";
        return Err(UsageError(words.to_owned()).into());
    }
    let outcome = postroom_setup::import(&line, means).await?;
    output::talk(format!("saved {}; `postroom check` tries it", outcome.connection));
    for id in &outcome.connections {
        output::data(id.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

async fn hand_over(app: &App, means: &Means<'_>, arguments: HandoverArguments) -> anyhow::Result<ExitCode> {
    let Prepared { plan, certificate } = postroom_setup::prepare(&arguments.plan.plan(app), means).await?;
    let pem = certificate.as_ref().map(|certificate| certificate.certificate_pem());
    let halves = certificate
        .as_ref()
        .zip(pem.as_deref())
        .map(|(certificate, pem)| Certificate { der: certificate.certificate_der(), pem });
    let page = postroom_setup::handover(&plan, &app.env, halves)?;
    match arguments.out {
        Some(path) => {
            std::fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
            output::talk(format!("wrote {}", path.display()));
        }
        None => output::data(page.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn scope_script(app: &App, arguments: ScopeArguments) -> anyhow::Result<ExitCode> {
    let mut plan = arguments.plan.plan(app);
    let journal = Journal::load(app.store.as_ref(), &plan.connection).await?;
    let given = arguments.application_id.zip(arguments.principal_id);
    let names = match (given, &journal) {
        (Some((application, principal)), _) => Names::known(&application.to_string(), &principal.to_string()),
        (None, Some(journal)) => match (&journal.application, &journal.principal_id) {
            (Some(application), Some(principal)) => Names::known(&application.application_id, principal),
            _ => return Err(SetupError::Unknown { name: plan.connection }.into()),
        },
        (None, None) => return Err(SetupError::Unknown { name: plan.connection }.into()),
    };
    if let Some(journal) = journal {
        plan.mark.clone_from(&journal.plan.mark);
        plan.application.clone_from(&journal.plan.application);
        if plan.mailboxes.is_empty() {
            plan.mailboxes.clone_from(&journal.plan.mailboxes);
        }
    }
    plan.validate(app.env.now())
        .into_result()
        .map_err(|problems| SetupError::Plan { connection: plan.connection.clone(), problems })?;
    let lines = match arguments.undo {
        true => limits::undo(&plan, &names),
        false => limits::script(&plan, &names, arguments.unlisted.as_ref()),
    };
    for line in lines {
        output::data(line);
    }
    Ok(ExitCode::SUCCESS)
}
