//! `postroom send`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use postroom_engine::intake::Submitter;
use postroom_model::OutboxMessageId;
use postroom_model::draft::Draft;
use postroom_model::outbox::{IdempotencyKey, OutboxMessage, OutboxState};
use postroom_store::Acceptance;
use tokio_util::sync::CancellationToken;

use super::ACTOR;
use super::message::{MessageArguments, refused};
use crate::app::App;
use crate::output::{self, hinted};

#[derive(Debug, Args)]
pub(crate) struct SendArguments {
    #[command(flatten)]
    message: MessageArguments,
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
    let draft = arguments.message.into_draft()?;
    let idempotency = key.map(|key| (key, fingerprint(&draft)));
    let submitter = Submitter { name: ACTOR.to_owned(), idempotency };
    let accepted = match app.engine.intake().submit_draft(draft, submitter).await {
        Ok(Acceptance::Accepted(message) | Acceptance::Repeated(message)) => message,
        Ok(Acceptance::KeyConflict { first }) => {
            let message = format!("the idempotency key was used before, for another message ({first})");
            return Err(hinted(message, "choose a new key for a new message"));
        }
        Err(error) => return Err(refused(error, "the message is not accepted")),
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
    let right = app.right_to_work().await?;
    let stop = CancellationToken::new();
    let worker = match &right {
        Some(_) => {
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
    let served = right.is_none();
    drop(right);
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
