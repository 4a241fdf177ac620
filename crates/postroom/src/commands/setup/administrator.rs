//! The administrator's own sign-in. Nothing of it is kept.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use postroom_entra::discovery;
use postroom_entra::register::Registrar;
use postroom_entra::sign_in::{SignIn, SignInRequest};
use postroom_entra::token::{
    AccessToken, GRAPH_TOOLS_APPLICATION, TokenClient, TokenCredential, TokenRequest,
};
use postroom_setup::Plan;

use crate::app::App;
use crate::cli::UsageError;
use crate::commands::read_secret;
use crate::output;

/// How the administrator signs in.
#[derive(Debug, Args)]
pub(super) struct AdministratorArguments {
    /// User name of an administrator without multi-factor authentication
    #[arg(long, value_name = "USER", requires = "admin_password_file", conflicts_with = "device_code")]
    admin_user: Option<String>,
    /// File with the administrator's password, - for standard input
    #[arg(long, value_name = "FILE", requires = "admin_user")]
    admin_password_file: Option<PathBuf>,
    /// Sign in with a code on another screen (the default)
    #[arg(long)]
    device_code: bool,
}

/// Signs in and gives the means to register in the tenant.
pub(super) async fn sign_in(
    app: &App,
    http: &reqwest::Client,
    arguments: &AdministratorArguments,
    plan: &Plan,
) -> anyhow::Result<Registrar> {
    let endpoints = plan.cloud.endpoints();
    let named = plan
        .tenant
        .as_deref()
        .or_else(|| plan.mailboxes.first().map(|address| address.domain()))
        .or_else(|| {
            arguments.admin_user.as_deref().and_then(|user| user.rsplit_once('@')).map(|(_, domain)| domain)
        })
        .ok_or_else(|| UsageError("which tenant? Give --tenant, or a --mailbox".to_owned()))?;
    let tenant = discovery::tenant(http, &endpoints.authority, named)
        .await
        .with_context(|| format!("look up the tenant of {named}"))?
        .tenant_id;
    let token = match (&arguments.admin_user, &arguments.admin_password_file) {
        (Some(user), Some(file)) => {
            let request = TokenRequest {
                authority: endpoints.authority.clone(),
                tenant,
                application: GRAPH_TOOLS_APPLICATION.to_owned(),
                scope: endpoints.graph_scope(),
                credential: TokenCredential::Password { user: user.clone(), password: read_secret(file)? },
            };
            let tokens = TokenClient::new(http.clone(), app.env.clone());
            tokens.token(&request).await.with_context(|| format!("sign in as {user}"))?
        }
        _ => device_code(app, http, plan, &tenant).await?,
    };
    Ok(Registrar::new(http.clone(), app.env.clone(), endpoints.graph, token))
}

async fn device_code(
    app: &App,
    http: &reqwest::Client,
    plan: &Plan,
    tenant: &str,
) -> anyhow::Result<AccessToken> {
    let sign_in = SignIn::new(http.clone(), app.env.clone());
    let request = SignInRequest::for_setup(&plan.cloud, tenant);
    let mut code = sign_in.start(&request).await.context("begin the administrator's sign-in")?;
    output::talk(&code.message);
    let signed_in = sign_in.wait(&mut code).await.context("wait for the administrator's sign-in")?;
    Ok(signed_in.token().clone())
}
