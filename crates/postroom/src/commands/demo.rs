//! `postroom demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use postroom_model::Env;

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Verify everything, stop everything, and say by the exit code whether all went well
    #[arg(long)]
    once: bool,
    /// Address and port of the page; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: std::net::SocketAddr,
}

pub(crate) async fn run(
    arguments: DemoArguments,
    data: Option<PathBuf>,
    env: Env,
) -> anyhow::Result<ExitCode> {
    crate::demo::perform(arguments.once, arguments.listen, data, env).await
}
