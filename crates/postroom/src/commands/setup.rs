//! `postroom setup`: a connection from nothing, by plan. The engine is in `postroom-setup`; here are its words.

mod administrator;
mod closed;
mod told;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use postroom_entra::http::HttpSettings;
use postroom_model::connection::{Cloud, Endpoints, UnknownWord};
use postroom_model::mailbox::MailType;
use postroom_model::{EmailAddress, ExposeSecret};
use postroom_setup::handover::Certificate;
use postroom_setup::limits::{self, Names, Told};
use postroom_setup::{
    Accounts, Api, Ask, Journal, KeyKind, Limit, Line, MailServer, Means, Patience, Plan, Prepared, Purpose,
    SetupError, Shell, Undone,
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
    /// Wait at most this long for the sign-in and for mailboxes to open
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
        /// Replace the application or the credential of a set-up that works
        #[arg(long)]
        replace: bool,
    },
    /// Make a page for the tenant's administrator with exactly these steps
    Handover(Box<HandoverArguments>),
    /// Print the lines for Exchange that keep the application to its mailboxes
    ScopeScript(Box<ScopeArguments>),
}

/// What is to be made.
#[derive(Debug, Args)]
struct PlanArguments {
    /// How mail is read and sent: graph, ews or imap-smtp [default: graph]
    #[arg(long)]
    api: Option<Api>,
    /// Name of the application in the portal [default: Postroom and the connection's name]
    #[arg(long)]
    name: Option<String>,
    /// Name of the connection
    #[arg(long, default_value = CONNECTION)]
    connection: String,
    /// A mailbox the application may open; can be given several times
    #[arg(long = "mailbox", value_name = "ADDRESS")]
    mailboxes: Vec<EmailAddress>,
    /// A mailbox that must stay closed to the application: tried at the end and every hour from then on; can be given
    /// several times
    #[arg(long, value_name = "ADDRESS")]
    must_not_open: Vec<EmailAddress>,
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
    /// Account type: single-tenant, multitenant, multitenant-and-personal or personal [default: single-tenant]
    #[arg(long)]
    accounts: Option<Accounts>,
    /// Redirect URI; an application that signs in by itself needs none
    #[arg(long = "redirect-uri", value_name = "URL")]
    redirect_uris: Vec<Url>,
    /// Tenant id or domain [default: the domain of the first mailbox]
    #[arg(long, value_name = "ID|DOMAIN")]
    tenant: Option<String>,
    /// Where the tenant lives: worldwide, us-government, us-government-dod or china [default: worldwide]
    #[arg(long, value_parser = cloud, conflicts_with_all = ["authority", "graph"])]
    cloud: Option<Cloud>,
    /// Address of the sign-in service, for a cloud of one's own such as the sandbox
    #[arg(long, requires = "graph")]
    authority: Option<Url>,
    /// Address of Microsoft Graph, for a cloud of one's own such as the sandbox
    #[arg(long, requires = "authority")]
    graph: Option<Url>,
    /// Address of Exchange, for --api ews in a cloud of one's own: EWS is at EWS/Exchange.asmx below it
    #[arg(long, value_name = "URL", requires = "authority")]
    exchange: Option<Url>,
    /// IMAP, for --api imap-smtp in a cloud of one's own
    #[arg(long, value_name = "HOST:PORT", requires = "authority")]
    imap: Option<MailServer>,
    /// SMTP submission, for --api imap-smtp in a cloud of one's own
    #[arg(long, value_name = "HOST:PORT", requires = "authority")]
    smtp: Option<MailServer>,
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
    /// The lines for Exchange ran: forget what they needed
    #[arg(long)]
    exchange_done: bool,
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
        Some(SetupCommand::Import { line, replace }) => import(app, &means, line, replace).await,
        Some(SetupCommand::Handover(handover)) => hand_over(app, &means, *handover).await,
        Some(SetupCommand::ScopeScript(scope)) => scope_script(app, *scope).await,
    }
}

