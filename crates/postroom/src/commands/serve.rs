//! `postroom serve`: page, API, outbox, collector.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use clap::Args;
use postroom_api::ApiState;
use postroom_model::people::Role;
use postroom_model::{ExposeSecret, SecretString};
use postroom_store::NewUser;
use postroom_web::{LiveChecker, WebState};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{App, RightToWork};
use crate::output::{self, hinted};

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Address and port; wins over the configuration; port 0 takes a free one
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// File that gets one JSON object once the server listens
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// What the ready file says.
#[derive(Serialize)]
struct Ready {
    url: String,
}

pub(crate) async fn run(app: App, arguments: ServeArguments) -> anyhow::Result<ExitCode> {
    let server = Server::start(&app, arguments.listen.unwrap_or(app.config.listen)).await?;
    output::talk(format!("Postroom listens on {}", server.url()));
    // After the lock and the listener: a start that fails must not have used up the one showing of the password.
    first_administrator(&app).await?;
    if let Some(path) = &arguments.ready_file {
        write_ready_file(path, &Ready { url: server.url() })?;
    }
    stop_signal().await?;
    output::talk("stopping: the work in hand is finished first; a second signal drops it");
    tokio::select! {
        stopped = server.stop() => stopped?,
        again = stop_signal() => {
            again?;
            output::talk("stopped; what was in hand is looked up at the next start");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The running product: workers and listener, until stopped. Holds the right to work on the store.
pub(crate) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    engine: JoinHandle<()>,
    http: JoinHandle<()>,
    _right: RightToWork,
}

impl Server {
    pub(crate) async fn start(app: &App, listen: SocketAddr) -> anyhow::Result<Self> {
        let Some(right) = app.right_to_work().await? else {
            let message = format!("another Postroom runs on {}", app.config.data_dir.display());
            return Err(hinted(message, "stop it, or name another folder with --data"));
        };
        if right.taken_up > 0 {
            tracing::warn!(ended = right.taken_up, "took up work that a stopped process left in the middle");
        }
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
        let address = listener.local_addr().context("ask the listener for its address")?;
        let stop = CancellationToken::new();
        let engine = tokio::spawn({
            let (engine, stop) = (app.engine.clone(), stop.clone());
            async move { engine.run(stop).await }
        });
        let router = router(app);
        let http = tokio::spawn({
            let stop = stop.clone();
            async move { crate::listen::serve(listener, router, stop).await }
        });
        Ok(Self { address, stop, engine, http, _right: right })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes no more, finishes the work in hand.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.http.await.context("stop listening")?;
        self.engine.await.context("stop the workers")
    }
}

fn router(app: &App) -> Router {
    let api = ApiState {
        store: app.store.clone(),
        engine: app.engine.clone(),
        env: app.env.clone(),
        max_request_bytes: u64::from(app.config.limits.max_request_mb) * 1_000_000,
    };
    let web = WebState {
        store: app.store.clone(),
        engine: app.engine.clone(),
        env: app.env.clone(),
        secure_cookies: app.config.secure_cookies,
        checker: Arc::new(LiveChecker { env: app.env.clone() }),
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .nest("/api/v1", postroom_api::router(api))
        .merge(postroom_web::router(web))
}

/// Makes `admin` when nobody is an administrator, and shows the password once: on the terminal, or, where the talk
/// goes to a log that is kept, in a file for the owner alone.
async fn first_administrator(app: &App) -> anyhow::Result<()> {
    let users = app.store.users().await?;
    if users.iter().any(|user| user.has(Role::Administrator)) {
        return Ok(());
    }
    let name = if users.iter().any(|user| user.name == "admin") { "administrator" } else { "admin" };
    let password = SecretString::from(app.env.new_token(20));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let file = app.config.data_dir.join("first-password");
    if !terminal {
        write_for_owner(&file, &password).with_context(|| format!("write {}", file.display()))?;
    }
    add_administrator(app, name, "Administrator", &password).await?;
    if terminal {
        output::talk(format!("first start: sign in as `{name}` with this password, shown this once:"));
        output::talk(format!("  {}", password.expose_secret()));
    } else {
        let file = file.display();
        output::talk(format!(
            "first start: sign in as `{name}` with the password in {file}, then remove that file"
        ));
    }
    Ok(())
}

fn write_for_owner(path: &Path, secret: &SecretString) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{}", secret.expose_secret())?;
    file.sync_all()
}

/// Adds a user who may do everything.
pub(crate) async fn add_administrator(
    app: &App,
    name: &str,
    display_name: &str,
    password: &SecretString,
) -> anyhow::Result<()> {
    let user = NewUser {
        id: app.env.new_id(),
        name: name.to_owned(),
        display_name: display_name.to_owned(),
        address: None,
        roles: vec![Role::Administrator, Role::MailboxManager, Role::User],
        groups: Vec::new(),
        password_hash: Some(postroom_web::hash_password(password)?),
        actor: "first start".to_owned(),
    };
    app.store.save_user(user).await.context("add the first administrator")?;
    Ok(())
}

/// Waits for SIGTERM or an interrupt from the terminal.
pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for interrupts")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Writes the whole file under another name first, so that a reader never sees half of it.
pub(crate) fn write_ready_file(path: &Path, content: &impl Serialize) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, content)?;
        file.write_all(b"\n")?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("write the ready file {}", path.display()))
}
