//! `postroom send`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use postroom_engine::intake::{IntakeError, Submitter};
use postroom_model::OutboxMessageId;
use postroom_model::draft::{Attachment, Draft};
use postroom_model::outbox::{IdempotencyKey, OutboxMessage, OutboxState};
use postroom_store::Acceptance;
use tokio_util::sync::CancellationToken;

use super::ACTOR;
use crate::app::{App, FolderLock};
use crate::output::{self, hinted};

#[derive(Debug, Args)]
pub(crate) struct SendArguments {
    /// Sender: a@b or "Name <a@b>"
    #[arg(long)]
    from: String,
    /// Recipient; can be given several times
    #[arg(long = "to", value_name = "ADDRESS")]
    to: Vec<String>,
    /// Copy; can be given several times
    #[arg(long = "cc", value_name = "ADDRESS")]
    cc: Vec<String>,
    /// Blind copy; can be given several times
    #[arg(long = "bcc", value_name = "ADDRESS")]
    bcc: Vec<String>,
    /// Where answers go
    #[arg(long = "reply-to", value_name = "ADDRESS")]
    reply_to: Vec<String>,
    /// Subject
    #[arg(long, default_value = "")]
    subject: String,
    /// Body as text
    #[arg(long, conflicts_with = "text_file")]
    text: Option<String>,
    /// File with the body as text, - for standard input
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,
    /// File with the body as HTML
    #[arg(long, value_name = "FILE")]
    html_file: Option<PathBuf>,
    /// File to attach; can be given several times
    #[arg(long = "attach", value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// Repeating the same command under the same key sends once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<IdempotencyKey>,
    /// Only accept the message; the server sends it
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the outcome, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, arguments: SendArguments) -> anyhow::Result<ExitCode> {
    let (no_wait, wait, json) = (arguments.no_wait, arguments.wait, arguments.json);
    let key = arguments.idempotency_key.clone();
    let draft = draft(arguments)?;
    let idempotency = key.map(|key| (key, fingerprint(&draft)));
    let submitter = Submitter { name: ACTOR.to_owned(), idempotency };
    let accepted = match app.engine.intake().submit_draft(draft, submitter).await {
        Ok(Acceptance::Accepted(message) | Acceptance::Repeated(message)) => message,
        Ok(Acceptance::KeyConflict { first }) => {
            let message = format!("the idempotency key was used before, for another message ({first})");
            return Err(hinted(message, "choose a new key for a new message"));
        }
        Err(IntakeError::Invalid(problems)) => {
            super::connection::show(&problems);
            anyhow::bail!("the message is not accepted");
        }
        Err(error) => return Err(error.into()),
    };
    output::talk(format!("accepted {} ({} bytes)", accepted.message_id, accepted.size));
    let last = if no_wait { accepted } else { outcome(app, accepted.id, Duration::from_secs(wait)).await? };
    if json {
        output::json(&last)?;
    } else {
        output::data(format!("{} {}", last.id, last.state));
    }
    if let (false, Some(words)) = (json, &last.last_words) {
        output::talk(words);
    }
    Ok(match last.state {
        OutboxState::Sent => ExitCode::SUCCESS,
        OutboxState::Failed | OutboxState::Cancelled => ExitCode::FAILURE,
        _ if no_wait => ExitCode::SUCCESS,
        _ => ExitCode::from(3),
    })
}

fn draft(arguments: SendArguments) -> anyhow::Result<Draft> {
    let text = match (arguments.text, arguments.text_file) {
        (Some(text), _) => Some(text),
        (None, Some(path)) if path.as_os_str() == "-" => {
            Some(std::io::read_to_string(std::io::stdin()).context("read the body from standard input")?)
        }
        (None, Some(path)) => Some(read_text(&path)?),
        (None, None) => None,
    };
    let html = arguments.html_file.as_deref().map(read_text).transpose()?;
    let attachments = arguments.attach.iter().map(|path| attachment(path)).collect::<anyhow::Result<_>>()?;
    Ok(Draft {
        from: arguments.from,
        to: arguments.to,
        cc: arguments.cc,
        bcc: arguments.bcc,
        reply_to: arguments.reply_to,
        subject: arguments.subject,
        text,
        html,
        headers: Vec::new(),
        attachments,
    })
}

fn read_text(path: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read the body from {}", path.display()))
}

fn attachment(path: &std::path::Path) -> anyhow::Result<Attachment> {
    let content = std::fs::read(path).with_context(|| format!("read the attachment {}", path.display()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let content_type = match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "pdf" => "application/pdf",
        "xml" => "application/xml",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        _ => "application/octet-stream",
    };
    Ok(Attachment { name, content_type: content_type.to_owned(), content, content_id: None })
}

/// SHA-256 of everything that makes this message this message.
fn fingerprint(draft: &Draft) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(format!("{draft:?}").as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Waits until the message is final, or nothing more happens soon. Without a server on this data folder the outbox
/// runs here meanwhile.
async fn outcome(app: &App, id: OutboxMessageId, wait: Duration) -> anyhow::Result<OutboxMessage> {
    let lock = FolderLock::try_take(&app.config.data_dir)?;
    let stop = CancellationToken::new();
    let worker = match &lock {
        Some(_) => {
            app.store.end_all_leases().await?;
            let (engine, stop) = (app.engine.clone(), stop.clone());
            Some(tokio::spawn(async move { engine.run_outbox(stop).await }))
        }
        None => None,
    };
    let settled = |state| !matches!(state, OutboxState::Accepted | OutboxState::Sending);
    let watch = async {
        loop {
            let message = app.store.outbox_message(id).await?;
            let message = message.with_context(|| format!("the message {id} is gone"))?;
            if settled(message.state) {
                return anyhow::Ok(message);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = tokio::time::timeout(wait, watch).await;
    stop.cancel();
    if let Some(worker) = worker {
        match &seen {
            Ok(_) => worker.await.context("run the outbox")?,
            // What is cut off here counts as interrupted, and is looked up before it is sent again.
            Err(_) => worker.abort(),
        }
    }
    let served = lock.is_none();
    drop(lock);
    match seen {
        Ok(message) => message,
        Err(_) => {
            if !served {
                output::talk("nothing serves this data folder: `postroom serve` goes on with it");
            }
            output::talk(format!("no outcome after {} s; the message stays in the outbox", wait.as_secs()));
            let message = app.store.outbox_message(id).await?;
            message.with_context(|| format!("the message {id} is gone"))
        }
    }
}