fn cloud(word: &str) -> Result<Cloud, UnknownWord> {
    let known = Cloud::MICROSOFT.iter().map(Cloud::as_str).collect::<Vec<_>>();
    let found = Cloud::MICROSOFT.into_iter().find(|cloud| cloud.as_str() == word);
    found.ok_or_else(|| UnknownWord::new("cloud", word, &known))
}

impl PlanArguments {
    /// The plan of an earlier set-up, changed by what was given.
    fn over(&self, mut plan: Plan) -> Plan {
        if let Some(name) = &self.name {
            plan.application.clone_from(name);
        }
        if let Some(api) = self.api {
            plan.api = api;
            plan.limit = self.limit.unwrap_or_else(|| api.default_limit());
        }
        plan.limit = self.limit.unwrap_or(plan.limit);
        plan.accounts = self.accounts.unwrap_or(plan.accounts);
        if !self.mailboxes.is_empty() {
            plan.mailboxes.clone_from(&self.mailboxes);
        }
        plan
    }

    fn plan(&self, app: &App) -> Plan {
        let mut plan = Plan::new(&app.env, &self.connection, self.mailboxes.clone());
        if let Some(name) = &self.name {
            plan.application.clone_from(name);
        }
        plan.api = self.api.unwrap_or_default();
        plan.limit = self.limit.unwrap_or_else(|| plan.api.default_limit());
        plan.accounts = self.accounts.unwrap_or_default();
        plan.redirect_uris.clone_from(&self.redirect_uris);
        plan.must_not_open.clone_from(&self.must_not_open);
        plan.types = self.types.iter().copied().collect();
        plan.tenant.clone_from(&self.tenant);
        let kind = if self.secret { KeyKind::Secret } else { KeyKind::Certificate };
        let usual = if self.secret { 180 } else { 365 };
        plan.set_key(&app.env, kind, self.valid_days.unwrap_or(usual));
        if let Some(cloud) = &self.cloud {
            plan.cloud.clone_from(cloud);
        }
        if let (Some(authority), Some(graph)) = (&self.authority, &self.graph) {
            plan.cloud = Cloud::Custom(Endpoints {
                authority: authority.clone(),
                graph: graph.clone(),
                exchange: self.exchange.clone(),
            });
        }
        (plan.imap, plan.smtp) = (self.imap.clone(), self.smtp.clone());
        plan
    }
}

async fn set_up(app: &App, means: &Means<'_>, arguments: SetupArguments) -> anyhow::Result<ExitCode> {
    let (mut plan, earlier) =
        postroom_setup::reconcile(&arguments.plan.plan(app), app.store.as_ref()).await?;
    if plan.limit != Limit::None && plan.must_not_open.is_empty() && !arguments.yes && !arguments.dry_run {
        plan.must_not_open.extend(told::closed_mailbox()?);
    }
    let problems = plan.validate(earlier.as_ref().map_or(app.env.now(), |earlier| earlier.began_at));
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
        told::earlier(earlier.as_ref(), &plan);
        return Ok(ExitCode::SUCCESS);
    }
    output::talk(format!("This will be made and granted:\n\n{}", plan.render()));
    told::earlier(earlier.as_ref(), &plan);
    told::confirm(arguments.yes)?;
    let registrar = administrator::sign_in(app, means.http, &arguments.administrator, &plan).await?;
    let tell = &mut told::progress(arguments.json);
    let outcome = postroom_setup::apply(&plan, &registrar, means, tell).await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            told::exists(app, &plan.connection).await;
            let waiting = error.still_waiting();
            let error = anyhow::Error::new(error);
            if !waiting {
                return Err(error);
            }
            output::error(&error);
            return Ok(ExitCode::from(told::NOT_YET));
        }
    };
    app.engine.nudge();
    let ended = told::outcome(&outcome, arguments.json)?;
    closed::watch(app, &outcome, ended).await
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
    let undone =
        postroom_setup::undo(&undo.name, registrar.as_ref(), undo.exchange_done, means, tell).await?;
    if undone == Undone::ExchangeLeft {
        output::talk(format!(
            "Entra side taken back; Exchange still to do: run these lines, then `postroom setup undo {} --exchange-done`",
            postroom_setup::quote::bash(&undo.name)
        ));
        return Ok(ExitCode::from(told::NOT_YET));
    }
    output::talk(format!("the set-up of {} is taken back", undo.name));
    Ok(ExitCode::SUCCESS)
}

