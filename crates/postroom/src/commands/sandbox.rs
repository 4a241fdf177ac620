//! `postroom sandbox`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use postroom_model::{EmailAddress, Env};
use postroom_sandbox::{Sandbox, SandboxOptions};
use url::Url;

use super::serve::{stop_signal, write_ready_file};
use crate::output;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SandboxArguments {
    #[command(subcommand)]
    command: Option<SandboxCommand>,
    /// Address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8365")]
    listen: SocketAddr,
    /// Port of IMAP at the same address; 0 takes a free one, which is told with the rest
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    imap_port: u16,
    /// Port of SMTP submission at the same address; 0 takes a free one, which is told with the rest
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    smtp_port: u16,
    /// File that gets one JSON object once the tenant listens
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// How long secrets, keys, consents and Exchange changes take to be effective: 30s, 5m
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = read_time)]
    propagation: Duration,
    /// Messages a mailbox may send in a minute (Microsoft: 30); 0 is no limit
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    messages_per_minute: u32,
    /// Turn off the limits per application and mailbox
    #[arg(long)]
    no_limits: bool,
    /// Serve over TLS; the certificate, made at the start, is written to this file for clients to trust
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
}

/// Longest propagation: Exchange takes two hours at most; a day is plenty.
const LONGEST_PROPAGATION: u64 = 86_400;

/// `30s` or `5m`; a bare number is seconds.
fn read_time(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match text.strip_suffix('m') {
        Some(digits) => (digits, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    seconds
        .filter(|seconds| *seconds <= LONGEST_PROPAGATION)
        .map(Duration::from_secs)
        .ok_or_else(|| "a time such as 30s or 5m, at most a day".to_owned())
}

#[derive(Debug, Subcommand)]
enum SandboxCommand {
    /// Drop foreign mail into a mailbox of a running tenant
    Deliver {
        /// Address of the mailbox
        #[arg(long)]
        to: EmailAddress,
        /// Address of the tenant
        #[arg(long, default_value = "http://127.0.0.1:8365", value_name = "URL")]
        url: Url,
        /// Files with one raw message each
        #[arg(required = true, value_name = "FILE.eml")]
        files: Vec<PathBuf>,
    },
}

pub(crate) async fn run(
    arguments: SandboxArguments,
    data: Option<PathBuf>,
    env: Env,
) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Some(SandboxCommand::Deliver { to, url, files }) => {
            let http = postroom_entra::http::client(&postroom_entra::http::HttpSettings::default())?;
            for file in files {
                let raw = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
                deliver(&http, &url, &to, raw)
                    .await
                    .with_context(|| format!("deliver {}", file.display()))?;
                output::talk(format!("delivered {} to {to}", file.display()));
            }
        }
        None => {
            let mut options = SandboxOptions::new(arguments.listen, env);
            let ip = arguments.listen.ip();
            options.listen_imap = Some(SocketAddr::new(ip, arguments.imap_port));
            options.listen_smtp = Some(SocketAddr::new(ip, arguments.smtp_port));
            options.data = data;
            options.propagation = arguments.propagation;
            options.limits.messages_per_minute = arguments.messages_per_minute;
            options.tls_certificate = arguments.tls_certificate;
            if arguments.no_limits {
                options.limits.requests_per_ten_minutes = 0;
                options.limits.parallel = 0;
            }
            serve(options, arguments.ready_file).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Drops one raw message into a mailbox of the tenant at `url`.
pub(crate) async fn deliver(
    http: &reqwest::Client,
    url: &Url,
    to: &EmailAddress,
    raw: Vec<u8>,
) -> anyhow::Result<()> {
    let mut address = url.join("/_sandbox/deliver")?;
    address.query_pairs_mut().append_pair("to", to.as_str());
    let answer = http.post(address).body(raw).send().await.context("reach the tenant")?;
    let status = answer.status();
    if !status.is_success() {
        let words = answer.text().await.unwrap_or_default();
        anyhow::bail!("the tenant answered {status}: {}", words.chars().take(300).collect::<String>());
    }
    Ok(())
}

async fn serve(options: SandboxOptions, ready_file: Option<PathBuf>) -> anyhow::Result<()> {
    let listen = options.listen;
    let sandbox = Sandbox::start(options).await.with_context(|| format!("start the tenant on {listen}"))?;
    let ready = sandbox.ready();
    output::talk(format!(
        "a Microsoft 365 tenant listens on {}, IMAP on {}, SMTP on {}",
        ready.authority, ready.imap, ready.smtp
    ));
    match ready_file {
        Some(path) => write_ready_file(&path, ready)?,
        None => output::json(ready)?,
    }
    stop_signal().await?;
    sandbox.stop().await;
    Ok(())
}
