//! `postroom serve`: page, API, outbox, collector.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use clap::Args;
use postroom_api::ApiState;
use postroom_model::people::Role;
use postroom_model::{ExposeSecret, SecretString};
use postroom_store::NewUser;
use postroom_web::{LiveChecker, WebState};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{App, RightToWork};
use crate::health::{self, Health};
use crate::output::{self, hinted};
use crate::traces::Traces;

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
    let mut signals = Signals::listen()?;
    let server = Server::start(&app, arguments.listen.unwrap_or(app.config.listen)).await?;
    output::talk(format!("Postroom listens on {}", server.url()));
    // After the lock and the listener: a start that fails must not have used up the one showing of the password.
    first_administrator(&app).await?;
    if let Some(path) = &arguments.ready_file {
        write_ready_file(path, &Ready { url: server.url() })?;
    }
    signals.next().await;
    output::talk("stopping: the work in hand is finished first; a second signal drops it");
    tokio::select! {
        stopped = server.stop() => stopped?,
        () = signals.next() => {
            output::talk("stopped; what was in hand is looked up at the next start");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The running product: workers and listener, until stopped. Holds the right to work on the store.
pub(crate) struct Server {
    address: SocketAddr,
    health: Arc<Health>,
    stop_working: CancellationToken,
    stop_listening: CancellationToken,
    engine: JoinHandle<()>,
    http: JoinHandle<()>,
    traces: Option<Traces>,
    drain: Duration,
    finish: Duration,
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
        let health = Health::new(app)?;
        let traces = app.config.traces.endpoint.as_deref().map(Traces::start).transpose()?;
        if let Some(traces) = &traces {
            app.engine.signals().follow(traces.journeys());
        }
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
        let address = listener.local_addr().context("ask the listener for its address")?;
        let (stop_working, stop_listening) = (CancellationToken::new(), CancellationToken::new());
        let engine = tokio::spawn({
            let (engine, stop) = (app.engine.clone(), stop_working.clone());
            async move { engine.run(stop).await }
        });
        let finish = Duration::from_secs(app.config.stop.finish_seconds.into());
        let http = tokio::spawn({
            let (router, stop) = (router(app, &health), stop_listening.clone());
            async move { crate::listen::serve(listener, router, stop, finish).await }
        });
        let drain = Duration::from_secs(app.config.stop.drain_seconds.into());
        Ok(Self {
            address,
            health,
            stop_working,
            stop_listening,
            engine,
            http,
            traces,
            drain,
            finish,
            _right: right,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Begins no more work and says that it is not ready; answers a while longer; then takes no more requests and
    /// finishes what is in hand, within the configured time.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.health.stopping();
        self.stop_working.cancel();
        tokio::time::sleep(self.drain).await;
        self.stop_listening.cancel();
        let until = tokio::time::Instant::now() + self.finish;
        self.http.await.context("stop listening")?;
        let mut engine = self.engine;
        match tokio::time::timeout_at(until, &mut engine).await {
            Ok(stopped) => stopped.context("stop the workers")?,
            Err(_) => {
                engine.abort();
                let seconds = self.finish.as_secs();
                tracing::warn!("work was still in hand after {seconds} s; it is looked up at the next start");
            }
        }
        if let Some(traces) = self.traces {
            traces.stop().await;
        }
        Ok(())
    }
}

fn router(app: &App, health: &Arc<Health>) -> Router {
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
        .merge(health::router(health.clone()))
        .nest("/api/v1", postroom_api::router(api))
        .merge(postroom_web::router(web))
        .layer(axum::middleware::from_fn_with_state(health.clone(), health::watched))
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

/// SIGTERM and interrupts from the terminal. Listens from its making on, so that none that comes between two waits is
/// lost.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("listen for interrupts")?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for SIGTERM or an interrupt from the terminal.
pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    Signals::listen()?.next().await;
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
