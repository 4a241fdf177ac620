//! `postroom connection`.

mod migrate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use postroom_model::connection::{
    AuthenticationFlow, Cloud, Connection, ConnectionKind, ConnectionSettings, EmailMethod, Endpoints,
    ExchangeApi, OutgoingSettings, SecretField, TlsMode, WhenUnknown,
};
use postroom_model::credential::CredentialKind;
use postroom_model::{PollingInterval, Problems, Severity, Timestamp};
use postroom_store::{NewCredential, SaveConnection};
use url::Url;

use super::{ACTOR, read_secret};
use crate::app::App;
use crate::cli::UsageError;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct ConnectionArguments {
    #[command(subcommand)]
    command: ConnectionCommand,
}

#[derive(Debug, Subcommand)]
enum ConnectionCommand {
    /// Add a connection, or change the one of that name; what is not given stays as it is
    Save(Box<SaveArguments>),
    /// List connections
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Switch a connection of Exchange Online to its other interface: same mailboxes, no message read twice
    Migrate(migrate::MigrateArguments),
    /// Remove a connection that no mailbox uses
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
struct SaveArguments {
    /// Name of the connection
    #[arg(long)]
    name: String,
    /// exchange-online, exchange, imap or smtp
    #[arg(long)]
    kind: Option<ConnectionKind>,
    /// By which interface Exchange Online is reached: graph or ews. Of a saved connection `connection migrate` switches it
    #[arg(long, value_name = "INTERFACE")]
    api: Option<ExchangeApi>,
    /// Server address; for Exchange also the whole address of EWS
    #[arg(long)]
    server: Option<String>,
    /// Port; 0 is the standard port of kind and TLS mode: IMAP 993 or 143, SMTP 465, 587 or 25, Exchange 443
    #[arg(long)]
    port: Option<u16>,
    /// implicit (TLS from the first byte), starttls (required), starttls-if-offered (SMTP relays without a password) or
    /// plain
    #[arg(long, value_name = "MODE")]
    tls: Option<TlsMode>,
    /// With --tls plain: let passwords and mail cross the network readable, to a server that is not this machine
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    accept_plain: Option<bool>,
    /// Directory (tenant) ID
    #[arg(long)]
    tenant_id: Option<String>,
    /// Application (client) ID
    #[arg(long)]
    application_id: Option<String>,
    /// Authentication flow: client-secret, certificate, federated or password. IMAP and SMTP sign in with a token under
    /// the first three, Exchange knows password only
    #[arg(long)]
    flow: Option<AuthenticationFlow>,
    /// User name, for SMTP, IMAP and Exchange
    #[arg(long)]
    user_name: Option<String>,
    /// File with the client secret or password, - for standard input. Never on the command line, where others see it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// When the secret stops working, such as 2027-05-22T00:00:00Z
    #[arg(long, value_name = "TIME")]
    secret_expires: Option<Timestamp>,
    /// Polling interval in minutes, such as 60,00; 0 is off
    #[arg(long, value_name = "MINUTES")]
    polling_interval: Option<PollingInterval>,
    /// Maximum size for files in e-mail, in MB
    #[arg(long, value_name = "MB")]
    max_size: Option<u32>,
    /// Microsoft's cloud: worldwide, us-government, us-government-dod or china
    #[arg(long, value_parser = cloud, conflicts_with_all = ["authority", "graph"])]
    cloud: Option<Cloud>,
    /// Address of the sign-in service, for a cloud of one's own such as the sandbox
    #[arg(long, requires = "graph")]
    authority: Option<Url>,
    /// Address of Microsoft Graph, for a cloud of one's own such as the sandbox
    #[arg(long, requires = "authority")]
    graph: Option<Url>,
    /// Address of Exchange, for a cloud of one's own such as the sandbox; EWS is at EWS/Exchange.asmx below it
    #[arg(long, value_name = "URL", conflicts_with = "cloud")]
    exchange: Option<Url>,
    /// A message whose outcome nobody can tell (SMTP): at-most-once tells the sender, at-least-once sends it again, and
    /// it may arrive twice
    #[arg(long, value_name = "POLICY")]
    when_unknown: Option<WhenUnknown>,
    /// Send through this connection by default
    #[arg(long)]
    outgoing: bool,
}

/// One of Microsoft's clouds by its name.
fn cloud(word: &str) -> Result<Cloud, String> {
    let found = Cloud::MICROSOFT.into_iter().find(|cloud| cloud.as_str() == word);
    found
        .ok_or_else(|| format!("one of {} is meant", Cloud::MICROSOFT.map(|cloud| cloud.as_str()).join(", ")))
}

pub(crate) async fn run(app: &App, arguments: ConnectionArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        ConnectionCommand::Save(save) => save_connection(app, *save).await?,
        ConnectionCommand::List { json } => list(app, json).await?,
        ConnectionCommand::Migrate(migrate) => return migrate::run(app, migrate).await,
        ConnectionCommand::Remove { name } => {
            let connection = app.connection(Some(&name)).await?;
            app.store.remove_connection(connection.id, ACTOR).await?;
            output::talk(format!("removed {name}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn save_connection(app: &App, mut save: SaveArguments) -> anyhow::Result<()> {
    let all = app.store.connections().await?;
    let existing = all.into_iter().find(|one| one.settings.display_name().eq_ignore_ascii_case(&save.name));
    let secret = save.secret_file.take().map(|path| read_secret(&path)).transpose()?;
    let expires_at = save.secret_expires;
    let outgoing = save.outgoing;
    let settings = merged(existing.as_ref(), save)?.trimmed();
    let stored = match &existing {
        Some(old) if settings.may_keep_secret_of(&old.settings) => {
            let current = app.store.credential_secret(old.id).await?;
            // A credential of another flow stays beside the one that is staged next; a password is never one of them.
            let password = CredentialKind::Password;
            let kind = settings.credential_kind();
            current.is_some_and(|(known, _)| known.kind == kind || ![known.kind, kind].contains(&password))
        }
        _ => false,
    };
    let field = match &secret {
        Some(text) => SecretField::Typed(text),
        None if stored => SecretField::Stored,
        None => SecretField::Missing,
    };
    let mut problems = existing.as_ref().map(|old| settings.may_replace(&old.settings)).unwrap_or_default();
    problems.extend(settings.validate(field));
    if let Some(old) = &existing {
        warn_of_passwords(app, old, &settings, &mut problems).await?;
    }
    saveable(&problems, "the connection is not saved")?;
    let kind = settings.credential_kind();
    let connection = app
        .store
        .save_connection(SaveConnection {
            id: existing.map_or_else(|| app.env.new_id(), |connection| connection.id),
            settings,
            credential: secret.map(|secret| NewCredential { kind, secret, expires_at, key_id: None }),
            actor: ACTOR.to_owned(),
        })
        .await?;
    if outgoing {
        use_for_sending(app, &connection).await?;
    }
    app.engine.nudge();
    output::talk(format!("saved {}", connection.settings.display_name()));
    output::data(connection.id.to_string());
    Ok(())
}

/// What was stored, with what was given laid over it.
fn merged(existing: Option<&Connection>, save: SaveArguments) -> anyhow::Result<ConnectionSettings> {
    let mut settings = match (existing, save.kind) {
        (Some(connection), _) => connection.settings.clone(),
        (None, Some(kind)) => ConnectionSettings::new(kind),
        (None, None) => return Err(UsageError("a new connection needs --kind".to_owned()).into()),
    };
    settings.name = save.name;
    settings.kind = save.kind.unwrap_or(settings.kind);
    settings.api = save.api.unwrap_or(settings.api);
    settings.server = save.server.unwrap_or(settings.server);
    settings.port = save.port.unwrap_or(settings.port);
    settings.tls = save.tls.unwrap_or(settings.tls);
    settings.accept_plain = save.accept_plain.unwrap_or(settings.accept_plain);
    settings.when_unknown = save.when_unknown.unwrap_or(settings.when_unknown);
    settings.tenant_id = save.tenant_id.unwrap_or(settings.tenant_id);
    settings.application_id = save.application_id.unwrap_or(settings.application_id);
    settings.flow = save.flow.unwrap_or(settings.flow);
    settings.user_name = save.user_name.unwrap_or(settings.user_name);
    settings.polling_interval = save.polling_interval.unwrap_or(settings.polling_interval);
    settings.max_size_mb = save.max_size.unwrap_or(settings.max_size_mb);
    if let Some(cloud) = save.cloud {
        // The server of one cloud is none of another's; a server of one's own stays.
        let ours = Cloud::MICROSOFT.iter().any(|cloud| cloud.exchange_host() == settings.server);
        if settings.kind == ConnectionKind::ExchangeOnline && ours {
            settings.server = cloud.exchange_host().to_owned();
        }
        settings.cloud = cloud;
    }
    if let (Some(authority), Some(graph)) = (save.authority, save.graph) {
        let exchange = match settings.cloud {
            Cloud::Custom(known) => known.exchange,
            _ => None,
        };
        settings.cloud = Cloud::Custom(Endpoints { authority, graph, exchange });
    }
    match (&mut settings.cloud, save.exchange) {
        (_, None) => {}
        (Cloud::Custom(endpoints), exchange) => endpoints.exchange = exchange,
        (_, Some(_)) => {
            return Err(UsageError(
                "--exchange belongs to a cloud of one's own: give --authority and --graph too".to_owned(),
            )
            .into());
        }
    }
    Ok(settings)
}

/// Mailboxes with passwords of their own lose them where the settings lead elsewhere.
async fn warn_of_passwords(
    app: &App,
    old: &Connection,
    settings: &ConnectionSettings,
    problems: &mut Problems,
) -> anyhow::Result<()> {
    if settings.may_keep_secret_of(&old.settings) {
        return Ok(());
    }
    let all = app.store.mailboxes().await?;
    let count = all.iter().filter(|mailbox| mailbox.connection == old.id && mailbox.has_password).count();
    if count > 0 {
        problems
            .warning("server", format!("The passwords of {count} mailboxes are forgotten: they were entered for another line or server"))
            .hint("`postroom mailbox add ADDRESS --password-file FILE` stores one again.");
    }
    Ok(())
}

async fn use_for_sending(app: &App, connection: &Connection) -> anyhow::Result<()> {
    let kind = connection.settings.kind;
    let method = EmailMethod::ALL.into_iter().find(|method| method.connection_kind() == Some(kind));
    let Some(method) = method else {
        return Err(UsageError(format!("nothing can be sent through {}", kind.label())).into());
    };
    let settings = OutgoingSettings { method, connection: Some(connection.id) };
    app.store.save_outgoing_settings(&settings, ACTOR).await?;
    Ok(())
}

/// Shows the problems, and fails with `otherwise` when one of them blocks.
pub(super) fn saveable(problems: &Problems, otherwise: &'static str) -> anyhow::Result<()> {
    show(problems);
    anyhow::ensure!(!problems.blocks(), otherwise);
    Ok(())
}

/// Problems as talk, errors first.
pub(super) fn show(problems: &Problems) {
    for problem in problems.iter() {
        let word = if problem.severity == Severity::Error { "error" } else { "warning" };
        output::talk(format!("{word}: {} ({})", problem.message, problem.field));
        if let Some(hint) = &problem.hint {
            output::talk(format!("  hint: {hint}"));
        }
    }
}

async fn list(app: &App, json: bool) -> anyhow::Result<()> {
    let connections = app.store.connections().await?;
    if json {
        return output::json(&connections);
    }
    let outgoing = app.store.outgoing_settings().await?.and_then(|settings| settings.connection);
    let rows = connections.into_iter().map(|connection| {
        let settings = &connection.settings;
        let sends = if outgoing == Some(connection.id) { "sends by default" } else { "" };
        [
            settings.display_name().to_owned(),
            match settings.api {
                ExchangeApi::Ews if settings.kind == ConnectionKind::ExchangeOnline => {
                    "exchange-online (ews)"
                }
                _ => settings.kind.as_str(),
            }
            .to_owned(),
            format!("{}:{}", settings.server, settings.effective_port()),
            settings.flow.as_str().to_owned(),
            if settings.cloud == Cloud::Worldwide { "" } else { settings.cloud.as_str() }.to_owned(),
            sends.to_owned(),
        ]
    });
    output::table(["NAME", "KIND", "SERVER", "FLOW", "CLOUD", ""], rows.collect());
    Ok(())
}
