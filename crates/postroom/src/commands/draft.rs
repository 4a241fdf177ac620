//! `postroom draft`: a ready `.eml` file for the user's own mail program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::message::{MessageArguments, refused};
use crate::app::App;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct DraftArguments {
    #[command(flatten)]
    message: MessageArguments,
    /// File to write, - for standard output; without it a file in this folder, named after the subject
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file when it is there
    #[arg(long)]
    overwrite: bool,
}

pub(crate) async fn run(app: &App, arguments: DraftArguments) -> anyhow::Result<ExitCode> {
    let draft = arguments.message.into_draft()?;
    let made = app.engine.intake().make_draft(draft).await;
    let ready = made.map_err(|error| refused(error, "no draft is made"))?;
    let path = arguments.out.unwrap_or_else(|| PathBuf::from(&ready.file_name));
    if path == Path::new("-") {
        output::bytes(&ready.raw)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut open = std::fs::File::options();
    let open = if arguments.overwrite { open.create(true).truncate(true) } else { open.create_new(true) };
    let mut file = open.write(true).open(&path).with_context(|| format!("write {}", path.display()))?;
    file.write_all(&ready.raw).with_context(|| format!("write {}", path.display()))?;
    output::talk(format!("{} bytes; open the file to look at the message and send it", ready.raw.len()));
    output::data(path.display().to_string());
    Ok(ExitCode::SUCCESS)
}
