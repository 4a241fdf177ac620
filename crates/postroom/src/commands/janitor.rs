//! `postroom janitor`.

use std::process::ExitCode;

use clap::Args;
use postroom_engine::janitor::{Cleared, clear};

use crate::app::App;
use crate::output::{self, hinted};

#[derive(Debug, Args)]
pub(crate) struct JanitorArguments {
    /// Remove nothing; print what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// Clears away once what is over by the section `[retention]`, and raw messages that nothing names for a day.
pub(crate) async fn run(app: &App, arguments: JanitorArguments) -> anyhow::Result<ExitCode> {
    let retention = app.config.retention();
    let cleared = clear(app.store.as_ref(), &retention, true, arguments.dry_run).await?;
    let Some(Cleared { messages, orphans }) = cleared else {
        return Err(hinted("a backup or another janitor is at work", "try again when it is done"));
    };
    let done = if arguments.dry_run { "would remove" } else { "removed" };
    for (kind, messages, bytes) in &messages {
        output::data(format!("{done} {messages} {} messages ({bytes} bytes)", kind.as_str()));
    }
    output::data(format!(
        "{done} {} raw messages that nothing names ({} bytes)",
        orphans.blobs, orphans.bytes
    ));
    Ok(ExitCode::SUCCESS)
}