async fn print_script(app: &App, means: &Means<'_>, arguments: ScriptArguments) -> anyhow::Result<ExitCode> {
    // What is taken back was planned before; nothing new is prepared for it.
    let (journal, certificate) = if arguments.undo {
        (postroom_setup::undo::journal_of(&arguments.plan.connection, means).await?, None)
    } else {
        let plan = arguments.plan.plan(app);
        let Prepared { journal, certificate } = postroom_setup::prepare(&plan, means).await?;
        (journal, certificate)
    };
    let plan = if arguments.undo { journal.left_in_exchange() } else { journal.plan.clone() };
    let der = certificate.as_ref().map(|certificate| certificate.certificate_der());
    let purpose = if arguments.undo { Purpose::Undo } else { Purpose::Make };
    let ask = Ask { shell: arguments.shell, purpose, certificate: der, unlisted: None, told: journal.told() };
    output::data(postroom_setup::script(&plan, &app.env, ask)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn import(app: &App, means: &Means<'_>, line: String, replace: bool) -> anyhow::Result<ExitCode> {
    let typed = line != "-";
    let line = if typed { line.into() } else { read_secret(std::path::Path::new("-"))? };
    let line = Line::parse(line.expose_secret())?;
    if typed && line.secret.is_some() {
        let words = "this line holds a secret, and others see a command line: hand it in by standard input, `postroom setup import -`";
        return Err(UsageError(words.to_owned()).into());
    }
    let outcome = postroom_setup::import(&line, replace, means, &mut told::progress(false)).await?;
    let ended = told::outcome(&outcome, false)?;
    closed::watch(app, &outcome, ended).await
}

async fn hand_over(app: &App, means: &Means<'_>, arguments: HandoverArguments) -> anyhow::Result<ExitCode> {
    let plan = arguments.plan.plan(app);
    let Prepared { journal, certificate } = postroom_setup::prepare(&plan, means).await?;
    let pem = certificate.as_ref().map(|certificate| certificate.certificate_pem());
    let halves = certificate
        .as_ref()
        .zip(pem.as_deref())
        .map(|(certificate, pem)| Certificate { der: certificate.certificate_der(), pem });
    let page = postroom_setup::handover(&journal.plan, journal.told(), &app.env, halves)?;
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
    let fresh = arguments.plan.plan(app);
    let journal = Journal::load(app.store.as_ref(), &fresh.connection).await?;
    let given = arguments.application_id.zip(arguments.principal_id);
    let given =
        given.map(|(application, principal)| Names::known(&application.to_string(), &principal.to_string()));
    let names = given
        .or_else(|| journal.as_ref().and_then(Journal::names))
        .ok_or_else(|| SetupError::Unknown { name: fresh.connection.clone() })?;
    let told = journal.as_ref().map_or(Told::Nothing, Journal::told);
    let (plan, began) = match &journal {
        Some(journal) => {
            let plan = if arguments.undo { journal.left_in_exchange() } else { journal.plan.clone() };
            (arguments.plan.over(plan), journal.began_at)
        }
        None => (fresh, app.env.now()),
    };
    plan.validate(began)
        .into_result()
        .map_err(|problems| SetupError::Plan { connection: plan.connection.clone(), problems })?;
    let lines = match arguments.undo {
        true => limits::undo(&plan, &names),
        false => {
            let unlisted = arguments.unlisted.as_ref().or(plan.must_not_open.first());
            limits::lines(&plan, &names, told, unlisted)
        }
    };
    for line in lines {
        output::data(line);
    }
    Ok(ExitCode::SUCCESS)
}
