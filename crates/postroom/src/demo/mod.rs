//! `postroom demo`: the set-up guide performed from its first step to its last, on a tenant of this machine, by the
//! same code that serves the page and the command line; every fact it tells is verified as it goes.
//!
//! | module | steps |
//! |---|---|
//! | [`azure`] | A1 to A23: the registration of the application |
//! | [`system_settings`] | E1 to E14: outgoing mail and its test |
//! | [`incoming`] | I1 to I14: mailboxes |
//! | [`story`] | after the guide: a message sent, mail collected, shown, filed |

mod azure;
mod corpus;
mod guide;
mod incoming;
mod story;
mod system_settings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postroom_entra::http::HttpSettings;
use postroom_entra::token::TokenClient;
use postroom_model::connection::{Cloud, Endpoints};
use postroom_model::{ConnectionId, EmailAddress, Env, ExposeSecret, SecretString};
use postroom_sandbox::{Sandbox, SandboxOptions};
use url::Url;

use self::guide::Guide;
use crate::app::App;
use crate::commands::serve::{Server, stop_signal};
use crate::config::Config;
use crate::output::{self, hinted};

/// The longest any single fact is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the steps share: the tenant, the product, and what was learned on the way.
struct Stage {
    guide: Guide,
    env: Env,
    http: reqwest::Client,
    tokens: Arc<TokenClient>,
    sandbox: Sandbox,
    app: App,
    server: Server,
    /// Where the tenant is.
    cloud: Cloud,
    /// Password of the page's administrator.
    admin_password: SecretString,
    /// The address of step A23.
    address: EmailAddress,
    /// Learned in A9 and A22.
    registration: Option<azure::Registration>,
    /// Saved in E10.
    connection: Option<ConnectionId>,
    /// The users of the story, with their passwords.
    users: Vec<(String, SecretString)>,
}

/// Performs the guide. With `once` everything is stopped at the end; else the page stays up until a signal.
pub(crate) async fn perform(
    once: bool,
    listen: SocketAddr,
    data: Option<PathBuf>,
    env: Env,
) -> anyhow::Result<ExitCode> {
    let begin = env.now();
    let (folder, _temporary) = folder(data)?;
    let mut stage = Box::pin(set_up(&folder, listen, env.clone())).await?;
    let told = Box::pin(tell(&mut stage)).await;
    if let Err(error) = &told {
        stage.guide.verify(false, format!("{error:#}"));
    }
    let seconds = env.now().duration_since(begin).as_secs_f64();
    let well = stage.guide.close(seconds);
    if !once && well {
        invite(&stage);
        stop_signal().await?;
    }
    let Stage { server, sandbox, .. } = stage;
    server.stop().await?;
    sandbox.stop().await;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn tell(stage: &mut Stage) -> anyhow::Result<()> {
    Box::pin(azure::perform(stage)).await.context("the registration of the application (A1 to A23)")?;
    Box::pin(system_settings::perform(stage)).await.context("the system settings (E1 to E14)")?;
    Box::pin(incoming::perform(stage)).await.context("the settings for incoming e-mail (I1 to I14)")?;
    Box::pin(story::perform(stage)).await.context("the story after the guide")
}

/// The folder of `--data`, which must be empty or new, or a temporary one that vanishes at the end.
fn folder(data: Option<PathBuf>) -> anyhow::Result<(PathBuf, Option<tempfile::TempDir>)> {
    let Some(folder) = data else {
        let temporary = tempfile::tempdir().context("make a temporary folder")?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    let mut entries =
        std::fs::read_dir(&folder).with_context(|| format!("read the folder {}", folder.display()))?;
    if entries.next().is_some() {
        return Err(hinted(
            format!("the folder {} is not empty", folder.display()),
            "the demonstration begins from nothing: name a new folder, or `postroom serve --data` on the old one",
        ));
    }
    Ok((folder, None))
}

async fn set_up(folder: &Path, listen: SocketAddr, env: Env) -> anyhow::Result<Stage> {
    let mut options = SandboxOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)), env.clone());
    options.data = Some(folder.join("tenant"));
    let sandbox = Sandbox::start(options).await.context("start the tenant")?;
    let config = Config { data_dir: folder.join("postroom"), ..Config::default() };
    let app = App::open(config, env.clone()).await?;
    let admin_password = SecretString::from(env.new_token(16));
    crate::commands::serve::add_administrator(&app, "admin", "Administrator", &admin_password).await?;
    let server = Server::start(&app, listen).await?;
    let http = postroom_entra::http::client(&HttpSettings::default())?;
    let tokens = Arc::new(TokenClient::new(http.clone(), env.clone()));
    let ready = sandbox.ready();
    let cloud = Cloud::Custom(Endpoints {
        authority: Url::parse(&ready.authority).context("the tenant's authority")?,
        graph: Url::parse(&ready.graph).context("the tenant's Graph")?,
        exchange: None,
    });
    output::data(format!("a Microsoft 365 tenant of your own: http://{}", sandbox.address()));
    output::data(format!("Postroom: {}", server.url()));
    Ok(Stage {
        guide: Guide::default(),
        env,
        http,
        tokens,
        sandbox,
        app,
        server,
        cloud,
        admin_password,
        address: "orders@contoso.example".parse()?,
        registration: None,
        connection: None,
        users: Vec::new(),
    })
}

/// How to look at it.
fn invite(stage: &Stage) {
    output::data(format!("\nlook at it: {}", stage.server.url()));
    output::data(format!("  admin        {}", stage.admin_password.expose_secret()));
    for (name, password) in &stage.users {
        output::data(format!("  {name:<12} {}", password.expose_secret()));
    }
    output::data(format!(
        "\ndrop mail into it: postroom sandbox deliver --url http://{} --to {} FILE.eml",
        stage.sandbox.address(),
        stage.address
    ));
    output::talk("press Ctrl-C to stop");
}
